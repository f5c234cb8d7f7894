#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod breaker;
mod builder;
mod codec;
mod contexts;
mod core;
mod entry;
mod flights;
mod health;
mod keys;
mod link;
mod questions;
mod seal;
mod server;
mod tier;
mod worker;

pub use breaker::BreakerState;
pub use builder::{RedisTierBuilder, TierError};
pub use codec::Codec;
pub use contexts::ShareError;
pub use health::{Health, Latency, TierCounters};
pub use keys::{KeyIdTaken, Keyring};
pub use questions::Prefetch;
pub use seal::MAX_VALUE_LEN;
pub use sessionwheel;
pub use tier::RedisTier;
