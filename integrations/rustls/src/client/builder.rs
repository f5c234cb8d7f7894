//! Settings of a [`RustlsClientStore`].

use std::time::Duration;

use sessionwheel::{BuildError, Clock, ExpiringMap};

use super::RustlsClientStore;

/// A browser's worth of servers.
const DEFAULT_MAXIMUM: usize = 1_024;

/// As many as rustls' own store keeps.
const DEFAULT_TICKETS: u8 = 8;

/// Beyond that RFC 5246 (F.1.4) would not have a session resumed.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

/// Makes a [`RustlsClientStore`]; from [`RustlsClientStore::builder`].
///
/// ```
/// use sessionwheel_rustls::RustlsClientStore;
/// use std::time::Duration;
///
/// let store = RustlsClientStore::builder()
///     .maximum(Some(10_000))
///     .tickets(4)
///     .timeout(Duration::from_secs(60 * 60))
///     .build()?;
/// assert_eq!(store.stats().servers, 0);
/// # Ok::<(), sessionwheel_rustls::sessionwheel::BuildError>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RustlsClientStoreBuilder {
    maximum: Option<usize>,
    tickets: u8,
    timeout: Duration,
    clock: Clock,
}

impl RustlsClientStoreBuilder {
    pub(super) fn new() -> Self {
        Self {
            maximum: Some(DEFAULT_MAXIMUM),
            tickets: DEFAULT_TICKETS,
            timeout: DEFAULT_TIMEOUT,
            clock: Clock::default(),
        }
    }

    /// How many servers are remembered, for each of the two versions; 1,024 by default.
    ///
    /// When there are as many, the one that would be forgotten first gives way to a new one (with a maximum of
    /// more than 64: the first of its part of the map). `None` is without a limit, `Some(0)` remembers none.
    pub fn maximum(mut self, maximum: Option<usize>) -> Self {
        self.maximum = maximum;
        self
    }

    /// How many TLS 1.3 tickets are kept for each server; 8 by default. With 0 TLS 1.3 does not resume.
    pub fn tickets(mut self, tickets: u8) -> Self {
        self.tickets = tickets;
        self
    }

    /// How long sessions, tickets and hints are kept at most; 24 hours by default.
    ///
    /// rustls besides keeps to the lifetime that the server gave.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The clock to take the time from; [`Clock::monotonic`] by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the store.
    ///
    /// # Errors
    /// [`BuildError`] if the maps below can't be built with these settings.
    pub fn build(self) -> Result<RustlsClientStore, BuildError> {
        let now = self.clock.now();
        // A client's flushes are small: they stay on the thread that asks for them.
        let servers = ExpiringMap::builder()
            .maximum(self.maximum)
            .now(now)
            .helpers(0, drop)
            .build()?;
        let tls12 = ExpiringMap::builder()
            .maximum(self.maximum)
            .now(now)
            .helpers(0, drop)
            .build()?;
        Ok(RustlsClientStore::of(
            servers,
            tls12,
            self.tickets,
            self.timeout,
            self.clock,
        ))
    }
}
