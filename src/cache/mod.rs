//! The TLS session cache: ids, contexts, timeouts, single use.
//!
//! [`SessionCache`] is an [`ExpiringMap`](crate::ExpiringMap) that speaks TLS.
//! It owns what the map leaves to its caller: a clock, a timeout, the identity
//! of contexts, and what a session is besides its value.
//!
//! Who comes from OpenSSL finds its functions one by one on [a page of their own](crate::openssl), with what
//! corresponds to each, and all that differs.
//!
//! # A session
//!
//! A session is found by its [`SessionKey`]: the [`Context`] that it may be
//! resumed in and its [`SessionId`]. Its value is the caller's, for example
//! the serialised session state. With the value the cache keeps until when the
//! session lives, when its peer was first fully authenticated, and whether it
//! may be used once only ([`SessionOptions`]).
//!
//! # Time
//!
//! No operation on a session takes a time. Each reads the cache's [`Clock`] once. A session
//! inserted at `t` with timeout `d` can be resumed while `now <= t + d`, and a
//! flush removes it once `now > t + d`; in between there is nothing, and a
//! session with timeout zero lives for the instant of its insertion. A timeout
//! that leads past the end of the clock, such as [`Duration::MAX`], is for as
//! long as the [lineage](SessionCacheBuilder::lineage) may last: no session is
//! resumed later than 24 hours after the full authentication it goes back to,
//! unless the cache has another cap, or none.
//!
//! # Invalidation
//!
//! [`purge`](SessionCache::purge) makes all sessions of a context unusable at
//! once, however many they are: it raises a number that each lookup compares
//! with the one its session was inserted with. Their memory goes with the
//! flushes that follow, all of it or within their budgets.
//! [`purge_where`](SessionCache::purge_where) asks about each session,
//! [`clear`](SessionCache::clear) about none.
//!
//! # Flushes
//!
//! Every 255th insertion flushes, within a budget, and those that follow go
//! on with it: [`SessionCacheBuilder::automatic_flush`]. Or a thread of its own
//! does: [`SessionCache::spawn_flusher`]. Besides, anybody may
//! [flush](SessionCache::flush) at any time, or [slowly](SessionCache::flush_at_pace) where
//! handshakes need all processors.
//!
//! # Handshakes
//!
//! A TLS stack may use the cache directly, or by an [`Endpoint`]: that goes by
//! the settings which OpenSSL calls cache modes, asks callbacks, looks outside
//! ([`ExternalTier`]) for what is not inside, and counts.
//!
//! # Concurrency
//!
//! A [`SessionCache`] is a handle; clones are the same cache, and every
//! operation may be called from any thread at any time. Whoever finds a
//! session also sees everything that its inserter did before. An operation
//! that returned before another began, on whatever thread, is visible to it:
//! after a `remove`, `take` or `clear` no lookup finds the session, whatever
//! flushes are running. Lookups wait for nobody.
//!
//! # What can be seen of it
//!
//! [`SessionCache::counters`] says what handshakes have met, [`SessionCache::stats`] who has left and why. The feature `metrics`
//! hands both to a recorder (`SessionCache::record_metrics`), and the time of each flush. With the feature
//! `tracing` each flush is an event on the level of debug, with the target `sessionwheel`:
//!
//! ```
//! # #[cfg(not(feature = "tracing"))]
//! # fn main() {}
//! # #[cfg(feature = "tracing")]
//! # fn main() -> Result<(), sessionwheel::BuildError> {
//! use sessionwheel::SessionCache;
//! use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
//! use tracing::{Event, Metadata, span};
//!
//! /// Counts them. (Programs take a subscriber that is there, such as those of `tracing-subscriber`.)
//! static FLUSHES: AtomicUsize = AtomicUsize::new(0);
//! struct Counts;
//!
//! impl tracing::Subscriber for Counts {
//!     fn enabled(&self, metadata: &Metadata<'_>) -> bool {
//!         metadata.target() == "sessionwheel"
//!     }
//!     fn event(&self, _: &Event<'_>) {
//!         FLUSHES.fetch_add(1, Relaxed);
//!     }
//!     // ...
//! #   fn new_span(&self, _: &span::Attributes<'_>) -> span::Id { span::Id::from_u64(1) }
//! #   fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
//! #   fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
//! #   fn enter(&self, _: &span::Id) {}
//! #   fn exit(&self, _: &span::Id) {}
//! }
//!
//! let cache = SessionCache::<Vec<u8>>::builder().name("web").build()?;
//! tracing::subscriber::with_default(Counts, || cache.flush());
//! assert_eq!(FLUSHES.load(Relaxed), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Privacy
//!
//! Nothing here prints an id or a value: neither `Debug` nor an error, neither metrics nor traces.
//!
//! [`Duration::MAX`]: std::time::Duration::MAX

pub(crate) mod automatic;
mod builder;
mod clock;
mod context;
mod endpoint;
#[cfg(not(any(loom, shuttle)))]
mod flusher;
mod handle;
mod id;
mod lineage;
pub(crate) mod monotonic;
mod observe;
mod options;
#[cfg(not(any(loom, shuttle)))]
mod pace;
pub(crate) mod purge;
mod session;
mod size;
mod upkeep;
mod view;

pub use builder::SessionCacheBuilder;
pub use clock::{Clock, ManualClock};
pub use context::{Context, ContextsExhausted};
pub use endpoint::{
    Claim, Counters, Endpoint, Established, ExternalTier, Fetched, Mode, Resumed, Role, TierSession,
};
#[cfg(not(any(loom, shuttle)))]
pub use flusher::Flusher;
pub use handle::SessionCache;
pub use id::{SessionId, SessionIdTooLong, SessionKey};
pub use options::SessionOptions;
#[cfg(not(any(loom, shuttle)))]
pub use pace::Pace;
pub use size::NegativeSize;
pub use view::{SessionRef, Sessions};
