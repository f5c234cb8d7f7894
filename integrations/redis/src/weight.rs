//! How many bytes of sealed sessions are kept here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The bytes of many together. Relaxed throughout: they bound, and say nothing of what came before.
#[derive(Clone, Default)]
pub(crate) struct Sum(Arc<AtomicUsize>);

impl Sum {
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Adds some, until the part is dropped.
    pub(crate) fn add(&self, bytes: usize) -> Part {
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Part {
            bytes,
            of: self.clone(),
        }
    }
}

/// What one adds to a sum.
pub(crate) struct Part {
    bytes: usize,
    of: Sum,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
