//! Listeners that call back into the map that is telling them.
//!
//! `SESSIONWHEEL_EXPIRED` says how many entries the largest flush finds (100,000 by default).

mod common;

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use common::alone;
use sessionwheel::{ExpiringMap, InsertError, MapBuilder, Reason, Timestamp};

type Map = ExpiringMap<u64, u64>;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// A map whose listener is given the map itself, and must never be entered twice on one stack.
fn reentrant(
    builder: MapBuilder<u64, u64>,
    listener: impl Fn(&Map, u64, Reason) + Send + Sync + 'static,
) -> Arc<OnceLock<Map>> {
    let cell: Arc<OnceLock<Map>> = Arc::default();
    let weak = Arc::downgrade(&cell);
    let map = builder
        .listener(move |key: &u64, value: &u64, reason| {
            assert_eq!(key, value, "readable while it is told");
            DEPTH.set(DEPTH.get() + 1);
            assert_eq!(DEPTH.get(), 1, "entered twice");
            if let Some(cell) = weak.upgrade() {
                listener(cell.get().unwrap(), *key, reason);
            }
            DEPTH.set(0);
        })
        .build()
        .unwrap();
    assert!(cell.set(map).is_ok());
    cell
}

/// On a thread with little stack, so that recursion would not get far.
fn on_a_small_stack(f: impl FnOnce() + Send + 'static) {
    let thread = thread::Builder::new().stack_size(192 * 1024);
    thread.spawn(f).unwrap().join().unwrap();
}

fn expired_entries() -> u64 {
    std::env::var("SESSIONWHEEL_EXPIRED")
        .ok()
        .map_or(100_000, |n| n.parse().expect("a number of entries"))
}

#[test]
fn a_listener_that_flushes_is_told_of_all_by_the_outermost_call() {
    let _alone = alone();
    on_a_small_stack(|| {
        let n = expired_entries();
        let told = Arc::new(AtomicU64::new(0));
        let nested = Arc::new(AtomicU64::new(0));
        let (counter, inner) = (Arc::clone(&told), Arc::clone(&nested));
        let builder = ExpiringMap::builder().shards(16).helpers(0, |_| ());
        let cell = reentrant(builder, move |map, _, reason| {
            assert_eq!(reason, Reason::Expired);
            counter.fetch_add(1, Relaxed);
            inner.fetch_add(map.flush(at(1_000)).removed as u64, Relaxed);
        });
        let map = cell.get().unwrap();
        for key in 0..n {
            map.insert(key, key, at(key % 1_000), at(0)).unwrap();
        }
        let outer = map.flush(at(1_000)).removed as u64;
        println!("{told:?} told, {nested:?} removed from inside, {outer} by the outermost flush");
        assert_eq!(outer + nested.load(Relaxed), n);
        assert!(nested.load(Relaxed) > n / 2);
        assert_eq!(told.load(Relaxed), n, "before the outermost call returned");
        assert!(map.is_empty());
        assert_eq!((map.reclaim(), map.stats().listener_panics), (0, 0));
    });
}

#[test]
fn a_listener_that_clears_and_reclaims() {
    let _alone = alone();
    on_a_small_stack(|| {
        let told: Arc<Mutex<HashMap<Reason, u64>>> = Arc::default();
        let log = Arc::clone(&told);
        let builder = ExpiringMap::builder().shards(4);
        let cell = reentrant(builder, move |map, _, reason| {
            *log.lock().unwrap().entry(reason).or_default() += 1;
            map.clear();
            map.reclaim();
        });
        let map = cell.get().unwrap();
        for key in 0..1_000 {
            map.insert(key, key, at(10), at(0)).unwrap();
        }
        assert!(map.remove(&5));
        let told = told.lock().unwrap();
        assert_eq!(told[&Reason::Removed], 1);
        assert_eq!(told[&Reason::Cleared], 999);
        assert_eq!(map.reclaim(), 0);
    });
}

#[test]
fn an_insert_from_inside_the_listener_never_evicts() {
    let _alone = alone();
    const N: u64 = 40;
    let (full, taken_in) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (refused, inserted) = (Arc::clone(&full), Arc::clone(&taken_in));
    let builder = ExpiringMap::builder().maximum(Some(N as usize));
    let cell = reentrant(builder, move |map, key, reason| {
        let again = key + 1_000_000;
        match map.insert(again, again, at(50), at(0)) {
            Ok(done) => {
                assert_eq!(done.evicted, 0);
                assert_ne!(reason, Reason::Evicted, "its permit went to the newcomer");
                inserted.fetch_add(1, Relaxed);
            }
            Err(InsertError::Full(k, v)) => {
                assert_eq!((k, v), (again, again), "handed back");
                refused.fetch_add(1, Relaxed);
            }
            Err(other) => panic!("{other:?}"),
        }
    });
    let map = cell.get().unwrap();
    for key in 0..3 * N {
        map.insert(key, key, at(100 + key), at(0)).unwrap();
        assert!(map.len() <= N as usize);
    }
    assert_eq!(full.load(Relaxed), 2 * N as usize, "each eviction's");
    assert_eq!(map.stats().full, 2 * N);
    assert!(map.remove(&(3 * N - 1)));
    assert_eq!(
        taken_in.load(Relaxed),
        1,
        "the removed one's place was free"
    );
    assert_eq!(map.len(), N as usize);
    // A replacement needs no place, inside or out: it is reported, and then tries another insert.
    map.insert(2 * N, 2 * N, at(300), at(0)).unwrap();
    assert_eq!(full.load(Relaxed), 2 * N as usize + 1);
}

#[test]
fn a_listener_that_replaces_its_own_kind_stops_when_it_does() {
    let _alone = alone();
    on_a_small_stack(|| {
        let told = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&told);
        let cell = reentrant(ExpiringMap::builder(), move |map, key, _| {
            // Replaces the entry that was just put in its place, 100,000 times.
            if counter.fetch_add(1, Relaxed) < 100_000 {
                let done = map.insert(key, key, at(10), at(0)).unwrap();
                assert!(done.replaced || counter.load(Relaxed) == 1);
            }
        });
        let map = cell.get().unwrap();
        map.insert(7, 7, at(10), at(0)).unwrap();
        assert!(map.remove(&7));
        assert!(!map.is_empty());
        map.insert(7, 7, at(10), at(0)).unwrap();
        println!("{told:?} told one after another");
        assert_eq!(told.load(Relaxed), 100_001);
        assert_eq!(map.len(), 1);
    });
}

#[test]
fn listeners_of_two_maps_that_remove_from_each_other() {
    let _alone = alone();
    const N: u64 = 5_000;
    on_a_small_stack(|| {
        let maps: Arc<OnceLock<[Map; 2]>> = Arc::default();
        let told = Arc::new([const { AtomicU64::new(0) }; 2]);
        let depth = Arc::new(AtomicU64::new(0));
        let deepest = Arc::new(AtomicU64::new(0));
        let build = |me: usize| {
            let (maps, told) = (Arc::downgrade(&maps), Arc::clone(&told));
            let (depth, deepest) = (Arc::clone(&depth), Arc::clone(&deepest));
            ExpiringMap::builder()
                .listener(move |key: &u64, _: &u64, _| {
                    deepest.fetch_max(depth.fetch_add(1, Relaxed) + 1, Relaxed);
                    told[me].fetch_add(1, Relaxed);
                    if let Some(maps) = maps.upgrade() {
                        let other = &maps.get().unwrap()[1 - me];
                        other.remove(&(key + 1));
                    }
                    depth.fetch_sub(1, Relaxed);
                })
                .build()
                .unwrap()
        };
        assert!(maps.set([build(0), build(1)]).is_ok());
        let both = maps.get().unwrap();
        for key in 0..N {
            for map in both {
                map.insert(key, key, at(10), at(0)).unwrap();
            }
        }
        assert!(both[0].remove(&0));
        // 0 here, 1 there, 2 here, and so on to the end.
        let told = [0, 1].map(|i| told[i].load(Relaxed));
        println!("{told:?} told, {deepest:?} deep");
        assert_eq!(told, [N / 2, N / 2]);
        assert_eq!(deepest.load(Relaxed), 2);
        assert_eq!(both[0].len() + both[1].len(), N as usize);
    });
}

#[test]
fn bounded_flushes_inside_the_listener_of_a_bounded_flush_come_to_an_end() {
    let _alone = alone();
    const EXPIRED: u64 = 200;
    const STAYING: u64 = 500;
    on_a_small_stack(|| {
        let calls = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&calls);
        let builder = ExpiringMap::builder().shards(1).tick_bits(30);
        let cell = reentrant(builder, move |map, _, _| {
            // More survivors than budget, and the flush further up has not come back.
            while map.flush_within(at(11), 10).remaining {
                assert!(count.fetch_add(1, Relaxed) < 100 * STAYING, "no end");
            }
        });
        let map = cell.get().unwrap();
        // So many that they are told of before the sweep gets to the others, which expire in the
        // same tick and stay.
        for key in 0..EXPIRED + STAYING {
            let deadline = if key < EXPIRED { 10 } else { 1_000 };
            map.insert(key, key, at(deadline), at(0)).unwrap();
        }
        while map.flush_within(at(11), 100).remaining {}
        assert_eq!(map.len(), STAYING as usize);
        println!("{calls:?} calls inside");
        assert!(calls.load(Relaxed) >= STAYING / 10);
        // A panic of the listener's would be caught and counted.
        assert_eq!(map.stats().listener_panics, 0);
    });
}

thread_local! {
    static DROPS: Cell<[u32; 2]> = const { Cell::new([0; 2]) };
}

/// A value whose destructor flushes the map it was in.
struct Flushes(std::sync::Weak<OnceLock<ExpiringMap<u64, Self>>>);

impl Drop for Flushes {
    fn drop(&mut self) {
        let [depth, deepest] = DROPS.get();
        DROPS.set([depth + 1, deepest.max(depth + 1)]);
        if let Some(cell) = self.0.upgrade() {
            cell.get().unwrap().flush(at(1_000));
        }
        let [depth, deepest] = DROPS.get();
        DROPS.set([depth - 1, deepest]);
    }
}

#[test]
fn a_value_whose_destructor_flushes_does_not_dig_itself_in() {
    let _alone = alone();
    let n = expired_entries();
    on_a_small_stack(move || {
        let cell: Arc<OnceLock<ExpiringMap<u64, Flushes>>> = Arc::default();
        let map = ExpiringMap::builder().helpers(0, |_| ()).build().unwrap();
        assert!(cell.set(map).is_ok());
        let map = cell.get().unwrap();
        for key in 0..n {
            let value = Flushes(Arc::downgrade(&cell));
            map.insert(key, value, at(10), at(0)).unwrap();
        }
        // Some by the flushes inside.
        map.flush(at(11));
        assert_eq!((map.len(), map.stats().expired), (0, n));
        assert_eq!(map.reclaim(), 0, "all dropped");
        let [_, deepest] = DROPS.get();
        println!("{n} dropped, {deepest} deep");
        assert_eq!(deepest, 1);
    });
}
