//! What handshakes have met, counted.
//!
//! # Ground rules
//!
//! - A thread counts in the stripe that it was given, with the others that have the same: nobody reads
//!   before somebody asks, and the sum is exact.
//! - Relaxed throughout: counts say how often, not what has happened before.

use std::array;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Padded, thread, thread_local};

/// No machine gains from more.
const MOST_STRIPES: usize = 64;

/// What is counted here; all else is counted by the map.
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Connect,
    ConnectGood,
    ConnectRenegotiate,
    Accept,
    AcceptGood,
    AcceptRenegotiate,
    Hit,
    CbHit,
    Miss,
    Timeout,
    Declined,
    Refused,
    Unclaimed,
    Pending,
    Panic,
    Flush,
    /// Only for flushes that come by themselves.
    Insertion,
}

const COUNTS: usize = Count::Insertion as usize + 1;

type Stripe = Padded<[AtomicU64; COUNTS]>;

pub(crate) struct Tallies {
    /// A power of two of them.
    stripes: Box<[Stripe]>,
}

impl Tallies {
    pub(crate) fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let stripes = threads.next_power_of_two().min(MOST_STRIPES);
        let blank = || Padded(array::from_fn(|_| AtomicU64::new(0)));
        Self {
            stripes: (0..stripes).map(|_| blank()).collect(),
        }
    }

    /// How many that makes, in the stripe of this thread.
    #[inline]
    pub(crate) fn count(&self, what: Count) -> u64 {
        let stripe = &self.stripes[number_of_this_thread() & (self.stripes.len() - 1)];
        stripe[what as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn sum(&self, what: Count) -> u64 {
        let each = self.stripes.iter();
        each.map(|stripe| stripe[what as usize].load(Ordering::Relaxed))
            .sum()
    }
}

thread_local! {
    static NUMBER: usize = {
        let mut hasher = DefaultHasher::new();
        thread::current().id().hash(&mut hasher);
        hasher.finish() as usize
    };
}

/// Any number, always the same.
#[inline]
fn number_of_this_thread() -> usize {
    // A thread whose locals are gone counts with some others.
    NUMBER.try_with(|number| *number).unwrap_or(0)
}

/// What a cache has met so far, by the names of OpenSSL's `SSL_CTX_sess_number(3)`, and some more.
///
/// From [`SessionCache::counters`](crate::SessionCache::counters). Each is exact; they are read one
/// after the other, so that two of them may differ by what has happened in between. OpenSSL's
/// are of 31 bits, these of 64.
///
/// What [`get`](crate::SessionCache::get) and the other operations on the cache itself do is not
/// counted: it is [`Endpoint`](super::Endpoint)s that count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counters {
    /// `SSL_CTX_sess_number`: sessions in the internal cache.
    pub number: u64,
    /// `SSL_CTX_sess_connect`: handshakes begun as a client.
    pub connect: u64,
    /// `SSL_CTX_sess_connect_good`: handshakes finished as a client, resumed ones included.
    pub connect_good: u64,
    /// `SSL_CTX_sess_connect_renegotiate`: renegotiations begun as a client.
    pub connect_renegotiate: u64,
    /// `SSL_CTX_sess_accept`: handshakes begun as a server.
    pub accept: u64,
    /// `SSL_CTX_sess_accept_good`: handshakes finished as a server, resumed ones included.
    pub accept_good: u64,
    /// `SSL_CTX_sess_accept_renegotiate`: renegotiations begun as a server.
    pub accept_renegotiate: u64,
    /// `SSL_CTX_sess_hits`: sessions resumed, from inside or outside.
    pub hits: u64,
    /// `SSL_CTX_sess_cb_hits`: sessions that came from outside, resumed or not.
    pub cb_hits: u64,
    /// `SSL_CTX_sess_misses`: lookups that found nothing in the internal cache, whatever there was
    /// outside. A client that offers an id of its own making, as TLS 1.3 has it for
    /// compatibility, is one.
    pub misses: u64,
    /// `SSL_CTX_sess_timeouts`: lookups that found the session expired in the internal cache; they are no
    /// misses, and go on outside.
    pub timeouts: u64,
    /// `SSL_CTX_sess_cache_full`: sessions evicted to make room. (One that had expired by then is counted as
    /// [expired](crate::Stats::expired); OpenSSL's code counts it here.)
    pub cache_full: u64,
    /// Sessions that were not kept because the mode or the new-session callback said no.
    pub declined: u64,
    /// Sessions from outside that were not used: another id or context, purged, or beyond the cap on
    /// its lineage.
    pub refused: u64,
    /// Sessions for a single use that were found, and had been used elsewhere.
    pub unclaimed: u64,
    /// Lookups whose answer from outside was still to come.
    pub pending: u64,
    /// Panics in callbacks and in the external tier, all contained.
    pub panics: u64,
    /// Flushes, automatic ones included; one in several steps counts each.
    pub flushes: u64,
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sync::{Arc, thread};

    #[test]
    fn the_sum_is_exact() {
        let tallies = Arc::new(Tallies::new());
        let each = if cfg!(miri) { 50 } else { 10_000 };
        let threads: Vec<_> = (0..5)
            .map(|_| {
                let tallies = tallies.clone();
                thread::spawn(move || {
                    (0..each).for_each(|_| _ = tallies.count(Count::Hit));
                    tallies.count(Count::Flush);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(tallies.sum(Count::Hit), 5 * each);
        assert_eq!(tallies.sum(Count::Flush), 5);
        assert_eq!(tallies.sum(Count::Connect), 0);
    }
}
