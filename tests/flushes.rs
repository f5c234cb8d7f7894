//! Flushes at once with each other, with inserts, and with helpers that come or don't.
//!
//! `SESSIONWHEEL_STRESS` multiplies the number of operations. The tests print how much they did
//! and how often the rare things happened, and fail if one of them never did.

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;

use common::arena::{Arena, at, count};
use common::ledger::Ledger;
use common::{Counted, Random, alone, scale};
use sessionwheel::{ExpiringMap, MapBuilder, Reason};

/// Flushes at different times run at once, some of them stopped half-way by their budget. Whatever
/// the others do: what had expired, and had been inserted before a flush began, is gone when that
/// flush returns.
#[test]
fn each_of_many_flushes_at_once_is_complete() {
    let _alone = alone();
    const INSERTERS: usize = 2;
    const FLUSHERS: usize = 4;
    const BATCH: usize = 16;
    let inserts = 20_000 * scale();
    for shards in [1, 4] {
        let arena = Arena::new(INSERTERS + FLUSHERS, INSERTERS * inserts, shards, None);
        let returned: Vec<AtomicUsize> = (0..INSERTERS).map(|_| AtomicUsize::new(0)).collect();
        let running = AtomicUsize::new(INSERTERS);
        let failed = AtomicBool::new(false);
        let (checked, expired_there) = (AtomicU64::new(0), AtomicU64::new(0));
        common::scope(|scope| {
            for me in 0..INSERTERS {
                let (arena, running, returned) = (&arena, &running, &returned);
                let failed = &failed;
                scope.spawn(move || {
                    let _ends = common::OnDrop(|| {
                        running.fetch_sub(1, Relaxed);
                    });
                    let mut random = Random::new(me as u64 + 50);
                    for i in 0..inserts {
                        let number = me * inserts + i;
                        // Mostly soon, so that hints meet openers; some over several levels.
                        let lifetime = {
                            let bits = 1 + random.below(10);
                            random.below(1 << bits)
                        };
                        arena.presence.inside(me, || {
                            arena.insert(number, number as u64, lifetime);
                        });
                        returned[me].store(i + 1, SeqCst);
                        if i % BATCH == 0 {
                            arena.now.fetch_add(1 + random.below(3), Relaxed);
                            while arena.map.len() > 500 && !failed.load(Relaxed) {
                                arena.now.fetch_add(1, Relaxed);
                                thread::yield_now();
                            }
                        }
                    }
                });
            }
            for me in INSERTERS..INSERTERS + FLUSHERS {
                let (arena, running, returned) = (&arena, &running, &returned);
                let (checked, expired_there, failed) = (&checked, &expired_there, &failed);
                scope.spawn(move || {
                    let _failed = common::OnDrop(|| {
                        failed.fetch_or(thread::panicking(), Relaxed);
                    });
                    let mut random = Random::new(me as u64 + 50);
                    let map = &arena.map;
                    while running.load(Relaxed) != 0 {
                        let time = at(arena.now().saturating_sub(random.below(40)));
                        if random.below(3) == 0 {
                            let budget = 1 + random.below(60) as usize;
                            let swept = map.flush_within(time, budget);
                            let stopped = u64::from(swept.remaining);
                            arena.seen.stopped_flushes.fetch_add(stopped, Relaxed);
                            continue;
                        }
                        let before: Vec<_> = returned.iter().map(|r| r.load(SeqCst)).collect();
                        let (swept, overlap) = arena.presence.watch(me, || map.flush(time));
                        count(&arena.seen.flushes);
                        let others = &arena.seen.flushes_among_others;
                        others.fetch_add(overlap.into(), Relaxed);
                        expired_there.fetch_add(swept.removed as u64, Relaxed);
                        let guard = map.pin();
                        for entry in map.iter(&guard) {
                            let number = entry.value().number() as usize;
                            let there_before = number % inserts < before[number / inserts];
                            assert!(
                                !there_before || entry.deadline() >= time,
                                "left {number} with {:?} at {time:?}",
                                entry.deadline()
                            );
                            count(checked);
                        }
                    }
                });
            }
        });
        println!(
            "{shards} shards: {checked:?} entries checked, {expired_there:?} removed by full flushes"
        );
        assert!(checked.load(Relaxed) > 0 && expired_there.load(Relaxed) > 0);
        arena.finish(&["flushes_among_others", "stopped_flushes", "expired"]);
    }
}

/// A re-timing against a flush that finds the entry expired: `true` means that it lives.
#[test]
fn an_entry_that_was_retimed_in_time_lives() {
    let _alone = alone();
    const KEYS: u64 = 256;
    let rounds = 400 * scale();
    let (saved, lost) = (AtomicU64::new(0), AtomicU64::new(0));
    let map: ExpiringMap<u64, u64> = ExpiringMap::builder().shards(1).build().unwrap();
    let start = Barrier::new(2);
    let (removed, retimed) = (AtomicU64::new(0), AtomicU64::new(0));
    common::scope(|scope| {
        let (map, start, removed, retimed) = (&map, &start, &removed, &retimed);
        scope.spawn(move || {
            for round in 0..rounds as u64 {
                start.wait();
                // When so many have been retimed, each round another number.
                while retimed.load(Relaxed) < round * KEYS + round % KEYS {
                    thread::yield_now();
                }
                removed.fetch_add(map.flush(at(11)).removed as u64, Relaxed);
                start.wait();
            }
        });
        for round in 0..rounds as u64 {
            for key in 0..KEYS {
                map.insert(key, key, at(10), at(0)).unwrap();
            }
            start.wait();
            // Against the flush, which goes upwards, so that they meet; the clocks differ.
            let forwards = round % 2 == 0;
            let keys = (0..KEYS).map(|i| if forwards { i } else { KEYS - 1 - i });
            let told: Vec<(u64, bool)> = keys
                .map(|key| {
                    if key % 8 == 0 {
                        thread::yield_now();
                    }
                    let told = map.retime(&key, at(100), at(10));
                    count(retimed);
                    (key, told)
                })
                .collect();
            start.wait();
            for (key, told) in told {
                assert_eq!(map.contains(&key, at(10)), told, "{key} in round {round}");
                count(if told { &saved } else { &lost });
            }
            map.clear();
        }
    });
    println!("{saved:?} saved, {lost:?} lost");
    assert_eq!(removed.load(Relaxed), lost.load(Relaxed));
    assert!(saved.load(Relaxed) > 0 && lost.load(Relaxed) > 0);
}

type Task = Box<dyn FnOnce() + Send>;

/// Fills a map, and lets two threads flush it at once.
fn flush_twice_at_once(map: &ExpiringMap<u64, Counted>, ledger: &Ledger, first: usize, n: usize) {
    for number in first..first + n {
        let deadline = at(10 + number as u64 % 1_000);
        map.insert(number as u64, ledger.value(number), deadline, at(0))
            .unwrap();
        ledger.inserted();
    }
    let together = Barrier::new(2);
    let removed: Vec<usize> = thread::scope(|scope| {
        let flush = || {
            together.wait();
            map.flush(at(5_000)).removed
        };
        let threads = [scope.spawn(flush), scope.spawn(flush)];
        threads.map(|t| t.join().unwrap()).into()
    });
    println!("{removed:?}");
    assert_eq!(removed.iter().sum::<usize>(), n, "each removed by one");
    assert!(map.is_empty());
    assert!((first..first + n).all(|number| ledger.has_left(number)));
}

fn helped(builder: MapBuilder<u64, Counted>, rounds: usize, n: usize) {
    let ledger = Ledger::new(rounds * n);
    let books = Arc::clone(&ledger);
    let map = builder
        .listener(move |_, value, reason| books.left(value, reason))
        .build()
        .unwrap();
    for round in 0..rounds {
        flush_twice_at_once(&map, &ledger, round * n, n);
    }
    assert_eq!(ledger.count(Reason::Expired), (rounds * n) as u64);
    ledger.close(&map);
}

#[test]
fn two_flushes_at_once_share_100_000_entries_with_the_default_helpers() {
    let _alone = alone();
    helped(ExpiringMap::builder().tick_bits(4), 2, 100_000);
}

#[test]
fn two_flushes_at_once_share_100_000_entries_with_threads_of_our_own() {
    let _alone = alone();
    let woken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&woken);
    let builder = ExpiringMap::builder().shards(16).helpers(3, move |task| {
        counter.fetch_add(1, Relaxed);
        thread::spawn(task);
    });
    helped(builder, 2, 100_000);
    println!("{woken:?} helpers");
    assert!(woken.load(Relaxed) > 0);
}

#[test]
fn a_flush_does_not_wait_for_helpers_that_never_come() {
    let _alone = alone();
    let asked: Arc<Mutex<Vec<Task>>> = Arc::default();
    let late = Arc::clone(&asked);
    let builder = ExpiringMap::builder()
        .shards(16)
        .helpers(4, move |task| late.lock().unwrap().push(task));
    helped(builder, 1, 20_000);
    let tasks = std::mem::take(&mut *asked.lock().unwrap());
    println!("{} asked, none came", tasks.len());
    assert!(!tasks.is_empty());
    // Half of them come when the map is long gone, half are thrown away.
    for (i, task) in tasks.into_iter().enumerate() {
        if i % 2 == 0 {
            task();
        }
    }
}

#[test]
fn helpers_are_not_asked_for_one_shard_or_from_inside_the_listener() {
    let _alone = alone();
    let map: Arc<OnceLock<ExpiringMap<u64, u64>>> = Arc::default();
    // Weak: a listener that owns its own map is never dropped.
    let inner = Arc::downgrade(&map);
    let told = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&told);
    let built = ExpiringMap::builder()
        .shards(4)
        .helpers(4, |_| panic!("asked"))
        .listener(move |_, _, _| {
            counter.fetch_add(1, Relaxed);
            let map = inner.upgrade().unwrap();
            map.get().unwrap().flush(at(100));
        })
        .build()
        .unwrap();
    let map = map.get_or_init(|| built);
    for key in 0..1_000 {
        map.insert(key, key, at(10), at(0)).unwrap();
    }
    assert!(map.remove(&0));
    assert_eq!(told.load(Relaxed), 1_000, "by the flush in the listener");
    assert!(map.is_empty());
    map.insert(1, 1, at(10), at(0)).unwrap();
    assert_eq!(map.flush(at(100)).removed, 1);
}

/// Who expires later in the tick that has begun is looked at once, not by every flush of that tick.
#[test]
fn what_has_been_looked_at_is_not_looked_at_again_before_its_time() {
    const ENTRIES: u64 = 100;
    let map: ExpiringMap<u64, u64> = ExpiringMap::builder().shards(4).build().unwrap();
    for key in 0..ENTRIES {
        map.insert(key, key, at(1_000 + key), at(0)).unwrap();
    }
    let mut visited = Vec::new();
    for time in 500..600 {
        visited.push(map.flush(at(time)).visited as u64);
    }
    println!("visited: {visited:?}");
    assert_eq!(visited.iter().sum::<u64>(), visited[0]);
    assert!(visited[0] >= ENTRIES);
    // What is added speaks against it.
    map.insert(ENTRIES, 0, at(700), at(0)).unwrap();
    assert!(map.flush(at(650)).visited > 0);
    assert_eq!(map.flush(at(651)).visited, 0);
    assert_eq!(map.flush(at(701)).removed, 1);
    assert_eq!(map.flush(at(1_050)).removed, 50);
    assert_eq!(map.flush(at(2_000)).removed, 50);
}

#[test]
fn bounded_flushes_come_to_all_shards_while_time_goes_on() {
    // In each shard more entries than the budget stay to the end of the tick.
    let map: ExpiringMap<u64, u64> = ExpiringMap::builder().shards(16).build().unwrap();
    let tick = 1 << 30;
    let (early, late) = (0..3_200, 3_200..6_400);
    for key in early {
        map.insert(key, key, at(8 * tick), at(0)).unwrap();
    }
    for key in late {
        map.insert(key, key, at(11 * tick - 1), at(0)).unwrap();
    }
    let times = (10 * tick..11 * tick - 1).step_by(tick as usize / 1_000);
    let (mut removed, mut calls) = (0, 0);
    for now in times.take_while(|_| map.len() > 3_200) {
        removed += map.flush_within(at(now), 64).removed;
        calls += 1;
    }
    println!("{removed} removed by {calls} calls");
    assert_eq!(removed, 3_200);
}
