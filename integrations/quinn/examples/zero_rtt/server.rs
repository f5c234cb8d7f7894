//! A server that accepts early data once for each ticket, and answers each request.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, ServerConfig};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use sessionwheel_rustls::RustlsStore;

pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Serves on the runtime that this is called on, until the endpoint is closed.
pub fn serve(
    address: SocketAddr,
    store: RustlsStore,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> Result<Endpoint> {
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    // These two are all: with a ticketer rustls would refuse early data.
    tls.max_early_data_size = u32::MAX; // QUIC knows this and 0 only
    store.install(&mut tls);

    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    let endpoint = Endpoint::server(config, address)?;
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
