//! How removed entries come back: pending stacks, chains and limbos.
//!
//! ```text
//!  take, evict, replace ──push──▶ pending ──32, or a sweep──▶ chain ┐ deferred until
//!  sweep ──────────────────── its own chain ──────────────────────▶ ┘ the epoch passed
//!                                                               │
//!            a new entry ◀── one, for an insert (drop, wipe) ◀──┤
//!              free list ◀── all, by a flush (drop, wipe) ◀─── limbo
//! ```
//!
//! There are two lanes. What a flush removed (its deadline word says so) goes by *flushed* and is
//! recycled by flushes; everything else by *single*, from which an insert takes the slot it needs.
//! So the destructors of flushed sessions run on threads that flush, and what leaves one by one is
//! dropped by who comes in its place, one for one (and one more where no slot is free).
//!
//! A limbo has two halves: one is filled while the other is emptied, and then they change places. So
//! what waits there is dropped in the end, however much ripens after it.
//!
//! Ground rules:
//! - Who takes slots off a limbo has few in hand (see [`HAND`]), and is not pinned: a destructor that
//!   takes long keeps hardly a slot from an insert, and holds back no epoch.
//! - Slots in a lane are chained by their life words. The last of a chain that has come to a *limbo*
//!   leads on by its link word, which nobody else needs there.
//! - A deferred closure holds the slab and two numbers: small enough to be stored inline, and it
//!   keeps the slots' memory alive if it runs after the map is gone. It writes no life word: whoever
//!   clears the slab meanwhile writes those.

use std::mem;

use super::{Deadline, Held, Life, Link, Slab, Slot, SlotNumber, stamped};
use crate::inside::Inside;
use crate::prefetch::{PREFETCHES, prefetch};
use crate::reclaim::Guard;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// So many singly retired slots make a chain: one deferred closure, one collection attempt.
const SEAL_AT: u64 = 32;

/// So many ripe slots at the most are taken off a limbo at once, which makes all that is done for
/// each of them alone cheap. With 32 a flush is no faster, and keeps more from the inserts beside it.
const HAND: u32 = if cfg!(loom) { 2 } else { 8 };

/// And no more than this part of all slots.
const HAND_SHARE: u32 = if cfg!(loom) { 1 } else { 64 };

/// Which lane a removed slot goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Flushed,
    Single,
}

pub(super) struct Lane {
    /// Unlinked slots not deferred yet: count and first slot.
    pending: AtomicU64,
    /// Ripe slots: stamp and first slot of each half.
    limbo: [AtomicU64; 2],
    /// Which half is being filled.
    filling: AtomicUsize,
    /// Slots retired so far; modulo 2^64.
    retired: AtomicU64,
    /// Slots recycled so far; modulo 2^64.
    recycled: AtomicU64,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            pending: AtomicU64::new(0),
            limbo: [AtomicU64::new(0), AtomicU64::new(0)],
            filling: AtomicUsize::new(0),
            retired: AtomicU64::new(0),
            recycled: AtomicU64::new(0),
        }
    }

    /// How many slots have still to be recycled until `goal` have been, of all that ever were.
    pub(super) fn left_to(&self, goal: u64) -> u64 {
        // Acquire: partner of the Release where it is raised.
        let recycled = self.recycled.load(Ordering::Acquire);
        // As a signed number: more may have been recycled since.
        let left = goal.wrapping_sub(recycled);
        if left > u64::MAX / 2 { 0 } else { left }
    }

    pub(super) fn retired(&self) -> u64 {
        // Relaxed, like its raising: what a thread has retired itself, or what it has seen recycled
        // (Acquire there), it finds counted.
        self.retired.load(Ordering::Relaxed)
    }

    fn count_recycled(&self, slots: u64) {
        // Release: partner of the Acquire in `left_to`.
        self.recycled.fetch_add(slots, Ordering::Release);
    }

    pub(super) fn garbage(&self) -> u64 {
        // In this order: what was recycled was retired before.
        let recycled = self.recycled.load(Ordering::Acquire);
        self.retired().saturating_sub(recycled)
    }
}

/// Slots a sweep has unlinked, in the order it met them.
#[derive(Default)]
pub(crate) struct Chain {
    first: SlotNumber,
    last: SlotNumber,
    len: u64,
}

impl Chain {
    /// Adds a slot that the caller has just unlinked.
    pub(crate) fn push<K, V>(&mut self, slab: &Slab<K, V>, number: SlotNumber) {
        // Relaxed: published by the deferral of the whole chain. Overwrites LINKED (or HELD, if its
        // inserter has not come to `publish` yet, which then fails).
        let slot = slab.slot(number);
        slot.life.store(Life::retired(0).raw(), Ordering::Relaxed);
        if self.first == 0 {
            self.first = number;
        } else {
            let last = slab.slot(self.last);
            last.life
                .store(Life::retired(number).raw(), Ordering::Relaxed);
        }
        self.last = number;
        self.len += 1;
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Slab<K, V> {
    /// The lane of a removed slot: told by its deadline word.
    pub(crate) fn origin(slot: &Slot<K, V>) -> Origin {
        if slot.deadline() == Deadline::EXPIRED {
            Origin::Flushed
        } else {
            Origin::Single
        }
    }

    /// Retires one slot that the caller has unlinked under `guard`.
    pub(crate) fn retire(self: &Arc<Self>, number: SlotNumber, guard: &Guard) {
        let slot = self.slot(number);
        let origin = Self::origin(slot);
        let lane = self.lane(origin);
        lane.retired.fetch_add(1, Ordering::Relaxed);
        step!("retire: has counted");
        let mut head = lane.pending.load(Ordering::Relaxed);
        let count = loop {
            slot.life
                .store(Life::retired(head as u32).raw(), Ordering::Relaxed);
            let count = (head >> 32) + 1;
            match lane.pending.compare_exchange_weak(
                head,
                (count << 32) | u64::from(number),
                // Release: partner of the Acquire in `seal`, which reads the chain.
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break count,
                Err(now) => head = now,
            }
        };
        step!("retire: has pushed");
        if count >= SEAL_AT {
            self.seal(origin, guard);
        }
    }

    /// Defers what is pending in a lane. `true` if there was anything.
    pub(crate) fn seal(self: &Arc<Self>, origin: Origin, guard: &Guard) -> bool {
        let lane = self.lane(origin);
        // Relaxed: what is not seen yet is for the next call.
        if lane.pending.load(Ordering::Relaxed) == 0 {
            return false;
        }
        // Acquire: partner of the Release in `retire`.
        let head = lane.pending.swap(0, Ordering::Acquire);
        let first = head as u32;
        if first == 0 {
            return false;
        }
        step!("retire: has a chain");
        let (first, last) = self.in_address_order(first);
        self.defer(origin, first, last, guard);
        true
    }

    /// Defers what a sweep unlinked.
    pub(crate) fn retire_chain(self: &Arc<Self>, chain: Chain, guard: &Guard) {
        if chain.first != 0 {
            self.flushed.retired.fetch_add(chain.len, Ordering::Relaxed);
            self.defer(Origin::Flushed, chain.first, chain.last, guard);
        }
    }

    fn defer(self: &Arc<Self>, origin: Origin, first: SlotNumber, last: SlotNumber, guard: &Guard) {
        let slab = Arc::clone(self);
        guard.defer(move || slab.ripen(origin, first, last));
        guard.flush();
    }

    /// Rebuilds a chain so that slots born together come back together. Sorts run by run: the chain
    /// is one run long unless several threads have met here.
    fn in_address_order(&self, first: SlotNumber) -> (SlotNumber, SlotNumber) {
        let mut run = [0; SEAL_AT as usize];
        let (mut sorted, mut last) = (0, 0);
        let mut next = first;
        while next != 0 {
            let mut len = 0;
            while next != 0 && len < run.len() {
                run[len] = next;
                len += 1;
                next = Life::from_raw(self.slot(next).life.load(Ordering::Relaxed)).next();
            }
            run[..len].sort_unstable();
            if last == 0 {
                last = run[len - 1];
            }
            for &number in run[..len].iter().rev() {
                let slot = self.slot(number);
                slot.life
                    .store(Life::retired(sorted).raw(), Ordering::Relaxed);
                sorted = number;
            }
        }
        (sorted, last)
    }

    /// The epoch has passed: a chain goes on its limbo. Also runs after the map is gone, when it
    /// touches header words only.
    fn ripen(&self, origin: Origin, first: SlotNumber, last: SlotNumber) {
        let lane = self.lane(origin);
        // Relaxed: in either half it is found.
        let limbo = &lane.limbo[lane.filling.load(Ordering::Relaxed)];
        let last = self.slot(last);
        let mut head = limbo.load(Ordering::Relaxed);
        loop {
            last.link.store(head as u32, Ordering::Relaxed);
            step!("retire: is ripe");
            match limbo.compare_exchange_weak(
                head,
                stamped(head, u64::from(first)),
                // Release: partner of the Acquire in `leave_limbo`.
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Who follows a slot in its limbo (0: nobody). If it is there no more, another slot or none.
    fn behind(&self, number: SlotNumber) -> SlotNumber {
        // Who follows stale numbers may come to one of a segment that this thread has not seen.
        let Some(slot) = self.slot_if_there(number) else {
            return 0;
        };
        match Life::from_raw(slot.life.load(Ordering::Relaxed)).number() {
            0 => Link::from_raw(slot.link.load(Ordering::Relaxed))
                .target()
                .unwrap_or(0),
            next => next,
        }
    }

    /// Takes slots off a half of a limbo, `most` at the most. The first, and how many.
    #[inline]
    fn leave_limbo(&self, limbo: &AtomicU64, most: u32) -> Option<(SlotNumber, u32)> {
        // Acquire: partner of the Release in `ripen`: chains and links are as the closures left
        // them, and what readers did before they unpinned has happened.
        let mut head = limbo.load(Ordering::Acquire);
        loop {
            let first = head as u32;
            if first == 0 {
                return None;
            }
            // If any of this is stale, the stamp has moved and the CAS fails.
            let (mut rest, mut len) = (self.behind(first), 1);
            while rest != 0 && len < most {
                rest = self.behind(rest);
                len += 1;
            }
            // Relaxed: the load before has read this very word; there is no other of the same stamp.
            match limbo.compare_exchange_weak(
                head,
                stamped(head, u64::from(rest)),
                Ordering::Relaxed,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some((first, len)),
                Err(now) => head = now,
            }
        }
    }

    /// Takes slots off a limbo, from the half that was filled before.
    #[inline]
    fn leave_older(&self, lane: &Lane, most: u32) -> Option<(SlotNumber, u32)> {
        // Relaxed: which half is filled decides about order only.
        let filling = lane.filling.load(Ordering::Relaxed);
        self.leave_limbo(&lane.limbo[filling ^ 1], most)
            .or_else(|| {
                // What ripens from here on waits for what is there.
                let taken = self.leave_limbo(&lane.limbo[filling], most)?;
                lane.filling.store(filling ^ 1, Ordering::Relaxed);
                Some(taken)
            })
    }

    /// Whether something may be ripe, and values may be dropped here: not inside a value's Drop that
    /// this was called for, else a Drop that flushes would go one level deeper for each slot.
    fn recycling(&self, origin: Origin) -> Option<Option<Inside>> {
        // Relaxed: a slot that is not seen yet is for the next call.
        let empty = |half: &AtomicU64| half.load(Ordering::Relaxed) as u32 == 0;
        if self.lane(origin).limbo.iter().all(empty) {
            None
        } else if mem::needs_drop::<(K, V)>() {
            Inside::enter(&self.map).map(Some)
        } else {
            Some(None)
        }
    }

    /// A ripe slot for a new entry; what was in it is dropped, so the caller should not be pinned. If
    /// nothing is free another becomes so: an insert in a value's Drop takes no ripe slot, and has to
    /// find one.
    #[inline]
    pub(crate) fn take_ripe(self: &Arc<Self>, origin: Origin) -> Option<Held<'_, K, V>> {
        let _inside = self.recycling(origin)?;
        let lane = self.lane(origin);
        let (number, _) = self.leave_older(lane, 1)?;
        self.prefetch_behind(number);
        step!("recycle: has one");
        // SAFETY: as in `recycle_chain`.
        unsafe { self.drop_body(self.slot(number)) };
        step!("recycle: has dropped one");
        lane.count_recycled(1);
        // Relaxed: as good as a moment earlier or later.
        if self.free.load(Ordering::Relaxed) as u32 == 0 {
            self.recycle_up_to(lane, 1);
        }
        Some(self.hold(number))
    }

    /// Asks for what the insert will need that takes the slot behind: what the value there owns; and
    /// for the slot behind that, so that this can be asked next time.
    #[inline]
    fn prefetch_behind(&self, number: SlotNumber) {
        let next = if PREFETCHES { self.behind(number) } else { 0 };
        if next != 0 {
            self.slot(next).prefetch_owned();
            let after = self.slot_if_there(self.behind(next));
            after.into_iter().for_each(prefetch);
        }
    }

    /// Drops what is ripe in a lane, `most` at the most; the slots are free then. How many.
    pub(crate) fn recycle(&self, origin: Origin, most: u64) -> u64 {
        let Some(_inside) = self.recycling(origin) else {
            return 0;
        };
        let mut left = most;
        while left != 0 {
            match self.recycle_up_to(self.lane(origin), left) {
                0 => break,
                recycled => left -= recycled,
            }
        }
        most - left
    }

    /// The same for as many slots as a thread may have in hand.
    fn recycle_up_to(&self, lane: &Lane, most: u64) -> u64 {
        let hand = (self.limit() / HAND_SHARE).clamp(1, HAND);
        match self.leave_older(lane, most.min(hand.into()) as u32) {
            Some((first, len)) => self.recycle_chain(lane, first, len),
            None => 0,
        }
    }

    fn recycle_chain(&self, lane: &Lane, first: SlotNumber, len: u32) -> u64 {
        if PREFETCHES {
            let mut next = first;
            for _ in 0..len {
                self.slot(next).prefetch_owned();
                next = self.behind(next);
            }
        }
        step!("recycle: has some");
        let (mut next, mut left) = (first, len);
        loop {
            let number = next;
            let slot = self.slot(number);
            next = self.behind(number);
            // SAFETY: it came off a limbo, so the epoch has passed since it was unlinked and we
            // alone have it. Every slot in a limbo has its body.
            unsafe { self.drop_body(slot) };
            step!("recycle: has dropped");
            left -= 1;
            if left == 0 {
                self.put_free(first, number);
                step!("recycle: has freed");
                break;
            }
            // Relaxed: published with the chain.
            slot.life.store(Life::free(next).raw(), Ordering::Relaxed);
        }
        lane.count_recycled(len.into());
        len.into()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
