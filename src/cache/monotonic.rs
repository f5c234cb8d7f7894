//! The operating system's time, cheap, monotone and counting suspend.
//!
//! Linux has a cheap clock that leaves suspends out (`CLOCK_MONOTONIC_COARSE`,
//! a read of a few nanoseconds) and a clock that counts them but costs a full
//! read (`CLOCK_BOOTTIME`). Here a reading is the sum of the cheap clock and
//! of an *offset*, the time spent in suspend so far, which is measured again
//! whenever the last measurement is [`offset::REFRESH`] old.
//!
//! # Why the sum is monotone
//!
//! Both terms are. The coarse clock is so by contract. The offset is kept as
//! the maximum of what was measured, and a thread that has seen one maximum,
//! or has been told of a reading that rests on it, can't see a smaller one
//! later.
//!
//! # Why a maximum does no harm
//!
//! A measurement reads `CLOCK_BOOTTIME` first and `CLOCK_MONOTONIC` second and
//! takes the difference. A thread that is held up between the two sees too
//! late a second reading, so too small a difference. A measurement can be too
//! small, then, but never too large; the maximum approaches the truth from
//! below, and one bad measurement leaves no trace.

use crate::Timestamp;

/// What every reading is moved by: 2^61 ns, about 73 years.
///
/// The clocks below count from the boot of the machine or the start of the
/// process. Moved like this their readings are far from zero (and 500 years
/// from the end), and the difference of two clocks can be kept without a sign.
const ORIGIN: u64 = 1 << 61;

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
pub(super) use linux::Monotonic;

#[cfg(not(all(any(target_os = "linux", target_os = "android"), not(miri))))]
pub(super) use portable::Monotonic;

#[cfg(any(
    test,
    not(all(any(target_os = "linux", target_os = "android"), not(miri)))
))]
mod portable {
    use super::{ORIGIN, Timestamp};
    use std::time::Instant;

    /// Time since this clock was made, by [`Instant`].
    pub(crate) struct Monotonic {
        start: Instant,
    }

    impl Monotonic {
        pub(crate) fn new() -> Self {
            Self {
                start: Instant::now(),
            }
        }

        #[inline]
        pub(crate) fn now(&self) -> Timestamp {
            Timestamp::from_nanos(ORIGIN).saturating_add(self.start.elapsed())
        }
    }
}

/// See the module's documentation.
#[cfg(any(test, all(any(target_os = "linux", target_os = "android"), not(miri))))]
pub(crate) mod offset {
    use crate::sync::atomic::{AtomicU64, Ordering};

    /// How old a measurement may get, in nanoseconds of the coarse clock.
    ///
    /// This bounds how long a suspend goes unnoticed. A measurement costs two
    /// full clock reads, some 50 ns, so that one every 10 ms is nothing.
    pub(crate) const REFRESH: u64 = 10_000_000;

    /// What to add to the coarse clock, and when that was last measured.
    ///
    /// On a cache line of its own: every reading loads both words.
    #[repr(align(64))]
    pub(crate) struct Offset {
        /// The largest offset measured so far.
        offset: AtomicU64,
        /// What the coarse clock showed before the last measurement.
        measured: AtomicU64,
    }

    impl Offset {
        pub(crate) fn new(coarse: u64, offset: u64) -> Self {
            Self {
                offset: AtomicU64::new(offset),
                measured: AtomicU64::new(coarse),
            }
        }

        /// `coarse`, just read from the coarse clock, plus an offset that was
        /// measured not more than [`REFRESH`] before.
        ///
        /// Nobody waits for anybody: all threads that find the measurement too
        /// old measure. `measure` may return 0 for "don't know".
        #[inline]
        pub(crate) fn apply(&self, coarse: u64, measure: impl FnOnce() -> u64) -> u64 {
            // Acquire, with the Release in `refresh`: who sees the time of a
            // measurement sees an offset at least as large as that measurement's.
            let measured = self.measured.load(Ordering::Acquire);
            let offset = if coarse.saturating_sub(measured) < REFRESH {
                self.offset.load(Ordering::Relaxed)
            } else {
                self.refresh(coarse, measure())
            };
            coarse.saturating_add(offset)
        }

        #[cold]
        fn refresh(&self, coarse: u64, offset: u64) -> u64 {
            // Relaxed: each word is monotone by itself. `measured` may go back
            // if a thread is late to store it; then one measurement is made
            // early.
            let before = self.offset.fetch_max(offset, Ordering::Relaxed);
            self.measured.store(coarse, Ordering::Release);
            before.max(offset)
        }

        /// What the coarse clock showed before the last measurement.
        pub(crate) fn measured(&self) -> u64 {
            self.measured.load(Ordering::Relaxed)
        }
    }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(miri)))]
mod linux {
    use super::offset::Offset;
    use super::{ORIGIN, Timestamp};

    /// `CLOCK_MONOTONIC_COARSE` plus the time spent in suspend.
    pub(crate) struct Monotonic {
        offset: Offset,
    }

    impl Monotonic {
        pub(crate) fn new() -> Self {
            let coarse = read(libc::CLOCK_MONOTONIC_COARSE).unwrap_or(0);
            Self {
                offset: Offset::new(coarse, measure()),
            }
        }

        #[inline]
        pub(crate) fn now(&self) -> Timestamp {
            // The kernel has had this clock since 2.6.32. If a sandbox denies
            // it, time stands still rather than going back.
            let coarse =
                read(libc::CLOCK_MONOTONIC_COARSE).unwrap_or_else(|| self.offset.measured());
            Timestamp::from_nanos(self.offset.apply(coarse, measure))
        }
    }

    /// The time spent in suspend, plus [`ORIGIN`]; at times too small, never
    /// too large.
    ///
    /// In a time namespace the two clocks are moved by different amounts, so
    /// the difference may be negative; `ORIGIN` keeps it above zero.
    #[cold]
    #[inline(never)]
    fn measure() -> u64 {
        // The order matters, see the module's documentation.
        let boot = read(libc::CLOCK_BOOTTIME);
        let monotonic = read(libc::CLOCK_MONOTONIC);
        match (boot, monotonic) {
            (Some(boot), Some(monotonic)) => ORIGIN.saturating_add(boot).saturating_sub(monotonic),
            // No boot clock: suspends don't count.
            _ => ORIGIN,
        }
    }

    /// What clock `id` shows, in nanoseconds.
    #[inline]
    fn read(id: libc::clockid_t) -> Option<u64> {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: `time` is a valid timespec that this call alone may write to
        // while it runs; any number is allowed as `id`.
        let result = unsafe { libc::clock_gettime(id, &mut time) };
        (result == 0).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_reading_is_the_boot_clock_but_for_a_tick() {
            let clock = Monotonic::new();
            for _ in 0..1_000 {
                let now = clock.now().as_nanos() - ORIGIN;
                let boot = read(libc::CLOCK_BOOTTIME).unwrap();
                assert!(now <= boot, "{now} is later than {boot}");
                // Generous: a kernel tick is at most 10 ms, but this thread
                // may be held up between the two reads.
                assert!(boot - now < 2_000_000_000, "{now} is far behind {boot}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::offset::{Offset, REFRESH};
    use super::*;
    use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use crate::sync::{Arc, thread};
    use std::time::{Duration, Instant};

    fn unmeasured() -> u64 {
        panic!("measured too early")
    }

    #[test]
    fn the_offset_is_measured_again_when_it_is_old() {
        let offset = Offset::new(1_000, 50);
        assert_eq!(offset.apply(1_000, unmeasured), 1_050);
        let last = 1_000 + REFRESH - 1;
        assert_eq!(offset.apply(last, unmeasured), last + 50);
        assert_eq!(offset.apply(last + 1, || 70), last + 71);
        assert_eq!(
            offset.apply(last + REFRESH, unmeasured),
            last + REFRESH + 70
        );
        assert_eq!(offset.measured(), last + 1);
    }

    #[test]
    fn a_suspend_is_noticed_after_one_refresh() {
        // The machine sleeps for an hour; the coarse clock doesn't notice.
        const HOUR: u64 = 3_600_000_000_000;
        let offset = Offset::new(0, 0);
        let asleep_at = REFRESH / 2;
        assert_eq!(offset.apply(asleep_at, unmeasured), asleep_at);
        let noticed = offset.apply(REFRESH, || HOUR);
        assert_eq!(noticed, REFRESH + HOUR);
        // Another thread, whose coarse reading is a little older, comes later.
        assert_eq!(offset.apply(asleep_at, unmeasured), asleep_at + HOUR);
    }

    #[test]
    fn a_measurement_that_is_too_small_takes_nothing_back() {
        let offset = Offset::new(0, 1_000);
        let mut coarse = 0;
        let mut last = 0;
        for measured in [900, 0, 1_001, 1_000, 5] {
            coarse += REFRESH;
            let now = offset.apply(coarse, || measured);
            assert!(now > last);
            assert!(now - coarse >= 1_000);
            last = now;
        }
        assert_eq!(last, coarse + 1_001);
    }

    #[test]
    fn readings_are_monotone_across_threads_while_the_offset_grows() {
        const READERS: usize = 2;
        const STEPS: u64 = if cfg!(miri) { 200 } else { 20_000 };
        let offset = Arc::new(Offset::new(0, 0));
        let coarse = Arc::new(AtomicU64::new(0));
        let slept = Arc::new(AtomicU64::new(0));
        let highest = Arc::new(AtomicU64::new(0));
        let done = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let (offset, coarse, slept) = (offset.clone(), coarse.clone(), slept.clone());
                let (highest, done) = (highest.clone(), done.clone());
                thread::spawn(move || {
                    let mut last = false;
                    while !last {
                        last = done.load(Ordering::Acquire);
                        let seen = highest.load(Ordering::Acquire);
                        let coarse = coarse.load(Ordering::Acquire);
                        let now = offset.apply(coarse, || slept.load(Ordering::Acquire));
                        assert!(now >= seen, "{now} after {seen}");
                        highest.fetch_max(now, Ordering::AcqRel);
                    }
                })
            })
            .collect();
        for step in 0..STEPS {
            if step % 3 == 0 {
                slept.fetch_add(1_000_000_000, Ordering::AcqRel);
            }
            coarse.fetch_add(REFRESH / 4, Ordering::AcqRel);
        }
        done.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
        let sum = coarse.load(Ordering::Relaxed) + slept.load(Ordering::Relaxed);
        let unnoticed = sum - highest.load(Ordering::Relaxed);
        // Two sleeps fit into one refresh.
        assert!(unnoticed <= 2_000_000_000, "{unnoticed}");
    }

    #[test]
    fn the_clock_runs_and_is_far_from_both_ends() {
        fn check(now: impl Fn() -> Timestamp) {
            const YEARS: Duration = Duration::from_secs(70 * 365 * 86_400);
            let start = now();
            assert!(start.saturating_sub(YEARS) > Timestamp::ZERO);
            assert!(start.saturating_add(4 * YEARS) < Timestamp::NEVER);
            // By another clock: the loop must not end because time stood still.
            let give_up = Instant::now() + Duration::from_secs(10);
            let mut last = start;
            while last.saturating_since(start) < Duration::from_millis(50) {
                let next = now();
                assert!(next >= last);
                last = next;
                assert!(Instant::now() < give_up, "the clock stands still");
            }
        }
        let system = Monotonic::new();
        check(|| system.now());
        let portable = portable::Monotonic::new();
        check(|| portable.now());
    }
}
