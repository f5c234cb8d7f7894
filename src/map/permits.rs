//! Permits bound the live entries: their sum is the maximum.
//!
//! Ground rules:
//! - Who publishes a new entry has a permit; who sets a mark has it back. An eviction hands the
//!   victim's over.
//! - Every shard starts with its part of them and keeps what its removals return. A shard that has
//!   none takes one from another, for itself alone: no permit is in transit (but while a lowered
//!   maximum is being paid for, in `settle`). Each return moves
//!   a stamp, so that who has found none anywhere knows whether one was returned behind its back.
//!   Who finds none, and none returned meanwhile, may evict: there was an instant at which every
//!   permit was in use.
//! - Lowering the maximum makes a *debt*, which spare permits and evictions pay.
//!
//! All counters are Relaxed: they order nothing, and each is exact by itself.

use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// "Unlimited", as a number of permits. More entries than slots can be numbered.
pub(super) const UNLIMITED: u64 = 1 << COUNT_BITS >> 1;

/// A shard's word: so many bits of spare permits, and above them the stamp.
const COUNT_BITS: u32 = 48;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const STAMP: u64 = 1 << COUNT_BITS;

/// Slots in reserve for removed entries that are still readable: so many in all, or an eighth of
/// the maximum if that is more. One thread at one retired slot per operation keeps some 300
/// waiting, two threads 23,000.
const SLACK: u64 = 16_384;
const SLACK_SHARE: u64 = 8;

pub(super) struct Permits {
    maximum: AtomicU64,
    debt: AtomicU64,
    spare: Box<[Padded<Spare>]>,
}

/// One shard's spare permits, and how often any were returned to it (modulo 2^16).
struct Spare(AtomicU64);

impl Spare {
    fn count(&self) -> u64 {
        self.0.load(Relaxed) & COUNT
    }

    fn stamp(&self) -> u64 {
        self.0.load(Relaxed) >> COUNT_BITS
    }

    #[inline]
    fn give(&self, permits: u64) {
        // The stamp wraps out of the word at the top.
        self.0.fetch_add(STAMP + permits, Relaxed);
    }

    #[inline]
    fn take(&self, most: u64) -> u64 {
        take_from(&self.0, COUNT, most)
    }
}

/// The right to publish one entry; given back unless it is used.
pub(super) struct Permit<'p> {
    permits: &'p Permits,
    shard: usize,
}

impl Permit<'_> {
    pub(super) fn use_up(self) {
        std::mem::forget(self);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.give(self.shard, 1);
    }
}

/// As a number of permits.
pub(super) fn number(maximum: Option<usize>) -> u64 {
    maximum.map_or(UNLIMITED, |n| (n as u64).min(UNLIMITED))
}

/// How many slots a shard may use: its part of the maximum, what chance may add to that, and its
/// part of the slack.
pub(super) fn slots_per_shard(maximum: u64, shards: u64) -> u32 {
    let part = maximum.div_ceil(shards);
    let spread = if shards == 1 {
        0
    } else {
        6 * (part.isqrt() + 1)
    };
    let slack = (maximum / SLACK_SHARE).max(SLACK).div_ceil(shards);
    u32::try_from(part + spread + slack).unwrap_or(u32::MAX)
}

impl Permits {
    pub(super) fn new(maximum: u64, shards: usize) -> Self {
        let permits = Self {
            maximum: AtomicU64::new(maximum),
            debt: AtomicU64::new(0),
            spare: (0..shards)
                .map(|_| Padded(Spare(AtomicU64::new(0))))
                .collect(),
        };
        permits.spread(maximum);
        permits
    }

    fn spread(&self, permits: u64) {
        let shards = self.spare.len() as u64;
        for (i, spare) in self.spare.iter().enumerate() {
            let extra = u64::from((i as u64) < permits % shards);
            spare.give(permits / shards + extra);
        }
    }

    #[inline]
    pub(super) fn maximum(&self) -> u64 {
        self.maximum.load(Relaxed)
    }

    #[inline]
    pub(super) fn debt(&self) -> u64 {
        self.debt.load(Relaxed)
    }

    /// A permit for a shard, if there is one anywhere.
    #[inline]
    pub(super) fn take(&self, shard: usize) -> Option<Permit<'_>> {
        if self.debt() != 0 {
            self.settle();
            if self.debt() != 0 {
                return None;
            }
        }
        let own = self.spare[shard].take(1) == 1;
        (own || self.take_elsewhere(shard)).then(|| self.permit(shard))
    }

    #[cold]
    fn take_elsewhere(&self, shard: usize) -> bool {
        let (before, behind) = self.spare.split_at(shard);
        let all = || behind.iter().chain(before);
        let stamps = || all().fold(0, |sum: u64, spare| sum.wrapping_add(spare.stamp()));
        loop {
            let stamp = stamps();
            if all().any(|spare| spare.take(1) == 1) {
                return true;
            }
            if stamps() == stamp {
                return false;
            }
        }
    }

    /// A permit that an eviction has handed over.
    pub(super) fn permit(&self, shard: usize) -> Permit<'_> {
        Permit {
            permits: self,
            shard,
        }
    }

    /// Returns permits whose entries have left.
    #[inline]
    pub(super) fn give(&self, shard: usize, permits: u64) {
        let left = if self.debt() == 0 {
            permits
        } else {
            permits - self.pay(permits)
        };
        if left != 0 {
            self.spare[shard].give(left);
        }
    }

    /// Pays debt with permits that the caller has. How many went.
    pub(super) fn pay(&self, permits: u64) -> u64 {
        take_from(&self.debt, u64::MAX, permits)
    }

    /// Pays debt with spare permits.
    #[cold]
    fn settle(&self) {
        for spare in &self.spare {
            let debt = self.debt();
            if debt == 0 {
                return;
            }
            let taken = spare.take(debt);
            let paid = self.pay(taken);
            if paid < taken {
                spare.give(taken - paid);
            }
        }
    }

    pub(super) fn set_maximum(&self, new: u64) {
        let old = self.maximum.swap(new, Relaxed);
        if new >= old {
            let granted = new - old;
            self.spread(granted - self.pay(granted));
        } else {
            self.debt.fetch_add(old - new, Relaxed);
            self.settle();
        }
    }

    /// Entries that are published, or about to be: never more than the maximum once a lowered one
    /// is paid for.
    pub(super) fn in_use(&self) -> u64 {
        let issued = self.maximum() + self.debt();
        let spare: u64 = self.spare.iter().map(|s| s.count()).sum();
        issued.saturating_sub(spare)
    }
}

/// Takes up to `most` from the lower bits of a counter. How many there were.
#[inline]
fn take_from(counter: &AtomicU64, bits: u64, most: u64) -> u64 {
    let mut now = counter.load(Relaxed);
    loop {
        let taken = (now & bits).min(most);
        if taken == 0 {
            return 0;
        }
        match counter.compare_exchange_weak(now, now - taken, Relaxed, Relaxed) {
            Ok(_) => return taken,
            Err(other) => now = other,
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn take(permits: &Permits, shard: usize) -> bool {
        permits.take(shard).map(Permit::use_up).is_some()
    }

    #[test]
    fn all_permits_can_be_had_from_any_shard() {
        let permits = Permits::new(10, 4);
        for i in 0..10 {
            assert_eq!(permits.in_use(), i);
            assert!(take(&permits, 2));
        }
        assert!(!take(&permits, 2));
        permits.give(0, 1);
        assert!(take(&permits, 2));
    }

    #[test]
    fn one_that_is_not_used_comes_back() {
        let permits = Permits::new(1, 2);
        drop(permits.take(0));
        assert_eq!(permits.in_use(), 0);
    }

    #[test]
    fn lowering_makes_a_debt_that_is_paid_first() {
        let permits = Permits::new(8, 2);
        for _ in 0..6 {
            assert!(take(&permits, 0));
        }
        permits.set_maximum(3);
        assert_eq!(permits.debt(), 3, "two spare ones went at once");
        assert_eq!(permits.in_use(), 6);
        permits.give(1, 2);
        assert!(!take(&permits, 0));
        permits.give(1, 2);
        assert_eq!(permits.in_use(), 2);
        assert!(take(&permits, 0));
        assert!(!take(&permits, 0));
        permits.set_maximum(4);
        assert!(take(&permits, 0));
        assert!(!take(&permits, 0));
    }

    #[test]
    fn stamps_wrap_and_leave_the_count_alone() {
        let permits = Permits::new(3, 1);
        for _ in 0..70_000 {
            assert!(take(&permits, 0));
            permits.give(0, 1);
        }
        assert_eq!(permits.in_use(), 0);
    }

    #[test]
    fn unlimited_and_back() {
        let permits = Permits::new(UNLIMITED, 4);
        for _ in 0..5 {
            assert!(take(&permits, 1));
        }
        permits.set_maximum(2);
        assert_eq!((permits.in_use(), permits.debt()), (5, 3));
        permits.set_maximum(UNLIMITED);
        assert_eq!((permits.in_use(), permits.debt()), (5, 0));
    }

    #[test]
    fn slots_allow_for_chance_and_slack() {
        assert_eq!(slots_per_shard(64, 1), 64 + 16_384);
        assert_eq!(slots_per_shard(1_000_000, 16), 62_500 + 6 * 251 + 7_813);
        assert!(slots_per_shard(UNLIMITED, 16) > 1 << 30);
    }
}
