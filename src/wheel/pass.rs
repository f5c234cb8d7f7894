//! Bounded sweeps in turn: many calls make one pass over the due set.
//!
//! A call with a budget smaller than the number of slots that stay in the due set never sees all of
//! it. So calls are chained: each goes on where the one before it stopped, and the one that comes
//! round to where the chain began has finished the pass, if nothing spoke against it meanwhile: no
//! slot was added to the set, and no call of the chain had an earlier time than the last one has.
//!
//! Ground rules:
//! - The record is read and written only by whoever holds the claim.
//! - Nobody waits for the claim. Who does not get it sweeps all the same, by itself, and says that
//!   something remains unless it came all the way round.

use super::due::DueSet;
use super::stamped::Look;
use crate::slab::{Moment, SlotNumber};
use crate::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

/// Nobody is at work; the last pass was not finished.
const OPEN: u32 = 0;
/// Nobody is at work; the last pass was finished.
const DONE: u32 = 1;
/// Somebody is at work.
const CLAIMED: u32 = 2;

pub(super) struct Pass {
    state: AtomicU32,
    /// Where the pass began, and where it goes on.
    start: AtomicU32,
    next: AtomicU32,
    /// The earliest time of its calls.
    at: AtomicU64,
    /// The due set's version when it began.
    version: AtomicU64,
}

impl Pass {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU32::new(OPEN),
            start: AtomicU32::new(0),
            next: AtomicU32::new(0),
            at: AtomicU64::new(0),
            version: AtomicU64::new(0),
        }
    }

    /// Sweeps from where the last call stopped. `true` if with this call all of the set has been
    /// looked at for `at`.
    pub(super) fn sweep(
        &self,
        due: &DueSet,
        at: Moment,
        mut look: impl FnMut(SlotNumber) -> Look,
    ) -> bool {
        // Acquire: partner of the Release below; the record is as the last holder left it.
        let before = self.state.swap(CLAIMED, Acquire);
        if before == CLAIMED {
            return due.sweep(look);
        }
        // Before the first look: a slot added later changes it.
        let version = due.version();
        let valid = at.raw() <= self.at.load(Relaxed) && version == self.version.load(Relaxed);
        if valid && before == DONE {
            // All of it has been looked at for this time or a later one, and nothing was added.
            self.state.store(DONE, Release);
            return true;
        }
        let next = self.next.load(Relaxed);
        if !valid || before == DONE {
            self.start.store(next, Relaxed);
            self.version.store(version, Relaxed);
        }
        self.at.store(at.raw(), Relaxed);
        let start = self.start.load(Relaxed);
        let stopped = if next < start {
            due.sweep_range(next..start, &mut look)
        } else {
            due.sweep_range(next..SlotNumber::MAX, &mut look)
                .or_else(|| due.sweep_range(0..start, &mut look))
        };
        self.next.store(stopped.unwrap_or(0), Relaxed);
        let state = if stopped.is_some() { OPEN } else { DONE };
        self.state.store(state, Release);
        stopped.is_none()
    }
}
