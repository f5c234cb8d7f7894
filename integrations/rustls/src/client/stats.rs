//! What a client's store has met.

use crate::stats::Counter;

/// What a [`RustlsClientStore`](crate::RustlsClientStore) holds and has met since it was made.
///
/// At rest, `stored == taken + displaced + expired +` those that wait, but for tickets whose server
/// was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientStoreStats {
    /// Servers of which there are TLS 1.3 tickets or a key-exchange hint, expired ones that no flush has
    /// met included.
    pub servers: usize,
    /// TLS 1.2 sessions, expired ones that no flush has met included.
    pub tls12_sessions: usize,
    /// TLS 1.3 tickets that servers have sent.
    pub stored: u64,
    /// TLS 1.3 tickets handed out, each once.
    pub taken: u64,
    /// TLS 1.3 tickets that gave way to newer ones of their server.
    pub displaced: u64,
    /// TLS 1.3 tickets that were met when they had expired.
    pub expired: u64,
    /// Servers that had to give way to others, of both versions.
    pub evicted: u64,
    /// TLS 1.2 sessions and servers that could not be kept, for instance because the maximum is 0.
    pub not_stored: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) stored: Counter,
    pub(super) taken: Counter,
    pub(super) displaced: Counter,
    pub(super) expired: Counter,
    pub(super) not_stored: Counter,
}
