//! Clients with certificates: their identity comes back with the session, and no session gets past a
//! verifier that did not see it made.

mod support;

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::{Resumption, Tls12Resumption};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};
use sessionwheel::SessionCache;
use sessionwheel_rustls::{RustlsStore, StoredSession};
use support::{Identity, VERSIONS, cache_with_clock, connect, handshake, kind, provider};

/// Who says which clients are known.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A client's certificate, that of who signed it, and its key.
struct Credentials(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn credentials(&self, name: &str) -> Credentials {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let chain = vec![certificate.der().clone(), self.0.der().clone()];
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Credentials(chain, key.into())
    }

    /// Lets this authority's clients in, and with `anonymous` those that have no certificate.
    fn verifier(&self, anonymous: bool) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        if anonymous {
            builder.allow_unauthenticated().build().unwrap()
        } else {
            builder.build().unwrap()
        }
    }
}

fn server(
    identity: &Identity,
    verifier: Arc<dyn ClientCertVerifier>,
    store: RustlsStore,
) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier);
    Arc::new(identity.answering(builder, Arc::new(store)))
}

fn client(
    identity: &Identity,
    version: &'static SupportedProtocolVersion,
    credentials: Option<Credentials>,
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(identity.roots());
    let mut config = match credentials {
        Some(Credentials(chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.resumption =
        Resumption::in_memory_sessions(256).tls12_resumption(Tls12Resumption::SessionIdOnly);
    Arc::new(config)
}

fn sizes(cache: &SessionCache<StoredSession>) -> Vec<usize> {
    let guard = cache.pin();
    let sessions = cache.iter(&guard);
    sessions.map(|s| s.value().as_bytes().len()).collect()
}

#[test]
fn the_client_s_identity_comes_back_with_the_session() {
    for version in VERSIONS {
        let (cache, _hand) = cache_with_clock();
        let (identity, authority) = (Identity::new(), Authority::new("authority"));
        let credentials = authority.credentials("client");
        let chain = credentials.0.clone();
        let store = RustlsStore::new(&cache).unwrap();
        let server = server(&identity, authority.verifier(false), store);
        let client = client(&identity, version, Some(credentials));
        for expected in [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ] {
            let (ours, theirs) = connect(&client, &server).unwrap();
            assert_eq!(kind(&ours, &theirs), expected);
            assert_eq!(theirs.peer_certificates(), Some(&chain[..]));
        }
        let carried: usize = chain.iter().map(|der| der.len()).sum();
        let sizes = sizes(&cache);
        assert!(
            sizes.iter().all(|size| *size > carried),
            "{sizes:?} {carried}"
        );
        println!("{version:?}: sessions of {sizes:?} bytes, of which the chain {carried}");
    }
}

/// A server that lets strangers in, and one that does not, with sessions in the same cache.
struct Two {
    identity: Identity,
    lenient: Arc<ServerConfig>,
    strict: Arc<ServerConfig>,
    authority: Authority,
}

impl Two {
    fn new(shared_context: bool) -> Self {
        let (cache, _hand) = cache_with_clock();
        let (identity, authority) = (Identity::new(), Authority::new("authority"));
        let first = RustlsStore::new(&cache).unwrap();
        let second = if shared_context {
            RustlsStore::with_context(&cache, first.context())
        } else {
            RustlsStore::new(&cache).unwrap()
        };
        Self {
            lenient: server(&identity, authority.verifier(true), first),
            strict: server(&identity, authority.verifier(false), second),
            identity,
            authority,
        }
    }
}

#[test]
fn a_stranger_s_session_does_not_get_past_the_stricter_verifier() {
    for version in VERSIONS {
        let two = Two::new(false);
        let stranger = client(&two.identity, version, None);
        assert_eq!(handshake(&stranger, &two.lenient), HandshakeKind::Full);
        assert_eq!(handshake(&stranger, &two.lenient), HandshakeKind::Resumed);
        assert!(connect(&stranger, &two.strict).is_err(), "{version:?}");

        // One who is known gets in, by a handshake of his own.
        let known = client(
            &two.identity,
            version,
            Some(two.authority.credentials("known")),
        );
        assert_eq!(handshake(&known, &two.lenient), HandshakeKind::Full);
        assert_eq!(handshake(&known, &two.strict), HandshakeKind::Full);
        assert_eq!(handshake(&known, &two.strict), HandshakeKind::Resumed);
    }
}

#[test]
fn a_client_of_one_authority_does_not_get_in_at_another_s() {
    for version in VERSIONS {
        let (cache, _hand) = cache_with_clock();
        let identity = Identity::new();
        let [a, b] = ["a", "b"].map(Authority::new);
        let of = |authority: &Authority| {
            let store = RustlsStore::new(&cache).unwrap();
            server(&identity, authority.verifier(false), store)
        };
        let servers = [of(&a), of(&b)];
        let known_to_a = client(&identity, version, Some(a.credentials("client")));
        assert_eq!(handshake(&known_to_a, &servers[0]), HandshakeKind::Full);
        assert_eq!(handshake(&known_to_a, &servers[0]), HandshakeKind::Resumed);
        assert!(connect(&known_to_a, &servers[1]).is_err(), "{version:?}");
    }
}

/// Why each configuration has a context of its own; and would the tests above notice?
#[test]
fn with_a_shared_context_a_stranger_does_get_past() {
    for version in VERSIONS {
        let two = Two::new(true);
        let stranger = client(&two.identity, version, None);
        assert_eq!(handshake(&stranger, &two.lenient), HandshakeKind::Full);
        assert_eq!(handshake(&stranger, &two.strict), HandshakeKind::Resumed);
    }
}
