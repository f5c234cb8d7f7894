//! How something new is put where others may put theirs.

use crate::sync::atomic::{AtomicPtr, Ordering};

/// Puts something new in the place of `expected`, unless another has been put there. What is there
/// then. It was made from a box.
///
/// Whoever loads the pointer to look at it does so with Acquire, and finds it as it was made.
#[cold]
pub(super) fn put<T>(cell: &AtomicPtr<T>, expected: *mut T, new: T) -> *mut T {
    let fresh = Box::into_raw(Box::new(new));
    // Release: partner of those loads. Acquire on failure: one of them.
    match cell.compare_exchange(expected, fresh, Ordering::Release, Ordering::Acquire) {
        Ok(_) => fresh,
        Err(theirs) => {
            // SAFETY: made just above and never shared.
            drop(unsafe { Box::from_raw(fresh) });
            theirs
        }
    }
}
