//! Real servers, and hosts that use them.
#![allow(dead_code)] // each test file uses its own part

pub mod cluster;
pub mod node;
pub mod proxy;
pub mod server;

use std::io::Write;
use std::time::{Duration, Instant};

use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
use sessionwheel_redis::{Codec, Keyring, RedisTier, RedisTierBuilder};

pub type Cache = SessionCache<Vec<u8>>;
pub type Tier = RedisTier<Vec<u8>>;

/// Longer than anything takes that works.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Shown whether or not the test passes.
pub fn show(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// What was read from the environment.
pub fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Asks until it is so; fails if that takes too long.
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(PATIENCE, what, is_so);
}

pub fn eventually_within(patience: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < patience, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn codec() -> Codec<Vec<u8>> {
    Codec::new(
        *b"test",
        |value: &Vec<u8>, bytes| bytes.extend_from_slice(value),
        |bytes| Some(bytes.to_vec()),
    )
}

pub fn keys() -> Keyring {
    Keyring::new(1, [1; 32])
}

/// A builder with a deadline that this machine keeps however busy it is.
pub fn builder(address: &str) -> RedisTierBuilder<Vec<u8>> {
    RedisTier::builder(address, keys(), codec())
        .expect("an address")
        .deadline(Duration::from_secs(5))
}

/// A host: a cache, and a handle of its tier.
pub fn host(builder: RedisTierBuilder<Vec<u8>>) -> (Cache, Tier) {
    let tier = builder.build().expect("a tier");
    let cache = SessionCache::builder().external(tier.clone());
    (cache.build().expect("a cache"), tier)
}

pub fn id(n: u32) -> SessionId {
    let mut bytes = [0; 32];
    bytes[28..].copy_from_slice(&n.to_be_bytes());
    // The first byte differs as well: a filter may go by it.
    bytes[0] = n as u8;
    SessionId::from(bytes)
}

pub fn key(n: u32) -> SessionKey {
    SessionKey::new(Context::DEFAULT, id(n))
}

/// The value that session `n` has everywhere.
pub fn value(n: u32) -> Vec<u8> {
    n.to_string().into_bytes().repeat(20)
}

pub fn establish(cache: &Cache, n: u32) {
    let options = SessionOptions::default();
    let kept = cache.server().established(key(n), value(n), options);
    assert!(kept.expect("room").is_kept());
}

pub fn establish_once(cache: &Cache, n: u32) {
    let options = SessionOptions::default().single_use(true);
    let kept = cache.server().established(key(n), value(n), options);
    assert!(kept.expect("room").is_kept());
}

/// Whether session `n` resumes. Whatever happens, no other one may.
pub fn resumes(cache: &Cache, n: u32) -> bool {
    let found = cache.server().resume(&key(n)).hit();
    if let Some(found) = &found {
        assert_eq!(*found, value(n), "another one's session");
    }
    found.is_some()
}

pub fn written(tier: &Tier) {
    assert!(tier.flush_writes(PATIENCE), "{:?}", tier.health());
}
