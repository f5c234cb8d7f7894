//! Eviction: who has to make room.

use super::core::Core;
use super::notify::Event;
use super::permits::Permit;
use super::shard::Shard;
use super::types::Reason;
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment, SlotNumber};
use crate::table::Table;
use crate::tournament::Rank;

/// How many entries one call removes at the most when the maximum has been lowered.
const SURPLUS: usize = 64;

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// Removes the entry of this shard that expires first, or one of the next shard that has any,
    /// and hands over its permit. `None` inside the listener, or if all who have a permit are on
    /// their way in.
    #[cold]
    pub(super) fn evict(
        &self,
        index: usize,
        now: Moment,
        events: &mut Vec<Event>,
        guard: &Guard,
    ) -> Option<Permit<'_>> {
        if self.in_listener() {
            return None;
        }
        let (before, behind) = (0..index, index..self.shards.len());
        let shards = || behind.clone().chain(before.clone());
        let (victim, slot, reason) = shards()
            .find_map(|index| self.evict_from(index, now, guard))
            .or_else(|| {
                // Before an insert is refused: somebody may have been stopped after publishing an
                // entry and before letting it compete.
                shards().find_map(|index| {
                    self.shards[index].call_the_roll();
                    self.evict_from(index, now, guard)
                })
            })?;
        self.note(events, victim, slot, reason);
        Some(self.permits.permit(index))
    }

    fn evict_from(
        &self,
        index: usize,
        now: Moment,
        guard: &Guard,
    ) -> Option<(usize, SlotNumber, Reason)> {
        let (slot, reason) = self.shards[index].evict(now, guard)?;
        Some((index, slot, reason))
    }

    /// Removes some of what a lowered maximum has made surplus. How many.
    #[inline]
    pub(super) fn pay_debt(&self, now: Moment, events: &mut Vec<Event>, guard: &Guard) -> usize {
        if self.permits.debt() == 0 {
            return 0;
        }
        let mut evicted = 0;
        while evicted < SURPLUS && self.permits.debt() != 0 {
            // From all shards in turn.
            let index = evicted % self.shards.len();
            let Some(permit) = self.evict(index, now, events, guard) else {
                break;
            };
            // Given back, it pays.
            drop(permit);
            evicted += 1;
        }
        evicted
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Shard<K, V> {
    /// Removes the entry that expires first. The caller has its permit.
    fn evict(&self, now: Moment, guard: &Guard) -> Option<(SlotNumber, Reason)> {
        loop {
            let (number, rank) = self.tournament.first()?;
            let slot = self.live(number);
            let Some((slot, deadline)) = slot.map(|slot| (slot, slot.deadline())) else {
                // Its remover has not got round to it.
                self.enter(number);
                continue;
            };
            if Rank::of(deadline) != rank {
                // Nor has who re-timed or sentenced it.
                self.enter(number);
                continue;
            }
            // Through the deadline word, as an expiry, so that a re-timing either wins or fails.
            // Whom another has sentenced and not marked yet, this thread may mark.
            let sentenced = deadline.is_tombstone()
                || slot.change_deadline(deadline, Deadline::EVICTED).is_ok();
            if sentenced && Table::mark(slot) {
                let expired = match deadline {
                    Deadline::EVICTED => false,
                    deadline => deadline.has_passed(now),
                };
                let reason = if expired {
                    Reason::Expired
                } else {
                    Reason::Evicted
                };
                self.finish(number, None, reason, guard);
                return Some((number, reason));
            }
            // Somebody else removed or re-timed it.
        }
    }
}
