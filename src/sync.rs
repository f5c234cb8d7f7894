//! The only door to atomics, cells, threads and thread-locals.
//!
//! Ground rules:
//! - No other module names `std::sync::atomic`, `std::cell::UnsafeCell` or `std::thread`.
//! - Under `--cfg loom` every name here is loom's, so that the models in `loom-tests/` run the
//!   code that ships. `Arc` stays the standard one: its counts are not part of any protocol here.
//! - Store-load order is always a `fence(SeqCst)`, never a `SeqCst` access: loom models fences only.

#[cfg(not(target_has_atomic = "64"))]
compile_error!("sessionwheel needs 64-bit atomics");

pub(crate) use std::sync::{Arc, OnceLock};

#[cfg(not(loom))]
mod imp {
    pub(crate) mod atomic {
        #[cfg(test)]
        pub(crate) use std::sync::atomic::AtomicBool;
        pub(crate) use std::sync::atomic::{
            AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }
    pub(crate) mod thread {
        pub(crate) use std::thread::{Thread, available_parallelism, current, park};
        #[cfg(test)]
        pub(crate) use std::thread::{spawn, yield_now};
    }
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::thread_local;

    /// `std::cell::UnsafeCell` with loom's closure interface.
    #[derive(Debug)]
    #[repr(transparent)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        // Outside loom cells come as zeroed memory.
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

#[cfg(loom)]
mod imp {
    pub(crate) mod atomic {
        pub(crate) use loom::sync::atomic::{
            AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
        };
    }
    pub(crate) mod thread {
        pub(crate) use loom::thread::{Thread, current, park};
        pub(crate) use std::thread::available_parallelism;
        #[cfg(not(crossbeam_loom))]
        pub(crate) use std::thread::panicking;
    }
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::thread::yield_now;

    /// loom's, which does not know `const` initialisers.
    macro_rules! thread_local_of_the_model {
        ($(#[$attr:meta])* static $name:ident: $t:ty = const { $init:expr };) => {
            loom::thread_local! { $(#[$attr])* static $name: $t = $init; }
        };
        ($(#[$attr:meta])* static $name:ident: $t:ty = $init:expr;) => {
            loom::thread_local! { $(#[$attr])* static $name: $t = $init; }
        };
    }
    pub(crate) use thread_local_of_the_model as thread_local;
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
