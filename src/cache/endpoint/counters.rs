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

    fn sum(&self, what: Count) -> u64 {
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

/// One list of what is counted: a field of [`Counters`], and what is counted for it here.
macro_rules! counters {
    ($($(#[$doc:meta])* $field:ident: $count:ident,)*) => {
        /// What is counted in stripes.
        #[derive(Clone, Copy)]
        pub(crate) enum Count {
            $($count,)*
            /// Only for flushes that come by themselves.
            #[cfg(not(loom))]
            Insertion,
        }

        const COUNTS: usize = [$(Count::$count,)* #[cfg(not(loom))] Count::Insertion].len();

        /// What a cache has met so far, by the names of OpenSSL's `SSL_CTX_sess_number(3)`, and some more.
        ///
        /// From [`SessionCache::counters`](crate::SessionCache::counters). Each is exact; they are read one
        /// after the other, so that two of them may differ by what has happened in between. OpenSSL's
        /// are of 31 bits, these of 64.
        ///
        /// What [`get`](crate::SessionCache::get) and the other operations on the cache itself find is not
        /// counted: it is [`Endpoint`](super::Endpoint)s that count. But sessions that those can't claim outside, and
        /// panics of an external tier, are counted whoever asks.
        ///
        /// ```
        /// use sessionwheel::{
        ///     Clock, Context, Fetched, SessionCache, SessionId, SessionKey, SessionOptions, TierSession,
        ///     Timestamp,
        /// };
        /// use std::time::Duration;
        ///
        /// let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
        /// let minute = Duration::from_secs(60);
        /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
        /// let cache = SessionCache::<&str>::builder()
        ///     .clock(clock)
        ///     .maximum(Some(2))
        ///     .on_new(|_, state| *state != "unwanted")
        ///     .on_get(move |asked| match asked.id().as_bytes()[0] {
        ///         11 => Fetched::Hit(TierSession::new(*asked, "from outside", minute)),
        ///         12 => Fetched::Hit(TierSession::new(key(99), "another one", minute)),
        ///         13 => Fetched::Pending,
        ///         14 => panic!("a callback that fails"),
        ///         _ => Fetched::Miss,
        ///     })
        ///     .build()?;
        /// let server = cache.server();
        ///
        /// for state in ["a", "b", "c", "unwanted"] {
        ///     server.begins();
        ///     let id = key(state.as_bytes()[0]);
        ///     server.established(id, state, SessionOptions::default()).unwrap();
        ///     server.ends();
        ///     hand.advance(Duration::from_secs(1));
        /// }
        /// server.renegotiates();
        /// for n in [b'c', b'a', 12, 13, 14] {
        ///     let _ = server.resume(&key(n)); // here, evicted, and three that nothing comes of
        /// }
        /// hand.advance(Duration::from_secs(300));
        /// let _ = server.resume(&key(b'c')); // too late
        /// cache.flush();
        /// let _ = server.resume(&key(11));
        ///
        /// let counted = cache.counters();
        /// assert_eq!((counted.accept, counted.accept_good, counted.accept_renegotiate), (4, 4, 1));
        /// assert_eq!((counted.hits, counted.misses, counted.timeouts), (2, 5, 1));
        /// assert_eq!((counted.cb_hits, counted.refused), (2, 1));
        /// assert_eq!((counted.cache_full, counted.declined), (1, 1));
        /// assert_eq!((counted.pending, counted.panics, counted.flushes), (1, 1, 1));
        /// assert_eq!((counted.number, counted.connect), (1, 0));
        /// # Ok::<(), sessionwheel::BuildError>(())
        /// ```
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl Counters {
            /// Names and numbers, in this order, for whatever shows them.
            ///
            /// ```
            /// let cache = sessionwheel::SessionCache::<()>::builder().build()?;
            /// cache.server().begins();
            /// assert!(cache.counters().iter().any(|counter| counter == ("accept", 1)));
            /// # Ok::<(), sessionwheel::BuildError>(())
            /// ```
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),*].into_iter()
            }
        }

        impl Tallies {
            /// What was counted here.
            pub(crate) fn counters(&self) -> Counters {
                Counters { $($field: self.sum(Count::$count),)* }
            }
        }
    };
}

counters! {
    /// `SSL_CTX_sess_number`: sessions in the internal cache.
    number: Number,
    /// `SSL_CTX_sess_connect`: handshakes begun as a client.
    connect: Connect,
    /// `SSL_CTX_sess_connect_good`: handshakes finished as a client, resumed ones included.
    connect_good: ConnectGood,
    /// `SSL_CTX_sess_connect_renegotiate`: renegotiations begun as a client.
    connect_renegotiate: ConnectRenegotiate,
    /// `SSL_CTX_sess_accept`: handshakes begun as a server.
    accept: Accept,
    /// `SSL_CTX_sess_accept_good`: handshakes finished as a server, resumed ones included.
    accept_good: AcceptGood,
    /// `SSL_CTX_sess_accept_renegotiate`: renegotiations begun as a server.
    accept_renegotiate: AcceptRenegotiate,
    /// `SSL_CTX_sess_hits`: sessions found for resumption, inside or outside. (Who looked one up may still refuse it, as
    /// a store does for a configuration that takes early data.)
    hits: Hit,
    /// `SSL_CTX_sess_cb_hits`: sessions that came from outside, resumed or not.
    cb_hits: CbHit,
    /// `SSL_CTX_sess_misses`: lookups that found nothing in the internal cache, whatever there was
    /// outside. A client that offers an id of its own making, as TLS 1.3 has it for
    /// compatibility, is one.
    misses: Miss,
    /// `SSL_CTX_sess_timeouts`: lookups that found the session expired in the internal cache, which are no
    /// misses; and those whose session expired while the answer from outside was awaited.
    timeouts: Timeout,
    /// `SSL_CTX_sess_cache_full`: sessions evicted to make room. (One that had expired by then is counted as
    /// [expired](crate::Stats::expired); OpenSSL's code counts it here.)
    cache_full: CacheFull,
    /// Sessions that were not kept because the mode or the new-session callback said no.
    declined: Declined,
    /// Sessions from outside that were not used: another id or context, authenticated before a purge, or beyond the cap
    /// on its lineage.
    refused: Refused,
    /// Sessions for a single use that were found, and had been used elsewhere, or might have been: see
    /// [`on_get`](crate::SessionCacheBuilder::on_get).
    unclaimed: Unclaimed,
    /// Lookups whose answer from outside was still to come.
    pending: Pending,
    /// Panics in callbacks and in the external tier, all contained.
    panics: Panic,
    /// Flushes, [automatic](crate::SessionCacheBuilder::automatic_flush) ones included, in however many insertions
    /// have a part. Of one [within a budget](crate::SessionCache::flush_within) each call is one.
    flushes: Flush,
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
