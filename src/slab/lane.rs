//! How removed entries come back: pending stacks, batches and limbos.
//!
//! ```text
//!  take, evict, replace ──push──▶ pending ──32, or a sweep──▶ batch ┐ deferred until
//!  sweep ─────────────────── its own chain ─────────────────▶ batch ┘ the epoch passed
//!                                                               │
//!                free list ◀── recycle (drop, wipe) ◀── limbo ◀─┘
//! ```
//!
//! There are two lanes. What a flush removed (its deadline word says so) goes by *flushed* and is
//! recycled by flushes; everything else by *single*, of which inserts recycle a little each. So
//! the destructors of flushed sessions run on threads that flush.
//!
//! Ground rules:
//! - Slots in a lane are chained by their life words. A slot in a *limbo* is unreachable, so its
//!   link word is free to chain batches.
//! - A deferred closure holds the slab and one number: small enough to be stored inline, and it
//!   keeps the slots' memory alive if it runs after the map is gone.

use std::mem;

use super::{Body, Deadline, Life, Slab, Slot, SlotNumber, stamped};
use crate::inside::Inside;
use crate::reclaim::Guard;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// So many singly retired slots make a batch: one deferred closure, one collection attempt.
const SEAL_AT: u64 = 32;

/// Which lane a removed slot goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    Flushed,
    Single,
}

pub(super) struct Lane {
    /// Unlinked slots not deferred yet: count and first slot.
    pending: AtomicU64,
    /// Ripe batches: stamp and first slot of the first batch.
    limbo: AtomicU64,
    /// Slots retired so far; modulo 2^64.
    retired: AtomicU64,
    /// Slots recycled so far; modulo 2^64.
    recycled: AtomicU64,
}

impl Lane {
    pub(super) fn new() -> Self {
        Self {
            pending: AtomicU64::new(0),
            limbo: AtomicU64::new(0),
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
        self.retired.load(Ordering::Acquire) // as above
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
        lane.retired.fetch_add(1, Ordering::Release);
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
        if count >= SEAL_AT {
            self.seal(origin, guard);
        }
    }

    /// Defers what is pending in a lane. `true` if there was anything.
    pub(crate) fn seal(self: &Arc<Self>, origin: Origin, guard: &Guard) -> bool {
        let lane = self.lane(origin);
        // Acquire: partner of the Release in `retire`.
        let head = lane.pending.swap(0, Ordering::Acquire);
        let first = head as u32;
        if first == 0 {
            return false;
        }
        let first = self.in_address_order(first);
        self.defer(origin, first, guard);
        true
    }

    /// Defers what a sweep unlinked.
    pub(crate) fn retire_chain(self: &Arc<Self>, chain: Chain, guard: &Guard) {
        if chain.first != 0 {
            self.flushed.retired.fetch_add(chain.len, Ordering::Release);
            self.defer(Origin::Flushed, chain.first, guard);
        }
    }

    fn defer(self: &Arc<Self>, origin: Origin, first: SlotNumber, guard: &Guard) {
        let slab = Arc::clone(self);
        // Two closures, so that each captures two words: three are stored inline, more are boxed.
        match origin {
            Origin::Flushed => guard.defer(move || slab.ripen(Origin::Flushed, first)),
            Origin::Single => guard.defer(move || slab.ripen(Origin::Single, first)),
        }
        guard.flush();
    }

    /// Rebuilds a chain so that slots born together come back together. Sorts run by run: the chain
    /// is one run long unless several threads have met here.
    fn in_address_order(&self, first: SlotNumber) -> SlotNumber {
        let mut run = [0; SEAL_AT as usize];
        let mut sorted = 0;
        let mut next = first;
        while next != 0 {
            let mut len = 0;
            while next != 0 && len < run.len() {
                run[len] = next;
                len += 1;
                next = Life::from_raw(self.slot(next).life.load(Ordering::Relaxed)).next();
            }
            run[..len].sort_unstable();
            for &number in run[..len].iter().rev() {
                let slot = self.slot(number);
                slot.life
                    .store(Life::retired(sorted).raw(), Ordering::Relaxed);
                sorted = number;
            }
        }
        sorted
    }

    /// The epoch has passed: a batch goes on its limbo. Also runs after the map is gone, when it
    /// touches header words only.
    fn ripen(&self, origin: Origin, first: SlotNumber) {
        let lane = self.lane(origin);
        let slot = self.slot(first);
        let mut head = lane.limbo.load(Ordering::Relaxed);
        loop {
            // The link of an unreachable slot chains batches; 0 ends the chain.
            slot.link.store(head as u32, Ordering::Relaxed);
            match lane.limbo.compare_exchange_weak(
                head,
                stamped(head, u64::from(first)),
                // Release: partner of the Acquire in `take_batch`.
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn take_batch(&self, origin: Origin) -> Option<SlotNumber> {
        let lane = self.lane(origin);
        // Acquire: partner of the Release in `ripen`: chain and links are as the closure left
        // them, and what readers did before they unpinned has happened.
        let mut head = lane.limbo.load(Ordering::Acquire);
        loop {
            let first = head as u32;
            if first == 0 {
                return None;
            }
            // Relaxed: if stale, the stamp has moved and the CAS fails.
            let next = self.slot(first).link.load(Ordering::Relaxed);
            match lane.limbo.compare_exchange_weak(
                head,
                stamped(head, u64::from(next)),
                Ordering::Acquire,
                Ordering::Acquire,
            ) {
                Ok(_) => return Some(first),
                Err(now) => head = now,
            }
        }
    }

    /// Takes one ripe batch and recycles up to `most` of its slots; the rest goes back to the
    /// limbo. How many were recycled: none inside a value's Drop that this was called for, else a
    /// Drop that flushes would go one level deeper for each batch.
    pub(crate) fn recycle_batch(&self, origin: Origin, most: usize) -> usize {
        // Relaxed: a batch that is not seen yet is for the next call.
        if self.lane(origin).limbo.load(Ordering::Relaxed) as u32 == 0 {
            return 0;
        }
        let _inside = if mem::needs_drop::<Body<K, V>>() {
            let Some(inside) = Inside::enter(&self.map) else {
                return 0;
            };
            Some(inside)
        } else {
            None
        };
        let Some(first) = self.take_batch(origin) else {
            return 0;
        };
        let mut number = first;
        let mut done = 0;
        let last = loop {
            let slot = self.slot(number);
            let next = Life::from_raw(slot.life.load(Ordering::Relaxed)).next();
            // SAFETY: it came off a limbo, so the epoch has passed since it was unlinked and we
            // alone have it. Every slot in a limbo has its body.
            unsafe { self.drop_body(slot) };
            done += 1;
            if next == 0 || done == most {
                if next != 0 {
                    self.ripen(origin, next);
                }
                break number;
            }
            // Free, and chained to the one behind it.
            slot.life.store(Life::free(next).raw(), Ordering::Relaxed);
            number = next;
        };
        self.put_free_chain(first, last);
        // Release: partner of the Acquire in `Lane::garbage`.
        let lane = self.lane(origin);
        lane.recycled.fetch_add(done as u64, Ordering::Release);
        done
    }
}
