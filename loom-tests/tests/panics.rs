//! Comparisons that panic: who was on the way in leaves nothing behind, whatever the others do meanwhile.
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
use sessionwheel::{ExpiringMap, Timestamp, pin};
use sessionwheel_loom_tests::{Identity, TICK_BITS, check, long, tick};

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
