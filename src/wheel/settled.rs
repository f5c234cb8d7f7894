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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    fn deadline(t: u64) -> Deadline {
        Deadline::new(Timestamp::from_nanos(t))
    }

    /// Up to when nothing expires, as far as it is noted.
    fn covered(settled: &Settled, due: &DueSet) -> Option<u64> {
        let covers = |&t: &u64| settled.covers(due, Moment::new(Timestamp::from_nanos(t)));
        (0..10).filter(covers).max()
    }

    #[test]
    fn a_note_is_good_until_its_time_or_an_addition() {
        let (settled, due) = (Settled::new(), DueSet::new());
        assert_eq!(covered(&settled, &due), None, "nothing is noted");
        settled.note(due.version(), deadline(5));
        assert_eq!(covered(&settled, &due), Some(5));
        settled.note(due.version(), deadline(7));
        assert_eq!(covered(&settled, &due), Some(7), "the last one counts");
        let before = due.version();
        due.set(1);
        assert_eq!(covered(&settled, &due), None, "who knows when that expires");
        settled.note(before, deadline(5));
        assert_eq!(
            covered(&settled, &due),
            None,
            "of a pass that began too early"
        );
        settled.note(due.version(), deadline(3));
        assert_eq!(covered(&settled, &due), Some(3));
    }

    #[test]
    fn while_somebody_writes_there_are_no_other_notes() {
        let (settled, due) = (Settled::new(), DueSet::new());
        settled.note(due.version(), deadline(5));
        let turn = settled.turn.load(Ordering::Relaxed);
        assert_eq!(turn, 2, "each has a turn of its own");
        settled.turn.store(turn + 1, Ordering::Relaxed);
        assert_eq!(covered(&settled, &due), None);
        settled.note(due.version(), deadline(9));
        assert_eq!(settled.turn.load(Ordering::Relaxed), turn + 1);
        settled.turn.store(turn + 2, Ordering::Relaxed);
        assert_eq!(covered(&settled, &due), Some(5), "went without its note");
    }
}
