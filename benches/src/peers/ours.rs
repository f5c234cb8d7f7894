//! sessionwheel's map, and what it has in common with the session cache above it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sessionwheel::{ExpiringMap, InsertError, Timestamp};

use super::{Expiry, Peer, Seconds, Session, Value, handed_as_is};
use crate::{Id, Payload};

/// Ours: the map, or the session cache above it.
pub trait Wheel<V: Value = Payload>: Peer<V> {
    /// An empty one with these shards, whose flushes stay on their thread unless they are `helped`, by one other.
    fn build(helped: bool, shards: Option<usize>) -> Self;

    /// One with a maximum that nothing here reaches and with the helpers that it has by default.
    fn as_it_comes() -> Self;

    /// Removed and not dropped.
    fn garbage(&self) -> usize;

    /// Drops what can be dropped.
    fn reclaim(&self) -> usize;
}

/// More sessions than any bench has in a cache that keeps to a maximum without having to.
pub(super) const UNREACHED: Option<usize> = Some(4_000_000);

/// [`ExpiringMap`], whose flushes stay on their thread.
#[derive(Debug)]
pub struct Ours<V: Value = Payload>(pub ExpiringMap<Id, V>);

static REFUSED: AtomicU64 = AtomicU64::new(0);

/// A server goes on without that session; who measures says how often.
pub(super) fn note_refused<K, V>(error: &InsertError<K, V>) {
    match error {
        InsertError::Exhausted(..) => REFUSED.fetch_add(1, Relaxed),
        error => panic!("{error}"),
    };
}

/// How many inserts were refused in this process because a thread that the system had stopped, and
/// that was pinned, held all slots back that were not in use.
pub fn refused() -> u64 {
    REFUSED.load(Relaxed)
}

/// A second as the map counts time.
#[must_use]
pub fn at(seconds: Seconds) -> Timestamp {
    Timestamp::from_secs(seconds)
}

impl<V: Value> Peer<V> for Ours<V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Deadlines;
    const BOUNDED: bool = true;

    fn name() -> String {
        "sessionwheel".into()
    }

    fn new(maximum: Option<usize>) -> Self {
        let builder = ExpiringMap::builder().maximum(maximum);
        Self(builder.helpers(0, |_| ()).build().expect("good numbers"))
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), now: Seconds) {
        let deadline = at(session.deadline);
        let inserted = self.0.insert(id, session.payload, deadline, at(now));
        _ = inserted.inspect_err(note_refused);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        self.0.get_cloned(id, at(now))
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        self.0.take_cloned(id, at(now))
    }

    fn flush(&self, seconds: Seconds) -> usize {
        self.0.flush(at(seconds)).removed
    }

    fn settle(&self) {
        while self.0.reclaim() > 0 {}
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

impl<V: Value> Wheel<V> for Ours<V> {
    fn build(helped: bool, shards: Option<usize>) -> Self {
        let mut builder = ExpiringMap::builder();
        let helpers = usize::from(helped);
        builder = builder.helpers(helpers, rayon_core::spawn);
        if let Some(shards) = shards {
            builder = builder.shards(shards);
        }
        Self(builder.build().expect("good numbers"))
    }

    fn as_it_comes() -> Self {
        let builder = ExpiringMap::builder().maximum(UNREACHED);
        Self(builder.build().expect("good numbers"))
    }

    fn garbage(&self) -> usize {
        self.0.stats().garbage as usize
    }

    fn reclaim(&self) -> usize {
        self.0.reclaim()
    }
}

/// Ours with a maximum and with the helpers that it has by default. (The others have neither, unless a bench is
/// about them.)
#[derive(Debug)]
pub struct AsItComes<W>(W);

impl<V: Value, W: Wheel<V>> Peer<V> for AsItComes<W> {
    type Prepared = W::Prepared;

    const EXPIRY: Expiry = W::EXPIRY;
    const BOUNDED: bool = W::BOUNDED;

    fn name() -> String {
        format!("{}, a maximum and helpers", W::name())
    }

    fn new(_: Option<usize>) -> Self {
        Self(W::as_it_comes())
    }

    fn prepare(id: Id, session: Session<V>) -> Self::Prepared {
        W::prepare(id, session)
    }

    #[inline]
    fn add(&self, prepared: Self::Prepared, now: Seconds) {
        self.0.add(prepared, now);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        self.0.get(id, now)
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        self.0.take(id, now)
    }

    fn flush(&self, at: Seconds) -> usize {
        self.0.flush(at)
    }

    fn settle(&self) {
        self.0.settle();
    }

    fn count(&self) -> Option<usize> {
        self.0.count()
    }
}
