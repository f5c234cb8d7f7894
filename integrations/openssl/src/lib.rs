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
mod server_name;
mod session;
mod stats;
mod suspend;
mod tag;

pub use attach::{AttachError, Attachment, attach};
pub use options::{EarlyData, Options, Removals, ServerNames, SingleUse, Tags, Tickets};
pub use session::{BadSession, Session, Storage};
pub use sessionwheel;
pub use stats::AttachmentStats;
pub use suspend::suspend;
pub use tag::{MOST_TAG_KEYS, TagKey};
