//! Eviction: who has to make room.

use super::core::Core;
use super::notify::Event;
use super::permits::Permit;
use super::shard::Shard;
use super::types::Reason;
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment, SlotNumber};
use crate::table::Table;
use crate::wheel::{Look, Visitor};

/// So many live candidates are compared at the most. Up to here the victim is exactly the entry of
/// the shard that expires first.
const CANDIDATES: usize = 64;

/// How many pages of hints an eviction moves at the most when the wheel lags behind the clock.
const PAGES: usize = 64;

/// How many entries one call removes at the most when the maximum has been lowered.
const SURPLUS: usize = 64;

/// The candidate that expires first, group by group in the order of time.
struct Pick<'s, K, V> {
    shard: &'s Shard<K, V>,
    live: usize,
    first: Option<(SlotNumber, Deadline)>,
    /// Nothing that comes in a later group can expire before what was found.
    certain: bool,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Pick<'_, K, V> {
    /// Remembers a live slot if it is the first to expire so far.
    fn consider(&mut self, number: SlotNumber) -> Option<Deadline> {
        let deadline = self.shard.live(number)?.deadline();
        if deadline.is_tombstone() {
            return None;
        }
        self.live += 1;
        if self.first.is_none_or(|(_, first)| deadline < first) {
            self.first = Some((number, deadline));
        }
        Some(deadline)
    }

    fn enough(&self) -> bool {
        self.live >= CANDIDATES
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Visitor for Pick<'_, K, V> {
    fn slot(&mut self, number: SlotNumber, last: u64) -> bool {
        if let Some(deadline) = self.consider(number) {
            self.certain |= !deadline.is_never() && self.shard.wheel.tick_of(deadline) <= last;
        }
        !self.enough()
    }

    fn group(&mut self) -> bool {
        !self.certain && !self.enough()
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
            let Some((number, deadline)) = self.pick() else {
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
            None => Look::Finished,
        }
    }

    fn pick(&self) -> Option<(SlotNumber, Deadline)> {
        let mut pick = Pick {
            shard: self,
            live: 0,
            first: None,
            certain: false,
        };
        self.wheel.visit(&mut pick);
        if pick.first.is_none() {
            // What never expires is hinted nowhere.
            self.rotate(|number| {
                pick.consider(number);
                !pick.enough()
            });
        }
        pick.first
    }
}
