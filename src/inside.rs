//! What this thread is in the middle of, further up its stack.

use std::cell::RefCell;

use crate::sync::{Arc, thread_local};

thread_local! {
    static INSIDE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A name that nothing else has as long as one of its clones is kept.
#[derive(Clone)]
pub(crate) struct Name(Arc<u8>);

impl Name {
    pub(crate) fn new() -> Self {
        Self(Arc::new(0))
    }
}

/// This thread is inside something until this is dropped.
pub(crate) struct Inside(usize);

impl Inside {
    /// `None` if it is inside that already. On a thread that is being torn down nobody knows any
    /// more, and it counts as inside.
    pub(crate) fn enter(what: &Name) -> Option<Self> {
        let what = Arc::as_ptr(&what.0).addr();
        let entered = INSIDE.try_with(|inside| {
            let mut inside = inside.borrow_mut();
            let outside = !inside.contains(&what);
            if outside {
                inside.push(what);
            }
            outside
        });
        entered.unwrap_or(false).then(|| Self(what))
    }

    /// Whether this thread is inside anything: on one that is being torn down it is, as for `enter`.
    pub(crate) fn anything() -> bool {
        INSIDE
            .try_with(|inside| !inside.borrow().is_empty())
            .unwrap_or(true)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = INSIDE.try_with(|inside| inside.borrow_mut().retain(|&what| what != self.0));
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn once_on_a_stack() {
        let (one, two) = (Name::new(), Name::new());
        let outer = Inside::enter(&one).expect("outside");
        assert!(Inside::enter(&one.clone()).is_none());
        let other = Inside::enter(&two).expect("something else");
        drop(outer);
        assert!(Inside::anything());
        assert!(Inside::enter(&one).is_some());
        drop(other);
        assert!(!Inside::anything());
    }

    #[test]
    fn on_a_thread_that_is_torn_down() {
        use crate::sync::atomic::{AtomicUsize, Ordering};
        use crate::sync::thread::spawn;

        static FOUND: AtomicUsize = AtomicUsize::new(0);
        struct Last(Name);
        impl Drop for Last {
            fn drop(&mut self) {
                let found = [
                    INSIDE.try_with(|_| ()).is_err(),
                    Inside::anything(),
                    Inside::enter(&self.0).is_none(),
                ];
                let count = found.into_iter().filter(|&it| it).count();
                FOUND.store(count, Ordering::Relaxed);
            }
        }
        thread_local! {
            static LAST: Last = Last(Name::new());
        }
        let thread = spawn(|| {
            // Destroyed after what comes later.
            LAST.with(|_| ());
            drop(Inside::enter(&Name::new()));
            assert!(!Inside::anything());
        });
        thread.join().expect("no panic");
        assert_eq!(FOUND.load(Ordering::Relaxed), 3);
    }
}
