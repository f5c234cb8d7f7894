//! A TLS session cache with exact expiry, whose flush no handshake waits for.
//!
//! - [`SessionCache`] is the cache for a TLS server: session ids and contexts, a timeout, single use, a
//!   clock of its own.
//! - [`ExpiringMap`] is the concurrent map below it, for any key and value: every entry has a
//!   deadline, the caller brings the time.
//!
//! Lookups take no lock and write nothing shared. Inserts, takes and removals are lock-free. A
//! [`flush`](SessionCache::flush) removes everything that has expired while all of that goes on.
//!
//! # Usage
//!
//! ```
//! use sessionwheel::{Context, Reason, SessionCache, SessionId, SessionKey, SessionOptions};
//! use std::time::Duration;
//!
//! let cache = SessionCache::<Vec<u8>>::builder()
//!     .maximum(Some(100_000))
//!     .timeout(Duration::from_secs(300))
//!     .on_remove(|_key, _state, reason| {
//!         // keep an external store in step
//!         assert_ne!(reason, Reason::Evicted);
//!     })
//!     .build()?;
//!
//! // After a full handshake: keep the session.
//! let id = SessionId::new(&[7; 32])?;
//! let key = SessionKey::new(Context::DEFAULT, id);
//! cache.insert(key, b"master secret and all".to_vec())?;
//!
//! // A client offers the id: look it up, in place.
//! let guard = cache.pin();
//! let state = cache.get(&key, &guard).expect("not expired");
//! assert_eq!(state.len(), 21);
//!
//! // A TLS 1.3 ticket is for one use: of all who offer it, one gets it.
//! let ticket = SessionKey::new(Context::DEFAULT, SessionId::new(&[8; 32])?);
//! cache.insert_with(ticket, vec![1], SessionOptions::default().single_use(true))?;
//! assert!(cache.get(&ticket, &guard).is_some());
//! assert!(cache.get(&ticket, &guard).is_none());
//! drop(guard);
//!
//! // From time to time, on any thread: throw out what has expired.
//! let swept = cache.flush();
//! assert_eq!(swept.removed, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With rustls, use the crate `sessionwheel-rustls`; it implements `StoresServerSessions`. With OpenSSL,
//! use `sessionwheel-openssl`; it attaches a context to a cache.
//!
//! # Guarantees
//!
//! - **Exact expiry.** A session is valid while `now <= deadline`. After that it is a miss, whether
//!   or not a flush has come by. A flush at `at` removes it if `at > deadline`, strictly, as
//!   `SSL_CTX_flush_sessions(3)` has it. Steps of the wall clock change no lifetime.
//! - **Complete flushes.** When a flush returns, every session that had expired and whose insert and
//!   last re-timing had returned before the flush began is gone, even if other flushes run beside it, or were stopped
//!   half-way.
//! - **Nobody waits for a flush.** No operation on a session takes a lock or waits for another
//!   thread. A listener or destructor that takes long holds up the thread that runs it, and no
//!   other, but for flushes and their like: a parallel one waits for helpers that have begun a shard, and one that has removed
//!   everything waits for some 20 ms at the most before it leaves values to the next. (While a
//!   listener runs nothing that leaves a map can be reused, as if a guard were held: see
//!   [`InsertError::Exhausted`].)
//! - **Atomic operations on a key.** Of any number of takers one gets the session. A replacement shows
//!   the old session or the new one. A re-timing that returns `true` is not undone by a removal that
//!   was decided before it.
//! - **One call of the listener per session that leaves**, after it has become invisible, before
//!   the removing call returns, under no lock. Panics in it are contained and counted.
//! - **Bounded memory.** At most the maximum is live, at every instant (one that was just lowered is
//!   reached in steps). On top of that come slots for removed sessions that some thread may still be
//!   reading, and they are bounded too: an eighth of the maximum, and at least 16,384, divided among
//!   the shards.
//! - **Wiped.** When nobody can be reading a removed session any more, it is dropped and its slot
//!   overwritten with zeroes. Flushes and inserts do that as they go, [`reclaim`](SessionCache::reclaim) at once. (What
//!   a value keeps on the heap is its own `Drop`'s to wipe.)
//!
//! # Memory ordering
//!
//! What a thread did before it inserted a session happens before what another does after it found,
//! took or removed that session. An operation that returned before another began, by any
//! synchronisation between their threads, is visible to it.
//!
//! # Guards
//!
//! References into a cache live as long as a [`Guard`]. Pin once per handshake or batch of lookups;
//! a guard held for long keeps every session that leaves meanwhile in memory, and a cache at its maximum
//! will in the end refuse inserts ([`InsertError::Exhausted`]) rather than grow. Methods without a
//! guard pin for the call.
//!
//! # Limits
//!
//! - No entry API, no `get_or_insert_with`, no weights: entries are counted, not weighed.
//! - An eviction takes the entry that expires first *of one shard*, not of the whole map. A cache of
//!   up to 64 sessions has one shard, others have it on request.
//! - Iteration and `clear` are not snapshots; a flush is atomic for each session, not over all.
//! - A map without a maximum grows as long as some guard is held and entries come and go.
//! - A flush looks at what expires within the current tick and has not expired yet, if something of
//!   the shard has become due since the last one; beyond that, at each survivor a bounded number of
//!   times in its life. See [`MapBuilder::tick_bits`].
//! - A map holds fewer than 2^32 entries, and a shard fewer than 2^23: 16 of them 134 million. A
//!   larger maximum gets more shards; a map without a maximum has to ask for them.
//! - 64-bit atomics are required, and keys and values aligned to 64 bytes at most.
//! - Memory is given back when the cache is dropped, not when it shrinks.
//! - A thread that panics in `K::eq` or `K::hash` loses the entry it was inserting; a full map may
//!   have evicted another for it.
//!
//! # How it works
//!
//! See [`design`]; [`verification`] for what was checked, how, and what was not; and [`openssl`] for which
//! of OpenSSL's functions corresponds to what, and where the two caches differ.
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

pub mod cache;
#[cfg(doc)]
#[doc = include_str!("../docs/design.md")]
pub mod design {}
#[cfg(doc)]
#[doc = include_str!("../docs/openssl.md")]
pub mod openssl {}
#[cfg(doc)]
#[doc = include_str!("../docs/verification.md")]
pub mod verification {}
#[macro_use]
mod step;

mod contain;
mod geometry;
mod inside;
#[cfg(any(loom, fuzzing))]
#[doc(hidden)]
pub mod internals;
mod map;
mod prefetch;
mod reclaim;
mod segments;
mod slab;
mod sync;
mod table;
#[cfg(not(sessionwheel_counted))]
mod tally;
#[cfg(sessionwheel_counted)]
#[doc(hidden)]
pub mod tally;
mod time;
mod tournament;
mod wheel;

pub use cache::{
    Claim, Clock, Context, ContextsExhausted, Counters, Endpoint, Established, ExternalTier,
    Fetched, ManualClock, Mode, NegativeSize, Resumed, Role, SessionCache, SessionCacheBuilder,
    SessionId, SessionIdTooLong, SessionKey, SessionOptions, SessionRef, Sessions, TierSession,
};
#[cfg(not(any(loom, shuttle)))]
pub use cache::{Flusher, Pace};
pub use map::{
    BuildError, Cursor, DefaultHashBuilder, DefaultHasher, Entry, ExpiringMap, InsertError,
    Inserted, Iter, MapBuilder, Reason, Stats, Swept,
};
pub use reclaim::{Guard, pin};
pub use time::Timestamp;

/// Its examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
