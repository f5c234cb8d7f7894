//! What several tests need.
#![allow(dead_code)] // each test uses its part

pub mod arena;
pub mod ledger;
pub mod pair;

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A value that is counted while it lives, and notices being dropped twice or read after that.
#[derive(Debug)]
pub struct Counted {
    number: u64,
    check: u64,
    live: Arc<AtomicU64>,
}

const CHECK: u64 = 0x5e55_1070_0d0f_f1ce;

impl Counted {
    pub fn new(number: u64, live: &Arc<AtomicU64>) -> Self {
        live.fetch_add(1, Relaxed);
        Self {
            number,
            check: number ^ CHECK,
            live: Arc::clone(live),
        }
    }

    pub fn number(&self) -> u64 {
        assert_eq!(self.check, self.number ^ CHECK, "read after drop");
        self.number
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        assert_eq!(self.check, self.number ^ CHECK, "dropped twice");
        self.check = 0;
        let before = self.live.fetch_sub(1, Relaxed);
        assert_ne!(before, 0, "more drops than values");
    }
}

/// Calls its function when it goes, by a panic or not.
pub struct OnDrop<F: FnMut()>(pub F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Small random numbers, the same in every run (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

/// What an environment variable says, or this.
pub fn number(name: &str, otherwise: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(otherwise, |n| n.parse().expect("a number"))
}

/// The seed of a test that draws at random: another one in each process, unless it is set.
pub fn seed() -> u64 {
    let drawn = std::hash::RandomState::new().hash_one(0);
    number("SESSIONWHEEL_SEED", drawn)
}

/// By how much to multiply the number of operations of tests with threads.
pub fn scale() -> usize {
    number("SESSIONWHEEL_STRESS", 1) as usize
}

/// Guards of one map hold back the garbage of all, so tests that count it run one by one.
pub fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads that may borrow. Unlike those of `std::thread::scope` they have ended completely, thread
/// locals included, when [`scope`] returns: until then they may be pinned.
pub struct Scope<'scope, 'env: 'scope> {
    inner: &'scope thread::Scope<'scope, 'env>,
    threads: RefCell<Vec<thread::ScopedJoinHandle<'scope, ()>>>,
}

impl<'scope> Scope<'scope, '_> {
    pub fn spawn(&self, f: impl FnOnce() + Send + 'scope) {
        self.threads.borrow_mut().push(self.inner.spawn(f));
    }
}

pub fn scope<'env>(f: impl for<'scope> FnOnce(&Scope<'scope, 'env>)) {
    thread::scope(|inner| {
        let scope = Scope {
            inner,
            threads: RefCell::default(),
        };
        f(&scope);
        for thread in scope.threads.into_inner() {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}
