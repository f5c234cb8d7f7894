//! The background population: sessions that no client has, of the size of real ones.

use std::sync::Arc;

use anyhow::{Result, ensure};
use fastrand::Rng;
use indicatif::ProgressBar;
use rustls::server::StoresServerSessions;

/// Keys that servers make are 32 random bytes.
const KEY: usize = 32;

/// A serialised session without client certificate, as measured with rustls 0.23.
const VALUE: usize = 84;

/// Where stand-ins are put, for one lifetime.
pub(crate) trait Population {
    /// Puts one in, under a random key; false if it was refused.
    fn put(&self, random: &mut Rng) -> bool;
}

/// What the output says about the population of a store for rustls.
pub(crate) fn note(sessions: usize) -> String {
    format!(
        "Background population: {sessions} stand-ins of real size ({KEY}-byte random keys, \
         {VALUE}-byte values), put through the same trait as real sessions. All handshakes are \
         real: rustls at both ends, TCP on loopback. Time that lets sessions expire is a manual \
         clock."
    )
}

/// Puts `count` stand-ins there.
pub(crate) fn fill(store: &dyn Population, count: usize, bar: &ProgressBar) -> Result<()> {
    let mut random = Rng::new();
    for number in 0..count {
        ensure!(
            store.put(&mut random),
            "the store refused stand-in {number}"
        );
        bar.inc(1);
    }
    Ok(())
}

impl Population for Arc<dyn StoresServerSessions> {
    fn put(&self, random: &mut Rng) -> bool {
        let mut key = vec![0; KEY];
        let mut value = vec![0; VALUE];
        random.fill(&mut key);
        random.fill(&mut value);
        (**self).put(key, value)
    }
}
