#![cfg(feature = "openssl")]
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
#![warn(missing_debug_implementations)]

mod attach;
mod callbacks;
mod client_hello;
mod contain;
pub mod ffi;
mod options;
#[cfg(test)]
mod planted;
mod server_name;
mod session;
mod stats;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
mod suspend;
mod tag;

// For `support`, which is written for the tests outside.
#[cfg(test)]
extern crate self as sessionwheel_openssl;

pub use attach::{AttachError, Attachment, attach};
pub use options::{EarlyData, Options, Removals, ServerNames, SingleUse, Tags, Tickets};
pub use session::{BadSession, Session, Storage};
pub use sessionwheel;
pub use stats::AttachmentStats;
pub use suspend::suspend;
pub use tag::{MOST_TAG_KEYS, TagKey};
