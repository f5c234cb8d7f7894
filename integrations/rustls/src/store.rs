//! `StoresServerSessions` over a `SessionCache`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::server::StoresServerSessions;
use sessionwheel::{
    Context, ContextsExhausted, Established, Role, SessionCache, SessionId, SessionKey,
    SessionOptions, SessionRef,
};
use zeroize::Zeroizing;

use crate::bytes::StoredSession;
use crate::hellos::Hellos;
use crate::offered::Offered;
use crate::stats::{Counters, StoreStats};

/// Length of every key that rustls makes: 32 random bytes.
pub const KEY_LEN: usize = 32;

/// Longest value a store accepts, unless [told otherwise](RustlsStore::with_max_value_len): 64 KB (65,536
/// bytes).
///
/// A session of rustls has about 80 bytes, and those of the client's certificates.
pub const MAX_VALUE_LEN: usize = 64 * 1024;

/// Server session storage for **one** rustls `ServerConfig`, over a shared [`SessionCache`].
///
/// Make one store per server configuration with [`RustlsStore::new`]. Any number of stores may
/// share a cache, and with it one maximum, one clock and one flush, and still never resume each
/// other's sessions, because each has a [`Context`] of its own and the context is part of the key.
///
/// The store is an [endpoint](SessionCache::server) of the cache: it goes by its modes, callbacks and
/// external tier, and is counted in its [`counters`](SessionCache::counters).
///
/// ```
/// use sessionwheel::SessionCache;
/// use sessionwheel_rustls::RustlsStore;
///
/// # fn f(mut config: rustls::ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
/// let cache = SessionCache::builder().build()?;
/// let store = RustlsStore::new(&cache)?.install(&mut config);
/// assert!(config.session_storage.can_cache());
/// # drop(store);
/// # Ok(())
/// # }
/// ```
pub struct RustlsStore {
    cache: SessionCache<StoredSession>,
    context: Context,
    timeout: Option<Duration>,
    max_value_len: usize,
    own_tls13_only: bool,
    hellos: Hellos,
    refused: Counters,
}

impl RustlsStore {
    /// A store with a fresh context of `cache`: the right choice for each server configuration.
    ///
    /// # Errors
    /// [`ContextsExhausted`] if the cache has handed out all its contexts, 16,777,216 of them.
    pub fn new(cache: &SessionCache<StoredSession>) -> Result<Self, ContextsExhausted> {
        Ok(Self::with_context(cache, cache.context()?))
    }

    /// A store that shares `context` with others over the same cache.
    ///
    /// Whoever shares a context can resume each other's sessions, and a resumed session keeps the
    /// client identity that was verified when it was made. Share a context only between
    /// configurations with the same client verifier and the same certificates, for instance
    /// between an old and a new version of one configuration.
    #[must_use]
    pub fn with_context(cache: &SessionCache<StoredSession>, context: Context) -> Self {
        Self {
            cache: cache.clone(),
            context,
            timeout: None,
            max_value_len: MAX_VALUE_LEN,
            own_tls13_only: false,
            hellos: Hellos::new(),
            refused: Counters::default(),
        }
    }

    /// Gives the sessions of this store a lifetime of their own instead of the cache's default.
    ///
    /// A lifetime of more than 24 hours is of no use with TLS 1.3: rustls tells clients that a
    /// stateful ticket lives for 24 hours.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Keeps no session of more than `bytes`, instead of [`MAX_VALUE_LEN`].
    ///
    /// One that is longer is refused and [counted](StoreStats::oversized), and the handshake goes on: its
    /// client will not be able to resume. With this, and the cache's maximum, memory is
    /// bounded whatever certificates clients have. What another host has put into an [external
    /// tier](sessionwheel::ExternalTier), and is longer, is not handed out here either; but it is kept inside, unless the
    /// tier refuses it.
    #[must_use]
    pub fn with_max_value_len(mut self, bytes: usize) -> Self {
        self.max_value_len = bytes;
        self
    }

    /// Makes this the `session_storage` of a configuration. If that takes early data (0-RTT), with a
    /// `max_early_data_size` above 0, the store is [for its own sessions of TLS 1.3 only](Self::own_tls13_only): so set that
    /// before.
    ///
    /// And of the tickets in one hello the store then looks up four at the most, inside and outside; what is behind them is
    /// [counted](StoreStats::too_many_tickets). Where a hello begins the configuration's `cert_resolver` is told, so that
    /// this puts another one around it: if you set one, set it before, or there is no such limit.
    ///
    /// ```
    /// use sessionwheel::SessionCache;
    /// use sessionwheel_rustls::RustlsStore;
    ///
    /// # fn f(mut config: rustls::ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
    /// config.max_early_data_size = 16_384;
    /// let store = RustlsStore::new(&SessionCache::builder().build()?)?.install(&mut config);
    /// assert_eq!(store.stats().from_outside, 0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn install(self, config: &mut ServerConfig) -> Arc<Self> {
        let store = if config.max_early_data_size > 0 {
            self.own_tls13_only()
        } else {
            self
        };
        let store = Arc::new(store);
        config.session_storage = store.clone();
        config.cert_resolver = store.hellos.told_by(config.cert_resolver.clone());
        store
    }

    /// Sessions that come from the cache's [external tier](sessionwheel::ExternalTier) are not resumed in TLS 1.3, but
    /// [refused](StoreStats::from_outside), and their clients make a full handshake. So are those that the tier could not
    /// [decide about](sessionwheel::Claim::Local), and which another host may use too
    /// ([`undecided`](StoreStats::undecided)).
    ///
    /// For configurations that take early data (0-RTT): rustls takes it of any session that it gets, once. Whoever can write
    /// to the tier could put back there what was used, and have it taken again. Without this, and with early data, that is
    /// relied upon not to happen. [`install`](Self::install) sees to it.
    #[must_use]
    pub fn own_tls13_only(mut self) -> Self {
        self.own_tls13_only = true;
        self
    }

    /// Whether lookups of what a client [offers](crate::offered()) would wait for nothing. If not, the cache's
    /// [external tier](sessionwheel::ExternalTier::prepare) is being asked from this call on, for all that is not inside:
    /// call it again a little later, until it says yes, and let rustls have the hello then.
    ///
    /// rustls' lookups are synchronous, so that with a tier that is far away they keep the thread. Of this only the claim
    /// of what was found there is left, in TLS 1.3. [`Endpoint::prepare`](sessionwheel::Endpoint::prepare) says more.
    ///
    /// ```
    /// use sessionwheel::SessionCache;
    /// use sessionwheel_rustls::{Offered, RustlsStore};
    ///
    /// let store = RustlsStore::new(&SessionCache::builder().build()?)?;
    /// assert!(store.prepare(&Offered::default()), "nothing to wait for");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn prepare(&self, offered: &Offered) -> bool {
        let server = self.cache.server();
        offered.ids().fold(true, |ready, id| {
            let key = SessionKey::new(self.context, SessionId::from(*id));
            server.prepare(&key) & ready
        })
    }

    /// The context of this store's sessions.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context
    }

    /// The cache behind the store, to flush it, to count and to change its maximum.
    #[must_use]
    pub fn cache(&self) -> &SessionCache<StoredSession> {
        &self.cache
    }

    /// How many calls this store refused.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        self.refused.snapshot()
    }

    /// The cache's key, or nothing for a key that rustls cannot have made. Runs before any
    /// hashing: clients choose what is looked up, and a TLS 1.3 identity may have 64 KB.
    fn key(&self, id: &[u8]) -> Option<SessionKey> {
        let id = if id.len() == KEY_LEN {
            SessionId::new(id).ok()
        } else {
            None
        };
        if id.is_none() {
            self.refused.bad_keys.add_one();
        }
        id.map(|id| SessionKey::new(self.context, id))
    }

    /// A copy of a session that is not too long, as those may be that come from outside.
    fn within_limit(&self, found: &SessionRef<'_, StoredSession>) -> Option<Vec<u8>> {
        let bytes = found.value().as_bytes();
        if found.is_from_outside() && bytes.len() > self.max_value_len {
            self.refused.oversized.add_one();
            return None;
        }
        Some(bytes.to_vec())
    }

    fn options(&self) -> SessionOptions {
        match self.timeout {
            Some(timeout) => SessionOptions::default().timeout(timeout),
            None => SessionOptions::default(),
        }
    }
}

impl StoresServerSessions for RustlsStore {
    /// Stores `value`, replacing an older one, and wipes both arguments. False: not stored.
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        Hellos::end();
        let (key, value) = (Zeroizing::new(key), Zeroizing::new(value));
        let Some(key) = self.key(&key) else {
            return false;
        };
        if value.len() > self.max_value_len {
            self.refused.oversized.add_one();
            return false;
        }
        let session = StoredSession::copy_from(&value);
        let server = self.cache.server();
        let stored = match server.established(key, session, self.options()) {
            Ok(established) => !matches!(established, Established::Declined(_)),
            Err(_) => false,
        };
        if !stored {
            self.refused.not_stored.add_one();
        }
        stored
    }

    /// A copy of the value, if it is there and has not expired.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key = self.key(key)?;
        let server = self.cache.server();
        let found = server.resume_entry(&key, |found| self.within_limit(&found));
        found.hit()?
    }

    /// Removes the value and returns a copy of it. Of any number of concurrent calls with one key,
    /// exactly one gets it.
    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let key = self.key(key)?;
        if !self.hellos.admits_one_more() {
            self.refused.too_many_tickets.add_one();
            return None;
        }
        let server = self.cache.server();
        let taken = server.take_entry(&key, |found| {
            let replayable = if found.is_from_outside() {
                Some(&self.refused.from_outside)
            } else {
                (!found.is_arbitrated()).then_some(&self.refused.undecided)
            };
            match replayable.filter(|_| self.own_tls13_only) {
                None => self.within_limit(&found),
                Some(refused) => {
                    refused.add_one();
                    None
                }
            }
        });
        taken.hit()?
    }

    /// True unless the cache's maximum is 0 or its mode leaves servers out.
    fn can_cache(&self) -> bool {
        self.cache.maximum() != Some(0) && self.cache.mode().includes(Role::Server)
    }
}

impl fmt::Debug for RustlsStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustlsStore")
            .field("context", &self.context)
            .field("timeout", &self.timeout)
            .field("max_value_len", &self.max_value_len)
            .field("own_tls13_only", &self.own_tls13_only)
            .field("sessions", &self.cache.len())
            .field("refused", &self.stats())
            .finish_non_exhaustive()
    }
}
