//! What the caller's code may do, and panics doing it, whatever the others do meanwhile: who is compared on the way in
//! leaves nothing behind, and neither a destructor nor a listener loses a slot or a permit, or is run twice.
//!
//! An unwinding thread changes places with others like any other. Loom's threads are all one to the standard library, so
//! `std::thread::panicking` is then true for all of them, and loom checks an access to a cell where it begins only, not
//! where it ends as well.
#![cfg(loom)]

use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::cell::UnsafeCell;
use loom::thread;
use sessionwheel::internals::Slab;
use sessionwheel::{ExpiringMap, Timestamp, pin};
use sessionwheel_loom_tests::{Identity, TICK_BITS, after, check, long, tick};

const NEVER: Timestamp = Timestamp::NEVER;

/// With a fingerprint that is not a vacant word's.
const NUMBER: u64 = 1 << 24;
/// Of the same line.
const OTHER: u64 = 2 << 24;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Comes in.
    Calm,
    /// Comes in, and panics when one that is there is compared with it.
    Touchy,
    /// Is looked for only, by comparing it with those that are there.
    Sought,
}

struct Key {
    number: u64,
    kind: Kind,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        if other.kind == Kind::Touchy && self.kind != Kind::Sought {
            // Without a message.
            resume_unwind(Box::new("planned"));
        }
        self.number == other.number
    }
}

impl Eq for Key {}

/// What loom sees read and dropped, and how often the latter has been.
struct Value {
    cell: UnsafeCell<u64>,
    // Not loom's: it counts.
    dropped: Arc<AtomicUsize>,
}

// SAFETY: shared for reading only; loom fails the model otherwise.
unsafe impl Sync for Value {}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: `&mut self`.
        self.cell.with_mut(|value| unsafe { *value = 0 });
        self.dropped.fetch_add(1, Relaxed);
    }
}

#[derive(Clone)]
struct Model {
    map: Arc<ExpiringMap<Key, Value, BuildHasherDefault<Identity>>>,
    dropped: Arc<AtomicUsize>,
}

impl Model {
    fn new() -> Self {
        let builder = ExpiringMap::builder().shards(1).tick_bits(TICK_BITS);
        let map = builder.hasher(BuildHasherDefault::default()).build();
        Self {
            map: Arc::new(map.expect("good numbers")),
            dropped: Arc::default(),
        }
    }

    /// Whether it replaced; `None` if it panicked.
    fn insert(&self, number: u64, kind: Kind, value: u64) -> Option<bool> {
        let value = Value {
            cell: UnsafeCell::new(value),
            dropped: Arc::clone(&self.dropped),
        };
        let key = Key { number, kind };
        let insert = || self.map.insert(key, value, NEVER, tick(0));
        let inserted = catch_unwind(AssertUnwindSafe(insert)).ok()?;
        Some(inserted.expect("there is room").replaced)
    }

    fn get(&self, number: u64) -> Option<u64> {
        let guard = pin();
        let kind = Kind::Sought;
        let key = Key { number, kind };
        let found = self.map.get(&key, tick(0), &guard);
        // SAFETY: only `drop` writes, and loom fails the model if that is not ordered after this.
        found.map(|found| found.cell.with(|value| unsafe { *value }))
    }

    fn beside<R: 'static>(&self, f: impl FnOnce(&Self) -> R + 'static) -> thread::JoinHandle<R> {
        let model = self.clone();
        thread::spawn(move || f(&model))
    }

    /// When all have come back, after a panic: one entry is there, and the other insert has left nothing.
    fn is_alone(&self) {
        assert_eq!(self.map.reclaim(), 0);
        assert_eq!(self.dropped.load(Relaxed), 1, "what was not taken in");
        let stats = self.map.stats();
        assert_eq!(stats.live, 1, "permits in use");
        assert_eq!(stats.drop_panics, 0);
        // The other slot is there for the next entry.
        assert_eq!(self.insert(OTHER, Kind::Calm, 33), Some(false));
        assert_eq!(self.map.stats().slots, stats.slots, "a slot is lost");
        assert_eq!((self.get(NUMBER), self.get(OTHER)), (Some(22), Some(33)));
    }

    /// When all have come back, without a panic: who was to panic was first, and has been replaced.
    fn has_replaced(&self) {
        // Its slot is not recycled here: see README.md for what loom would make of its life word, which one changes
        // from held to linked by an exchange while the other stores that it is retired.
        assert_eq!(self.map.stats().live, 1, "permits in use");
        assert_eq!(self.get(NUMBER), Some(22));
    }
}

/// At stake: an insert has claimed a word of the line when another adds the same key. It gives the word up, looks
/// again, and the comparison panics: slot and permit have to come back, and what it brought is dropped, once.
#[test]
fn panic_against_insert() {
    check("panic_against_insert", long(2, 3), || {
        let model = Model::new();
        let other = model.beside(|model| model.insert(NUMBER, Kind::Touchy, 11));
        let replaced = model.insert(NUMBER, Kind::Calm, 22).expect("no panic");
        assert_eq!(model.get(NUMBER), Some(22));
        match other.join().unwrap() {
            None if !replaced => model.is_alone(),
            Some(false) if replaced => model.has_replaced(),
            theirs => panic!("replaced: {replaced} and {theirs:?}"),
        }
    });
}

/// The same beside one who reads in that line: what stood in a word that was given up is not seen.
#[test]
fn panic_against_insert_and_lookup() {
    check("panic_against_insert_and_lookup", 1, || {
        let model = Model::new();
        let other = model.beside(|model| model.insert(NUMBER, Kind::Touchy, 11));
        let reader = model.beside(|model| model.get(NUMBER));
        let replaced = model.insert(NUMBER, Kind::Calm, 22).expect("no panic");
        let seen = reader.join().unwrap();
        match (other.join().unwrap(), seen) {
            (None, None | Some(22)) if !replaced => model.is_alone(),
            (Some(false), None | Some(11 | 22)) if replaced => model.has_replaced(),
            theirs => panic!("replaced: {replaced} and {theirs:?}"),
        }
    });
}

/// Counts drops, not by loom, and panics in some.
struct Touchy {
    dropped: Arc<AtomicUsize>,
    panics: bool,
}

impl Drop for Touchy {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Relaxed);
        if self.panics {
            resume_unwind(Box::new("planned"));
        }
    }
}

/// At stake: a flush and an insert drop what was removed, each value once, and the destructors panic. Each slot is
/// there once for those who come.
#[test]
fn panicking_drops_of_enter_against_recycle() {
    check("panicking_drops_of_enter_against_recycle", 3, || {
        let dropped = Arc::new(AtomicUsize::new(0));
        let value = |panics| Touchy {
            dropped: Arc::clone(&dropped),
            panics,
        };
        let slab = Arc::new(Slab::new(3));
        for _ in 0..3 {
            slab.enter(value(true)).expect("there is room");
        }
        slab.leave(&[1, 2], &pin());
        slab.leave(&[3], &pin());
        let other = {
            let (slab, calm) = (Arc::clone(&slab), value(false));
            thread::spawn(move || slab.enter(calm))
        };
        slab.recycle();
        let theirs = other.join().unwrap();
        // What found no slot was dropped by its thread.
        let refused = usize::from(theirs.is_none());
        let mut all: Vec<u32> = theirs.into_iter().collect();
        let more = (all.len()..3).filter_map(|_| slab.enter(value(false)));
        all.extend(more);
        all.sort_unstable();
        assert!(all.iter().copied().eq(1..=3), "{all:?}");
        assert_eq!(slab.garbage(), 0);
        assert_eq!(dropped.load(Relaxed), 3 + refused, "each that panics once");
    });
}

/// At stake: whoever removes the entry, a taker or a flush, tells the listener, once, and it panics. The slot and the
/// permit come back all the same.
#[test]
fn panicking_listener_of_take_against_flush() {
    check("panicking_listener_of_take_against_flush", 3, || {
        let told = Arc::new(AtomicUsize::new(0));
        let log = Arc::clone(&told);
        let builder = ExpiringMap::builder().shards(1).tick_bits(TICK_BITS);
        let builder = builder.hasher(BuildHasherDefault::<Identity>::default());
        let map = builder.listener(move |_: &u64, _: &u64, _| {
            log.fetch_add(1, Relaxed);
            resume_unwind(Box::new("planned"));
        });
        let map = Arc::new(map.build().expect("good numbers"));
        map.insert(0, 7, tick(0), tick(0)).expect("there is room");
        let taker = {
            let map = Arc::clone(&map);
            thread::spawn(move || map.take(&0, tick(0), &pin()).is_some())
        };
        map.flush_within(after(0), usize::MAX);
        taker.join().unwrap();
        assert_eq!(told.load(Relaxed), 1);
        let stats = map.stats();
        assert_eq!((stats.live, stats.listener_panics), (0, 1));
        map.flush_within(after(0), usize::MAX);
        map.reclaim();
        map.insert(0, 8, tick(0), tick(0)).expect("there is room");
        assert_eq!(map.stats().slots, 1, "a slot is lost");
    });
}
