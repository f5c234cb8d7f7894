//! The client's store: rustls' contract by real handshakes, bounds, expiry, threads.

mod support;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use rustls::client::{ClientSessionStore, Resumption};
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore, ServerConfig};
use sessionwheel::{Clock, ManualClock, SessionCache, Timestamp};
use sessionwheel_rustls::{RustlsClientStore, RustlsClientStoreBuilder, RustlsStore};
use support::{Identity, SERVER, VERSIONS, connect, connect_to, handshake, provider};

const NANOSECOND: Duration = Duration::from_nanos(1);
const TIMEOUT: Duration = Duration::from_secs(3_600);

fn builder() -> (RustlsClientStoreBuilder, ManualClock) {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    let builder = RustlsClientStore::builder().timeout(TIMEOUT).clock(clock);
    (builder, hand)
}

fn store() -> Arc<RustlsClientStore> {
    Arc::new(builder().0.build().unwrap())
}

fn name() -> ServerName<'static> {
    ServerName::try_from(SERVER).unwrap()
}

/// A server that sends so many tickets, and keeps them for long.
fn server(identity: &Identity, tickets: usize) -> Arc<ServerConfig> {
    let day = Duration::from_secs(24 * 3_600);
    let cache = SessionCache::builder().timeout(day).build().unwrap();
    let mut config = identity.server_config(Arc::new(RustlsStore::new(&cache).unwrap()));
    config.send_tls13_tickets = tickets;
    Arc::new(config)
}

/// Takes all tickets of the server, and says how they are called.
fn take_all(store: &RustlsClientStore) -> Vec<String> {
    let take = || store.take_tls13_ticket(&name());
    let tickets = std::iter::from_fn(take);
    tickets.map(|ticket| format!("{ticket:?}")).collect()
}

#[test]
fn sessions_of_both_versions_resume() {
    for version in VERSIONS {
        let (store, identity) = (store(), Identity::new());
        let server = server(&identity, 2);
        let client = identity.client(version, Resumption::store(store.clone()));
        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        for _ in 0..20 {
            assert_eq!(handshake(&client, &server), HandshakeKind::Resumed);
        }
        let stats = store.stats();
        if version == &TLS12 {
            assert_eq!((stats.tls12_sessions, stats.servers), (1, 0));
        } else {
            assert_eq!((stats.tls12_sessions, stats.servers), (0, 1));
            // Two for each handshake, one used by each but the first; eight are kept.
            assert_eq!((stats.stored, stats.taken), (42, 20));
            assert_eq!(stats.displaced, 42 - 20 - 8);
            assert_eq!(take_all(&store).len(), 8);
        }
    }
}

#[test]
fn the_newest_ticket_goes_first_and_the_oldest_gives_way() {
    let store = builder().0.tickets(3).build().unwrap();
    let identity = Identity::new();
    let mut arrived = Vec::new();
    for _ in 0..5 {
        let fresh = self::store();
        let client = identity.client(&TLS13, Resumption::store(fresh.clone()));
        handshake(&client, &server(&identity, 1));
        let ticket = fresh.take_tls13_ticket(&name()).unwrap();
        arrived.push(format!("{ticket:?}"));
        store.insert_tls13_ticket(name(), ticket);
    }
    arrived.reverse();
    assert_eq!(take_all(&store), arrived[..3]);
    assert_eq!(store.stats().displaced, 2);
}

#[test]
fn a_ticket_is_handed_out_once() {
    let (store, identity) = (store(), Identity::new());
    let client = identity.client(&TLS13, Resumption::store(store.clone()));
    handshake(&client, &server(&identity, 5));
    let tickets = take_all(&store);
    assert_eq!(tickets.len(), 5);
    assert_eq!(tickets.iter().collect::<HashSet<_>>().len(), 5);
    assert!(store.take_tls13_ticket(&name()).is_none());
    assert_eq!(
        handshake(&client, &server(&identity, 0)),
        HandshakeKind::Full
    );
}

#[test]
fn threads_get_each_ticket_once() {
    const ROUNDS: usize = 20;
    const TICKETS: usize = 200;
    let identity = Identity::new();
    let server = server(&identity, TICKETS);
    let (mut taken, mut threads) = (0, 0);
    for _ in 0..ROUNDS {
        let store = Arc::new(builder().0.tickets(TICKETS as u8).build().unwrap());
        let client = identity.client(&TLS13, Resumption::store(store.clone()));
        handshake(&client, &server);
        let of_each: Vec<Vec<String>> = thread::scope(|scope| {
            let together = Arc::new(Barrier::new(4));
            let take = [(); 4].map(|()| {
                let (store, together) = (&store, together.clone());
                scope.spawn(move || {
                    together.wait();
                    take_all(store)
                })
            });
            take.into_iter().map(|t| t.join().unwrap()).collect()
        });
        threads += of_each.iter().filter(|tickets| !tickets.is_empty()).count();
        let distinct: HashSet<_> = of_each.iter().flatten().collect();
        taken += of_each.iter().flatten().count();
        assert_eq!(distinct.len(), TICKETS);
        assert_eq!(store.stats().taken, TICKETS as u64);
    }
    assert_eq!(taken, ROUNDS * TICKETS);
    println!("{ROUNDS} times {TICKETS} tickets, each taken once, by {threads} threads");
}

#[test]
fn threads_that_store_and_take_lose_nothing() {
    const TURNS: u64 = 5_000;
    let (store, identity) = (store(), Identity::new());
    let client = identity.client(&TLS13, Resumption::store(store.clone()));
    handshake(&client, &server(&identity, 8));
    let took = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..TURNS {
                    if let Some(ticket) = store.take_tls13_ticket(&name()) {
                        took.fetch_add(1, Ordering::Relaxed);
                        store.insert_tls13_ticket(name(), ticket);
                    }
                }
            });
        }
    });
    let stats = store.stats();
    assert_eq!(stats.taken, took.into_inner());
    assert_eq!(stats.stored, 8 + stats.taken);
    let left = take_all(&store).len() as u64;
    assert!(left > 0);
    assert_eq!(left, 8 - stats.displaced, "{stats:?}");
}

#[test]
fn threads_that_meet_a_new_server_lose_nothing() {
    let identity = Identity::new();
    let fresh = store();
    let client = identity.client(&TLS13, Resumption::store(fresh.clone()));
    for _ in 0..200 {
        let store = store();
        fresh.clear();
        handshake(&client, &server(&identity, 4));
        thread::scope(|scope| {
            for _ in 0..4 {
                let ticket = fresh.take_tls13_ticket(&name()).unwrap();
                let store = &store;
                scope.spawn(move || store.insert_tls13_ticket(name(), ticket));
            }
        });
        assert_eq!(store.stats().servers, 1);
        assert_eq!(take_all(&store).len(), 4);
    }
}

#[test]
fn nothing_is_handed_out_after_the_timeout() {
    for version in VERSIONS {
        let (builder, hand) = builder();
        let (store, identity) = (Arc::new(builder.build().unwrap()), Identity::new());
        let client = identity.client(version, Resumption::store(store.clone()));
        let server = server(&identity, 2);
        handshake(&client, &server);
        hand.advance(TIMEOUT);
        assert_eq!(handshake(&client, &server), HandshakeKind::Resumed);
        hand.advance(TIMEOUT + NANOSECOND);
        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        hand.advance(TIMEOUT + NANOSECOND);
        assert_eq!(store.flush(), 1);
        let stats = store.stats();
        assert_eq!((stats.servers, stats.tls12_sessions), (0, 0));
        assert_eq!(store.reclaim(), 0);
    }
}

#[test]
fn a_server_that_is_in_use_keeps_no_old_ticket() {
    let (builder, hand) = builder();
    let (store, identity) = (Arc::new(builder.build().unwrap()), Identity::new());
    let client = identity.client(&TLS13, Resumption::store(store.clone()));
    handshake(&client, &server(&identity, 4));
    hand.advance(TIMEOUT / 2);
    store.set_kx_hint(name(), NamedGroup::X25519);
    hand.advance(TIMEOUT / 2 + NANOSECOND);
    assert_eq!(store.kx_hint(&name()), Some(NamedGroup::X25519));
    assert!(store.take_tls13_ticket(&name()).is_none());
    let stats = store.stats();
    assert_eq!((stats.expired, stats.taken, stats.servers), (4, 0, 1));
}

#[test]
fn a_hint_saves_a_round_trip() {
    let (store, identity) = (
        Arc::new(builder().0.tickets(0).build().unwrap()),
        Identity::new(),
    );
    let client = identity.client(&TLS13, Resumption::store(store.clone()));
    let mut config = identity.server_config(Arc::new(NoServerSessionStorage {}));
    // Another group than the client's first.
    let mut other = (*provider()).clone();
    other.kx_groups.rotate_left(1);
    other.kx_groups.truncate(1);
    let group = other.kx_groups[0].name();
    assert_ne!(group, provider().kx_groups[0].name());
    let key = config.cert_resolver.clone();
    config = ServerConfig::builder_with_provider(Arc::new(other))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(key);
    let server = Arc::new(config);

    let first = handshake(&client, &server);
    assert_eq!(first, HandshakeKind::FullWithHelloRetryRequest);
    assert_eq!(store.kx_hint(&name()), Some(group));
    assert_eq!(handshake(&client, &server), HandshakeKind::Full);
    let stats = store.stats();
    assert_eq!((stats.taken, stats.displaced), (0, stats.stored));
}

#[test]
fn a_later_hint_or_session_replaces_the_earlier() {
    let (store, identity) = (store(), Identity::new());
    assert_eq!(store.kx_hint(&name()), None);
    for group in [
        NamedGroup::X25519,
        NamedGroup::secp256r1,
        NamedGroup::from(0xFFFF),
    ] {
        store.set_kx_hint(name(), group);
        assert_eq!(store.kx_hint(&name()), Some(group));
    }
    let client = identity.client(&TLS12, Resumption::store(store.clone()));
    let server = server(&identity, 2);
    handshake(&client, &server);
    let session = || store.tls12_session(&name()).map(|s| format!("{s:?}"));
    let first = session().expect("a session");
    assert_eq!(session(), Some(first.clone()), "it stays");
    store.remove_tls12_session(&name());
    assert!(session().is_none());
    handshake(&client, &server);
    assert_ne!(session(), Some(first));
    assert_eq!(store.stats().tls12_sessions, 1);
}

#[test]
fn servers_are_bounded_and_kept_apart() {
    let (builder, hand) = builder();
    let store = builder.maximum(Some(3)).build().unwrap();
    let names: Vec<ServerName<'static>> = (0..5)
        .map(|n| ServerName::try_from(format!("host-{n}.example")).unwrap())
        .collect();
    let group = |n: usize| NamedGroup::from(n as u16);
    for (n, name) in names.iter().enumerate() {
        store.set_kx_hint(name.clone(), group(n));
        hand.advance(NANOSECOND);
    }
    let hints: Vec<_> = names.iter().map(|name| store.kx_hint(name)).collect();
    assert_eq!(
        hints,
        [None, None, Some(group(2)), Some(group(3)), Some(group(4))]
    );

    // The one that was written to least recently goes first.
    store.set_kx_hint(names[2].clone(), group(9));
    store.set_kx_hint(names[0].clone(), group(0));
    let hints: Vec<_> = names.iter().map(|name| store.kx_hint(name)).collect();
    assert_eq!(
        hints,
        [Some(group(0)), None, Some(group(9)), None, Some(group(4))]
    );
    assert_eq!((store.stats().servers, store.stats().evicted), (3, 3));

    store.forget(&names[4]);
    assert_eq!(store.kx_hint(&names[4]), None);
    store.clear();
    assert_eq!(store.stats().servers, 0);
}

#[test]
fn a_ticket_of_one_server_is_not_offered_to_another() {
    for version in VERSIONS {
        let store = store();
        let made = rcgen::generate_simple_self_signed(["a.example".into(), "b.example".into()]);
        let identity = Identity::from(made.unwrap());
        let client = identity.client(version, Resumption::store(store.clone()));
        let server = server(&identity, 2);
        let to = |name| {
            let (client, server) = connect_to(name, &client, &server).unwrap();
            support::kind(&client, &server)
        };
        assert_eq!(to("a.example"), HandshakeKind::Full);
        assert_eq!(to("b.example"), HandshakeKind::Full);
        assert_eq!(to("a.example"), HandshakeKind::Resumed);
        // Names know no case.
        assert_eq!(to("B.Example"), HandshakeKind::Resumed);
    }
}

#[test]
fn a_store_that_keeps_nothing_lets_handshakes_go_on() {
    for version in VERSIONS {
        let store = Arc::new(builder().0.maximum(Some(0)).build().unwrap());
        let identity = Identity::new();
        let client = identity.client(version, Resumption::store(store.clone()));
        let server = server(&identity, 2);
        for _ in 0..3 {
            assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        }
        assert!(store.stats().not_stored >= 3);
        assert_eq!(store.stats().servers, 0);
    }
}

#[test]
fn a_stricter_client_with_the_same_store_does_not_resume() {
    for version in VERSIONS {
        let (store, identity) = (store(), Identity::new());
        let server = server(&identity, 2);
        let trusting = identity.client(version, Resumption::store(store.clone()));
        handshake(&trusting, &server);
        let mut strict = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(strangers())
            .with_no_client_auth();
        strict.resumption = Resumption::store(store.clone());
        assert!(connect(&Arc::new(strict), &server).is_err(), "it verifies");
    }
}

fn strangers() -> RootCertStore {
    Identity::new().roots()
}

#[test]
fn debug_tells_no_names() {
    let store = store();
    store.set_kx_hint(name(), NamedGroup::X25519);
    let text = format!("{store:?}");
    assert!(
        !text.contains(SERVER) && text.contains("servers: 1"),
        "{text}"
    );
}
