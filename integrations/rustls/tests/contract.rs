//! The trait's contract called directly, and bad input.

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::server::StoresServerSessions;
use rustls::version::{TLS12, TLS13};
use sessionwheel::{
    Claim, Context, ExternalTier, Fetched, Reason, SessionCache, SessionKey, TierSession,
};
use sessionwheel_rustls::{KEY_LEN, MAX_VALUE_LEN, RustlsStore, StoredSession};
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

/// What two hosts have outside.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<HashMap<SessionKey, TierSession<Vec<u8>>>>>);

impl ExternalTier<StoredSession> for Shared {
    fn store(&self, session: TierSession<&StoredSession>) {
        let session = session.map(|session| session.as_bytes().to_vec());
        self.0.lock().unwrap().insert(session.key, session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<StoredSession> {
        match self.0.lock().unwrap().get(key) {
            Some(session) => Fetched::Hit(session.clone().map(|v| StoredSession::copy_from(&v))),
            None => Fetched::Miss,
        }
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        self.0.lock().unwrap().remove(key).is_some().into()
    }

    fn remove(&self, key: &SessionKey, _: Reason) {
        self.0.lock().unwrap().remove(key);
    }
}

#[test]
fn stores_of_two_hosts_share_what_is_outside() {
    let shared = Shared::default();
    let caches = [(); 2].map(|()| SessionCache::builder().external(shared.clone()).build());
    let [a, b] = caches.map(|cache| RustlsStore::new(&cache.unwrap()).unwrap());
    let (session, ticket) = ([1; KEY_LEN], [2; KEY_LEN]);
    assert!(a.put(session.to_vec(), vec![7; 85]));
    assert!(a.put(ticket.to_vec(), vec![8; 85]));
    assert_eq!(b.get(&session), Some(vec![7; 85]));
    assert_eq!(a.get(&session), Some(vec![7; 85]));
    assert_eq!(b.take(&ticket), Some(vec![8; 85]));
    assert_eq!((a.take(&ticket), b.take(&ticket)), (None, None));
    let counters = b.cache().counters();
    assert_eq!(
        (counters.hits, counters.cb_hits, counters.misses),
        (2, 2, 3)
    );
}

#[test]
fn who_takes_early_data_is_given_a_store_for_its_own() {
    let shared = Shared::default();
    let builders = [(); 2].map(|()| SessionCache::builder().external(shared.clone()));
    let [one, other] = builders.map(|builder| builder.build().unwrap());
    let identity = Identity::new();
    for (size, given) in [(0, true), (1 << 14, false)] {
        let a = RustlsStore::with_context(&one, Context::DEFAULT);
        let mut configuration = identity.server_config(Arc::new(store()));
        configuration.max_early_data_size = size;
        let b = RustlsStore::with_context(&other, Context::DEFAULT).install(&mut configuration);
        let (key, value) = (vec![7 + u8::from(given); KEY_LEN], vec![7; 85]);
        assert!(a.put(key.clone(), value.clone()));
        let found = configuration.session_storage.take(&key);
        assert_eq!(found, given.then_some(value));
        assert_eq!(b.stats().from_outside, u64::from(!given));
    }
}

#[test]
fn a_store_for_its_own_takes_none_from_outside() {
    let shared = Shared::default();
    let caches = [(); 2].map(|()| SessionCache::builder().external(shared.clone()).build());
    let stores = caches.map(|cache| RustlsStore::new(&cache.unwrap()).unwrap());
    let [a, b] = stores.map(RustlsStore::own_tls13_only);
    let put = |n: u8| assert!(a.put(vec![n; KEY_LEN], vec![n; 85]));
    (1..=3).for_each(put);
    assert_eq!(a.take(&[1; KEY_LEN]), Some(vec![1; 85]), "its own");
    assert_eq!(b.take(&[2; KEY_LEN]), None);
    assert_eq!(a.take(&[2; KEY_LEN]), None, "it was taken out all the same");
    // It stays inside for TLS 1.2, which has no early data, and is no other for that.
    assert_eq!(b.get(&[3; KEY_LEN]), Some(vec![3; 85]));
    assert_eq!(b.take(&[3; KEY_LEN]), None);
    assert_eq!((a.stats().from_outside, b.stats().from_outside), (0, 2));
}

#[test]
fn what_comes_from_outside_and_is_too_long_is_not_handed_out() {
    let shared = Shared::default();
    let caches = [(); 2].map(|()| SessionCache::builder().external(shared.clone()).build());
    let [a, b] = caches.map(|cache| RustlsStore::new(&cache.unwrap()).unwrap());
    let b = b.with_max_value_len(100);
    for (n, len) in [(1, 100), (2, 101), (3, 100), (4, 101)] {
        assert!(a.put(vec![n; KEY_LEN], vec![n; len]));
    }
    let found = [1, 2].map(|n| b.get(&[n; KEY_LEN]).map(|value| value.len()));
    let taken = [3, 4].map(|n| b.take(&[n; KEY_LEN]).map(|value| value.len()));
    assert_eq!((found, taken), ([Some(100), None], [Some(100), None]));
    assert_eq!((a.stats().oversized, b.stats().oversized), (0, 2));
}

/// The same, but nobody can be asked who may use a ticket.
struct Undecided(Shared);

impl ExternalTier<StoredSession> for Undecided {
    fn store(&self, session: TierSession<&StoredSession>) {
        self.0.store(session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<StoredSession> {
        self.0.fetch(key)
    }

    fn claim(&self, _: &SessionKey) -> Claim {
        Claim::Local
    }

    fn remove(&self, key: &SessionKey, reason: Reason) {
        self.0.remove(key, reason);
    }
}

#[test]
fn where_early_data_is_taken_no_ticket_is_that_nobody_decides_about() {
    let identity = Identity::new();
    for (size, given) in [(0, true), (1 << 14, false)] {
        let builder = SessionCache::builder().external(Undecided(Shared::default()));
        let cache = builder.build().unwrap();
        let mut configuration = identity.server_config(Arc::new(store()));
        configuration.max_early_data_size = size;
        let store = RustlsStore::new(&cache)
            .unwrap()
            .install(&mut configuration);
        let (key, value) = (vec![7; KEY_LEN], vec![7; 85]);
        assert!(store.put(key.clone(), value.clone()));
        let found = configuration.session_storage.take(&key);
        assert_eq!(found, given.then_some(value));
        assert_eq!(store.stats().undecided, u64::from(!given));
        assert_eq!(store.take(&key), None, "once, whoever decides");
        assert_eq!(store.stats().from_outside, 0);
    }
}
