//! How long what comes from outside lives, and what else time does to it.

use super::*;

/// A tier that takes so long to answer.
fn slow(shared: &Arc<Shared>, hand: &ManualClock, takes: u64) -> impl ExternalTier<u64> {
    let hand = hand.clone();
    Meddling(shared.clone(), move |_: &SessionKey| {
        hand.advance(seconds(takes));
    })
}

#[test]
fn an_answer_that_comes_late_makes_no_session_younger() {
    let day = 86_400;
    // For how long it lives, since when it is authenticated; the lesser of its own end and its lineage's.
    for (remaining, since, ends) in [(60, 40, 60), (day, day - 60, 60), (0, 0, 0)] {
        for takes in [0, 1, 59, 60, 61, 100] {
            let (builder, hand) = builder();
            let shared = Arc::new(Shared::default());
            let cache = builder.external(slow(&shared, &hand, takes));
            let cache = cache.build().unwrap();
            shared.store(TierSession {
                authenticated_for: seconds(since),
                ..TierSession::new(key(1), &1, seconds(remaining))
            });
            let seen = |found: SessionRef<'_, u64>| (found.deadline(), found.authenticated_at());
            let found = cache.server().resume_entry(&key(1), seen).hit();
            let expected = (
                START.saturating_add(seconds(ends)),
                START.saturating_sub(seconds(since)),
            );
            let in_time = takes <= ends;
            assert_eq!(found, in_time.then_some(expected), "{ends} {takes}");
            let counters = cache.counters();
            let late = u64::from(!in_time);
            assert_eq!((counters.hits, counters.timeouts), (1 - late, late));
            assert_eq!((counters.cb_hits, counters.refused), (1, 0));
            if in_time {
                // What is kept inside ends with it.
                hand.set(expected.0);
                assert!(cache.contains(&key(1)));
                hand.advance(Duration::from_nanos(1));
            }
            assert!(!cache.contains(&key(1)));
        }
    }
}

#[test]
fn what_is_taken_too_late_is_a_miss() {
    let (builder, hand) = builder();
    let shared = Arc::new(Shared::default());
    let cache = builder.external(slow(&shared, &hand, 61)).build().unwrap();
    shared.store(TierSession::new(key(1), &1, seconds(60)));
    assert_eq!(cache.server().take_with(&key(1), |_| ()), Resumed::Miss);
    assert_eq!((cache.counters().timeouts, cache.counters().hits), (1, 0));
    assert_eq!((cache.len(), shared.len()), (0, 0));
}

#[test]
fn what_has_expired_inside_is_not_asked_for_outside() {
    let (builder, hand) = builder();
    let shared = Arc::new(Shared::default());
    let cache = builder.external(shared.clone()).build().unwrap();
    for n in [1, 2] {
        establish(&cache, n);
        // Outside it has its first life.
        assert!(cache.retime(&key(n), seconds(10)));
        shared.store(TierSession::new(key(n), &n.into(), seconds(300)));
    }
    hand.advance(seconds(11));
    assert_eq!(resume(&cache, 1), None);
    assert_eq!(cache.server().take_with(&key(2), |_| ()), Resumed::Miss);
    assert!(shared.fetches.lock().unwrap().is_empty());
    let counters = cache.counters();
    assert_eq!(
        (counters.timeouts, counters.misses, counters.hits),
        (2, 0, 0)
    );
    assert_eq!(shared.len(), 2);
    // Who sweeps it inside says so outside.
    assert_eq!(cache.flush().removed, 2);
    assert_eq!(resume(&cache, 1), None);
    assert_eq!((shared.fetches.lock().unwrap().len(), shared.len()), (1, 0));
}

#[test]
fn a_use_renews_by_the_timeout_that_was_set_last() {
    let (builder, hand) = builder();
    let shared = Arc::new(Shared::default());
    let cache = builder.update_time(true).external(shared.clone());
    let cache = cache.build().unwrap();
    let use_after = |n: u8, age: u64| {
        hand.advance(seconds(age));
        assert_eq!(resume(&cache, n), Some(n.into()), "after {age} s");
        let guard = cache.pin();
        let deadline = cache.get_entry(&key(n), &guard).unwrap().deadline();
        deadline.saturating_since(cache.now())
    };
    establish(&cache, 1);
    assert_eq!(use_after(1, 299), seconds(300));
    for timeout in [3_600, 10, 700] {
        assert!(cache.retime(&key(1), seconds(timeout)));
        for _ in 0..2 {
            assert_eq!(use_after(1, timeout - 1), seconds(timeout));
        }
    }
    // A re-timing that comes too late changes nothing, should time go back.
    let before = hand.now();
    hand.advance(seconds(701));
    assert!(!cache.retime(&key(1), seconds(5)));
    hand.set(before);
    assert_eq!(use_after(1, 0), seconds(700));

    // What came from outside goes by the cache's timeout, whatever its own; but no use makes it live shorter.
    shared.store(TierSession::new(key(2), &2, seconds(60)));
    assert_eq!(resume(&cache, 2), Some(2));
    assert_eq!(use_after(2, 59), seconds(300));
    assert!(cache.retime(&key(2), seconds(3_600)));
    assert_eq!(use_after(2, 1_000), seconds(2_600));
    assert_eq!(use_after(2, 2_599), seconds(300));
}

#[test]
fn a_timeout_of_months_renewed_by_use_is_not_for_ever() {
    let (builder, hand) = builder();
    let cache = builder.update_time(true).lineage(None).build().unwrap();
    let day = seconds(86_400);
    let months = SessionOptions::default().timeout(60 * day);
    cache.server().established(key(1), 1, months).unwrap();
    for _ in 0..2 {
        hand.advance(60 * day);
        assert_eq!(resume(&cache, 1), Some(1));
    }
    hand.advance(60 * day + seconds(1));
    assert_eq!(resume(&cache, 1), None);
}

#[test]
fn a_shorter_life_ends_outside_and_a_longer_one_stays_as_it_was_there() {
    let shared = Arc::new(Shared::default());
    let host = || builder().0.external(shared.clone()).build().unwrap();
    let (a, b) = (host(), host());
    (1..=4).for_each(|n| establish(&a, n));
    let told = || shared.removed.lock().unwrap().clone();
    assert!(a.retime(&key(1), seconds(400)) && a.retime(&key(2), seconds(300)));
    assert!(!a.retime(&key(9), seconds(1)), "there is none");
    assert_eq!((told(), shared.len()), (vec![], 4));
    assert_eq!((resume(&b, 1), resume(&b, 2)), (Some(1), Some(2)));

    for n in [3, 4] {
        assert!(a.retime(&key(n), seconds(299)));
    }
    let removed = [3, 4].map(|n| (key(n), Reason::Removed));
    assert_eq!((told(), shared.len()), (removed.to_vec(), 2));
    assert_eq!((resume(&a, 3), resume(&b, 3)), (Some(3), None));
    assert_eq!(a.server().take_with(&key(4), |_| ()), Resumed::Miss);
    assert_eq!((a.counters().unclaimed, a.len()), (1, 3));
    // As long as it was, or longer, is no news; and once it is short it may be longer again.
    assert!(a.retime(&key(3), seconds(299)) && a.retime(&key(3), seconds(900)));
    assert_eq!(told().len(), 2);

    // Another host's, and inside of both: each goes by its own time.
    assert!(b.retime(&key(2), seconds(10)));
    assert_eq!(told().last(), Some(&(key(2), Reason::Removed)));
    assert_eq!((resume(&b, 2), resume(&a, 2)), (Some(2), Some(2)));
    assert_eq!(shared.len(), 1);
}
