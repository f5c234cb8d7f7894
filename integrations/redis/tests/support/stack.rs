//! rustls servers that share their sessions by a Redis. (Apart from the rest of what tests share: not all who share that have
//! rustls.)

#![allow(dead_code)] // each test file uses its own part

#[path = "../../../rustls/tests/support/mod.rs"]
pub mod tls;

use std::sync::Arc;

use rustls::ServerConfig;
use sessionwheel::SessionCache;
use sessionwheel_redis::{Codec, RedisTier, RedisTierBuilder};
use sessionwheel_rustls::{RustlsStore, StoredSession};

use crate::support::{PATIENCE, keys};
use tls::Identity;

pub struct Host {
    pub config: Arc<ServerConfig>,
    pub tier: RedisTier<StoredSession>,
}

/// With a deadline that this machine keeps however busy it is.
pub fn builder(address: &str) -> RedisTierBuilder<StoredSession> {
    let codec = Codec::new(
        *b"rls1",
        |session: &StoredSession, bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(session.as_bytes());
        },
        |bytes: &[u8]| Some(StoredSession::copy_from(bytes)),
    );
    let builder = RedisTier::builder(address, keys(), codec).expect("an address");
    builder.deadline(PATIENCE)
}

impl Host {
    pub fn new(builder: RedisTierBuilder<StoredSession>, identity: &Identity) -> Self {
        let tier = builder.build().expect("a tier");
        let cache = SessionCache::builder().external(tier.clone());
        let cache = cache.build().expect("a cache");
        let store = RustlsStore::new(&cache).expect("a context");
        tier.share(store.context(), "localhost").expect("a name");
        Self {
            config: identity.server(Arc::new(store)),
            tier,
        }
    }

    pub fn written(&self) {
        assert!(self.tier.flush_writes(PATIENCE), "{:?}", self.tier.health());
    }
}
