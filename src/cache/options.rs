//! What may be said about a session when it is inserted.

use std::time::Duration;

use crate::Timestamp;

/// How a session is to be kept, for
/// [`SessionCache::insert_with`](super::SessionCache::insert_with).
///
/// The default is what [`insert`](super::SessionCache::insert) does: the
/// cache's timeout, any number of resumptions, authenticated now.
///
/// Of these OpenSSL has the timeout, by `SSL_SESSION_set_timeout(3)`, and single use for all tickets of a context that
/// takes early data (`SSL_read_early_data(3)`); the rest it does not know.
///
/// # Examples
///
/// ```
/// use sessionwheel::SessionOptions;
/// use std::time::Duration;
///
/// let options = SessionOptions::default()
///     .timeout(Duration::from_secs(60))
///     .single_use(true);
///
/// assert_eq!(options.timeout, Some(Duration::from_secs(60)));
/// assert!(options.single_use && !options.probation);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SessionOptions {
    /// How long the session lives from its insertion on; `None` for the
    /// cache's timeout. Zero is legal: valid at the instant of insertion only.
    /// [`Duration::MAX`] is for as long as its
    /// [lineage](super::SessionCacheBuilder::lineage) may last.
    pub timeout: Option<Duration>,
    /// Whether the first successful lookup takes the session out of the cache.
    pub single_use: bool,
    /// Whether the session is marked as being on probation. The cache keeps
    /// the mark and shows it
    /// ([`SessionRef::is_on_probation`](super::SessionRef::is_on_probation));
    /// it has no influence on lifetime or eviction.
    pub probation: bool,
    /// When the peer was first fully authenticated, on the cache's clock;
    /// `None` for now, and so is a time that hasn't come yet. A session that was
    /// minted by a resumption inherits this time from the session that was
    /// resumed: so its lineage comes to [an end](super::SessionCacheBuilder::lineage), and it is refused, as
    /// [`InsertError::Expired`](crate::InsertError::Expired), if its context was [purged](super::SessionCache::purge) since: a
    /// handshake that was under way then doesn't bring it back.
    pub authenticated_at: Option<Timestamp>,
    /// Whether it is a session of TLS 1.3, whose lineage ends after seven days at
    /// the latest (RFC 8446, 4.6.1), whatever
    /// [the cache's cap](super::SessionCacheBuilder::lineage).
    pub tls13: bool,
}

impl SessionOptions {
    /// Sets [`timeout`](Self::timeout).
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets [`single_use`](Self::single_use).
    #[must_use]
    pub const fn single_use(mut self, single_use: bool) -> Self {
        self.single_use = single_use;
        self
    }

    /// Sets [`probation`](Self::probation).
    #[must_use]
    pub const fn probation(mut self, probation: bool) -> Self {
        self.probation = probation;
        self
    }

    /// Sets [`tls13`](Self::tls13).
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, SessionOptions, Timestamp};
    /// use std::time::Duration;
    ///
    /// let days = |n: u64| Duration::from_secs(n * 86_400);
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).lineage(None).timeout(days(30)).build()?;
    /// let [session, ticket] = [1, 2].map(|n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32])));
    /// cache.insert(session, ()).unwrap();
    /// cache.insert_with(ticket, (), SessionOptions::default().tls13(true)).unwrap();
    ///
    /// hand.advance(days(7));
    /// assert!(cache.contains(&session) && cache.contains(&ticket));
    /// hand.advance(Duration::from_secs(1));
    /// assert!(cache.contains(&session) && !cache.contains(&ticket));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    #[must_use]
    pub const fn tls13(mut self, tls13: bool) -> Self {
        self.tls13 = tls13;
        self
    }

    /// Sets [`authenticated_at`](Self::authenticated_at).
    #[must_use]
    pub const fn authenticated_at(mut self, at: Timestamp) -> Self {
        self.authenticated_at = Some(at);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setter_sets_its_field_and_no_other() {
        let default = SessionOptions::default();
        let at = Timestamp::from_secs(1);
        assert_eq!(
            default.timeout(Duration::ZERO),
            SessionOptions {
                timeout: Some(Duration::ZERO),
                ..default
            }
        );
        assert_eq!(
            default.single_use(true),
            SessionOptions {
                single_use: true,
                ..default
            }
        );
        assert_eq!(
            default.probation(true),
            SessionOptions {
                probation: true,
                ..default
            }
        );
        assert_eq!(
            default.tls13(true),
            SessionOptions {
                tls13: true,
                ..default
            }
        );
        assert_eq!(
            default.authenticated_at(at),
            SessionOptions {
                authenticated_at: Some(at),
                ..default
            }
        );
        assert_eq!(default.single_use(true).single_use(false), default);
    }
}
