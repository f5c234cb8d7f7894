//! The stores behind one face.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use sessionwheel::{Clock, ManualClock, Pace, SessionCache, Timestamp};
use sessionwheel_rustls::RustlsStore;

use crate::args::Plan;
use crate::population::Population;
use crate::report::OURS;
use crate::rustls_server::Rustls;
use crate::server::Stack;
use crate::tls::Identity;

/// Lifetimes on the manual clock: the half of the population that passes away, the clients' own
/// sessions, and the half that outlives everything.
pub(crate) const PASSING: Duration = Duration::from_secs(60);
pub(crate) const CLIENTS: Duration = Duration::from_secs(365 * DAY);
pub(crate) const LASTING: Duration = Duration::from_secs(3_650 * DAY);
const DAY: u64 = 86_400;

/// As many times the passing half may expire before the clients' own sessions would.
pub(crate) const MOST_ROUNDS: usize = (CLIENTS.as_secs() / (2 * PASSING.as_secs())) as usize;

/// Room for the sessions that clients leave while flushes go on.
const STORM_ROOM: usize = 2_000_000;

/// A store under test.
pub(crate) struct Backend {
    pub(crate) name: &'static str,
    /// The server that has it.
    pub(crate) stack: Arc<dyn Stack>,
    /// Where the halves of the population are put.
    pub(crate) passing: Box<dyn Population>,
    pub(crate) lasting: Box<dyn Population>,
    /// Nothing for a store without expiry.
    pub(crate) expiry: Option<Box<dyn Expiry>>,
}

/// The clock and the flush of a store that has them.
pub(crate) trait Expiry {
    /// Lets the passing half of the population expire, and nothing else.
    fn pass(&self);

    /// Lets all sessions of clients expire; false if there is no clock that can be moved.
    fn pass_clients(&self) -> bool;

    /// Removes all that has expired and says how many that were.
    fn flush(&self) -> usize;
}

/// A cache of ours and the hand of its clock.
pub(crate) struct Manual<V: Send + Sync + 'static> {
    pub(crate) cache: SessionCache<V>,
    hand: ManualClock,
    pace: Pace,
}

impl<V: Send + Sync + 'static> Manual<V> {
    /// With room for the plan.
    pub(crate) fn new(plan: &Plan) -> Result<Self> {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1));
        let cache = SessionCache::builder()
            .maximum(Some(plan.capacity() + STORM_ROOM))
            .clock(clock)
            // Resumptions in TLS 1.3 inherit the time of the first handshake, and days go by.
            .lineage(None)
            // All flushes are those that the storm makes and times.
            .automatic_flush(None)
            .build()?;
        let pace = plan.pace;
        Ok(Self { cache, hand, pace })
    }
}

impl<V: Send + Sync + 'static> Expiry for Manual<V> {
    fn pass(&self) {
        self.hand.advance(PASSING + Duration::from_nanos(1));
    }

    fn pass_clients(&self) -> bool {
        self.hand.advance(CLIENTS + Duration::from_nanos(1));
        true
    }

    fn flush(&self) -> usize {
        self.cache.flush_at_pace(self.pace).removed
    }
}

impl Backend {
    /// Sessionwheel under rustls: one cache, one context, and a lifetime for each kind of session.
    pub(crate) fn sessionwheel(plan: &Plan, identity: &Identity) -> Result<Self> {
        let manual = Manual::new(plan)?;
        let cache = &manual.cache;
        let context = cache.context()?;
        let store = |lifetime| RustlsStore::with_context(cache, context).with_timeout(lifetime);
        let population = |lifetime| -> Box<dyn Population> {
            Box::new(Arc::new(store(lifetime)) as Arc<dyn StoresServerSessions>)
        };
        let config = identity.server(|config| store(CLIENTS).install(config))?;
        Ok(Self {
            name: OURS,
            stack: Arc::new(Rustls(config)),
            passing: population(PASSING),
            lasting: population(LASTING),
            expiry: Some(Box::new(manual)),
        })
    }

    /// The store built into rustls, sized to hold all that is put into it.
    pub(crate) fn rustls(plan: &Plan, identity: &Identity) -> Result<Self> {
        // One more, because releases of rustls differ in whether the last one fits.
        let store: Arc<dyn StoresServerSessions> =
            ServerSessionMemoryCache::new(plan.capacity() + 1);
        Ok(Self {
            name: "rustls",
            stack: Arc::new(Rustls(
                identity.server(|config| config.session_storage = store.clone())?,
            )),
            passing: Box::new(store.clone()),
            lasting: Box::new(store),
            expiry: None,
        })
    }
}
