//! What a store refused.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many calls a [`RustlsStore`](crate::RustlsStore) refused since it was made.
///
/// Sessions, expiries and evictions are counted by the cache itself: see the cache's `stats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStats {
    /// Calls of `put`, `get` and `take` with a key that was not exactly 32 bytes long.
    pub bad_keys: u64,
    /// Calls of `put` with a value longer than the store's
    /// [limit](crate::RustlsStore::with_max_value_len).
    pub oversized: u64,
    /// Calls of `put` that the cache itself refused, for instance because its maximum is 0.
    pub not_stored: u64,
    /// Calls of `take` that found a session from outside, in a store
    /// [for its own only](crate::RustlsStore::own_tls13_only).
    pub from_outside: u64,
    /// Calls of `take` that found a session which another host may have used too, since the tier could not decide, in a store
    /// [for its own only](crate::RustlsStore::own_tls13_only).
    pub undecided: u64,
    /// Calls of `take` that looked nothing up, since four others for the same hello had, in a store that was
    /// [installed](crate::RustlsStore::install).
    pub too_many_tickets: u64,
}

/// The live counters behind [`StoreStats`]. They are touched on refusals only, never on a hit.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) bad_keys: Counter,
    pub(crate) oversized: Counter,
    pub(crate) not_stored: Counter,
    pub(crate) from_outside: Counter,
    pub(crate) undecided: Counter,
    pub(crate) too_many_tickets: Counter,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> StoreStats {
        StoreStats {
            bad_keys: self.bad_keys.get(),
            oversized: self.oversized.get(),
            not_stored: self.not_stored.get(),
            from_outside: self.from_outside.get(),
            undecided: self.undecided.get(),
            too_many_tickets: self.too_many_tickets.get(),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
