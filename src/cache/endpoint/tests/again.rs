//! Sessions that are established under a key that another one had, with an external tier that removes what it is told of.

use super::*;

/// Its sessions that expire are told of when this has passed.
const LIFE: Duration = Duration::from_secs(301);

/// A cache of one shard with something outside, nothing being flushed by itself.
fn cache(outside: impl ExternalTier<u64>) -> (SessionCache<u64>, ManualClock) {
    let (builder, hand) = builder();
    let builder = builder.external(outside).shards(1).automatic_flush(None);
    (builder.build().unwrap(), hand)
}

#[test]
fn what_takes_an_expired_ones_place_stays_outside() {
    let shared = Arc::new(Shared::default());
    let (cache, hand) = cache(shared.clone());
    establish(&cache, 1);
    hand.advance(LIFE);
    establish(&cache, 1);
    assert_eq!((cache.stats().expired, shared.len()), (1, 1));
    assert_eq!(cache.flush().removed, 0);
    assert_eq!(*shared.removed.lock().unwrap(), []);

    // When that one expires nothing is in its place.
    hand.advance(LIFE);
    assert_eq!((cache.flush().removed, shared.len()), (1, 0));
    assert_eq!(*shared.removed.lock().unwrap(), [(key(1), Reason::Expired)]);
}

#[test]
fn a_single_use_in_an_expired_ones_place_can_be_used() {
    let (cache, hand) = cache(Arc::new(Shared::default()));
    let once = SessionOptions::default().single_use(true);
    for value in [1, 2] {
        hand.advance(LIFE);
        let kept = cache.server().established(key(1), value, once);
        assert!(kept.unwrap().is_kept());
    }
    assert_eq!((resume(&cache, 1), resume(&cache, 1)), (Some(2), None));
    assert_eq!(cache.counters().unclaimed, 0);
}

#[test]
fn a_fetch_in_the_place_of_a_purged_one_that_has_expired_removes_nothing_outside() {
    let shared = Arc::new(Shared::default());
    let (cache, hand) = cache(shared.clone());
    establish(&cache, 1);
    cache.purge(Context::DEFAULT);
    hand.advance(LIFE);
    // By another host.
    shared.store(TierSession::new(key(1), &5, seconds(300)));
    assert_eq!((resume(&cache, 1), shared.len()), (Some(5), 1));
    assert_eq!(*shared.removed.lock().unwrap(), []);
}

/// Establishes the others' keys anew when it hears of the first one.
#[derive(Clone, Default)]
struct Meddler {
    shared: Arc<Shared>,
    /// While the test goes on: it holds this.
    cache: Arc<Mutex<Option<SessionCache<u64>>>>,
}

impl ExternalTier<u64> for Meddler {
    fn store(&self, session: TierSession<&u64>) {
        self.shared.store(session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<u64> {
        self.shared.fetch(key)
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        self.shared.claim(key)
    }

    fn remove(&self, told: &SessionKey, reason: Reason) {
        let is_first = self.shared.removed.lock().unwrap().is_empty();
        self.shared.remove(told, reason);
        if is_first {
            let cache = self.cache.lock().unwrap().clone().unwrap();
            let others = (1..=4).filter(|&n| key(n) != *told);
            others.for_each(|n| establish(&cache, n));
        }
    }
}

#[test]
fn what_is_established_while_a_flush_tells_stays_outside() {
    let meddler = Meddler::default();
    let shared = meddler.shared.clone();
    let (cache, hand) = cache(meddler.clone());
    *meddler.cache.lock().unwrap() = Some(cache.clone());
    (1..=4).for_each(|n| establish(&cache, n));
    hand.advance(LIFE);
    assert_eq!(cache.flush().removed, 4);
    assert_eq!((cache.len(), shared.len()), (3, 3));
    assert_eq!(shared.removed.lock().unwrap().len(), 1);
    *meddler.cache.lock().unwrap() = None;
}
