#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod backoff;
mod batch;
mod breaker;
mod builder;
mod check;
mod codec;
mod contexts;
mod core;
mod entry;
mod fleet;
mod flights;
mod health;
mod keeper;
mod keys;
mod link;
mod marks;
mod node;
mod nodes;
mod place;
mod questions;
mod redirect;
mod seal;
mod server;
mod tier;
#[cfg(feature = "tls")]
mod tls;
mod weight;
mod worker;

pub use breaker::BreakerState;
pub use builder::{RedisTierBuilder, TierError};
pub use codec::Codec;
pub use contexts::ShareError;
pub use health::{Health, Latency, NodeHealth, TierCounters};
pub use keys::{KeyIdTaken, Keyring};
pub use questions::Prefetch;
#[cfg(feature = "tls")]
pub use rustls;
pub use seal::MAX_VALUE_LEN;
pub use sessionwheel;
pub use tier::RedisTier;
