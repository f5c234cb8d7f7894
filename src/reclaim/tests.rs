//! What a guard holds back, and when it lets go.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::*;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::thread::{JoinHandle, spawn, yield_now};

/// However slow the machine is, and however many tests are pinned for a moment.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 10 });

/// So often what must not happen is given the chance to.
const CHANCES: usize = 100;

/// A guard that another thread holds until it is told to let go.
pub(crate) struct Held {
    let_go: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Held {
    pub(crate) fn new() -> Self {
        let (pinned, is_pinned) = mpsc::channel();
        let (let_go, told) = mpsc::channel();
        let thread = spawn(move || {
            let guard = pin();
            pinned.send(()).expect("somebody waits");
            told.recv().expect("somebody says it");
            drop(guard);
        });
        is_pinned.recv().expect("it is pinned");
        Self { let_go, thread }
    }

    pub(crate) fn let_go(self) {
        self.let_go.send(()).expect("it listens");
        self.thread.join().expect("no panic");
    }
}

/// Defers something; whether it has run.
fn deferred(guard: &Guard) -> Arc<AtomicBool> {
    let has_run = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&has_run);
    guard.defer(move || runs.store(true, Ordering::Relaxed));
    guard.flush();
    has_run
}

/// Waits until it has run, and tries again and again.
fn runs(has_run: &AtomicBool, mut again: impl FnMut()) {
    let begun = Instant::now();
    while !has_run.load(Ordering::Relaxed) {
        assert!(begun.elapsed() < PATIENCE, "it has not run");
        again();
        yield_now();
    }
}

fn stays(has_run: &AtomicBool, mut again: impl FnMut()) {
    for _ in 0..CHANCES {
        again();
        yield_now();
        assert!(!has_run.load(Ordering::Relaxed), "it has run too early");
    }
}

#[test]
fn a_thread_is_pinned_as_long_as_it_holds_a_guard() {
    assert!(!is_pinned());
    let outer = pin();
    let mut inner = pin();
    assert!(is_pinned());
    drop(outer);
    assert!(is_pinned());
    inner.refresh();
    assert!(is_pinned());
    inner.refresh_after(|| assert!(!is_pinned()));
    assert!(is_pinned());
    drop(inner);
    assert!(!is_pinned());
}

#[test]
fn a_refreshed_guard_lets_go_unless_there_is_another() {
    let mut guard = pin();
    let has_run = deferred(&guard);
    stays(&has_run, || guard.flush());
    let mut inner = pin();
    let mut calls = 0;
    stays(&has_run, || {
        inner.refresh();
        inner.refresh_after(|| calls += 1);
        inner.flush();
    });
    assert_eq!(calls, CHANCES);
    drop(inner);
    runs(&has_run, || {
        guard.refresh();
        guard.flush();
    });
    let has_run = deferred(&guard);
    runs(&has_run, || {
        guard.refresh_after(|| ());
        guard.flush();
    });
}

#[test]
fn a_guard_holds_back_what_other_threads_defer() {
    let other = Held::new();
    let has_run = deferred(&pin());
    stays(&has_run, || pin().flush());
    other.let_go();
    runs(&has_run, || pin().flush());
}
