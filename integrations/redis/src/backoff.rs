//! When something is due, and when what has failed is tried again.

use std::time::{Duration, Instant};

/// Between two attempts, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// Longer than anybody waits, and short enough to be added to any time.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);

/// When so long has passed, which may be for ever.
pub(crate) fn after(from: Instant, span: Duration) -> Instant {
    from + span.min(A_YEAR)
}

pub(crate) struct Backoff {
    pub(crate) at: Instant,
    pause: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            at: Instant::now(),
            pause: PAUSE.0,
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.at
    }

    pub(crate) fn failed(&mut self) {
        self.at = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(PAUSE.1);
    }

    pub(crate) fn succeeded(&mut self) {
        self.pause = PAUSE.0;
    }

    /// It was done, failed or not, and should not be done all the time.
    pub(crate) fn done(&mut self) {
        if Instant::now() >= self.at + PAUSE.1 {
            self.succeeded();
        }
        self.failed();
    }
}
