//! Panics in other people's code: listeners, destructors.

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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("planted: the payload's own drop");
        }
    }

    #[test]
    fn a_panic_ends_here_and_so_does_one_of_its_payload() {
        assert_eq!(contain(|| 7), Some(7));
        assert_eq!(contain(|| -> u8 { panic!("planted") }), None);
        assert_eq!(contain(|| -> u8 { std::panic::panic_any(Bomb) }), None);
    }
}
