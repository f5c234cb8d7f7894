//! What a run found, in the shape that `--json` prints.

use serde::Serialize;

use crate::latency::Summary;

/// All stores, side by side.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) stores: Vec<StoreReport>,
    #[serde(skip)]
    pub(crate) note: String,
}

impl Report {
    /// What must hold and did not.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.stores.iter().flat_map(StoreReport::failures).collect()
    }
}

/// The name of ours.
pub(crate) const OURS: &str = "sessionwheel";

/// One store. `None`, null in JSON: the store has no such thing.
#[derive(Debug, Serialize)]
pub(crate) struct StoreReport {
    pub(crate) name: &'static str,
    pub(crate) tls12: VersionReport,
    pub(crate) tls13: VersionReport,
    /// Handshakes in which a client offered an expired session, and how many of them resumed.
    pub(crate) expired_offered: Option<u64>,
    pub(crate) expired_resumed: Option<u64>,
    /// Background sessions that expired, and how many of them flushes removed.
    pub(crate) background_expired: Option<u64>,
    pub(crate) flushed: Option<u64>,
    /// Number of those flushes, and the time of all of them together.
    pub(crate) flushes: Option<u64>,
    pub(crate) flush_ms: Option<f64>,
    /// Resumptions before the first flush.
    pub(crate) quiet_us: Summary,
    /// Resumptions that overlapped a flush.
    pub(crate) during_flush_us: Option<Summary>,
    #[serde(skip)]
    pub(crate) longest_flush_ms: Option<f64>,
    #[serde(skip)]
    pub(crate) population_bytes: Option<u64>,
    /// Smallest number of overlaps asked for. Only of ours: beside a flush that holds a lock there may be too few in all
    /// the time there is.
    #[serde(skip)]
    pub(crate) overlaps_wanted: u64,
    /// Smallest number of resumptions asked for, for each version.
    #[serde(skip)]
    pub(crate) resumptions_wanted: u64,
}

/// One protocol version.
#[derive(Debug, Serialize)]
pub(crate) struct VersionReport {
    pub(crate) full: u64,
    pub(crate) resumed: u64,
    /// Resumed of those that were offered alive; null if none was.
    pub(crate) live_rate: Option<f64>,
}

impl StoreReport {
    fn failures(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut expect = |holds: bool, what: &str| {
            if !holds {
                found.push(format!("{}: {what}", self.name));
            }
        };
        expect(
            self.tls12.live_rate == Some(1.0),
            "a live TLS 1.2 session did not resume",
        );
        expect(
            self.tls13.live_rate == Some(1.0),
            "a live TLS 1.3 session did not resume",
        );
        expect(
            self.tls12.resumed.min(self.tls13.resumed) >= self.resumptions_wanted,
            "too few resumptions",
        );
        expect(
            self.expired_resumed.unwrap_or(0) == 0,
            "an expired session resumed",
        );
        expect(
            self.flushed == self.background_expired,
            "flushes did not remove exactly the background sessions that had expired",
        );
        expect(
            self.name != OURS
                || self
                    .during_flush_us
                    .is_none_or(|s| s.n >= self.overlaps_wanted),
            "too few handshakes overlapped a flush",
        );
        found
    }
}
