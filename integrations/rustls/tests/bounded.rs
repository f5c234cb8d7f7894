//! What a hello may cost that offers hundreds of tickets.

mod support;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{HandshakeKind, ServerConfig};
use sessionwheel::{Claim, ExternalTier, Fetched, Reason, SessionCache, SessionKey, TierSession};
use sessionwheel_rustls::{RustlsStore, StoredSession};
use support::hello::Hello;
use support::{Identity, answer, client_hello, handshake, try_answer};

/// So many tickets are looked up.
const MOST: u64 = 4;

/// A tier that has nothing, and counts what it is asked.
#[derive(Clone, Default)]
struct Outside(Arc<AtomicU64>);

impl Outside {
    fn asked(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl ExternalTier<StoredSession> for Outside {
    fn store(&self, _: TierSession<&StoredSession>) {}
    fn fetch(&self, _: &SessionKey) -> Fetched<StoredSession> {
        self.0.fetch_add(1, Relaxed);
        Fetched::Miss
    }
    fn claim(&self, _: &SessionKey) -> Claim {
        Claim::Won
    }
    fn remove(&self, _: &SessionKey, _: Reason) {}
}

struct Site {
    identity: Identity,
    server: Arc<ServerConfig>,
    store: Arc<RustlsStore>,
    outside: Outside,
}

impl Site {
    fn new() -> Self {
        let outside = Outside::default();
        let cache = SessionCache::builder().external(outside.clone());
        let store = RustlsStore::new(&cache.build().unwrap()).unwrap();
        let identity = Identity::new();
        let mut config = identity.server_config(Arc::new(NoServerSessionStorage {}));
        let store = store.install(&mut config);
        Self {
            identity,
            server: Arc::new(config),
            store,
            outside,
        }
    }

    /// A hello of one who has no ticket, with these.
    fn offering(&self, tickets: &[Vec<u8>]) -> Vec<u8> {
        let client = self.identity.client(&TLS13, Resumption::disabled());
        let hello = Hello::parse(&client_hello(&client));
        hello.with_tickets(tickets).records()
    }
}

fn made_up(count: u32) -> Vec<Vec<u8>> {
    (0..count).map(|n| n.to_le_bytes().repeat(8)).collect()
}

#[test]
fn nine_hundred_tickets_ask_outside_four_times() {
    let site = Site::new();
    let client = site
        .identity
        .client(&TLS13, Resumption::in_memory_sessions(32));
    assert_eq!(handshake(&client, &site.server), HandshakeKind::Full);
    for (count, asked) in [(1, 1), (4, 4), (5, MOST), (100, MOST), (910, MOST)] {
        let (before, refused) = (site.outside.asked(), site.store.stats().too_many_tickets);
        let hello = site.offering(&made_up(count));
        assert_eq!(answer(&hello, &site.server), HandshakeKind::Full);
        let refused = site.store.stats().too_many_tickets - refused;
        assert_eq!(site.outside.asked() - before, asked, "{count} tickets");
        assert_eq!(refused, u64::from(count) - asked, "{count} tickets");
        println!("{count} tickets: {asked} asked for outside, {refused} refused");
        // The next hello on this thread has as many again.
        assert_eq!(handshake(&client, &site.server), HandshakeKind::Resumed);
    }
}

/// One that is looked up is taken, and burnt by a wrong binder.
#[test]
fn a_ticket_behind_the_fourth_is_not_looked_up() {
    for before in 0..8 {
        let site = Site::new();
        let victim = site
            .identity
            .client(&TLS13, Resumption::in_memory_sessions(32));
        handshake(&victim, &site.server);
        let waiting = site.store.cache().len();
        let seen = Hello::parse(&client_hello(&victim)).tickets();
        let hello = site.offering(&[made_up(before), seen].concat());
        let burnt = u64::from(before) < MOST;
        assert_eq!(try_answer(&hello, &site.server).is_err(), burnt, "{before}");
        assert_eq!(waiting - site.store.cache().len(), usize::from(burnt));
    }
}

/// Nobody says where its hellos begin.
#[test]
fn a_second_configuration_with_the_same_store_has_no_limit() {
    let site = Site::new();
    let hello = site.offering(&made_up(910));
    assert_eq!(answer(&hello, &site.server), HandshakeKind::Full);
    // On the same thread, which has last seen a hello with too many.
    let second = site.identity.server(site.store.clone());
    let client = site
        .identity
        .client(&TLS13, Resumption::in_memory_sessions(32));
    assert_eq!(handshake(&client, &second), HandshakeKind::Full);
    let before = site.outside.asked();
    assert_eq!(answer(&hello, &second), HandshakeKind::Full);
    assert_eq!(site.outside.asked() - before, 910);
    for _ in 0..10 {
        assert_eq!(handshake(&client, &second), HandshakeKind::Resumed);
    }
}

/// As it is asked.
#[derive(Debug)]
struct Asked {
    resolver: Arc<dyn ResolvesServerCert>,
    raw: bool,
    names: Mutex<Vec<Option<String>>>,
}

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(String::from);
        self.names.lock().unwrap().push(name);
        self.resolver.resolve(hello)
    }

    fn only_raw_public_keys(&self) -> bool {
        self.raw
    }
}

#[test]
fn a_configuration_s_resolver_is_asked_as_before() {
    let identity = Identity::new();
    for raw in [false, true] {
        let mut config = identity.server_config(Arc::new(NoServerSessionStorage {}));
        let asked = Arc::new(Asked {
            resolver: config.cert_resolver.clone(),
            raw,
            names: Mutex::default(),
        });
        config.cert_resolver = asked.clone();
        let cache = SessionCache::builder().build().unwrap();
        RustlsStore::new(&cache).unwrap().install(&mut config);
        assert_eq!(config.cert_resolver.only_raw_public_keys(), raw);
        if raw {
            continue; // Its clients would have to know none but these.
        }
        let client = identity.client(&TLS13, Resumption::disabled());
        answer(&client_hello(&client), &Arc::new(config));
        let names = asked.names.lock().unwrap();
        assert_eq!(*names, [Some(support::SERVER.to_owned())]);
    }
}
