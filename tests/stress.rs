//! Real threads do everything at once on few keys, with short lifetimes and little room.
//!
//! `SESSIONWHEEL_STRESS` multiplies the number of operations. The tests print how much they did
//! and how often the rare things happened, and fail if one of them never did, or if nobody moves any more.

mod common;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;

use common::arena::{Arena, RARE, count};
use common::{Counted, Random, alone, scale};
use equivalent::Equivalent;
use sessionwheel::{ExpiringMap, Reason, Timestamp};

const MOST: usize = 48;
const LEAST: usize = 16;

/// How many entries were in the map at one instant, at least: a value never comes back, so what is
/// met by two iterations was there between them.
fn together(map: &ExpiringMap<u64, Counted>) -> usize {
    let guard = map.pin();
    let first: HashSet<u64> = map.iter(&guard).map(|e| e.value().number()).collect();
    map.iter(&guard)
        .filter(|e| first.contains(&e.value().number()))
        .count()
}

#[test]
fn never_more_than_the_maximum_while_everything_happens_at_once() {
    let _alone = alone();
    const THREADS: usize = 6;
    let operations = 20_000 * scale();
    for shards in [1, 4] {
        let arena = Arena::new(THREADS, THREADS * operations, shards, Some(MOST));
        arena.watch_over();
        let running = AtomicUsize::new(THREADS);
        let (mut looks, mut highest) = (0u64, 0);
        common::scope(|scope| {
            for me in 0..THREADS {
                let (arena, running) = (&arena, &running);
                scope.spawn(move || {
                    let _ends = common::OnDrop(|| {
                        running.fetch_sub(1, Relaxed);
                    });
                    arena.run(me, operations);
                });
            }
            while running.load(Relaxed) != 0 {
                assert!(arena.map.len() <= MOST);
                let there = together(&arena.map);
                assert!(there <= MOST, "{there} entries at one instant");
                highest = highest.max(there);
                looks += 1;
                thread::yield_now();
            }
        });
        println!("{shards} shards: looked {looks} times, up to {highest} entries");
        assert!(looks > 0 && highest > MOST / 2);
        arena.finish(&RARE);
    }
}

#[test]
fn the_maximum_goes_up_and_down_meanwhile() {
    let _alone = alone();
    const THREADS: usize = 5;
    let operations = 20_000 * scale();
    let arena = Arena::new(THREADS, THREADS * operations, 2, Some(MOST));
    arena.watch_over();
    let running = AtomicUsize::new(THREADS);
    let mut highest = 0;
    common::scope(|scope| {
        for me in 0..THREADS {
            let (arena, running) = (&arena, &running);
            scope.spawn(move || {
                let _ends = common::OnDrop(|| {
                    running.fetch_sub(1, Relaxed);
                });
                arena.run(me, operations);
            });
        }
        let (map, seen) = (&arena.map, &arena.seen);
        let mut random = Random::new(77);
        let mut maximum = MOST;
        while running.load(Relaxed) != 0 {
            let next = LEAST + random.below((MOST - LEAST + 1) as u64) as usize;
            map.set_maximum(Some(next));
            if next > maximum {
                count(&seen.raised);
            } else {
                count(&seen.lowered);
            }
            maximum = next;
            assert_eq!(map.maximum(), Some(maximum));
            let there = together(map);
            assert!(there <= MOST, "more than the highest maximum: {there}");
            highest = highest.max(there);
            // The surplus leaves as others insert and flush; then it is as if it had been so always.
            while map.len() > maximum && running.load(Relaxed) != 0 {
                thread::yield_now();
            }
            if running.load(Relaxed) != 0 {
                for _ in 0..4 {
                    assert!(map.len() <= maximum);
                    let there = together(map);
                    assert!(there <= maximum, "{there} entries, maximum {maximum}");
                }
            }
        }
        // What is still surplus now leaves with the next inserts or flushes.
        map.set_maximum(Some(LEAST));
        let steps = map.len().saturating_sub(LEAST).div_ceil(64);
        for _ in 0..steps {
            map.flush(Timestamp::ZERO);
        }
        assert!(map.len() <= LEAST);
    });
    println!("up to {highest} entries at one instant");
    let rare: Vec<&str> = RARE.into_iter().chain(["raised", "lowered"]).collect();
    arena.finish(&rare);
}

/// A key that lets others go first when it is compared: in the middle of a look-up.
#[derive(Hash)]
struct Polite(u64);

impl Equivalent<u64> for Polite {
    fn equivalent(&self, key: &u64) -> bool {
        thread::yield_now();
        self.0 == *key
    }
}

#[test]
fn one_of_many_takers_gets_each() {
    let _alone = alone();
    const TAKERS: usize = 3;
    const EACH: usize = 64;
    let rounds = 200 * scale();
    let arena = Arena::new(TAKERS, rounds * EACH, 1, Some(EACH));
    arena.watch_over();
    let turn = std::sync::Barrier::new(TAKERS);
    let contended = AtomicU64::new(0);
    common::scope(|scope| {
        for me in 0..TAKERS {
            let (arena, turn, contended) = (&arena, &turn, &contended);
            scope.spawn(move || {
                for round in 0..rounds {
                    if me == 0 {
                        for key in 0..EACH {
                            arena.insert(round * EACH + key, key as u64, 10);
                        }
                    }
                    turn.wait();
                    for key in 0..EACH as u64 {
                        arena.moves();
                        let guard = arena.map.pin();
                        let take = || arena.map.take(&Polite(key), Timestamp::ZERO, &guard);
                        let (value, overlap) = arena.presence.watch(me, take);
                        if let Some(value) = value {
                            arena.ledger.taken(value);
                            contended.fetch_add(overlap.into(), Relaxed);
                            count(&arena.seen.taken);
                        }
                    }
                    turn.wait();
                }
            });
        }
    });
    let all = (rounds * EACH) as u64;
    println!("{contended:?} of {all} taken with other takers inside");
    assert_ne!(contended.load(Relaxed), 0);
    let taken = arena.seen.taken.load(Relaxed);
    assert_eq!(taken, all, "some that nobody finds");
    assert_eq!(arena.ledger.count(Reason::Taken), all);
    arena.finish(&["taken"]);
}
