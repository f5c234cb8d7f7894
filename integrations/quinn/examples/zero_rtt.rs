//! A quinn server that accepts 0-RTT once for each ticket, and a client that visits it a few times.
//!
//! ```text
//! cargo run --package sessionwheel-quinn --example zero_rtt
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, Incoming, ServerConfig};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use sessionwheel::SessionCache;
use sessionwheel_rustls::{RustlsClientStore, RustlsStore, StoredSession};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What QUIC has for "no error".
const DONE: u32 = 0;

#[tokio::main]
async fn main() -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());

    let cache = SessionCache::builder()
        .maximum(Some(100_000))
        .timeout(Duration::from_secs(600))
        .build()?;
    let server = server(&cache, certificate.clone(), key.into())?;
    let address = server.local_addr()?;
    let client = client(certificate)?;

    for visit in 0..4 {
        // The first visit has no ticket; the others send their request before they have an answer.
        let connection = match client.connect(address, "localhost")?.into_0rtt() {
            Ok((connection, accepted)) => {
                let answer = request(&connection).await?;
                let accepted = accepted.await;
                println!("visit {visit}: early data, accepted {accepted}, answer {answer:?}");
                connection
            }
            Err(connecting) => {
                let connection = connecting.await?;
                let answer = request(&connection).await?;
                println!("visit {visit}: no ticket, answer {answer:?}");
                connection
            }
        };
        connection.close(DONE.into(), b"");
    }

    let counters = cache.counters();
    println!(
        "store: {} tickets used, {} refused, {} waiting",
        counters.hits,
        counters.misses,
        cache.len()
    );
    client.wait_idle().await;
    Ok(())
}

/// Answers each request.
fn server(
    cache: &SessionCache<StoredSession>,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<Endpoint> {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    // These two are all: with a ticketer rustls would refuse early data.
    tls.session_storage = Arc::new(RustlsStore::new(cache)?);
    tls.max_early_data_size = u32::MAX; // QUIC knows this and 0 only

    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let endpoint = Endpoint::server(config, any_port())?;
    let listening = endpoint.clone();
    tokio::spawn(async move {
        while let Some(incoming) = listening.accept().await {
            tokio::spawn(async move {
                // A client that goes away is none of the others' business.
                let _ = attend(incoming).await;
            });
        }
    });
    Ok(endpoint)
}

async fn attend(incoming: Incoming) -> Result<()> {
    // A server need not wait for the end of the handshake to read early data.
    let connecting = incoming.accept()?;
    let (connection, finished) = connecting
        .into_0rtt()
        .map_err(|_| "not the server's side")?;
    let (mut answer, mut request) = connection.accept_bi().await?;
    let request = request.read_to_end(1_000).await?;
    // The client may not be who it seems to be before this.
    finished.await;
    answer.write_all(&request.to_ascii_uppercase()).await?;
    answer.finish()?;
    connection.closed().await;
    Ok(())
}

async fn request(connection: &quinn::Connection) -> Result<String> {
    let (mut request, mut answer) = connection.open_bi().await?;
    request.write_all(b"hello").await?;
    request.finish()?;
    Ok(String::from_utf8(answer.read_to_end(1_000).await?)?)
}

fn client(certificate: CertificateDer<'static>) -> Result<Endpoint> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate)?;
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.enable_early_data = true;
    tls.resumption = Resumption::store(Arc::new(RustlsClientStore::builder().build()?));
    let mut endpoint = Endpoint::client(any_port())?;
    let tls = QuicClientConfig::try_from(tls)?;
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
    Ok(endpoint)
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
