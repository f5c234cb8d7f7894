//! Eviction: who has to make room.

use super::core::Core;
use super::notify::Event;
use super::permits::Permit;
use super::shard::Shard;
use super::types::Reason;
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment, SlotNumber};
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::yield_now;
use crate::table::Table;
use crate::tournament::Rank;

/// How many entries one call removes at the most when the maximum has been lowered.
pub(super) const SURPLUS: usize = 64;

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// Removes the entry of this shard that expires first, or one of the next shard that has any,
    /// and hands over its permit; or a permit that has come back meanwhile. `None` inside the
    /// listener, or if all who have a permit are on their way in or out.
    #[cold]
    pub(super) fn evict(
        &self,
        index: usize,
        now: Moment,
        evicted: &mut Evicted,
        guard: &Guard,
    ) -> Option<Permit<'_>> {
        if self.in_listener() {
            return None;
        }
        let (before, behind) = (0..index, index..self.shards.len());
        let shards = || behind.clone().chain(before.clone());
        for round in 0..ROUNDS {
            if round != 0 {
                yield_now();
                if let Some(permit) = self.permits.take(index) {
                    return Some(permit);
                }
            }
            for victim in shards() {
                if let Some(permit) = self.evict_from(victim, index, now, evicted, guard) {
                    return Some(permit);
                }
            }
        }
        // Before an insert is refused: somebody may have been stopped after publishing an entry and
        // before letting it compete. One thread looks for it, the others have nothing to gain.
        let _rolling = Rolling::begin(self)?;
        shards().find_map(|victim| {
            self.shards[victim].call_the_roll();
            self.evict_from(victim, index, now, evicted, guard)
        })
    }

    fn evict_from(
        &self,
        victim: usize,
        index: usize,
        now: Moment,
        evicted: &mut Evicted,
        guard: &Guard,
    ) -> Option<Permit<'_>> {
        loop {
            match self.shards[victim].evict(now, guard) {
                Outcome::Evicted(slot, reason) => {
                    evicted.count += 1;
                    self.note(&mut evicted.events, victim, slot, reason);
                    return Some(self.permits.permit(index));
                }
                Outcome::Lost => {
                    // Another has removed the victim, and given its permit back.
                    if let Some(permit) = self.permits.take(index) {
                        return Some(permit);
                    }
                }
                Outcome::Nobody => return None,
            }
        }
    }

    /// Removes some of what a lowered maximum has made surplus.
    #[inline]
    pub(super) fn pay_debt(&self, now: Moment, guard: &Guard) -> Evicted {
        if self.permits.debt() == 0 {
            Evicted::default()
        } else {
            self.pay_some(now, guard)
        }
    }

    #[cold]
    #[inline(never)]
    fn pay_some(&self, now: Moment, guard: &Guard) -> Evicted {
        let mut evicted = Evicted::default();
        self.permits.settle();
        while evicted.count < SURPLUS {
            // So that nobody else pays the same with another entry.
            let Some(_promise) = self.permits.promise() else {
                break;
            };
            // From all shards in turn.
            let turn = self.surplus_rotor.fetch_add(1, Ordering::Relaxed);
            let shard = turn % self.shards.len();
            let Some(permit) = self.evict(shard, now, &mut evicted, guard) else {
                break;
            };
            // Returned, it pays. Only now, so that there are never more entries than permits.
            drop(permit);
        }
        evicted
    }
}

/// So often an eviction looks for somebody, if all who have a permit are on their way in or out, and offers
/// its processor to them in between.
const ROUNDS: usize = if cfg!(loom) { 1 } else { 8 };

/// Who had to leave.
#[derive(Default)]
pub(super) struct Evicted {
    pub(super) count: usize,
    pub(super) events: Vec<Event>,
}

/// What became of an attempt to evict.
enum Outcome {
    Evicted(SlotNumber, Reason),
    /// Somebody else removed the victim.
    Lost,
    Nobody,
}

/// This thread calls the roll until this is dropped.
struct Rolling<'m>(&'m AtomicUsize);

impl<'m> Rolling<'m> {
    fn begin<K, V>(core: &'m Core<K, V>) -> Option<Self>
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        // Relaxed: it only spares work.
        let others = core.rolling.swap(1, Ordering::Relaxed);
        (others == 0).then_some(()).map(|()| Self(&core.rolling))
    }
}

impl Drop for Rolling<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Shard<K, V> {
    /// Removes the entry that expires first. The caller has its permit.
    fn evict(&self, now: Moment, guard: &Guard) -> Outcome {
        loop {
            let Some((number, rank)) = self.tournament.first() else {
                return Outcome::Nobody;
            };
            let slot = self.live(number);
            let slot = slot.map(|slot| (slot, slot.deadline()));
            let Some((slot, deadline)) = slot.filter(|(_, d)| Rank::of(*d) == rank) else {
                // Whoever removed, re-timed or sentenced it has not got round to this.
                self.enter(number);
                continue;
            };
            step!("evict: has a victim");
            // Through the deadline word, as an expiry, so that a re-timing either wins or fails.
            // Whom another has sentenced and not marked yet, this thread may mark.
            let sentenced = deadline.is_tombstone()
                || slot.change_deadline(deadline, Deadline::EVICTED).is_ok();
            if !sentenced {
                continue; // re-timed
            }
            step!("evict: has sentenced");
            if !Table::mark(slot) {
                return Outcome::Lost;
            }
            step!("evict: has marked");
            let expired = deadline != Deadline::EVICTED && deadline.has_passed(now);
            let reason = if expired {
                Reason::Expired
            } else {
                Reason::Evicted
            };
            self.finish(number, None, reason, guard);
            step!("evict: is done");
            return Outcome::Evicted(number, reason);
        }
    }
}
