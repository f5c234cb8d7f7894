use std::collections::HashMap;
use std::sync::Mutex;

use super::*;
use crate::cache::{Clock, Context, ManualClock, SessionId};
use crate::sync::{Arc, thread};
use crate::{Reason, SessionCacheBuilder};

mod again;
mod purges;
mod single_use;
mod times;

const START: Timestamp = Timestamp::from_secs(1 << 33);

/// A store that several caches have outside, and what it was told.
#[derive(Default)]
struct Shared {
    sessions: Mutex<HashMap<SessionKey, TierSession<u64>>>,
    removed: Mutex<Vec<(SessionKey, Reason)>>,
    fetches: Mutex<Vec<SessionKey>>,
}

impl ExternalTier<u64> for Arc<Shared> {
    fn store(&self, session: TierSession<&u64>) {
        let session = session.map(|value| *value);
        self.sessions.lock().unwrap().insert(session.key, session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<u64> {
        self.fetches.lock().unwrap().push(*key);
        match self.sessions.lock().unwrap().get(key) {
            Some(session) => Fetched::Hit(*session),
            None => Fetched::Miss,
        }
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        self.sessions.lock().unwrap().remove(key).is_some().into()
    }

    fn remove(&self, key: &SessionKey, reason: Reason) {
        self.removed.lock().unwrap().push((*key, reason));
        self.sessions.lock().unwrap().remove(key);
    }
}

impl Shared {
    fn len(&self) -> usize {
        self.sessions.lock().unwrap().len()
    }
}

fn key(n: u8) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
}

fn builder() -> (SessionCacheBuilder<u64>, ManualClock) {
    let (clock, hand) = Clock::manual(START);
    (SessionCache::builder().clock(clock), hand)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn establish(cache: &SessionCache<u64>, n: u8) {
    let options = SessionOptions::default();
    let kept = cache.server().established(key(n), n.into(), options);
    assert!(kept.unwrap().is_kept());
}

fn resume(cache: &SessionCache<u64>, n: u8) -> Option<u64> {
    cache.server().resume(&key(n)).hit()
}

#[test]
fn each_mode_includes_its_roles() {
    for (mode, server, client) in [
        (Mode::Off, false, false),
        (Mode::Server, true, false),
        (Mode::Client, false, true),
        (Mode::Both, true, true),
    ] {
        let shared = Arc::new(Shared::default());
        let cache = builder().0.mode(mode).external(shared.clone());
        let cache = cache.build().unwrap();
        for (endpoint, included) in [(cache.server(), server), (cache.client(), client)] {
            cache.clear();
            let options = SessionOptions::default();
            let kept = endpoint.established(key(1), 1, options).unwrap();
            assert_eq!(kept.is_kept(), included);
            assert_eq!(kept == Established::Declined(1), !included);
            assert_eq!(
                (cache.len(), shared.len()),
                (included.into(), included.into())
            );
            // What is there all the same is not looked up, neither inside nor outside.
            cache.insert(key(2), 2).unwrap();
            assert_eq!(endpoint.resume(&key(2)).hit().is_some(), included);
            shared.fetches.lock().unwrap().clear();
            assert_eq!(endpoint.resume(&key(3)), Resumed::Miss);
            assert_eq!(shared.fetches.lock().unwrap().len(), included.into());
        }
    }
}

#[test]
fn what_the_new_callback_refuses_is_nowhere() {
    let shared = Arc::new(Shared::default());
    let cache = builder().0.external(shared.clone()).on_new(|k, value| {
        assert_eq!(k, &key(*value as u8));
        assert_ne!(*value, 9, "planted");
        *value != 8
    });
    let cache = cache.build().unwrap();
    establish(&cache, 1);
    for n in [8, 9] {
        let options = SessionOptions::default();
        let declined = cache.server().established(key(n), n.into(), options);
        assert_eq!(declined.unwrap(), Established::Declined(n.into()));
    }
    assert_eq!((cache.len(), shared.len()), (1, 1));
    assert_eq!((cache.counters().declined, cache.counters().panics), (2, 1));
    assert!(shared.removed.lock().unwrap().is_empty());
}

#[test]
fn inside_first_then_outside_and_all_is_counted() {
    let shared = Arc::new(Shared::default());
    let host = || builder().0.external(shared.clone()).build().unwrap();
    let (a, b) = (host(), host());
    establish(&a, 1);
    assert_eq!(resume(&a, 1), Some(1));
    assert!(shared.fetches.lock().unwrap().is_empty());

    // The first time from outside, then from inside.
    for _ in 0..3 {
        assert_eq!(resume(&b, 1), Some(1));
    }
    assert_eq!(resume(&b, 2), None);
    assert_eq!(*shared.fetches.lock().unwrap(), [key(1), key(2)]);

    let counters = b.counters();
    assert_eq!((counters.hits, counters.cb_hits), (3, 1));
    assert_eq!((counters.misses, counters.number), (2, 1));
}

#[test]
fn handshakes_are_counted_by_role() {
    let cache = builder().0.mode(Mode::Both).build().unwrap();
    for (n, endpoint) in [(1, cache.server()), (2, cache.client())] {
        (0..n).for_each(|_| endpoint.begins());
        (0..2 * n).for_each(|_| endpoint.ends());
        (0..3 * n).for_each(|_| endpoint.renegotiates());
    }
    let all = cache.counters();
    assert_eq!((all.accept, all.connect), (1, 2));
    assert_eq!((all.accept_good, all.connect_good), (2, 4));
    assert_eq!((all.accept_renegotiate, all.connect_renegotiate), (3, 6));
}

#[test]
fn an_expired_session_is_a_timeout_and_no_miss() {
    let (builder, hand) = builder();
    let cache = builder.build().unwrap();
    establish(&cache, 1);
    hand.advance(seconds(301));
    assert_eq!(resume(&cache, 1), None);
    assert_eq!((cache.counters().timeouts, cache.counters().misses), (1, 0));
    cache.flush();
    assert_eq!(resume(&cache, 1), None);
    assert_eq!((cache.counters().timeouts, cache.counters().misses), (1, 1));
    assert_eq!(cache.counters().flushes, 1);
}

#[test]
fn without_internal_lookup_only_what_is_outside_counts() {
    let shared = Arc::new(Shared::default());
    let cache = builder().0.external(shared.clone()).internal_lookup(false);
    let cache = cache.build().unwrap();
    establish(&cache, 1);
    assert_eq!(resume(&cache, 1), Some(1));
    shared.sessions.lock().unwrap().clear();
    assert_eq!(resume(&cache, 1), None);
    assert_eq!((cache.len(), cache.counters().misses), (1, 0));
}

#[test]
fn without_internal_store_all_is_outside() {
    let shared = Arc::new(Shared::default());
    let cache = builder().0.external(shared.clone()).internal_store(false);
    let cache = cache.build().unwrap();
    let options = SessionOptions::default();
    let established = cache.server().established(key(1), 1, options).unwrap();
    assert_eq!(established, Established::Outside(1));
    for _ in 0..2 {
        assert_eq!(resume(&cache, 1), Some(1));
        assert_eq!(cache.len(), 0);
    }
    assert_eq!(cache.counters().cb_hits, 2);
}

#[test]
fn a_use_renews_up_to_the_end_of_the_lineage() {
    let (builder, hand) = builder();
    let cache = builder.update_time(true).lineage(Some(seconds(1_000)));
    let cache = cache.build().unwrap();
    establish(&cache, 1);
    let once = SessionOptions::default().timeout(seconds(10));
    cache.server().established(key(2), 2, once).unwrap();
    for _ in 0..5 {
        hand.advance(seconds(10));
        assert_eq!(resume(&cache, 2), Some(2), "for its own timeout");
    }
    for _ in 0..4 {
        hand.advance(seconds(200));
        assert_eq!(resume(&cache, 1), Some(1));
    }
    hand.advance(seconds(150));
    assert_eq!(resume(&cache, 1), Some(1), "at its last instant");
    hand.advance(Duration::from_nanos(1));
    assert_eq!(resume(&cache, 1), None);
    assert_eq!(cache.flush().removed, 2);
}

#[test]
fn what_comes_from_outside_is_checked() {
    let shared = Arc::new(Shared::default());
    let cache = builder().0.external(shared.clone()).build().unwrap();
    let put = |under: SessionKey, session: TierSession<u64>| {
        shared.sessions.lock().unwrap().insert(under, session);
    };
    let other = SessionKey::new(cache.context().unwrap(), *key(1).id());
    let good = TierSession::new(key(1), 7, seconds(60));
    for bad in [
        TierSession {
            key: key(2),
            ..good
        },
        TierSession { key: other, ..good },
        TierSession {
            authenticated_for: seconds(86_401),
            ..good
        },
    ] {
        put(key(1), bad);
        assert_eq!(cache.server().resume(&key(1)), Resumed::Miss, "{bad:?}");
    }
    assert_eq!((cache.counters().refused, cache.len()), (3, 0));
    put(key(1), good);
    assert_eq!(resume(&cache, 1), Some(7));
    let guard = cache.pin();
    let kept = cache.get_entry(&key(1), &guard).unwrap();
    assert_eq!(kept.deadline(), START.saturating_add(seconds(60)));
}

/// Hosts have no clock in common: that of this one was at zero after the session was authenticated.
#[test]
fn a_lineage_is_judged_by_spans_whatever_the_clock_shows() {
    let day = 86_400;
    for (cap, tls13, authenticated_for, admitted) in [
        (Some(day), false, 0, true),
        (Some(day), false, 1_000, true),
        (Some(day), false, 1_001, false),
        (Some(day), false, day + 1, false),
        (Some(10), false, 11, false),
        (None, false, 100 * day, true),
        (None, true, 1_000, true),
        (None, true, 7 * day + 1, false),
    ] {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
        let shared = Arc::new(Shared::default());
        let cache = SessionCache::builder().clock(clock).update_time(true);
        let cache = cache.lineage(cap.map(seconds)).external(shared.clone());
        let cache = cache.build().unwrap();
        shared.store(TierSession {
            authenticated_for: seconds(authenticated_for),
            tls13,
            ..TierSession::new(key(1), &1, Duration::MAX)
        });
        let case = format!("{cap:?} {tls13} {authenticated_for}");
        assert_eq!(resume(&cache, 1), admitted.then_some(1), "{case}");
        assert_eq!(cache.counters().refused, u64::from(!admitted), "{case}");
        if let (true, Some(cap)) = (admitted, cap) {
            // Not a moment longer, used or not.
            shared.sessions.lock().unwrap().clear();
            hand.advance(seconds(cap - authenticated_for));
            assert_eq!(resume(&cache, 1), Some(1), "{case}");
            hand.advance(Duration::from_nanos(1));
            assert_eq!(resume(&cache, 1), None, "{case}");
        }
    }
}

#[test]
fn what_was_purged_does_not_come_back_from_outside() {
    let shared = Arc::new(Shared::default());
    let host = || builder().0.external(shared.clone()).build().unwrap();
    let (a, b) = (host(), host());
    establish(&a, 1);
    assert_eq!(resume(&b, 1), Some(1));
    b.purge(Context::DEFAULT);
    assert_eq!((resume(&b, 1), b.counters().refused), (None, 1));
    // The sweep takes it out outside, too.
    b.flush();
    assert_eq!(shared.len(), 0);
    assert_eq!(*shared.removed.lock().unwrap(), [(key(1), Reason::Removed)]);
}

/// A tier that does something while it is asked.
struct Meddling<F>(Arc<Shared>, F);

impl<F: Fn(&SessionKey) + Send + Sync + 'static> ExternalTier<u64> for Meddling<F> {
    fn store(&self, session: TierSession<&u64>) {
        self.0.store(session);
    }
    fn fetch(&self, key: &SessionKey) -> Fetched<u64> {
        let fetched = self.0.fetch(key);
        (self.1)(key);
        fetched
    }
    fn claim(&self, key: &SessionKey) -> Claim {
        self.0.claim(key)
    }
    fn remove(&self, key: &SessionKey, reason: Reason) {
        self.0.remove(key, reason);
    }
}

#[test]
fn a_removal_is_not_undone_by_a_fetch_that_was_under_way() {
    type Removal = fn(&SessionCache<u64>, &SessionKey);
    let removals: [Removal; 3] = [
        |cache, key| _ = cache.remove(key),
        |cache, key| _ = cache.take_cloned(key),
        |cache, _| cache.purge(Context::DEFAULT),
    ];
    for (n, removal) in removals.into_iter().enumerate() {
        let shared = Arc::new(Shared::default());
        let slot = Arc::new(std::sync::OnceLock::<SessionCache<u64>>::new());
        let weak = Arc::downgrade(&slot);
        let meddle = move |key: &SessionKey| {
            let slot = weak.upgrade().unwrap();
            let cache = slot.get().unwrap();
            if n == 1 {
                cache.insert(*key, 5).unwrap();
            }
            removal(cache, key);
        };
        let cache = builder().0.external(Meddling(shared.clone(), meddle));
        let cache = slot.get_or_init(|| cache.build().unwrap());
        shared.store(TierSession::new(key(1), &1, seconds(60)));
        let _overlaps = cache.server().resume(&key(1));
        assert!(!cache.contains(&key(1)), "{n}");
        assert!(cache.get_cloned(&key(1)).is_none(), "{n}");
        assert_eq!(cache.iter(&cache.pin()).count(), 0);
        shared.sessions.lock().unwrap().clear();
        assert_eq!(cache.server().resume(&key(1)), Resumed::Miss, "{n}");
    }
}

#[test]
fn what_is_resumed_says_since_when_wherever_it_was() {
    let (builder, hand) = builder();
    let shared = Arc::new(Shared::default());
    let cache = builder.external(shared.clone()).build().unwrap();
    establish(&cache, 1);
    let mut outside = TierSession::new(key(2), 2, seconds(60));
    outside.authenticated_for = seconds(40);
    shared.sessions.lock().unwrap().insert(key(2), outside);
    hand.advance(seconds(10));

    let server = cache.server();
    let seen = |found: SessionRef<'_, u64>| {
        let ends = found.deadline().saturating_since(START);
        let since = START.saturating_add(seconds(100));
        let since = since.saturating_since(found.authenticated_at());
        (*found.key(), *found.value(), ends, since)
    };
    let inside = (key(1), 1, seconds(300), seconds(100));
    let outside = (key(2), 2, seconds(70), seconds(130));
    for _ in 0..2 {
        assert_eq!(server.resume_entry(&key(1), seen).hit(), Some(inside));
        assert_eq!(server.resume_entry(&key(2), seen).hit(), Some(outside));
    }
    assert_eq!(shared.fetches.lock().unwrap().len(), 1);
    assert_eq!(server.take_entry(&key(1), seen).hit(), Some(inside));
    assert_eq!(server.take_entry(&key(2), seen).hit(), Some(outside));
    assert!(server.take_entry(&key(1), seen).hit().is_none());
    assert_eq!((cache.len(), shared.len()), (0, 0));
}

#[test]
fn each_removal_is_told_outside_once() {
    let shared = Arc::new(Shared::default());
    let (builder, hand) = builder();
    let cache = builder.external(shared.clone()).maximum(Some(2)).shards(1);
    let cache = cache.build().unwrap();
    establish(&cache, 1);
    establish(&cache, 1);
    assert!(shared.removed.lock().unwrap().is_empty(), "replaced");
    hand.advance(seconds(1));
    establish(&cache, 2);
    establish(&cache, 3);
    assert!(cache.remove(&key(3)));
    assert!(!cache.remove(&key(4)), "not inside");
    hand.advance(seconds(301));
    cache.flush();
    let told = shared.removed.lock().unwrap().clone();
    let expected = [
        (1, Reason::Evicted),
        (3, Reason::Removed),
        (4, Reason::Removed),
        (2, Reason::Expired),
    ];
    assert_eq!(told, expected.map(|(n, reason)| (key(n), reason)));
    assert_eq!(cache.counters().cache_full, 1);
}

#[test]
fn a_tier_that_panics_costs_a_miss() {
    struct Broken;
    impl ExternalTier<u64> for Broken {
        fn store(&self, _: TierSession<&u64>) {
            panic!("planted");
        }
        fn fetch(&self, _: &SessionKey) -> Fetched<u64> {
            panic!("planted");
        }
        fn claim(&self, _: &SessionKey) -> Claim {
            panic!("planted");
        }
        fn remove(&self, _: &SessionKey, _: Reason) {
            panic!("planted");
        }
    }
    let told = Arc::new(Mutex::new(0));
    let count = told.clone();
    let cache = builder().0.external(Broken);
    let cache = cache.on_remove(move |_, _, _| *count.lock().unwrap() += 1);
    let cache = cache.build().unwrap();
    establish(&cache, 1);
    assert_eq!((resume(&cache, 1), resume(&cache, 2)), (Some(1), None));
    assert!(cache.remove(&key(1)));
    let once = SessionOptions::default().single_use(true);
    cache.server().established(key(3), 3, once).unwrap();
    assert_eq!(resume(&cache, 3), None, "nobody says that it wasn't used");
    assert_eq!(*told.lock().unwrap(), 2);
    assert_eq!(cache.counters().panics, 5);
    assert_eq!(cache.counters().unclaimed, 1);
}

#[test]
fn what_is_pending_is_no_hit_and_a_miss_inside_each_time() {
    let cache = builder().0.on_get(|_| Fetched::Pending).build().unwrap();
    for times in 1..=3 {
        assert!(cache.server().resume(&key(1)).is_pending());
        assert_eq!(cache.counters().pending, times);
        assert_eq!(cache.counters().misses, times);
    }
    assert_eq!((cache.counters().hits, cache.counters().cb_hits), (0, 0));
}

#[test]
fn a_lineage_that_has_ended_goes_nowhere() {
    let shared = Arc::new(Shared::default());
    let (builder, hand) = builder();
    let cache = builder.external(shared.clone()).build().unwrap();
    let options = SessionOptions::default().authenticated_at(cache.now());
    hand.advance(seconds(86_401));
    let refused = cache.server().established(key(1), 1, options).unwrap_err();
    assert!(matches!(refused, InsertError::Expired(_, 1)));
    assert_eq!((cache.len(), shared.len()), (0, 0));
}
