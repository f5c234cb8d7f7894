//! The clock of a [`SessionCache`](super::SessionCache).
//!
//! Lifetimes are measured on a clock that only moves forwards and that nobody
//! sets: steps of the wall clock don't exist for it. Wall time is computed
//! from it when somebody wants to see it, and never stored.

use std::fmt;
use std::time::{Duration, SystemTime};

use super::monotonic::Monotonic;
use crate::Timestamp;
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Two clocks have been read at once if so much at the most lies between a reading before and one after.
const NEAR: Duration = Duration::from_millis(1);

/// Tries to do that. The coarse clocks of operating systems move by several milliseconds at a time: the second try
/// comes in between.
const READINGS: usize = 8;

/// Where a cache takes the time from.
///
/// Clones are the same clock. Timestamps of two clocks that aren't clones of
/// one another have nothing to do with each other.
///
/// - [`Clock::monotonic`], the default, follows the operating system.
/// - [`Clock::manual`] stands still until it is told to move, for tests.
#[derive(Clone)]
pub struct Clock {
    source: Source,
}

#[derive(Clone)]
enum Source {
    Monotonic(Arc<Monotonic>),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that follows the operating system's monotonic time.
    ///
    /// It never goes backwards, for all threads together: if one reading
    /// happens before another, in the sense of the memory model, it isn't the
    /// later one. Its readings are far from both ends of the range of
    /// [`Timestamp`], more than 70 years from zero, so that points years ago
    /// can be expressed as well as points years ahead.
    ///
    /// **Linux and Android**: a reading costs one coarse clock read (a few
    /// nanoseconds, no system call where the kernel offers a vDSO) and is late
    /// by at most one kernel tick, 1 to 10 ms. Time spent in suspend counts.
    /// The kernel's coarse clock leaves suspends out, so their sum is measured
    /// apart, whenever the last measurement is 10 ms old: a reading taken
    /// within the first 10 ms (and one kernel tick) of running after a resume
    /// may still lack that one suspend; later ones don't. What is measured
    /// this way only ever errs by being late, never by being early.
    ///
    /// **Elsewhere**: [`std::time::Instant`], with its cost, and with its
    /// answer to whether suspend counts: on Windows it does, on macOS time
    /// asleep is missing, so that sessions live on for that long.
    ///
    /// ```
    /// use sessionwheel::Clock;
    ///
    /// let clock = Clock::monotonic();
    /// let before = clock.now();
    /// assert!(before <= clock.now());
    /// ```
    #[must_use]
    pub fn monotonic() -> Self {
        Self {
            source: Source::Monotonic(Arc::new(Monotonic::new())),
        }
    }

    /// A clock that reads `start` until its [`ManualClock`] says otherwise.
    ///
    /// ```
    /// use sessionwheel::{Clock, SessionCache, SessionId, SessionKey, Context, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, "session").unwrap();
    ///
    /// hand.advance(Duration::from_secs(300));
    /// assert!(cache.contains(&key));
    /// hand.advance(Duration::from_nanos(1));
    /// assert!(!cache.contains(&key));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    #[must_use]
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let nanos = Arc::new(AtomicU64::new(start.as_nanos()));
        let clock = Self {
            source: Source::Manual(nanos.clone()),
        };
        (clock, ManualClock { nanos })
    }

    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.source {
            Source::Monotonic(monotonic) => monotonic.now(),
            // Relaxed: the clock's value guards no other data. Who was told
            // that the hand was moved sees it moved.
            Source::Manual(nanos) => Timestamp::from_nanos(nanos.load(Ordering::Relaxed)),
        }
    }

    /// What the wall clock shows, or showed, or would show, at `at`.
    ///
    /// This is the wall clock's present reading moved by the distance from
    /// [`now`](Self::now) to `at`. It is for people and for export: if the
    /// wall clock is set, the answer for the same `at` changes, and nothing
    /// else does. A manual clock is its own wall clock: its zero is 1970.
    ///
    /// `None` for [`Timestamp::NEVER`], and if [`SystemTime`] can't express
    /// the point.
    ///
    /// ```
    /// use sessionwheel::{Clock, Timestamp};
    /// use std::time::{Duration, SystemTime};
    ///
    /// let clock = Clock::monotonic();
    /// let deadline = clock.now().saturating_add(Duration::from_secs(300));
    ///
    /// assert!(clock.to_wall(deadline).unwrap() > SystemTime::now());
    /// assert_eq!(clock.to_wall(Timestamp::NEVER), None);
    /// ```
    #[must_use]
    pub fn to_wall(&self, at: Timestamp) -> Option<SystemTime> {
        if at == Timestamp::NEVER {
            return None;
        }
        let (now, wall) = self.both();
        if at >= now {
            wall.checked_add(at.saturating_since(now))
        } else {
            wall.checked_sub(now.saturating_since(at))
        }
    }

    /// The point at which the wall clock shows `wall`, if nobody sets it: the
    /// other way round than [`to_wall`](Self::to_wall). Points before the
    /// first [`Timestamp`] or after the last are these.
    ///
    /// ```
    /// use sessionwheel::{Clock, Timestamp};
    /// use std::time::{Duration, SystemTime};
    ///
    /// let (clock, _hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(1_300);
    /// assert_eq!(clock.from_wall(wall), Timestamp::from_secs(1_300));
    /// ```
    #[must_use]
    pub fn from_wall(&self, wall: SystemTime) -> Timestamp {
        let (now, shown) = self.both();
        match wall.duration_since(shown) {
            Ok(ahead) => now.saturating_add(ahead),
            Err(error) => now.saturating_sub(error.duration()),
        }
    }

    /// The time now, by this clock and by the wall clock.
    fn both(&self) -> (Timestamp, SystemTime) {
        match self.source {
            Source::Manual(_) => {
                let now = self.now();
                let wall = SystemTime::UNIX_EPOCH + Duration::from_nanos(now.as_nanos());
                (now, wall)
            }
            Source::Monotonic(_) => at_once(|| self.now(), SystemTime::now),
        }
    }
}

/// What a clock and another show at the same time, as long as the thread that reads them is not stopped in between each
/// time.
fn at_once<T>(now: impl Fn() -> Timestamp, other: impl Fn() -> T) -> (Timestamp, T) {
    let mut before = now();
    for _ in 0..READINGS {
        let shown = other();
        let after = now();
        if after.saturating_since(before) <= NEAR {
            return (after, shown);
        }
        before = after;
    }
    (before, other())
}

impl Default for Clock {
    /// [`Clock::monotonic`].
    fn default() -> Self {
        Self::monotonic()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.source {
            Source::Monotonic(_) => "monotonic",
            Source::Manual(_) => "manual",
        };
        f.debug_struct("Clock")
            .field("kind", &kind)
            .field("now", &self.now())
            .finish()
    }
}

/// The hand that moves a manual [`Clock`].
///
/// Clones move the same clock, from any thread.
#[derive(Clone)]
pub struct ManualClock {
    nanos: Arc<AtomicU64>,
}

impl ManualClock {
    /// Moves the clock forwards by `span`, at most to [`Timestamp::NEVER`].
    ///
    /// Returns the new time. Concurrent calls add up.
    pub fn advance(&self, span: Duration) -> Timestamp {
        let mut now = self.nanos.load(Ordering::Relaxed);
        loop {
            let next = Timestamp::from_nanos(now).saturating_add(span);
            match self.nanos.compare_exchange_weak(
                now,
                next.as_nanos(),
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return next,
                Err(actual) => now = actual,
            }
        }
    }

    /// Sets the clock to `to`, which may be in the past.
    ///
    /// A real monotonic clock never goes back; this is for tests of what
    /// happens if one does.
    pub fn set(&self, to: Timestamp) {
        self.nanos.store(to.as_nanos(), Ordering::Relaxed);
    }

    /// The time the clock shows now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.nanos.load(Ordering::Relaxed))
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManualClock")
            .field("now", &self.now())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 86_400);

    #[test]
    fn a_manual_clock_stands_still_until_moved() {
        let start = Timestamp::from_secs(50);
        let (clock, hand) = Clock::manual(start);
        let clone = clock.clone();
        assert_eq!(clock.now(), start);
        let moved = hand.advance(Duration::from_secs(3));
        assert_eq!(moved, Timestamp::from_secs(53));
        assert_eq!(clock.now(), moved);
        assert_eq!(clone.now(), moved);
        hand.clone().set(Timestamp::from_secs(1));
        assert_eq!(clone.now(), Timestamp::from_secs(1));
        assert_eq!(hand.now(), Timestamp::from_secs(1));
    }

    #[test]
    fn clocks_are_read_again_if_time_has_passed_in_between() {
        // What the readings show, in milliseconds, each of the other one after one of the first.
        let shown = |readings: &[u64]| {
            let next = std::cell::Cell::new(0);
            let at = |n: usize| readings[n.min(readings.len() - 1)];
            let now = || Timestamp::ZERO.saturating_add(Duration::from_millis(at(next.get())));
            let both = at_once(now, || next.replace(next.get() + 1));
            (both.0.as_nanos() / 1_000_000, both.1)
        };
        assert_eq!(shown(&[5, 5]), (5, 0));
        assert_eq!(shown(&[5, 6]), (6, 0));
        // Stopped for a second, and then not; and stopped each time.
        assert_eq!(shown(&[5, 1_005, 1_005]), (1_005, 1));
        let always: Vec<u64> = (0..99).map(|n| n * 1_000).collect();
        let readings = READINGS as u64;
        assert_eq!(shown(&always), (readings * 1_000, READINGS));
    }

    #[test]
    fn advance_saturates() {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1));
        assert_eq!(hand.advance(Duration::MAX), Timestamp::NEVER);
        assert_eq!(hand.advance(Duration::from_secs(1)), Timestamp::NEVER);
        assert_eq!(clock.now(), Timestamp::NEVER);
    }

    #[test]
    #[cfg_attr(miri, ignore = "reads the wall clock")]
    fn wall_time_keeps_distances() {
        let clock = Clock::monotonic();
        let at = clock.now();
        for (at, past, future) in [
            (at, Duration::ZERO, Duration::ZERO),
            (at.saturating_sub(TEN_YEARS), TEN_YEARS, Duration::ZERO),
            (at.saturating_add(TEN_YEARS), Duration::ZERO, TEN_YEARS),
        ] {
            // The coarse clock may be late by a tick, and this thread at any time.
            let late = Duration::from_secs(5);
            let wall = clock.to_wall(at).unwrap();
            let expected = SystemTime::now() - past + future;
            assert!(wall <= expected && expected <= wall + late);
            let back = clock.from_wall(wall);
            assert!(at.saturating_since(back) <= late && back.saturating_since(at) <= late);
        }
    }

    #[test]
    fn a_manual_clock_is_its_own_wall_clock() {
        let (clock, hand) = Clock::manual(Timestamp::ZERO);
        let seconds = |n| SystemTime::UNIX_EPOCH + Duration::from_secs(n);
        for at in [0, 1, 1_000_000_000].map(Timestamp::from_secs) {
            hand.set(at);
            assert_eq!(clock.to_wall(Timestamp::from_secs(77)), Some(seconds(77)));
            assert_eq!(clock.from_wall(seconds(77)), Timestamp::from_secs(77));
            let before_all = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
            assert_eq!(clock.from_wall(before_all), Timestamp::ZERO);
            assert_eq!(clock.from_wall(seconds(1 << 40)), Timestamp::NEVER);
        }
    }

    #[test]
    fn never_has_no_wall_time() {
        let (clock, hand) = Clock::manual(Timestamp::ZERO);
        assert_eq!(clock.to_wall(Timestamp::NEVER), None);
        hand.set(Timestamp::NEVER);
        assert_eq!(clock.to_wall(Timestamp::NEVER), None);
    }

    #[test]
    fn debug_tells_the_kinds_apart() {
        let (clock, _) = Clock::manual(Timestamp::from_nanos(5));
        assert_eq!(
            format!("{clock:?}"),
            "Clock { kind: \"manual\", now: Timestamp(5) }"
        );
        assert!(format!("{:?}", Clock::default()).contains("monotonic"));
    }
}
