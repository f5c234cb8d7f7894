//! What a stack brings.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use sessionwheel::{Context, ManualClock, SessionCache};

/// What a cache can keep.
pub trait Value: Send + Sync + 'static {}

impl<V: Send + Sync + 'static> Value for V {}

/// A server to connect to, and what its sessions lie in.
pub struct Site<V: Value> {
    pub cache: SessionCache<V>,
    /// Of the cache: time stands still unless this moves it.
    pub hand: ManualClock,
    /// Of the server that listens here.
    pub context: Context,
    pub here: SocketAddr,
    /// Where another server listens that has the same cache, and a context of its own.
    pub elsewhere: SocketAddr,
}

impl<V: Value> Site<V> {
    /// All sessions have expired, and no flush has come by.
    pub(crate) fn expire(&self) {
        let timeout = self.cache.timeout();
        self.hand.advance(timeout + Duration::from_nanos(1));
    }

    pub(crate) fn purge(&self) {
        self.cache.purge(self.context);
    }

    pub(crate) fn take(&self) {
        let guard = self.cache.pin();
        let keys: Vec<_> = self.cache.iter(&guard).map(|s| *s.key()).collect();
        let taken = keys.iter().filter_map(|key| self.cache.take(key, &guard));
        assert!(taken.count() > 0, "nothing to take");
    }

    /// How many sessions were kept so far, whatever has become of them.
    pub(crate) fn kept(&self) -> u64 {
        let stats = self.cache.stats();
        let left = [stats.expired, stats.evicted, stats.removed, stats.taken];
        stats.live + left.iter().sum::<u64>() + stats.replaced + stats.cleared
    }
}

/// The other handles of the same.
impl<V: Value> Clone for Site<V> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            hand: self.hand.clone(),
            ..*self
        }
    }
}

/// A protocol version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    Tls12,
    Tls13,
}

impl Version {
    pub const BOTH: [Self; 2] = [Self::Tls12, Self::Tls13];
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLSv1.2",
            Self::Tls13 => "TLSv1.3",
        })
    }
}

/// How the server's connections end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// With close_notify.
    Clean,
    /// Without, as those of many servers do.
    Unclean,
}
