//! What several tests need.
#![allow(dead_code)] // each test uses its part

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
