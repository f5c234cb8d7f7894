//! Tests of [`SessionCache`]'s operations on one session.

use super::*;
use crate::cache::{Established, Fetched, ManualClock, Resumed, SessionId, TierSession};
use crate::sync::thread;

const START: Timestamp = Timestamp::from_secs(1 << 33);
const NANO: Duration = Duration::from_nanos(1);

fn cache<V: Send + Sync + 'static>() -> (SessionCache<V>, ManualClock) {
    let (clock, hand) = Clock::manual(START);
    let builder = SessionCache::builder().clock(clock).lineage(None);
    (builder.build().unwrap(), hand)
}

fn key(n: u8) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
}

fn single_use() -> SessionOptions {
    SessionOptions::default().single_use(true)
}

#[test]
fn handles_and_views_may_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<SessionCache<Vec<u8>>>();
    check::<SessionCacheBuilder<Vec<u8>>>();
    check::<SessionRef<'static, Vec<u8>>>();
    check::<Clock>();
    check::<ManualClock>();
}

#[test]
fn every_lookup_finds_a_live_session_and_no_other() {
    let (cache, _hand) = cache();
    cache.insert(key(1), 'a').unwrap();
    let guard = cache.pin();
    assert_eq!(cache.get(&key(1), &guard), Some(&'a'));
    assert_eq!(cache.get_with(&key(1), |v| *v), Some('a'));
    assert_eq!(cache.get_cloned(&key(1)), Some('a'));
    assert_eq!(*cache.get_entry(&key(1), &guard).unwrap().value(), 'a');
    assert!(cache.contains(&key(1)));
    assert!(cache.get(&key(2), &guard).is_none());
    assert!(cache.get_entry(&key(2), &guard).is_none());
    assert!(cache.get_cloned(&key(2)).is_none());
    assert!(!cache.contains(&key(2)));
    assert_eq!(cache.len(), 1);
}

#[test]
fn an_expired_session_is_a_miss_before_any_flush() {
    let (cache, hand) = cache();
    cache.insert(key(1), 'a').unwrap();
    hand.advance(Duration::from_secs(300) + NANO);
    let guard = cache.pin();
    assert!(cache.get(&key(1), &guard).is_none());
    assert!(cache.get_entry(&key(1), &guard).is_none());
    assert!(cache.take(&key(1), &guard).is_none());
    assert!(!cache.contains(&key(1)));
    assert!(!cache.retime(&key(1), Duration::from_secs(10)));
    assert_eq!(cache.len(), 1);
    assert!(cache.remove(&key(1)));
    assert_eq!(cache.len(), 0);
}

#[test]
fn timeout_zero_is_valid_for_an_instant() {
    let (cache, hand) = cache();
    let options = SessionOptions::default().timeout(Duration::ZERO);
    cache.insert_with(key(1), 'a', options).unwrap();
    assert!(cache.contains(&key(1)));
    assert_eq!(cache.flush().removed, 0);
    hand.advance(NANO);
    assert!(!cache.contains(&key(1)));
    assert_eq!(cache.flush().removed, 1);
}

#[test]
fn timeouts_too_long_for_the_clock_never_end() {
    let (cache, hand) = cache();
    let centuries = Duration::from_secs(600 * 365 * 86_400);
    for (n, timeout) in [(1, Duration::MAX), (2, centuries)] {
        let options = SessionOptions::default().timeout(timeout);
        cache.insert_with(key(n), 'a', options).unwrap();
        let guard = cache.pin();
        let session = cache.get_entry(&key(n), &guard).unwrap();
        assert_eq!(session.deadline(), Timestamp::NEVER);
    }
    hand.set(Timestamp::NEVER);
    assert_eq!(cache.flush().removed, 0);
    assert!(cache.contains(&key(1)) && cache.contains(&key(2)));
}

#[test]
fn a_replaced_session_starts_anew() {
    let (cache, hand) = cache();
    cache.insert_with(key(1), 'a', single_use()).unwrap();
    hand.advance(Duration::from_secs(200));
    assert!(cache.insert(key(1), 'b').unwrap().replaced);
    hand.advance(Duration::from_secs(200));
    assert_eq!(cache.len(), 1);
    for _ in 0..2 {
        assert_eq!(cache.get_cloned(&key(1)), Some('b'));
    }
}

#[test]
fn the_empty_id_is_an_id() {
    let (cache, _hand) = cache();
    let empty = SessionKey::new(Context::DEFAULT, SessionId::new(b"").unwrap());
    cache.insert(empty, 'a').unwrap();
    cache.insert(key(0), 'b').unwrap();
    assert_eq!(cache.get_cloned(&empty), Some('a'));
    assert!(cache.remove(&empty));
    assert!(!cache.contains(&empty));
    assert!(cache.contains(&key(0)));
}

#[test]
fn contexts_are_separate() {
    let (cache, _hand) = cache();
    let id = SessionId::from([1; 32]);
    let [a, b] = [cache.context().unwrap(), cache.context().unwrap()]
        .map(|context| SessionKey::new(context, id));
    cache.insert(a, 'a').unwrap();
    for other in [b, key(1)] {
        assert!(!cache.contains(&other));
        assert!(cache.take_cloned(&other).is_none());
        assert!(!cache.remove(&other));
        assert!(!cache.retime(&other, Duration::ZERO));
    }
    cache.insert(b, 'b').unwrap();
    assert_eq!(cache.take_cloned(&a), Some('a'));
    assert_eq!(cache.get_cloned(&b), Some('b'));
}

#[test]
fn each_lookup_uses_up_a_session_for_a_single_use() {
    type Lookup = fn(&SessionCache<char>) -> Option<char>;
    let lookups: [Lookup; 6] = [
        |c| c.get(&key(1), &c.pin()).copied(),
        |c| c.get_entry(&key(1), &c.pin()).map(|s| *s.value()),
        |c| c.get_with(&key(1), |v| *v),
        |c| c.get_cloned(&key(1)),
        |c| c.take(&key(1), &c.pin()).copied(),
        |c| c.take_cloned(&key(1)),
    ];
    for lookup in lookups {
        let (cache, _hand) = cache();
        cache.insert_with(key(1), 'a', single_use()).unwrap();
        assert!(cache.contains(&key(1)));
        assert!(cache.retime(&key(1), Duration::from_secs(1)));
        assert_eq!(lookup(&cache), Some('a'));
        assert_eq!(lookup(&cache), None);
        assert!(cache.is_empty());
        assert_eq!(cache.stats().taken, 1);
    }
}

#[test]
fn one_of_many_threads_gets_a_session_for_a_single_use() {
    let rounds = if cfg!(miri) { 5 } else { 500 };
    let (cache, _hand) = cache();
    for round in 0..rounds {
        cache.insert_with(key(1), round, single_use()).unwrap();
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let cache = cache.clone();
                thread::spawn(move || cache.get_cloned(&key(1)))
            })
            .collect();
        let got: Vec<_> = threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(got, [round]);
    }
}

#[test]
fn a_view_tells_what_was_inserted() {
    let (cache, hand) = cache();
    let born = START.saturating_sub(Duration::from_secs(60));
    let context = cache.context().unwrap();
    let key = SessionKey::new(context, SessionId::from([1; 32]));
    let options = SessionOptions::default()
        .authenticated_at(born)
        .timeout(Duration::from_secs(10))
        .probation(true);
    cache.insert_with(key, 'a', options).unwrap();
    hand.advance(Duration::from_secs(5));
    assert!(cache.retime(&key, Duration::from_secs(20)));

    let guard = cache.pin();
    let session = cache.get_entry(&key, &guard).unwrap();
    assert_eq!((session.key(), session.context()), (&key, context));
    assert_eq!(session.authenticated_at(), born);
    assert_eq!(
        session.deadline(),
        START.saturating_add(Duration::from_secs(25))
    );
    assert!(session.is_on_probation() && !session.is_single_use());
}

#[test]
fn retime_shortens_too() {
    let (cache, hand) = cache();
    cache.insert(key(1), 'a').unwrap();
    assert!(cache.retime(&key(1), Duration::from_secs(1)));
    hand.advance(Duration::from_secs(1));
    assert!(cache.contains(&key(1)));
    hand.advance(NANO);
    assert!(!cache.contains(&key(1)));
    assert_eq!(cache.flush().removed, 1);
}

#[test]
fn sessions_of_an_older_generation_are_invisible() {
    let (cache, _hand) = cache();
    let other = SessionKey::new(cache.context().unwrap(), SessionId::from([1; 32]));
    for n in 1..=4 {
        cache.insert(key(n), 'a').unwrap();
    }
    cache.insert_with(key(5), 'a', single_use()).unwrap();
    cache.insert(other, 'b').unwrap();
    cache.inner.contexts.raise(Context::DEFAULT, cache.now());

    let guard = cache.pin();
    assert!(cache.get(&key(1), &guard).is_none());
    assert!(cache.get_entry(&key(2), &guard).is_none());
    assert!(cache.take(&key(3), &guard).is_none());
    assert!(!cache.contains(&key(4)));
    assert!(!cache.retime(&key(4), Duration::from_secs(1)));
    assert!(cache.get(&key(5), &guard).is_none());
    assert_eq!(cache.get(&other, &guard), Some(&'b'));

    cache.insert(key(1), 'c').unwrap();
    assert_eq!(cache.get(&key(1), &guard), Some(&'c'));
}

#[test]
fn clones_are_the_same_cache_and_outlive_each_other() {
    let (cache, hand) = cache();
    let clone = cache.clone();
    cache.insert(key(1), 'a').unwrap();
    let context = cache.context().unwrap();
    drop(cache);
    assert_eq!(clone.get_cloned(&key(1)), Some('a'));
    assert_ne!(clone.context().unwrap(), context);
    hand.advance(Duration::from_secs(301));
    assert_eq!(clone.flush().removed, 1);
}

#[test]
fn a_taken_value_is_readable_while_the_guard_is_held() {
    let (cache, _hand) = cache();
    cache.insert(key(1), String::from("state")).unwrap();
    let guard = cache.pin();
    let state = cache.take(&key(1), &guard).unwrap();
    cache.insert(key(1), String::from("other")).unwrap();
    cache.clear();
    cache.reclaim();
    assert_eq!(state, "state");
}

#[test]
fn debug_prints_no_id_and_no_value() {
    let (cache, _hand) = cache();
    let key = SessionKey::new(Context::DEFAULT, SessionId::new(b"id-id-id").unwrap());
    cache.insert(key, "value-value").unwrap();
    let guard = cache.pin();
    let session = cache.get_entry(&key, &guard).unwrap();
    let sessions = cache.iter(&guard);
    let outside = TierSession::new(key, "value-value", NANO);
    let declined = cache.client().established(key, "value-value", single_use());
    let refused = InsertError::Full(key, "value-value");
    let all: [(&str, &dyn fmt::Debug); 10] = [
        ("SessionCache", &cache),
        ("SessionRef", &session),
        ("Sessions", &sessions),
        ("TierSession", &outside),
        ("Hit(TierSession", &Fetched::Hit(outside)),
        ("Hit(", &Resumed::Hit("value-value")),
        ("Hit(", &cache.server().resume(&key)),
        ("Declined(", &declined.unwrap()),
        ("Outside(", &Established::Outside("value-value")),
        ("Full(", &refused),
    ];
    for (name, shown) in all {
        let text = format!("{shown:?} {shown:#?}");
        assert!(text.starts_with(name), "{text}");
        assert!(
            !text.contains("id-id") && !text.contains("value-"),
            "{text}"
        );
        assert!(!text.contains("105, 100"), "{text}");
    }
}
