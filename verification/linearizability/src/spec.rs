//! What a map without threads does under one key.

use sessionwheel::Reason;
use todc_utils::Specification;

/// A value; no two inserts have the same one.
pub type Value = u64;

/// A time or a deadline, in nanoseconds.
pub type Nanos = u64;

/// A step of an operation, and what came of it. `now` is what its caller had read from the clock.
///
/// An operation is one step, which is also all of it, with two exceptions. One that gives an entry a
/// deadline *settles* when it returns: from then on flushes have to know. And a flush *begins* when it
/// is called, removes one by one, not all at once, and *ends* when it returns: by then all that was
/// settled and expired when it began must be gone. (One that says that something remains has no end.)
///
/// An eviction is a step by itself, for another insert may have decided it than the call that was told of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)] // the fields say it
pub enum Step {
    Insert {
        call: u64,
        value: Value,
        deadline: Nanos,
        now: Nanos,
        left: Option<(Value, Reason)>,
    },
    /// The call (its first instant) has returned that gave a deadline.
    Settle {
        call: u64,
    },
    Get {
        now: Nanos,
        /// The value, and its deadline.
        seen: Option<(Value, Nanos)>,
    },
    Contains {
        now: Nanos,
        seen: bool,
    },
    Take {
        now: Nanos,
        taken: Option<Value>,
        left: Option<(Value, Reason)>,
    },
    Remove {
        removed: bool,
        left: Option<(Value, Reason)>,
    },
    Retime {
        call: u64,
        deadline: Nanos,
        now: Nanos,
        retimed: bool,
    },
    /// An insert, of whichever key, has found no room, and one entry had to go.
    Evict {
        left: Value,
    },
    /// A flush was called by this thread.
    Begin {
        at: Nanos,
        thread: usize,
    },
    /// It has removed an entry.
    Flush {
        at: Nanos,
        left: Value,
    },
    /// It returns.
    End {
        at: Nanos,
        thread: usize,
    },
}

/// An entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Entry {
    value: Value,
    deadline: Nanos,
    /// The call that gave it this deadline, until that has returned.
    unsettled: Option<u64>,
    /// The threads (as bits) whose flush has to remove it.
    wanted: u32,
    /// A flush has decided that it is expired, and somebody has missed it therefore: from then on all do.
    gone: bool,
}

/// At most one entry, and the latest time of all flushes that have begun.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct State {
    flushed: Nanos,
    entry: Option<Entry>,
}

impl State {
    /// The entry if it must be found.
    fn live(&self, now: Nanos) -> Option<Entry> {
        self.entry
            .filter(|entry| !entry.gone && now.max(self.flushed) <= entry.deadline)
    }

    /// The entry if it may be found. A flush at a later time, by a thread that has read the clock
    /// later, may have come by.
    fn perhaps(&self, now: Nanos) -> Option<Entry> {
        self.entry
            .filter(|entry| !entry.gone && now <= entry.deadline)
    }

    /// What follows for who saw this, if he saw right.
    fn seen(self, now: Nanos, seen: Option<Value>) -> Option<Self> {
        match seen {
            Some(value) => (self.perhaps(now)?.value == value).then_some(self),
            None => self.missed(now),
        }
    }

    /// The same for who found nothing. If he was not late himself, a flush has decided.
    fn missed(self, now: Nanos) -> Option<Self> {
        let decided = |entry: Entry| Entry {
            gone: entry.gone || now <= entry.deadline,
            ..entry
        };
        let missed = self.with(self.entry.map(decided));
        self.live(now).is_none().then_some(missed)
    }

    fn with(self, entry: Option<Entry>) -> Self {
        Self { entry, ..self }
    }

    /// What follows if a step's result is right.
    fn step(self, step: &Step) -> Option<Self> {
        let value = self.entry.map(|entry| entry.value);
        // Whether the entry that is there is the one that has left, for a reason of time.
        let may_leave = |left: Value, now| value == Some(left) && self.live(now).is_none();
        match *step {
            Step::Insert {
                call,
                value: new,
                deadline,
                now,
                left,
            } => {
                let right = match left {
                    None => value.is_none(),
                    Some((left, Reason::Replaced)) => self.seen(now, Some(left)).is_some(),
                    Some((left, Reason::Expired)) => may_leave(left, now),
                    Some(_) => false,
                };
                let entry = Entry {
                    value: new,
                    deadline,
                    unsettled: Some(call),
                    wanted: 0,
                    gone: false,
                };
                (right && now <= deadline).then_some(self.with(Some(entry)))
            }
            Step::Settle { call } => Some(self.with(self.entry.map(|entry| Entry {
                unsettled: entry.unsettled.filter(|&by| by != call),
                ..entry
            }))),
            Step::Get { now, seen } => {
                let deadline = self.entry.map(|entry| entry.deadline);
                let same = seen.is_none_or(|(_, seen)| deadline == Some(seen));
                self.seen(now, seen.map(|(value, _)| value))
                    .filter(|_| same)
            }
            Step::Contains { now, seen: true } => self.perhaps(now).map(|_| self),
            Step::Contains { now, seen: false } => self.missed(now),
            Step::Take { now, taken, left } => match (taken, left) {
                (Some(taken), Some((left, Reason::Taken))) => {
                    let right = taken == left && self.seen(now, Some(left)).is_some();
                    right.then_some(self.with(None))
                }
                (None, Some((left, Reason::Expired))) => {
                    may_leave(left, now).then_some(self.with(None))
                }
                (None, None) => self.missed(now),
                _ => None,
            },
            Step::Remove { removed, left } => match (removed, left) {
                (true, Some((left, Reason::Removed))) => {
                    let there = self.entry.is_some_and(|entry| !entry.gone);
                    (there && value == Some(left)).then_some(self.with(None))
                }
                // What a flush is about to remove is gone already.
                (false, None) => self.missed(0),
                _ => None,
            },
            Step::Retime {
                call,
                deadline,
                now,
                retimed: true,
            } => {
                let entry = self.perhaps(now).filter(|_| now <= deadline)?;
                Some(self.with(Some(Entry {
                    deadline,
                    unsettled: Some(call),
                    wanted: 0,
                    ..entry
                })))
            }
            Step::Retime {
                deadline,
                now,
                retimed: false,
                ..
            } => {
                if now > deadline {
                    Some(self)
                } else {
                    self.missed(now)
                }
            }
            Step::Begin { at, thread } => {
                let wanted = |entry: Entry| {
                    let wanted = entry.unsettled.is_none() && entry.deadline < at;
                    let wanted = entry.wanted | u32::from(wanted) << thread;
                    Entry { wanted, ..entry }
                };
                Some(Self {
                    flushed: self.flushed.max(at),
                    entry: self.entry.map(wanted),
                })
            }
            Step::Flush { at, left } => {
                // Perhaps one that a later flush has found expired.
                may_leave(left, at).then_some(self.with(None))
            }
            Step::Evict { left } => {
                let there = self.entry.is_some_and(|entry| !entry.gone);
                (there && value == Some(left)).then_some(self.with(None))
            }
            Step::End { thread, .. } => {
                let left = self
                    .entry
                    .is_some_and(|entry| entry.wanted >> thread & 1 != 0);
                (!left).then_some(self)
            }
        }
    }
}

/// At most one entry.
#[derive(Debug)]
pub struct OneKey;

impl Specification for OneKey {
    type State = State;
    type Operation = Step;

    fn init() -> State {
        State::default()
    }

    fn apply(step: &Step, state: &State) -> (bool, State) {
        match state.step(step) {
            Some(next) => (true, next),
            None => (false, *state),
        }
    }
}
