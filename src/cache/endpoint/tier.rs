//! What lies outside: a store that this cache is a part of, for example shared by many hosts.
//!
//! # Ground rules
//!
//! - The tier is never called under a lock, and what asks it for a session not under a guard either. Every
//!   call is contained: one that panics costs a miss.
//! - A session goes outside *before* it is inside, so that whoever removes it from inside, and then
//!   from outside, removes both.
//! - Who tells that a session has expired or was evicted looks first whether another lives under its key: then that
//!   one is what is outside. (Between a session's way outside and its way inside that cannot be known: see
//!   [`ExternalTier::remove`].)
//! - What came from outside is kept inside with the number of removals that there had been, of ids like
//!   this one, *before* it was asked for, and with the generation that its context had then; a lookup compares.
//!   So a removal or a purge that has returned is not undone by a fetch that was under way.
//! - What was authenticated before the last purge of its context is refused, by the time: hosts count their purges
//!   each by itself.

use std::array;
use std::fmt;
use std::time::Duration;

use crate::cache::handle::Inner;
use crate::cache::id::SessionKey;
use crate::contain::contain;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sync::{Arc, OnceLock, Weak};
use crate::{Reason, Timestamp};

/// A session on its way between a cache and its [`ExternalTier`].
///
/// Times are spans, since hosts needn't have a clock in common. (In OpenSSL an `SSL_SESSION` goes that way, as
/// `i2d_SSL_SESSION(3)` writes it, with its time of day.)
///
/// # Examples
///
/// ```
/// use sessionwheel::{Context, SessionId, SessionKey, TierSession};
/// use std::time::Duration;
///
/// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
/// let mut session = TierSession::new(key, b"state".to_vec(), Duration::from_secs(300));
/// session.single_use = true;
/// assert_eq!(session.authenticated_for, Duration::ZERO);
/// ```
///
/// `Debug` prints no id and no value.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierSession<T> {
    /// Its context and id. One that comes from outside is refused unless they are those that were asked
    /// for.
    pub key: SessionKey,
    /// The caller's.
    pub value: T,
    /// How long it still lives. One that comes from outside lives no longer than that from when it was asked for,
    /// however long the answer takes.
    pub remaining: Duration,
    /// How long ago its peer was fully authenticated. One that comes from outside is refused if that is
    /// longer than its [lineage](crate::SessionCacheBuilder::lineage) may last, or before the last
    /// [purge](crate::SessionCache::purge) of its context; and, where there is a cap,
    /// if it was before the zero of the cache's clock, which only [manual](crate::Clock::manual) ones come
    /// near to.
    pub authenticated_for: Duration,
    /// As in [`SessionOptions`](crate::SessionOptions::single_use).
    pub single_use: bool,
    /// As in [`SessionOptions`](crate::SessionOptions::probation).
    pub probation: bool,
    /// As in [`SessionOptions`](crate::SessionOptions::tls13).
    pub tls13: bool,
}

impl<T> TierSession<T> {
    /// A session for any number of resumptions, just authenticated: say so if it was [before](Self::authenticated_for), or
    /// neither the end of its lineage nor a purge is of any effect.
    pub fn new(key: SessionKey, value: T, remaining: Duration) -> Self {
        Self {
            key,
            value,
            remaining,
            authenticated_for: Duration::ZERO,
            single_use: false,
            probation: false,
            tls13: false,
        }
    }

    /// The same with another value, for example serialised.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> TierSession<U> {
        TierSession {
            value: f(self.value),
            key: self.key,
            remaining: self.remaining,
            authenticated_for: self.authenticated_for,
            single_use: self.single_use,
            probation: self.probation,
            tls13: self.tls13,
        }
    }
}

impl<T> fmt::Debug for TierSession<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TierSession")
            .field("key", &self.key)
            .field("remaining", &self.remaining)
            .field("authenticated_for", &self.authenticated_for)
            .field("single_use", &self.single_use)
            .field("probation", &self.probation)
            .field("tls13", &self.tls13)
            .finish_non_exhaustive()
    }
}

/// What an [`ExternalTier`] has for an id. `Debug` prints no id and no value.
#[derive(Clone, PartialEq, Eq)]
pub enum Fetched<V> {
    /// The session.
    Hit(TierSession<V>),
    /// Nothing, or nothing that could be had in time.
    Miss,
    /// It is being asked for: the handshake may be suspended, and then ask again. (OpenSSL has nothing like
    /// it in this place; BoringSSL has `SSL_magic_pending_session_ptr`.)
    Pending,
}

/// What an [`ExternalTier`] says to the one who wants to use a session for a single use. (OpenSSL's external caches are not
/// asked that.)
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Claim {
    /// It is his, and nobody else's on any host.
    Won,
    /// Somebody else has it, or it was removed, or there is none: a miss.
    Lost,
    /// It can't be said now, and what is here may be used all the same: by one on this host, who has taken it inside, but
    /// perhaps by others on other hosts too. So only a session that was established with this cache is used, and it
    /// [says so](crate::SessionRef::is_arbitrated); one that came from outside is a miss.
    Local,
}

impl From<bool> for Claim {
    /// True has won.
    fn from(won: bool) -> Self {
        if won { Self::Won } else { Self::Lost }
    }
}

impl<V> fmt::Debug for Fetched<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hit(session) => f.debug_tuple("Hit").field(session).finish(),
            Self::Miss => f.write_str("Miss"),
            Self::Pending => f.write_str("Pending"),
        }
    }
}

/// A store outside of the cache that keeps the same sessions, and more: what OpenSSL calls an
/// external cache, with `SSL_CTX_sess_set_new_cb(3)`, `…_get_cb` and `…_remove_cb`.
///
/// [`Endpoint`](super::Endpoint)s look inside first, then here for what is not there; what is established goes to both. The
/// methods are called on the threads of handshakes and flushes, under no lock: none of them should wait
/// for long. While [`claim`](Self::claim) and [`remove`](Self::remove) run nothing that leaves a cache can be
/// reused, as if a guard were held. Who writes behind sees to it that a `fetch` on the same host
/// finds what was stored before it, and nothing that was removed before it.
///
/// A tier that is down answers [`Fetched::Miss`]; one that panics is taken at that.
///
/// # Examples
///
/// A map as the tier of two caches; a real one is in a server that both hosts reach, and forgets by itself
/// what has expired.
///
/// ```
/// use sessionwheel::{
///     Claim, Context, ExternalTier, Fetched, Reason, SessionCache, SessionId, SessionKey, SessionOptions,
///     TierSession,
/// };
/// use std::collections::HashMap;
/// use std::sync::{Arc, Mutex};
/// use std::time::Instant;
///
/// #[derive(Clone, Default)]
/// struct Shared(Arc<Mutex<HashMap<SessionKey, (Instant, TierSession<String>)>>>);
///
/// impl ExternalTier<String> for Shared {
///     fn store(&self, session: TierSession<&String>) {
///         let session = (Instant::now(), session.map(String::clone));
///         self.0.lock().unwrap().insert(session.1.key, session);
///     }
///     fn fetch(&self, key: &SessionKey) -> Fetched<String> {
///         let Some((since, mut session)) = self.0.lock().unwrap().get(key).cloned() else {
///             return Fetched::Miss;
///         };
///         let Some(remaining) = session.remaining.checked_sub(since.elapsed()) else {
///             return Fetched::Miss;
///         };
///         session.authenticated_for += since.elapsed();
///         session.remaining = remaining;
///         Fetched::Hit(session)
///     }
///     fn claim(&self, key: &SessionKey) -> Claim {
///         self.0.lock().unwrap().remove(key).is_some().into()
///     }
///     fn remove(&self, key: &SessionKey, reason: Reason) {
///         // One that had to make room there can still be fetched, and what has expired is forgotten anyway.
///         if !matches!(reason, Reason::Evicted | Reason::Expired) {
///             self.0.lock().unwrap().remove(key);
///         }
///     }
/// }
///
/// let tier = Shared::default();
/// let host = || SessionCache::builder().external(tier.clone()).build();
/// let (a, b) = (host()?, host()?);
///
/// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
/// a.server().established(key, "state".into(), SessionOptions::default()).unwrap();
/// assert_eq!(b.server().resume(&key).hit().as_deref(), Some("state"));
///
/// // A ticket for a single use is good on one of the hosts.
/// let ticket = SessionKey::new(Context::DEFAULT, SessionId::from([2; 32]));
/// let once = SessionOptions::default().single_use(true);
/// a.server().established(ticket, "ticket".into(), once).unwrap();
/// assert!(b.server().resume(&ticket).hit().is_some());
/// assert!(a.server().resume(&ticket).hit().is_none());
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
pub trait ExternalTier<V>: Send + Sync + 'static {
    /// Keeps a session for `remaining`, in place of what there was under its key.
    fn store(&self, session: TierSession<&V>);

    /// The session under `key`, which stays there. Called after a lookup inside has found none, not even one that has
    /// expired.
    ///
    /// Its spans are to be those of now: the time that it has spent outside goes off
    /// [`remaining`](TierSession::remaining), and comes to
    /// [`authenticated_for`](TierSession::authenticated_for).
    fn fetch(&self, key: &SessionKey) -> Fetched<V>;

    /// Takes the session under `key` out: [`Won`](Claim::Won) for one of all who ask, on all hosts.
    ///
    /// Called when a session for a single use was found, inside or outside, or a session was
    /// [taken](crate::SessionCache::take). It is not used if this says [`Lost`](Claim::Lost).
    fn claim(&self, key: &SessionKey) -> Claim;

    /// [`fetch`](Self::fetch) and [`claim`](Self::claim) in one, for tiers that have one step for both: the session, if it was
    /// there and is the caller's alone now. `None`, as by default, if those are to be called one after the other.
    ///
    /// Called for a lookup that takes the session out whatever its kind, and has found none inside.
    ///
    /// ```
    /// use sessionwheel::{
    ///     Claim, Context, ExternalTier, Fetched, Reason, SessionCache, SessionId, SessionKey, TierSession,
    /// };
    /// use std::collections::HashMap;
    /// use std::sync::Mutex;
    /// use std::time::Duration;
    ///
    /// /// As if it were a server far away, to which each call is a journey.
    /// struct Far(Mutex<HashMap<SessionKey, TierSession<u32>>>);
    ///
    /// impl ExternalTier<u32> for Far {
    ///     fn take(&self, key: &SessionKey) -> Option<Fetched<u32>> {
    ///         let taken = self.0.lock().unwrap().remove(key);
    ///         Some(taken.map_or(Fetched::Miss, Fetched::Hit))
    ///     }
    ///     // ...
    /// #   fn store(&self, _: TierSession<&u32>) {}
    /// #   fn fetch(&self, _: &SessionKey) -> Fetched<u32> { unreachable!("taken in one step") }
    /// #   fn claim(&self, _: &SessionKey) -> Claim { unreachable!("taken in one step") }
    /// #   fn remove(&self, _: &SessionKey, _: Reason) {}
    /// }
    ///
    /// let ticket = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// let made_elsewhere = TierSession::new(ticket, 7, Duration::from_secs(60));
    /// let far = Far(Mutex::new(HashMap::from([(ticket, made_elsewhere)])));
    /// let cache = SessionCache::builder().external(far).build()?;
    ///
    /// assert_eq!(cache.server().take_with(&ticket, |n| *n).hit(), Some(7));
    /// assert_eq!(cache.server().take_with(&ticket, |n| *n).hit(), None);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    fn take(&self, key: &SessionKey) -> Option<Fetched<V>> {
        let _ = key;
        None
    }

    /// Whether a [`fetch`](Self::fetch) that comes next would wait for nothing and be answered. If not, the tier asks from now
    /// on, and says yes after some time, whatever comes of it. Must not wait itself.
    ///
    /// Called when a handshake can be put off until then. By default yes: the tier is asked when it has to be.
    ///
    /// ```
    /// use sessionwheel::{
    ///     Claim, Context, ExternalTier, Fetched, Reason, SessionCache, SessionId, SessionKey, TierSession,
    /// };
    /// use std::sync::{Arc, OnceLock, mpsc};
    /// use std::time::Duration;
    ///
    /// /// Asks on another thread. (For one session; a real one has a map of questions that forgets what nobody fetches.)
    /// struct Asks {
    ///     questions: mpsc::Sender<SessionKey>,
    ///     answer: Arc<OnceLock<TierSession<u32>>>,
    /// }
    ///
    /// impl ExternalTier<u32> for Asks {
    ///     fn prepare(&self, key: &SessionKey) -> bool {
    ///         self.answer.get().is_some() || self.questions.send(*key).is_err()
    ///     }
    ///     fn fetch(&self, _: &SessionKey) -> Fetched<u32> {
    ///         self.answer.get().map_or(Fetched::Miss, |found| Fetched::Hit(*found))
    ///     }
    ///     // ...
    /// #   fn store(&self, _: TierSession<&u32>) {}
    /// #   fn claim(&self, _: &SessionKey) -> Claim { Claim::Won }
    /// #   fn remove(&self, _: &SessionKey, _: Reason) {}
    /// }
    ///
    /// let (questions, asked) = mpsc::channel();
    /// let answer = Arc::new(OnceLock::new());
    /// let tier = Asks { questions, answer: Arc::clone(&answer) };
    /// let cache = SessionCache::builder().external(tier).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    ///
    /// assert!(!cache.server().prepare(&key), "the handshake is put off");
    /// // On the other thread:
    /// let question = asked.recv().unwrap();
    /// answer.set(TierSession::new(question, 7, Duration::from_secs(60))).unwrap();
    /// // And the handshake goes on.
    /// assert!(cache.server().prepare(&key));
    /// assert_eq!(cache.server().resume(&key).hit(), Some(7));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    fn prepare(&self, key: &SessionKey) -> bool {
        let _ = key;
        true
    }

    /// A session has left the cache, or is to be resumed no more, or [no longer](crate::SessionCache::retime) than is known
    /// here; whether to keep it here is the tier's to say: one that was [evicted](Reason::Evicted) can still be fetched,
    /// and one that was [removed](Reason::Removed) is to be resumed nowhere. Not called for those that were replaced (expired
    /// or not) or claimed.
    ///
    /// That a session has [expired](Reason::Expired) or was evicted is told by key, and somewhat later: if another is
    /// [established](super::Endpoint::established) under the key at that very moment, it may be stored here before this call comes. A tier whose
    /// clients use keys again does best to drop, upon these two reasons, only what has expired by its own time; all others
    /// need not care.
    fn remove(&self, key: &SessionKey, reason: Reason);
}

/// A tier that is but a function to ask: `SSL_CTX_sess_set_get_cb(3)`.
pub(crate) struct GetCallback<F>(pub(crate) F);

impl<V, F> ExternalTier<V> for GetCallback<F>
where
    F: Fn(&SessionKey) -> Fetched<V> + Send + Sync + 'static,
{
    fn store(&self, _: TierSession<&V>) {}

    fn fetch(&self, key: &SessionKey) -> Fetched<V> {
        (self.0)(key)
    }

    /// Nobody asks it.
    fn claim(&self, _: &SessionKey) -> Claim {
        Claim::Lost
    }

    fn remove(&self, _: &SessionKey, _: Reason) {}
}

/// A tier, and what the cache has to remember of what it has told it.
pub(crate) struct External<V: Send + Sync + 'static> {
    pub(crate) tier: Box<dyn ExternalTier<V>>,
    /// It can say who may use a session for a single use.
    pub(crate) arbitrates: bool,
    removals: Removals,
    /// Of calls that no handshake makes.
    panics: AtomicU64,
    /// The cache that this is outside of, once there is one. Weak: it holds this.
    inside: OnceLock<Weak<Inner<V>>>,
}

impl<V: Send + Sync + 'static> External<V> {
    pub(crate) fn new(tier: Box<dyn ExternalTier<V>>, arbitrates: bool) -> Arc<Self> {
        Arc::new(Self {
            tier,
            arbitrates,
            removals: Removals(array::from_fn(|_| AtomicU32::new(0))),
            panics: AtomicU64::new(0),
            inside: OnceLock::new(),
        })
    }

    /// Says which cache it is outside of: once, before anything leaves that.
    pub(crate) fn is_outside_of(&self, inside: &Arc<Inner<V>>) {
        let set = self.inside.set(Arc::downgrade(inside));
        debug_assert!(set.is_ok(), "of one cache");
    }

    /// How often sessions with ids like this one have been removed so far.
    #[inline]
    pub(crate) fn removals(&self, key: &SessionKey) -> u32 {
        // Acquire: partner of the Release in `removed`. A fetch that begins after it does not find what
        // was removed.
        self.removals.of(key).load(Ordering::Acquire)
    }

    /// A session has left the cache.
    pub(crate) fn left(&self, key: &SessionKey, reason: Reason) {
        // Another is in its place; or whoever has taken it asks for it outside.
        if matches!(reason, Reason::Replaced | Reason::Taken) {
            return;
        }
        let by_time = matches!(reason, Reason::Expired | Reason::Evicted);
        // One that had expired is not said to have been replaced, and a flush tells of many after it has removed them.
        if by_time && self.another_lives(key) {
            return;
        }
        self.tell_of_removal(key, reason);
        if !by_time {
            self.removed(key);
        }
    }

    /// Whether there is one inside now.
    fn another_lives(&self, key: &SessionKey) -> bool {
        let inside = self.inside.get().and_then(Weak::upgrade);
        inside.is_some_and(|inside| inside.holds(key))
    }

    /// A session is to live shorter than it was said to when it went outside, or came from there.
    pub(crate) fn shortened(&self, key: &SessionKey, fetched: bool) {
        self.tell_of_removal(key, Reason::Removed);
        // That would hide the session itself, if it was fetched: then two that fetch it at once still bring it back as
        // it was.
        if !fetched {
            self.removed(key);
        }
    }

    fn tell_of_removal(&self, key: &SessionKey, reason: Reason) {
        if contain(|| self.tier.remove(key, reason)).is_none() {
            self.panics.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// A session is to be resumed no more, and that has been said outside.
    pub(crate) fn removed(&self, key: &SessionKey) {
        // Release: partner of the Acquire in `removals`. Without it a fetch that comes after this could
        // still find outside what was removed there, and keep it with the new number.
        self.removals.of(key).fetch_add(1, Ordering::Release);
    }
}

/// So many kinds of ids are told apart, in 16 KB. A removal makes what was fetched of the same kind invisible
/// inside, which costs another fetch: with 1,000 tickets claimed each second that happens to a session every
/// four seconds.
#[cfg(not(loom))]
const KINDS: usize = 4_096;
#[cfg(loom)]
const KINDS: usize = 1;

/// By kind of id. (2^32 removals of one kind while a session lives would be needed to deceive anyone.)
struct Removals([AtomicU32; KINDS]);

impl Removals {
    /// Which kind depends on all bytes: ids may begin, or end, with a tag that they have in common.
    fn of(&self, key: &SessionKey) -> &AtomicU32 {
        let folded = key.id().as_bytes().iter().fold(0_u32, |all, &byte| {
            // Knuth's multiplicative hashing: by 2^32 over the golden ratio.
            (all ^ u32::from(byte)).wrapping_mul(0x9e37_79b1)
        });
        &self.0[(folded >> 16) as usize % KINDS]
    }
}

/// A session was asked for at `asked`, and came: when it was authenticated, by the clock here, or somewhat earlier.
pub(crate) fn authenticated_at<T>(session: &TierSession<T>, asked: Timestamp) -> Timestamp {
    asked.saturating_sub(session.authenticated_for)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Context, SessionId};
    use std::collections::HashSet;

    #[test]
    fn ids_with_a_tag_in_common_are_of_many_kinds() {
        let removals = Removals(array::from_fn(|_| AtomicU32::new(0)));
        for place in [0, 5, 15, 28] {
            let kinds: HashSet<_> = (0..4_096_u32)
                .map(|n| {
                    let mut id = [7; SessionId::MAX_LEN];
                    id[place..place + 4]
                        .copy_from_slice(&n.wrapping_mul(0x9e37_79b1).to_le_bytes());
                    let key = SessionKey::new(Context::DEFAULT, SessionId::from(id));
                    std::ptr::from_ref(removals.of(&key)).addr()
                })
                .collect();
            // Of random numbers 1 - 1/e, 2,589 of them.
            assert!(kinds.len() > 2_000, "{} kinds", kinds.len());
        }
        let of = |n| removals.of(&SessionKey::new(Context::DEFAULT, SessionId::from([n; 32])));
        let kinds: HashSet<_> = (0..=255)
            .map(|n| std::ptr::from_ref(of(n)).addr())
            .collect();
        assert!(kinds.len() > 200, "{} kinds", kinds.len());
    }
}
