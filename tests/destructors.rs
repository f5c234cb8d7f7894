//! Destructors that take long, and destructors that call into the map.

mod common;

use std::cell::{Cell, RefCell};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use common::{Counted, alone};
use sessionwheel::{
    Clock, Context, ExpiringMap, Pace, SessionCache, SessionId, SessionKey, Timestamp,
};

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

static TORN: OnceLock<ExpiringMap<u64, Torn>> = OnceLock::new();
static TORN_KEYS: AtomicU64 = AtomicU64::new(0);

/// Inserts another when it is dropped.
struct Torn;

impl Torn {
    fn insert() {
        let map = TORN.get().expect("made by the test");
        let key = TORN_KEYS.fetch_add(1, Relaxed);
        if let Err(error) = map.insert(key, Torn, Timestamp::NEVER, at(0)) {
            std::mem::forget(error);
        }
    }
}

thread_local! {
    static DEPTH: Cell<u64> = const { Cell::new(0) };
    static AT_LAST: RefCell<Option<AtLast>> = const { RefCell::new(None) };
}
static DEEPEST: AtomicU64 = AtomicU64::new(0);

impl Drop for Torn {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() + 1);
        DEEPEST.fetch_max(DEPTH.get(), Relaxed);
        if DEPTH.get() < 50 {
            Self::insert();
        }
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// Inserts when its thread is torn down.
struct AtLast;

impl Drop for AtLast {
    fn drop(&mut self) {
        Torn::insert();
    }
}

#[test]
fn a_drop_that_inserts_goes_no_deeper_on_a_thread_that_is_torn_down() {
    const RIPE: u64 = 3_000;
    let _alone = alone();
    let map = TORN.get_or_init(|| ExpiringMap::builder().shards(1).build().unwrap());
    for _ in 0..RIPE {
        Torn::insert();
    }
    for key in 0..RIPE {
        assert!(map.remove(&key));
    }
    let mut guard = map.pin();
    for _ in 0..100 {
        guard.refresh();
    }
    drop(guard);
    let inserted = TORN_KEYS.load(Relaxed);
    let thread = thread::spawn(|| {
        AT_LAST.set(Some(AtLast));
        // What the map keeps for this thread comes later than that, and goes first.
        Torn::insert();
    });
    thread.join().unwrap();
    println!(
        "deepest {DEEPEST:?}, {} inserted",
        TORN_KEYS.load(Relaxed) - inserted
    );
    assert!(TORN_KEYS.load(Relaxed) - inserted >= 2);
    assert_eq!(DEEPEST.load(Relaxed), 1, "dropped, and not inside another");
}

/// Says that it is being dropped, and then waits until it may go on.
struct Slow(Option<(mpsc::Sender<()>, Arc<Mutex<()>>)>);

impl Drop for Slow {
    fn drop(&mut self) {
        if let Some((dropping, gate)) = self.0.take() {
            dropping.send(()).unwrap();
            drop(gate.lock());
        }
    }
}

/// Calls `dropper` on a thread, which drops the value it is given; how many of many inserts into
/// another map are refused while that destructor runs.
fn refused_beside(dropper: impl FnOnce(Slow) + Send) -> usize {
    const CYCLES: u64 = 50_000;
    let other: ExpiringMap<u64, Slow> = ExpiringMap::builder().maximum(Some(64)).build().unwrap();
    let (dropping, dropped) = mpsc::channel();
    let gate = Arc::new(Mutex::new(()));
    let slow = Slow(Some((dropping, Arc::clone(&gate))));
    let shut = gate.lock().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| dropper(slow));
        dropped.recv().unwrap();
        let cycle = |key| {
            let inserted = other.insert(key, Slow(None), Timestamp::NEVER, at(0));
            inserted.is_err() || !other.remove(&key)
        };
        let refused = (0..CYCLES).filter(|&key| cycle(key)).count();
        println!("{refused} of {CYCLES} refused");
        drop(shut);
        refused
    })
}

fn one_shard(maximum: Option<usize>) -> ExpiringMap<u64, Slow> {
    ExpiringMap::builder()
        .maximum(maximum)
        .shards(1)
        .build()
        .unwrap()
}

#[test]
fn a_slow_destructor_run_by_an_insert_holds_up_no_other_map() {
    let _alone = alone();
    let map = one_shard(None);
    let refused = refused_beside(|slow| {
        map.insert(0, slow, Timestamp::NEVER, at(0)).unwrap();
        for key in 0..1_000 {
            map.insert(key + 1, Slow(None), Timestamp::NEVER, at(0))
                .unwrap();
            assert!(map.remove(&key));
        }
    });
    assert_eq!(refused, 0);
}

#[test]
fn a_slow_destructor_run_by_a_flush_holds_up_no_other_map() {
    const N: u64 = 1_000;
    let _alone = alone();
    for budget in [None, Some(N as usize)] {
        let map = one_shard(None);
        let refused = refused_beside(|slow| {
            // The first to be removed, and so to be dropped while others are still to be looked at.
            map.insert(0, slow, at(1), at(0)).unwrap();
            for key in 1..N {
                map.insert(key, Slow(None), at(1), at(0)).unwrap();
            }
            let swept = match budget {
                None => map.flush(at(2)),
                Some(budget) => map.flush_within(at(2), budget),
            };
            assert_eq!(swept.removed, N as usize);
        });
        assert_eq!(refused, 0, "{budget:?}");
    }
}

/// A bounded flush drops no more than it may look at, whoever removed it; and all, in the end.
#[test]
fn a_bounded_flush_drops_no_more_than_its_budget() {
    const N: u64 = 10_000;
    const BUDGET: usize = 100;
    let _alone = alone();
    let live = Arc::new(AtomicU64::new(0));
    let map = ExpiringMap::builder().shards(4).build().unwrap();
    for key in 0..N {
        let value = Counted::new(key, &live);
        map.insert(key, value, at(1 + key % 2), at(0)).unwrap();
    }
    // Held back while half of it is removed, and ripe afterwards.
    let mut guard = map.pin();
    assert_eq!(map.flush(at(2)).removed as u64, N / 2);
    assert_eq!(live.load(Relaxed), N);
    for _ in 0..N {
        guard.refresh();
    }
    drop(guard);
    for _ in 0..200_000 {
        drop(map.pin());
    }
    let (mut turns, mut most) = (0, 0);
    while live.load(Relaxed) != 0 {
        let before = live.load(Relaxed);
        map.flush_within(at(3), BUDGET);
        most = most.max(before - live.load(Relaxed));
        turns += 1;
        assert!(turns < 10 * N, "{} are never dropped", live.load(Relaxed));
    }
    println!("{N} dropped in {turns} turns, {most} at the most");
    assert_eq!(most, BUDGET as u64);
}

/// Says when it goes.
struct Numbered(u64, Arc<Mutex<Vec<u64>>>);

impl Drop for Numbered {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn a_flush_drops_together_what_came_together_although_it_went_to_different_shards() {
    const N: u64 = 100_000;
    let _alone = alone();
    let dropped = Arc::new(Mutex::new(Vec::new()));
    let builder = ExpiringMap::builder().shards(16).helpers(0, |_| ());
    let map = builder.build().unwrap();
    for n in 0..N {
        // Both in one tick: a flush looks at all of them.
        let deadline = at(if n % 2 == 0 { 10 } else { 1_000 });
        let inserted = map.insert(n, Numbered(n, Arc::clone(&dropped)), deadline, at(0));
        assert!(inserted.is_ok());
    }
    let swept = map.flush(at(20));
    assert_eq!(swept.removed as u64, N / 2);
    assert!(swept.visited as u64 >= N && !swept.remaining);
    assert_eq!(map.len() as u64, N / 2);
    let mut dropped = std::mem::take(&mut *dropped.lock().unwrap());
    let places = (0..).zip(&dropped);
    let furthest = places.map(|(place, n)| (n / 2).abs_diff(place)).max();
    println!("furthest from its place: {furthest:?} of {}", dropped.len());
    assert!(furthest < Some(N / 4), "{furthest:?}");
    dropped.sort_unstable();
    assert!(dropped.into_iter().eq((0..N).step_by(2)));
    // It has said of all shards that there is nothing to look at before that time, and is believed.
    assert_eq!(map.flush(at(1_000)).visited, 0);
    assert_eq!(map.flush(at(1_001)).removed as u64, N / 2);
}

/// Another thread is pinned until nearly all has been removed, so that hardly anything could be dropped before.
#[test]
fn a_flush_at_a_pace_has_dropped_all_when_it_returns() {
    const SESSIONS: u64 = 5_000;
    let _alone = alone();
    for pace in [Pace::percent(50), Pace::percent(99), Pace::FULL] {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
        let live = Arc::new(AtomicU64::new(0));
        let removed = AtomicU64::new(0);
        let (nearly, told) = mpsc::channel();
        let (unpinned, waits) = mpsc::sync_channel(0);
        let waits = Mutex::new(waits);
        let cache = SessionCache::builder()
            .clock(clock)
            .maximum(None)
            .automatic_flush(None)
            .on_remove(move |_, _: &Counted, _| {
                if removed.fetch_add(1, Relaxed) == SESSIONS - 500 {
                    nearly.send(()).unwrap();
                    waits.lock().unwrap().recv().unwrap();
                }
            })
            .build()
            .unwrap();
        for n in 0..SESSIONS {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            let key = SessionKey::new(Context::DEFAULT, SessionId::from(id));
            cache.insert(key, Counted::new(n, &live)).unwrap();
        }
        hand.advance(Duration::from_secs(301));
        let (pinned, ready) = mpsc::channel();
        let other = thread::spawn(move || {
            let guard = sessionwheel::pin();
            pinned.send(()).unwrap();
            told.recv().unwrap();
            drop(guard);
            unpinned.send(()).unwrap();
        });
        ready.recv().unwrap();
        assert_eq!(cache.flush_at_pace(pace).removed as u64, SESSIONS);
        assert_eq!(live.load(Relaxed), 0, "{pace:?}");
        assert_eq!(cache.stats().garbage, 0);
        other.join().unwrap();
    }
}

/// Who drops what is ripe has few slots in hand, and leaves the others to inserts.
#[test]
fn inserts_find_slots_while_a_reclaim_is_in_a_slow_destructor() {
    const INSERTS: u64 = 1_000;
    // Of 16,448; what is held back last is dropped first.
    const LATE: u64 = 16_300;
    let _alone = alone();
    let map: ExpiringMap<u64, Slow> = ExpiringMap::builder().maximum(Some(64)).build().unwrap();
    let (dropping, dropped) = mpsc::channel();
    let gate = Arc::new(Mutex::new(()));
    let guard = map.pin();
    // Until every slot is in use or held back. One of those held back is slow.
    let used = (0..).find(|&key| {
        let slow = (key == LATE).then(|| (dropping.clone(), Arc::clone(&gate)));
        let inserted = map.insert(key, Slow(slow), Timestamp::NEVER, at(0));
        inserted.is_err() || !map.remove(&key)
    });
    drop(guard);
    // Now and then a pin runs some of what is deferred: all is ripe in the end.
    for _ in 0..200_000 {
        drop(map.pin());
    }
    let shut = gate.lock().unwrap();
    let refused = thread::scope(|scope| {
        scope.spawn(|| map.reclaim());
        dropped.recv().unwrap();
        let fresh = 1 << 40..(1 << 40) + INSERTS;
        let insert = |key| {
            map.insert(key, Slow(None), Timestamp::NEVER, at(0))
                .is_err()
        };
        let refused = fresh.filter(|&key| insert(key)).count();
        drop(shut);
        refused
    });
    println!("{used:?} slots used up; {refused} of {INSERTS} inserts refused");
    assert!(used > Some(LATE));
    assert_eq!(refused, 0);
}

/// Inserts another when it is dropped, which does not.
struct WriteBack(Option<Arc<ExpiringMap<u64, WriteBack>>>);

static REFUSED: AtomicU64 = AtomicU64::new(0);
static WRITTEN_BACK: AtomicU64 = AtomicU64::new(0);

impl Drop for WriteBack {
    fn drop(&mut self) {
        if let Some(map) = self.0.take() {
            let key = 1 << 40 | WRITTEN_BACK.fetch_add(1, Relaxed);
            let inserted = map.insert(key, Self(None), Timestamp::from_secs(key), at(0));
            REFUSED.fetch_add(u64::from(inserted.is_err()), Relaxed);
        }
    }
}

/// An insert from inside a Drop takes no ripe slot; the one around it makes up for that.
#[test]
fn inserts_by_destructors_do_not_use_up_the_slots() {
    const INSERTS: u64 = 40_000;
    let _alone = alone();
    let map = Arc::new(
        ExpiringMap::builder()
            .maximum(Some(100))
            .shards(1)
            .build()
            .unwrap(),
    );
    for key in 0..INSERTS {
        let value = WriteBack(Some(Arc::clone(&map)));
        assert!(
            map.insert(key, value, Timestamp::from_secs(1 + key), at(0))
                .is_ok(),
            "{key}"
        );
    }
    let written_back = WRITTEN_BACK.load(Relaxed);
    println!("{written_back} of {INSERTS} written back, {REFUSED:?} refused");
    assert!(written_back > INSERTS / 2);
    assert_eq!(REFUSED.load(Relaxed), 0);
    map.clear();
    map.reclaim();
}
