//! [`Endpoint`]: what a TLS stack does with a cache, handshake by handshake.
//!
//! The operations of [`SessionCache`] are on the internal cache, as `SSL_CTX_add_session(3)` and its
//! neighbours: they store nothing outside and fetch nothing there, but claim and remove there what they
//! take out and remove inside. An endpoint goes by what the cache was told about
//! handshakes: [for which](Mode), in which order inside and [outside](ExternalTier), with which callbacks;
//! and it [counts](Counters).

mod counters;
mod modes;
mod tier;

use std::fmt;
use std::time::Duration;

pub use counters::Counters;
pub(super) use counters::{Count, Tallies};
pub(super) use modes::Modes;
pub use modes::{Mode, Role};
pub use tier::{Claim, ExternalTier, Fetched, TierSession};
pub(super) use tier::{External, GetCallback, authenticated_at};

use super::handle::{Inner, SessionCache};
use super::id::SessionKey;
use super::options::SessionOptions;
use super::session::Session;
use super::view::SessionRef;
use crate::contain::contain;
use crate::{InsertError, Inserted, Timestamp};

/// The new-session callback.
pub(super) type OnNew<V> = Box<dyn Fn(&SessionKey, &V) -> bool + Send + Sync>;

/// A cache as the handshakes of servers, or those of clients, use it.
///
/// From [`SessionCache::server`] or [`SessionCache::client`].
///
/// # Examples
///
/// ```
/// use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
///
/// let cache = SessionCache::<Vec<u8>>::builder()
///     .on_new(|_key, state| state.len() < 10_000)
///     .build()?;
/// let server = cache.server();
///
/// // A full handshake.
/// server.begins();
/// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
/// assert!(server.resume(&key).hit().is_none());
/// let established = server.established(key, vec![7; 100], SessionOptions::default()).unwrap();
/// assert!(established.is_kept());
/// server.ends();
///
/// // The next one resumes.
/// server.begins();
/// assert_eq!(server.resume(&key).hit(), Some(vec![7; 100]));
/// server.ends();
///
/// let counters = cache.counters();
/// assert_eq!((counters.accept, counters.accept_good), (2, 2));
/// assert_eq!((counters.hits, counters.misses), (1, 1));
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
pub struct Endpoint<'c, V: Send + Sync + 'static> {
    inner: &'c Inner<V>,
    role: Role,
}

/// What became of a session that a handshake has established. `Debug` prints no value. (In OpenSSL nobody is told; the
/// new-session callback's 0 or 1 means something else: `SSL_CTX_sess_set_new_cb(3)`.)
#[derive(PartialEq, Eq)]
#[non_exhaustive]
pub enum Established<V> {
    /// It is in the cache (and outside, if there is something outside).
    Kept(Inserted),
    /// It was handed to the external tier only: the cache has no
    /// [internal store](crate::SessionCacheBuilder::internal_store).
    Outside(V),
    /// It is nowhere: the [mode](Mode) or the
    /// [new-session callback](crate::SessionCacheBuilder::on_new) said no.
    Declined(V),
}

impl<V> fmt::Debug for Established<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kept(inserted) => f.debug_tuple("Kept").field(inserted).finish(),
            Self::Outside(_) => f.debug_tuple("Outside").finish_non_exhaustive(),
            Self::Declined(_) => f.debug_tuple("Declined").finish_non_exhaustive(),
        }
    }
}

impl<V> Established<V> {
    /// Whether it is in the cache.
    #[must_use]
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept(_))
    }
}

/// What a lookup for resumption has found. `Debug` doesn't print it.
///
/// ```
/// use sessionwheel::{Context, Fetched, Resumed, SessionCache, SessionId, SessionKey, TierSession};
/// use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
/// use std::time::Duration;
///
/// static ARRIVED: AtomicBool = AtomicBool::new(false);
/// let cache = SessionCache::builder()
///     .on_get(|key| match ARRIVED.load(Relaxed) {
///         true => Fetched::Hit(TierSession::new(*key, "from afar", Duration::from_secs(60))),
///         false => Fetched::Pending,
///     })
///     .build()?;
/// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
///
/// // The handshake is suspended, and goes on when there is an answer.
/// assert!(cache.server().resume(&key).is_pending());
/// ARRIVED.store(true, Relaxed);
/// assert_eq!(cache.server().resume(&key), Resumed::Hit("from afar"));
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Resumed<T> {
    /// The session's value, or what the caller made of it.
    Hit(T),
    /// Nothing: the handshake goes on as a full one.
    Miss,
    /// The external tier is still being asked: ask again, or go on as after a miss.
    Pending,
}

impl<T> fmt::Debug for Resumed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit(_) => f.debug_tuple("Hit").finish_non_exhaustive(),
            Self::Miss => f.write_str("Miss"),
            Self::Pending => f.write_str("Pending"),
        }
    }
}

impl<T> Resumed<T> {
    /// What was found.
    #[must_use]
    pub fn hit(self) -> Option<T> {
        match self {
            Self::Hit(found) => Some(found),
            Self::Miss | Self::Pending => None,
        }
    }

    /// Whether it is worth asking again.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending)
    }
}

impl<V: Send + Sync + 'static> SessionCache<V> {
    /// The cache as the handshakes of a server use it: with [`Mode::Server`] or [`Mode::Both`]
    /// (`SSL_SESS_CACHE_SERVER` of `SSL_CTX_set_session_cache_mode(3)`).
    pub fn server(&self) -> Endpoint<'_, V> {
        self.endpoint(Role::Server)
    }

    /// The cache as the handshakes of a client use it: with [`Mode::Client`] or [`Mode::Both`]
    /// (`SSL_SESS_CACHE_CLIENT`; OpenSSL's clients don't look up by themselves).
    pub fn client(&self) -> Endpoint<'_, V> {
        self.endpoint(Role::Client)
    }

    fn endpoint(&self, role: Role) -> Endpoint<'_, V> {
        Endpoint {
            inner: &self.inner,
            role,
        }
    }

    /// For which handshakes sessions are cached: `SSL_CTX_get_session_cache_mode(3)`.
    pub fn mode(&self) -> Mode {
        self.inner.modes.mode
    }

    /// What [endpoints](Endpoint) have met so far: `SSL_CTX_sess_number(3)` and the functions on that page.
    pub fn counters(&self) -> Counters {
        let (stats, counted) = (self.stats(), self.inner.tallies.counters());
        let outside = self.inner.external.as_ref().map_or(0, |e| e.panics());
        Counters {
            number: self.len() as u64,
            cache_full: stats.evicted,
            panics: counted.panics + stats.listener_panics + outside,
            ..counted
        }
    }
}

impl<V: Send + Sync + 'static> Endpoint<'_, V> {
    /// Which end this is.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Counts a handshake that begins: `accept` or `connect`, which OpenSSL's library counts itself
    /// (`SSL_CTX_sess_accept(3)`, `SSL_CTX_sess_connect(3)`).
    pub fn begins(&self) {
        self.count_by_role(Count::Accept, Count::Connect);
    }

    /// Counts a handshake that has come to its end, resumed or not: `accept_good` or `connect_good`
    /// (`SSL_CTX_sess_accept_good(3)`).
    pub fn ends(&self) {
        self.count_by_role(Count::AcceptGood, Count::ConnectGood);
    }

    /// Counts a renegotiation that begins: `accept_renegotiate` or `connect_renegotiate`
    /// (`SSL_CTX_sess_accept_renegotiate(3)`).
    pub fn renegotiates(&self) {
        self.count_by_role(Count::AcceptRenegotiate, Count::ConnectRenegotiate);
    }

    fn count_by_role(&self, server: Count, client: Count) {
        self.inner.tallies.count(match self.role {
            Role::Server => server,
            Role::Client => client,
        });
    }

    /// A handshake has established a session: keeps it inside and outside, as the cache is set.
    ///
    /// First the [mode](Mode) is asked, then the [new-session
    /// callback](crate::SessionCacheBuilder::on_new); if both agree it goes to the [external
    /// tier](ExternalTier::store), and then inside like by
    /// [`insert_with`](SessionCache::insert_with).
    ///
    /// OpenSSL does it at the end of a full handshake, and for each ticket of TLS 1.3: see
    /// `SSL_CTX_sess_set_new_cb(3)`.
    ///
    /// # Errors
    ///
    /// [`InsertError`] as for [`SessionCache::insert`]; the session is outside then, but for
    /// [`InsertError::Expired`].
    pub fn established(
        &self,
        key: SessionKey,
        value: V,
        options: SessionOptions,
    ) -> Result<Established<V>, InsertError<SessionKey, V>> {
        let inner = self.inner;
        if !inner.modes.mode.includes(self.role) || !inner.welcomes(&key, &value) {
            inner.tallies.count(Count::Declined);
            return Ok(Established::Declined(value));
        }
        let now = inner.clock.now();
        let (session, deadline) = inner.prepare(&key, value, &options, now);
        let Some(deadline) = deadline.filter(|&at| at >= now) else {
            return Err(InsertError::Expired(key, session.into_value()));
        };
        inner.store_outside(&key, &session, deadline, now);
        if !inner.modes.internal_store {
            return Ok(Established::Outside(session.into_value()));
        }
        let inserted = inner.put(key, session, deadline, now)?;
        Ok(Established::Kept(inserted))
    }

    /// A clone of the value of the session under `key`, for resumption; otherwise like
    /// [`resume_with`](Self::resume_with). In OpenSSL a part of each handshake.
    pub fn resume(&self, key: &SessionKey) -> Resumed<V>
    where
        V: Clone,
    {
        self.resume_with(key, V::clone)
    }

    /// Looks the session under `key` up for resumption, inside and then outside, and calls `f` with its value.
    ///
    /// - Inside, unless the cache goes without [internal
    ///   lookup](crate::SessionCacheBuilder::internal_lookup). A session that is found lives as long
    ///   again if the cache [renews](crate::SessionCacheBuilder::update_time). If it has expired there, that
    ///   is the end of it: what is outside may live longer by what it was told, but not by this cache.
    /// - Outside, if there is an [external tier](ExternalTier::fetch). What comes is used only if it is for this
    ///   id and context, has not expired by the time that it is there, was not purged, and its
    ///   [lineage](crate::SessionCacheBuilder::lineage) has not ended. It is kept inside
    ///   unless the cache goes without [internal store](crate::SessionCacheBuilder::internal_store).
    /// - A session for a single use is taken out, inside and outside, and used only if it was still there in
    ///   both.
    ///
    /// With a [mode](Mode) that does not include this end nothing is looked up.
    ///
    /// The servers of OpenSSL look up in the same way (`SSL_CTX_set_session_cache_mode(3)`); its clients don't.
    ///
    /// A panic in `f` passes through.
    pub fn resume_with<R>(&self, key: &SessionKey, f: impl FnOnce(&V) -> R) -> Resumed<R> {
        self.lookup(key, false, |found| f(found.value()))
    }

    /// Like [`resume_with`](Self::resume_with), but `f` gets all that is known of the session: what a stack
    /// asks for whose resumptions mint sessions, so that these inherit
    /// [when their peer was authenticated](SessionRef::authenticated_at).
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    /// let server = cache.server();
    /// server.established(key(1), "full handshake", SessionOptions::default()).unwrap();
    ///
    /// let since = server.resume_entry(&key(1), |found| found.authenticated_at()).hit().unwrap();
    /// let inherits = SessionOptions::default().authenticated_at(since);
    /// server.established(key(2), "resumption", inherits).unwrap();
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn resume_entry<R>(
        &self,
        key: &SessionKey,
        f: impl FnOnce(SessionRef<'_, V>) -> R,
    ) -> Resumed<R> {
        self.lookup(key, false, f)
    }

    /// Like [`resume_with`](Self::resume_with), but the session is taken out, inside and outside, as if it were for
    /// a single use: what a stack does that uses each ticket of TLS 1.3 once.
    ///
    /// In OpenSSL a lookup, and then `SSL_CTX_remove_session(3)`, which has to say 1.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let ticket = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// let server = cache.server();
    /// server.established(ticket, "a ticket".to_string(), SessionOptions::default()).unwrap();
    ///
    /// assert_eq!(server.take_with(&ticket, |state| state.len()).hit(), Some(8));
    /// assert_eq!(server.take_with(&ticket, |state| state.len()).hit(), None);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn take_with<R>(&self, key: &SessionKey, f: impl FnOnce(&V) -> R) -> Resumed<R> {
        self.lookup(key, true, |found| f(found.value()))
    }

    /// Like [`take_with`](Self::take_with), as [`resume_entry`](Self::resume_entry) is like
    /// [`resume_with`](Self::resume_with).
    pub fn take_entry<R>(
        &self,
        key: &SessionKey,
        f: impl FnOnce(SessionRef<'_, V>) -> R,
    ) -> Resumed<R> {
        self.lookup(key, true, f)
    }

    /// Whether a lookup of the session under `key` would find it inside, expired or not, or the
    /// [external tier](ExternalTier::prepare) could answer now. If not, it is being asked from this call on.
    ///
    /// For stacks that see what a client offers before they look it up, and can put the handshake off: ask again
    /// later, until this is true. Nothing is counted, and nothing taken out.
    #[must_use]
    pub fn prepare(&self, key: &SessionKey) -> bool {
        let inner = self.inner;
        let Some(external) = &inner.external else {
            return true;
        };
        let asks = inner.modes.mode.includes(self.role) && !self.has_inside(key);
        !asks
            || inner
                .contained(|| external.tier.prepare(key))
                .unwrap_or(true)
    }

    /// (A lookup would take out what is for a single use.)
    fn has_inside(&self, key: &SessionKey) -> bool {
        let inner = self.inner;
        let guard = inner.map.pin();
        let now = inner.clock.now();
        inner.modes.internal_lookup
            && (inner.find(key, now, &guard).is_some() || inner.is_expired(key, now, &guard))
    }

    /// `once`: whatever its kind, it is for a single use.
    fn lookup<R>(
        &self,
        key: &SessionKey,
        once: bool,
        f: impl FnOnce(SessionRef<'_, V>) -> R,
    ) -> Resumed<R> {
        let inner = self.inner;
        if !inner.modes.mode.includes(self.role) {
            return Resumed::Miss;
        }
        if inner.modes.internal_lookup {
            let guard = inner.map.pin();
            let found = if once {
                inner.taken(key, &guard)
            } else {
                inner.found(key, &guard)
            };
            if let Some(found) = found {
                let session = found.value();
                let mut arbitrated = true;
                if once || session.is_single_use() {
                    let Some(by_tier) = inner.claim(key, session) else {
                        return Resumed::Miss;
                    };
                    arbitrated = by_tier;
                } else if inner.modes.update_time {
                    inner.renew_by_use(key);
                }
                inner.tallies.count(Count::Hit);
                return Resumed::Hit(f(SessionRef::of(&found).arbitrated(arbitrated)));
            }
            if inner.is_expired(key, inner.clock.now(), &guard) {
                inner.tallies.count(Count::Timeout);
                return Resumed::Miss;
            }
            inner.tallies.count(Count::Miss);
        }
        inner.lookup_outside(key, once, f)
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// What the new-session callback says.
    fn welcomes(&self, key: &SessionKey, value: &V) -> bool {
        self.on_new
            .as_ref()
            .is_none_or(|on_new| self.contained(|| on_new(key, value)).unwrap_or(false))
    }

    /// Other people's code; `None` if it panicked.
    fn contained<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let done = contain(f);
        if done.is_none() {
            self.tallies.count(Count::Panic);
        }
        done
    }

    fn store_outside(
        &self,
        key: &SessionKey,
        session: &Session<V>,
        deadline: Timestamp,
        now: Timestamp,
    ) {
        if let Some(external) = &self.external {
            let session = TierSession {
                authenticated_for: now.saturating_since(session.authenticated_at()),
                single_use: session.is_single_use(),
                probation: session.is_on_probation(),
                tls13: session.is_tls13(),
                ..TierSession::new(*key, session.value(), deadline.saturating_since(now))
            };
            self.contained(|| external.tier.store(session));
        }
    }

    /// A session has been taken out inside, or found outside. `None` if it may not be used, else whether it is known that
    /// nobody else may.
    pub(super) fn claim(&self, key: &SessionKey, session: &Session<V>) -> Option<bool> {
        let Some(external) = &self.external else {
            return Some(true);
        };
        let here = session.removals().is_none();
        let claim = if external.arbitrates {
            let claimed = self.contained(|| external.tier.claim(key));
            external.removed(key);
            claimed.unwrap_or(Claim::Lost)
        } else {
            // Whoever has taken it inside is the only one. What a callback has handed over it may hand over again.
            Claim::from(here)
        };
        match claim {
            Claim::Won => return Some(true),
            Claim::Local if here => return Some(false),
            Claim::Local | Claim::Lost => {}
        }
        self.tallies.count(Count::Unclaimed);
        None
    }

    /// Nobody has looked inside for what was taken outside just now: nor shall anybody find it there, whether it was
    /// established or fetched.
    fn take_unseen(&self, key: &SessionKey) {
        let guard = self.map.pin();
        let _ = self.map.take(key, self.clock.now(), &guard);
    }

    fn lookup_outside<R>(
        &self,
        key: &SessionKey,
        once: bool,
        f: impl FnOnce(SessionRef<'_, V>) -> R,
    ) -> Resumed<R> {
        let Some(external) = &self.external else {
            return Resumed::Miss;
        };
        // Before it is asked for: see the tier's ground rules.
        let removals = external.removals(key);
        let generation = self.contexts.generation(key.context());
        let asked = self.clock.now();
        let taken = if once {
            self.contained(|| external.tier.take(key))
                .unwrap_or(Some(Fetched::Miss))
        } else {
            None
        };
        let claimed = taken.is_some();
        let fetched = taken.or_else(|| self.contained(|| external.tier.fetch(key)));
        let session = match fetched.unwrap_or(Fetched::Miss) {
            Fetched::Hit(session) => session,
            Fetched::Miss => return Resumed::Miss,
            Fetched::Pending => {
                self.tallies.count(Count::Pending);
                return Resumed::Pending;
            }
        };
        if claimed {
            external.removed(key);
        }
        self.tallies.count(Count::CbHit);
        // Its spans are of a time after the question; how long after nobody knows.
        let since = authenticated_at(&session, asked);
        let options = SessionOptions {
            timeout: Some(session.remaining),
            single_use: session.single_use,
            probation: session.probation,
            tls13: session.tls13,
            authenticated_at: Some(since),
        };
        let lineage = self
            .lineage
            .admits(session.authenticated_for, session.tls13, asked);
        let purged = self.contexts.was_purged_since(key.context(), since);
        if session.key != *key || !lineage || purged {
            self.tallies.count(Count::Refused);
            return Resumed::Miss;
        }
        let session = Session::new(
            session.value,
            &options,
            session.remaining,
            generation,
            asked,
        );
        let session = session.fetched(removals);
        let once = once || session.is_single_use();
        if once && !claimed && self.claim(key, &session).is_none() {
            return Resumed::Miss;
        }
        if once && !self.modes.internal_lookup {
            self.take_unseen(key);
        }
        let remaining = options.timeout.unwrap_or(Duration::ZERO);
        let deadline = self.deadline(&session, remaining, asked);
        let now = self.clock.now();
        if deadline < now {
            self.tallies.count(Count::Timeout);
            return Resumed::Miss;
        }
        self.tallies.count(Count::Hit);
        let result = f(SessionRef::new(key, &session, deadline));
        if self.modes.internal_store && !once {
            // If there is no room inside, it stays outside.
            let _ = self.put(*key, session, deadline, now);
        }
        Resumed::Hit(result)
    }
}

impl<V: Send + Sync + 'static> Clone for Endpoint<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V: Send + Sync + 'static> Copy for Endpoint<'_, V> {}

impl<V: Send + Sync + 'static> fmt::Debug for Endpoint<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("role", &self.role)
            .field("mode", &self.inner.modes.mode)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
