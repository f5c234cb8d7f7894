//! sessionwheel's map.

use sessionwheel::{ExpiringMap, Timestamp};

use super::{Expiry, Peer, Seconds, Session, Value, handed_as_is};
use crate::{Id, Payload};

/// [`ExpiringMap`], whose flushes stay on their thread.
#[derive(Debug)]
pub struct Ours<V: Value = Payload>(pub ExpiringMap<Id, V>);

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
        assert!(inserted.is_ok(), "refused");
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
