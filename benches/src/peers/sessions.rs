//! sessionwheel's session cache.

use std::time::Duration;

use sessionwheel::{
    Clock, Context, ManualClock, SessionCache, SessionCacheBuilder, SessionId, SessionKey,
    SessionOptions,
};

use super::ours::{UNREACHED, note_refused};
use super::{Expiry, Peer, Seconds, Session, Value, Wheel, at, handed_as_is};
use crate::{Id, Payload};

/// [`SessionCache`], whose flushes stay on their thread and come on demand only. Its clock shows what it was
/// told last.
#[derive(Debug)]
pub struct Sessions<V: Value = Payload> {
    cache: SessionCache<V>,
    hand: ManualClock,
}

fn key(id: &Id) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from(*id))
}

impl<V: Value> Sessions<V> {
    fn with(set: impl FnOnce(SessionCacheBuilder<V>) -> SessionCacheBuilder<V>) -> Self {
        let (clock, hand) = Clock::manual(at(0));
        let builder = SessionCache::builder().clock(clock);
        let builder = builder.automatic_flush(None).lineage(None);
        let cache = set(builder).build().expect("good numbers");
        Self { cache, hand }
    }

    #[inline]
    fn tell(&self, now: Seconds) {
        if self.hand.now() != at(now) {
            self.hand.set(at(now));
        }
    }
}

impl<V: Value> Peer<V> for Sessions<V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Deadlines;
    const BOUNDED: bool = true;

    fn name() -> String {
        "sessionwheel, sessions".into()
    }

    fn new(maximum: Option<usize>) -> Self {
        Self::with(|builder| builder.maximum(maximum).helpers(0, |_| ()))
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), now: Seconds) {
        self.tell(now);
        let timeout = Duration::from_secs(session.deadline - now);
        let options = SessionOptions::default().timeout(timeout);
        let inserted = self.cache.insert_with(key(&id), session.payload, options);
        _ = inserted.inspect_err(note_refused);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        self.tell(now);
        self.cache.get_cloned(&key(id))
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        self.tell(now);
        self.cache.take_cloned(&key(id))
    }

    fn flush(&self, seconds: Seconds) -> usize {
        self.cache.flush_at(at(seconds)).removed
    }

    fn settle(&self) {
        while self.cache.reclaim() > 0 {}
    }

    fn count(&self) -> Option<usize> {
        Some(self.cache.len())
    }
}

impl<V: Value> Wheel<V> for Sessions<V> {
    fn build(helped: bool, shards: Option<usize>) -> Self {
        Self::with(|mut builder| {
            builder = builder.maximum(None);
            let helpers = usize::from(helped);
            builder = builder.helpers(helpers, rayon_core::spawn);
            if let Some(shards) = shards {
                builder = builder.shards(shards);
            }
            builder
        })
    }

    fn as_it_comes() -> Self {
        Self::with(|builder| builder.maximum(UNREACHED))
    }

    fn garbage(&self) -> usize {
        self.cache.stats().garbage as usize
    }

    fn reclaim(&self) -> usize {
        self.cache.reclaim()
    }
}
