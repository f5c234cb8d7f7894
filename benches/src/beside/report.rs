//! What a window has shown.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::worker::{Done, Span, Step};
use super::{Note, Window};

/// A wait that counts: 1 ms.
const LONG: u64 = 1_000_000;

/// So far apart are a wait and a pause of the control that may have one cause: 50 ms.
const NEAR: u64 = 50_000_000;

/// A step that took more than 1 ms.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// Nanoseconds since the worker's start.
    pub at: u64,
    /// How long it took.
    pub took: u64,
    /// How long of that the thread was ready to run and was given no core.
    pub off: u64,
}

impl Pause {
    /// Whether the scheduler's account leaves more than 1 ms of it.
    fn unexplained(&self) -> bool {
        self.took - self.off > LONG
    }
}

/// One window, or several of the same mode.
#[derive(Clone)]
pub struct Report {
    /// Nanoseconds of lookups that overlapped the window.
    pub lookups: Histogram<u64>,
    /// The same of inserts.
    pub inserts: Histogram<u64>,
    /// The same of the control's steps.
    pub control: Histogram<u64>,
    /// Operations that took more than 1 ms.
    pub waits: Vec<Pause>,
    /// The control's steps that did.
    pub pauses: Vec<Pause>,
    /// Waits for which the scheduler had no core during all but 1 ms.
    pub preempted: usize,
    /// Waits that neither the scheduler nor the control explains.
    pub unseen: usize,
    /// The longest operation in nanoseconds, less the time without a core.
    pub worst_own: u64,
    /// Inserts, those before and after the window included.
    pub inserted: usize,
    /// Lookups that found nothing.
    pub missed: usize,
    /// Sessions that the flush removed.
    pub removed: usize,
    /// How long the windows were together, and how many there were.
    pub window: Duration,
    /// See [`window`](Self::window).
    pub windows: usize,
}

fn histogram() -> Histogram<u64> {
    // Up to ten minutes, to three digits.
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("good bounds")
}

impl Report {
    pub(super) fn new() -> Self {
        Self {
            lookups: histogram(),
            inserts: histogram(),
            control: histogram(),
            waits: Vec::new(),
            pauses: Vec::new(),
            preempted: 0,
            unseen: 0,
            worst_own: 0,
            inserted: 0,
            missed: 0,
            removed: 0,
            window: Duration::ZERO,
            windows: 0,
        }
    }

    /// Draws the conclusions of one window.
    pub(super) fn finish(&mut self, begun: u64, ended: u64, removed: usize, done: &Done) {
        self.window = Duration::from_nanos(ended - begun);
        self.windows = 1;
        self.removed = removed;
        self.inserted = done.inserted;
        self.missed = done.missed;
        assert_eq!(done.missed, 0, "of {} lookups", done.lookups);
        (self.preempted, self.unseen) = explain(&self.waits, &self.pauses);
    }

    /// Adds another window of the same mode.
    ///
    /// # Panics
    /// Never: the histograms have the same bounds.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.lookups, &other.lookups),
            (&mut self.inserts, &other.inserts),
            (&mut self.control, &other.control),
        ] {
            mine.add(theirs).expect("the same bounds");
        }
        self.waits.extend(&other.waits);
        self.pauses.extend(&other.pauses);
        self.preempted += other.preempted;
        self.unseen += other.unseen;
        self.worst_own = self.worst_own.max(other.worst_own);
        self.inserted += other.inserted;
        self.missed += other.missed;
        self.removed += other.removed;
        self.window += other.window;
        self.windows += other.windows;
    }

    /// Operations that overlapped the windows.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lookups.len() + self.inserts.len()
    }

    /// The longest operation, in nanoseconds.
    #[must_use]
    pub fn worst(&self) -> u64 {
        self.lookups.max().max(self.inserts.max())
    }
}

impl std::fmt::Debug for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Report")
            .field("window", &self.window)
            .field("operations", &self.operations())
            .field("control", &self.control.len())
            .field("worst", &self.worst())
            .field("waits", &self.waits)
            .field("pauses", &self.pauses)
            .field("preempted", &self.preempted)
            .field("unseen", &self.unseen)
            .field("inserted", &self.inserted)
            .field("removed", &self.removed)
            .finish_non_exhaustive()
    }
}

impl Note for Report {
    fn note(&mut self, span: Span, window: &Window) {
        if !window.overlaps(span) {
            return;
        }
        let (histogram, long) = match span.step {
            Step::Lookup => (&mut self.lookups, &mut self.waits),
            Step::Insert => (&mut self.inserts, &mut self.waits),
            Step::Control => (&mut self.control, &mut self.pauses),
        };
        histogram.saturating_record(span.took());
        if span.step != Step::Control {
            self.worst_own = self.worst_own.max(span.took() - span.off);
        }
        if span.took() > LONG {
            long.push(Pause {
                at: span.start,
                took: span.took(),
                off: span.off,
            });
        }
    }
}

/// How many of these waits the scheduler explains, and how many neither it nor the control. Both
/// lists are in the order of time.
fn explain(waits: &[Pause], pauses: &[Pause]) -> (usize, usize) {
    let unexplained: Vec<&Pause> = waits.iter().filter(|wait| wait.unexplained()).collect();
    let mut pauses = pauses.iter().filter(|pause| pause.unexplained()).peekable();
    let mut unseen = 0;
    for wait in &unexplained {
        while pauses
            .next_if(|pause| pause.at + pause.took + NEAR < wait.at)
            .is_some()
        {}
        let near = pauses.next_if(|pause| pause.at <= wait.at + wait.took + NEAR);
        unseen += usize::from(near.is_none());
    }
    (waits.len() - unexplained.len(), unseen)
}

#[cfg(test)]
mod tests {
    use super::{Pause, explain};

    fn pauses(list: &[[u64; 3]]) -> Vec<Pause> {
        let pause = |&[at, took, off]: &[u64; 3]| {
            let [at, took, off] = [at, took, off].map(|ms| ms * 1_000_000);
            Pause { at, took, off }
        };
        list.iter().map(pause).collect()
    }

    #[test]
    fn the_scheduler_or_one_pause_of_the_control_near_by_excuses_a_wait() {
        // At, how long, how long of that without a core; in ms.
        let waits = pauses(&[[10, 4, 4], [20, 4, 0], [30, 4, 0], [500, 4, 1]]);
        assert_eq!(explain(&waits, &[]), (1, 3));
        assert_eq!(explain(&waits, &pauses(&[[60, 2, 0]])), (1, 2));
        assert_eq!(explain(&waits, &pauses(&[[60, 2, 0], [61, 2, 0]])), (1, 1));
        // Too far away; and one that the scheduler explains says nothing about others.
        assert_eq!(explain(&waits, &pauses(&[[200, 2, 0]])), (1, 3));
        assert_eq!(explain(&waits, &pauses(&[[25, 2, 2]])), (1, 3));
        assert_eq!(explain(&waits, &pauses(&[[480, 2, 0]])), (1, 2));
    }
}
