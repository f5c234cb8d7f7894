//! Strangers' code that panics: listeners, destructors, hashes and comparisons.

mod common;

use std::cell::Cell;
use std::collections::HashSet;
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use common::alone;
use sessionwheel::{ExpiringMap, Timestamp};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// A panic without a message on the console.
fn quiet_panic() -> ! {
    resume_unwind(Box::new("planned"))
}

#[test]
fn a_listener_that_panics_is_counted_and_nothing_is_lost() {
    let _alone = alone();
    let told: Arc<Mutex<HashSet<u64>>> = Arc::default();
    let log = Arc::clone(&told);
    let map = ExpiringMap::builder()
        .maximum(Some(2_000))
        .shards(4)
        .tick_bits(2)
        .listener(move |key: &u64, _: &u64, _| {
            assert!(log.lock().unwrap().insert(*key), "told twice");
            if key % 3 == 0 {
                quiet_panic();
            }
        })
        .build()
        .unwrap();
    let fill = |keys: std::ops::Range<u64>| {
        for key in keys {
            map.insert(key, key, at(10 + key % 90), at(0)).unwrap();
        }
    };
    fill(0..2_000);
    assert_eq!(map.flush(at(50)).removed, 900, "those up to 49");
    let guard = map.pin();
    assert_eq!(map.take(&45, at(50), &guard), Some(&45));
    assert!(map.remove(&48));
    drop(guard);
    let left = map.len();
    assert_eq!(map.clear(), left);
    assert_eq!(told.lock().unwrap().len(), 2_000);
    assert_eq!(map.stats().listener_panics, 667);
    fill(2_001..4_001);
    fill(4_002..4_003); // evicts one
    assert_eq!((map.len(), told.lock().unwrap().len()), (2_000, 2_001));
    map.clear();
    assert_eq!(map.reclaim(), 0);
}

/// A value whose destructor panics if told to.
struct Touchy {
    panics: bool,
    dropped: Arc<AtomicU64>,
}

impl Drop for Touchy {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Relaxed);
        if self.panics {
            quiet_panic();
        }
    }
}

#[test]
fn a_value_whose_destructor_panics_takes_nobody_with_it() {
    let _alone = alone();
    const N: u64 = 1_000;
    let dropped = Arc::new(AtomicU64::new(0));
    let map = ExpiringMap::builder()
        .tick_bits(2)
        .shards(2)
        .build()
        .unwrap();
    let fill = || {
        for key in 0..N {
            let panics = key % 4 == 0;
            let dropped = Arc::clone(&dropped);
            let value = Touchy { panics, dropped };
            map.insert(key, value, at(10), at(0)).unwrap();
        }
    };
    let ways: [(&str, &dyn Fn()); 4] = [
        ("flush", &|| assert_eq!(map.flush(at(11)).removed as u64, N)),
        ("take", &|| {
            for key in 0..N {
                let guard = map.pin();
                assert!(map.take(&key, at(10), &guard).is_some());
            }
        }),
        ("replace", &fill),
        ("clear", &|| assert_eq!(map.clear() as u64, N)),
    ];
    let mut expected = 0;
    let mut slots = 0;
    for (name, way) in ways.iter().cycle().take(12) {
        fill();
        way();
        expected += N;
        if *name == "replace" {
            map.clear();
            expected += N;
        }
        assert_eq!(map.reclaim(), 0, "{name}");
        assert_eq!(dropped.load(Relaxed), expected, "{name}: each once");
        assert_eq!(map.stats().drop_panics, expected / 4, "{name}");
        if slots == 0 {
            slots = map.stats().slots;
        }
    }
    println!("{expected} dropped, a quarter of them with a panic; {slots} slots at first");
    assert!(map.stats().slots <= 2 * N + 1_000, "slots are used again");
    fill();
    drop(map);
    assert_eq!(dropped.load(Relaxed), expected + N, "by the map's own drop");
}

#[test]
fn a_map_dropped_by_a_panic_drops_touchy_values_all_the_same() {
    let _alone = alone();
    let dropped = Arc::new(AtomicU64::new(0));
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        let map = ExpiringMap::builder().build().unwrap();
        for key in 0..100u64 {
            let dropped = Arc::clone(&dropped);
            let value = Touchy {
                panics: key % 2 == 0,
                dropped,
            };
            map.insert(key, value, at(10), at(0)).unwrap();
        }
        quiet_panic();
    }));
    assert!(unwound.is_err());
    assert_eq!(dropped.load(Relaxed), 100);
}

thread_local! {
    /// Panic when this many more comparisons have been made; never if negative.
    static COMPARISONS: Cell<i64> = const { Cell::new(-1) };
    static HASHES_PANIC: Cell<bool> = const { Cell::new(false) };
}

#[derive(Debug)]
struct Key(u64);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let left = COMPARISONS.get();
        COMPARISONS.set(left - i64::from(left >= 0));
        if left == 0 {
            quiet_panic();
        }
        self.0 == other.0
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        if HASHES_PANIC.get() {
            quiet_panic();
        }
        self.0.hash(state);
    }
}

/// All keys collide, so that each operation compares with every entry.
#[derive(Clone, Copy)]
struct Same;

impl BuildHasher for Same {
    type Hasher = Same;
    fn build_hasher(&self) -> Same {
        Same
    }
}

impl Hasher for Same {
    fn finish(&self) -> u64 {
        0x1234_5678_9abc_def0
    }
    fn write(&mut self, _: &[u8]) {}
}

#[test]
fn a_key_whose_hash_or_comparison_panics_leaves_the_map_as_it_was() {
    let _alone = alone();
    const N: u64 = 20;
    let dropped = Arc::new(AtomicU64::new(0));
    let value = || Touchy {
        panics: false,
        dropped: Arc::clone(&dropped),
    };
    let map = ExpiringMap::builder()
        .maximum(Some(N as usize + 1))
        .hasher(Same)
        .build()
        .unwrap();
    for key in 0..N {
        map.insert(Key(key), value(), at(10), at(0)).unwrap();
    }
    let (mut panicked, mut inserts) = (0, 0);
    for fails_at in (0..N as i64).map(Some).chain([None]) {
        for op in 0..6 {
            HASHES_PANIC.set(fails_at.is_none());
            COMPARISONS.set(fails_at.unwrap_or(-1));
            let absent = Key(99);
            let done = catch_unwind(AssertUnwindSafe(|| {
                let guard = map.pin();
                match op {
                    0 => drop(map.insert(absent, value(), at(10), at(0))),
                    1 => drop(map.get(&absent, at(0), &guard)),
                    2 => drop(map.take(&absent, at(0), &guard)),
                    3 => drop(map.remove(&absent)),
                    4 => drop(map.retime(&absent, at(20), at(0))),
                    _ => drop(map.contains(&absent, at(0))),
                }
            }));
            HASHES_PANIC.set(false);
            COMPARISONS.set(-1);
            assert!(done.is_err(), "operation {op} at {fails_at:?}");
            panicked += 1;
            inserts += u64::from(op == 0);
            assert_eq!(map.reclaim(), 0);
            assert_eq!(
                dropped.load(Relaxed),
                inserts,
                "what was not taken in is dropped"
            );
            assert_eq!(map.len() as u64, N);
            let guard = map.pin();
            let keys: HashSet<u64> = map.iter(&guard).map(|e| e.key().0).collect();
            assert_eq!(keys, (0..N).collect());
        }
    }
    println!("{panicked} operations panicked");
    // Permits and slots came back.
    assert_eq!(
        map.insert(Key(99), value(), at(10), at(0)).unwrap().evicted,
        0
    );
    assert_eq!(map.stats().slots, N + 1);
    assert_eq!(map.clear() as u64, N + 1);
    assert_eq!(map.reclaim(), 0);
    assert_eq!(dropped.load(Relaxed), inserts + N + 1);
}

/// An insert that has evicted, and then meets a comparison that panics, still tells the listener.
#[test]
fn a_comparison_that_panics_after_an_eviction_loses_no_event() {
    let _alone = alone();
    const N: u64 = 8;
    let mut evicted_first = 0;
    for fails_at in 0..4 * N as i64 {
        let told = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&told);
        let map = ExpiringMap::builder()
            .maximum(Some(N as usize))
            .hasher(Same)
            .listener(move |_: &Key, _: &u64, _| {
                counter.fetch_add(1, Relaxed);
            })
            .build()
            .unwrap();
        for key in 0..N {
            // The last one of the run leaves first: its neighbour's link changes under the insert.
            map.insert(Key(key), key, at(100 - key), at(0)).unwrap();
        }
        COMPARISONS.set(fails_at);
        let done = catch_unwind(AssertUnwindSafe(|| {
            map.insert(Key(99), 99, at(200), at(0)).unwrap();
        }));
        COMPARISONS.set(-1);
        let there = map.len() as u64;
        assert_eq!(N + u64::from(done.is_ok()) - there, told.load(Relaxed));
        evicted_first += u64::from(done.is_err() && there < N);
        assert_eq!(map.stats().evicted, told.load(Relaxed));
        for key in 0..N - there {
            let done = map.insert(Key(200 + key), 0, at(100), at(0));
            assert_eq!(done.unwrap().evicted, 0, "the permit came back");
        }
    }
    println!("{evicted_first} inserts panicked after their eviction");
    assert_ne!(evicted_first, 0);
}

/// Drops with a panic.
#[derive(PartialEq, Eq, Hash)]
struct Bomb(u64);

impl Drop for Bomb {
    fn drop(&mut self) {
        quiet_panic();
    }
}

#[test]
fn a_key_and_its_value_may_both_panic_when_they_are_dropped() {
    let _alone = alone();
    let map: ExpiringMap<Bomb, Bomb> = ExpiringMap::builder().shards(1).build().unwrap();
    assert!(map.insert(Bomb(1), Bomb(2), at(10), at(0)).is_ok());
    assert_eq!(map.flush(at(11)).removed, 1);
    assert_eq!(map.reclaim(), 0);
    assert_eq!(map.stats().drop_panics, 2);
}
