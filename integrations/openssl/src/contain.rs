//! Panics end before they come to C. The same as in `sessionwheel`, which has no reason to show it.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A payload whose drop panics has a payload again. So many are dropped, then one is leaked.
const PAYLOADS: usize = 4;

/// Calls `f`; `None` if it panicked. What it panicked with is dropped.
pub(crate) fn contain<R>(f: impl FnOnce() -> R) -> Option<R> {
    let mut payload = match catch_unwind(AssertUnwindSafe(f)) {
        Ok(result) => return Some(result),
        Err(payload) => payload,
    };
    for _ in 0..PAYLOADS {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return None,
            Err(another) => payload = another,
        }
    }
    mem::forget(payload);
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Counts its drops, the first few of which panic, with the rest for a payload.
    struct Counted(&'static AtomicUsize, usize);

    impl Drop for Counted {
        fn drop(&mut self) {
            let Self(drops, more) = *self;
            drops.fetch_add(1, Ordering::Relaxed);
            if more != 0 {
                std::panic::panic_any(Self(drops, more - 1));
            }
        }
    }

    /// How many of so many payloads in a row are dropped.
    fn dropped(payloads: usize) -> usize {
        static DROPS: AtomicUsize = AtomicUsize::new(0);
        let before = DROPS.load(Ordering::Relaxed);
        assert_eq!(
            contain(|| -> u8 { std::panic::panic_any(Counted(&DROPS, payloads - 1)) }),
            None
        );
        DROPS.load(Ordering::Relaxed) - before
    }

    #[test]
    fn a_panic_ends_here_with_its_payload() {
        assert_eq!(contain(|| 7), Some(7));
        assert_eq!(contain(|| -> u8 { panic!("planted") }), None);
        assert_eq!(dropped(1), 1);
        assert_eq!(dropped(PAYLOADS), PAYLOADS);
        assert_eq!(dropped(PAYLOADS + 10), PAYLOADS, "then one is leaked");
    }
}
