//! What a maximum promises: room for so many, no more, and who leaves.

mod common;

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;

use common::{Random, alone, scale};
use sessionwheel::{ExpiringMap, MapBuilder, Reason, Timestamp};

type Map = ExpiringMap<u64, u64>;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn build(maximum: usize, shards: usize) -> Map {
    let builder: MapBuilder<u64, u64> = ExpiringMap::builder();
    builder
        .maximum(Some(maximum))
        .shards(shards)
        .tick_bits(4)
        .build()
        .unwrap()
}

/// A map, and who has left it, in order.
fn recorded(maximum: usize, shards: usize, tick_bits: u32) -> (Map, Arc<Mutex<Vec<u64>>>) {
    let left = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&left);
    let map = ExpiringMap::builder()
        .maximum(Some(maximum))
        .shards(shards)
        .tick_bits(tick_bits)
        .listener(move |key: &u64, _: &u64, reason| {
            assert!(matches!(reason, Reason::Evicted | Reason::Taken));
            log.lock().unwrap().push(*key);
        })
        .build()
        .unwrap();
    (map, left)
}

#[test]
fn a_map_of_maximum_n_takes_n_distinct_entries_on_any_number_of_threads_and_shards() {
    let _alone = alone();
    let (mut rounds, mut inserts) = (0, 0);
    for threads in [1usize, 2, 4, 8] {
        for shards in [1, 2, 16] {
            for n in [1usize, 5, 16, 97, 256] {
                for round in 0..4 * scale() {
                    let map = build(n, shards);
                    let start = Barrier::new(threads);
                    common::scope(|scope| {
                        for me in 0..threads {
                            let (map, start) = (&map, &start);
                            scope.spawn(move || {
                                start.wait();
                                for key in (me..n).step_by(threads) {
                                    let deadline = at(10 + (key * 7 + round) as u64);
                                    let done = map.insert(key as u64, 0, deadline, at(0));
                                    assert_eq!(done.unwrap().evicted, 0);
                                    assert!(map.len() <= n);
                                }
                            });
                        }
                    });
                    assert_eq!((map.len(), map.stats().evicted), (n, 0));
                    let one_more = map.insert(u64::MAX, 0, at(10), at(0)).unwrap();
                    assert_eq!((one_more.evicted, one_more.replaced), (1, false));
                    assert_eq!((map.len(), map.stats().evicted), (n, 1));
                    rounds += 1;
                    inserts += n;
                }
            }
        }
    }
    println!("{rounds} rounds, {inserts} inserts into empty maps, none evicted or refused");
}

#[test]
fn rooms_left_by_removals_are_found_by_every_shard() {
    let _alone = alone();
    let map = build(200, 16);
    for key in 0..200 {
        map.insert(key, 0, at(10), at(0)).unwrap();
    }
    for round in 1..50 {
        for key in 0..200 {
            assert!(map.remove(&((round - 1) * 200 + key)));
            let done = map.insert(round * 200 + key, 0, at(10), at(0)).unwrap();
            assert_eq!(done.evicted, 0);
        }
    }
    assert_eq!((map.len(), map.stats().evicted), (200, 0));
}

#[test]
fn a_removal_of_many_returns_each_room_before_it_asks_again() {
    let mut checked = 0;
    for (maximum, shards) in [(60, 1), (1_000, 1), (20_000, 1), (20_000, 16)] {
        let map = build(maximum, shards);
        for key in 0..maximum as u64 {
            map.insert(key, key, at(1 << 40), at(0)).unwrap();
        }
        let removed = AtomicUsize::new(0);
        map.remove_where(|_, _| {
            // Those before this one have been marked.
            let before = removed.fetch_add(1, Relaxed);
            let in_hand = map.len() - (maximum - before);
            assert_eq!(in_hand, 0, "of {before}, {maximum} in {shards}");
            checked += 1;
            true
        });
        assert_eq!((removed.into_inner(), map.len()), (maximum, 0));
    }
    println!("rooms in hand looked at {checked} times");
}

#[test]
fn who_inserts_beside_a_slow_predicate_has_the_rooms_of_all_that_it_removed() {
    const MAXIMUM: u64 = 60;
    let map = build(MAXIMUM as usize, 1);
    for key in 0..MAXIMUM {
        map.insert(key, key, at(1_000), at(0)).unwrap();
    }
    let mut evicted = 0;
    let removed = map.remove_where(|&key, _| {
        // It waits for another thread, as one may that asks a database.
        if key == MAXIMUM - 1 {
            let insert = |key| map.insert(key, key, at(9_000), at(0)).unwrap().evicted;
            let inserts = || (MAXIMUM..2 * MAXIMUM - 1).map(insert).sum::<usize>();
            evicted = thread::scope(|scope| scope.spawn(inserts).join().unwrap());
        }
        key < MAXIMUM - 1
    });
    assert_eq!((removed, evicted), (MAXIMUM as usize - 1, 0));
    assert_eq!((map.len(), map.stats().evicted), (MAXIMUM as usize, 0));
}

#[test]
fn a_surplus_leaves_in_steps_of_64_for_each_call_that_inserts_or_flushes() {
    let _alone = alone();
    for shards in [1, 4] {
        let (map, left) = recorded(1_000, shards, 4);
        for key in 0..1_000 {
            map.insert(key, 0, at(1_000 + key), at(0)).unwrap();
        }
        map.set_maximum(Some(300));
        assert_eq!(
            map.len(),
            1_000,
            "changing the maximum itself removes nothing"
        );
        let gone = || left.lock().unwrap().len();
        for key in 0..100 {
            map.get_with(&key, at(0), |_| ());
            map.contains(&key, at(0));
        }
        assert_eq!(gone(), 0, "nor do lookups");

        let (mut before, mut calls) = (1_000, 0);
        for step in 0.. {
            let (swept, added) = match step % 4 {
                0 => (map.flush(at(0)).removed, 0),
                1 => (map.flush_within(at(0), 10).removed, 0),
                2 => {
                    let done = map.insert(5_000 + step, 0, at(9_000), at(0)).unwrap();
                    // The surplus, and one for the new entry's own room.
                    assert_eq!(before + 1 - done.evicted, map.len());
                    assert!(done.evicted <= 65);
                    (0, 1)
                }
                _ => {
                    let refused = map.insert(9, 0, at(0), at(1)).is_err();
                    assert!(refused, "it pays all the same");
                    (0, 0)
                }
            };
            assert_eq!(swept, 0, "nothing has expired");
            let now = map.len();
            assert!(now <= before, "no insert goes beyond");
            let surplus = (before - 300).min(64);
            assert_eq!(before - now, surplus, "call {step}, {added} added");
            before = now;
            calls += 1;
            if surplus == 0 {
                break;
            }
        }
        println!("{shards} shards: 700 left by {calls} calls");
        assert_eq!(map.len(), 300);
        assert_eq!(calls, 700_usize.div_ceil(64) + 1);
    }
}

#[test]
fn the_maximum_grows_and_shrinks_under_load() {
    let _alone = alone();
    const THREADS: usize = 4;
    let changes = 150 * scale();
    for shards in [1, 2, 16] {
        let map = build(100, shards);
        let running = AtomicUsize::new(1);
        let (inserts, evicted) = (AtomicU64::new(0), AtomicU64::new(0));
        let refused = AtomicU64::new(0);
        let (time, failed) = (AtomicU64::new(0), AtomicUsize::new(0));
        let (mut full, mut highest) = (0, 0);
        common::scope(|scope| {
            for me in 0..THREADS as u64 {
                let (map, running, inserts, evicted) = (&map, &running, &inserts, &evicted);
                let (time, failed, refused) = (&time, &failed, &refused);
                scope.spawn(move || {
                    let _failed = common::OnDrop(|| {
                        failed.fetch_add(thread::panicking().into(), Relaxed);
                    });
                    let mut random = Random::new(me);
                    let mut key = me;
                    while running.load(Relaxed) != 0 {
                        key += THREADS as u64;
                        let now = time.fetch_add(1, Relaxed);
                        let deadline = at(now + 50 + random.below(5_000));
                        let done = map.insert(key, key, deadline, at(now));
                        if let Ok(done) = done {
                            inserts.fetch_add(1, Relaxed);
                            evicted.fetch_add(done.evicted as u64, Relaxed);
                        } else {
                            refused.fetch_add(1, Relaxed);
                        }
                        if key % 5 == 0 {
                            map.remove(&key.saturating_sub(random.below(100)));
                        }
                    }
                });
            }
            let _ends = common::OnDrop(|| running.store(0, Relaxed));
            let mut random = Random::new(99);
            for _ in 0..changes {
                let maximum = 1 + random.below(400) as usize;
                map.set_maximum(Some(maximum));
                let before = inserts.load(Relaxed);
                while inserts.load(Relaxed) < before + 30 && failed.load(Relaxed) == 0 {
                    thread::yield_now();
                }
                let len = map.len();
                full += usize::from(len == maximum);
                highest = highest.max(len);
            }
        });
        let (inserts, evicted) = (inserts.into_inner(), evicted.into_inner());
        let stats = map.stats();
        println!(
            "{shards} shards: {inserts} inserts, {evicted} evicted, full {full} times, {highest} at most"
        );
        assert!(inserts > 0 && evicted > 0 && full > 0);
        let made_room = stats.evicted + stats.expired;
        // A refused insert may have removed 64 of a surplus before, and says nothing of them.
        let unsaid = made_room
            .checked_sub(evicted)
            .expect("each eviction has one owner");
        assert!(
            unsaid <= 64 * refused.into_inner(),
            "{unsaid} too many have left"
        );
        assert_eq!(stats.live + made_room + stats.removed, inserts);
        let guard = map.pin();
        assert_eq!(map.iter(&guard).count(), map.len());
        // What was promised at rest holds again.
        map.clear();
        map.set_maximum(Some(77));
        for key in 0..77 {
            assert_eq!(map.insert(key, 0, at(10), at(0)).unwrap().evicted, 0);
        }
        assert_eq!(map.insert(99, 0, at(10), at(0)).unwrap().evicted, 1);
    }
}

#[test]
fn the_victim_is_exactly_the_entry_of_the_shard_that_expires_first() {
    let _alone = alone();
    let mut evictions = 0;
    for (tick_bits, span) in [(0, 100), (4, 1_000), (30, 1_000), (2, 1 << 40)] {
        for maximum in [1usize, 2, 33, 64, 1_000, 20_000] {
            let (map, left) = recorded(maximum, 1, tick_bits);
            let mut random = Random::new(maximum as u64);
            // By deadline, and by key.
            let mut order = BTreeSet::new();
            let mut deadlines: HashMap<u64, u64> = HashMap::new();
            for key in 0..3 * maximum.max(150) as u64 {
                let mut deadline = match random.below(5) {
                    0 => u64::MAX,
                    _ => 1 + random.below(span),
                };
                let full = order.len() == maximum;
                map.insert(key, 0, at(deadline), at(0)).unwrap();
                if full {
                    let victim = left.lock().unwrap().pop().expect("one had to go");
                    let had = deadlines.remove(&victim).expect("it was there");
                    let &(first, _) = order.first().expect("it is full");
                    assert_eq!(had, first, "{victim} left");
                    order.remove(&(had, victim));
                    evictions += 1;
                }
                assert!(left.lock().unwrap().is_empty());
                // Deadlines also change, and entries leave for other reasons.
                if key % 3 == 0 {
                    deadline = 1 + random.below(span);
                    assert!(map.retime(&key, at(deadline), at(0)));
                }
                order.insert((deadline, key));
                deadlines.insert(key, deadline);
                let other = random.below(key + 1);
                if key % 5 == 0 && deadlines.contains_key(&other) {
                    assert_eq!(map.take_cloned(&other, at(0)), Some(0));
                    let had = deadlines.remove(&other).expect("it was there");
                    order.remove(&(had, other));
                    left.lock().unwrap().clear();
                }
                assert_eq!(map.len(), order.len());
            }
        }
    }
    println!("{evictions} evictions, each of the first to expire");
}

#[test]
fn entries_that_never_expire_can_be_evicted() {
    let _alone = alone();
    for (shards, maximum) in [(1, 1), (1, 64), (1, 300), (16, 300)] {
        let (map, left) = recorded(maximum, shards, 30);
        let n = maximum as u64;
        for key in 0..4 * n {
            let done = map.insert(key, 0, Timestamp::NEVER, at(0)).unwrap();
            assert_eq!(done.evicted, usize::from(key >= n));
        }
        assert_eq!(map.next_expiry(), None);
        assert_eq!(map.flush(Timestamp::NEVER).removed, 0);
        let mut gone = left.lock().unwrap().clone();
        gone.sort_unstable();
        gone.dedup();
        assert_eq!((gone.len(), map.len()), (3 * maximum, maximum));
    }
}

#[test]
fn entries_that_never_expire_take_turns() {
    let _alone = alone();
    for (maximum, shards) in [(1_000usize, 1), (20_480, 16)] {
        let map: Map = build(maximum, shards);
        let n = maximum as u64;
        for key in 0..10 * n {
            map.insert(key, 0, Timestamp::NEVER, at(0)).unwrap();
        }
        let guard = map.pin();
        let oldest = map.iter(&guard).map(|entry| *entry.key()).min();
        println!(
            "{maximum} in {shards} shards: the oldest is {oldest:?} of {}",
            10 * n
        );
        assert!(oldest >= Some(8 * n), "nobody stays for ever");
        assert_eq!(map.len(), maximum);
    }
}

#[test]
fn two_who_change_the_maximum_never_let_in_more_than_the_larger() {
    let _alone = alone();
    let map = build(100, 1);
    let running = AtomicUsize::new(2);
    let (mut counts, mut most) = (0, 0);
    common::scope(|scope| {
        for maximum in [20, 100] {
            let (map, running) = (&map, &running);
            scope.spawn(move || {
                for _ in 0..20_000 * scale() {
                    map.set_maximum(Some(maximum));
                }
                running.fetch_sub(1, Relaxed);
            });
        }
        let mut key = 0;
        while running.load(Relaxed) != 0 {
            for _ in 0..64 {
                drop(map.insert(key, 0, at(10), at(0)));
                key += 1;
                assert!(map.len() <= 100);
            }
            most = most.max(map.iter(&map.pin()).count());
            counts += 1;
        }
    });
    println!("{counts} counts, {most} at the most");
    assert!(counts > 0 && most <= 100);
}

#[test]
fn a_surplus_leaves_from_all_shards_alike() {
    let _alone = alone();
    const N: u64 = 20_000;
    for shards in [16, 256] {
        let map = build(N as usize, shards);
        for key in 0..N {
            map.insert(key, 0, at(1 + key), at(0)).unwrap();
        }
        map.set_maximum(Some(N as usize / 2));
        while map.len() > N as usize / 2 {
            map.flush(at(0));
        }
        let guard = map.pin();
        let late = map.iter(&guard).filter(|e| *e.key() >= N / 2).count() as u64;
        println!(
            "{shards} shards: {late} of the {} that expire last stay",
            N / 2
        );
        assert!(late > N / 2 * 8 / 10);
    }
}

#[test]
fn those_who_pay_for_a_lower_maximum_together_pay_once() {
    let _alone = alone();
    const THREADS: usize = 4;
    let rounds = 50 * scale();
    for _ in 0..rounds {
        let map = build(200, 1);
        for key in 0..200 {
            map.insert(key, 0, at(10), at(0)).unwrap();
        }
        map.set_maximum(Some(100));
        let start = Barrier::new(THREADS);
        common::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    start.wait();
                    while map.len() > 100 {
                        map.flush(at(0));
                    }
                });
            }
        });
        assert_eq!(map.iter(&map.pin()).count(), 100);
    }
    println!("{rounds} rounds, {THREADS} payers, none paid twice");
}

#[test]
fn the_length_is_right_beside_a_maximum_that_changes() {
    let _alone = alone();
    let map = build(100, 4);
    for key in 0..10 {
        map.insert(key, 0, at(10), at(0)).unwrap();
    }
    let least = 20_000 * scale();
    let counts = AtomicUsize::new(0);
    let (lowest, highest) = (AtomicUsize::new(usize::MAX), AtomicUsize::new(0));
    let mut turns = 0;
    common::scope(|scope| {
        scope.spawn(|| {
            while counts.load(Relaxed) < least {
                let len = map.len();
                lowest.fetch_min(len, Relaxed);
                highest.fetch_max(len, Relaxed);
                counts.fetch_add(1, Relaxed);
            }
        });
        while turns < least || counts.load(Relaxed) < least {
            map.set_maximum((turns % 2 == 0).then_some(100));
            turns += 1;
        }
    });
    let (lowest, highest) = (lowest.into_inner(), highest.into_inner());
    println!(
        "{turns} changes, {} counts of {lowest} to {highest}",
        counts.into_inner()
    );
    assert!(lowest == 10 && map.len() == 10);
    // An upper bound, if the other thread was stopped in the midst of it.
    assert!(highest <= 20);
}
