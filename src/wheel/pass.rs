//! Bounded sweeps in turn: many calls make one pass over the due set.
//!
//! A call with a budget smaller than the number of slots that stay in the due set never sees all of
//! it. So calls are chained: each goes on where the one before it stopped, and the one that comes
//! round to where the chain began has finished the pass, if nothing spoke against it meanwhile: no
//! slot was added to the set, and no call of the chain had an earlier time than the last one has.
//!
//! Ground rules:
//! - A chain belongs to whoever took it from where it was parked, and to nobody else.
//! - Nobody waits for one. Who finds none parked (another thread is at work on it, or was stopped, or
//!   this thread is, further up its stack) begins one. Of two that come to be parked the one that
//!   has got further stays, so some chain always gets on.

use std::cmp::Reverse;
use std::ptr;

use super::due::DueSet;
use super::stamped::Look;
use crate::slab::{Moment, SlotNumber};
use crate::sync::atomic::{
    AtomicPtr,
    Ordering::{Acquire, Relaxed, Release},
};

/// How far a chain of calls has come.
struct Chain {
    /// Where it began, and where it goes on.
    start: SlotNumber,
    next: SlotNumber,
    /// It has come all the way round.
    done: bool,
    /// The earliest time of its calls.
    at: u64,
    /// The due set's version when it began.
    version: u64,
}

impl Chain {
    fn new() -> Self {
        Self {
            start: 0,
            next: 0,
            done: false,
            at: 0,
            version: 0,
        }
    }

    /// A chain that began before the last slot was added is good for nothing but its place.
    fn progress(&self) -> (u64, bool, u32, Reverse<u64>) {
        let passed = self.next.wrapping_sub(self.start);
        (self.version, self.done, passed, Reverse(self.at))
    }

    fn sweep(
        &mut self,
        due: &DueSet,
        at: Moment,
        soon: impl Fn(SlotNumber),
        mut look: impl FnMut(SlotNumber) -> Look,
    ) -> bool {
        // Before the first look: a slot added later changes it.
        let version = due.version();
        let valid = at.raw() <= self.at && version == self.version;
        if valid && self.done {
            // All of it has been looked at for this time or a later one, and nothing was added.
            return true;
        }
        if !valid || self.done {
            self.start = self.next;
            self.version = version;
        }
        self.at = at.raw();
        let Self { start, next, .. } = *self;
        let stopped = if next < start {
            due.sweep_range(next..start, &soon, &mut look)
        } else {
            due.sweep_range(next..SlotNumber::MAX, &soon, &mut look)
                .or_else(|| due.sweep_range(0..start, &soon, &mut look))
        };
        self.done = stopped.is_none();
        self.next = stopped.unwrap_or(start);
        self.done
    }
}

pub(super) struct Pass {
    parked: AtomicPtr<Chain>,
}

impl Pass {
    pub(super) fn new() -> Self {
        Self {
            parked: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Sweeps from where the last call stopped. `true` if with this call all of the set has been
    /// looked at for `at`.
    pub(super) fn sweep(
        &self,
        due: &DueSet,
        at: Moment,
        soon: impl Fn(SlotNumber),
        look: impl FnMut(SlotNumber) -> Look,
    ) -> bool {
        let mut chain = self.take().unwrap_or_else(|| Box::new(Chain::new()));
        step!("sweep: has a chain");
        let swept = chain.sweep(due, at, soon, look);
        step!("sweep: has swept its part");
        self.park(chain);
        swept
    }

    fn take(&self) -> Option<Box<Chain>> {
        // Acquire: partner of the Release in `park`. The chain is as its last owner left it, and what
        // its calls have looked at has been done: who comes round says so for all of them.
        let parked = self.parked.swap(ptr::null_mut(), Acquire);
        // SAFETY: made from a box by `park`, and the swap hands it to this thread alone.
        (!parked.is_null()).then(|| unsafe { Box::from_raw(parked) })
    }

    fn park(&self, mut chain: Box<Chain>) {
        loop {
            let ours = Box::into_raw(chain);
            // Release: partner of the Acquire in `take`.
            let parked = self
                .parked
                .compare_exchange(ptr::null_mut(), ours, Release, Relaxed);
            if parked.is_ok() {
                return;
            }
            // SAFETY: from a box just above; the exchange failed, so nobody else has it.
            chain = unsafe { Box::from_raw(ours) };
            if let Some(other) = self.take() {
                if other.progress() > chain.progress() {
                    chain = other;
                }
            }
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    const SLOTS: u32 = if cfg!(miri) { 100 } else { 1_000 };
    const BUDGET: u32 = 10;

    fn moment() -> Moment {
        Moment::new(Timestamp::from_nanos(7))
    }

    fn full() -> DueSet {
        let due = DueSet::new();
        (1..=SLOTS).for_each(|slot| due.set(slot));
        due
    }

    /// A call that finds nothing to remove, and calls `inside` in the midst of it.
    fn call(pass: &Pass, due: &DueSet, mut inside: impl FnMut()) -> bool {
        let mut left = BUDGET;
        pass.sweep(
            due,
            moment(),
            |_| (),
            |_| {
                if left == 0 {
                    return Look::Stop;
                }
                left -= 1;
                if left == BUDGET / 2 {
                    inside();
                }
                Look::Stay
            },
        )
    }

    #[test]
    fn calls_that_remove_nothing_come_to_an_end() {
        let (pass, due) = (Pass::new(), full());
        let calls = (1..).find(|_| call(&pass, &due, || ())).expect("an end");
        assert_eq!(calls, SLOTS / BUDGET);
        assert!(call(&pass, &due, || panic!("looked at again")));
        due.set(5);
        assert!(!call(&pass, &due, || ()), "something was added");
    }

    #[test]
    fn calls_come_to_an_end_beside_one_that_is_stopped() {
        // Further up this thread's stack: the same as another thread that never gets on.
        let (pass, due) = (Pass::new(), full());
        let mut calls = 0;
        call(&pass, &due, || {
            calls = (1..).find(|_| call(&pass, &due, || ())).expect("an end");
        });
        assert_eq!(calls, SLOTS / BUDGET);
        assert!(
            call(&pass, &due, || panic!("looked at again")),
            "the one that was finished stayed"
        );
    }
}
