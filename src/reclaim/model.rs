//! A collector for loom models and shuttle: what was deferred runs when a thread that asked for it (`flush`)
//! unpins and finds nobody else pinned.
//!
//! A pin synchronises with nothing but through its fence, as crossbeam's does. What is deferred lies behind a lock,
//! so threads that retire or collect are in order with those who did so before, more than a real epoch promises: an
//! ordering that is missed only behind a retirement may be hidden here. Far smaller in states.

use std::cell::Cell;
use std::collections::VecDeque;
use std::marker::PhantomData;
use std::mem;

use crate::sync::atomic::{AtomicUsize, Ordering, fence};
use crate::sync::checker::{self, sync::Mutex};
use crate::sync::thread;

struct Deferred(Option<Box<dyn FnOnce() + Send>>);

impl Deferred {
    fn run(mut self) {
        if let Some(closure) = self.0.take() {
            closure();
        }
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        // A model that fails unwinds out of it, and what the closure holds is the checker's: leaked, or
        // the failure would end in an abort that takes the other models along.
        if thread::panicking() {
            mem::forget(self.0.take());
        }
    }
}

struct Collector {
    pinned: AtomicUsize,
    deferred: Mutex<VecDeque<Deferred>>,
}

checker::lazy_static! {
    static ref COLLECTOR: Collector = Collector {
        pinned: AtomicUsize::new(0),
        deferred: Mutex::new(VecDeque::new()),
    };
}

checker::thread_local! {
    static DEPTH: Cell<usize> = Cell::new(0);
    static ASKED: Cell<bool> = Cell::new(false);
}

pub(super) struct Guard(PhantomData<*mut ()>);

pub(super) fn pin() -> Guard {
    if DEPTH.with(|d| d.replace(d.get() + 1)) == 0 {
        enter();
    }
    Guard(PhantomData)
}

pub(super) fn is_pinned() -> bool {
    DEPTH.with(Cell::get) != 0
}

fn enter() {
    COLLECTOR.pinned.fetch_add(1, Ordering::Relaxed);
    // Partner: the fence in `leave`. Whoever pins after a collection began sees what was unlinked.
    fence(Ordering::SeqCst);
}

fn leave() {
    // Release: what was read under this guard happens before a recycling (Acquire below).
    COLLECTOR.pinned.fetch_sub(1, Ordering::Release);
    if !ASKED.with(|a| a.replace(false)) {
        return;
    }
    let ripe: Vec<Deferred> = {
        let mut deferred = COLLECTOR.deferred.lock().expect("not poisoned");
        fence(Ordering::SeqCst);
        if COLLECTOR.pinned.load(Ordering::Acquire) != 0 {
            return;
        }
        deferred.drain(..).collect()
    };
    for deferred in ripe {
        deferred.run();
    }
}

impl Guard {
    pub(super) fn repin(&mut self) {
        self.repin_after(|| ());
    }

    pub(super) fn repin_after(&mut self, f: impl FnOnce()) {
        if DEPTH.with(Cell::get) != 1 {
            return f();
        }
        DEPTH.with(|d| d.set(0));
        leave();
        f();
        DEPTH.with(|d| d.set(1));
        enter();
    }

    pub(super) fn defer<F: FnOnce() + Send + 'static>(&self, f: F) {
        let mut deferred = COLLECTOR.deferred.lock().expect("not poisoned");
        deferred.push_back(Deferred(Some(Box::new(f))));
    }

    pub(super) fn flush(&self) {
        ASKED.with(|a| a.set(true));
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if DEPTH.with(|d| d.replace(d.get() - 1)) == 1 {
            leave();
        }
    }
}
