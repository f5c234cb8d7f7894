//! Caches: they hold to a maximum, and some know lifetimes.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;
use quick_cache::UnitWeighter;
use quick_cache::sync::DefaultLifecycle;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

use super::{Expiry, Hasher, Peer, Seconds, Session, Value, handed_as_is, live, stand_in};
use crate::{Id, Payload};

/// For "as many as come", where a maximum must be said.
const PLENTY: usize = 1 << 24;

/// `quick_cache`: S3-FIFO, no expiry.
#[derive(Debug)]
pub struct QuickCache<S: Hasher, V: Value = Payload>(
    quick_cache::sync::Cache<Id, Session<V>, UnitWeighter, S>,
);

impl<S: Hasher, V: Value> Peer<V> for QuickCache<S, V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Scan;
    const BOUNDED: bool = true;

    fn name() -> String {
        format!("quick_cache{}", S::SUFFIX)
    }

    fn new(maximum: Option<usize>) -> Self {
        let maximum = maximum.unwrap_or(PLENTY);
        Self(quick_cache::sync::Cache::with(
            maximum,
            maximum as u64,
            UnitWeighter,
            S::default(),
            DefaultLifecycle::default(),
        ))
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), _: Seconds) {
        self.0.insert(id, session);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        live(&self.0.get(id)?, now)
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        let (_, session) = self.0.remove(id)?;
        live(&session, now)
    }

    fn flush(&self, at: Seconds) -> usize {
        let before = self.0.len();
        self.0.retain(|_, session| session.deadline >= at);
        // Inserts beside it count too; there may have been more of them.
        before.saturating_sub(self.0.len())
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// moka with a lifetime for each entry. Its clock cannot be set, so it is never asked to flush at a
/// time; lifetimes pass in real time.
#[derive(Debug)]
pub struct Moka<S: Hasher>(moka::sync::Cache<Id, Session, S>);

struct Lifetimes;

impl moka::Expiry<Id, Session> for Lifetimes {
    fn expire_after_create(&self, _: &Id, session: &Session, _: Instant) -> Option<Duration> {
        Some(Duration::from_secs(session.deadline))
    }
}

impl<S: Hasher> Peer for Moka<S> {
    handed_as_is!(Payload);

    const EXPIRY: Expiry = Expiry::None;
    const BOUNDED: bool = true;

    fn name() -> String {
        format!("moka{}", S::SUFFIX)
    }

    fn new(maximum: Option<usize>) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(maximum.unwrap_or(PLENTY) as u64);
        Self(
            builder
                .expire_after(Lifetimes)
                .build_with_hasher(S::default()),
        )
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session), _: Seconds) {
        self.0.insert(id, session);
    }

    #[inline]
    fn get(&self, id: &Id, _: Seconds) -> Option<Payload> {
        Some(self.0.get(id)?.payload)
    }

    #[inline]
    fn take(&self, id: &Id, _: Seconds) -> Option<Payload> {
        Some(self.0.remove(id)?.payload)
    }

    fn flush(&self, _: Seconds) -> usize {
        0
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }

    fn count(&self) -> Option<usize> {
        self.settle();
        Some(self.0.entry_count() as usize)
    }
}

/// mini-moka: one lifetime for all, in real time.
pub struct MiniMoka<S: Hasher>(mini_moka::sync::Cache<Id, Session, S>);

impl<S: Hasher> Peer for MiniMoka<S> {
    handed_as_is!(Payload);

    const EXPIRY: Expiry = Expiry::None;
    const BOUNDED: bool = true;

    fn name() -> String {
        format!("mini-moka{}", S::SUFFIX)
    }

    fn new(maximum: Option<usize>) -> Self {
        let builder =
            mini_moka::sync::Cache::builder().max_capacity(maximum.unwrap_or(PLENTY) as u64);
        let lifetime = Duration::from_secs(300);
        Self(
            builder
                .time_to_live(lifetime)
                .build_with_hasher(S::default()),
        )
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session), _: Seconds) {
        self.0.insert(id, session);
    }

    #[inline]
    fn get(&self, id: &Id, _: Seconds) -> Option<Payload> {
        Some(self.0.get(id)?.payload)
    }

    #[inline]
    fn take(&self, id: &Id, _: Seconds) -> Option<Payload> {
        // It hands nothing out on removal.
        let session = self.0.get(id)?;
        self.0.invalidate(id);
        Some(session.payload)
    }

    fn flush(&self, _: Seconds) -> usize {
        0
    }

    fn settle(&self) {
        mini_moka::sync::ConcurrentCacheExt::sync(&self.0);
    }

    fn count(&self) -> Option<usize> {
        self.settle();
        Some(self.0.entry_count() as usize)
    }
}

/// So many parts, as in a proxy that did this.
const PARTS: usize = 16;

/// Sixteen times a mutex around the crate lru's `LruCache`. Ids are random, so a byte of the id
/// names the part.
#[derive(Debug)]
pub struct LruShards<S: Hasher, V: Value = Payload>(Box<[Part<S, V>]>);

type Part<S, V> = Mutex<LruCache<Id, Session<V>, S>>;

impl<S: Hasher, V: Value> LruShards<S, V> {
    fn part(&self, id: &Id) -> &Part<S, V> {
        &self.0[usize::from(id[0]) % PARTS]
    }
}

impl<S: Hasher, V: Value> Peer<V> for LruShards<S, V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Scan;
    const BOUNDED: bool = true;

    fn name() -> String {
        format!("16 × Mutex<LruCache>{}", S::SUFFIX)
    }

    fn new(maximum: Option<usize>) -> Self {
        let part = || match maximum {
            Some(n) => {
                let part = NonZeroUsize::new(n.div_ceil(PARTS)).expect("not zero");
                LruCache::with_hasher(part, S::default())
            }
            None => LruCache::unbounded_with_hasher(S::default()),
        };
        Self((0..PARTS).map(|_| Mutex::new(part())).collect())
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), _: Seconds) {
        let old = self.part(&id).lock().push(id, session);
        drop(old);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        live(self.part(id).lock().get(id)?, now)
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        let session = self.part(id).lock().pop(id)?;
        live(&session, now)
    }

    fn flush(&self, at: Seconds) -> usize {
        let mut removed = 0;
        for part in &self.0 {
            part.lock().retain(|_, session| {
                let stays = session.deadline >= at;
                removed += usize::from(!stays);
                stays
            });
        }
        removed
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.iter().map(|part| part.lock().len()).sum())
    }
}

/// rustls' built-in store: one mutex, no expiry, values as bytes.
#[derive(Debug)]
pub struct Rustls(Arc<ServerSessionMemoryCache>);

impl Peer for Rustls {
    /// Its caller hands over two vectors, which a handshake has made anyway.
    type Prepared = (Vec<u8>, Vec<u8>);

    const EXPIRY: Expiry = Expiry::None;
    const BOUNDED: bool = true;

    fn name() -> String {
        "rustls".into()
    }

    fn new(maximum: Option<usize>) -> Self {
        Self(ServerSessionMemoryCache::new(maximum.unwrap_or(PLENTY)))
    }

    #[inline]
    fn prepare(id: Id, session: Session) -> Self::Prepared {
        (id.to_vec(), session.payload.to_vec())
    }

    #[inline]
    fn add(&self, (id, value): Self::Prepared, _: Seconds) {
        self.0.put(id, value);
    }

    #[inline]
    fn get(&self, id: &Id, _: Seconds) -> Option<Payload> {
        let _bytes = self.0.get(id)?;
        Some(stand_in())
    }

    #[inline]
    fn take(&self, id: &Id, _: Seconds) -> Option<Payload> {
        let _bytes = self.0.take(id)?;
        Some(stand_in())
    }

    fn flush(&self, _: Seconds) -> usize {
        0
    }

    fn count(&self) -> Option<usize> {
        None
    }
}
