//! Settings of a [`SessionCache`]: [`SessionCacheBuilder`].

use std::fmt;
use std::time::Duration;

use super::automatic::Automatic;
use super::clock::Clock;
use super::context::Contexts;
use super::endpoint::{External, ExternalTier, Fetched, GetCallback, Mode, Modes, OnNew, Tallies};
use super::handle::{Inner, SessionCache};
use super::id::SessionKey;
use super::lineage::{self, Lineage};
use super::purge::Purges;
use super::session::Session;
use crate::{BuildError, ExpiringMap, Reason};

const DEFAULT_NAME: &str = "sessions";

/// OpenSSL's `SSL_SESSION_CACHE_MAX_SIZE_DEFAULT`.
const DEFAULT_MAXIMUM: usize = 20_480;

/// What the manual page of OpenSSL's `SSL_CTX_set_timeout` gives as default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// How many sessions an insertion looks at that takes part in a flush: it is not to be felt.
const DEFAULT_BUDGET: usize = 64;

type Spawn = Box<dyn Fn(Box<dyn FnOnce() + Send>) + Send + Sync>;
type OnRemove<V> = Box<dyn Fn(&SessionKey, &V, Reason) + Send + Sync>;

/// Makes a [`SessionCache`]; see [`SessionCache::builder`].
///
/// # Examples
///
/// ```
/// use sessionwheel::{Reason, SessionCache};
/// use std::time::Duration;
///
/// let cache = SessionCache::<Vec<u8>>::builder()
///     .maximum(Some(100_000))
///     .timeout(Duration::from_secs(2 * 60 * 60))
///     .on_remove(|key, state, reason| {
///         if reason == Reason::Evicted {
///             eprintln!("no room for {} bytes of {key:?}", state.len());
///         }
///     })
///     .build()?;
///
/// assert_eq!(cache.maximum(), Some(100_000));
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct SessionCacheBuilder<V: Send + Sync + 'static> {
    name: Box<str>,
    maximum: Option<usize>,
    timeout: Duration,
    clock: Clock,
    shards: Option<usize>,
    helpers: Option<(usize, Spawn)>,
    on_remove: Option<OnRemove<V>>,
    automatic: Option<usize>,
    lineage: Option<Duration>,
    modes: Modes,
    on_new: Option<OnNew<V>>,
    external: Option<Box<dyn ExternalTier<V>>>,
    /// That is more than a callback.
    arbitrates: bool,
    #[cfg(loom)]
    tick_bits: u32,
}

impl<V: Send + Sync + 'static> SessionCacheBuilder<V> {
    pub(super) fn new() -> Self {
        Self {
            name: DEFAULT_NAME.into(),
            maximum: Some(DEFAULT_MAXIMUM),
            timeout: DEFAULT_TIMEOUT,
            clock: Clock::default(),
            shards: None,
            helpers: None,
            on_remove: None,
            automatic: Some(DEFAULT_BUDGET),
            lineage: Some(lineage::DEFAULT),
            modes: Modes::default(),
            on_new: None,
            external: None,
            arbitrates: false,
            #[cfg(loom)]
            tick_bits: 0,
        }
    }

    /// What metrics, traces and `Debug` call the cache; `sessions` by default.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// How many sessions may be cached at once.
    ///
    /// `None` is unlimited, `Some(0)` keeps nothing. The default is 20,480. It can be changed later with
    /// [`SessionCache::set_maximum`].
    ///
    /// `SSL_CTX_sess_set_cache_size(3)`, whose 0 is `None` here. Its page calls the size a hint; OpenSSL's code keeps one
    /// session less than it says.
    pub fn maximum(mut self, maximum: Option<usize>) -> Self {
        self.maximum = maximum;
        self
    }

    /// How long a session lives that is inserted without a timeout of its own.
    ///
    /// Zero is legal: such a session is valid at the instant of its insertion only. [`Duration::MAX`] is for as long as
    /// its [lineage](Self::lineage) may last. The default is 300 seconds.
    ///
    /// `SSL_CTX_set_timeout(3)`, of whose default that is what the page says; OpenSSL's code has 7200 seconds, also
    /// in place of a zero. It can be changed there at any time, and here it stays: give sessions that are to live
    /// for another time a [timeout of their own](super::SessionOptions::timeout).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long after the full authentication of its peer a session may be resumed at the latest.
    ///
    /// Timeouts begin anew with each session that a resumption mints, and with each
    /// [`retime`](SessionCache::retime): without a cap whoever has authenticated once could resume
    /// for ever. Nothing lives beyond it, neither by its timeout nor by a re-timing; an insertion
    /// that comes later is refused as [`InsertError::Expired`](crate::InsertError::Expired). Sessions
    /// inherit the time of their authentication by
    /// [`SessionOptions::authenticated_at`](super::SessionOptions::authenticated_at).
    ///
    /// The default is 24 hours, as RFC 5246 (F.1.4) suggests. `None` is without a cap, but for those of
    /// [TLS 1.3](super::SessionOptions::tls13), which has one of seven days. OpenSSL has none;
    /// BoringSSL's is seven days.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, SessionOptions, Timestamp};
    /// use std::time::Duration;
    ///
    /// let hours = |n: u64| Duration::from_secs(n * 3_600);
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
    /// let cache = SessionCache::builder().clock(clock).timeout(hours(10)).lineage(Some(hours(24)))
    ///     .build()?;
    /// let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    /// cache.insert(key(0), "full handshake").unwrap();
    ///
    /// // Each resumption mints a session that inherits the authentication.
    /// for n in 0..2 {
    ///     hand.advance(hours(9));
    ///     let guard = cache.pin();
    ///     let resumed = cache.get_entry(&key(n), &guard).unwrap();
    ///     let options = SessionOptions::default().authenticated_at(resumed.authenticated_at());
    ///     cache.insert_with(key(n + 1), "resumption", options).unwrap();
    /// }
    /// hand.advance(hours(9));
    /// assert!(!cache.contains(&key(2)), "nine hours old, but it goes back to one of 27 hours ago");
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn lineage(mut self, cap: Option<Duration>) -> Self {
        self.lineage = cap;
        self
    }

    /// The clock to take the time from; [`Clock::monotonic`] by default.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// How many sessions one insertion looks at when the cache flushes by itself.
    ///
    /// Every 255th insertion, of all threads together, begins a flush: it looks at that many sessions at
    /// the most, and drops no more than that. (Threads bring their insertions together by fifteens: if there are
    /// several, up to 14 of each are not counted yet.) If something is left of what had expired by then, each
    /// insertion that follows goes on with as many, until there is nothing; what expires meanwhile is for the next flush.
    /// The default is 64; `None` (or 0) is for those who flush themselves.
    ///
    /// The manual page of OpenSSL's `SSL_CTX_set_session_cache_mode` has it every 255 connections,
    /// without a budget, and calls `None` `SSL_SESS_CACHE_NO_AUTO_CLEAR`.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).automatic_flush(Some(64)).build()?;
    /// let key = |n: u8| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    /// cache.insert(key(0), ()).unwrap();
    ///
    /// hand.advance(Duration::from_secs(301));
    /// for n in 1..=254 {
    ///     assert_eq!(cache.len(), usize::from(n));
    ///     cache.insert(key(n), ()).unwrap();
    /// }
    /// assert_eq!(cache.len(), 254, "the first one is gone");
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn automatic_flush(mut self, budget: Option<usize>) -> Self {
        self.automatic = budget;
        self
    }

    /// Into how many parts the cache is divided, a power of two.
    ///
    /// By default the number follows from the number of cores and from the maximum, as for [`ExpiringMap`]. In a cache of
    /// one shard the session that is evicted is the one of the whole cache that expires first.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// As for the map: the models have few positions.
    #[cfg(loom)]
    #[doc(hidden)]
    pub fn tick_bits(mut self, bits: u32) -> Self {
        self.tick_bits = bits;
        self
    }

    /// Who helps a flush with its shards: up to `threads` tasks are given to
    /// `spawn`, which has to run each on another thread, soon or late or never.
    ///
    /// By default that is rayon's global pool (feature `rayon`), or nobody. With
    /// zero threads a flush stays on the thread that calls it, which leaves the
    /// other processors to the handshakes. In a child that a process forks off it does so anyway, unless a
    /// `spawn` given here does something else.
    pub fn helpers(
        mut self,
        threads: usize,
        spawn: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static,
    ) -> Self {
        self.helpers = Some((threads, Box::new(spawn)));
        self
    }

    /// Calls `on_remove` for each session that leaves the cache, with the reason.
    ///
    /// It is called exactly once for each, on the thread whose call removed the session (of a [`flush`](SessionCache::flush)
    /// and its like also on those of its [helpers](Self::helpers)), after lookups can't find the session any more and before
    /// that call returns, under no lock. It may call into the cache. A panic in it is caught and counted. What was
    /// [purged](SessionCache::purge) leaves as [`Reason::Removed`], with the flush that comes by. Sessions that are still
    /// there when the last handle of the cache is dropped aren't reported.
    ///
    /// `SSL_CTX_sess_set_remove_cb(3)`, which has no reasons, is not called for what was replaced, and is called for all
    /// that is left at the end.
    ///
    /// A second call of this method replaces the first one's function.
    ///
    /// ```
    /// use sessionwheel::{Context, Reason, SessionCache, SessionId, SessionKey};
    ///
    /// let (log, left) = std::sync::mpsc::channel();
    /// let tell = move |_: &_, state: &_, why| log.send((*state, why)).unwrap();
    /// let cache = SessionCache::builder().on_remove(tell).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, "state").unwrap();
    /// cache.remove(&key);
    /// assert_eq!(left.recv(), Ok(("state", Reason::Removed)));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn on_remove(
        mut self,
        on_remove: impl Fn(&SessionKey, &V, Reason) + Send + Sync + 'static,
    ) -> Self {
        self.on_remove = Some(Box::new(on_remove));
        self
    }

    /// Calls `on_new` for each session that a handshake has
    /// [established](super::Endpoint::established), before it is kept; one that it says false to is not
    /// kept, neither inside nor outside.
    ///
    /// So has it the manual page of `SSL_CTX_sess_set_new_cb(3)`; OpenSSL's code keeps it inside, and
    /// calls when it is there already. One that panics has said false; that is counted. It may call
    /// into the cache. A second call of this method replaces the first one's function.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
    ///
    /// let cache = SessionCache::<Vec<u8>>::builder().on_new(|_key, state| state.len() < 100).build()?;
    /// let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    /// let server = cache.server();
    ///
    /// let small = server.established(key(1), vec![0; 10], SessionOptions::default()).unwrap();
    /// let large = server.established(key(2), vec![0; 1_000], SessionOptions::default()).unwrap();
    /// assert!(small.is_kept() && !large.is_kept());
    /// assert_eq!((cache.len(), cache.counters().declined), (1, 1));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn on_new(
        mut self,
        on_new: impl Fn(&SessionKey, &V) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.on_new = Some(Box::new(on_new));
        self
    }

    /// What lies outside of this cache: see [`ExternalTier`].
    ///
    /// A second call of this method, or one of [`on_get`](Self::on_get), replaces the first one's.
    pub fn external(mut self, tier: impl ExternalTier<V>) -> Self {
        self.external = Some(Box::new(tier));
        self.arbitrates = true;
        self
    }

    /// Asks `on_get` for each session that a handshake [looks up](super::Endpoint::resume) and that is not
    /// inside: `SSL_CTX_sess_set_get_cb(3)`.
    ///
    /// With [`on_new`](Self::on_new) and [`on_remove`](Self::on_remove) that is an external cache
    /// as OpenSSL has it. An [`ExternalTier`] is more: it also decides who may use a session for a single use.
    ///
    /// Nobody decides that here, so what the callback hands over **is never used as one**: neither a session that is
    /// [for a single use](super::TierSession::single_use), which the callback has to say, nor one that is
    /// [taken](super::Endpoint::take_with), as each ticket of TLS 1.3 is by some stacks. Such lookups are misses, counted as
    /// [unclaimed](super::Counters::unclaimed). As long as the session is inside, where it was established, its one use is
    /// there. (OpenSSL, too, takes early data only of a session that it has removed from its internal cache.)
    ///
    /// It has to say when the session's peer was [authenticated](super::TierSession::authenticated_for), if it knows: else
    /// that is now. Then the session outlives a [purge](SessionCache::purge) of its context, and with each fetch its
    /// [lineage](Self::lineage) begins anew. `on_new` is not told these times; an [`ExternalTier`] is.
    ///
    /// ```
    /// use sessionwheel::{Context, Fetched, SessionCache, SessionId, SessionKey, TierSession};
    /// use std::time::Duration;
    ///
    /// let cache = SessionCache::builder()
    ///     .on_get(|key| match key.id().as_bytes() {
    ///         [1, ..] => Fetched::Hit(TierSession::new(*key, "from outside", Duration::from_secs(60))),
    ///         _ => Fetched::Miss,
    ///     })
    ///     .build()?;
    /// let [there, elsewhere] = [1, 2].map(|n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32])));
    ///
    /// assert_eq!(cache.server().resume(&there).hit(), Some("from outside"));
    /// assert_eq!(cache.server().resume(&elsewhere).hit(), None);
    /// assert!(cache.contains(&there), "kept inside");
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn on_get(
        mut self,
        on_get: impl Fn(&SessionKey) -> Fetched<V> + Send + Sync + 'static,
    ) -> Self {
        self.external = Some(Box::new(GetCallback(on_get)));
        self.arbitrates = false;
        self
    }

    /// For which handshakes sessions are cached; those of servers by default.
    ///
    /// `SSL_CTX_set_session_cache_mode(3)`, which can be called at any time; here it is said once. OpenSSL's code goes on
    /// looking up sessions, whatever the mode.
    ///
    /// ```
    /// use sessionwheel::{Context, Mode, SessionCache, SessionId, SessionKey, SessionOptions};
    ///
    /// let cache = SessionCache::builder().mode(Mode::Client).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    ///
    /// assert!(!cache.server().established(key, "served", SessionOptions::default()).unwrap().is_kept());
    /// assert!(cache.client().established(key, "connected", SessionOptions::default()).unwrap().is_kept());
    /// assert!(cache.server().resume(&key).hit().is_none());
    /// assert_eq!(cache.client().resume(&key).hit(), Some("connected"));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn mode(mut self, mode: Mode) -> Self {
        self.modes.mode = mode;
        self
    }

    /// Whether [`resume`](super::Endpoint::resume) looks inside; it does by default.
    ///
    /// False is `SSL_SESS_CACHE_NO_INTERNAL_LOOKUP` of `SSL_CTX_set_session_cache_mode(3)`: only what lies
    /// [outside](Self::external) counts.
    pub fn internal_lookup(mut self, lookup: bool) -> Self {
        self.modes.internal_lookup = lookup;
        self
    }

    /// Whether what is [established](super::Endpoint::established), or comes from outside, is kept inside; it is by
    /// default.
    ///
    /// False is `SSL_SESS_CACHE_NO_INTERNAL_STORE` of `SSL_CTX_set_session_cache_mode(3)`. What is inserted by
    /// [`SessionCache::insert`] is kept inside all the same, and found there.
    ///
    /// ```
    /// use sessionwheel::{Context, Fetched, SessionCache, SessionId, SessionKey, TierSession};
    /// use std::time::Duration;
    ///
    /// // All that counts is outside.
    /// let cache = SessionCache::builder()
    ///     .internal_lookup(false)
    ///     .internal_store(false)
    ///     .on_get(|key| Fetched::Hit(TierSession::new(*key, "from outside", Duration::from_secs(60))))
    ///     .build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// assert_eq!(cache.server().resume(&key).hit(), Some("from outside"));
    /// assert!(cache.is_empty());
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn internal_store(mut self, store: bool) -> Self {
        self.modes.internal_store = store;
        self
    }

    /// Whether a session that is [resumed](super::Endpoint::resume) lives as long again, from then on; it
    /// doesn't by default.
    ///
    /// It lives for the timeout it was established with, or [re-timed](SessionCache::retime) to last, one that came from
    /// outside for the cache's; never shorter than without the use, and never beyond the cap on its
    /// [lineage](Self::lineage). One for a single use is not renewed.
    ///
    /// An external tier is not told, as it isn't of a re-timing to live longer: there the session expires as before. From then on
    /// no other host finds it, and on this one it can be resumed but no longer be claimed, so a
    /// [take](super::Endpoint::take_with) is a miss.
    ///
    /// True is `SSL_SESS_CACHE_UPDATE_TIME` as `SSL_CTX_set_session_cache_mode(3)` has it. (OpenSSL's code renews when
    /// a session is added, not when it is used.)
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, SessionOptions, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).update_time(true).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.server().established(key, (), SessionOptions::default()).unwrap();
    ///
    /// for _ in 0..5 {
    ///     hand.advance(Duration::from_secs(200));
    ///     assert!(cache.server().resume(&key).hit().is_some());
    /// }
    /// hand.advance(Duration::from_secs(301));
    /// assert!(cache.server().resume(&key).hit().is_none());
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn update_time(mut self, renew: bool) -> Self {
        self.modes.update_time = renew;
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    ///
    /// [`BuildError`] if the underlying map can't be built with these settings,
    /// for example because the number of shards isn't a power of two.
    pub fn build(self) -> Result<SessionCache<V>, BuildError> {
        let mut map = ExpiringMap::<SessionKey, Session<V>>::builder()
            .maximum(self.maximum)
            .now(self.clock.now());
        #[cfg(loom)]
        {
            map = map.tick_bits(self.tick_bits);
        }
        if let Some(shards) = self.shards {
            map = map.shards(shards);
        }
        if let Some((threads, spawn)) = self.helpers {
            map = map.helpers(threads, spawn);
        }
        let external = self.external;
        let external = external.map(|tier| External::new(tier, self.arbitrates));
        if self.on_remove.is_some() || external.is_some() {
            let (on_remove, external) = (self.on_remove, external.clone());
            map = map.listener(move |key, session: &Session<V>, reason| {
                if let Some(external) = &external {
                    external.left(key, reason);
                }
                if let Some(on_remove) = &on_remove {
                    on_remove(key, session.value(), reason);
                }
            });
        }
        Ok(SessionCache::new(Inner {
            name: self.name,
            map: map.build()?,
            clock: self.clock,
            timeout: self.timeout,
            lineage: Lineage::new(self.lineage),
            contexts: Contexts::new(),
            purges: Purges::default(),
            automatic: Automatic::new(self.automatic),
            modes: self.modes,
            on_new: self.on_new,
            external,
            tallies: Tallies::new(),
        }))
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for SessionCacheBuilder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionCacheBuilder")
            .field("name", &self.name)
            .field("maximum", &self.maximum)
            .field("timeout", &self.timeout)
            .field("lineage", &self.lineage)
            .field("clock", &self.clock)
            .field("shards", &self.shards)
            .field(
                "helpers",
                &self.helpers.as_ref().map(|(threads, _)| threads),
            )
            .field("on_remove", &self.on_remove.is_some())
            .field("automatic_flush", &self.automatic)
            .field("modes", &self.modes)
            .field("on_new", &self.on_new.is_some())
            .field("external", &self.external.is_some())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Context, SessionId};
    use crate::sync::Arc;
    use crate::sync::atomic::{AtomicUsize, Ordering};
    use crate::{InsertError, Timestamp};

    fn key(n: u8) -> SessionKey {
        SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
    }

    #[test]
    fn the_defaults_are_300_seconds_and_20480_sessions() {
        let cache = SessionCache::<()>::builder().build().unwrap();
        assert_eq!(cache.timeout(), Duration::from_secs(300));
        assert_eq!(cache.maximum(), Some(20_480));
    }

    #[test]
    fn settings_arrive() {
        let (clock, _hand) = Clock::manual(Timestamp::from_secs(77));
        let cache = SessionCache::<()>::builder()
            .maximum(None)
            .timeout(Duration::from_secs(9))
            .clock(clock)
            .shards(2)
            .build()
            .unwrap();
        assert_eq!(cache.maximum(), None);
        assert_eq!(cache.timeout(), Duration::from_secs(9));
        assert_eq!(cache.now(), Timestamp::from_secs(77));
    }

    #[test]
    fn a_cache_of_zero_keeps_nothing_and_hands_back_what_it_refuses() {
        let cache = SessionCache::builder().maximum(Some(0)).build().unwrap();
        let error = cache.insert(key(1), "refused").unwrap_err();
        assert!(matches!(error, InsertError::Zero(..)));
        assert_eq!(error.into_parts(), (key(1), "refused"));
        assert!(cache.is_empty());
        assert!(!cache.contains(&key(1)));
    }

    #[test]
    fn on_remove_is_told_key_value_and_reason_once() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = calls.clone();
        let cache = SessionCache::builder()
            .on_remove(move |k, value: &&str, reason| {
                assert_eq!((k, *value, reason), (&key(1), "bye", Reason::Removed));
                counted.fetch_add(1, Ordering::Relaxed);
            })
            .build()
            .unwrap();
        cache.insert(key(1), "bye").unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert!(cache.remove(&key(1)));
        assert!(!cache.remove(&key(1)));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert_eq!(cache.stats().listener_panics, 0);
    }

    #[test]
    fn the_second_on_remove_replaces_the_first() {
        let calls = Arc::new(AtomicUsize::new(0));
        let (first, second) = (calls.clone(), calls.clone());
        let cache = SessionCache::builder()
            .on_remove(move |_, _, _| _ = first.fetch_add(1, Ordering::Relaxed))
            .on_remove(move |_, _, _| _ = second.fetch_add(100, Ordering::Relaxed))
            .build()
            .unwrap();
        cache.insert(key(1), ()).unwrap();
        cache.remove(&key(1));
        assert_eq!(calls.load(Ordering::Relaxed), 100);
    }

    #[test]
    fn debug_shows_the_settings() {
        let builder = SessionCache::<()>::builder().maximum(None).shards(4);
        let text = format!("{builder:?}");
        assert!(text.contains("maximum: None"), "{text}");
        assert!(text.contains("shards: Some(4)"), "{text}");
        assert!(text.contains("on_remove: false"), "{text}");
    }
}
