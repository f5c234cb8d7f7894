//! Removals by the batch.
//!
//! Ground rules:
//! - Within a batch: mark all, return their permits (the first ones on the way), unlink and retire all,
//!   tell the listener, and only then let go of the guard.
//! - Whoever needs a permit that is in a batch's hand evicts somebody who lives. So there are few of them at a
//!   time, and none while code runs that is not ours.
//! - What a batch removes goes by the *flushed* lane and is dropped by flushes.

use super::core::Core;
use super::notify::Event;
use super::shard::Shard;
use super::types::Reason;
use crate::prefetch::PREFETCHES;
use crate::reclaim::Guard;
use crate::slab::{Chain, Deadline, Moment, Origin, Slab, SlotNumber};
use crate::table::Table;
use crate::wheel::Look;

/// Entries removed between two refreshes of the guard: large enough that a refresh and a deferred
/// closure weigh nothing even where two threads flush, each of which makes the other's dearer; small
/// enough that the epoch is never held back for long.
const BATCH: u32 = 256;

/// And no more than this part of the shard's slots, since what is on its way to be recycled, three
/// batches or so, is missed by the inserts beside it.
const BATCH_SHARE: u32 = 128;

/// But as many as this in a small one.
const LEAST_BATCH: u32 = 64;

/// So many permits at the most are in a batch's hand, since to return each by itself is dearer.
const PERMITS: u64 = 64;

/// And no more than this part of the shard's: a thread may be stopped with them.
const PERMITS_SHARE: u64 = 16;

/// So many lines of the table are asked for ahead: all of a large batch would drive out of the nearest
/// cache the slots that it has just looked at.
const AHEAD: usize = 16;

/// How many permits may be in a batch's hand.
fn most_permits(maximum: u64, shards: u64) -> u64 {
    (maximum / shards / PERMITS_SHARE).clamp(1, PERMITS)
}

/// Entries this thread has marked in one shard and not finished with. Finishes when dropped.
pub(super) struct Batch<'m, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    core: &'m Core<K, V>,
    index: usize,
    shard: &'m Shard<K, V>,
    guard: &'m mut Guard,
    marked: Vec<Event>,
    /// How many it marks before it finishes with them.
    most: usize,
    /// Permits in its hand, and how many there may be.
    permits: u64,
    most_permits: u64,
    pub(super) removed: usize,
    /// How many entries it may drop.
    pub(super) drops: u64,
    /// The earliest deadline of those that stay in the due set; never if nobody does.
    pub(super) stay_until: Deadline,
}

impl<'m, K: Send + Sync + 'static, V: Send + Sync + 'static> Batch<'m, K, V> {
    pub(super) fn new(
        core: &'m Core<K, V>,
        index: usize,
        guard: &'m mut Guard,
        drops: u64,
    ) -> Self {
        let shard = &core.shards[index];
        let most = (shard.slab.limit() / BATCH_SHARE).clamp(LEAST_BATCH, BATCH);
        Self {
            core,
            index,
            shard,
            guard,
            marked: Vec::new(),
            most: most as usize,
            permits: 0,
            most_permits: most_permits(core.permits.maximum(), core.shards.len() as u64),
            removed: 0,
            drops,
            stay_until: Deadline::NEVER,
        }
    }

    /// Looks at a slot that a hint names, and removes its entry if that has expired.
    pub(super) fn look(&mut self, number: SlotNumber, at: Moment) -> Look {
        let shard = self.shard;
        let Some(slot) = shard.live(number) else {
            // Removed, or not published yet: then its inserter hints it when it has.
            return Look::Finished;
        };
        loop {
            let deadline = slot.deadline();
            if !deadline.has_passed(at) {
                let look = shard.rehint(number, deadline, self.guard);
                if look == Look::Stay {
                    self.stay_until = self.stay_until.min(deadline);
                }
                return look;
            }
            if deadline == Deadline::CLOSED {
                // Removed since it was seen live. The word says by which lane it goes.
                return Look::Finished;
            }
            if deadline == Deadline::EVICTED {
                // Gone for everybody. Who sentenced it wants its permit, and would have to evict
                // another if it found the entry marked and the permit not returned yet.
                return Look::Finished;
            }
            let sentenced = deadline == Deadline::EXPIRED
                || slot.change_deadline(deadline, Deadline::EXPIRED).is_ok();
            if !sentenced {
                // Re-timed in between.
                continue;
            }
            step!("sweep: has sentenced");
            if Table::mark(slot) {
                step!("sweep: has marked");
                self.push(number, Reason::Expired);
            }
            return Look::Finished;
        }
    }

    /// Removes the entry of a slot if there is one, and it is unwanted.
    pub(super) fn remove(
        &mut self,
        number: SlotNumber,
        reason: Reason,
        unwanted: &mut impl FnMut(&K, &V) -> bool,
    ) {
        let Some(slot) = self.shard.live(number) else {
            return;
        };
        // SAFETY: seen live under the guard.
        let wanted = !unsafe { slot.with_body(&mut *unwanted) };
        if !wanted && Table::mark(slot) {
            // Closes the word, and sends it by the flushed lane.
            while slot
                .change_deadline(slot.deadline(), Deadline::EXPIRED)
                .is_err()
            {}
            self.push(number, reason);
            // `unwanted` may take its time over the next one.
            self.return_permits();
        }
    }

    /// Lets the epoch go on. Nothing is held but what is marked.
    pub(super) fn refresh(&mut self) {
        self.settle();
        self.guard.refresh();
    }

    fn push(&mut self, slot: SlotNumber, reason: Reason) {
        let shard = self.index as u32;
        if self.marked.is_empty() {
            self.marked.reserve_exact(self.most);
        }
        self.marked.push(Event {
            shard,
            slot,
            reason,
        });
        self.removed += 1;
        self.permits += 1;
        if self.permits == self.most_permits {
            self.return_permits();
        }
        if self.marked.len() == self.most {
            self.settle();
        }
    }

    fn return_permits(&mut self) {
        if self.permits != 0 {
            self.core.permits.give(self.index, self.permits);
            self.permits = 0;
        }
    }

    pub(super) fn settle(&mut self) {
        if self.marked.is_empty() {
            return;
        }
        let shard = self.shard;
        self.return_permits();
        step!("sweep: has returned its permits");
        let fetch = |event: &Event| {
            if PREFETCHES {
                shard.table.prefetch(shard.slab.slot(event.slot).hash());
            }
        };
        self.marked.iter().take(AHEAD).for_each(fetch);
        let mut chain = Chain::default();
        for (at, event) in self.marked.iter().enumerate() {
            self.marked.get(at + AHEAD).into_iter().for_each(fetch);
            shard.withdraw(event.slot);
            let hash = shard.slab.slot(event.slot).hash();
            shard.table.clean(&shard.slab, hash, |number| {
                match Slab::origin(shard.slab.slot(number)) {
                    Origin::Flushed => chain.push(&shard.slab, number),
                    Origin::Single => shard.slab.retire(number, self.guard),
                }
            });
        }
        // All for one reason: a batch belongs to a flush, or to a removal of another kind.
        let reason = self.marked[0].reason;
        shard.counters.removed(reason, self.marked.len() as u64);
        step!("sweep: has unlinked");
        shard.slab.retire_chain(chain, self.guard);
        step!("sweep: has retired");
        self.core.deliver(&self.marked, self.guard);
        step!("sweep: has told the listener");
        self.marked.clear();
        let drops = &mut self.drops;
        self.guard
            .refresh_after(|| *drops -= shard.slab.recycle(Origin::Flushed, *drops));
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Drop for Batch<'_, K, V> {
    fn drop(&mut self) {
        self.settle();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::map::permits::UNLIMITED;

    #[test]
    fn a_batch_has_no_more_than_a_sixteenth_of_a_shards_permits_in_hand() {
        let of = [(0, 1), (31, 1), (32, 1), (48, 1), (60, 16), (1_023, 1)];
        let most = of.map(|(maximum, shards)| most_permits(maximum, shards));
        assert_eq!(most, [1, 1, 2, 3, 1, 63]);
        let of = [(1_024, 1), (20_480, 16), (16_000, 16), (UNLIMITED, 4_096)];
        let most = of.map(|(maximum, shards)| most_permits(maximum, shards));
        assert_eq!(most, [64, 64, 62, 64]);
    }
}
