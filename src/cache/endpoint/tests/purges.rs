//! Purges, and what comes from outside afterwards.

use super::*;

/// Hosts with one store outside. Time goes by for all of them, and for what lies there.
struct Fleet {
    shared: Arc<Shared>,
    hosts: Vec<(SessionCache<u64>, ManualClock)>,
}

impl Fleet {
    fn of(hosts: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let host = |n| {
            // No two of their clocks show the same.
            let (clock, hand) = Clock::manual(START.saturating_add(seconds(n * 1_000)));
            let builder = SessionCache::builder().clock(clock);
            (builder.external(shared.clone()).build().unwrap(), hand)
        };
        let hosts = (0..hosts).map(host).collect();
        Self { shared, hosts }
    }

    fn host(&self, n: usize) -> &SessionCache<u64> {
        &self.hosts[n].0
    }

    fn pass(&self) {
        for (_, hand) in &self.hosts {
            hand.advance(seconds(1));
        }
        for session in self.shared.sessions.lock().unwrap().values_mut() {
            session.remaining -= seconds(1);
            session.authenticated_for += seconds(1);
        }
    }
}

#[test]
fn after_a_purge_hosts_go_on_sharing_what_comes_later() {
    let fleet = Fleet::of(2);
    let (a, b) = (fleet.host(0), fleet.host(1));
    establish(a, 1);
    establish(b, 2);
    fleet.pass();
    a.purge(Context::DEFAULT);
    fleet.pass();
    for (n, host) in [(3, a), (4, b)] {
        establish(host, n);
    }
    // Minted by a resumption of what was there before.
    let since = |found: SessionRef<'_, u64>| found.authenticated_at();
    let since = b.server().resume_entry(&key(1), since).hit().unwrap();
    let inherits = SessionOptions::default().authenticated_at(since);
    b.server().established(key(5), 5, inherits).unwrap();
    fleet.pass();

    for later in [3, 4] {
        for host in [a, b] {
            assert_eq!(resume(host, later), Some(later.into()));
        }
    }
    for before in [1, 2, 5] {
        assert_eq!(resume(a, before), None, "{before}");
        assert_eq!(a.server().take_with(&key(before), |_| ()), Resumed::Miss);
        assert!(!a.contains(&key(before)));
    }
    assert_eq!(a.counters().refused, 6);
    for before in [1, 2] {
        assert_eq!(
            resume(b, before),
            Some(before.into()),
            "b has purged nothing"
        );
    }
    b.purge(Context::DEFAULT);
    for any in [1, 2, 3, 4] {
        assert_eq!(resume(b, any), None, "{any}");
    }
}

#[test]
fn a_purge_of_one_context_refuses_nothing_of_another() {
    let fleet = Fleet::of(2);
    let (a, b) = (fleet.host(0), fleet.host(1));
    // Handed out in the same order at each: the tier of this test tells them apart by number.
    let contexts = [(); 2].map(|()| (a.context().unwrap(), b.context().unwrap()));
    for (at_a, at_b) in contexts {
        assert_eq!(at_a, at_b);
        let key = SessionKey::new(at_a, *key(1).id());
        let options = SessionOptions::default();
        a.server().established(key, 1, options).unwrap();
    }
    fleet.pass();
    b.purge(contexts[0].1);
    let found = contexts.map(|(_, at_b)| {
        let key = SessionKey::new(at_b, *key(1).id());
        b.server().resume(&key).hit()
    });
    assert_eq!(found, [None, Some(1)]);
}

#[test]
fn what_a_callback_has_is_used_after_a_purge() {
    let (builder, hand) = builder();
    let cache = builder
        .on_get(|key| Fetched::Hit(TierSession::new(*key, 7, seconds(60))))
        .build()
        .unwrap();
    for _ in 0..3 {
        cache.purge(Context::DEFAULT);
        hand.advance(seconds(1));
        assert_eq!(resume(&cache, 1), Some(7));
        assert!(cache.contains(&key(1)), "kept inside");
    }
    assert_eq!(cache.counters().refused, 0);
}

#[test]
fn what_is_kept_inside_is_of_the_time_before_it_was_asked_for() {
    let shared = Arc::new(Shared::default());
    let cache = builder().0.external(shared.clone()).build().unwrap();
    shared.store(TierSession::new(key(1), &1, seconds(60)));
    // After it has been judged, and before it is kept.
    let purge = |_: &u64| cache.purge(Context::DEFAULT);
    assert!(cache.server().resume_with(&key(1), purge).hit().is_some());
    assert_eq!(cache.len(), 1);
    assert!(!cache.contains(&key(1)));
    assert_eq!(resume(&cache, 1), None);
    assert_eq!((cache.flush().removed, cache.counters().refused), (1, 1));
}

#[test]
fn a_handshake_under_way_at_a_purge_brings_nothing_back() {
    let shared = Arc::new(Shared::default());
    let (builder, hand) = builder();
    let cache = builder.external(shared.clone()).build().unwrap();
    let server = cache.server();
    let other = SessionKey::new(cache.context().unwrap(), SessionId::from([9; 32]));
    let since = |key| {
        let found = server.resume_entry(&key, |found| found.authenticated_at());
        SessionOptions::default().authenticated_at(found.hit().unwrap())
    };
    establish(&cache, 1);
    let unrelated = server.established(other, 9, SessionOptions::default());
    assert!(unrelated.unwrap().is_kept());
    let (inherits, of_other) = (since(key(1)), since(other));
    hand.advance(seconds(10));
    cache.purge(Context::DEFAULT);
    hand.advance(seconds(10));

    // Inside and outside.
    let refused = server.established(key(2), 2, inherits).unwrap_err();
    assert!(matches!(refused, InsertError::Expired(_, 2)));
    let refused = cache.insert_with(key(2), 2, inherits).unwrap_err();
    assert!(matches!(refused, InsertError::Expired(_, 2)));
    assert_eq!(
        (
            resume(&cache, 2),
            shared.sessions.lock().unwrap().contains_key(&key(2))
        ),
        (None, false)
    );
    // Another context, and who has been authenticated since.
    assert!(server.established(other, 10, of_other).unwrap().is_kept());
    establish(&cache, 3);
    let kept = server.established(key(4), 4, since(key(3)));
    assert!(kept.unwrap().is_kept());
    assert_eq!((resume(&cache, 3), resume(&cache, 4)), (Some(3), Some(4)));
}
