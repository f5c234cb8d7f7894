//! A TLS session cache with exact expiry, whose flush no handshake waits for.
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

pub mod cache;
mod geometry;
mod map;
mod reclaim;
mod segments;
mod slab;
mod sync;
mod table;
mod time;
mod wheel;

pub use cache::{
    Clock, Context, ContextsExhausted, ManualClock, SessionCache, SessionCacheBuilder, SessionId,
    SessionIdTooLong, SessionKey, SessionOptions, SessionRef, Sessions,
};
pub use map::{
    BuildError, DefaultHashBuilder, DefaultHasher, Entry, ExpiringMap, InsertError, Inserted, Iter,
    MapBuilder, Reason, Stats, Swept,
};
pub use reclaim::{Guard, pin};
pub use time::Timestamp;
