//! Eviction: who has to make room.

use super::core::Core;
use super::notify::Event;
use super::permits::Permit;
use super::shard::Shard;
use super::types::Reason;
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment, Slot, SlotNumber};
use crate::table::Table;
use crate::wheel::{Look, Visitor};

/// So many live candidates are compared at the most. Up to here the victim is exactly the entry of
/// the shard that expires first.
const CANDIDATES: usize = 64;

/// How many hints are looked at. Those of entries that have left or were re-timed are stale: they
/// don't count as candidates, and are looked at once.
const LOOKS: usize = 4_096;

/// If those were not enough, a shard of so few slots is gone through slot by slot, which is exact.
const FEW_SLOTS: u32 = 1_024;

/// How many pages of hints an eviction moves at the most when the wheel lags behind the clock.
const PAGES: usize = 64;

/// How many entries one call removes at the most when the maximum has been lowered.
const SURPLUS: usize = 64;

/// The candidate that expires first, group by group in the order of time.
struct Pick<'s, K, V> {
    shard: &'s Shard<K, V>,
    guard: &'s Guard,
    looks: usize,
    live: usize,
    first: Option<(SlotNumber, Deadline)>,
    /// The first group, the due set, has been gone through.
    past_due: bool,
    /// Nothing that comes in a later group can expire before what was found.
    certain: bool,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Pick<'_, K, V> {
    fn consider(&mut self, number: SlotNumber, deadline: Deadline) {
        if self.first.is_none_or(|(_, first)| deadline < first) {
            self.first = Some((number, deadline));
        }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Visitor for Pick<'_, K, V> {
    fn slot(&mut self, number: SlotNumber, last: u64) -> Look {
        if self.live == CANDIDATES || self.looks == LOOKS {
            return Look::Stop;
        }
        self.looks += 1;
        let Some(slot) = self.shard.live(number) else {
            return self.shard.look_at_absent(number);
        };
        let deadline = slot.deadline();
        if deadline.is_tombstone() {
            // Whoever sentenced it goes on, or a flush does.
            return Look::Stay;
        }
        if !deadline.is_never() && self.shard.wheel.tick_of(deadline) <= last {
            self.consider(number, deadline);
            self.live += 1;
            self.certain = true;
            return Look::Stay;
        }
        if self.past_due {
            // Elsewhere first, then the bit here may go: its own hint may not stand there yet.
            self.shard.wheel.hint(number, deadline, self.guard);
        } else {
            // On its way from the due set to a later group: this may be its only hint.
            self.consider(number, deadline);
        }
        Look::Finished
    }

    fn group(&mut self) -> bool {
        self.past_due = true;
        !self.certain && self.looks < LOOKS
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// Removes one entry, of this shard or the next that has any, and hands over its permit.
    /// `None` inside the listener, or if nobody was found twice in every shard.
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
        for victim in behind.chain(before) {
            if let Some((slot, reason)) = self.shards[victim].evict(now, guard) {
                self.note(events, victim, slot, reason);
                return Some(self.permits.permit(index));
            }
        }
        None
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
        let mut pages = PAGES;
        self.wheel.open(now, guard, || {
            pages = pages.saturating_sub(1);
            pages != 0
        });
        let mut looks = CANDIDATES;
        self.wheel.sweep(|number| {
            if looks == 0 {
                return Look::Stop;
            }
            looks -= 1;
            self.tidy(number, guard)
        });
        let mut missed = false;
        loop {
            let Some((number, deadline)) = self.pick(guard) else {
                if missed {
                    return None;
                }
                missed = true;
                continue;
            };
            let slot = self.slab.slot(number);
            // Through the deadline word, as an expiry, so that a re-timing either wins or fails.
            if slot.change_deadline(deadline, Deadline::EVICTED).is_ok() && Table::mark(slot) {
                let reason = if deadline.has_passed(now) {
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

    /// Sends a slot of the due set to where it belongs. What has expired stays: it is for a flush
    /// to remove, or for this eviction to choose.
    fn tidy(&self, number: SlotNumber, guard: &Guard) -> Look {
        match self.live(number) {
            Some(slot) => self.rehint(number, slot.deadline(), guard),
            None => self.look_at_absent(number),
        }
    }

    fn pick(&self, guard: &Guard) -> Option<(SlotNumber, Deadline)> {
        let mut pick = Pick {
            shard: self,
            guard,
            looks: 0,
            live: 0,
            first: None,
            past_due: false,
            certain: false,
        };
        self.wheel.visit(&mut pick);
        if !pick.certain {
            // Entries that never expire are hinted nowhere, and others may stand behind more stale
            // hints than could be looked at.
            let few = self.slab.high_water() <= FEW_SLOTS;
            let mut live = 0;
            self.rotate(|number| {
                let deadline = self.live(number).map(Slot::deadline);
                if let Some(deadline) = deadline.filter(|d| !d.is_tombstone()) {
                    pick.consider(number, deadline);
                    live += 1;
                }
                few || live < CANDIDATES
            });
        }
        pick.first
    }
}
