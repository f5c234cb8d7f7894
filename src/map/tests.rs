//! One thread at a time: what calls say and leave behind, down to numbers that nobody outside sees.

mod debris;

use std::cell::Cell;
use std::sync::Mutex;
use std::time::Duration;

use super::evict::SURPLUS;
use super::*;
use crate::geometry::POSITIONS;
use crate::slab::Deadline;
use crate::sync::OnceLock;
use crate::sync::atomic::Ordering;

const TICK_BITS: u32 = 4;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn builder(shards: usize) -> MapBuilder<u64, u64> {
    ExpiringMap::builder()
        .shards(shards)
        .tick_bits(TICK_BITS)
        .now(at(0))
        .helpers(0, |_| ())
}

fn map(shards: usize, maximum: Option<usize>) -> ExpiringMap<u64, u64> {
    let map = builder(shards).maximum(maximum).build();
    map.expect("good numbers")
}

/// Inserts these keys, each with ten times as much as its value; how many were evicted.
fn fill(
    map: &ExpiringMap<u64, u64>,
    keys: impl IntoIterator<Item = u64>,
    deadline: Timestamp,
) -> usize {
    let insert = |key: u64| map.insert(key, 10 * key, deadline, at(0));
    keys.into_iter()
        .map(|key| insert(key).expect("room").evicted)
        .sum()
}

fn each_shard(map: &ExpiringMap<u64, u64>, f: impl Fn(&shard::Shard<u64, u64>) -> u64) -> Vec<u64> {
    map.core.shards.iter().map(|shard| f(shard)).collect()
}

#[test]
fn what_is_there_can_be_had_and_counted() {
    let map = map(4, None);
    assert!(map.is_empty());
    fill(&map, 1..=100, at(500));
    assert!(!map.is_empty());
    assert_eq!(map.get_cloned(&7, at(0)), Some(70));
    assert_eq!(map.take_cloned(&7, at(0)), Some(70));
    assert_eq!(map.take_cloned(&7, at(0)), None);
    assert_eq!((map.len(), map.slots()), (99, 100));
    let stats = map.stats();
    assert_eq!((stats.live, stats.slots, stats.taken), (99, 100, 1));
}

#[test]
fn keys_have_hashes_of_their_own_and_keep_them() {
    let map = map(4, None);
    let mut hashes: Vec<u64> = (0..1_000).map(|key: u64| map.hash(&key)).collect();
    assert!((0..1_000).all(|key: u64| map.hash(&key) == hashes[key as usize]));
    hashes.sort_unstable();
    hashes.dedup();
    assert_eq!(hashes.len(), 1_000);
    fill(&map, 0..1_000, at(500));
    let slots = each_shard(&map, |shard| u64::from(shard.slab.high_water()));
    assert!(slots.iter().all(|&n| n > 100), "{slots:?}");
}

/// A value whose destructor fails.
struct Loud;

impl Drop for Loud {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("as it should"));
    }
}

#[test]
fn destructors_that_panic_are_counted() {
    let map: ExpiringMap<u64, Loud> = ExpiringMap::builder().build().expect("good numbers");
    for key in 0..3 {
        assert!(map.insert(key, Loud, at(500), at(0)).is_ok());
        assert!(map.remove(&key));
    }
    while map.reclaim() > 0 {}
    assert_eq!(map.stats().drop_panics, 3);
}

#[test]
fn bounded_flushes_begin_with_each_shard_in_turn() {
    let map = map(2, None);
    fill(&map, 0..1_000, at(500));
    let rotor = || map.core.flush_rotor.load(Ordering::Relaxed);
    let mut from = Vec::new();
    for _ in 0..4 {
        assert!(map.flush_within(at(501), 20).remaining);
        from.push(rotor());
    }
    assert_eq!(from, [1, 2, 1, 2]);
}

#[test]
fn when_something_expires_is_known_also_after_a_flush_that_stopped() {
    let map = map(1, None);
    assert_eq!((map.next_expiry(), map.due_since()), (None, None));
    fill(&map, [1], at(1_000));
    fill(&map, [2], at(1_003));
    let next = map.next_expiry().expect("there is something");
    assert!(next <= at(1_001) && map.due_since() == Some(next));
    assert!(map.flush_within(at(2_000), 0).remaining);
    assert_eq!(map.next_expiry(), Some(at(0)), "at once");
    // Enough to move both to the due set, and to look at neither.
    assert!(map.flush_within(at(2_000), 1).remaining);
    assert_eq!(
        (map.next_expiry(), map.due_since()),
        (Some(at(1_001)), Some(at(1_001)))
    );
    // As if a flush had sentenced the first one and stopped before it set the mark.
    let first = map.core.shards[0].slab.slot(1);
    let deadline = first.deadline();
    assert!(first.change_deadline(deadline, Deadline::EXPIRED).is_ok());
    assert_eq!(map.due_since(), Some(at(1_004)));
    while map.flush_within(at(2_000), 10).remaining {}
    assert_eq!((map.next_expiry(), map.due_since()), (None, None));
}

#[test]
fn who_stays_is_looked_at_once_in_its_tick_and_leaves_in_time() {
    // Both come down from the level above with the same flush, and the second goes on to a later tick.
    let tick = u64::from(POSITIONS) << TICK_BITS;
    let (early, late) = (tick + 8, tick + (1 << TICK_BITS) + 8);
    let map = map(1, None);
    fill(&map, [1], at(early));
    fill(&map, [2], at(late));
    assert_eq!(
        map.flush(at(early - 4)).visited,
        3,
        "a part of a tick, and two"
    );
    assert_eq!(map.flush(at(early - 3)).visited, 0, "nobody has come since");
    assert_eq!(map.flush(at(early)).removed, 0);
    let swept = map.flush(at(early + 1));
    assert_eq!((swept.removed, map.get_cloned(&2, at(0))), (1, Some(20)));
    assert_eq!(map.flush(at(late + 1)).removed, 1);
    // The same without anybody who goes on.
    fill(&map, [3], at(4 * tick + 8));
    fill(&map, [4], at(4 * tick + 9));
    assert_eq!(map.flush(at(4 * tick + 4)).visited, 3);
    assert_eq!(map.flush(at(4 * tick + 5)).visited, 0);
    assert_eq!(map.flush(at(4 * tick + 9)).removed, 1);
    assert_eq!(map.flush(at(4 * tick + 10)).removed, 1);
}

#[test]
fn evictions_are_counted_where_they_happen() {
    let map = map(4, Some(100));
    assert_eq!(fill(&map, 0..100, at(500)), 0);
    for key in 100..110 {
        assert_eq!(fill(&map, [key], at(500)), 1);
    }
    assert_eq!((map.len(), map.stats().evicted), (100, 10));
}

#[test]
fn a_lowered_maximum_is_paid_by_all_shards_and_in_parts() {
    let map = map(4, None);
    fill(&map, 0..1_000, at(500));
    map.set_maximum(Some(400));
    // One call removes so many, and an insert one more for itself.
    map.pay(at(0));
    assert_eq!(map.len(), 1_000 - SURPLUS);
    assert_eq!(fill(&map, [2_000], at(500)), SURPLUS + 1);
    while map.len() > 400 {
        map.pay(at(0));
    }
    let left = each_shard(&map, |shard| {
        let live = (1..=shard.slab.high_water()).filter(|&n| shard.live(n).is_some());
        live.count() as u64
    });
    assert_eq!(left.iter().sum::<u64>(), 400);
    // Some 250 of each shard were there, and some 150 of each had to go.
    assert!(left.iter().all(|n| (20..=180).contains(n)), "{left:?}");
}

#[test]
fn who_does_not_compete_is_found_before_an_insert_is_refused() {
    let map = map(1, Some(1));
    for key in 0..4 {
        assert_eq!(fill(&map, [key], at(500)), usize::from(key > 0));
        // As if its insert had stopped before it came to that.
        let shard = &map.core.shards[0];
        (1..=shard.slab.high_water()).for_each(|slot| shard.withdraw(slot));
    }
    assert_eq!(map.get_cloned(&3, at(0)), Some(30));
}

#[test]
fn helpers_are_asked_by_flushes_that_are_not_alone_nor_inside_a_listener() {
    static MAP: OnceLock<ExpiringMap<u64, u64>> = OnceLock::new();
    thread_local! {
        static ASKED: Cell<usize> = const { Cell::new(0) };
    }
    const FLUSHES: u64 = 1_000;
    let asked = || ASKED.with(Cell::take);
    let helped = builder(4)
        .helpers(2, |_| ASKED.with(|asked| asked.set(asked.get() + 1)))
        .listener(move |&key: &u64, _: &u64, _| {
            if key == FLUSHES {
                let map = MAP.get().expect("made by the test");
                assert_eq!((map.flush(at(501)).removed, asked()), (100, 0));
            }
        });
    let map = MAP.get_or_init(|| helped.build().expect("good numbers"));
    fill(map, 0..100, at(500));
    assert_eq!(
        (map.remove_expired(at(501), true).removed, asked()),
        (100, 0)
    );
    fill(map, (0..100).chain([FLUSHES]), at(500));
    assert!(map.remove(&FLUSHES));
    assert!(map.is_empty());
    assert_eq!(map.stats().listener_panics, 0, "it found what it expected");
    fill(map, 0..100, at(600));
    assert_eq!((map.flush(at(601)).removed, asked()), (100, 2));
}

#[test]
fn inside_its_listener_a_map_evicts_nobody() {
    static MAP: OnceLock<ExpiringMap<u64, u64>> = OnceLock::new();
    static REFUSED: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let of_three = |&key: &u64, _: &u64, _| {
        let map = MAP.get().expect("made by the test");
        for key in [10 * key, 10 * key + 1] {
            if map.insert(key, 0, at(500), at(0)).is_err() {
                REFUSED.lock().expect("no panic").push(key);
            }
        }
    };
    let map = builder(1).maximum(Some(3)).listener(of_three).build();
    let map = MAP.get_or_init(|| map.expect("good numbers"));
    fill(map, 1..=3, at(500));
    // One leaves, so there is room for one.
    assert!(map.remove(&2));
    assert_eq!(*REFUSED.lock().expect("no panic"), [21]);
    let stats = map.stats();
    assert_eq!((map.len(), stats.evicted, stats.full), (3, 0, 1));
}

#[test]
fn permits_come_back_from_a_batch_whole() {
    // More than any batch holds, and no multiple of what is given back at a time.
    const ENTRIES: u64 = 1_000;
    let map = map(1, Some(ENTRIES as usize));
    for round in 0..3 {
        assert_eq!(
            fill(&map, 0..ENTRIES, at(1_000 + round)),
            0,
            "in round {round}"
        );
        assert_eq!(map.len(), ENTRIES as usize);
        assert_eq!(map.flush(at(1_001 + round)).removed, ENTRIES as usize);
        assert_eq!(map.len(), 0);
    }
}

#[test]
fn a_listener_is_called_by_the_batch() {
    static MAP: OnceLock<ExpiringMap<u64, u64>> = OnceLock::new();
    static THERE: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let listener = |_: &u64, _: &u64, _| {
        let there = MAP.get().expect("made by the test").len();
        THERE.lock().expect("no panic").push(there);
    };
    let map = builder(1).maximum(Some(1_000)).listener(listener).build();
    let map = MAP.get_or_init(|| map.expect("good numbers"));
    fill(map, 0..1_000, at(500));
    assert_eq!(map.flush(at(501)).removed, 1_000);
    let there = std::mem::take(&mut *THERE.lock().expect("no panic"));
    assert_eq!(there.len(), 1_000);
    // When it hears of the first of a batch, all of it is gone.
    let first = 1_000 - there[0];
    assert!((64..=256).contains(&first), "{first} in the first batch");
    assert!(there[..first].iter().all(|&n| n == there[0]));
    assert!(there[first] < there[0]);
}

#[test]
fn what_was_removed_before_a_panic_is_removed_whole() {
    let map = map(1, Some(100));
    fill(&map, 0..100, at(500));
    let mut asked = 0;
    let unwanted = |_: &u64, _: &u64| {
        asked += 1;
        if asked == 10 {
            std::panic::resume_unwind(Box::new("as it should"));
        }
        true
    };
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| map.remove_where(unwanted)));
    assert!(panicked.is_err());
    assert_eq!((map.len(), map.stats().removed), (91, 9));
    assert_eq!(fill(&map, 200..209, at(500)), 0, "their permits are back");
    while map.reclaim() > 0 {}
    assert_eq!(map.iter(&map.pin()).count(), 100);
}

#[test]
fn a_removal_that_looks_at_many_lets_the_epoch_go_on() {
    let map = map(1, None);
    fill(&map, 0..20_000, at(500));
    // Again if other tests have held it back.
    let mut waiting = 1;
    for key in 0.. {
        assert!(map.remove(&key));
        let mut asked = 0;
        map.remove_where(|_, _| {
            asked += 1;
            if asked % 100 == 0 {
                waiting = waiting.min(map.reclaim());
            }
            false
        });
        assert_eq!(asked, 19_999 - key);
        if waiting == 0 {
            break;
        }
    }
}

#[test]
fn who_takes_the_place_of_one_who_is_being_evicted_tells_of_that() {
    let map = map(1, Some(10));
    fill(&map, 0..3, at(500));
    // As if an eviction had sentenced it and stopped before it set the mark.
    let first = map.core.shards[0].slab.slot(1);
    let deadline = first.deadline();
    assert!(first.change_deadline(deadline, Deadline::EVICTED).is_ok());
    assert_eq!(map.get_cloned(&0, at(0)), None);
    fill(&map, [0], at(500));
    let stats = map.stats();
    assert_eq!((stats.evicted, stats.replaced, stats.live), (1, 0, 3));
    fill(&map, [0], at(500));
    assert_eq!(map.stats().replaced, 1);
}

#[test]
fn a_listener_is_not_entered_twice_but_that_of_another_map_is() {
    type Maps = [ExpiringMap<u64, u64>; 2];
    static MAPS: OnceLock<Maps> = OnceLock::new();
    static HEARD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    fn say(what: String) {
        HEARD.lock().expect("no panic").push(what);
    }
    let of = |name: &'static str| {
        let listener = move |&key: &u64, _: &u64, reason| {
            say(format!("{name} hears of {key}: {reason:?}"));
            if (name, key) == ("A", 0) {
                let [a, b] = MAPS.get().expect("made by the test");
                assert!(a.remove(&1) && b.remove(&0));
            }
            say(format!("{name} has heard of {key}"));
        };
        builder(1).listener(listener).build().expect("good numbers")
    };
    let maps = MAPS.get_or_init(|| ["A", "B"].map(of));
    for map in maps {
        fill(map, 0..2, at(500));
    }
    assert!(maps[0].remove(&0));
    let heard = std::mem::take(&mut *HEARD.lock().expect("no panic"));
    let expected = [
        "A hears of 0: Removed",
        "B hears of 0: Removed",
        "B has heard of 0",
        "A has heard of 0",
        "A hears of 1: Removed",
        "A has heard of 1",
    ];
    assert_eq!(heard, expected);
}

#[test]
fn a_slot_that_is_free_is_used_before_a_fresh_one() {
    let map = map(1, None);
    for key in 0..100 {
        fill(&map, [key], at(500));
        assert!(map.remove(&key));
        while map.reclaim() > 0 {}
    }
    assert_eq!(map.slots(), 1);
}

#[test]
fn who_finds_no_slot_takes_what_flushes_have_left() {
    const MAXIMUM: u64 = 1_000;
    let map = map(1, Some(MAXIMUM as usize));
    let slots = u64::from(map.core.shards[0].slab.limit());
    let guard = map.pin();
    for first in (0..slots).step_by(MAXIMUM as usize) {
        let keys = first..slots.min(first + MAXIMUM);
        let all = (keys.end - keys.start) as usize;
        fill(&map, keys, at(500));
        assert_eq!(map.flush(at(501)).removed, all);
    }
    let insert = || map.insert(slots, 0, at(500), at(0));
    assert!(matches!(insert(), Err(InsertError::Exhausted(..))));
    drop(guard);
    // As soon as other tests let go of the epoch.
    while insert().is_err() {}
    let stats = map.stats();
    assert_eq!(stats.recycled_by_starved_inserts, 1);
    assert!(stats.exhausted >= 1);
}

#[test]
fn a_removal_of_many_looks_once_at_each_slot() {
    let map = map(4, None);
    fill(&map, 0..100, at(500));
    assert!(map.remove(&7));
    let swept = map.remove_all(Reason::Removed, |key, _| key % 2 == 0);
    assert_eq!(
        (swept.removed, swept.visited, swept.remaining),
        (50, 100, false)
    );
    assert_eq!(map.stats().visited, 100);
    let mut cursor = Cursor::default();
    let parts = [30, 30, 30, 10].map(|_| map.remove_where_within(&mut cursor, 30, |_, _| false));
    assert_eq!(parts.map(|part| part.visited), [30, 30, 30, 10]);
    assert_eq!(parts.map(|part| part.remaining), [true, true, true, false]);
    assert_eq!((cursor, map.stats().visited), (Cursor::default(), 200));
}

#[test]
fn a_listener_that_panics_is_counted_and_the_others_are_told() {
    static HEARD: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    let listener = |&key: &u64, _: &u64, _| {
        if key == 1 {
            std::panic::resume_unwind(Box::new("as it should"));
        }
        HEARD.lock().expect("no panic").push(key);
    };
    let map = builder(1).listener(listener).build().expect("good numbers");
    fill(&map, 0..3, at(500));
    assert_eq!(map.clear(), 3);
    assert_eq!(*HEARD.lock().expect("no panic"), [0, 2]);
    assert_eq!((map.len(), map.stats().listener_panics), (0, 1));
}
