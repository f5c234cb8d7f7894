//! What the tests of the TLS stacks share: other people's clients, and forks.
//!
//! A stack brings a [`Site`]: a cache, and a server of its own making that answers `TLSv1.3 resumed` or
//! `TLSv1.2 handshake`. Between strangers and server stands a gate: before it lets a connection through it lets time
//! pass, purges, takes sessions out or leads elsewhere, so that also a program that connects many times by itself
//! meets all of that.
//!
//! All strangers go the same way, in both versions, and whether connections end cleanly or not: resumed; not resumed
//! after expiry, a purge, a take, nor in another context. What one of them can't:
//!
//! - `gnutls-cli` connects twice, so that it doesn't come back after any of that;
//! - `s_client` resumes by itself in TLS 1.2 only (`-reconnect`); else it is started again, with its session in a file;
//! - early data is brought by `s_client` alone, and it alone shows a client certificate here;
//! - nginx and `curl` don't say whether they were resumed: the server does. The others are held to agree with it.
//!
//! A test whose program is not installed prints SKIPPED and passes.
#![cfg(unix)]

mod course;
pub mod curl;
pub mod example;
pub mod fork;
mod gate;
pub mod gnutls;
pub mod program;
pub mod proxies;
pub mod python;
pub mod s_client;
mod site;

pub use course::{ENDS, resumed, walk_by_itself};
pub use site::{End, Site, Value, Version};

/// With this a client asks.
pub const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
