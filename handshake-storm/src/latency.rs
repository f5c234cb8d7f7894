//! Handshake times and their summary.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// No handshake takes longer: its socket has a limit well below.
const LONGEST: Duration = Duration::from_secs(600);

/// A histogram of handshake times with three significant digits.
#[derive(Clone, Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Self {
        let most = LONGEST.as_nanos() as u64;
        Self(Histogram::new_with_bounds(1, most, 3).expect("bounds and digits that are valid"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.saturating_record(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("histograms of the same bounds");
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(crate) fn summary(&self) -> Summary {
        let micros = |nanos: u64| (nanos as f64 / 100.0).round() / 10.0;
        Summary {
            n: self.0.len(),
            p50: micros(self.0.value_at_quantile(0.50)),
            p99: micros(self.0.value_at_quantile(0.99)),
            p999: micros(self.0.value_at_quantile(0.999)),
            max: micros(self.0.max()),
        }
    }
}

/// Microseconds, and on how many handshakes they rest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) n: u64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

#[cfg(test)]
mod tests {
    use super::Latency;
    use std::time::Duration;

    #[test]
    fn a_summary_tells_microseconds() {
        let mut all = Latency::new();
        for micros in 1..=100 {
            let mut one = Latency::new();
            one.record(Duration::from_micros(micros));
            all.add(&one);
        }
        let summary = all.summary();
        assert_eq!(summary.n, 100);
        assert!((summary.p50 - 50.0).abs() < 0.2, "{summary:?}");
        assert!((summary.p99 - 99.0).abs() < 0.2, "{summary:?}");
        assert!((summary.p999 - 100.0).abs() < 0.2, "{summary:?}");
        assert!((summary.max - 100.0).abs() < 0.2, "{summary:?}");
    }
}
