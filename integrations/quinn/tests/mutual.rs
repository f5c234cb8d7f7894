//! Clients with certificates, in QUIC: their identity comes back with the session and its early data, and no session
//! gets past a verifier that did not see it made.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, ServerConfig};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use sessionwheel::SessionCache;
use sessionwheel_rustls::{RustlsClientStore, RustlsStore, StoredSession};

const NAME: &str = "localhost";
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

struct Identity(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]);
        Self(made.unwrap())
    }

    fn certificate(&self) -> CertificateDer<'static> {
        self.0.cert.der().clone()
    }

    fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        self.0.signing_key.serialize_der().into()
    }

    /// Who trusts this certificate, and no other.
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate()).unwrap();
        roots
    }

    /// Lets this client in; anybody without a certificate too, or not.
    fn server(&self, cache: &SessionCache<StoredSession>, client: &Self, strict: bool) -> Endpoint {
        let roots = Arc::new(client.roots());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
        let verifier = if strict {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        let mut tls = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![self.certificate()], self.key().into())
            .unwrap();
        tls.session_storage = Arc::new(RustlsStore::new(cache).unwrap());
        tls.max_early_data_size = u32::MAX;
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        Endpoint::server(ServerConfig::with_crypto(Arc::new(crypto)), ANY).unwrap()
    }

    fn client(&self, credentials: Option<&Self>) -> Endpoint {
        let builder = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(self.roots());
        let mut tls = match credentials {
            None => builder.with_no_client_auth(),
            Some(client) => builder
                .with_client_auth_cert(vec![client.certificate()], client.key().into())
                .unwrap(),
        };
        tls.enable_early_data = true;
        let store = RustlsClientStore::builder().build().unwrap();
        tls.resumption = Resumption::store(Arc::new(store));
        let crypto = QuicClientConfig::try_from(tls).unwrap();
        let mut endpoint = Endpoint::client(ANY).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        endpoint
    }
}

/// What became of a visit.
#[derive(Debug, PartialEq, Eq)]
enum Visit {
    /// With early data, if that was accepted, and with this certificate.
    In(bool, Option<CertificateDer<'static>>),
    Out,
}

/// One connection from end to end, after which the client has new tickets.
async fn visit(client: &Endpoint, server: &Endpoint) -> Visit {
    let connecting = client.connect(server.local_addr().unwrap(), NAME).unwrap();
    let ours = async {
        let (connection, early) = match connecting.into_0rtt() {
            Ok((connection, accepted)) => (connection, accepted.await),
            Err(connecting) => (connecting.await.ok()?, false),
        };
        // The tickets go before it; in TLS 1.3 it is only now that a client learns whether it was let in.
        let mut welcome = connection.accept_uni().await.ok()?;
        welcome.read_to_end(100).await.ok()?;
        connection.close(0u32.into(), b"");
        Some(early)
    };
    let theirs = async {
        let connection = server.accept().await.unwrap().await.ok()?;
        let mut welcome = connection.open_uni().await.unwrap();
        welcome.write_all(b"welcome").await.unwrap();
        welcome.finish().unwrap();
        connection.closed().await;
        Some(peer(&connection))
    };
    match tokio::join!(ours, theirs) {
        (Some(early), Some(peer)) => Visit::In(early, peer),
        (None, None) => Visit::Out,
        differ => panic!("the two ends differ: {differ:?}"),
    }
}

fn peer(connection: &Connection) -> Option<CertificateDer<'static>> {
    let identity = connection.peer_identity()?;
    let chain: Box<Vec<CertificateDer<'static>>> = identity.downcast().expect("certificates");
    chain.first().cloned()
}

fn cache() -> SessionCache<StoredSession> {
    SessionCache::builder().build().unwrap()
}

#[tokio::test]
async fn the_client_s_identity_comes_back_with_the_session() {
    let (identity, known) = (Identity::new(), Identity::new());
    let server = identity.server(&cache(), &known, true);
    let client = identity.client(Some(&known));
    for early in [false, true, true] {
        let expected = Visit::In(early, Some(known.certificate()));
        assert_eq!(visit(&client, &server).await, expected);
    }
}

#[tokio::test]
async fn a_stranger_s_session_does_not_get_past_the_stricter_verifier() {
    let (identity, known) = (Identity::new(), Identity::new());
    let cache = cache();
    let [lenient, strict] = [false, true].map(|strict| identity.server(&cache, &known, strict));
    let stranger = identity.client(None);
    assert_eq!(visit(&stranger, &lenient).await, Visit::In(false, None));
    assert_eq!(visit(&stranger, &lenient).await, Visit::In(true, None));
    assert_eq!(visit(&stranger, &strict).await, Visit::Out);
    assert_eq!(cache.counters().misses, 1, "its ticket was looked for");
}
