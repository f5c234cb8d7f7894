//! What a complete pass over the due set has found out: up to when nothing in it expires.
//!
//! Who expires within the tick that has begun stays in the due set until its time. Without this
//! note every flush in between would look at all of them.
//!
//! Ground rules:
//! - A note is good as long as no slot has been added to the set since the pass began: its version
//!   says so. Nobody has to take it back.
//! - Readers and writers are pinned: notes are retired through the epoch.

use std::ptr;

use super::due::DueSet;
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment};
use crate::sync::atomic::{AtomicPtr, Ordering};

struct Note {
    /// The due set's version when the pass began.
    version: u64,
    /// No slot that was in it then has an earlier deadline.
    until: Deadline,
}

pub(super) struct Settled {
    note: AtomicPtr<Note>,
}

impl Settled {
    pub(super) fn new() -> Self {
        Self {
            note: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Notes what a pass that began at `version` and looked at everything has found.
    pub(super) fn note(&self, version: u64, until: Deadline, guard: &Guard) {
        let note = Box::into_raw(Box::new(Note { version, until }));
        // AcqRel. Release: partner of the Acquire in `covers`. Acquire: to drop what another made.
        self.retire(self.note.swap(note, Ordering::AcqRel), guard);
    }

    fn retire(&self, note: *mut Note, guard: &Guard) {
        if !note.is_null() {
            // SAFETY: made by `note` from a box; the swap handed it to one thread.
            let note = unsafe { Box::from_raw(note) };
            guard.defer(move || drop(note));
        }
    }

    /// Whether nothing in the set has passed at `at`. The caller is pinned.
    pub(super) fn covers(&self, due: &DueSet, at: Moment) -> bool {
        // Acquire: partner of the Release in `note`.
        let note = self.note.load(Ordering::Acquire);
        if note.is_null() {
            return false;
        }
        // SAFETY: we are pinned, and notes are retired through the epoch.
        let note = unsafe { &*note };
        note.version == due.version() && !note.until.has_passed(at)
    }
}

impl Drop for Settled {
    fn drop(&mut self) {
        // Relaxed: `&mut self`.
        let note = self.note.load(Ordering::Relaxed);
        if !note.is_null() {
            // SAFETY: made by `note` from a box, and nobody else can reach it any more.
            drop(unsafe { Box::from_raw(note) });
        }
    }
}
