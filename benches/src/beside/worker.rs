//! The worker's loop: a slice of operations, and as long a slice of control.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

use super::account::Account;
use super::{Cache, Note, Window};
use crate::{Id, Ids};

/// Lookups, and as many inserts, of a slice: some ten microseconds.
const SLICE: usize = 32;

/// A slice of control ends after this, however long the operations took: 1 ms.
const LONGEST_CONTROL: u64 = 1_000_000;

/// The scheduler is asked about what took longer than this, 100 µs.
const NOTICED: u64 = 100_000;

/// What was timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Lookup,
    Insert,
    Control,
}

/// A timed step, in nanoseconds since the window's origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) step: Step,
    pub(super) start: u64,
    pub(super) end: u64,
    /// For so long of it the thread was ready to run and was given no core.
    pub(super) off: u64,
}

impl Span {
    pub(super) fn took(self) -> u64 {
        self.end - self.start
    }
}

/// What the worker did, in the window and around it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Done {
    pub(super) lookups: usize,
    /// Lookups that found nothing, although the session was there.
    pub(super) missed: usize,
    pub(super) inserted: usize,
}

/// Works until the window says stop.
pub(super) fn work<C: Cache>(
    cache: &C,
    staying: &[Id],
    window: &Window,
    note: &mut impl Note,
) -> Done {
    // No two windows may insert the same ids.
    static SEED: AtomicU64 = AtomicU64::new(1_000);
    let mut draw = Ids::new(SEED.fetch_add(1, Relaxed));
    let mut account = Account::of_this_thread();
    let mut done = Done::default();
    let mut slice = Vec::with_capacity(SLICE);
    let mut tell = |step, start, end, account: &mut Account| {
        let took: u64 = end - start;
        let off = if took > NOTICED {
            account.since_last().min(took)
        } else {
            0
        };
        let span = Span {
            step,
            start,
            end,
            off,
        };
        note.note(span, window);
    };
    while !window.stop.load(SeqCst) {
        for _ in 0..SLICE {
            let id = staying[draw.below(staying.len())];
            slice.push((id, cache.fresh(draw.id())));
        }
        account.since_last();
        let began = window.now();
        for (id, fresh) in slice.drain(..) {
            let start = window.now();
            let hit = cache.look_up(black_box(&id));
            let end = window.now();
            tell(Step::Lookup, start, end, &mut account);
            done.missed += usize::from(!hit);

            let start = window.now();
            cache.add(fresh);
            let end = window.now();
            tell(Step::Insert, start, end, &mut account);
        }
        done.lookups += SLICE;
        done.inserted += SLICE;
        let ended = window.now();
        let until = ended + (ended - began).min(LONGEST_CONTROL);
        loop {
            let start = window.now();
            black_box(draw.id());
            let end = window.now();
            tell(Step::Control, start, end, &mut account);
            if end > until {
                break;
            }
        }
    }
    done
}
