//! Tests of what concerns all sessions at once.

use super::*;
use crate::cache::{Context, ManualClock, SessionId, SessionKey, SessionOptions};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Arc, thread};
use std::time::Instant;

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);
const START: Timestamp = Timestamp::from_secs(1 << 33);

fn cache() -> (SessionCache<u8>, ManualClock) {
    let (clock, hand) = Clock::manual(START);
    let builder = SessionCache::builder().clock(clock).lineage(None);
    let cache = builder.build().unwrap();
    (cache, hand)
}

fn key(n: u8) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn flush_is_strict() {
    let (cache, hand) = cache();
    cache.insert(key(1), 1).unwrap();
    hand.advance(seconds(300));
    assert_eq!(cache.flush().removed, 0);
    assert!(cache.contains(&key(1)));
    hand.advance(Duration::from_nanos(1));
    assert_eq!(cache.flush().removed, 1);
    assert!(cache.is_empty());
}

#[test]
fn a_clock_set_back_ten_years_removes_nothing() {
    let (cache, hand) = cache();
    cache.insert(key(1), 1).unwrap();
    hand.set(START.saturating_sub(TEN_YEARS));
    assert_eq!(cache.flush().removed, 0);
    assert_eq!(cache.get_cloned(&key(1)), Some(1));
    // What is inserted in the past lives by that time.
    cache.insert(key(2), 2).unwrap();
    hand.set(START);
    assert!(!cache.contains(&key(2)));
    assert!(cache.contains(&key(1)));
    assert_eq!(cache.flush().removed, 1);
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_clock_set_forward_ten_years_and_back_leaves_a_working_cache() {
    let (cache, hand) = cache();
    cache.insert(key(1), 1).unwrap();
    let options = SessionOptions::default().timeout(Duration::MAX);
    cache.insert_with(key(2), 2, options).unwrap();
    hand.advance(TEN_YEARS);
    assert!(!cache.contains(&key(1)));
    assert_eq!(cache.flush().removed, 1);
    assert_eq!(cache.get_cloned(&key(2)), Some(2));
    hand.set(START);
    cache.insert(key(3), 3).unwrap();
    assert_eq!(cache.flush().removed, 0);
    assert_eq!(cache.get_cloned(&key(3)), Some(3));
    hand.advance(seconds(301));
    assert_eq!(cache.flush().removed, 1);
    assert_eq!(cache.len(), 1);
}

#[test]
fn flush_at_takes_the_callers_word() {
    let (cache, _hand) = cache();
    cache.insert(key(1), 1).unwrap();
    let deadline = START.saturating_add(seconds(300));
    assert_eq!(cache.flush_at(Timestamp::ZERO).removed, 0);
    assert_eq!(cache.flush_at(deadline).removed, 0);
    let after = deadline.saturating_add(Duration::from_nanos(1));
    assert_eq!(cache.flush_at(after).removed, 1);
}

#[test]
fn clear_removes_what_no_flush_does() {
    let (cache, _hand) = cache();
    let options = SessionOptions::default().timeout(Duration::MAX);
    cache.insert_with(key(1), 1, options).unwrap();
    assert_eq!(cache.flush_at(Timestamp::NEVER).removed, 0);
    assert_eq!(cache.clear(), 1);
    assert!(cache.is_empty());
}

#[test]
fn flush_within_comes_to_an_end() {
    let (cache, hand) = cache();
    for n in 0..100 {
        cache.insert(key(n), n).unwrap();
    }
    hand.advance(seconds(1_000));
    assert!(cache.flush_within(1).remaining);
    let mut calls = 0;
    while cache.flush_within(10).remaining {
        calls += 1;
        assert!(calls < 10_000);
    }
    assert!(cache.is_empty());
}

#[test]
fn of_a_budget_a_part_is_for_what_was_purged() {
    for budget in [2, 64] {
        let (cache, hand) = cache();
        let tenant = cache.context().unwrap();
        let options = SessionOptions::default().timeout(Duration::MAX);
        for n in 0..200 {
            let theirs = SessionKey::new(tenant, SessionId::from([n; 32]));
            cache.insert_with(theirs, n, options).unwrap();
        }
        // Not so many that one of these insertions flushes.
        for n in 0..50 {
            cache.insert(key(n), n).unwrap();
        }
        cache.purge(tenant);
        hand.advance(seconds(301));
        let mut calls = 0;
        while cache.stats().removed == 0 {
            assert!(cache.flush_within(budget).visited <= budget);
            assert!(cache.stats().expired < 50, "and nobody else has gone");
            calls += 1;
        }
        while cache.flush_within(budget).remaining {
            calls += 1;
        }
        println!("{calls} calls within {budget}");
        assert!(cache.is_empty());
    }
}

#[test]
fn next_expiry_is_not_late() {
    let (cache, hand) = cache();
    assert_eq!(cache.next_expiry(), None);
    cache.insert(key(1), 1).unwrap();
    let deadline = START.saturating_add(seconds(300));
    assert!(cache.next_expiry().unwrap() <= deadline.saturating_add(Duration::from_nanos(1)));
    hand.advance(seconds(301));
    cache.flush();
    assert_eq!(cache.next_expiry(), None);
}

#[test]
fn what_is_due_is_told_in_time() {
    let (cache, hand) = cache();
    assert_eq!(cache.due_for(), Duration::ZERO);
    cache.insert(key(1), 1).unwrap();
    hand.advance(seconds(400));
    let due = cache.due_for();
    assert!(
        due >= seconds(100) - Duration::from_nanos(1) && due <= seconds(400),
        "{due:?}"
    );
    cache.flush();
    assert_eq!(cache.due_for(), Duration::ZERO);
}

#[test]
fn what_is_due_is_told_half_way_through_a_flush() {
    const STEP: usize = if cfg!(miri) { 20 } else { 1 };
    for budget in [1, 3] {
        let (clock, hand) = Clock::manual(START);
        let builder = SessionCache::builder().clock(clock).shards(1);
        let cache = builder.automatic_flush(None).build().unwrap();
        for n in (0..200).step_by(STEP) {
            let options = SessionOptions::default().timeout(seconds(n.into()));
            cache.insert_with(key(n), n, options).unwrap();
        }
        hand.advance(seconds(300));
        let (mut parts, mut opening) = (0, 0);
        while cache.flush_within(budget).remaining {
            parts += 1;
            let next = cache.next_expiry().unwrap();
            assert!(next <= cache.now());
            opening += u32::from(next == Timestamp::ZERO);
            // From when the first of those that are left expired.
            let guard = cache.pin();
            let deadlines = cache.iter(&guard).map(|session| session.deadline());
            let first = deadlines.min().map_or(Duration::ZERO, |at| {
                let expired = at.saturating_add(Duration::from_nanos(1));
                cache.now().saturating_since(expired)
            });
            let due = cache.due_for();
            assert!(due >= first, "{due:?}, and one has waited for {first:?}");
            assert!(
                due <= seconds(302),
                "{due:?}, and nobody was there so long ago"
            );
        }
        println!("{parts} parts within {budget}, {opening} of them did not open all");
        assert!(parts >= 200 / STEP / budget);
        assert!(opening != 0 || budget != 1);
        assert_eq!(cache.due_for(), Duration::ZERO);
    }
}

#[test]
fn the_maximum_changes_while_the_cache_runs() {
    let (cache, _hand) = cache();
    cache.set_maximum(Some(3));
    assert_eq!(cache.maximum(), Some(3));
    for n in 0..50 {
        cache.insert(key(n), n).unwrap();
        assert!(cache.len() <= 3);
    }
    cache.set_maximum(None);
    for n in 0..50 {
        cache.insert(key(n), n).unwrap();
    }
    assert_eq!(cache.len(), 50);
}

#[test]
fn iter_shows_single_use_sessions_without_using_them() {
    let (cache, _hand) = cache();
    let options = SessionOptions::default().single_use(true).probation(true);
    cache.insert_with(key(1), 1, options).unwrap();
    cache.insert(key(2), 2).unwrap();
    let guard = cache.pin();
    for _ in 0..2 {
        let mut seen: Vec<_> = cache
            .iter(&guard)
            .map(|s| (*s.value(), s.is_single_use(), s.is_on_probation()))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, [(1, true, true), (2, false, false)]);
    }
    assert!(cache.contains(&key(1)));
}

#[test]
fn iter_hides_sessions_of_older_generations() {
    let (cache, _hand) = cache();
    let other = cache.context().unwrap();
    let kept = SessionKey::new(other, SessionId::from([1; 32]));
    cache.insert(key(1), 1).unwrap();
    cache.insert(kept, 2).unwrap();
    cache.inner.contexts.raise(Context::DEFAULT, START);
    let guard = cache.pin();
    let seen: Vec<_> = cache.iter(&guard).map(|s| *s.key()).collect();
    assert_eq!(seen, [kept]);
}

#[test]
fn reclaim_reports_that_everything_is_destroyed() {
    let (cache, _hand) = cache();
    cache.insert(key(1), 1).unwrap();
    cache.clear();
    // Tests beside this one may hold guards for a while.
    let give_up = Instant::now() + seconds(30);
    while cache.reclaim() != 0 {
        assert!(Instant::now() < give_up, "garbage without a guard");
        thread::yield_now();
    }
}

#[test]
fn looks_at_what_was_purged_are_counted_as_the_others() {
    let (cache, hand) = cache();
    let mut looks = 0;
    for round in 0..6 {
        for n in 0..40 {
            cache.insert(key(n), n).unwrap();
        }
        if round % 2 == 0 {
            hand.advance(seconds(301));
        }
        cache.purge(Context::DEFAULT);
        if round < 3 {
            looks += cache.flush().visited;
        } else {
            loop {
                let swept = cache.flush_within(7);
                looks += swept.visited;
                if !swept.remaining {
                    break;
                }
            }
        }
        assert_eq!(cache.stats().visited, looks as u64, "in round {round}");
        assert!(cache.is_empty());
    }
    assert!(looks > 6 * 40, "{looks} looks");
}

/// Counts its drops.
struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn no_more_than_the_budget_is_dropped_although_something_was_purged() {
    const SESSIONS: u8 = 200;
    const BUDGET: u64 = 8;
    let (clock, hand) = Clock::manual(START);
    let builder = SessionCache::builder().clock(clock).shards(4);
    let cache = builder.automatic_flush(None).build().unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let guard = cache.pin();
    for n in 0..SESSIONS {
        cache.insert(key(n), Counted(dropped.clone())).unwrap();
    }
    hand.advance(seconds(301));
    while cache.flush_within(BUDGET as usize).remaining {}
    assert_eq!(dropped.load(Ordering::Relaxed), 0, "there is a guard");
    drop(guard);
    // Tests beside this one may hold guards for a while.
    let give_up = Instant::now() + seconds(30);
    let (mut before, mut most) = (0, 0);
    while before < SESSIONS.into() {
        cache.purge(Context::DEFAULT);
        cache.flush_within(BUDGET as usize);
        let now = dropped.load(Ordering::Relaxed);
        most = most.max(now - before);
        before = now;
        assert!(Instant::now() < give_up, "garbage without a guard");
        thread::yield_now();
    }
    println!("{most} dropped in one call");
    assert!((1..=BUDGET).contains(&most));
}

#[test]
fn an_insertion_pays_once_for_a_lowered_maximum() {
    let (clock, _hand) = Clock::manual(START);
    let builder = SessionCache::builder().clock(clock).shards(1);
    let cache = builder.maximum(Some(1_000)).build().unwrap();
    let insert = |n: u16| {
        let id = SessionId::new(&n.to_le_bytes()).unwrap();
        let key = SessionKey::new(Context::DEFAULT, id);
        cache.insert(key, ()).unwrap()
    };
    for n in 0..254 {
        insert(n);
    }
    cache.set_maximum(Some(20));
    // It takes part in a flush as well.
    let evicted = insert(254).evicted as u64;
    assert_eq!(cache.counters().flushes, 1);
    assert_eq!(cache.stats().evicted, evicted);
    assert_eq!(
        evicted,
        64 + 1,
        "as much as a call pays, and for its own room"
    );
}

#[test]
fn what_removes_all_counts_as_a_flush_by_that_name() {
    let (cache, _hand) = cache();
    for (tm, flushes) in [(-1, 0), (0, 1), (1, 2), (0, 3)] {
        cache.flush_sessions(tm);
        assert_eq!(cache.counters().flushes, flushes, "{tm}");
    }
    cache.clear();
    assert_eq!(cache.counters().flushes, 3);
}
