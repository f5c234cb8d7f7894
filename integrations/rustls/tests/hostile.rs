//! What clients may send that no honest one does, and configurations that are pulled away.

mod support;

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::server::StoresServerSessions;
use rustls::version::{TLS12, TLS13};
use sessionwheel::{Claim, ExternalTier, Fetched, Reason, SessionCache, SessionKey, TierSession};
use sessionwheel_rustls::{RustlsStore, StoredSession};
use support::hello::Hello;
use support::{
    Identity, VERSIONS, answer, begin, cache_with_clock, client_hello, connect, exchange,
    handshake, kind, try_answer,
};

/// How often the cache was asked so far.
fn lookups(cache: &SessionCache<StoredSession>) -> u64 {
    let counters = cache.counters();
    counters.hits + counters.misses + counters.timeouts
}

fn ids(count: usize, len: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| {
            let mut id = vec![0xD1; len];
            id.iter_mut().zip(n.to_le_bytes()).for_each(|(b, n)| *b = n);
            id
        })
        .collect()
}

#[test]
fn a_hello_costs_a_lookup_for_each_ticket_that_could_be_one() {
    let (cache, _hand) = cache_with_clock();
    let store = Arc::new(RustlsStore::new(&cache).unwrap());
    let identity = Identity::new();
    let server = identity.server(store.clone());
    let client = identity.client(&TLS13, Resumption::disabled());
    handshake(&client, &server);
    let waiting = cache.len();

    // The last one is as many as a hello of 64 KB has room for.
    for (count, len, asked) in [
        (1, 32, 1),
        (100, 32, 100),
        (100, 31, 0),
        (100, 33, 0),
        (1_600, 1, 0),
        (910, 32, 910),
    ] {
        let hello = Hello::parse(&client_hello(&client)).with_tickets(&ids(count, len));
        let (before, refused) = (lookups(&cache), store.stats().bad_keys);
        assert_eq!(answer(&hello.records(), &server), HandshakeKind::Full);
        let refused = store.stats().bad_keys - refused;
        assert_eq!(lookups(&cache) - before, asked, "{count} of {len} bytes");
        assert_eq!(refused, count as u64 - asked, "{count} of {len} bytes");
        println!("{count} tickets of {len} bytes: {asked} lookups, {refused} refused");
    }
    assert_eq!(cache.len(), waiting, "nobody's session was lost");
}

#[test]
fn tickets_of_any_length_are_a_miss() {
    let (cache, _hand) = cache_with_clock();
    let store = Arc::new(RustlsStore::new(&cache).unwrap());
    let identity = Identity::new();
    let server = identity.server(store.clone());
    let client = identity.client(&TLS13, Resumption::disabled());
    for len in [1, 31, 33, 1_000, 16_384, 65_000] {
        let hello = Hello::parse(&client_hello(&client)).with_tickets(&ids(1, len));
        assert_eq!(answer(&hello.records(), &server), HandshakeKind::Full);
    }
    assert_eq!((store.stats().bad_keys, lookups(&cache)), (6, 0));

    // One of no bytes rustls takes for no hello at all.
    let hello = Hello::parse(&client_hello(&client)).with_tickets(&ids(1, 0));
    assert!(try_answer(&hello.records(), &server).is_err());
    assert_eq!((store.stats().bad_keys, lookups(&cache)), (6, 0));
}

#[test]
fn session_ids_of_any_length_are_a_miss() {
    let (cache, _hand) = cache_with_clock();
    let store = Arc::new(RustlsStore::new(&cache).unwrap());
    let identity = Identity::new();
    let server = identity.server(store.clone());
    let client = identity.client(&TLS12, Resumption::disabled());
    let offer = |len: usize| {
        let hello = Hello::parse(&client_hello(&client)).with_session_id(&vec![7; len]);
        try_answer(&hello.records(), &server)
    };
    for (len, refused, asked) in [(0, 0, 0), (1, 1, 0), (31, 2, 0), (32, 2, 1)] {
        assert_eq!(offer(len).unwrap(), HandshakeKind::Full);
        let counts = (store.stats().bad_keys, lookups(&cache));
        assert_eq!(counts, (refused, asked), "{len} bytes");
    }
    // Longer ones rustls takes for no hello at all.
    for len in [33, 255] {
        assert!(offer(len).is_err());
    }
    assert_eq!((store.stats().bad_keys, lookups(&cache)), (2, 1));
}

#[test]
fn who_has_seen_a_ticket_can_burn_that_one_and_no_other() {
    let (cache, _hand) = cache_with_clock();
    let identity = Identity::new();
    let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
    let victim = identity.client(&TLS13, Resumption::in_memory_sessions(32));
    let attacker = identity.client(&TLS13, Resumption::disabled());
    handshake(&victim, &server);
    let waiting = cache.len();

    // The ticket as it crosses the wire; the hello itself does not arrive.
    let seen = Hello::parse(&client_hello(&victim)).tickets();
    assert_eq!(seen.len(), 1);
    let tickets = [ids(99, 32), seen, ids(50, 32)].concat();
    let hello = Hello::parse(&client_hello(&attacker)).with_tickets(&tickets);
    let before = lookups(&cache);
    assert!(try_answer(&hello.records(), &server).is_err(), "binder");
    assert_eq!(
        lookups(&cache) - before,
        100,
        "up to the first one that is there"
    );
    assert_eq!(cache.len(), waiting - 1);
    assert_eq!(
        handshake(&victim, &server),
        HandshakeKind::Resumed,
        "by the other ticket"
    );
}

#[test]
fn a_value_over_the_limit_is_refused_and_the_handshake_goes_on() {
    for version in VERSIONS {
        let (cache, _hand) = cache_with_clock();
        let identity = Identity::new();
        let store = Arc::new(RustlsStore::new(&cache).unwrap().with_max_value_len(50));
        let server = identity.server(store.clone());
        let client = identity.client(version, Resumption::in_memory_sessions(32));
        for _ in 0..3 {
            assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        }
        let stats = store.stats();
        let each = if version == &TLS13 { 2 } else { 1 };
        assert_eq!((stats.oversized, stats.not_stored), (3 * each, 0));
        assert_eq!(cache.len(), 0);
    }
}

/// Says when the cache is gone: there is nothing outside.
struct Nothing(Arc<()>);

impl ExternalTier<StoredSession> for Nothing {
    fn store(&self, _: TierSession<&StoredSession>) {
        assert!(Arc::strong_count(&self.0) > 1);
    }
    fn fetch(&self, _: &SessionKey) -> Fetched<StoredSession> {
        Fetched::Miss
    }
    fn claim(&self, _: &SessionKey) -> Claim {
        Claim::Won
    }
    fn remove(&self, _: &SessionKey, _: Reason) {}
}

#[test]
fn connections_outlive_the_cache_and_a_handshake_under_way_keeps_it() {
    for version in VERSIONS {
        let alive = Arc::new(());
        let tier = Nothing(alive.clone());
        let cache = SessionCache::builder().external(tier).build().unwrap();
        let identity = Identity::new();
        let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
        let client = identity.client(version, Resumption::in_memory_sessions(32));
        let (mut ours, mut theirs) = connect(&client, &server).unwrap();

        // Of another connection, the server has only just been made.
        let mut late = begin(&client, &server);
        drop((cache, server));
        assert_eq!(Arc::strong_count(&alive), 2, "{version:?}");
        exchange(&mut late.0, &mut late.1).unwrap();
        assert_eq!(kind(&late.0, &late.1), HandshakeKind::Resumed);
        drop(late);
        assert_eq!(Arc::strong_count(&alive), 1, "{version:?}: nothing is left");

        ours.writer().write_all(b"still here").unwrap();
        exchange(&mut ours, &mut theirs).unwrap();
        let mut said = [0; 10];
        theirs.reader().read_exact(&mut said).unwrap();
        assert_eq!(&said, b"still here");
    }
}

#[test]
fn a_flood_of_full_handshakes_stays_within_the_maximum() {
    for version in VERSIONS {
        let cache = SessionCache::builder().maximum(Some(50)).build().unwrap();
        let store = Arc::new(RustlsStore::new(&cache).unwrap());
        let identity = Identity::new();
        let server = identity.server(store.clone());
        let flood = identity.client(version, Resumption::disabled());
        for _ in 0..100 {
            handshake(&flood, &server);
            assert!(cache.len() <= 50);
        }
        assert_eq!(cache.len(), 50);
        let client = identity.client(version, Resumption::in_memory_sessions(32));
        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        assert_eq!(handshake(&client, &server), HandshakeKind::Resumed);
        assert!(store.can_cache() && store.stats().not_stored == 0);
    }
}

/// A tier of which nothing works.
struct Broken;

impl ExternalTier<StoredSession> for Broken {
    fn store(&self, _: TierSession<&StoredSession>) {
        panic!("store")
    }
    fn fetch(&self, _: &SessionKey) -> Fetched<StoredSession> {
        panic!("fetch")
    }
    fn claim(&self, _: &SessionKey) -> Claim {
        panic!("claim")
    }
    fn remove(&self, _: &SessionKey, _: Reason) {
        panic!("remove")
    }
}

#[test]
fn callbacks_that_panic_break_no_handshake() {
    let builder = SessionCache::<StoredSession>::builder;
    // Whether there is then a session to resume, in TLS 1.2 and in TLS 1.3.
    let cases = [
        (builder().on_new(|_, _| panic!("new")), [false, false]),
        (
            builder().on_remove(|_, _, _| panic!("remove")),
            [true, true],
        ),
        // A ticket that cannot be claimed outside may have been used there.
        (builder().external(Broken), [true, false]),
    ];
    for (builder, resumes) in cases {
        let cache = builder.maximum(Some(2)).build().unwrap();
        let identity = Identity::new();
        let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
        for (version, resumes) in VERSIONS.into_iter().zip(resumes) {
            let client = identity.client(version, Resumption::in_memory_sessions(32));
            assert_eq!(handshake(&client, &server), HandshakeKind::Full);
            let second = handshake(&client, &server);
            assert_eq!(second == HandshakeKind::Resumed, resumes, "{version:?}");
        }
        assert!(cache.counters().panics > 0);
    }
}
