//! quinn servers that share one store, a client, and what was delivered early.

pub mod relay;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, Incoming, ServerConfig};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::StoresServerSessions;
use rustls::version::TLS13;
use sessionwheel_rustls::RustlsClientStore;
use tokio::runtime::{Builder, Runtime};

const NAME: &str = "localhost";

/// Nothing here takes so long; a test that waits for more fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// An address that the system chooses a port for.
pub const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Comes back when `done` says so.
pub async fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// How often each message was delivered. They are sent as early data only, and not again if that is refused;
/// and from one who replays it nothing else can be read. (quinn's `is_0rtt` says whether the handshake was
/// still going on when the stream was asked for.)
#[derive(Clone, Default)]
pub struct Early(Arc<Mutex<HashMap<Vec<u8>, u64>>>);

impl Early {
    fn delivered(&self, message: Vec<u8>) {
        *self.0.lock().unwrap().entry(message).or_default() += 1;
    }

    pub fn count(&self, message: &[u8]) -> u64 {
        self.0.lock().unwrap().get(message).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }
}

/// Two servers with one configuration, and so with one store, and a client of theirs.
///
/// The servers have threads of their own, so that they do ask the store at the same time. The client has
/// the one of the test: what it writes before it waits for anything leaves with the first flight.
pub struct Site {
    pub servers: [Endpoint; 2],
    pub early: Early,
    client: Endpoint,
    runtime: Option<Runtime>,
}

impl Site {
    pub fn new(store: Arc<dyn StoresServerSessions>) -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).unwrap();
        let certificate = made.cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());

        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], PrivateKeyDer::from(key))
            .unwrap();
        tls.session_storage = store;
        tls.max_early_data_size = u32::MAX;
        let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));

        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.enable_early_data = true;
        let store = RustlsClientStore::builder().build().unwrap();
        tls.resumption = Resumption::store(Arc::new(store));
        let tls = QuicClientConfig::try_from(tls).unwrap();
        let mut client = Endpoint::client(ANY).unwrap();
        client.set_default_client_config(ClientConfig::new(Arc::new(tls)));

        let early = Early::default();
        let runtime = Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let entered = runtime.enter();
        let servers = [(); 2].map(|()| {
            let endpoint = Endpoint::server(server.clone(), ANY).unwrap();
            tokio::spawn(accept_all(endpoint.clone(), early.clone()));
            endpoint
        });
        drop(entered);
        Self {
            servers,
            early,
            client,
            runtime: Some(runtime),
        }
    }

    /// Where the two servers listen.
    pub fn addresses(&self) -> [SocketAddr; 2] {
        [0, 1].map(|n| self.servers[n].local_addr().unwrap())
    }

    /// Connects, with `message` as early data if there is a ticket; then whether it was accepted. By then
    /// there are new tickets.
    pub async fn visit(&self, server: SocketAddr, message: &[u8]) -> (Connection, Option<bool>) {
        let connecting = self.client.connect(server, NAME).unwrap();
        let (connection, accepted) = match connecting.into_0rtt() {
            Ok((connection, accepted)) => {
                let mut stream = connection.open_uni().await.unwrap();
                stream.write_all(message).await.unwrap();
                stream.finish().unwrap();
                (connection, Some(accepted.await))
            }
            Err(connecting) => (connecting.await.unwrap(), None),
        };
        let mut welcome = connection.accept_uni().await.unwrap();
        assert_eq!(welcome.read_to_end(100).await.unwrap(), b"welcome");
        (connection, accepted)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // A test's thread may not wait for it.
        self.runtime.take().unwrap().shutdown_background();
    }
}

async fn accept_all(endpoint: Endpoint, early: Early) {
    while let Some(incoming) = endpoint.accept().await {
        // Whoever only replays never finishes the handshake; that ends with the endpoint.
        tokio::spawn(attend(incoming, early.clone()));
    }
}

async fn attend(incoming: Incoming, early: Early) -> Option<()> {
    // Here rustls reads the hello and asks the store.
    let connecting = incoming.accept().ok()?;
    let (connection, finished) = connecting.into_0rtt().ok()?;
    let read = async {
        while let Ok(mut stream) = connection.accept_uni().await {
            early.delivered(stream.read_to_end(100).await.ok()?);
        }
        Some(())
    };
    let greet = async {
        finished.await;
        // The tickets go before it.
        let mut stream = connection.open_uni().await.ok()?;
        stream.write_all(b"welcome").await.ok()?;
        stream.finish().ok()
    };
    tokio::join!(read, greet).1
}
