//! Maps without expiry: they flush by a scan.

use super::{Expiry, Hasher, Peer, Seconds, Session, Value, handed_as_is, live};
use crate::{Id, Payload};

/// Whether a scan leaves a session; counts those it does not.
fn stays<V>(session: &Session<V>, at: Seconds, removed: &mut usize) -> bool {
    let stays = session.deadline >= at;
    *removed += usize::from(!stays);
    stays
}

/// dashmap.
#[derive(Debug)]
pub struct Dash<S: Hasher, V: Value = Payload>(dashmap::DashMap<Id, Session<V>, S>);

impl<S: Hasher, V: Value> Peer<V> for Dash<S, V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Scan;
    const BOUNDED: bool = false;

    fn name() -> String {
        format!("dashmap{}", S::SUFFIX)
    }

    fn new(_: Option<usize>) -> Self {
        Self(dashmap::DashMap::default())
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), _: Seconds) {
        self.0.insert(id, session);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        live(&*self.0.get(id)?, now)
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        let (_, session) = self.0.remove(id)?;
        live(&session, now)
    }

    fn flush(&self, at: Seconds) -> usize {
        let mut removed = 0;
        self.0.retain(|_, session| stays(session, at, &mut removed));
        removed
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// papaya.
#[derive(Debug)]
pub struct Papaya<S: Hasher, V: Value = Payload>(pub papaya::HashMap<Id, Session<V>, S>);

impl<S: Hasher, V: Value> Peer<V> for Papaya<S, V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Scan;
    const BOUNDED: bool = false;

    fn name() -> String {
        format!("papaya{}", S::SUFFIX)
    }

    fn new(_: Option<usize>) -> Self {
        Self(papaya::HashMap::default())
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), _: Seconds) {
        self.0.pin().insert(id, session);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        live(self.0.pin().get(id)?, now)
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        live(self.0.pin().remove(id)?, now)
    }

    fn flush(&self, at: Seconds) -> usize {
        let before = self.0.len();
        self.0.pin().retain(|_, session| session.deadline >= at);
        // Inserts beside it count too; there may have been more of them.
        before.saturating_sub(self.0.len())
    }

    fn settle(&self) {
        // What a guard has retired is handed over when it is flushed, and dropped by whoever is last.
        papaya::Guard::flush(&self.0.guard());
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// scc's `HashMap`.
#[derive(Debug)]
pub struct SccMap<S: Hasher, V: Value = Payload>(scc::HashMap<Id, Session<V>, S>);

impl<S: Hasher, V: Value> Peer<V> for SccMap<S, V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Scan;
    const BOUNDED: bool = false;

    fn name() -> String {
        format!("scc HashMap{}", S::SUFFIX)
    }

    fn new(_: Option<usize>) -> Self {
        Self(scc::HashMap::default())
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), _: Seconds) {
        self.0.upsert_sync(id, session);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        self.0.read_sync(id, |_, session| live(session, now))?
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        let (_, session) = self.0.remove_sync(id)?;
        live(&session, now)
    }

    fn flush(&self, at: Seconds) -> usize {
        let mut removed = 0;
        self.0
            .retain_sync(|_, session| stays(session, at, &mut removed));
        removed
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// scc's `HashIndex`: lookups take no lock, removed entries stay until their bucket is touched.
#[derive(Debug)]
pub struct SccIndex<S: Hasher>(scc::HashIndex<Id, Session, S>);

impl<S: Hasher> Peer for SccIndex<S> {
    handed_as_is!(Payload);

    // What it removes is dropped when its bucket is next used, which nobody can bring about.
    const EXPIRY: Expiry = Expiry::None;
    const BOUNDED: bool = false;

    fn name() -> String {
        format!("scc HashIndex{}", S::SUFFIX)
    }

    fn new(_: Option<usize>) -> Self {
        Self(scc::HashIndex::default())
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session), _: Seconds) {
        match self.0.entry_sync(id) {
            scc::hash_index::Entry::Occupied(mut entry) => entry.update(session),
            scc::hash_index::Entry::Vacant(entry) => drop(entry.insert_entry(session)),
        }
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<Payload> {
        self.0.peek_with(id, |_, session| live(session, now))?
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<Payload> {
        // It hands nothing out on removal.
        let scc::hash_index::Entry::Occupied(entry) = self.0.entry_sync(*id) else {
            return None;
        };
        let payload = live(entry.get(), now);
        entry.remove_entry();
        payload
    }

    fn flush(&self, _: Seconds) -> usize {
        0
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// One hashbrown map behind a lock: what is written first.
#[derive(Debug)]
pub struct RwLocked<S: Hasher, V: Value = Payload>(
    parking_lot::RwLock<hashbrown::HashMap<Id, Session<V>, S>>,
);

impl<S: Hasher, V: Value> Peer<V> for RwLocked<S, V> {
    handed_as_is!(V);

    const EXPIRY: Expiry = Expiry::Scan;
    const BOUNDED: bool = false;

    fn name() -> String {
        format!("RwLock<hashbrown>{}", S::SUFFIX)
    }

    fn new(_: Option<usize>) -> Self {
        Self(parking_lot::RwLock::default())
    }

    #[inline]
    fn add(&self, (id, session): (Id, Session<V>), _: Seconds) {
        let old = self.0.write().insert(id, session);
        drop(old);
    }

    #[inline]
    fn get(&self, id: &Id, now: Seconds) -> Option<V> {
        live(self.0.read().get(id)?, now)
    }

    #[inline]
    fn take(&self, id: &Id, now: Seconds) -> Option<V> {
        let session = self.0.write().remove(id)?;
        live(&session, now)
    }

    fn flush(&self, at: Seconds) -> usize {
        let mut map = self.0.write();
        let before = map.len();
        map.retain(|_, session| session.deadline >= at);
        before - map.len()
    }

    fn count(&self) -> Option<usize> {
        Some(self.0.read().len())
    }
}

/// A hashbrown map that nobody writes to, read with no synchronisation at all: the limit. Filled
/// first, then read; not a [`Peer`], since it is not shared.
#[derive(Debug)]
pub struct Hashbrown<S: Hasher>(hashbrown::HashMap<Id, Payload, S>);

impl<S: Hasher> Hashbrown<S> {
    /// With these sessions.
    pub fn filled(sessions: impl Iterator<Item = (Id, Payload)>) -> Self {
        Self(sessions.collect())
    }

    /// Reads in place.
    #[inline]
    #[must_use]
    pub fn get(&self, id: &Id) -> Option<&Payload> {
        self.0.get(id)
    }
}
