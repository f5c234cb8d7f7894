//! Tests of purges, and of [`SessionCache::flush_sessions`].

use super::*;
use crate::cache::context::LAST_GENERATION;
use crate::cache::{Clock, SessionId, SessionOptions};
use crate::sync::atomic::AtomicUsize;
use crate::sync::{Arc, thread};
use crate::{Reason, Timestamp};
use std::time::Instant;

const START: u64 = 1 << 33;

fn cache() -> SessionCache<u64> {
    let (clock, _hand) = Clock::manual(Timestamp::from_secs(START));
    let builder = SessionCache::builder().clock(clock).shards(4);
    let builder = builder.automatic_flush(None).lineage(None);
    builder.maximum(None).build().unwrap()
}

fn key(context: Context, n: u64) -> SessionKey {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&n.to_le_bytes());
    SessionKey::new(context, SessionId::from(id))
}

fn fill(cache: &SessionCache<u64>, context: Context, numbers: std::ops::Range<u64>) {
    for n in numbers {
        cache.insert(key(context, n), n).unwrap();
    }
}

#[test]
fn a_purge_hides_all_sessions_of_its_context_and_no_others() {
    let cache = cache();
    let (a, b) = (cache.context().unwrap(), cache.context().unwrap());
    fill(&cache, a, 0..100);
    fill(&cache, b, 0..100);
    cache.purge(a);
    let guard = cache.pin();
    for n in 0..100 {
        assert!(cache.get(&key(a, n), &guard).is_none());
        assert!(cache.take(&key(a, n), &guard).is_none());
        assert!(!cache.contains(&key(a, n)));
        assert!(!cache.retime(&key(a, n), Duration::from_secs(9)));
        assert!(cache.contains(&key(b, n)));
    }
    assert_eq!(cache.iter(&guard).count(), 100);
    // The next ones are as ever, under the same keys too.
    fill(&cache, a, 50..60);
    assert!((0..100).all(|n| cache.contains(&key(a, n)) == (50..60).contains(&n)));
}

#[test]
fn the_next_flush_removes_what_was_purged_and_says_so() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let cache = SessionCache::builder()
        .on_remove(move |_, n: &u64, reason| {
            assert_eq!(reason, Reason::Removed);
            assert!(*n < 1_000);
            count.fetch_add(1, Ordering::Relaxed);
        })
        .build()
        .unwrap();
    let tenant = cache.context().unwrap();
    fill(&cache, tenant, 0..1_000);
    fill(&cache, Context::DEFAULT, 1_000..1_100);
    assert!(cache.next_expiry() > Some(cache.now()));
    cache.purge(tenant);
    assert_eq!(cache.next_expiry(), Some(Timestamp::ZERO));
    assert_eq!(cache.len(), 1_100);
    assert_eq!(cache.flush().removed, 1_000);
    assert_eq!(told.load(Ordering::Relaxed), 1_000);
    assert_eq!((cache.len(), cache.stats().removed), (100, 1_000));
    assert_eq!(cache.flush().removed, 0);
    assert!(cache.next_expiry() > Some(cache.now()));
}

#[test]
fn within_a_budget_it_takes_steps() {
    let cache = cache();
    fill(&cache, Context::DEFAULT, 0..1_000);
    cache.purge(Context::DEFAULT);
    let (mut steps, mut removed) = (0, 0);
    loop {
        let swept = cache.flush_within(64);
        assert!(swept.visited <= 64 && swept.removed <= 64);
        steps += 1;
        removed += swept.removed;
        if !swept.remaining {
            break;
        }
    }
    assert_eq!((removed, cache.len()), (1_000, 0));
    // Each step a full one, but for the last one of a shard.
    assert!((1_000 / 64..=1_000 / 64 + 4).contains(&steps), "{steps}");
    assert_eq!(cache.flush_within(64).visited, 0);
}

#[test]
fn purges_on_the_way_do_not_begin_anew() {
    let cache = cache();
    let contexts = [(); 8].map(|()| cache.context().unwrap());
    for context in contexts {
        fill(&cache, context, 0..200);
    }
    // One more with each step, and each is for slots that the pass has gone by or not.
    for context in contexts {
        cache.purge(context);
        assert!(cache.flush_within(100).remaining);
    }
    let mut steps = 0;
    while cache.flush_within(100).remaining {
        steps += 1;
    }
    // The first pass, and one for all that came meanwhile.
    assert!(steps <= 2 * 1_600 / 100 + 8, "{steps}");
    assert!(cache.is_empty());
}

#[test]
fn threads_that_flush_share_the_steps() {
    const THREADS: usize = 3;
    let cache = cache();
    let contexts = [(); 16].map(|()| cache.context().unwrap());
    let removed = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..THREADS)
        .map(|me| {
            let (cache, removed) = (cache.clone(), removed.clone());
            thread::spawn(move || {
                for round in 0..100 {
                    let context = contexts[(me + round * THREADS) % contexts.len()];
                    fill(&cache, context, 0..50);
                    cache.purge(context);
                    let swept = cache.flush_within(20);
                    removed.fetch_add(swept.removed, Ordering::Relaxed);
                    if round % 10 == 0 {
                        removed.fetch_add(cache.flush().removed, Ordering::Relaxed);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    // Some may have been inserted during a purge of another thread's, and stay though nobody finds them. Now
    // no insertion is under way.
    for context in contexts {
        cache.purge(context);
    }
    while cache.inner.purges.pending().is_some() {
        let swept = cache.flush_within(20);
        removed.fetch_add(swept.removed, Ordering::Relaxed);
    }
    assert!(cache.is_empty());
    let removed = removed.load(Ordering::Relaxed);
    assert_eq!(cache.stats().removed as usize, removed);
}

#[test]
fn when_its_generations_are_used_up_a_context_is_emptied() {
    let cache = cache();
    let tenant = cache.context().unwrap();
    cache.inner.contexts.set_generation(tenant, LAST_GENERATION);
    fill(&cache, tenant, 0..10);
    fill(&cache, Context::DEFAULT, 0..10);
    cache.purge(tenant);
    assert_eq!(cache.len(), 10);
    assert!((0..10).all(|n| cache.contains(&key(Context::DEFAULT, n))));
}

#[test]
fn purge_where_asks_about_each_that_is_left_once() {
    let cache = cache();
    let tenant = cache.context().unwrap();
    fill(&cache, tenant, 0..100);
    cache.purge(tenant);
    let single = SessionOptions::default().single_use(true);
    for n in 100..200 {
        let key = key(Context::DEFAULT, n);
        cache.insert_with(key, n, single).unwrap();
    }
    let mut asked = Vec::new();
    let removed = cache.purge_where(|_, &n| {
        asked.push(n);
        n % 2 == 0
    });
    asked.sort_unstable();
    assert!(asked.into_iter().eq(100..200));
    assert_eq!(removed, 50);
    assert!((100..200).all(|n| cache.contains(&key(Context::DEFAULT, n)) == (n % 2 == 1)));
}

#[test]
fn a_predicate_that_panics_loses_nothing() {
    let cache = cache();
    fill(&cache, Context::DEFAULT, 0..100);
    let mut asked = 0;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        cache.purge_where(|_, _| {
            asked += 1;
            assert!(asked <= 30, "planted");
            true
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(cache.len(), 70);
    assert_eq!(cache.purge_where(|_, _| true), 70);
    // Tests beside this one may hold guards for a while.
    let give_up = Instant::now() + Duration::from_secs(30);
    while cache.reclaim() != 0 {
        assert!(Instant::now() < give_up, "garbage without a guard");
        thread::yield_now();
    }
}

#[test]
fn flush_sessions_is_the_manual_pages() {
    let seconds = START as i64;
    let cache = cache();
    let lifetimes = [
        Duration::from_secs(1),
        Duration::from_secs(2),
        Duration::MAX,
    ];
    for (n, lifetime) in (0..).zip(lifetimes) {
        let options = SessionOptions::default().timeout(lifetime);
        let key = key(Context::DEFAULT, n);
        cache.insert_with(key, n, options).unwrap();
    }
    for nothing in [i64::MIN, -1, 1, seconds, seconds + 1] {
        assert_eq!(cache.flush_sessions(nothing), 0, "{nothing}");
    }
    assert_eq!(cache.flush_sessions(seconds + 2), 1);
    // What never expires goes only if all goes.
    assert_eq!(cache.flush_sessions(i64::MAX), 1);
    assert_eq!(cache.flush_sessions(0), 1);
    assert!(cache.is_empty());
}

#[test]
fn a_place_keeps_the_number_of_its_pass_and_where_it_is() {
    let there = Cursor::from_raw((1 << Cursor::BITS) - 1);
    assert_eq!(there.raw(), (1 << Cursor::BITS) - 1);
    for pass in [0, 1, 77, (1 << 24) - 1, 1 << 24, (1 << 24) + 5, 1 << 40] {
        let place = Place::new(pass, there);
        assert_eq!(place.cursor(), there);
        for behind in [0, 1, 1_000, (1 << 24) - 1] {
            assert_eq!(place.pass(pass + behind), pass);
        }
    }
}
