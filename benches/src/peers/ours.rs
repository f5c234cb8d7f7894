//! sessionwheel's map.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use sessionwheel::{ExpiringMap, InsertError, Timestamp};

use super::{Expiry, Peer, Seconds, Session, Value, handed_as_is};
use crate::{Id, Payload};

/// [`ExpiringMap`], whose flushes stay on their thread.
#[derive(Debug)]
pub struct Ours<V: Value = Payload>(pub ExpiringMap<Id, V>);

static REFUSED: AtomicU64 = AtomicU64::new(0);

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
        match self.0.insert(id, session.payload, deadline, at(now)) {
            Ok(_) => {}
            // A server goes on without that session; who measures says how often.
            Err(InsertError::Exhausted(..)) => {
                REFUSED.fetch_add(1, Relaxed);
            }
            Err(error) => panic!("{error}"),
        }
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
