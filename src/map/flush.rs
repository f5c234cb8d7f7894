//! Flush: what has expired leaves, and what has left is dropped (see [`debris`](super::debris)).
//!
//! Ground rules:
//! - To remove, a flush waits for nobody but helpers of its own that have begun a shard; one that is done alone for
//!   nobody at all.
//! - Values are dropped while no guard of the flush's own is held: their destructors are strangers'.
//! - What flushes remove goes by the *flushed* lane and is dropped by flushes.
//! - One that is done alone goes through its shards in turn, a part of each at a time, if entries own anything:
//!   those that came one after the other went to different shards, and what they own stands side by side in memory. So
//!   it is dropped while it is in cache, and not by each shard anew.

use std::mem::needs_drop;

use super::batch::Batch;
use super::core::Core;
use super::shard::Shard;
use super::types::Swept;
use crate::prefetch::prefetch;
use crate::reclaim::{self, Guard};
use crate::slab::{Deadline, Moment, Origin, SlotNumber};
use crate::sync::atomic::Ordering;
use crate::time::Timestamp;
use crate::wheel::{Look, Next};

/// So many slots a flush looks at in one shard before it goes on with the next: one batch's, if all are removed.
const PART: usize = if cfg!(any(shuttle, sessionwheel_tiny)) {
    3
} else {
    256
};

/// A pass over one shard's due set, in parts. Nothing is held between them: an entry that has been looked at and may
/// expire earlier since then was hinted anew, which moves the set's version, and what the pass would note counts for nothing.
struct Pass {
    shard: usize,
    /// The due set's version when it began, and the slot with which it goes on.
    begun: Option<(u64, SlotNumber)>,
    /// The earliest deadline of those that stay.
    stay_until: Deadline,
}

impl Pass {
    fn new(shard: usize) -> Self {
        Self {
            shard,
            begun: None,
            stay_until: Deadline::NEVER,
        }
    }
}

/// How much more a flush may do.
struct Budget {
    /// How many slots it may look at.
    left: usize,
    /// How many entries it may drop that it or others have removed.
    drops: u64,
}

impl Budget {
    /// Pays for one look, if there is anything left to pay with.
    fn pay(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        true
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// Removes everything that has expired at `at`, alone or with help if there is any. Of that it drops what is ripe.
    pub(super) fn remove_expired(&self, at: Timestamp, alone: bool) -> Swept {
        let at = Moment::new(at);
        let mut guard = reclaim::pin();
        let surplus = self.pay_debt(at, &guard);
        self.deliver(&surplus.events, &guard);
        guard.refresh();
        let due: Vec<usize> = (0..self.shards.len())
            .filter(|&index| self.shards[index].wheel.has_due(at))
            .collect();
        drop(guard);
        let mut swept = Swept::default();
        let outside = self.outside_listener();
        let willing = move || !alone && outside();
        if due.len() > 1 && self.helpers.are_there() && willing() {
            let sweep = |index| self.pass(&mut Pass::new(index), at, usize::MAX);
            for part in super::parallel::each(&self.helpers, &due, willing, &sweep) {
                swept.add(part);
            }
        } else {
            let drops = needs_drop::<K>() || needs_drop::<V>();
            let mut passes: Vec<Pass> = due.iter().map(|&index| Pass::new(index)).collect();
            // A flush that is soon over goes from shard to shard.
            let mut most = 4 * PART;
            while !passes.is_empty() {
                let part = if drops && passes.len() > 1 {
                    most
                } else {
                    usize::MAX
                };
                most = PART;
                passes.retain_mut(|pass| {
                    let part = self.pass(pass, at, part);
                    let remaining = part.remaining;
                    swept.add(Swept {
                        remaining: false,
                        ..part
                    });
                    remaining
                });
            }
        }
        swept
    }

    /// Removes some of what a lowered maximum has made surplus.
    pub(super) fn pay(&self, at: Timestamp) {
        let guard = reclaim::pin();
        let surplus = self.pay_debt(Moment::new(at), &guard);
        self.deliver(&surplus.events, &guard);
    }

    /// A part of a flush, for who has paid for a lowered maximum: stops after looking at `budget` slots, and drops
    /// no more than `drops` entries, which are taken off it.
    pub(super) fn flush_within(&self, at: Timestamp, budget: usize, drops: &mut u64) -> Swept {
        let mut budget = Budget {
            left: budget,
            drops: *drops,
        };
        let at = Moment::new(at);
        let mut swept = Swept::default();
        // Relaxed: only a place to begin.
        let first = self.flush_rotor.load(Ordering::Relaxed);
        for step in 0..self.shards.len() {
            let index = (first + step) % self.shards.len();
            let guard = reclaim::pin();
            let due = self.shards[index].wheel.has_due(at);
            drop(guard);
            if due {
                swept.add(self.pass_in_turn(index, at, &mut budget));
            }
            if swept.remaining {
                // Not with the same shard: while `at` moves on, its survivors of this tick could take
                // all of every budget.
                self.flush_rotor.store(index + 1, Ordering::Relaxed);
                break;
            }
        }
        *drops = budget.drops;
        self.drop_some(first, drops);
        swept
    }

    /// Drops what flushes have removed and is ripe, without trying for more: `most` at the most, from which it is
    /// taken off.
    pub(super) fn drop_some(&self, first: usize, most: &mut u64) {
        let guard = reclaim::pin();
        for shard in &self.shards {
            shard.slab.seal(Origin::Flushed, &guard);
        }
        guard.flush();
        drop(guard);
        for step in 0..self.shards.len() {
            let shard = &self.shards[(first + step) % self.shards.len()];
            *most -= shard.slab.recycle(Origin::Flushed, *most);
        }
    }

    /// A part of a flush's own pass over a shard: of `most` looks. Not `remaining` if it was the last.
    fn pass(&self, pass: &mut Pass, at: Moment, most: usize) -> Swept {
        let shard = &self.shards[pass.shard];
        let mut visited = 0;
        let mut guard = reclaim::pin();
        let (version, first) = pass.begun.unwrap_or_else(|| {
            shard.wheel.open(at, &guard, || {
                visited += 1;
                true
            });
            // Before the first look: a slot added later changes it.
            (shard.wheel.version(), 0)
        });
        let mut batch = Batch::new(self, pass.shard, &mut guard, u64::MAX);
        let mut looks = 0;
        let stopped = shard.wheel.sweep_from(first, soon(shard), |number| {
            if looks == most {
                return Look::Stop;
            }
            looks += 1;
            batch.look(number, at)
        });
        batch.settle();
        let removed = batch.removed;
        pass.stay_until = pass.stay_until.min(batch.stay_until);
        drop(batch);
        pass.begun = stopped.map(|slot| (version, slot));
        let anybody = !pass.stay_until.is_never();
        if stopped.is_none() && anybody {
            shard.wheel.settle(version, pass.stay_until);
        }
        visited += looks;
        let mut drops = u64::MAX;
        end_part(shard, guard, visited, &mut drops);
        Swept {
            removed,
            visited,
            remaining: stopped.is_some(),
        }
    }

    /// A part of the pass over a shard that all bounded flushes make together.
    fn pass_in_turn(&self, index: usize, at: Moment, budget: &mut Budget) -> Swept {
        let shard = &self.shards[index];
        let before = budget.left;
        let mut guard = reclaim::pin();
        let opened = shard.wheel.open(at, &guard, || budget.pay());
        let mut batch = Batch::new(self, index, &mut guard, budget.drops);
        let finished = shard.wheel.sweep_in_turn(at, soon(shard), |number| {
            if budget.pay() {
                batch.look(number, at)
            } else {
                Look::Stop
            }
        });
        batch.settle();
        let removed = batch.removed;
        budget.drops = batch.drops;
        drop(batch);
        let visited = before - budget.left;
        end_part(shard, guard, visited, &mut budget.drops);
        Swept {
            removed,
            visited,
            remaining: !(opened && finished),
        }
    }

    /// The earliest time at which a flush may have something to do.
    pub(super) fn next_expiry(&self) -> Option<Timestamp> {
        self.earliest(expiry, |_, _| Timestamp::ZERO)
    }

    /// The same, but where a flush has left something the time by which it may have expired at the earliest.
    pub(super) fn due_since(&self) -> Option<Timestamp> {
        let waiting = |shard: &Shard<K, V>, number| {
            // Whom somebody has sentenced is not waiting any more, and says no time.
            expiry(shard, number).filter(|deadline| !deadline.is_tombstone())
        };
        self.earliest(waiting, |shard, rest| {
            // Only now: what goes to the due set meanwhile belongs to the rest.
            let there = shard.wheel.earliest_due(|number| waiting(shard, number));
            let from = there.map_or(rest, |at| at.min(rest));
            Timestamp::from_nanos(from.as_nanos().saturating_add(1))
        })
    }

    /// `due` says it for a shard in which something is due, or on its way there: the latter not before what
    /// it is told.
    fn earliest(
        &self,
        expiry: impl Fn(&Shard<K, V>, SlotNumber) -> Option<Deadline>,
        due: impl Fn(&Shard<K, V>, Timestamp) -> Timestamp,
    ) -> Option<Timestamp> {
        let _guard = reclaim::pin();
        let next = |shard: &Shard<K, V>| match shard.wheel.next(|number| expiry(shard, number)) {
            Next::Due(rest) => Some(due(shard, rest)),
            Next::From(at) => Some(at),
            Next::Nothing => None,
        };
        self.shards.iter().filter_map(|shard| next(shard)).min()
    }
}

/// Lets go of the guard, and drops what is ripe: `drops` entries at the most, which are taken off it.
fn end_part<K, V>(shard: &Shard<K, V>, guard: Guard, visited: usize, drops: &mut u64)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    shard.counters.visited(visited);
    drop(guard);
    step!("sweep: is done");
    *drops -= shard.slab.recycle(Origin::Flushed, *drops);
}

/// Asks for the slots that a sweep is about to look at.
fn soon<K, V>(shard: &Shard<K, V>) -> impl Fn(SlotNumber) + '_
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    |number| {
        let slot = shard.slab.slot_if_there(number);
        slot.into_iter().for_each(prefetch);
    }
}

/// The deadline of a slot that is live, if it ever comes.
fn expiry<K: Send + Sync + 'static, V: Send + Sync + 'static>(
    shard: &Shard<K, V>,
    number: SlotNumber,
) -> Option<Deadline> {
    let deadline = shard.live(number)?.deadline();
    (!deadline.is_never()).then_some(deadline)
}
