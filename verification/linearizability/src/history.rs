//! Calls and returns on one time line.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use todc_utils::linearizability::history::Action;
use todc_utils::{History, WGLChecker};

use crate::spec::{OneKey, Step};

/// Numbers the instants of all threads.
#[derive(Debug, Default)]
pub struct Instants(AtomicU64);

/// Instants lie so far apart: there is room for what happens just after one.
const APART: u64 = 4;

impl Instants {
    /// The next instant: later than all that this thread, or one it has heard of, was given.
    pub fn next(&self) -> u64 {
        self.0.fetch_add(APART, SeqCst)
    }
}

/// A call, from one instant to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Who called.
    pub thread: usize,
    /// When.
    pub called: u64,
    /// When it returned.
    pub returned: u64,
    /// When the first of those calls began that were under way then, or this one.
    pub since: u64,
}

/// A step of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The call it is a step of.
    pub call: Call,
    /// What it was, and what came of it.
    pub step: Step,
    /// Between which instants it was made.
    span: (u64, u64),
}

impl Call {
    /// A step that was made at some moment of this call.
    pub fn meanwhile(self, step: Step) -> Record {
        self.during((self.called + 2, self.returned), step)
    }

    /// One that was made when the call began.
    pub fn at_first(self, step: Step) -> Record {
        self.during((self.called, self.called + 1), step)
    }

    /// One that was made when it ended.
    pub fn at_last(self, step: Step) -> Record {
        self.during((self.returned + 1, self.returned + 2), step)
    }

    /// One that another call may have made, of which this one has seen the outcome.
    pub fn by_some_call(self, step: Step) -> Record {
        self.during((self.since + 2, self.returned), step)
    }

    fn during(self, span: (u64, u64), step: Step) -> Record {
        Record {
            call: self,
            step,
            span,
        }
    }
}

/// The calls of a history, in their order.
pub fn calls(history: &[Record]) -> Vec<Call> {
    let mut calls: Vec<Call> = history.iter().map(|record| record.call).collect();
    calls.sort_unstable_by_key(|call| call.called);
    calls.dedup();
    calls
}

/// How many calls, in their order, overlap another one.
pub fn overlapping(calls: &[Call]) -> usize {
    let mut last_return = 0;
    let overlaps = |(i, call): (usize, &Call)| {
        let earlier = call.called < last_return;
        last_return = last_return.max(call.returned);
        let next = calls.get(i + 1);
        earlier || next.is_some_and(|next| next.called < call.returned)
    };
    calls
        .iter()
        .enumerate()
        .map(overlaps)
        .filter(|&o| o)
        .count()
}

/// Whether a map without threads could have shown this, under one key that was empty at first.
pub fn is_linearizable(history: &[Record]) -> bool {
    let mut actions = Vec::with_capacity(2 * history.len());
    // Each step is a process: those of one thread may overlap.
    for (process, Record { step, span, .. }) in history.iter().enumerate() {
        actions.push((span.0, process, Action::Call(*step)));
        actions.push((span.1, process, Action::Response(*step)));
    }
    actions.sort_by_key(|&(at, ..)| at);
    let actions: Vec<_> = actions
        .into_iter()
        .map(|(_, process, action)| (process, action))
        .collect();
    actions.is_empty() || WGLChecker::<OneKey>::is_linearizable(History::from_actions(actions))
}

/// As much of a history that is not linearizable, from its beginning, as is needed to see that.
pub fn shortest(history: &[Record]) -> Vec<Record> {
    let mut returns: Vec<u64> = history.iter().map(|record| record.span.1).collect();
    returns.sort_unstable();
    let until = returns
        .into_iter()
        .find(|&until| !has_explanation(history, until));
    let until = until.unwrap_or(u64::MAX);
    let mut history = history.to_vec();
    history.retain(|record| record.span.0 < until);
    history.sort_by_key(|record| record.span.0);
    history
}

/// Whether what was done by then is linearizable, with some of what was under way.
fn has_explanation(history: &[Record], until: u64) -> bool {
    let begun = history.iter().filter(|record| record.span.0 < until);
    let (done, pending): (Vec<Record>, Vec<Record>) =
        begun.partition(|record| record.span.1 <= until);
    (0..1u32 << pending.len()).any(|some| {
        let some = (0..).zip(&pending).filter(|(i, _)| some >> i & 1 != 0);
        let some = some.map(|(_, record)| *record);
        is_linearizable(&done.iter().copied().chain(some).collect::<Vec<_>>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sessionwheel::Reason;

    const NEW: Step = Step::Insert {
        call: 0,
        value: 7,
        deadline: 10,
        now: 0,
        left: None,
    };

    /// In instants.
    fn call(thread: usize, called: u64, returned: u64) -> Call {
        Call {
            thread,
            called: called * APART,
            returned: returned * APART,
            since: called * APART,
        }
    }

    /// An insert that has settled.
    fn inserted(returned: u64) -> Vec<Record> {
        let call = call(0, 0, returned);
        let settles = Step::Settle { call: 0 };
        vec![call.meanwhile(NEW), call.at_last(settles)]
    }

    fn take(thread: usize, called: u64, returned: u64, taken: Option<u64>) -> Record {
        let left = taken.map(|value| (value, Reason::Taken));
        call(thread, called, returned).meanwhile(Step::Take {
            now: 0,
            taken,
            left,
        })
    }

    fn linearizable(parts: &[&[Record]]) -> bool {
        is_linearizable(&parts.concat())
    }

    #[test]
    fn overlaps_are_counted_on_both_sides() {
        let of = |spans: &[(u64, u64)]| {
            let calls: Vec<_> = (0..).zip(spans).map(|(t, s)| call(t, s.0, s.1)).collect();
            overlapping(&calls)
        };
        assert_eq!(of(&[]), 0);
        assert_eq!(of(&[(0, 1), (2, 3)]), 0);
        assert_eq!(of(&[(0, 2), (1, 3)]), 2);
        assert_eq!(of(&[(0, 9), (1, 2), (3, 4), (10, 11)]), 3);
    }

    #[test]
    fn one_of_two_takers_gets_it() {
        let both = |one, other| {
            let takes = [take(1, 2, 5, one), take(2, 3, 6, other)];
            linearizable(&[&inserted(1), &takes])
        };
        assert!(both(Some(7), None) && both(None, Some(7)));
        assert!(!both(Some(7), Some(7)) && !both(None, None));
    }

    #[test]
    fn nobody_gets_what_was_taken_before() {
        let get = |called| {
            let seen = Some((7, 10));
            call(2, called, called + 9).meanwhile(Step::Get { now: 0, seen })
        };
        let taken = take(1, 2, 5, Some(7));
        assert!(linearizable(&[&inserted(1), &[taken, get(4)]]));
        assert!(!linearizable(&[&inserted(1), &[taken, get(6)]]));
        let contains = |called| {
            let seen = true;
            call(2, called, called + 9).meanwhile(Step::Contains { now: 0, seen })
        };
        assert!(linearizable(&[&inserted(1), &[taken, contains(4)]]));
        assert!(!linearizable(&[&inserted(1), &[taken, contains(6)]]));
    }

    #[test]
    fn a_flush_leaves_nothing_that_has_expired() {
        let flush = |at| {
            let call = call(1, 2, 5);
            let thread = 1;
            let begin = Step::Begin { at, thread };
            [call.at_first(begin), call.at_last(Step::End { at, thread })]
        };
        assert!(linearizable(&[&inserted(1), &flush(10)]));
        assert!(!linearizable(&[&inserted(1), &flush(11)]));
        let removes = call(1, 2, 5).meanwhile(Step::Flush { at: 11, left: 7 });
        assert!(linearizable(&[&inserted(1), &flush(11), &[removes]]));
        // Unless its insert had not returned, or it lives longer then.
        assert!(linearizable(&[&inserted(3), &flush(11)]));
        let retime = Step::Retime {
            call: 12,
            deadline: 20,
            now: 0,
            retimed: true,
        };
        let retime = call(2, 3, 4).meanwhile(retime);
        assert!(linearizable(&[&inserted(1), &[retime], &flush(11)]));
    }

    #[test]
    fn nobody_is_evicted_twice_or_after_he_was_taken() {
        let evicted =
            |thread, called| call(thread, called, called + 3).meanwhile(Step::Evict { left: 7 });
        let taken = take(1, 2, 5, Some(7));
        assert!(linearizable(&[&inserted(1), &[evicted(2, 3)]]));
        assert!(!linearizable(&[
            &inserted(1),
            &[evicted(2, 3), evicted(3, 3)]
        ]));
        assert!(!linearizable(&[&inserted(1), &[taken, evicted(2, 3)]]));
        // Whoever carries it out, all miss it who come after the one that began it.
        let missed = take(1, 2, 3, None);
        assert!(!linearizable(&[&inserted(1), &[missed, evicted(2, 4)]]));
        let call = Call {
            since: APART,
            ..call(2, 4, 7)
        };
        let evicted = call.by_some_call(Step::Evict { left: 7 });
        assert!(linearizable(&[&inserted(1), &[missed, evicted]]));
    }

    #[test]
    fn nobody_expires_before_a_flush_or_an_operation_says_so() {
        let early = |thread, called, step| call(thread, called, called + 1).meanwhile(step);
        let get = |called, seen| early(2, called, Step::Get { now: 3, seen });
        let there = Some((7, 10));
        assert!(linearizable(&[
            &inserted(1),
            &[get(2, there), get(4, there)]
        ]));
        assert!(!linearizable(&[&inserted(1), &[get(2, None)]]));
        let (removed, left) = (false, None);
        let misses = early(2, 2, Step::Remove { removed, left });
        assert!(!linearizable(&[&inserted(1), &[misses]]));
        let (at, left) = (10, 7);
        assert!(!linearizable(&[
            &inserted(1),
            &[early(1, 2, Step::Flush { at, left })]
        ]));
        // A flush at a later time has begun: perhaps it has come by.
        let begins = call(1, 2, 9).at_first(Step::Begin { at: 11, thread: 1 });
        assert!(linearizable(&[&inserted(1), &[begins, get(3, None)]]));
        assert!(linearizable(&[&inserted(1), &[begins, get(3, there)]]));
        // But not for one and then no more for another.
        let both = |one, other| [begins, get(3, one), get(5, other)];
        assert!(linearizable(&[&inserted(1), &both(there, None)]));
        assert!(!linearizable(&[&inserted(1), &both(None, there)]));
    }
}
