//! The session cache beside OpenSSL's own, the one in each `SSL_CTX`: the same operations on both, and
//! after each of them both must have done the same, but for what is in one table.
//!
//! - [`difference`]: that table.
//! - `ffi`: OpenSSL's cache, by its C interface.
//! - `op`: what is done to both.
//! - `pair`: both, and what has to be equal; `step`: how each operation is done on either side.
//! - `handshake`: handshakes in memory; `spec`: what they do with a cache, on either side, in which each intended
//!   difference is a branch; `end`: both caches at one end, beside that; `desk`: what lies outside of ours; `wire`:
//!   clients and servers.
//!
//! All but the table is behind the feature `openssl`, which links the system's libssl (3.0.6 or newer,
//! with 64 bits).

#![deny(missing_docs)]

#[cfg(feature = "openssl")]
mod desk;
pub mod difference;
#[cfg(feature = "openssl")]
mod end;
#[cfg(feature = "openssl")]
pub mod ffi;
#[cfg(feature = "openssl")]
pub mod handshake;
#[cfg(feature = "openssl")]
pub mod op;
#[cfg(feature = "openssl")]
pub mod pair;
#[cfg(feature = "openssl")]
pub mod spec;
#[cfg(feature = "openssl")]
mod step;
#[cfg(feature = "openssl")]
pub mod wire;
