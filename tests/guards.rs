//! Guards held too long, threads that go, maps that go first.

mod common;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;

use common::ledger::Ledger;
use common::{Counted, alone, scale};
use sessionwheel::{ExpiringMap, InsertError, Reason, Timestamp};

type Map = ExpiringMap<u64, Counted>;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn map(maximum: usize, shards: usize, ledger: &Arc<Ledger>) -> Map {
    with_ticks(4, maximum, shards, ledger)
}

fn with_ticks(bits: u32, maximum: usize, shards: usize, ledger: &Arc<Ledger>) -> Map {
    let books = Arc::clone(ledger);
    ExpiringMap::builder()
        .maximum(Some(maximum))
        .shards(shards)
        .tick_bits(bits)
        .listener(move |_, value, reason| books.left(value, reason))
        .build()
        .unwrap()
}

/// Inserts until the map refuses; how many it took.
fn insert_until_refused(map: &Map, ledger: &Ledger, first: usize) -> usize {
    for number in first.. {
        let value = ledger.value(number);
        match map.insert(number as u64, value, at(10 + number as u64), at(0)) {
            Ok(_) => ledger.inserted(),
            Err(InsertError::Exhausted(key, value)) => {
                assert_eq!((key, value.number()), (number as u64, number as u64));
                return number - first;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    unreachable!()
}

#[test]
fn a_reader_pinned_for_ever_freezes_a_full_map_and_never_empties_it() {
    let _alone = alone();
    const N: usize = 500;
    const SLACK: usize = 16_384;
    for shards in [1, 4] {
        let ledger = Ledger::new(3 * (N + SLACK));
        let map = Arc::new(with_ticks(30, N, shards, &ledger));
        let (release, wait) = mpsc::channel::<()>();
        let pinned = Arc::new(Barrier::new(2));
        let reader = thread::spawn({
            let (map, pinned) = (Arc::clone(&map), Arc::clone(&pinned));
            let ledger = Arc::clone(&ledger);
            move || {
                let guard = map.pin();
                map.insert(u64::MAX, ledger.value(0), at(1), at(0)).unwrap();
                ledger.inserted();
                let seen = map.get(&u64::MAX, at(0), &guard).unwrap();
                pinned.wait();
                wait.recv().unwrap_err();
                assert_eq!(
                    seen.number(),
                    0,
                    "still readable, long after it was evicted"
                );
            }
        });
        pinned.wait();
        let first = insert_until_refused(&map, &ledger, 1);
        let stats = map.stats();
        println!("{shards} shards: {first} taken in before {stats:?}");
        // With several shards chance decides which of them is out of slots first, and all are nearly so then.
        let all = N + SLACK;
        let least = if shards == 1 { all } else { all / 10 * 9 };
        // One is the reader's.
        assert!(first + 1 >= least && first <= all + 6 * 25 * shards);
        assert_eq!((map.len(), stats.exhausted), (N, 1), "full, not empty");
        assert_eq!(stats.garbage as usize + N, first + 1);
        assert_eq!(stats.garbage, stats.evicted);
        assert_eq!(
            ledger.live() as usize,
            first + 1,
            "nothing was dropped under the guard"
        );
        let oldest = map.next_expiry().unwrap();
        // It stays like that whatever is tried, and everything else goes on.
        if shards == 1 {
            for spare in 2..200 {
                let number = first + spare;
                let refused = map.insert(number as u64, ledger.value(number), at(10), at(0));
                assert!(matches!(refused, Err(InsertError::Exhausted(..))));
            }
            assert_eq!(map.len(), N);
            assert_eq!(map.next_expiry(), Some(oldest));
            let last = first as u64;
            assert!(map.contains(&last, at(0)));
            assert!(map.retime(&last, Timestamp::NEVER, at(0)));
            assert!(map.remove(&last));
            assert_ne!(map.reclaim(), 0, "the guard is still held");
            let refused = map.insert(1, ledger.value(first + 1), at(10), at(0));
            assert!(refused.is_err());
            drop(refused);
            assert_eq!(ledger.live() as usize, first + 1);
        }
        drop(release);
        reader.join().unwrap();
        let before = map.len();
        assert_eq!(map.reclaim(), 0);
        assert_eq!(ledger.live() as usize, before);
        let number = first + 300;
        map.insert(7, ledger.value(number), at(10), at(0)).unwrap();
        assert_eq!(map.len(), N.min(before + 1));
        assert_eq!(map.stats().listener_panics, 0);
    }
}

#[test]
fn a_map_dropped_while_threads_hold_guards_and_closures_are_pending() {
    let _alone = alone();
    const N: usize = 3_000;
    let rounds = 10 * scale();
    for round in 0..rounds {
        let ledger = Ledger::new(N + 1);
        let one = map(N, 4, &ledger);
        let (release, wait) = mpsc::channel::<()>();
        let pinned = Barrier::new(2);
        common::scope(|scope| {
            let there = &pinned;
            scope.spawn(move || {
                let _guard = sessionwheel::pin();
                there.wait();
                wait.recv().unwrap_err();
            });
            pinned.wait();
            for number in 0..N {
                one.insert(number as u64, ledger.value(number), at(10), at(0))
                    .unwrap();
                ledger.inserted();
            }
            // A third taken, a third flushed, a third still in.
            for number in 0..N / 3 {
                assert!(one.remove(&(number as u64)));
            }
            for number in N / 3..2 * N / 3 {
                assert!(one.retime(&(number as u64), at(2), at(0)));
            }
            assert_eq!(one.flush(at(5)).removed, N / 3);
            let garbage = one.stats().garbage;
            assert_eq!(garbage as usize, 2 * N / 3);
            assert_eq!(ledger.live() as usize, N);
            drop(one);
            assert_eq!(ledger.live(), 0, "all at once, pinned or not");
            let mut release = Some(release);
            if round % 2 == 0 {
                release.take();
            }
            // The closures run sometime later, driven by whoever comes by.
            let other = map(10, 1, &Ledger::new(1));
            other.reclaim();
            drop(release);
        });
    }
    println!("{rounds} maps dropped under a guard");
}

#[test]
fn what_a_thread_removed_before_it_ended_is_dropped_by_others() {
    let _alone = alone();
    let ledger = Ledger::new(1_000);
    let map = map(1_000, 4, &ledger);
    for number in 0..1_000 {
        map.insert(number, ledger.value(number as usize), at(10), at(0))
            .unwrap();
        ledger.inserted();
    }
    // Few each, so that no batch is ever full.
    for me in 0..40u64 {
        thread::scope(|scope| {
            let (map, ledger) = (&map, &ledger);
            let thread = scope.spawn(move || {
                let guard = map.pin();
                for number in 5 * me..5 * me + 5 {
                    ledger.taken(map.take(&number, at(0), &guard).unwrap());
                }
            });
            thread.join().unwrap();
        });
    }
    println!("{} garbage left by 40 threads", map.stats().garbage);
    assert_ne!(map.stats().garbage, 0);
    assert_eq!(map.reclaim(), 0);
    assert_eq!(ledger.live(), 800);
    ledger.close(&map);
}

type LastWords = common::OnDrop<Box<dyn FnMut()>>;

thread_local! {
    static LAST_WORDS: RefCell<Option<LastWords>> = const { RefCell::new(None) };
}

#[test]
fn a_thread_that_is_being_torn_down_can_still_use_the_map() {
    let _alone = alone();
    let ledger = Ledger::new(100);
    let map = Arc::new(map(100, 1, &ledger));
    for early in [true, false] {
        let (map, books) = (Arc::clone(&map), Arc::clone(&ledger));
        let base = if early { 0 } else { 50 };
        let thread = thread::spawn(move || {
            // Destructors run in the reverse order of first use or in that order, so try both.
            if early {
                drop(sessionwheel::pin());
            }
            let words = common::OnDrop(Box::new(move || {
                for number in base..base + 50 {
                    map.insert(number as u64, books.value(number), at(10), at(0))
                        .unwrap();
                    books.inserted();
                }
                assert!(map.remove(&(base as u64)));
                map.flush(at(0));
                map.reclaim();
            }) as Box<dyn FnMut()>);
            LAST_WORDS.set(Some(words));
            if !early {
                drop(sessionwheel::pin());
            }
        });
        thread.join().unwrap();
    }
    assert_eq!(map.len(), 98);
    assert_eq!(ledger.count(Reason::Removed), 2);
    ledger.close(&map);
}

#[test]
fn a_map_whose_last_handle_is_dropped_by_one_of_many_threads() {
    let _alone = alone();
    const THREADS: usize = 6;
    let rounds = 100 * scale();
    let operations = AtomicU64::new(0);
    for round in 0..rounds {
        let ledger = Ledger::new(THREADS * 50);
        let map = Arc::new(map(60, 2, &ledger));
        let start = Barrier::new(THREADS);
        common::scope(|scope| {
            for me in 0..THREADS {
                let map = Arc::clone(&map);
                let (ledger, start, operations) = (&ledger, &start, &operations);
                scope.spawn(move || {
                    start.wait();
                    for i in 0..50 - (me + round) % 7 {
                        let number = me * 50 + i;
                        let deadline = at(1 + i as u64);
                        let value = ledger.value(number);
                        if map
                            .insert(number as u64 % 80, value, deadline, at(0))
                            .is_ok()
                        {
                            ledger.inserted();
                        }
                        if i % 8 == 0 {
                            map.flush(at(i as u64 / 2));
                        }
                        operations.fetch_add(1, Relaxed);
                    }
                    drop(map);
                });
            }
            drop(map);
        });
        assert_eq!(ledger.live(), 0, "with the last handle");
    }
    println!("{rounds} maps, {operations:?} inserts");
}

/// What a guard has held back is not covered for ever by what leaves after it.
#[test]
fn what_was_held_back_is_dropped_by_the_inserts_to_come() {
    const HELD_BACK: u64 = 5_000;
    const PAIRS: u64 = 20_000;
    let _alone = alone();
    let dropped = Arc::new(AtomicU64::new(0));
    let map: ExpiringMap<u64, Late> = ExpiringMap::builder()
        .maximum(Some(20_000))
        .shards(1)
        .build()
        .unwrap();
    let pair = |key: u64, value| {
        assert!(map.insert(key, value, Timestamp::NEVER, at(0)).is_ok());
        assert!(map.remove(&key));
    };
    let guard = map.pin();
    for key in 0..HELD_BACK {
        pair(key, Late(Some(Arc::clone(&dropped))));
    }
    assert_eq!(dropped.load(Relaxed), 0);
    drop(guard);
    for key in HELD_BACK..HELD_BACK + PAIRS {
        pair(key, Late(None));
    }
    println!("{dropped:?} of {HELD_BACK} dropped by {PAIRS} pairs");
    assert_eq!(dropped.load(Relaxed), HELD_BACK);
}

/// Counts itself when it is dropped, or does not.
struct Late(Option<Arc<AtomicU64>>);

impl Drop for Late {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Relaxed);
        }
    }
}
