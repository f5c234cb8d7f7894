//! What the tier has met, counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::breaker::BreakerState;

/// Bucket `n` has what took less than 2^n microseconds, and not less than half of that.
const BUCKETS: usize = 24;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what has happened since the tier was made.
        ///
        /// Each is exact; they are read one after the other.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[non_exhaustive]
        pub struct TierCounters {
            $($(#[$doc])* pub $name: u64,)*
        }

        /// The live ones. Relaxed throughout: counts say how often, not what came before.
        #[derive(Default)]
        pub(crate) struct Tallies {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Tallies {
            pub(crate) fn snapshot(&self) -> TierCounters {
                TierCounters {
                    $($name: self.$name.load(Ordering::Relaxed),)*
                }
            }
        }
    };
}

counters! {
    /// Lookups that found a session in Redis.
    hits,
    /// Lookups that found one that was still on its way to Redis.
    hits_on_the_way,
    /// Lookups that Redis answered with nothing.
    misses,
    /// Lookups that waited for another one of the same id, and shared its answer.
    shared,
    /// Lookups that were no question to Redis: its context has no name, reads are off, the filter said
    /// no, or it was removed here.
    not_asked,
    /// Lookups and claims that were misses at once because the breaker was open.
    skipped,
    /// Lookups and claims that were not answered within the deadline: misses. Their connections were
    /// dropped.
    timeouts,
    /// Lookups and claims that found no connection free within the deadline, and lookups whose answer there was no room for:
    /// misses.
    starved,
    /// Lookups and claims that failed otherwise: connections lost, errors that the server gave, what is
    /// no answer. Misses; but for errors given, their connections were dropped.
    errors,
    /// What lay in Redis and didn't open: another's, damaged, forged, of a key that is gone. Misses.
    unopened,
    /// What lay in Redis and had expired. Misses.
    expired,
    /// What lay in Redis and may be what was removed here, whose removal was lost. Misses.
    withheld,
    /// Claims that won: by Redis's word.
    claimed,
    /// Claims that won because the session had never left this host.
    claimed_here,
    /// Claims that lost: the session had been used or removed, here or elsewhere.
    lost,
    /// Claims that Redis could not be asked for, or not in time: lost, unless
    /// [`local_when_down`](crate::RedisTierBuilder::local_when_down).
    undecided,
    /// Sessions to be written.
    stores,
    /// Sessions that Redis has confirmed.
    written,
    /// Writes pushed out of the queue by later ones, it being full or too many bytes, or of which nothing could be kept in
    /// mind: such a session stays on this host.
    dropped_writes,
    /// Writes that became needless while they waited: used, removed, replaced or expired here.
    cancelled_writes,
    /// Writes that Redis refused: such a session stays on this host.
    refused_writes,
    /// Writes of which it isn't known whether they have arrived: the connection was lost first.
    unconfirmed_writes,
    /// Sessions that were not sealed: longer than 65,536 bytes, or no randomness. They stay on this host.
    unsealed,
    /// Removals that Redis has confirmed.
    removed,
    /// Removals pushed out of the full queue by later ones: those sessions stay in Redis until they expire. What
    /// was sealed until then, or within a minute after, is withheld here.
    dropped_removals,
    /// Removals that Redis refused: likewise.
    refused_removals,
    /// Removals of what has expired that were left to Redis's own expiry, the queue being half full.
    left_to_expiry,
    /// Connections made.
    connections,
    /// Connections that could not be made.
    connections_failed,
    /// Connections dropped because of a failure, or because something had come unasked.
    connections_dropped,
    /// Lookups, claims and what was written of which a node of a Cluster said that another has it.
    redirected,
    /// Lookups and claims for which the Cluster has no master that is known here: misses.
    unrouted,
    /// How often a Cluster has said who has which slots.
    maps,
    /// Calls in a process that was forked after the tier's first use: the tier is down there.
    forked,
}

impl Tallies {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How the tier is doing. From [`RedisTier::health`](crate::RedisTier::health).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Health {
    /// Whether Redis is asked; with a Cluster the worst of its masters.
    pub breaker: BreakerState,
    /// How often the breaker has opened.
    pub breaker_openings: u64,
    /// Connections for lookups that are there, in use or not.
    pub connections: usize,
    /// Sessions that wait to be written.
    pub queued_writes: usize,
    /// Removals that wait to be sent.
    pub queued_removals: usize,
    /// Bytes of the sessions that wait to be written, or are being written.
    pub queued_bytes: usize,
    /// Sessions of which it is kept in mind what became of their writing.
    pub marks: usize,
    /// The last failure of the thread that writes and connects.
    pub last_error: Option<String>,
    /// Counts.
    pub counters: TierCounters,
    /// How long Redis took to answer lookups and claims, whatever the answer; not those that failed.
    pub latency: Latency,
    /// Each server that is asked: one, or the masters of a Cluster.
    pub nodes: Vec<NodeHealth>,
}

/// How the tier and one server get along.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NodeHealth {
    /// Its host and port, or its socket; with Sentinels that of the builder.
    pub address: String,
    /// Whether it is asked.
    pub breaker: BreakerState,
    /// Connections for lookups that are there, in use or not.
    pub connections: usize,
    /// Sessions that wait to be written to it.
    pub queued_writes: usize,
    /// Removals that wait to be sent to it.
    pub queued_removals: usize,
    /// Bytes of the sessions that wait to be written to it, or are being written.
    pub queued_bytes: usize,
}

/// A histogram of times, in powers of two of a microsecond.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Latency {
    buckets: [u64; BUCKETS],
}

impl Latency {
    /// Each bucket: an upper bound, not reached, and how many were below it and not below the one before.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let bounds = (0..).map(|n| Duration::from_micros(1 << n));
        bounds.zip(self.buckets)
    }

    /// How many were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// A bound that this share of them did not reach: 0.5 for the median. Zero if there are none.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share.clamp(0.0, 1.0)).ceil() as u64;
        let mut below = 0;
        for (bound, number) in self.buckets() {
            below += number;
            if below >= wanted && below > 0 {
                return bound;
            }
        }
        Duration::ZERO
    }
}

#[derive(Default)]
pub(crate) struct Histogram([AtomicU64; BUCKETS]);

impl Histogram {
    pub(crate) fn add(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.0[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Latency {
        Latency {
            buckets: std::array::from_fn(|n| self.0[n].load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_upper_bounds() {
        let histogram = Histogram::default();
        assert_eq!(histogram.snapshot().quantile(0.5), Duration::ZERO);
        for micros in [0, 1, 3, 100, u64::MAX] {
            histogram.add(Duration::from_micros(micros));
        }
        let latency = histogram.snapshot();
        assert_eq!(latency.count(), 5);
        assert_eq!(latency.quantile(0.0), Duration::from_micros(1));
        assert_eq!(latency.quantile(0.5), Duration::from_micros(4));
        assert_eq!(latency.quantile(0.8), Duration::from_micros(128));
        assert_eq!(latency.quantile(1.0), Duration::from_micros(1 << 23));
    }
}
