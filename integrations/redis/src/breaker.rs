//! The circuit breaker: who has failed so often in a row is not asked for a while.
//!
//! # Ground rules
//!
//! - Handshakes report, and ask whether they may ask; they never probe. The worker does, once the
//!   cooldown is over, and it alone closes the breaker.
//! - Relaxed throughout: who sees the state late asks once more, or once less.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::backoff::after;

/// Whether a server is asked. The later, the worse.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum BreakerState {
    /// It is.
    Closed,
    /// It is not, and it is being tried whether it answers again.
    Probing,
    /// It is not: too many requests in a row have failed. Every lookup there is a miss at once.
    Open,
}

pub(crate) struct Breaker {
    threshold: u32,
    cooldown: Duration,
    /// In a row.
    failures: AtomicU32,
    /// 0 while closed; else when it was opened, or a probe failed last: nanoseconds since `epoch`, plus 1.
    opened: AtomicU64,
    probing: AtomicU32,
    epoch: Instant,
}

impl Breaker {
    pub(crate) fn new(threshold: u32, cooldown: Duration) -> Self {
        Self {
            threshold: threshold.max(1),
            cooldown,
            failures: AtomicU32::new(0),
            opened: AtomicU64::new(0),
            probing: AtomicU32::new(0),
            epoch: Instant::now(),
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opened.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn state(&self) -> BreakerState {
        if !self.is_open() {
            BreakerState::Closed
        } else if self.probing.load(Ordering::Relaxed) == 0 {
            BreakerState::Open
        } else {
            BreakerState::Probing
        }
    }

    pub(crate) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// True if that has opened it.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= self.threshold
            && self
                .opened
                .compare_exchange(0, self.stamp(now), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// When a probe is due, if the breaker is open.
    pub(crate) fn probe_at(&self) -> Option<Instant> {
        let opened = self.opened.load(Ordering::Relaxed);
        (opened != 0).then(|| after(self.epoch + Duration::from_nanos(opened - 1), self.cooldown))
    }

    /// Makes a probe, and closes if it succeeds.
    pub(crate) fn probe<T, E>(&self, probe: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.probing.store(1, Ordering::Relaxed);
        let result = probe();
        self.probing.store(0, Ordering::Relaxed);
        if result.is_ok() {
            self.failures.store(0, Ordering::Relaxed);
            self.opened.store(0, Ordering::Relaxed);
        } else {
            self.opened
                .store(self.stamp(Instant::now()), Ordering::Relaxed);
        }
        result
    }

    fn stamp(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch).as_nanos();
        u64::try_from(since).unwrap_or(u64::MAX - 1) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_so_many_in_a_row_and_closes_by_a_probe_only() {
        let breaker = Breaker::new(3, Duration::from_secs(9));
        let now = Instant::now();
        for _ in 0..2 {
            assert!(!breaker.failed(now) && !breaker.failed(now));
            assert_eq!(breaker.state(), BreakerState::Closed);
            breaker.succeeded();
        }
        assert_eq!((0..5).filter(|_| breaker.failed(now)).count(), 1);
        assert_eq!(breaker.state(), BreakerState::Open);
        let due = breaker.probe_at().unwrap();
        assert!(due >= now + Duration::from_secs(9));
        breaker.succeeded();
        assert!(breaker.is_open());

        breaker
            .probe(|| -> Result<(), ()> {
                assert_eq!(breaker.state(), BreakerState::Probing);
                Err(())
            })
            .unwrap_err();
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.probe_at().unwrap() >= due);
        let never = Breaker::new(1, Duration::MAX);
        assert!(never.failed(now) && never.probe_at().unwrap() > due);

        breaker.probe(|| Ok::<_, ()>(())).unwrap();
        assert_eq!(
            (breaker.state(), breaker.probe_at()),
            (BreakerState::Closed, None)
        );
    }
}
