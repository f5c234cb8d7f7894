//! A rustls server and client that shake hands in memory.
#![allow(dead_code)] // each test file uses its own part

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::StoresServerSessions;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
    SupportedProtocolVersion,
};
use sessionwheel::{Clock, ManualClock, SessionCache, Timestamp};
use sessionwheel_rustls::StoredSession;

pub const TIMEOUT: Duration = Duration::from_secs(300);
pub const SERVER: &str = "localhost";

/// A cache with a clock that stands still until it is told to move.
pub fn cache_with_clock() -> (SessionCache<StoredSession>, ManualClock) {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    let cache = SessionCache::builder()
        .timeout(TIMEOUT)
        .clock(clock)
        .build()
        .expect("a cache");
    (cache, hand)
}

/// One certificate with its key.
pub struct Identity(rcgen::CertifiedKey<rcgen::KeyPair>);

impl Identity {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]);
        Self(made.expect("a certificate"))
    }

    pub fn server(&self, store: Arc<dyn StoresServerSessions>) -> Arc<ServerConfig> {
        let key = PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.0.cert.der().clone()], PrivateKeyDer::from(key))
            .expect("a server");
        config.session_storage = store;
        Arc::new(config)
    }

    pub fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        resumption: Resumption,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone()).expect("a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = resumption.tls12_resumption(Tls12Resumption::SessionIdOnly);
        Arc::new(config)
    }
}

/// Makes one handshake, lets the client read its tickets, and says what both ends call it.
pub fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
    let name = ServerName::try_from(SERVER).expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("a client");
    let mut server = ServerConnection::new(server.clone()).expect("a server");
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("client writes");
        }
        deliver(&wire, |bytes| {
            let read = server.read_tls(bytes).expect("server reads");
            server.process_new_packets().expect("server processes");
            read
        });
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("server writes");
        }
        deliver(&wire, |bytes| {
            let read = client.read_tls(bytes).expect("client reads");
            client.process_new_packets().expect("client processes");
            read
        });
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let kinds = (client.handshake_kind(), server.handshake_kind());
    assert_eq!(kinds.0, kinds.1, "both ends agree");
    kinds.0.expect("a kind")
}

/// The bytes with which a client opens a connection. They name the ticket it offers.
pub fn client_hello(client: &Arc<ClientConfig>) -> Vec<u8> {
    let name = ServerName::try_from(SERVER).expect("a name");
    let mut client = ClientConnection::new(client.clone(), name).expect("a client");
    let mut hello = Vec::new();
    client.write_tls(&mut hello).expect("a hello");
    hello
}

/// What a server decides on `hello`.
pub fn answer(hello: &[u8], server: &Arc<ServerConfig>) -> HandshakeKind {
    let mut server = ServerConnection::new(server.clone()).expect("a server");
    deliver(hello, |bytes| server.read_tls(bytes).expect("server reads"));
    server.process_new_packets().expect("server processes");
    server.handshake_kind().expect("a kind")
}

fn deliver(mut wire: &[u8], mut read: impl FnMut(&mut &[u8]) -> usize) {
    while !wire.is_empty() {
        assert!(read(&mut wire) > 0, "bytes that nobody reads");
    }
}
