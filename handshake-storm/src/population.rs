//! The background population: sessions that no client has, of the size of real ones.

use anyhow::{Result, ensure};
use fastrand::Rng;
use indicatif::ProgressBar;
use rustls::server::StoresServerSessions;

/// Keys that rustls makes are 32 random bytes.
const KEY: usize = 32;

/// A serialised session without client certificate, as measured with rustls 0.23.
const VALUE: usize = 84;

/// What the output says about the population.
pub(crate) fn note(sessions: usize) -> String {
    format!(
        "Background population: {sessions} stand-ins of real size ({KEY}-byte random keys, \
         {VALUE}-byte values), put through the same trait as real sessions. All handshakes are \
         real: rustls at both ends, TCP on loopback. Time that lets sessions expire is a manual \
         clock."
    )
}

/// Puts `count` stand-ins into `store`.
pub(crate) fn fill(
    store: &dyn StoresServerSessions,
    count: usize,
    bar: &ProgressBar,
) -> Result<()> {
    let mut random = Rng::new();
    for number in 0..count {
        let mut key = vec![0; KEY];
        let mut value = vec![0; VALUE];
        random.fill(&mut key);
        random.fill(&mut value);
        ensure!(store.put(key, value), "the store refused stand-in {number}");
        bar.inc(1);
    }
    Ok(())
}
