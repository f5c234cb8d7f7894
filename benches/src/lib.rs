//! What the benches share: session ids, payloads, peers, and the memory of the process.
// Allowed to one module, which calls OpenSSL.
#![deny(unsafe_code)]

pub mod beside;
pub mod churn;
pub mod contest;
pub mod growth;
pub mod peers;

use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;

use peers::{Peer, Seconds, Session, Value};

/// Where the clock stands that the benches tell.
pub const NOW: Seconds = 1;
/// A deadline that [`BETWEEN`] has passed, and one that it has not.
pub const SOON: Seconds = 10;
/// See [`SOON`].
pub const LATE: Seconds = 300;
/// See [`SOON`].
pub const BETWEEN: Seconds = 20;

/// A group of criterion's.
pub type Group<'c> = criterion::BenchmarkGroup<'c, criterion::measurement::WallTime>;

/// How criterion measures here.
#[must_use]
pub fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
}

/// Populations for a group of criterion's: hundredths where nothing is measured, as in
/// `cargo test --benches`.
#[must_use]
pub fn populations() -> [usize; 2] {
    let measured = std::env::args().any(|argument| argument == "--bench");
    [20_000, 1_000_000].map(|n| if measured { n } else { n / 100 })
}

/// A peer of any size with these sessions in it.
pub fn filled<P: Peer>(ids: &[Id], deadline: impl Fn(usize) -> Seconds) -> P {
    filled_with(ids, deadline, |_| payload())
}

/// The same with these payloads.
pub fn filled_with<P: Peer<V>, V: Value>(
    ids: &[Id],
    deadline: impl Fn(usize) -> Seconds,
    payload: impl Fn(usize) -> V,
) -> P {
    let peer = P::new(None);
    let session = |(i, id): (usize, &Id)| {
        let (deadline, payload) = (deadline(i), payload(i));
        (*id, Session { deadline, payload })
    };
    peer.fill(ids.iter().enumerate().map(session), NOW);
    peer
}

/// The same in another order.
pub fn shuffled<T: Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    let mut draw = Ids::new(99);
    for i in (1..items.len()).rev() {
        items.swap(i, draw.below(i + 1));
    }
    items
}

/// A session id as rustls and OpenSSL make them.
pub type Id = [u8; 32];

/// A session's state: about what a serialised session without a client certificate takes.
pub type Payload = Arc<[u8; 200]>;

/// A new payload.
#[must_use]
pub fn payload() -> Payload {
    Arc::new([0x5e; 200])
}

/// Makes session ids, and numbers for whatever else has to be drawn: `SplitMix64` (Steele, Lea and
/// Flood 2014), so that runs repeat and making an id costs a few nanoseconds.
#[derive(Clone, Debug)]
pub struct Ids(u64);

impl Ids {
    /// A sequence of ids; different seeds give different ones.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Seeds are small numbers; the sequences must not overlap.
        Self(Self(seed).number())
    }

    /// A number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.number()) * end as u128) >> 64) as usize
    }

    /// An id.
    pub fn id(&mut self) -> Id {
        let mut id = [0; 32];
        for part in id.chunks_exact_mut(8) {
            part.copy_from_slice(&self.number().to_ne_bytes());
        }
        id
    }

    /// Many ids.
    #[must_use]
    pub fn many(mut self, n: usize) -> Vec<Id> {
        (0..n).map(|_| self.id()).collect()
    }
}

/// Bytes resident now; nothing where the system does not tell.
#[must_use]
pub fn resident() -> Option<u64> {
    // In status rather than statm, because it tells kilobytes and not pages.
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_of_all_seeds_differ() {
        let ids: HashSet<Id> = (0..8)
            .flat_map(|seed| Ids::new(seed).many(10_000))
            .collect();
        assert_eq!(ids.len(), 80_000);
    }

    #[test]
    fn numbers_stay_below_their_end_and_reach_it() {
        let mut ids = Ids::new(1);
        let drawn: HashSet<usize> = (0..1_000).map(|_| ids.below(10)).collect();
        assert_eq!(drawn, (0..10).collect());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_what_is_resident() {
        assert!(resident().is_some_and(|bytes| bytes > 100_000));
    }
}
