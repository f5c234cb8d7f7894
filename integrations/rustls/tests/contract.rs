//! The trait's contract called directly, and bad input.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::server::StoresServerSessions;
use rustls::version::{TLS12, TLS13};
use sessionwheel::SessionCache;
use sessionwheel_rustls::{KEY_LEN, MAX_VALUE_LEN, RustlsStore};
use support::{Identity, cache_with_clock, handshake};

fn store() -> RustlsStore {
    RustlsStore::new(&cache_with_clock().0).unwrap()
}

#[test]
fn put_overwrites_and_take_deletes() {
    let store = store();
    let key = vec![7; KEY_LEN];
    assert!(store.put(key.clone(), vec![1; 84]));
    assert!(store.put(key.clone(), vec![2; 85]));
    assert_eq!(store.cache().len(), 1);
    assert_eq!(store.get(&key), Some(vec![2; 85]));
    assert_eq!(store.take(&key), Some(vec![2; 85]));
    assert_eq!(store.take(&key), None);
    assert_eq!(store.get(&key), None);
}

#[test]
fn one_of_many_takers_gets_the_session() {
    let store = store();
    for round in 0..200u64 {
        let mut key = vec![0; KEY_LEN];
        key[..8].copy_from_slice(&round.to_le_bytes());
        assert!(store.put(key.clone(), vec![3; 84]));
        let winners = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    if store.take(&key).is_some() {
                        winners.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}

#[test]
fn keys_of_a_wrong_length_are_refused_and_counted() {
    let store = store();
    let lengths = [0, 31, 33, 64 * 1024];
    for length in lengths {
        let key = vec![7; length];
        assert!(!store.put(key.clone(), vec![1; 84]));
        assert_eq!(store.get(&key), None);
        assert_eq!(store.take(&key), None);
    }
    assert_eq!(store.stats().bad_keys, 3 * lengths.len() as u64);
    assert_eq!(store.cache().len(), 0);
}

#[test]
fn values_up_to_64_kb_are_stored_and_longer_ones_refused() {
    let store = store();
    let key = vec![7; KEY_LEN];
    assert!(store.put(key.clone(), vec![1; MAX_VALUE_LEN]));
    assert!(!store.put(key.clone(), vec![2; MAX_VALUE_LEN + 1]));
    assert_eq!(store.stats().oversized, 1);
    assert_eq!(store.get(&key), Some(vec![1; MAX_VALUE_LEN]));
    assert!(store.put(vec![8; KEY_LEN], Vec::new()));
    assert_eq!(store.get(&[8; KEY_LEN]), Some(Vec::new()));
}

#[test]
fn a_maximum_of_zero_keeps_nothing_and_handshakes_go_on() {
    let cache = SessionCache::builder().maximum(Some(0)).build().unwrap();
    let store = Arc::new(RustlsStore::new(&cache).unwrap());
    assert!(!store.can_cache());
    assert!(!store.put(vec![7; KEY_LEN], vec![1; 84]));
    assert_eq!(store.stats().not_stored, 1);

    let identity = Identity::new();
    let server = identity.server(store);
    for version in [&TLS12, &TLS13] {
        let client = identity.client(version, Resumption::in_memory_sessions(32));
        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
        assert_eq!(handshake(&client, &server), HandshakeKind::Full);
    }
}

#[test]
fn debug_prints_no_key_and_no_value() {
    let store = store();
    store.put(vec![0xA7; KEY_LEN], vec![0xB9; 84]);
    let text = format!("{store:?}").to_lowercase();
    for secret in ["a7", "167", "b9", "185"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn a_store_is_an_arc_dyn_stores_server_sessions() {
    let store: Arc<dyn StoresServerSessions> = Arc::new(store());
    assert!(store.can_cache());
}
