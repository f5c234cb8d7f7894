//! The only door to atomics, cells, threads and thread-locals.
//!
//! Ground rules:
//! - No other module names `std::sync::atomic`, `std::cell::UnsafeCell` or `std::thread`.
//! - Under `--cfg loom` every name here is loom's, so that the models in `loom-tests/` run the
//!   code that ships; under `--cfg shuttle` shuttle's, for the schedules of `tests/schedules.rs`. `Arc` stays the standard one: its counts are not part of any protocol here.
//! - Store-load order is always a `fence(SeqCst)`, never a `SeqCst` access: loom models fences only.

#[cfg(not(target_has_atomic = "64"))]
compile_error!("sessionwheel needs 64-bit atomics");

pub(crate) use std::sync::{Arc, OnceLock, Weak};

#[cfg(not(any(loom, shuttle)))]
mod imp {
    pub(crate) mod atomic {
        #[cfg(test)]
        pub(crate) use std::sync::atomic::AtomicBool;
        pub(crate) use std::sync::atomic::{
            AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }
    pub(crate) mod thread {
        pub(crate) use std::thread::{
            Builder, JoinHandle, Thread, available_parallelism, current, park, park_timeout, sleep,
        };
        #[cfg(test)]
        pub(crate) use std::thread::{spawn, yield_now};
    }
    pub(crate) use super::plain::UnsafeCell;
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::thread_local;
}

#[cfg(any(loom, shuttle))]
mod imp {
    #[cfg(loom)]
    pub(crate) use loom as checker;
    #[cfg(all(shuttle, not(loom)))]
    pub(crate) use shuttle as checker;

    pub(crate) mod atomic {
        pub(crate) use super::checker::sync::atomic::{
            AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }
    pub(crate) mod thread {
        pub(crate) use super::checker::thread::{Thread, current, park};
        pub(crate) use std::thread::available_parallelism;
        /// There is no time: a yield.
        pub(crate) fn sleep(_: std::time::Duration) {
            super::checker::thread::yield_now();
        }
        #[cfg(not(crossbeam_loom))]
        pub(crate) use std::thread::panicking;
    }
    #[cfg(all(shuttle, not(loom)))]
    pub(crate) use super::plain::UnsafeCell;
    pub(crate) use checker::thread::yield_now;
    #[cfg(loom)]
    pub(crate) use loom::cell::UnsafeCell;

    /// The checker's. loom's does not know `const` initialisers.
    macro_rules! thread_local_of_the_model {
        ($(#[$attr:meta])* static $name:ident: $t:ty = const { $init:expr };) => {
            $crate::sync::checker::thread_local! { $(#[$attr])* static $name: $t = $init; }
        };
        ($(#[$attr:meta])* static $name:ident: $t:ty = $init:expr;) => {
            $crate::sync::checker::thread_local! { $(#[$attr])* static $name: $t = $init; }
        };
    }
    pub(crate) use thread_local_of_the_model as thread_local;
}

#[cfg(not(loom))]
mod plain {
    /// `std::cell::UnsafeCell` with loom's closure interface.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        // Outside loom and shuttle cells come as zeroed memory.
        #[allow(dead_code)]
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }
}

pub(crate) use imp::*;

/// Keeps its content on cache lines of its own (two lines: processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

impl<T> std::ops::Deref for Padded<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}
