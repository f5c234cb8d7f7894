//! Intervals of time, and which handshakes overlapped a flush.

use std::time::{Duration, Instant};

/// A stretch of time, ends included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Interval {
    pub(crate) fn length(&self) -> Duration {
        self.end - self.start
    }
}

/// The flushes of a run, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Flushes(Vec<Interval>);

impl Flushes {
    /// Adds a flush, which begins no earlier than the last one ended.
    pub(crate) fn push(&mut self, flush: Interval) {
        debug_assert!(self.0.last().is_none_or(|last| last.end <= flush.start));
        self.0.push(flush);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn total(&self) -> Duration {
        self.0.iter().map(Interval::length).sum()
    }

    pub(crate) fn longest(&self) -> Duration {
        self.0
            .iter()
            .map(Interval::length)
            .max()
            .unwrap_or_default()
    }

    /// Whether `time` has a moment in common with a flush.
    pub(crate) fn overlap(&self, time: &Interval) -> bool {
        // The first flush that had not ended when `time` began.
        let next = self.0.partition_point(|flush| flush.end < time.start);
        self.0.get(next).is_some_and(|f| f.start <= time.end)
    }
}

#[cfg(test)]
mod tests {
    use super::{Flushes, Interval};
    use std::time::{Duration, Instant};

    #[test]
    fn an_overlap_is_a_common_moment() {
        let zero = Instant::now();
        let span = |a, b| Interval {
            start: zero + Duration::from_millis(a),
            end: zero + Duration::from_millis(b),
        };
        let mut flushes = Flushes::default();
        assert!(!flushes.overlap(&span(0, 100)));
        flushes.push(span(10, 20));
        flushes.push(span(30, 40));
        for (a, b) in [
            (0, 10),
            (0, 50),
            (12, 13),
            (15, 35),
            (20, 25),
            (40, 41),
            (25, 30),
        ] {
            assert!(flushes.overlap(&span(a, b)), "{a}..{b}");
        }
        for (a, b) in [(0, 9), (21, 29), (41, 50)] {
            assert!(!flushes.overlap(&span(a, b)), "{a}..{b}");
        }
        assert_eq!(flushes.total(), Duration::from_millis(20));
        assert_eq!(flushes.longest(), Duration::from_millis(10));
        assert_eq!(flushes.count(), 2);
    }
}
