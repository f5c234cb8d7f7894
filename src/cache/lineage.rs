//! How long a full authentication is good for, however often it is resumed.

use std::time::Duration;

use super::session::Session;
use crate::Timestamp;

/// What RFC 5246 (F.1.4) suggests as the upper limit of a session's lifetime.
pub(super) const DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

/// RFC 8446, 4.6.1: no ticket may be used for longer than that after its issue; a lineage of them is not
/// to go beyond it either.
const TLS13: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The cap on a lineage: from the full authentication to the last resumption that goes back to it.
#[derive(Clone, Copy)]
pub(super) struct Lineage(Option<Duration>);

impl Lineage {
    pub(super) fn new(cap: Option<Duration>) -> Self {
        Self(cap)
    }

    pub(super) fn cap(self) -> Option<Duration> {
        self.0
    }

    /// The last instant at which `session` may be resumed, whatever its timeout.
    pub(super) fn end<V>(self, session: &Session<V>) -> Timestamp {
        self.of(session.is_tls13()).map_or(Timestamp::NEVER, |cap| {
            session.authenticated_at().saturating_add(cap)
        })
    }

    /// Whether a session that comes at `now` from a host with another clock may be resumed: by how long ago
    /// its peer was authenticated. Not if that was before the time that this clock can tell, for then
    /// nothing here would end in time what goes back to it.
    pub(super) fn admits(self, authenticated_for: Duration, tls13: bool, now: Timestamp) -> bool {
        let told = now.saturating_since(Timestamp::ZERO);
        self.of(tls13)
            .is_none_or(|cap| authenticated_for <= cap.min(told))
    }

    fn of(self, tls13: bool) -> Option<Duration> {
        if tls13 {
            Some(self.0.map_or(TLS13, |cap| cap.min(TLS13)))
        } else {
            self.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Clock, Context, ManualClock, SessionId, SessionKey, SessionOptions};
    use crate::{InsertError, SessionCache};

    const START: Timestamp = Timestamp::from_secs(1 << 33);
    const HOUR: Duration = Duration::from_secs(3_600);
    const DAY: Duration = DEFAULT;

    fn cache(cap: Option<Duration>) -> (SessionCache<u8>, ManualClock) {
        let (clock, hand) = Clock::manual(START);
        let builder = SessionCache::builder().clock(clock).timeout(HOUR * 10);
        (builder.lineage(cap).build().unwrap(), hand)
    }

    fn key(n: u8) -> SessionKey {
        SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
    }

    /// Resumes and inserts the next session, as a server does; how long the last one lived.
    fn chain(cap: Option<Duration>, options: SessionOptions) -> Option<Duration> {
        let (cache, hand) = cache(cap);
        cache.insert_with(key(0), 0, options).unwrap();
        for n in 0..100 {
            hand.advance(HOUR * 9);
            let guard = cache.pin();
            let Some(found) = cache.get_entry(&key(n), &guard) else {
                return Some(cache.now().saturating_since(START));
            };
            let inherits = options.authenticated_at(found.authenticated_at());
            cache.insert_with(key(n + 1), n + 1, inherits).unwrap();
        }
        None
    }

    #[test]
    fn a_lineage_ends_at_its_cap() {
        let any = SessionOptions::default();
        assert_eq!(chain(Some(DAY), any), Some(HOUR * 27));
        assert_eq!(chain(Some(DAY * 30), any), Some(DAY * 30 + HOUR * 9));
        assert_eq!(chain(None, any), None);
    }

    #[test]
    fn seven_days_at_the_most_in_tls_1_3() {
        let tls13 = SessionOptions::default().tls13(true);
        for cap in [None, Some(DAY * 30)] {
            assert_eq!(chain(cap, tls13), Some(DAY * 7 + HOUR * 3));
        }
        assert_eq!(chain(Some(HOUR), tls13), Some(HOUR * 9));
    }

    #[test]
    fn no_timeout_and_no_retiming_goes_beyond_it() {
        let (cache, hand) = cache(Some(DAY));
        let forever = SessionOptions::default().timeout(Duration::MAX);
        cache.insert_with(key(1), 1, forever).unwrap();
        assert!(cache.retime(&key(1), Duration::MAX));
        hand.advance(DAY);
        assert!(cache.contains(&key(1)));
        assert!(cache.retime(&key(1), HOUR), "until now, which is its last");
        hand.advance(Duration::from_nanos(1));
        assert!(!cache.contains(&key(1)));
        assert_eq!(cache.flush().removed, 1);
    }

    #[test]
    fn a_lineage_that_has_ended_is_refused() {
        let (cache, hand) = cache(Some(DAY));
        let before = cache.now();
        hand.advance(DAY);
        let late = SessionOptions::default().authenticated_at(before);
        cache.insert_with(key(1), 1, late).unwrap();
        hand.advance(Duration::from_nanos(1));
        let refused = cache.insert_with(key(2), 2, late).unwrap_err();
        assert!(matches!(refused, InsertError::Expired(..)));
    }

    #[test]
    fn an_authentication_in_the_future_is_one_of_now() {
        let (cache, hand) = cache(Some(DAY));
        let options = SessionOptions::default()
            .authenticated_at(Timestamp::NEVER)
            .timeout(Duration::MAX);
        cache.insert_with(key(1), 1, options).unwrap();
        hand.advance(DAY + Duration::from_nanos(1));
        assert!(!cache.contains(&key(1)));
    }
}
