//! The two stores behind one face.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use sessionwheel::{Clock, ManualClock, SessionCache, Timestamp};
use sessionwheel_rustls::{RustlsStore, StoredSession};

use crate::args::Plan;

/// Lifetimes on the manual clock: the half of the population that passes away, the clients' own
/// sessions, and the half that outlives everything.
const PASSING: Duration = Duration::from_secs(60);
const CLIENTS: Duration = Duration::from_secs(365 * DAY);
const LASTING: Duration = Duration::from_secs(3_650 * DAY);
const DAY: u64 = 86_400;

/// As many times the passing half may expire before the clients' own sessions would.
pub(crate) const MOST_ROUNDS: usize = (CLIENTS.as_secs() / (2 * PASSING.as_secs())) as usize;

/// Room for the sessions that clients leave while flushes go on.
const STORM_ROOM: usize = 2_000_000;

/// A store under test.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    /// Where the server puts its sessions.
    pub(crate) clients: Arc<dyn StoresServerSessions>,
    /// Where the halves of the population are put.
    pub(crate) passing: Arc<dyn StoresServerSessions>,
    pub(crate) lasting: Arc<dyn StoresServerSessions>,
    /// Nothing for a store without expiry.
    pub(crate) expiry: Option<Expiry>,
}

impl Backend {
    /// Sessionwheel: one cache, one context, and a lifetime for each kind of session.
    pub(crate) fn sessionwheel(plan: &Plan) -> Result<Self> {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1));
        let cache = SessionCache::builder()
            .maximum(Some(plan.capacity() + STORM_ROOM))
            .clock(clock)
            // All flushes are those that the storm makes and times.
            .automatic_flush(None)
            .build()?;
        let context = cache.context()?;
        let store = |lifetime| -> Arc<dyn StoresServerSessions> {
            Arc::new(RustlsStore::with_context(&cache, context).with_timeout(lifetime))
        };
        Ok(Self {
            name: "sessionwheel",
            clients: store(CLIENTS),
            passing: store(PASSING),
            lasting: store(LASTING),
            expiry: Some(Expiry { cache, hand }),
        })
    }

    /// The store built into rustls, sized to hold all that is put into it.
    pub(crate) fn rustls(plan: &Plan) -> Self {
        // One more, because releases of rustls differ in whether the last one fits.
        let store = ServerSessionMemoryCache::new(plan.capacity() + 1);
        Self {
            name: "rustls",
            clients: store.clone(),
            passing: store.clone(),
            lasting: store,
            expiry: None,
        }
    }
}

/// The clock and the flush of a store that has them.
pub(crate) struct Expiry {
    cache: SessionCache<StoredSession>,
    hand: ManualClock,
}

impl Expiry {
    /// Lets the passing half of the population expire, and nothing else.
    pub(crate) fn pass(&self) {
        self.hand.advance(PASSING + Duration::from_nanos(1));
    }

    /// Lets all sessions of clients expire.
    pub(crate) fn pass_clients(&self) {
        self.hand.advance(CLIENTS + Duration::from_nanos(1));
    }

    /// Removes all that has expired and says how many that were.
    pub(crate) fn flush(&self) -> usize {
        self.cache.flush().removed
    }
}
