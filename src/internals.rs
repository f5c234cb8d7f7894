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

    pub fn is_due_place(&self, deadline: Timestamp) -> bool {
        self.0.is_due_place(Deadline::new(deadline))
    }
}
