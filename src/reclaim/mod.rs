//! The only door to epoch-based reclamation.
//!
//! Behind it stands crossbeam-epoch with one collector of this crate's own, so that a guard some
//! other crate holds on crossbeam's default collector never delays our garbage. Loom models, and
//! schedules of shuttle's, swap in a small collector whose state space they can afford.
//!
//! Ground rules:
//! - Whoever loads a link, or visits a slot by number, is pinned before the first load.
//! - What is unlinked under a guard may be deferred under the same guard: the closure runs when
//!   every guard that was pinned at that moment is gone.
//! - A closure must not need the map: it may run after the map has been dropped.

#[cfg(not(any(shuttle, all(loom, not(crossbeam_loom)))))]
mod epoch;
#[cfg(not(any(shuttle, all(loom, not(crossbeam_loom)))))]
use epoch as imp;

#[cfg(any(shuttle, all(loom, not(crossbeam_loom))))]
mod model;
#[cfg(any(shuttle, all(loom, not(crossbeam_loom))))]
use model as imp;

/// Keeps what this thread reads from being recycled.
///
/// References handed out by a map live no longer than the guard they were taken under. A guard is
/// good for every map of this crate. It cannot leave its thread.
///
/// Holding one costs nothing by itself, but as long as it is held nothing that is removed
/// meanwhile, from any map, is dropped or reused: a session's secret is wiped only after that.
/// Drop it, or call [`refresh`](Guard::refresh), before blocking or going idle.
///
/// ```
/// # use sessionwheel::{ExpiringMap, Timestamp};
/// let map: ExpiringMap<u64, String> = ExpiringMap::builder().build()?;
/// let now = Timestamp::from_secs(1);
/// map.insert(7, "seven".into(), Timestamp::from_secs(10), now).unwrap();
/// let guard = sessionwheel::pin();
/// let seven = map.get(&7, now, &guard).unwrap();
/// map.remove(&7);
/// assert_eq!(seven, "seven"); // still readable: the guard keeps it
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
///
/// A reference does not outlive its guard:
///
/// ```compile_fail,E0597
/// # use sessionwheel::{ExpiringMap, Timestamp};
/// let map: ExpiringMap<u64, String> = ExpiringMap::builder().build().unwrap();
/// let value;
/// {
///     let guard = sessionwheel::pin();
///     value = map.get(&7, Timestamp::ZERO, &guard);
/// }
/// println!("{value:?}");
/// ```
///
/// nor its map:
///
/// ```compile_fail,E0505
/// # use sessionwheel::{ExpiringMap, Timestamp};
/// let map: ExpiringMap<u64, String> = ExpiringMap::builder().build().unwrap();
/// let guard = sessionwheel::pin();
/// let value = map.get(&7, Timestamp::ZERO, &guard);
/// drop(map);
/// println!("{value:?}");
/// ```
///
/// and a guard stays on its thread:
///
/// ```compile_fail,E0277
/// let guard = sessionwheel::pin();
/// std::thread::spawn(move || drop(guard));
/// ```
pub struct Guard(imp::Guard);

/// Pins the current thread.
///
/// About 7 ns, and 1.5 ns when the thread is pinned already.
#[must_use = "a guard that is dropped at once protects nothing"]
#[inline(always)]
pub fn pin() -> Guard {
    Guard(imp::pin())
}

/// Whether this thread holds a guard.
pub(crate) fn is_pinned() -> bool {
    imp::is_pinned()
}

impl Guard {
    /// Lets go of everything read so far and pins again, cheaper than a new guard. Does nothing
    /// while the thread holds another guard.
    pub fn refresh(&mut self) {
        self.0.repin();
    }

    /// The same, and runs `f` in between, when this guard holds nothing back.
    pub(crate) fn refresh_after(&mut self, f: impl FnOnce()) {
        self.0.repin_after(f);
    }

    /// Runs `f` once no guard that is pinned now is left.
    pub(crate) fn defer<F: FnOnce() + Send + 'static>(&self, f: F) {
        self.0.defer(f);
    }

    /// Makes what this thread deferred visible to all threads, and tries to run what is ripe.
    pub(crate) fn flush(&self) {
        self.0.flush();
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
pub(crate) mod tests;
