//! A quinn server that accepts 0-RTT once for each ticket, and a client that visits it a few times.
//!
//! ```text
//! cargo run --package sessionwheel-quinn --example zero_rtt
//! cargo run --package sessionwheel-quinn --example zero_rtt -- --listen 127.0.0.1:4433
//! ```
//!
//! The second one is the server alone, for other people's clients.

mod server;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::version::TLS13;
use sessionwheel::SessionCache;
use sessionwheel_rustls::{RustlsClientStore, RustlsStore, StoredSession};

use server::{Result, serve};

/// What QUIC has for "no error".
const DONE: u32 = 0;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let listen = match &arguments[..] {
        [] => None,
        [flag, address] if flag == "--listen" => Some(address.parse()?),
        _ => return Err("only this is understood: --listen ADDRESS:PORT".into()),
    };
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let certificate = made.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());

    let cache = SessionCache::builder()
        .maximum(Some(100_000))
        .timeout(Duration::from_secs(600))
        .build()?;
    let store = RustlsStore::new(&cache)?;
    let address = listen.unwrap_or(any_port());
    let server = serve(address, store, certificate.clone(), key.into())?;
    let address = server.local_addr()?;
    if listen.is_some() {
        println!("listening on {address}");
        report(&cache).await
    } else {
        visit(address, certificate).await?;
        println!("store: {}", figures(&cache));
        Ok(())
    }
}

/// Says what has changed, once a second and for ever.
async fn report(cache: &SessionCache<StoredSession>) -> ! {
    let mut said = String::new();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // It waits for nobody, and leaves the rest to the next second: this thread has connections to serve.
        cache.flush_within(1_000);
        let now = figures(cache);
        if now != said {
            println!("{now}");
            said = now;
        }
    }
}

fn figures(cache: &SessionCache<StoredSession>) -> String {
    let counters = cache.counters();
    let waiting = cache.len();
    format!(
        "{} tickets used, {} refused, {waiting} waiting",
        counters.hits, counters.misses
    )
}

/// A client: the first visit has no ticket; the others send their request before they have an answer.
async fn visit(address: SocketAddr, certificate: CertificateDer<'static>) -> Result<()> {
    let client = client(certificate)?;
    for visit in 0..4 {
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
    client.wait_idle().await;
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
