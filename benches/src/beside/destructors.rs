//! On which threads the destructors of swept sessions run, and what is left of them.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use super::worker::Span;
use super::{Cache, LEAD, Note, Population, Window, beside};
use crate::peers::{Ours, Session, Wheel};
use crate::{BETWEEN, Id, LATE, NOW, SOON};

/// What a thread is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It calls flush.
    Flusher,
    /// It looks up and inserts.
    Worker,
    /// Anything else.
    Background,
}

thread_local! {
    static KIND: Cell<Kind> = const { Cell::new(Kind::Background) };
}

impl Kind {
    pub(super) fn is_this_thread(self) {
        KIND.set(self);
    }
}

/// Destructors of sessions that were due, by kind of thread.
type Tally = [AtomicUsize; 3];

/// A session's state that tells where it is dropped.
#[derive(Debug)]
pub struct Witness {
    due: Option<Arc<Tally>>,
    _state: [u8; 200],
}

impl Drop for Witness {
    fn drop(&mut self) {
        if let Some(tally) = &self.due {
            // A thread that is being torn down is no worker any more.
            let kind = KIND.try_with(Cell::get).unwrap_or(Kind::Background);
            tally[kind as usize].fetch_add(1, SeqCst);
        }
    }
}

fn witness(due: Option<&Arc<Tally>>) -> Arc<Witness> {
    let due = due.map(Arc::clone);
    let _state = [0x5e; 200];
    Arc::new(Witness { due, _state })
}

/// Ours, with such sessions.
#[derive(Debug)]
pub struct Witnessed<W = Ours<Arc<Witness>>> {
    wheel: W,
    tally: Arc<Tally>,
}

impl<W> Witnessed<W> {
    /// Destructors that have run, by [`Kind`] of thread.
    fn ran(&self) -> [usize; 3] {
        self.tally.each_ref().map(|count| count.load(SeqCst))
    }
}

impl<W: Wheel<Arc<Witness>>> Cache for Witnessed<W> {
    type Fresh = (Id, Arc<Witness>);

    fn filled(population: &Population) -> Self {
        let wheel = W::build(false, None);
        let tally = Arc::new(Tally::default());
        for (id, &deadline) in population.ids.iter().zip(&population.deadlines) {
            let payload = witness((deadline == SOON).then_some(&tally));
            wheel.insert(*id, Session { deadline, payload }, NOW);
        }
        Self { wheel, tally }
    }

    fn fresh(&self, id: Id) -> Self::Fresh {
        (id, witness(None))
    }

    fn look_up(&self, id: &Id) -> bool {
        self.wheel.get(id, BETWEEN).is_some()
    }

    fn add(&self, (id, payload): Self::Fresh) {
        let deadline = LATE;
        self.wheel
            .insert(id, Session { deadline, payload }, BETWEEN);
    }

    fn flush(&self) -> usize {
        self.wheel.flush(BETWEEN)
    }

    fn count(&self) -> usize {
        self.wheel.count().expect("it tells")
    }
}

/// What became of swept sessions.
#[derive(Clone, Copy, Debug)]
pub struct Destructors {
    /// Sessions that the flush removed.
    pub swept: usize,
    /// Destructors that had run when traffic ended, by kind of thread.
    pub flusher: usize,
    /// See [`flusher`](Self::flusher).
    pub worker: usize,
    /// See [`flusher`](Self::flusher).
    pub background: usize,
    /// Removed and not dropped when the flush returned, traffic going on.
    pub garbage_at_once: usize,
    /// The same after the time given, traffic still going on.
    pub garbage_later: usize,
    /// Destructors that `reclaim()` ran, traffic having ended.
    pub reclaimed: usize,
    /// Removed and not dropped after that.
    pub garbage_at_rest: usize,
    /// Operations beside, until the second look at the garbage.
    pub operations: usize,
}

struct Deaf;

impl Note for Deaf {
    fn note(&mut self, _: Span, _: &Window) {}
}

/// Flushes what is due of ours beside a worker, who goes on for so long afterwards.
#[must_use]
pub fn destructors<W: Wheel<Arc<Witness>>>(
    population: &Population,
    after: Duration,
) -> Destructors {
    let cache: Witnessed<W> = population.filled();
    watch(&cache, &cache, population, after)
}

/// The same in `cache`, which the worker works on through `worked_on`.
fn watch<W: Wheel<Arc<Witness>>, C: Cache>(
    cache: &Witnessed<W>,
    worked_on: &C,
    population: &Population,
    after: Duration,
) -> Destructors {
    let garbage = || cache.wheel.garbage();
    let (at_once, later) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let look = || {
        at_once.store(garbage(), SeqCst);
        thread::sleep(after);
        later.store(garbage(), SeqCst);
    };
    let flush = || cache.flush();
    let seen = beside((worked_on, population), LEAD, flush, look, Deaf);
    assert_eq!(seen.done.missed, 0, "of {} lookups", seen.done.lookups);
    let [flusher, worker, background] = cache.ran();
    cache.wheel.reclaim();
    Destructors {
        swept: seen.result,
        flusher,
        worker,
        background,
        reclaimed: cache.ran().iter().sum::<usize>() - flusher - worker - background,
        garbage_at_once: at_once.into_inner(),
        garbage_later: later.into_inner(),
        garbage_at_rest: garbage(),
        operations: seen.done.lookups + seen.done.inserted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_millis(50);

    #[test]
    fn destructors_of_swept_sessions_run_on_the_flusher() {
        let population = Population::new(20_000, 50);
        let seen = destructors::<Ours<_>>(&population, AFTER);
        println!("{seen:?}");
        // Other tests of this process pin too: one that is stopped there leaves something at rest.
        let dropped = seen.flusher + seen.reclaimed;
        assert_eq!(
            (seen.swept, dropped + seen.garbage_at_rest),
            (10_000, 10_000)
        );
        assert_eq!(seen.flusher + seen.garbage_later, 10_000);
        assert_eq!((seen.worker, seen.background), (0, 0));
        assert!(seen.operations > 0);
    }

    /// A cache whose worker flushes before each insert.
    struct Meddler(Witnessed);

    impl Cache for Meddler {
        type Fresh = (Id, Arc<Witness>);

        fn filled(population: &Population) -> Self {
            Self(population.filled())
        }

        fn fresh(&self, id: Id) -> Self::Fresh {
            self.0.fresh(id)
        }

        fn look_up(&self, id: &Id) -> bool {
            self.0.look_up(id)
        }

        fn add(&self, fresh: Self::Fresh) {
            self.0.flush();
            self.0.add(fresh);
        }

        fn flush(&self) -> usize {
            self.0.flush()
        }

        fn count(&self) -> usize {
            self.0.count()
        }
    }

    #[test]
    fn a_worker_that_flushes_is_caught() {
        let population = Population::new(20_000, 50);
        let cache: Meddler = population.filled();
        let seen = watch(&cache.0, &cache, &population, AFTER);
        println!("{seen:?}");
        assert!(seen.worker > 0);
        assert_eq!(seen.worker + seen.flusher + seen.reclaimed, 10_000);
    }

    #[test]
    fn garbage_that_stays_is_caught() {
        let population = Population::new(20_000, 50);
        let cache: Witnessed = population.filled();
        let guard = sessionwheel::pin();
        let seen = watch(&cache, &cache, &population, AFTER);
        drop(guard);
        println!("{seen:?}");
        assert_eq!(seen.swept, 10_000);
        assert!(seen.garbage_at_once > 0 && seen.garbage_later > 0 && seen.garbage_at_rest > 0);
    }
}
