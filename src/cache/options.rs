//! What may be said about a session when it is inserted.

use std::time::Duration;

use crate::Timestamp;

/// How a session is to be kept, for
/// [`SessionCache::insert_with`](super::SessionCache::insert_with).
///
/// The default is what [`insert`](super::SessionCache::insert) does: the
/// cache's timeout, any number of resumptions, authenticated now.
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
    /// [`Duration::MAX`] is for ever.
    pub timeout: Option<Duration>,
    /// Whether the first successful lookup takes the session out of the cache.
    pub single_use: bool,
    /// Whether the session is marked as being on probation. The cache keeps
    /// the mark and shows it
    /// ([`SessionRef::is_on_probation`](super::SessionRef::is_on_probation));
    /// it has no influence on lifetime or eviction.
    pub probation: bool,
    /// When the peer was first fully authenticated, on the cache's clock;
    /// `None` for now. A session that was minted by a resumption inherits this
    /// time from the session that was resumed.
    pub authenticated_at: Option<Timestamp>,
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
            default.authenticated_at(at),
            SessionOptions {
                authenticated_at: Some(at),
                ..default
            }
        );
        assert_eq!(default.single_use(true).single_use(false), default);
    }
}
