//! Slots come back: not while a reader is pinned, also from a thread that has ended, and what waits when the map is dropped is
//! dropped once.
#![cfg(loom)]

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sessionwheel::{InsertError, Reason, Timestamp, pin};
use sessionwheel_loom_tests::{Watched, beside, check, tick};

const NEVER: Timestamp = Timestamp::NEVER;

/// So many entries leave two of the slots there are.
const ROOM: u64 = 22;

/// At stake: a full map beside a reader that stays pinned. It keeps what it has and refuses what comes when the slots are used
/// up, and nothing is dropped that the reader may look at.
#[test]
fn inserts_against_a_pinned_reader() {
    // Not loom's: it counts across executions.
    let refusals = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&refusals);
    check("inserts_against_a_pinned_reader", 3, move || {
        let map = Watched::default();
        map.set_maximum(Some(ROOM as usize));
        for key in 0..ROOM {
            map.put(key, key, tick(key / 2), tick(0));
        }
        let other = beside(&map, |map| {
            let kept = |key: &u64| match map.offer(*key, *key, NEVER, tick(0)) {
                Ok(inserted) => inserted.evicted == 1,
                Err(InsertError::Exhausted(..)) => false,
                Err(other) => panic!("{other}"),
            };
            (ROOM..ROOM + 3).filter(kept).count()
        });
        let guard = pin();
        let entry = |key| map.deref().get(&key, tick(0), &guard);
        let found: Vec<_> = (0..2).filter_map(entry).collect();
        let kept = other.join().unwrap();
        assert!(found.into_iter().all(|value| value.read() < 2));
        drop(guard);
        assert!(kept >= 2, "{kept} of those for whom there were slots");
        counted.fetch_add(3 - kept as u64, Relaxed);
        let evicted = |key| (key, key, Reason::Evicted);
        map.settled(
            &(0..kept as u64).map(evicted).collect::<Vec<_>>(),
            ROOM as usize,
        );
        assert_eq!(map.stats().exhausted, 3 - kept as u64);
        // And goes on.
        assert!(map.offer(ROOM, 0, NEVER, tick(0)).is_ok());
    });
    assert!(refusals.load(Relaxed) > 0, "none was ever refused");
}

/// At stake: what a thread has taken out and not recycled before it ends. The next one who asks for it recycles it.
#[test]
fn take_by_a_thread_that_ends_against_get() {
    check("take_by_a_thread_that_ends_against_get", 3, || {
        let map = Watched::default();
        map.put(0, 10, NEVER, tick(0));
        let other = beside(&map, |map| map.take(0, tick(0)));
        assert!(matches!(map.get(0, tick(0)), None | Some(10)));
        assert_eq!(other.join().unwrap(), Some(10));
        // Under loom it tries once. With crossbeam-epoch that may end where the thread's place is given up.
        let tries = if cfg!(crossbeam_loom) { 4 } else { 1 };
        assert!((0..tries).any(|_| map.reclaim() == 0), "it is left");
        assert_eq!(map.alive().load(Relaxed), 0);
        map.settled(&[(0, 10, Reason::Taken)], 0);
    });
}

/// At stake: a map is dropped while what was taken out of it waits for a thread that is pinned, and that thread, or whoever
/// collects for another map, comes to it afterwards.
#[test]
fn drop_against_a_collection() {
    check("drop_against_a_collection", 3, || {
        let map = Watched::default();
        for key in 0..2 {
            map.put(key, key, NEVER, tick(0));
        }
        let elsewhere = Watched::default();
        let other = beside(&elsewhere, |elsewhere| {
            let guard = pin();
            elsewhere.get(0, tick(0));
            drop(guard);
            elsewhere.reclaim();
        });
        assert_eq!(map.take(0, tick(0)), Some(0));
        map.reclaim();
        let alive = map.alive();
        drop(map);
        assert_eq!(alive.load(Relaxed), 0, "all are dropped with the map");
        other.join().unwrap();
        assert_eq!(alive.load(Relaxed), 0);
    });
}
