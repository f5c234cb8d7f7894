//! Looking at cached sessions: [`SessionRef`] and [`Sessions`].

use std::fmt;

use super::context::Context;
use super::handle::Inner;
use super::id::SessionKey;
use super::session::Session;
use crate::{Entry, Guard, Iter, Timestamp};

/// A cached session with all that the cache knows of it.
///
/// It stays readable for as long as the guard that it was looked up under is
/// held, even after the session has left the cache. `Debug` prints no id and
/// no value.
///
/// # Examples
///
/// ```
/// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
/// use std::time::Duration;
///
/// let cache = SessionCache::builder().build()?;
/// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
/// cache.insert(key, "state").unwrap();
///
/// let guard = cache.pin();
/// let session = cache.get_entry(&key, &guard).unwrap();
/// assert_eq!(*session.value(), "state");
/// assert_eq!(
///     session.deadline().saturating_since(session.authenticated_at()),
///     Duration::from_secs(300),
/// );
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
pub struct SessionRef<'g, V> {
    key: &'g SessionKey,
    session: &'g Session<V>,
    deadline: Timestamp,
    arbitrated: bool,
}

impl<'g, V: Send + Sync + 'static> SessionRef<'g, V> {
    pub(super) fn of(entry: &Entry<'g, SessionKey, Session<V>>) -> Self {
        Self::new(entry.key(), entry.value(), entry.deadline())
    }
}

impl<'g, V> SessionRef<'g, V> {
    pub(super) fn new(key: &'g SessionKey, session: &'g Session<V>, deadline: Timestamp) -> Self {
        Self {
            key,
            session,
            deadline,
            arbitrated: true,
        }
    }

    pub(super) fn arbitrated(self, arbitrated: bool) -> Self {
        Self { arbitrated, ..self }
    }

    /// The key, as stored in the cache.
    #[must_use]
    pub fn key(&self) -> &'g SessionKey {
        self.key
    }

    /// The context that the session belongs to.
    #[must_use]
    pub fn context(&self) -> Context {
        self.key.context()
    }

    /// The value that was inserted.
    #[must_use]
    pub fn value(&self) -> &'g V {
        self.session.value()
    }

    /// The last instant, on the cache's clock, at which the session could be
    /// resumed as things stood when it was looked up. A later
    /// [`retime`](super::SessionCache::retime) doesn't show here.
    /// In OpenSSL `SSL_SESSION_get_time(3)` and `SSL_SESSION_get_timeout(3)` add up to it.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline
    }

    /// When the peer was first fully authenticated, on the cache's clock: the
    /// time of insertion, unless
    /// [`SessionOptions::authenticated_at`](super::SessionOptions::authenticated_at)
    /// said otherwise. Re-timing doesn't change it.
    #[must_use]
    pub fn authenticated_at(&self) -> Timestamp {
        self.session.authenticated_at()
    }

    /// Whether the first successful lookup takes the session out of the cache.
    #[must_use]
    pub fn is_single_use(&self) -> bool {
        self.session.is_single_use()
    }

    /// Whether the session came from the [external tier](crate::ExternalTier), and was not established here. Who takes early
    /// data (0-RTT) of such a session relies on whoever can write to the tier: a ticket that was used may have been put
    /// back there.
    #[must_use]
    pub fn is_from_outside(&self) -> bool {
        self.session.removals().is_some()
    }

    /// Whether it is known that nobody else uses a session that this lookup has taken out. False if the [external
    /// tier](crate::ExternalTier) could not decide and has let this host [use what it has](crate::Claim::Local): whoever takes
    /// early data (0-RTT) of such a session may take it once more on another host. True of all other sessions, those
    /// that may be used more than once included.
    #[must_use]
    pub fn is_arbitrated(&self) -> bool {
        self.arbitrated
    }

    /// Whether the session was inserted with the probation mark.
    #[must_use]
    pub fn is_on_probation(&self) -> bool {
        self.session.is_on_probation()
    }
}

impl<V> Clone for SessionRef<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for SessionRef<'_, V> {}

impl<V> fmt::Debug for SessionRef<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRef")
            .field("key", self.key)
            .field("deadline", &self.deadline)
            .field("authenticated_at", &self.authenticated_at())
            .field("single_use", &self.is_single_use())
            .field("from_outside", &self.is_from_outside())
            .field("arbitrated", &self.arbitrated)
            .field("on_probation", &self.is_on_probation())
            .finish_non_exhaustive()
    }
}

/// The sessions of a cache, in no order.
///
/// Made by [`SessionCache::iter`](super::SessionCache::iter), which says what
/// is seen and what isn't.
pub struct Sessions<'g, V: Send + Sync + 'static> {
    entries: Iter<'g, SessionKey, Session<V>>,
    cache: &'g Inner<V>,
}

impl<'g, V: Send + Sync + 'static> Sessions<'g, V> {
    pub(super) fn new(cache: &'g Inner<V>, guard: &'g Guard) -> Self {
        let entries = cache.map.iter(guard);
        Self { entries, cache }
    }
}

impl<'g, V: Send + Sync + 'static> Iterator for Sessions<'g, V> {
    type Item = SessionRef<'g, V>;

    fn next(&mut self) -> Option<Self::Item> {
        self.entries
            .by_ref()
            .map(|entry| SessionRef::of(&entry))
            .find(|found| self.cache.admits(found.key, found.session))
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for Sessions<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}
