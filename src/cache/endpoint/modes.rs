//! Who of a cache's users it is for, and what of it they use.

/// For which handshakes sessions are cached: the `SSL_SESS_CACHE_*` constants of
/// `SSL_CTX_set_session_cache_mode(3)`.
///
/// Set it with [`SessionCacheBuilder::mode`](crate::SessionCacheBuilder::mode). The other constants are
/// settings of their own: `SSL_SESS_CACHE_NO_INTERNAL_LOOKUP` is
/// [`internal_lookup(false)`](crate::SessionCacheBuilder::internal_lookup),
/// `SSL_SESS_CACHE_NO_INTERNAL_STORE` is
/// [`internal_store(false)`](crate::SessionCacheBuilder::internal_store),
/// `SSL_SESS_CACHE_UPDATE_TIME` is [`update_time(true)`](crate::SessionCacheBuilder::update_time), and
/// `SSL_SESS_CACHE_NO_AUTO_CLEAR` is
/// [`automatic_flush(None)`](crate::SessionCacheBuilder::automatic_flush).
///
/// It is asked by [`Endpoint`](super::Endpoint)s; [`get`](crate::SessionCache::get), [`insert`](crate::SessionCache::insert)
/// and the other operations on the cache itself do what they do in any mode.
///
/// ```
/// use sessionwheel::{Context, Established, Mode, SessionCache, SessionId, SessionKey, SessionOptions};
///
/// // For example where one setting switches resumption off.
/// let cache = SessionCache::builder().mode(Mode::Off).build()?;
/// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
/// let server = cache.server();
///
/// let declined = server.established(key, "state", SessionOptions::default()).unwrap();
/// assert_eq!(declined, Established::Declined("state"));
/// cache.insert(key, "by hand").unwrap();
/// assert_eq!(server.resume(&key).hit(), None);
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Mode {
    /// For none: nothing is kept, and nothing is looked up, neither inside nor outside. (OpenSSL's code
    /// goes on looking up.)
    Off,
    /// For those of clients.
    Client,
    /// For those of servers.
    #[default]
    Server,
    /// For both.
    Both,
}

/// Which end of a connection a handshake is seen from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The end that connects.
    Client,
    /// The end that accepts.
    Server,
}

impl Mode {
    /// Whether sessions of this role are cached.
    #[inline]
    #[must_use]
    pub const fn includes(self, role: Role) -> bool {
        matches!(
            (self, role),
            (Self::Both, _) | (Self::Client, Role::Client) | (Self::Server, Role::Server)
        )
    }
}

/// What a cache does with a handshake's session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Modes {
    pub(crate) mode: Mode,
    pub(crate) internal_lookup: bool,
    pub(crate) internal_store: bool,
    pub(crate) update_time: bool,
}

impl Default for Modes {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            internal_lookup: true,
            internal_store: true,
            update_time: false,
        }
    }
}
