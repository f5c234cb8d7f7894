//! When the threads of a run begin and end.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use bustle::{Collection, CollectionHandle};

/// What the threads of the run that is going on are to do, and when they did it.
pub(crate) struct Run {
    pub(crate) threads: usize,
    /// Operations of each thread.
    pub(crate) each: usize,
    pub(crate) spans: Vec<(Instant, Instant)>,
}

static RUN: Mutex<Run> = Mutex::new(Run {
    threads: 0,
    each: 0,
    spans: Vec::new(),
});

pub(crate) fn run() -> MutexGuard<'static, Run> {
    RUN.lock().expect("no panic")
}

/// A collection that notes when its threads begin and end.
pub(crate) struct Timed<C>(C, AtomicUsize);

pub(crate) struct Handle<H> {
    inner: H,
    done: usize,
    /// The number of its last operation.
    last: usize,
    began: Instant,
}

impl<C: Collection> Collection for Timed<C> {
    type Handle = Handle<C::Handle>;

    fn with_capacity(capacity: usize) -> Self {
        Self(C::with_capacity(capacity), AtomicUsize::new(0))
    }

    fn pin(&self) -> Self::Handle {
        // The first are those that fill it.
        let index = self.1.fetch_add(1, Relaxed);
        let run = run();
        let fills = index < run.threads;
        Handle {
            inner: self.0.pin(),
            done: 0,
            last: if fills { usize::MAX } else { run.each },
            began: Instant::now(),
        }
    }
}

impl<H> Handle<H> {
    #[inline]
    fn timed(&mut self, operation: impl FnOnce(&mut H) -> bool) -> bool {
        if self.done == 0 {
            self.began = Instant::now();
        }
        let result = operation(&mut self.inner);
        self.done += 1;
        if self.done == self.last {
            run().spans.push((self.began, Instant::now()));
        }
        result
    }
}

impl<H: CollectionHandle> CollectionHandle for Handle<H> {
    type Key = H::Key;

    fn get(&mut self, key: &H::Key) -> bool {
        self.timed(|inner| inner.get(key))
    }

    fn insert(&mut self, key: &H::Key) -> bool {
        self.timed(|inner| inner.insert(key))
    }

    fn remove(&mut self, key: &H::Key) -> bool {
        self.timed(|inner| inner.remove(key))
    }

    fn update(&mut self, key: &H::Key) -> bool {
        self.timed(|inner| inner.update(key))
    }
}
