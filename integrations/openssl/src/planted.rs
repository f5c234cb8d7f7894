//! Panics where a test wants one.

use std::cell::Cell;

thread_local! {
    static PLACE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// For so long as this is kept, what this thread does in this place panics.
pub(crate) struct Planted;

impl Planted {
    pub(crate) fn at(place: &'static str) -> Self {
        PLACE.set(Some(place));
        Self
    }
}

impl Drop for Planted {
    fn drop(&mut self) {
        PLACE.set(None);
    }
}

/// This is the place.
pub(crate) fn here(place: &str) {
    assert_ne!(PLACE.get(), Some(place), "planted");
}
