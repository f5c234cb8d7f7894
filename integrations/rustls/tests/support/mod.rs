//! A rustls server and client that shake hands in memory.
#![allow(dead_code)] // each test file uses its own part

pub mod hello;

use std::sync::Arc;
use std::time::Duration;

use rustls::client::{Resumption, Tls12Resumption};
use rustls::crypto::CryptoProvider;
#[cfg(feature = "_test-aws-lc-rs")]
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
#[cfg(not(feature = "_test-aws-lc-rs"))]
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ProducesTickets, StoresServerSessions, WantsServerCert};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, ConfigBuilder, Error, HandshakeKind, RootCertStore,
    ServerConfig, ServerConnection, SupportedProtocolVersion,
};
use sessionwheel::{Clock, ManualClock, SessionCache, Timestamp};
use sessionwheel_rustls::StoredSession;

pub const TIMEOUT: Duration = Duration::from_secs(300);
pub const SERVER: &str = "localhost";

/// Both of them.
pub const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// The cryptography of both ends: *ring*'s, or with the feature `_test-aws-lc-rs` that of aws-lc-rs.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Tickets that the server need not remember.
pub fn ticketer() -> Arc<dyn ProducesTickets> {
    Ticketer::new().expect("a ticketer")
}

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

impl From<rcgen::CertifiedKey<rcgen::KeyPair>> for Identity {
    fn from(made: rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        Self(made)
    }
}

impl Identity {
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed([SERVER.to_owned()]);
        Self(made.expect("a certificate"))
    }

    pub fn server(&self, store: Arc<dyn StoresServerSessions>) -> Arc<ServerConfig> {
        self.server_of(&VERSIONS, store)
    }

    /// A server that speaks these versions only.
    pub fn server_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        store: Arc<dyn StoresServerSessions>,
    ) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth();
        Arc::new(self.answering(builder, store))
    }

    /// The configuration of [`server`](Self::server), to be changed.
    pub fn server_config(&self, store: Arc<dyn StoresServerSessions>) -> ServerConfig {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth();
        self.answering(builder, store)
    }

    /// A server that shows this certificate, with all else as in `builder`.
    pub fn answering(
        &self,
        builder: ConfigBuilder<ServerConfig, WantsServerCert>,
        store: Arc<dyn StoresServerSessions>,
    ) -> ServerConfig {
        let key = PrivatePkcs8KeyDer::from(self.0.signing_key.serialize_der());
        let mut config = builder
            .with_single_cert(vec![self.0.cert.der().clone()], PrivateKeyDer::from(key))
            .expect("a server");
        config.session_storage = store;
        config
    }

    /// Who trusts this certificate, and no other.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.cert.der().clone()).expect("a root");
        roots
    }

    /// The certificate, and its key in PKCS #8.
    pub fn der(&self) -> [Vec<u8>; 2] {
        let certificate = self.0.cert.der().to_vec();
        [certificate, self.0.signing_key.serialize_der()]
    }

    pub fn client(
        &self,
        version: &'static SupportedProtocolVersion,
        resumption: Resumption,
    ) -> Arc<ClientConfig> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        config.resumption = resumption.tls12_resumption(Tls12Resumption::SessionIdOnly);
        Arc::new(config)
    }
}

/// Makes one handshake, lets the client read its tickets, and says what both ends call it.
pub fn handshake(client: &Arc<ClientConfig>, server: &Arc<ServerConfig>) -> HandshakeKind {
    let (client, server) = connect(client, server).expect("a handshake");
    kind(&client, &server)
}

/// What both ends call the handshake that they have made.
pub fn kind(client: &ClientConnection, server: &ServerConnection) -> HandshakeKind {
    assert!(!client.is_handshaking() && !server.is_handshaking());
    let kinds = (client.handshake_kind(), server.handshake_kind());
    assert_eq!(kinds.0, kinds.1, "both ends agree");
    kinds.0.expect("a kind")
}

/// Makes one handshake and lets the client read its tickets; or what the server finds wrong.
pub fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    connect_to(SERVER, client, server)
}

/// The same by another name; who answers to it is not looked into.
pub fn connect_to(
    name: &'static str,
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::try_from(name).expect("a name");
    let mut client = ClientConnection::new(client.clone(), name)?;
    let mut server = ServerConnection::new(server.clone())?;
    exchange(&mut client, &mut server)?;
    Ok((client, server))
}

/// Both ends, of whom neither has said anything.
pub fn begin(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> (ClientConnection, ServerConnection) {
    let name = ServerName::try_from(SERVER).expect("a name");
    let client = ClientConnection::new(client.clone(), name).expect("a client");
    let server = ServerConnection::new(server.clone()).expect("a server");
    (client, server)
}

/// Lets both ends say what they have to say.
pub fn exchange(client: &mut ClientConnection, server: &mut ServerConnection) -> Result<(), Error> {
    while client.wants_write() || server.wants_write() {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).expect("client writes");
        }
        deliver(&wire, |bytes| {
            let read = server.read_tls(bytes).expect("server reads");
            server.process_new_packets().map(|_| read)
        })?;
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).expect("server writes");
        }
        deliver(&wire, |bytes| {
            let read = client.read_tls(bytes).expect("client reads");
            client.process_new_packets().map(|_| read)
        })?;
    }
    Ok(())
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
    try_answer(hello, server).expect("an answer")
}

/// What a server decides on `hello`, or finds wrong with it.
pub fn try_answer(hello: &[u8], server: &Arc<ServerConfig>) -> Result<HandshakeKind, Error> {
    let mut server = ServerConnection::new(server.clone())?;
    deliver(hello, |bytes| {
        let read = server.read_tls(bytes).expect("server reads");
        server.process_new_packets().map(|_| read)
    })?;
    Ok(server.handshake_kind().expect("a kind"))
}

fn deliver(
    mut wire: &[u8],
    mut read: impl FnMut(&mut &[u8]) -> Result<usize, Error>,
) -> Result<(), Error> {
    while !wire.is_empty() {
        assert!(read(&mut wire)? > 0, "bytes that nobody reads");
    }
    Ok(())
}
