//! A shard: one slab, one table, one wheel, one tournament. The only place where they meet.

use super::stats::Counters;
use super::types::Reason;
use crate::inside::Name;
use crate::prefetch::PREFETCHES;
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment, Slab, Slot, SlotNumber};
use crate::sync::Arc;
use crate::sync::atomic::{Ordering, fence};
use crate::table::{Standing, Table};
use crate::tournament::{Rank, Tournament};
use crate::wheel::{Look, Ticks, Wheel};

pub(super) struct Shard<K, V> {
    pub(super) slab: Arc<Slab<K, V>>,
    pub(super) table: Table,
    pub(super) wheel: Wheel,
    pub(super) tournament: Tournament,
    pub(super) counters: Counters,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Shard<K, V> {
    pub(super) fn new(slots: u32, ticks: Ticks, now: Moment, map: Name) -> Self {
        Self {
            slab: Arc::new(Slab::new(slots, map)),
            table: Table::new(),
            wheel: Wheel::new(ticks, now),
            tournament: Tournament::new(),
            counters: Counters::default(),
        }
    }

    /// Unlinks a slot this thread has marked, and retires it unless somebody else was faster.
    /// `at` is where it stands if the caller knows it.
    pub(super) fn unlink(&self, number: SlotNumber, at: Option<Standing<'_>>, guard: &Guard) {
        let slot = self.slab.slot(number);
        if at.is_some_and(|at| Table::unlink_from(at, slot)) {
            step!("unlink: has unlinked");
            self.slab.retire(number, guard);
        } else {
            self.table
                .clean(&self.slab, slot.hash(), |n| self.slab.retire(n, guard));
        }
    }

    /// What follows from a mark that this thread has set: the entry is unlinked, retired and
    /// counted. The caller has its permit, and tells the listener.
    pub(super) fn finish(
        &self,
        number: SlotNumber,
        at: Option<Standing<'_>>,
        reason: Reason,
        guard: &Guard,
    ) {
        self.withdraw(number);
        step!("unlink: has withdrawn");
        self.unlink(number, at, guard);
        self.counters.removed(reason, 1);
    }

    /// Asks for what [`publish`](Self::publish) will need.
    #[inline]
    pub(super) fn prefetch(&self, number: SlotNumber, deadline: Deadline) {
        if PREFETCHES {
            self.wheel.prefetch(number, deadline);
            self.tournament.prefetch(number);
        }
    }

    /// Makes a slot that was just linked visible by its number, and schedules it.
    pub(super) fn publish(&self, number: SlotNumber, guard: &Guard) {
        let slot = self.slab.slot(number);
        if slot.publish() {
            // Partner: the fence in `Core::retime`. Who found the slot through the table may have
            // re-timed it, and a flush may have met that hint before the slot was published.
            // Partner: the fence in `Tournament::begin`. Without it the entry could miss that the
            // tournament has begun, and be missed by the roll call.
            fence(Ordering::SeqCst);
            step!("insert: has published");
            self.schedule(number, slot.deadline(), guard);
        }
    }

    /// Hints a slot that was just published or re-timed, and lets it compete. Called after a `SeqCst`
    /// fence.
    pub(super) fn schedule(&self, number: SlotNumber, deadline: Deadline, guard: &Guard) {
        self.wheel.hint(number, deadline, guard);
        step!("insert: has hinted");
        if self.tournament.is_on() {
            self.enter(number);
        }
    }

    /// Makes a slot's key in the tournament what the slot says now.
    pub(super) fn enter(&self, number: SlotNumber) {
        self.tournament.enter(number, || {
            let slot = self.live(number);
            slot.map_or(Rank::NOBODY, |slot| Rank::of(slot.deadline()))
        });
    }

    /// Takes a slot that this thread has marked out of the tournament.
    #[inline]
    pub(super) fn withdraw(&self, number: SlotNumber) {
        if self.tournament.is_on() {
            self.tournament.leave(number);
        }
    }

    /// Lets all entries compete, those too that came before the tournament began.
    pub(super) fn call_the_roll(&self) {
        for number in 1..=self.slab.high_water() {
            if self.live(number).is_some() {
                self.enter(number);
            }
        }
    }

    /// Hints a live slot elsewhere unless it belongs in the due set: elsewhere first, then its bit
    /// in the due set may go.
    pub(super) fn rehint(&self, number: SlotNumber, deadline: Deadline, guard: &Guard) -> Look {
        if deadline.is_never() {
            return Look::Finished;
        }
        if self.wheel.is_due_place(deadline) {
            return Look::Stay;
        }
        self.wheel.hint(number, deadline, guard);
        step!("sweep: has hinted below");
        Look::Finished
    }

    /// The live slot of a number that a hint or a scan named.
    #[inline]
    pub(super) fn live(&self, number: SlotNumber) -> Option<&Slot<K, V>> {
        self.slab
            .slot_if_there(number)
            .filter(|slot| slot.is_live())
    }
}
