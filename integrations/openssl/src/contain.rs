//! Panics end before they come to C.

use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Calls `f`; `None` if it panicked. What it panicked with is leaked: its drop might panic as well.
pub(crate) fn contain<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).map_err(mem::forget).ok()
}

#[cfg(test)]
mod tests {
    use super::contain;

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
