#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod bytes;
mod client;
mod hellos;
mod offered;
mod stats;
mod store;

pub use bytes::StoredSession;
pub use client::{ClientStoreStats, RustlsClientStore, RustlsClientStoreBuilder};
pub use offered::{Incomplete, Offered, offered};
pub use sessionwheel;
pub use stats::StoreStats;
pub use store::{KEY_LEN, MAX_VALUE_LEN, RustlsStore};
