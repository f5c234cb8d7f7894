//! Row 15: a rustls server whose store is full of sessions. Real TLS 1.3 handshakes between a client
//! and a server in memory; the store is stateful, so each resumption is a take and two puts.
//!
//! A server's time is what its calls (and making and dropping its connection) take of the thread's processor
//! time. The store's time is the wall time of its calls, seen from inside an adapter around it, two readings of
//! the clock for each call included.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use cpu_time::ThreadTime;
use rustls::client::Resumption;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig, ServerConnection,
};
use sessionwheel::SessionCache;
use sessionwheel_bench::Ids;
use sessionwheel_rustls::RustlsStore;

use crate::figure::is_smoke;
use crate::rows::{Line, line, reported};
use sessionwheel_bench::contest::{Bar, Plan, Run, compare, in_turn, outcome, outcome_beside};

const NAME: &str = "localhost";
const LIFETIME: Duration = Duration::from_secs(7_200);
const SMALL: usize = 256;

/// A store that sums the time of its calls.
#[derive(Debug)]
struct Timed {
    store: Arc<dyn StoresServerSessions>,
    nanos: AtomicU64,
    /// Takes that found something, and puts that were stored.
    takes: AtomicUsize,
    puts: AtomicUsize,
    /// Length of the last value.
    length: AtomicUsize,
}

impl Timed {
    fn time<R>(&self, call: impl FnOnce(&dyn StoresServerSessions) -> R) -> R {
        let start = Instant::now();
        let result = call(&*self.store);
        self.nanos
            .fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        result
    }
}

impl StoresServerSessions for Timed {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.length.store(value.len(), Relaxed);
        let stored = self.time(|store| store.put(key, value));
        self.puts.fetch_add(usize::from(stored), Relaxed);
        stored
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.time(|store| store.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let taken = self.time(|store| store.take(key));
        self.takes.fetch_add(usize::from(taken.is_some()), Relaxed);
        taken
    }

    fn can_cache(&self) -> bool {
        self.time(|store| store.can_cache())
    }
}

/// A server with its store, and a client that has tickets of it.
struct Site {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    timed: Arc<Timed>,
}

/// For each of a number of resumed handshakes, in nanoseconds.
#[derive(Clone, Copy)]
struct Cost {
    server: f64,
    store: f64,
}

impl Site {
    /// With a store that is full: `n` stand-ins as long as what rustls keeps there, under random ids.
    fn new(store: Arc<dyn StoresServerSessions>, n: usize) -> Self {
        let timed = Arc::new(Timed {
            store,
            nanos: AtomicU64::new(0),
            takes: AtomicUsize::new(0),
            puts: AtomicUsize::new(0),
            length: AtomicUsize::new(0),
        });
        let (server, client) = configs(&timed);
        let mut site = Self {
            server,
            client,
            timed,
        };
        assert_eq!(site.handshake().0, HandshakeKind::Full);
        let length = site.timed.length.load(Relaxed);
        assert!(length > 48, "values of {length} bytes");
        let mut draw = Ids::new(15);
        for _ in 0..n {
            let mut value = draw.id().repeat(length.div_ceil(32));
            value.truncate(length);
            assert!(site.timed.store.put(draw.id().to_vec(), value), "refused");
        }
        // What the client has may have made room: again, with another client.
        (site.server, site.client) = configs(&site.timed);
        assert_eq!(site.handshake().0, HandshakeKind::Full);
        site
    }

    /// One handshake to its end, tickets included: what kind both call it, and the time of the
    /// server's calls.
    fn handshake(&self) -> (HandshakeKind, Duration) {
        fn timed<R>(spent: &mut Duration, call: impl FnOnce() -> R) -> R {
            let start = ThreadTime::now();
            let result = call();
            *spent += start.elapsed();
            result
        }
        let mut spent = Duration::ZERO;
        let name = ServerName::try_from(NAME).expect("a name");
        let mut client = ClientConnection::new(Arc::clone(&self.client), name).expect("a client");
        let mut server = timed(&mut spent, || {
            ServerConnection::new(Arc::clone(&self.server)).expect("a server")
        });
        let (mut up, mut down) = (Vec::new(), Vec::new());
        while client.wants_write() || server.wants_write() {
            while client.wants_write() {
                client.write_tls(&mut up).expect("client writes");
            }
            timed(&mut spent, || {
                let mut wire = &up[..];
                while !wire.is_empty() {
                    let read = server.read_tls(&mut wire).expect("server reads");
                    assert_ne!(read, 0, "bytes that nobody reads");
                    server.process_new_packets().expect("server processes");
                }
                while server.wants_write() {
                    server.write_tls(&mut down).expect("server writes");
                }
            });
            let mut wire = &down[..];
            while !wire.is_empty() {
                let read = client.read_tls(&mut wire).expect("client reads");
                assert_ne!(read, 0, "bytes that nobody reads");
                client.process_new_packets().expect("client processes");
            }
            up.clear();
            down.clear();
        }
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let kinds = (client.handshake_kind(), server.handshake_kind());
        assert_eq!(kinds.0, kinds.1, "both ends agree");
        timed(&mut spent, || drop(server));
        (kinds.0.expect("a kind"), spent)
    }

    /// So many handshakes, each of them resumed: a take that finds the ticket and two puts each.
    fn resume(&self, handshakes: usize) -> Cost {
        let counts = || {
            (
                self.timed.takes.load(Relaxed),
                self.timed.puts.load(Relaxed),
            )
        };
        let (takes, puts) = counts();
        let nanos = self.timed.nanos.load(Relaxed);
        let mut server = Duration::ZERO;
        for _ in 0..handshakes {
            let (kind, spent) = self.handshake();
            assert_eq!(kind, HandshakeKind::Resumed);
            server += spent;
        }
        let nanos = self.timed.nanos.load(Relaxed) - nanos;
        let done = (takes + handshakes, puts + 2 * handshakes);
        assert_eq!(counts(), done, "a take and two puts each");
        Cost {
            server: server.as_nanos() as f64 / handshakes as f64,
            store: nanos as f64 / handshakes as f64,
        }
    }
}

/// Both ends' configurations, with a new certificate: TLS 1.3, and no ticketer on the server.
fn configs(store: &Arc<Timed>) -> (Arc<ServerConfig>, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).expect("a certificate");
    let provider = Arc::new(default_provider());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .expect("a version")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a server");
    server.session_storage = Arc::clone(store) as _;
    assert_eq!(server.send_tls13_tickets, 2);
    assert!(!server.ticketer.enabled());
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).expect("a root");
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = Resumption::in_memory_sessions(32);
    (Arc::new(server), Arc::new(client))
}

/// Ours, with `n` sessions. If that is the maximum every second put makes room.
fn ours(n: usize, maximum: Option<usize>) -> Rc<Site> {
    let builder = SessionCache::builder().maximum(maximum).timeout(LIFETIME);
    let cache = builder.helpers(0, |_| ()).build().expect("good numbers");
    let site = Site::new(Arc::new(RustlsStore::new(&cache).expect("a context")), n);
    assert!(cache.len() >= n - 1, "{} of {n}", cache.len());
    Rc::new(site)
}

/// What is built in, as full.
fn built_in(n: usize) -> Rc<Site> {
    Rc::new(Site::new(ServerSessionMemoryCache::new(n), n))
}

pub(crate) fn resumed(plan: Plan) -> Vec<Line> {
    let smoke = is_smoke(plan);
    // Pairs cost little here, and the bar is close: as many in a quick run.
    let (plan, handshakes) = if smoke {
        (plan, 5)
    } else {
        let (pairs, more) = (15, 45);
        let plan = Plan {
            pairs,
            more,
            ..plan
        };
        (plan, 300)
    };
    let run = |site: &Rc<Site>, cost: fn(Cost) -> f64| -> Run {
        let site = Rc::clone(site);
        Box::new(move || cost(site.resume(handshakes)))
    };
    let large = 1_000_000 / plan.divisor;
    eprintln!("row 15: TLS 1.3 resumptions, {large} sessions against {SMALL}");
    let (many, few) = (ours(large, Some(large)), ours(SMALL, Some(SMALL)));
    let mut lines = Vec::new();
    let (bar, against) = (Bar::TimeAtMost(1.0), Bar::TimeAtMost(f64::INFINITY));
    for (site, what) in [
        (&many, "full"),
        (&ours(large, Some(2 * large)), "with room"),
    ] {
        let name = format!("store time of a resumed handshake, {large}, {what}");
        let mut pair = [site, &few].map(|site| run(site, |cost| cost.store));
        let [ours, theirs] = &mut pair;
        let beside = |pairs: &[_]| outcome_beside(pairs, 1_500.0, bar);
        let sure = |pairs: &[_]| !bar.straddled_by(beside(pairs).interval);
        let pairs = in_turn(ours, theirs, plan, sure);
        lines.push(line(15, &name, "1.5 µs", bar, &beside(&pairs)));
        let outcome = outcome(&pairs, against);
        lines.push(reported(line(15, &name, "ours, 256", against, &outcome)));
    }

    // Where few sessions are, and no search for the oldest is long: what the calls cost in a handshake in any case.
    let name = format!("store time of a resumed handshake, the built-in store, {SMALL}");
    let [mut theirs, mut ours] = [&built_in(SMALL), &few].map(|site| run(site, |cost| cost.store));
    let outcome = compare(&mut theirs, &mut ours, against, plan);
    lines.push(reported(line(15, &name, "ours, 256", against, &outcome)));

    let name = format!("server's processor time of a resumed handshake, {large} against {SMALL}");
    let bar = Bar::TimeAtMost(1.05);
    let mut pair = [&many, &few].map(|site| run(site, |cost| cost.server));
    let [ours, theirs] = &mut pair;
    let outcome = compare(ours, theirs, bar, plan);
    lines.push(line(15, &name, "ours, 256", bar, &outcome));

    lines.extend(curve(plan, handshakes, &few));
    lines
}

/// Sizes of the built-in store; its own default comes first.
const SIZES: [usize; 5] = [SMALL, 1_024, 4_096, 20_480, 100_000];

/// The server's time with the built-in store, the larger the slower: beside ours with few sessions.
fn curve(plan: Plan, handshakes: usize, few: &Rc<Site>) -> Vec<Line> {
    let time = |site: &Rc<Site>, handshakes: usize| -> Run {
        let site = Rc::clone(site);
        Box::new(move || site.resume(handshakes).server)
    };
    // Far from any bar: some pairs are enough.
    let pairs = plan.pairs.min(7);
    let plan = Plan {
        pairs,
        more: pairs,
        warms_up: false,
        ..plan
    };
    let mut ours = time(few, handshakes);
    let against = Bar::TimeAtMost(f64::INFINITY);
    let each = SIZES.map(|size| {
        // As many as a smoke run needs: no ticket of its client may have made room.
        let size = (size / plan.divisor).max(16);
        eprintln!("row 15: the built-in store, {size} sessions");
        // With the largest a handshake takes milliseconds.
        let handshakes = if size > 20_000 {
            handshakes.div_ceil(10)
        } else {
            handshakes
        };
        let mut theirs = time(&built_in(size), handshakes);
        let outcome = compare(&mut theirs, &mut ours, against, plan);
        let name = format!("the same with the built-in store, {size}");
        reported(line(15, &name, "ours, 256", against, &outcome))
    });
    each.into()
}
