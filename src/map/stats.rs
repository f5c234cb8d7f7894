//! Counters.

use super::types::Reason;
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One shard's counters. Relaxed: each is exact by itself, and they order nothing.
#[derive(Default)]
pub(super) struct Counters(Padded<Fields>);

#[derive(Default)]
struct Fields {
    removed: [AtomicU64; Reason::COUNT],
    visited: AtomicU64,
    exhausted: AtomicU64,
    full: AtomicU64,
    strays: AtomicU64,
    listener_panics: AtomicU64,
}

impl Counters {
    pub(super) fn removed(&self, reason: Reason, n: u64) {
        self.0.removed[reason as usize].fetch_add(n, Relaxed);
    }

    pub(super) fn visited(&self, n: usize) {
        self.0.visited.fetch_add(n as u64, Relaxed);
    }

    pub(super) fn exhausted(&self) {
        self.0.exhausted.fetch_add(1, Relaxed);
    }

    pub(super) fn full(&self) {
        self.0.full.fetch_add(1, Relaxed);
    }

    pub(super) fn stray(&self) {
        self.0.strays.fetch_add(1, Relaxed);
    }

    pub(super) fn listener_panic(&self) {
        self.0.listener_panics.fetch_add(1, Relaxed);
    }

    pub(super) fn add_to(&self, stats: &mut Stats) {
        let removed = |reason: Reason| self.0.removed[reason as usize].load(Relaxed);
        stats.expired += removed(Reason::Expired);
        stats.evicted += removed(Reason::Evicted);
        stats.removed += removed(Reason::Removed);
        stats.taken += removed(Reason::Taken);
        stats.replaced += removed(Reason::Replaced);
        stats.cleared += removed(Reason::Cleared);
        stats.visited += self.0.visited.load(Relaxed);
        stats.exhausted += self.0.exhausted.load(Relaxed);
        stats.full += self.0.full.load(Relaxed);
        stats.recycled_by_starved_inserts += self.0.strays.load(Relaxed);
        stats.listener_panics += self.0.listener_panics.load(Relaxed);
    }
}

/// What a map has counted since it was built, and what it holds now.
///
/// Each counter is exact; together they are no snapshot while other threads are at work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Entries in the map, expired ones that no flush has met included.
    pub live: u64,
    /// Left because they had expired.
    pub expired: u64,
    /// Left to make room.
    pub evicted: u64,
    /// Left by `remove` or `remove_where`, or after a purge.
    pub removed: u64,
    /// Left by `take`.
    pub taken: u64,
    /// Left because another entry came under their key.
    pub replaced: u64,
    /// Left by `clear`.
    pub cleared: u64,
    /// Slots that flushes looked at, and removals of many: [`remove_where`](crate::ExpiringMap::remove_where),
    /// [`clear`](crate::ExpiringMap::clear).
    pub visited: u64,
    /// Inserts refused because every slot was in use or held back by a guard.
    pub exhausted: u64,
    /// Inserts refused because nothing could be evicted.
    pub full: u64,
    /// Removed entries that are not dropped and wiped yet, because some guard might still read
    /// them or nobody has come by to do it.
    pub garbage: u64,
    /// Flushed entries that an insert had to drop because it found no other slot.
    pub recycled_by_starved_inserts: u64,
    /// Panics caught in the removal listener.
    pub listener_panics: u64,
    /// Panics caught when a key or a value was dropped.
    pub drop_panics: u64,
    /// Slots that have been in use at some time: what memory is bounded by.
    pub slots: u64,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_the_sum_over_the_shards() {
        let counters = Counters::default();
        for (n, reason) in [
            (1, Reason::Expired),
            (2, Reason::Evicted),
            (3, Reason::Removed),
            (4, Reason::Taken),
            (5, Reason::Replaced),
            (6, Reason::Cleared),
        ] {
            counters.removed(reason, n);
        }
        counters.visited(7);
        (0..8).for_each(|_| counters.exhausted());
        (0..9).for_each(|_| counters.full());
        (0..10).for_each(|_| counters.stray());
        (0..11).for_each(|_| counters.listener_panic());
        let mut stats = Stats::default();
        for _ in 0..2 {
            counters.add_to(&mut stats);
        }
        let expected = Stats {
            expired: 2,
            evicted: 4,
            removed: 6,
            taken: 8,
            replaced: 10,
            cleared: 12,
            visited: 14,
            exhausted: 16,
            full: 18,
            recycled_by_starved_inserts: 20,
            listener_panics: 22,
            ..Stats::default()
        };
        assert_eq!(stats, expected);
    }
}
