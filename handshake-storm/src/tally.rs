//! Counting handshakes.

use crate::client::Handshake;
use crate::report::VersionReport;
use crate::tls::Version;

/// Whether the sessions that clients offer are alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    Live,
    Expired,
}

/// Counts of handshakes, by version and by what was offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    versions: [Counts; 2],
    pub(crate) expired_offered: u64,
    pub(crate) expired_resumed: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    full: u64,
    resumed: u64,
    live_offered: u64,
    live_resumed: u64,
}

impl Tally {
    pub(crate) fn count(&mut self, handshake: &Handshake, sessions: Sessions) {
        let counts = &mut self.versions[handshake.version.index()];
        let resumed = u64::from(handshake.resumed);
        let offered = u64::from(handshake.offered);
        counts.resumed += resumed;
        counts.full += 1 - resumed;
        match sessions {
            Sessions::Live => {
                counts.live_offered += offered;
                counts.live_resumed += resumed;
            }
            Sessions::Expired => {
                self.expired_offered += offered;
                self.expired_resumed += resumed;
            }
        }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.versions.iter_mut().zip(&other.versions) {
            mine.full += theirs.full;
            mine.resumed += theirs.resumed;
            mine.live_offered += theirs.live_offered;
            mine.live_resumed += theirs.live_resumed;
        }
        self.expired_offered += other.expired_offered;
        self.expired_resumed += other.expired_resumed;
    }

    /// Full handshakes and resumptions of a version.
    pub(crate) fn handshakes(&self, version: Version) -> (u64, u64) {
        let counts = &self.versions[version.index()];
        (counts.full, counts.resumed)
    }

    pub(crate) fn version(&self, version: Version) -> VersionReport {
        let counts = &self.versions[version.index()];
        VersionReport {
            full: counts.full,
            resumed: counts.resumed,
            live_rate: (counts.live_offered > 0)
                .then(|| counts.live_resumed as f64 / counts.live_offered as f64),
        }
    }
}
