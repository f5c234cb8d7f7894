//! A ledger of values: what became of each, by its number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use sessionwheel::{ExpiringMap, Reason};

use super::Counted;

pub const REASONS: [Reason; 6] = [
    Reason::Expired,
    Reason::Evicted,
    Reason::Removed,
    Reason::Taken,
    Reason::Replaced,
    Reason::Cleared,
];

/// Keeps the books on values numbered `0..len`, from several threads.
pub struct Ledger {
    live: Arc<AtomicU64>,
    inserted: AtomicU64,
    /// 0, or 1 + the position in `REASONS`.
    left: Box<[AtomicU8]>,
    taken: Box<[AtomicBool]>,
}

impl Ledger {
    pub fn new(len: usize) -> Arc<Self> {
        Arc::new(Self {
            live: Arc::default(),
            inserted: AtomicU64::new(0),
            left: (0..len).map(|_| AtomicU8::new(0)).collect(),
            taken: (0..len).map(|_| AtomicBool::new(false)).collect(),
        })
    }

    pub fn value(&self, number: usize) -> Counted {
        Counted::new(number as u64, &self.live)
    }

    /// Values not dropped yet.
    pub fn live(&self) -> u64 {
        self.live.load(Relaxed)
    }

    /// A map has taken a value in.
    pub fn inserted(&self) {
        self.inserted.fetch_add(1, Relaxed);
    }

    /// For the listener: a value has left, for the first time.
    pub fn left(&self, value: &Counted, reason: Reason) {
        let code = REASONS.iter().position(|r| *r == reason).unwrap() as u8 + 1;
        let before = self.left[value.number() as usize].swap(code, Relaxed);
        assert_eq!(before, 0, "reported twice, the second time as {reason:?}");
    }

    /// For who was given a value by `take`: nobody else was, and the listener has been told.
    pub fn taken(&self, value: &Counted) {
        let number = value.number() as usize;
        assert!(!self.taken[number].swap(true, Relaxed), "taken twice");
        let code = usize::from(self.left[number].load(Relaxed));
        assert_eq!(REASONS.get(code.wrapping_sub(1)), Some(&Reason::Taken));
    }

    /// Whether a value has been reported.
    pub fn has_left(&self, number: usize) -> bool {
        self.left[number].load(Relaxed) != 0
    }

    /// How many values have left for a reason.
    pub fn count(&self, reason: Reason) -> u64 {
        let code = REASONS.iter().position(|r| *r == reason).unwrap() as u8 + 1;
        self.left.iter().filter(|l| l.load(Relaxed) == code).count() as u64
    }

    /// Checks the books of a map at rest, against its own; and that it forgets all when told to.
    pub fn close<K: Send + Sync + 'static, S>(&self, map: &ExpiringMap<K, Counted, S>) {
        let stats = map.stats();
        for (reason, counted) in [
            (Reason::Expired, stats.expired),
            (Reason::Evicted, stats.evicted),
            (Reason::Removed, stats.removed),
            (Reason::Taken, stats.taken),
            (Reason::Replaced, stats.replaced),
            (Reason::Cleared, stats.cleared),
        ] {
            assert_eq!(self.count(reason), counted, "{reason:?}: {stats:?}");
        }
        let left: u64 = REASONS.iter().map(|r| self.count(*r)).sum();
        assert_eq!(left + map.len() as u64, self.inserted.load(Relaxed));
        let taken = self.taken.iter().filter(|t| t.load(Relaxed)).count() as u64;
        assert_eq!(taken, stats.taken);
        {
            let guard = map.pin();
            let mut met: Vec<u64> = map.iter(&guard).map(|e| e.value().number()).collect();
            assert_eq!(met.len(), map.len(), "every entry has one permit");
            met.sort_unstable();
            met.dedup();
            assert_eq!(met.len(), map.len(), "every entry is met once");
            assert!(met.iter().all(|number| !self.has_left(*number as usize)));
        }
        assert_eq!(map.clear(), stats.live as usize);
        assert_eq!(map.len(), 0);
        assert_eq!(map.reclaim(), 0, "{:?}", map.stats());
        assert_eq!(
            self.live(),
            0,
            "values that nobody finds: {:?}",
            map.stats()
        );
        let stats = map.stats();
        assert_eq!((stats.drop_panics, stats.listener_panics), (0, 0));
        assert_eq!(stats.garbage, 0);
    }
}
