//! Real handshakes: what resumes, and what does not any more.

mod support;

use std::sync::Arc;
use std::time::Duration;

use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use sessionwheel_rustls::RustlsStore;
use support::{
    Identity, TIMEOUT, VERSIONS, answer, cache_with_clock, client_hello, handshake, provider,
};

#[test]
fn a_live_session_resumes_in_both_versions() {
    let secure_random = provider().secure_random;
    println!("handshakes by {secure_random:?}");
    for version in VERSIONS {
        let (cache, _hand) = cache_with_clock();
        let identity = Identity::new();
        let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
        let client = identity.client(version, Resumption::in_memory_sessions(32));

        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        for _ in 0..5 {
            assert_eq!(handshake(&client, &server), HandshakeKind::Resumed);
        }
    }
}

#[test]
fn the_store_holds_what_the_table_in_the_readme_says() {
    let expected = [(&TLS12, 1, 1), (&TLS13, 2, 3)];
    for (version, after_full, after_resumed) in expected {
        let (cache, _hand) = cache_with_clock();
        let identity = Identity::new();
        let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
        let client = identity.client(version, Resumption::in_memory_sessions(32));

        handshake(&client, &server);
        assert_eq!(cache.len(), after_full, "{version:?}");
        handshake(&client, &server);
        assert_eq!(cache.len(), after_resumed, "{version:?}");
    }
}

#[test]
fn a_session_resumes_up_to_its_deadline_and_not_beyond() {
    for version in VERSIONS {
        let (cache, hand) = cache_with_clock();
        let identity = Identity::new();
        let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
        let client = identity.client(version, Resumption::in_memory_sessions(32));

        handshake(&client, &server);
        hand.advance(TIMEOUT);
        assert_eq!(handshake(&client, &server), HandshakeKind::Resumed);
        // In TLS 1.3 the tickets of the first handshake and of the second one have expired now.
        hand.advance(TIMEOUT + Duration::from_nanos(1));
        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        assert_eq!(handshake(&client, &server), HandshakeKind::Resumed);
    }
}

#[test]
fn a_timeout_of_the_store_goes_before_the_cache_s() {
    for version in VERSIONS {
        let (cache, hand) = cache_with_clock();
        let identity = Identity::new();
        let short = TIMEOUT / 10;
        let store = RustlsStore::new(&cache).unwrap().with_timeout(short);
        let server = identity.server(Arc::new(store));
        let client = identity.client(version, Resumption::in_memory_sessions(32));

        handshake(&client, &server);
        hand.advance(short + Duration::from_nanos(1));
        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        let swept = cache.flush();
        assert!(swept.removed > 0, "the expired ones leave");
    }
}

#[test]
fn two_stores_over_one_cache_do_not_resume_each_other_s_sessions() {
    for version in VERSIONS {
        let (cache, _hand) = cache_with_clock();
        let identity = Identity::new();
        let first = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
        let second = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
        let client = identity.client(version, Resumption::in_memory_sessions(32));

        assert_eq!(handshake(&client, &first), HandshakeKind::Full);
        assert_eq!(handshake(&client, &second), HandshakeKind::Full);
        assert_eq!(handshake(&client, &second), HandshakeKind::Resumed);
    }
}

#[test]
fn a_purged_configuration_resumes_nothing_and_its_neighbour_all() {
    for version in VERSIONS {
        let (cache, _hand) = cache_with_clock();
        let identity = Identity::new();
        let stores = [(); 2].map(|()| RustlsStore::new(&cache).unwrap());
        let context = stores[0].context();
        let [purged, neighbour] = stores.map(|store| identity.server(Arc::new(store)));
        let clients =
            [(); 2].map(|()| identity.client(version, Resumption::in_memory_sessions(32)));
        handshake(&clients[0], &purged);
        handshake(&clients[1], &neighbour);

        cache.purge(context);
        assert_eq!(handshake(&clients[0], &purged), HandshakeKind::Full);
        assert_eq!(handshake(&clients[1], &neighbour), HandshakeKind::Resumed);
        // What comes after it is as ever.
        assert_eq!(handshake(&clients[0], &purged), HandshakeKind::Resumed);
    }
}

/// rustls does not say which session a new one stems from: see the traps in the README.
#[test]
fn a_chain_of_tls13_resumptions_has_no_end_but_a_purge() {
    let (cache, hand) = cache_with_clock();
    let identity = Identity::new();
    let store = Arc::new(RustlsStore::new(&cache).unwrap());
    let server = identity.server(store.clone());
    let client = identity.client(&TLS13, Resumption::in_memory_sessions(32));
    assert_eq!(handshake(&client, &server), HandshakeKind::Full);
    let end = cache
        .now()
        .saturating_add(cache.lineage().unwrap() + TIMEOUT);
    while cache.now() < end {
        hand.advance(TIMEOUT);
        assert_eq!(handshake(&client, &server), HandshakeKind::Resumed);
    }
    cache.purge(store.context());
    assert_eq!(handshake(&client, &server), HandshakeKind::Full);
}

#[test]
fn stores_that_share_a_context_resume_each_other_s_sessions() {
    for version in VERSIONS {
        let (cache, _hand) = cache_with_clock();
        let identity = Identity::new();
        let store = RustlsStore::new(&cache).unwrap();
        let twin = RustlsStore::with_context(&cache, store.context());
        let client = identity.client(version, Resumption::in_memory_sessions(32));

        handshake(&client, &identity.server(Arc::new(store)));
        let kind = handshake(&client, &identity.server(Arc::new(twin)));
        assert_eq!(kind, HandshakeKind::Resumed);
    }
}

#[test]
fn a_tls13_ticket_resumes_once() {
    let (cache, _hand) = cache_with_clock();
    let identity = Identity::new();
    let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
    let client = identity.client(&TLS13, Resumption::in_memory_sessions(32));

    assert_eq!(handshake(&client, &server), HandshakeKind::Full);
    let hello = client_hello(&client);
    assert_eq!(answer(&hello, &server), HandshakeKind::Resumed);
    assert_eq!(answer(&hello, &server), HandshakeKind::Full, "replayed");
}
