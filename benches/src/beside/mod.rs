//! What a flush does to the traffic beside it.
//!
//! A worker looks up sessions that stay and inserts fresh ones, one by one, each timed by itself,
//! while a flusher removes a share of a population in one flush. Three [`Mode`]s say what the
//! flusher does; the worker does the same in all of them, and only operations that overlapped the
//! flush count: those that ended after its start and started before its end. The flush ends when
//! its last destructor has run.
//!
//! # The control
//!
//! A machine stops threads for reasons of its own, and a wait that it caused is not the cache's. So
//! a *control* runs the same timing loop and touches no cache. It runs on the worker's own thread,
//! in turn with it: after each slice of operations the same loop draws ids for as long as the slice
//! has taken. It is therefore as much exposed to the machine as the operations are, on the same
//! core, in every mode alike, and it adds no thread.
//!
//! A third thread that is always busy would not do on two cores: the system then stops each of the
//! three for a whole time slice in turn (measured: 4 ms, eighty times a second, where two threads
//! are stopped for more than 1 ms about once in a second), and what it sees is what it does. A third
//! thread that sleeps most of the time sees little of what happens to the worker's core.
//!
//! A wait of more than 1 ms counts as the cache's own unless
//!
//! - the scheduler's account of the thread says that it was ready to run and was not given a core,
//!   for all of the wait but 1 ms (Linux; elsewhere nothing is known and nothing subtracted); or
//! - the control saw such a pause too, not explained by that account either, in the same window and
//!   within 50 ms. One pause excuses one wait.
//!
//! Sleeping at a lock and spinning at one are never excused by the first. What stops a whole virtual
//! core is known to neither the thread nor the scheduler; that falls on the control as often as on
//! the operations, so the second excuses about half of it.

mod account;
mod cache;
mod destructors;
mod report;
mod timeline;
mod worker;

pub use cache::{Cache, Population};
pub use destructors::{Destructors, Kind, Witness, Witnessed, destructors};
pub use report::{Pause, Report};
pub use timeline::{Sample, Timeline, timeline};

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use worker::{Done, Span};

/// What the flusher does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sleeps, as long as a flush takes.
    Idle,
    /// Flushes another cache of the same kind and size: what a flush does to the machine.
    Unrelated,
    /// Flushes the worker's cache.
    Same,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Idle, Self::Unrelated, Self::Same];

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Unrelated => "unrelated",
            Self::Same => "same",
        }
    }
}

/// So long the worker has been at work when the flush begins.
const LEAD: Duration = Duration::from_millis(5);

/// When the flush began and ended, in nanoseconds since `origin`.
struct Window {
    origin: Instant,
    begun: AtomicU64,
    ended: AtomicU64,
    stop: AtomicBool,
}

impl Window {
    const NOT_YET: u64 = u64::MAX;

    fn new() -> Self {
        Self {
            origin: Instant::now(),
            begun: AtomicU64::new(Self::NOT_YET),
            ended: AtomicU64::new(Self::NOT_YET),
            stop: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    /// Whether something that has just ended overlaps the flush. The start is noted before the flush
    /// begins and the end after it has ended, so nothing is missed.
    fn overlaps(&self, span: Span) -> bool {
        span.end > self.begun.load(SeqCst) && span.start < self.ended.load(SeqCst)
    }
}

/// What there was beside a piece of work.
struct Beside<R, N> {
    result: R,
    note: N,
    done: Done,
    begun: u64,
    ended: u64,
}

/// Runs `work` on a thread that counts as a flusher, and the worker beside it. `note` is told each of
/// the worker's spans; `after` runs on the flusher's thread, the worker still being at work.
fn beside<C: Cache, R: Send, N: Note>(
    (cache, population): (&C, &Population),
    lead: Duration,
    work: impl FnOnce() -> R + Send,
    after: impl FnOnce() + Send,
    mut note: N,
) -> Beside<R, N> {
    let window = Window::new();
    let start = Barrier::new(2);
    let (result, (note, done)) = thread::scope(|scope| {
        let (window, start) = (&window, &start);
        let worker = scope.spawn(move || {
            Kind::Worker.is_this_thread();
            start.wait();
            let done = worker::work(cache, population.staying(), window, &mut note);
            (note, done)
        });
        let flusher = scope.spawn(move || {
            Kind::Flusher.is_this_thread();
            start.wait();
            thread::sleep(lead);
            window.begun.store(window.now(), SeqCst);
            let result = work();
            window.ended.store(window.now(), SeqCst);
            after();
            window.stop.store(true, SeqCst);
            result
        });
        let result = flusher.join().expect("no panic in a flush");
        (result, worker.join().expect("no panic beside a flush"))
    });
    Beside {
        result,
        note,
        done,
        begun: window.begun.into_inner(),
        ended: window.ended.into_inner(),
    }
}

/// Who is told the worker's spans.
trait Note: Send {
    fn note(&mut self, span: Span, window: &Window);
}

/// One window: the worker on `cache`, `work` beside it, which returns what it removed.
fn window<C: Cache>(
    cache: &C,
    population: &Population,
    work: impl FnOnce() -> usize + Send,
) -> Report {
    let seen = beside((cache, population), LEAD, work, || (), Report::new());
    let mut report = seen.note;
    report.finish(seen.begun, seen.ended, seen.result, &seen.done);
    report
}

/// The worker alone, for so long.
pub fn idle<C: Cache>(cache: &C, population: &Population, length: Duration) -> Report {
    window(cache, population, || {
        thread::sleep(length);
        0
    })
}

/// The worker on `cache` while `flushed`, which may be the same, is flushed.
///
/// # Panics
/// If the flush did not remove what was due.
pub fn flushing<C: Cache>(cache: &C, population: &Population, flushed: &C) -> Report {
    let before = flushed.count();
    let mut report = window(cache, population, || flushed.flush());
    let added = if std::ptr::eq(cache, flushed) {
        report.inserted
    } else {
        0
    };
    // What peers say that they removed includes, for some, what was inserted meanwhile.
    report.removed = before + added - flushed.count();
    assert_eq!(report.removed, population.due(), "flushed what was due");
    report
}

/// All modes, in one pair of caches that is filled once: first those that leave the worker's cache
/// as it is, then its flush. In the order of [`Mode::ALL`].
pub fn all_modes<C: Cache>(population: &Population) -> [Report; 3] {
    let (cache, other): (C, C) = (population.filled(), population.filled());
    let unrelated = flushing(&cache, population, &other);
    let idle = idle(&cache, population, unrelated.window);
    let same = flushing(&cache, population, &cache);
    [idle, unrelated, same]
}

/// Measures one mode at a time, each time in a fresh cache, with the unrelated one always there if there is
/// one.
#[derive(Debug)]
pub struct InTurn<'p, C> {
    population: &'p Population,
    has_other: bool,
    other: Option<C>,
    length: Option<Duration>,
}

impl<'p, C: Cache> InTurn<'p, C> {
    /// Measures with this population.
    #[must_use]
    pub fn new(population: &'p Population) -> Self {
        Self {
            population,
            has_other: true,
            other: None,
            length: None,
        }
    }

    /// The same without an unrelated cache: for all modes but [`Mode::Unrelated`].
    #[must_use]
    pub fn alone(population: &'p Population) -> Self {
        Self {
            has_other: false,
            ..Self::new(population)
        }
    }

    /// One window.
    ///
    /// # Panics
    /// If there is no unrelated cache, and it was to be flushed; or if the flush did not remove what was due.
    pub fn measure(&mut self, mode: Mode) -> Report {
        if mode == Mode::Idle && self.length.is_none() {
            // How long does a flush take?
            self.measure(Mode::Same);
        }
        let population = self.population;
        let cache: C = population.filled();
        if self.has_other && self.other.is_none() {
            self.other = Some(population.filled());
        }
        match mode {
            Mode::Idle => idle(&cache, population, self.length.unwrap_or(LEAD)),
            Mode::Unrelated => {
                let other = self.other.take().expect("an unrelated cache");
                let report = flushing(&cache, population, &other);
                // Nothing in it has been flushed: it is the unrelated one of the next.
                self.other = Some(cache);
                report
            }
            Mode::Same => {
                let report = flushing(&cache, population, &cache);
                self.length = Some(report.window);
                report
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;
    use crate::peers::Ours;

    #[test]
    fn each_mode_says_what_it_did() {
        let population = Population::new(2_000, 50);
        let reports: [Report; 3] = all_modes::<Ours>(&population);
        for (mode, report) in Mode::ALL.iter().zip(&reports) {
            println!("{}: {report:?}", mode.name());
            assert_eq!(report.removed, [0, 1_000][usize::from(*mode != Mode::Idle)]);
            assert!(report.inserted > 0 && report.window > Duration::ZERO);
            assert_eq!(report.missed, 0);
        }
    }

    /// A cache whose lookups wait for a flush.
    struct Waits(Ours, AtomicBool);

    impl Cache for Waits {
        type Fresh = <Ours as Cache>::Fresh;

        fn filled(population: &Population) -> Self {
            Self(population.filled(), AtomicBool::new(false))
        }

        fn fresh(&self, id: Id) -> Self::Fresh {
            self.0.fresh(id)
        }

        fn look_up(&self, id: &Id) -> bool {
            while self.1.load(SeqCst) {
                thread::sleep(Duration::from_millis(3));
            }
            Cache::look_up(&self.0, id)
        }

        fn add(&self, fresh: Self::Fresh) {
            self.0.add(fresh);
        }

        fn flush(&self) -> usize {
            self.1.store(true, SeqCst);
            let removed = Cache::flush(&self.0);
            thread::sleep(Duration::from_millis(9));
            self.1.store(false, SeqCst);
            removed
        }

        fn count(&self) -> usize {
            Cache::count(&self.0)
        }
    }

    #[test]
    fn a_wait_for_a_flush_is_seen_as_the_caches_own() {
        let population = Population::new(2_000, 50);
        let (mut unseen, mut worst) = (0, 0);
        for _ in 0..3 {
            let cache = Waits::filled(&population);
            let report = flushing(&cache, &population, &cache);
            println!("{report:?}");
            worst = worst.max(report.worst());
            unseen += report.unseen;
        }
        assert!(unseen > 0 && worst >= 3_000_000);
    }
}
