//! Doors for the models and the fuzzer: thin wrappers around what is private otherwise. No part of
//! the crate's interface; only there under `--cfg loom` and `--cfg fuzzing`.
#![allow(missing_docs, missing_debug_implementations)]

use crate::slab::{Deadline, Moment};
use crate::wheel::{self, Look};
use crate::{Guard, Timestamp};

/// The wheel by itself. Slots are numbers that only the caller gives a meaning.
pub struct Wheel(wheel::Wheel);

impl Wheel {
    pub fn new(tick_bits: u32, now: Timestamp) -> Self {
        Self(wheel::Wheel::new(tick_bits, Moment::new(now)))
    }

    pub fn hint(&self, slot: u32, deadline: Timestamp, guard: &Guard) {
        self.0.hint(slot, Deadline::new(deadline), guard);
    }

    pub fn open(&self, at: Timestamp, guard: &Guard) -> bool {
        self.0.open(Moment::new(at), guard, || true)
    }

    /// An opener that is stopped at the first page it meets: the cursor moves, the work is left.
    pub fn open_and_stop(&self, at: Timestamp, guard: &Guard) {
        self.0.open(Moment::new(at), guard, || false);
    }

    /// `look` says whether it has finished with the slot.
    pub fn sweep(&self, mut look: impl FnMut(u32) -> bool) -> bool {
        self.0.sweep(|slot| {
            if look(slot) {
                Look::Finished
            } else {
                Look::Stay
            }
        })
    }

    /// The search for a victim: `stale` says whether a hint in a tick may go.
    pub fn search(&self, stale: impl FnMut(u32) -> bool, _guard: &Guard) {
        self.0.visit(&mut Search(stale));
    }

    pub fn is_due_place(&self, deadline: Timestamp) -> bool {
        self.0.is_due_place(Deadline::new(deadline))
    }
}

struct Search<F>(F);

impl<F: FnMut(u32) -> bool> wheel::Visitor for Search<F> {
    fn slot(&mut self, slot: u32, _last: u64) -> Look {
        if (self.0)(slot) {
            Look::Finished
        } else {
            Look::Stay
        }
    }

    fn group(&mut self) -> bool {
        true
    }
}
