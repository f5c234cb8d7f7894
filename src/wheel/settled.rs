//! What a complete pass over the due set has found out: up to when nothing in it expires.
//!
//! Who expires within the tick that has begun stays in the due set until its time. Without this
//! note every flush in between would look at all of them.
//!
//! Ground rules:
//! - A note is good as long as no slot has been added to the set since the pass began: its version
//!   says so. Nobody has to take it back. (A version comes again after a multiple of 2^32 additions
//!   to the same part of the set, which would have to fall exactly between two flushes.)
//! - `turn` is odd while somebody writes. A second writer goes without its note, and a reader that
//!   sees a turn that is odd, or not the same before and after, goes without one: nobody waits, and
//!   what is missing costs a pass.

use super::due::DueSet;
use crate::slab::{Deadline, Moment};
use crate::sync::atomic::{AtomicU64, Ordering, fence};

pub(super) struct Settled {
    turn: AtomicU64,
    /// The due set's version when the pass began.
    version: AtomicU64,
    /// No slot that was in it then has an earlier deadline.
    until: AtomicU64,
}

impl Settled {
    pub(super) fn new() -> Self {
        Self {
            turn: AtomicU64::new(0),
            version: AtomicU64::new(0),
            // As if everything in the set were due.
            until: AtomicU64::new(Deadline::EXPIRED.raw()),
        }
    }

    /// Notes what a pass that began at `version` and looked at everything has found.
    pub(super) fn note(&self, version: u64, until: Deadline) {
        let turn = self.turn.load(Ordering::Relaxed);
        let free = turn % 2 == 0;
        // Acquire: partner of the Release below. Without it what the writer before us stored could
        // end up over what we store.
        if free
            && self
                .turn
                .compare_exchange(turn, turn + 1, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        {
            // Release: partner of the Acquire fence in `covers`. Without it who reads one of the two
            // new numbers could still read the old turn after it.
            fence(Ordering::Release);
            self.version.store(version, Ordering::Relaxed);
            self.until.store(until.raw(), Ordering::Relaxed);
            // Release: partner of the Acquire loads above and in `covers`. Without it who reads the
            // new turn could read old numbers.
            self.turn.store(turn + 2, Ordering::Release);
        }
    }

    /// Whether nothing in the set has passed at `at`.
    pub(super) fn covers(&self, due: &DueSet, at: Moment) -> bool {
        // Acquire: partner of the Release store in `note`.
        let turn = self.turn.load(Ordering::Acquire);
        let version = self.version.load(Ordering::Relaxed);
        let until = Deadline::from_raw(self.until.load(Ordering::Relaxed));
        // Acquire: partner of the Release fence in `note`.
        fence(Ordering::Acquire);
        turn % 2 == 0
            && turn == self.turn.load(Ordering::Relaxed)
            && version == due.version()
            && !until.has_passed(at)
    }
}
