//! [`SessionCache`]: what is done to one session at a time.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use super::automatic::Automatic;
use super::builder::SessionCacheBuilder;
use super::clock::Clock;
use super::context::{Context, Contexts, ContextsExhausted};
use super::endpoint::{External, Modes, OnNew, Tallies};
use super::id::SessionKey;
use super::lineage::Lineage;
use super::options::SessionOptions;
use super::purge::Purges;
use super::session::Session;
use super::view::SessionRef;
use crate::sync::Arc;
use crate::{Entry, ExpiringMap, Guard, InsertError, Inserted, Reason, Timestamp};

/// A cache of TLS sessions that expire.
///
/// This is a handle: cloning it is cheap, and all clones are the same cache,
/// which goes when the last of them is dropped. See the
/// [module's documentation](crate::cache) for what a session is and when it expires.
///
/// References that the cache hands out live as long as both the handle and the
/// [`Guard`] are borrowed. A guard delays the destruction of everything that
/// leaves any cache meanwhile, so it is to be held for a lookup or a few, not
/// for the life of a connection; where that is awkward, use
/// [`get_cloned`](Self::get_cloned) with a value that is cheap to clone, such
/// as an `Arc`.
///
/// # Examples
///
/// ```
/// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
/// use std::sync::Arc;
///
/// let cache = SessionCache::<Arc<[u8]>>::builder().build()?;
/// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
/// cache.insert(key, Arc::from(*b"session state")).unwrap();
///
/// // In place, without touching the reference count ...
/// let guard = cache.pin();
/// assert_eq!(cache.get(&key, &guard).unwrap().len(), 13);
/// drop(guard);
///
/// // ... or to be kept.
/// let state: Arc<[u8]> = cache.get_cloned(&key).unwrap();
/// assert!(cache.remove(&key));
/// assert_eq!(&*state, b"session state");
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
pub struct SessionCache<V: Send + Sync + 'static> {
    pub(super) inner: Arc<Inner<V>>,
}

/// What all clones of a handle share.
pub(super) struct Inner<V: Send + Sync + 'static> {
    pub(super) name: Box<str>,
    pub(super) map: ExpiringMap<SessionKey, Session<V>>,
    pub(super) clock: Clock,
    pub(super) timeout: Duration,
    pub(super) lineage: Lineage,
    pub(super) contexts: Contexts,
    pub(super) purges: Purges,
    pub(super) automatic: Automatic,
    pub(super) modes: Modes,
    pub(super) on_new: Option<OnNew<V>>,
    pub(super) external: Option<Arc<External<V>>>,
    pub(super) tallies: Tallies,
}

impl<V: Send + Sync + 'static> SessionCache<V> {
    /// A builder with the defaults: 20,480 sessions, 300 seconds,
    /// [`Clock::monotonic`].
    pub fn builder() -> SessionCacheBuilder<V> {
        SessionCacheBuilder::new()
    }

    pub(super) fn new(inner: Inner<V>) -> Self {
        let inner = Arc::new(inner);
        if let Some(external) = &inner.external {
            external.is_outside_of(&inner);
        }
        Self { inner }
    }

    /// A context that this cache has never handed out before.
    ///
    /// Costs one atomic operation and no memory. For `SSL_CTX_set_session_id_context(3)` the caller makes up bytes; here the
    /// cache makes up a number.
    ///
    /// # Errors
    ///
    /// [`ContextsExhausted`] once the cache has 16,777,216 contexts,
    /// [`Context::DEFAULT`] included. Numbers are never used again.
    pub fn context(&self) -> Result<Context, ContextsExhausted> {
        self.inner.contexts.hand_out()
    }

    /// Caches `value` under `key` for the cache's timeout.
    ///
    /// A session that is already there under `key` is replaced in one step: a
    /// lookup finds the old one or the new one, never neither. If the cache is
    /// full, the session that expires first makes room (in a cache of several
    /// shards: the first of its shard). Every 255th insertion begins a flush, see
    /// [`SessionCacheBuilder::automatic_flush`].
    ///
    /// `SSL_CTX_add_session(3)`; but there are no objects: a session that is inserted again replaces itself, and its
    /// time begins anew. What was replaced is reported, as [`Reason::Replaced`].
    ///
    /// # Errors
    ///
    /// [`InsertError`] hands `key` and `value` back if the session can't be
    /// kept: the maximum is 0, or there is no room and none can be made, or its
    /// [lineage](SessionCacheBuilder::lineage) has ended. Nothing has changed then, but that what a lowered maximum had
    /// made too much may have left.
    pub fn insert(
        &self,
        key: SessionKey,
        value: V,
    ) -> Result<Inserted, InsertError<SessionKey, V>> {
        self.insert_with(key, value, SessionOptions::default())
    }

    /// Caches `value` under `key` as `options` say; otherwise like
    /// [`insert`](Self::insert).
    ///
    /// `SSL_CTX_add_session(3)` after `SSL_SESSION_set_timeout(3)`; OpenSSL has no other options for one session.
    ///
    /// With an [external tier](crate::ExternalTier) nothing is stored there: so nobody there gives away a session for a
    /// single use that was inserted like this, and it is a miss. Such sessions go in by
    /// [`Endpoint::established`](crate::Endpoint::established).
    ///
    /// # Errors
    ///
    /// As for [`insert`](Self::insert).
    ///
    /// # Examples
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let ticket = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// let options = SessionOptions::default().single_use(true);
    /// cache.insert_with(ticket, "early data allowed", options).unwrap();
    ///
    /// assert!(cache.get_cloned(&ticket).is_some());
    /// assert!(cache.get_cloned(&ticket).is_none());
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn insert_with(
        &self,
        key: SessionKey,
        value: V,
        options: SessionOptions,
    ) -> Result<Inserted, InsertError<SessionKey, V>> {
        let inner = &*self.inner;
        let now = inner.clock.now();
        match inner.prepare(&key, value, &options, now) {
            (session, Some(deadline)) => inner.put(key, session, deadline, now),
            (session, None) => Err(InsertError::Expired(key, session.into_value())),
        }
    }

    /// The value of the session under `key`, for resumption.
    ///
    /// `None` if there is none, or it has expired, or it belongs to another
    /// context. A session inserted for a single use is taken out by this, as
    /// by [`take`](Self::take): of any number of lookups, on any number of
    /// threads, exactly one succeeds.
    ///
    /// OpenSSL has no call for it: its servers look up in handshakes, as `SSL_CTX_set_session_cache_mode(3)` tells, and
    /// as an [`Endpoint`](crate::Endpoint) does.
    ///
    /// This looks inside only. What an [external tier](crate::ExternalTier) has is found through an
    /// [`Endpoint`](crate::Endpoint); but a session for a single use that is found inside is
    /// [claimed](crate::ExternalTier::claim) outside too, and this is `None` if another host was first.
    #[inline]
    pub fn get<'g>(&'g self, key: &SessionKey, guard: &'g Guard) -> Option<&'g V> {
        self.inner
            .resume(key, guard)
            .map(|(found, _)| found.value().value())
    }

    /// Like [`get`](Self::get), with all that the cache knows of the session.
    ///
    /// This is a lookup for resumption too: a session inserted for a single
    /// use is taken out by it.
    pub fn get_entry<'g>(
        &'g self,
        key: &SessionKey,
        guard: &'g Guard,
    ) -> Option<SessionRef<'g, V>> {
        self.inner
            .resume(key, guard)
            .map(|(found, arbitrated)| SessionRef::of(&found).arbitrated(arbitrated))
    }

    /// Calls `f` with the value of the session under `key`; otherwise like
    /// [`get`](Self::get), but needs no guard.
    ///
    /// A panic in `f` passes through.
    pub fn get_with<R>(&self, key: &SessionKey, f: impl FnOnce(&V) -> R) -> Option<R> {
        let guard = self.pin();
        self.get(key, &guard).map(f)
    }

    /// A clone of the value of the session under `key`; otherwise like
    /// [`get`](Self::get).
    pub fn get_cloned(&self, key: &SessionKey) -> Option<V>
    where
        V: Clone,
    {
        self.get_with(key, V::clone)
    }

    /// Whether there is a session under `key` that has not expired.
    ///
    /// This doesn't use up a session for a single use. `SSL_has_matching_session_id(3)`, which finds expired ones, too.
    pub fn contains(&self, key: &SessionKey) -> bool {
        let guard = self.pin();
        self.inner.find(key, self.now(), &guard).is_some()
    }

    /// Takes the session under `key` out of the cache and gives its value.
    ///
    /// Of any number of threads that take one session exactly one gets it. The
    /// value is read in place; it is destroyed some time after the guard is
    /// dropped. `None` leaves an expired session where it is, for the next
    /// flush.
    ///
    /// With an [external tier](crate::ExternalTier) it is taken out there too, and this is `None` if another
    /// host was first ([`claim`](crate::ExternalTier::claim) says so), or if it was never there, since it was
    /// [inserted](Self::insert) and not [established](crate::Endpoint::established). What is outside and not inside is
    /// neither found nor taken: for that there is
    /// [`Endpoint::take_with`](crate::Endpoint::take_with).
    ///
    /// `SSL_CTX_remove_session(3)` of whoever takes its 1 for leave to resume, as OpenSSL's own protection against
    /// replays does; that says 1 of expired sessions, too.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, "a ticket").unwrap();
    ///
    /// let winners = std::thread::scope(|scope| {
    ///     let offer = || cache.take(&key, &cache.pin()).is_some();
    ///     let all = [0; 4].map(|_| scope.spawn(offer));
    ///     all.into_iter().filter_map(|thread| thread.join().ok()).filter(|&won| won).count()
    /// });
    /// assert_eq!(winners, 1);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn take<'g>(&'g self, key: &SessionKey, guard: &'g Guard) -> Option<&'g V> {
        let inner = &*self.inner;
        let taken = inner.taken(key, guard);
        taken
            .filter(|taken| inner.claim(key, taken.value()).is_some())
            .map(|taken| taken.value().value())
    }

    /// Like [`take`](Self::take), but gives a clone and needs no guard.
    pub fn take_cloned(&self, key: &SessionKey) -> Option<V>
    where
        V: Clone,
    {
        let guard = self.pin();
        self.take(key, &guard).cloned()
    }

    /// Removes the session under `key`, expired or not.
    ///
    /// True for the one call that removed it; false if there was nothing to
    /// remove. Either way an [external tier](crate::ExternalTier) is told.
    ///
    /// `SSL_CTX_remove_session(3)`; if there was nothing OpenSSL's code calls the removal callback all the same, and here
    /// [`on_remove`](SessionCacheBuilder::on_remove) is not called.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, "state").unwrap();
    ///
    /// // Its connection has failed with a fatal alert.
    /// assert!(cache.remove(&key));
    /// assert!(!cache.remove(&key));
    /// assert!(!cache.contains(&key));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn remove(&self, key: &SessionKey) -> bool {
        let inner = &*self.inner;
        let removed = inner.map.remove(key);
        if let (false, Some(external)) = (removed, &inner.external) {
            external.left(key, Reason::Removed);
        }
        removed
    }

    /// Lets the session under `key` live for `timeout` from now on, be that
    /// longer or shorter than before, but not beyond the end of its
    /// [lineage](SessionCacheBuilder::lineage).
    ///
    /// True only if the session then lives to that time: a removal that was
    /// decided on by the old time either comes first, and this is false, or
    /// doesn't happen. False if there is no such session or it has expired. A
    /// session for a single use isn't used up.
    ///
    /// `SSL_SESSION_set_time(3)` to now and `SSL_SESSION_set_timeout(3)` in one step; OpenSSL takes other times as well,
    /// and re-times what has expired.
    ///
    /// A use that [renews](SessionCacheBuilder::update_time) the session renews it by this timeout from now
    /// on; one that came from [outside](crate::ExternalTier) by the cache's, as before.
    ///
    /// # With something outside
    ///
    /// What an [external tier](crate::ExternalTier) has keeps the life that it was stored with. (It can't be stored
    /// again: another host may have used it meanwhile, or removed it, and then somebody would find it once more.) So
    ///
    /// - a session that is given a *longer* life is found by no other host after its first one; and then one for a
    ///   single use, or one that is [taken](Self::take), is a miss here too, for nobody outside says whose it is.
    /// - one that is given a *shorter* life is removed outside at once, so that it is not found there for longer than it
    ///   lives here. It is still found inside; but if it is for a single use, or taken, that was its end. What another
    ///   host has fetched before stays there until its own time.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, ()).unwrap();
    ///
    /// hand.advance(Duration::from_secs(200));
    /// assert!(cache.retime(&key, Duration::from_secs(200)));
    /// hand.advance(Duration::from_secs(200));
    /// assert!(cache.contains(&key));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn retime(&self, key: &SessionKey, timeout: Duration) -> bool {
        let inner = &*self.inner;
        let renewed = inner.retime(key, timeout);
        if let (Some(Renewed::Shorter { fetched }), Some(external)) = (renewed, &inner.external) {
            external.shortened(key, fetched);
        }
        renewed.is_some()
    }
}

/// What a session's life has become.
#[derive(Clone, Copy)]
pub(super) enum Renewed {
    /// No shorter than it was.
    Longer,
    Shorter {
        /// It came from outside.
        fetched: bool,
    },
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// Whether `session`, found under `key`, is visible.
    #[inline]
    pub(super) fn admits(&self, key: &SessionKey, session: &Session<V>) -> bool {
        self.admits_at_once(session) || self.admits_slowly(key, session)
    }

    /// Whether that can be seen without asking further: no context was ever purged, and the session is a plain
    /// one.
    #[inline]
    fn admits_at_once(&self, session: &Session<V>) -> bool {
        session.is_plain() && !self.contexts.any_was_raised()
    }

    #[cold]
    #[inline(never)]
    fn admits_slowly(&self, key: &SessionKey, session: &Session<V>) -> bool {
        session.is_current(key.context(), &self.contexts)
            && session
                .removals()
                .is_none_or(|seen| self.removals(key) == seen)
    }

    fn removals(&self, key: &SessionKey) -> u32 {
        self.external.as_ref().map_or(0, |e| e.removals(key))
    }

    /// A session to be inserted at `now`, and until when it lives; not at all if its peer was authenticated before the
    /// last purge of its context.
    pub(super) fn prepare(
        &self,
        key: &SessionKey,
        value: V,
        options: &SessionOptions,
        now: Timestamp,
    ) -> (Session<V>, Option<Timestamp>) {
        let timeout = options.timeout.unwrap_or(self.timeout);
        // Before the purge is asked about: one that comes in between makes the generation an old one.
        let generation = self.contexts.generation(key.context());
        let was_purged = |at| self.contexts.was_purged_since(key.context(), at);
        let purged = options.authenticated_at.is_some_and(was_purged);
        let session = Session::new(value, options, timeout, generation, now);
        let deadline = self.deadline(&session, timeout, now);
        (session, (!purged).then_some(deadline))
    }

    pub(super) fn put(
        &self,
        key: SessionKey,
        session: Session<V>,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Inserted, InsertError<SessionKey, V>> {
        let inserted = self.map.insert(key, session, deadline, now);
        let inserted = inserted.map_err(|error| match error {
            InsertError::Expired(k, s) => InsertError::Expired(k, s.into_value()),
            InsertError::Zero(k, s) => InsertError::Zero(k, s.into_value()),
            InsertError::Full(k, s) => InsertError::Full(k, s.into_value()),
            InsertError::Exhausted(k, s) => InsertError::Exhausted(k, s.into_value()),
        })?;
        self.inserted(now);
        Ok(inserted)
    }

    /// Until when a session lives that is inserted or renewed at `now`.
    pub(super) fn deadline(
        &self,
        session: &Session<V>,
        timeout: Duration,
        now: Timestamp,
    ) -> Timestamp {
        now.saturating_add(timeout).min(self.lineage.end(session))
    }

    /// Lets the session under `key` live as long again after a use; no shorter than it would without, as one may that
    /// came from outside.
    pub(super) fn renew_by_use(&self, key: &SessionKey) {
        let now = self.clock.now();
        let deadline_of = |session: &Session<V>, old: Timestamp| {
            let again = |timeout| self.deadline(session, timeout, now).max(old);
            self.admits(key, session)
                .then(|| again(session.timeout().unwrap_or(self.timeout)))
        };
        self.map.retime_from(key, deadline_of, now);
    }

    /// Lets the session under `key` live for `timeout` from now on, and after each use that renews it.
    fn retime(&self, key: &SessionKey, timeout: Duration) -> Option<Renewed> {
        let now = self.clock.now();
        // Of the last one that was asked about, and that is the one whose deadline changes.
        let renewed = Cell::new(Renewed::Longer);
        let deadline_of = |session: &Session<V>, old: Timestamp| {
            self.admits(key, session).then(|| {
                session.set_timeout(timeout);
                let new = self.deadline(session, timeout, now);
                if new < old {
                    let fetched = session.removals().is_some();
                    renewed.set(Renewed::Shorter { fetched });
                } else {
                    renewed.set(Renewed::Longer);
                }
                new
            })
        };
        let lives = self.map.retime_from(key, deadline_of, now);
        lives.then(|| renewed.get())
    }

    /// The session under `key`, without using it up.
    pub(super) fn find<'g>(
        &'g self,
        key: &SessionKey,
        now: Timestamp,
        guard: &'g Guard,
    ) -> Option<&'g Session<V>> {
        self.map
            .get(key, now, guard)
            .filter(|session| self.admits(key, session))
    }

    /// Whether there is a session under `key` that has not expired, visible or not.
    pub(super) fn holds(&self, key: &SessionKey) -> bool {
        let guard = self.map.pin();
        self.map.get(key, self.clock.now(), &guard).is_some()
    }

    /// Whether there is a session under `key` that has expired at `now`.
    pub(super) fn is_expired(&self, key: &SessionKey, now: Timestamp, guard: &Guard) -> bool {
        let ever = self.map.get_entry(key, Timestamp::ZERO, guard);
        ever.is_some_and(|found| found.deadline() < now && self.admits(key, found.value()))
    }

    /// The session under `key`, for resumption: a session for a single use is taken out by it, inside
    /// and outside. And whether it is known that nobody else may use that.
    #[inline]
    fn resume<'g>(
        &'g self,
        key: &SessionKey,
        guard: &'g Guard,
    ) -> Option<(Entry<'g, SessionKey, Session<V>>, bool)> {
        let found = self.found(key, guard)?;
        let session = found.value();
        let arbitrated = !session.is_single_use() || self.claim(key, session)?;
        Some((found, arbitrated))
    }

    /// The session under `key`, taken out inside.
    pub(super) fn taken<'g>(
        &'g self,
        key: &SessionKey,
        guard: &'g Guard,
    ) -> Option<Entry<'g, SessionKey, Session<V>>> {
        let admitted = |session: &Session<V>| self.admits(key, session);
        self.map.take_if(key, admitted, self.clock.now(), guard)
    }

    /// The session under `key`: a session for a single use is taken out inside.
    #[inline]
    pub(super) fn found<'g>(
        &'g self,
        key: &SessionKey,
        guard: &'g Guard,
    ) -> Option<Entry<'g, SessionKey, Session<V>>> {
        let now = self.clock.now();
        let found = self.map.get_entry(key, now, guard)?;
        if self.admits_at_once(found.value()) {
            return Some(found);
        }
        self.found_slowly(key, found, now, guard)
    }

    #[cold]
    #[inline(never)]
    fn found_slowly<'g>(
        &'g self,
        key: &SessionKey,
        mut found: Entry<'g, SessionKey, Session<V>>,
        now: Timestamp,
        guard: &'g Guard,
    ) -> Option<Entry<'g, SessionKey, Session<V>>> {
        loop {
            if !self.admits(key, found.value()) {
                return None;
            }
            if !found.value().is_single_use() {
                return Some(found);
            }
            // Another session may have come under the key meanwhile: one that may be used more
            // than once stays, and is looked up again.
            let single =
                |session: &Session<V>| session.is_single_use() && self.admits(key, session);
            let taken = self.map.take_if(key, single, now, guard);
            if taken.is_some() {
                return taken;
            }
            found = self.map.get_entry(key, now, guard)?;
        }
    }
}

impl<V: Send + Sync + 'static> Clone for SessionCache<V> {
    /// Another handle of the same cache.
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for SessionCache<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCache")
            .field("name", &self.inner.name)
            .field("len", &self.len())
            .field("maximum", &self.maximum())
            .field("timeout", &self.inner.timeout)
            .field("contexts", &self.inner.contexts.count())
            .field("clock", &self.inner.clock)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
