//! Sessions for a single use, among all hosts; and what a tier can say besides.

use super::*;

#[test]
fn one_of_all_hosts_gets_a_session_for_a_single_use() {
    let rounds = if cfg!(miri) { 3 } else { 300 };
    let shared = Arc::new(Shared::default());
    let hosts: Vec<_> = (0..2)
        .map(|_| builder().0.external(shared.clone()).build().unwrap())
        .collect();
    let once = SessionOptions::default().single_use(true);
    for round in 0..rounds {
        hosts[0].server().established(key(1), round, once).unwrap();
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let cache = hosts[n % 2].clone();
                thread::spawn(move || match n {
                    0 => cache.get_cloned(&key(1)),
                    _ => resume(&cache, 1),
                })
            })
            .collect();
        let got = threads.into_iter().filter_map(|t| t.join().unwrap());
        assert_eq!(got.collect::<Vec<_>>(), [round]);
        assert_eq!((hosts[0].len(), hosts[1].len(), shared.len()), (0, 0, 0));
    }
}

#[test]
fn what_is_taken_is_taken_inside_and_outside() {
    let shared = Arc::new(Shared::default());
    let host = || builder().0.external(shared.clone()).build().unwrap();
    let (a, b) = (host(), host());
    let take = |cache: &SessionCache<u64>| cache.server().take_with(&key(1), |v| *v).hit();
    for winner in [&a, &b] {
        establish(&a, 1);
        assert_eq!(take(winner), Some(1));
        assert_eq!((take(&a), take(&b), shared.len()), (None, None, 0));
    }
    assert_eq!((a.len(), b.len()), (0, 0));
    // The one that was still inside of the first host when the second had it.
    assert_eq!(a.counters().unclaimed, 1);
}

/// Takes in one step, and answers when it has been asked twice.
struct OneStep(Arc<Shared>, Mutex<HashMap<SessionKey, u32>>);

impl ExternalTier<u64> for OneStep {
    fn store(&self, session: TierSession<&u64>) {
        self.0.store(session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<u64> {
        self.0.fetch(key)
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        self.0.claim(key)
    }

    fn take(&self, key: &SessionKey) -> Option<Fetched<u64>> {
        let taken = self.0.sessions.lock().unwrap().remove(key);
        Some(taken.map_or(Fetched::Miss, Fetched::Hit))
    }

    fn prepare(&self, key: &SessionKey) -> bool {
        assert_ne!(*key, self::key(99), "planted");
        let mut asked = self.1.lock().unwrap();
        let times = asked.entry(*key).or_default();
        *times += 1;
        *times > 2
    }

    fn remove(&self, key: &SessionKey, reason: Reason) {
        self.0.remove(key, reason);
    }
}

#[test]
fn a_tier_that_takes_in_one_step_is_asked_once() {
    let shared = Arc::new(Shared::default());
    let host = |shared: &Arc<Shared>| {
        let tier = OneStep(shared.clone(), Mutex::default());
        builder().0.external(tier).build().unwrap()
    };
    let (a, b) = (host(&shared), host(&shared));
    let take = |cache: &SessionCache<u64>| cache.server().take_with(&key(1), |v| *v).hit();
    establish(&a, 1);
    assert_eq!(resume(&b, 1), Some(1));
    assert!(b.remove(&key(1)));
    establish(&a, 1);
    shared.fetches.lock().unwrap().clear();
    assert_eq!((take(&b), take(&a), take(&b)), (Some(1), None, None));
    assert!(shared.fetches.lock().unwrap().is_empty());
    let [at_a, at_b] = [&a, &b].map(|cache| cache.counters());
    assert_eq!((at_a.unclaimed, at_b.unclaimed), (1, 0));
    assert_eq!(at_b.cb_hits, 2);

    // A lookup that doesn't take fetches, and claims what is for a single use.
    let once = SessionOptions::default().single_use(true);
    a.server().established(key(1), 1, once).unwrap();
    assert_eq!((resume(&b, 1), resume(&a, 1)), (Some(1), None));
    assert_eq!(shared.fetches.lock().unwrap().len(), 1);

    // What was fetched before it was taken is not found any more, where it was not looked for.
    let tier = OneStep(shared.clone(), Mutex::default());
    let outside_only = builder().0.external(tier).internal_lookup(false);
    let outside_only = outside_only.build().unwrap();
    establish(&a, 1);
    assert_eq!(resume(&outside_only, 1), Some(1));
    assert!(outside_only.contains(&key(1)));
    assert_eq!(take(&outside_only), Some(1));
    assert!(!outside_only.contains(&key(1)));
}

#[test]
fn who_can_wait_asks_ahead() {
    let shared = Arc::new(Shared::default());
    let tier = OneStep(shared.clone(), Mutex::default());
    let (builder, hand) = builder();
    let cache = builder.external(tier).build().unwrap();
    let prepare = |n| cache.server().prepare(&key(n));
    establish(&cache, 1);
    let once = SessionOptions::default().single_use(true);
    cache.server().established(key(2), 2, once).unwrap();
    assert!(prepare(1) && prepare(2), "inside");
    assert_eq!(resume(&cache, 2), Some(2), "and still there");
    assert_eq!([prepare(3), prepare(3), prepare(3)], [false, false, true]);
    assert!(prepare(99), "a tier that panics is not waited for");
    assert!(cache.client().prepare(&key(4)), "not for clients");
    let counters = cache.counters();
    assert_eq!(
        (counters.misses, counters.pending, counters.panics),
        (0, 0, 1)
    );
    hand.advance(seconds(301));
    assert!(prepare(1), "what has expired inside is not asked for");
    let alone = SessionCache::<u64>::builder().build().unwrap();
    assert!(alone.server().prepare(&key(1)));
}

#[test]
fn what_came_from_outside_says_so_for_ever() {
    let shared = Arc::new(Shared::default());
    let host = || builder().0.external(shared.clone()).build().unwrap();
    let (a, b) = (host(), host());
    establish(&a, 1);
    let from_outside = |cache: &SessionCache<u64>| {
        let server = cache.server();
        server
            .resume_entry(&key(1), |found| found.is_from_outside())
            .hit()
    };
    for _ in 0..2 {
        assert_eq!(
            (from_outside(&a), from_outside(&b)),
            (Some(false), Some(true))
        );
    }
    assert_eq!(
        shared.fetches.lock().unwrap().len(),
        1,
        "inside the second time"
    );
    let taken = b
        .server()
        .take_entry(&key(1), |found| found.is_from_outside());
    assert_eq!(taken, Resumed::Hit(true));
    // Established here in its place, it is one of ours.
    establish(&b, 1);
    assert_eq!(from_outside(&b), Some(false));
}

#[test]
fn what_is_taken_outside_without_a_look_inside_is_taken_there_too() {
    let shared = Arc::new(Shared::default());
    let cache = builder().0.external(shared.clone()).internal_lookup(false);
    let left = Arc::new(Mutex::new(Vec::new()));
    let log = left.clone();
    let cache = cache.on_remove(move |k, _, reason| log.lock().unwrap().push((*k, reason)));
    let cache = cache.build().unwrap();
    let once = SessionOptions::default().single_use(true);
    establish(&cache, 1);
    establish(&cache, 2);
    cache.server().established(key(3), 3, once).unwrap();
    shared.store(TierSession::new(key(4), &4, seconds(60)));
    assert_eq!(resume(&cache, 4), Some(4), "fetched, and kept inside");
    assert_eq!(cache.len(), 4);

    let take = |n| cache.server().take_with(&key(n), |value| *value).hit();
    assert_eq!(
        (take(1), resume(&cache, 3), take(4)),
        (Some(1), Some(3), Some(4))
    );
    for n in [1, 3, 4] {
        assert!(!cache.contains(&key(n)), "{n}");
        assert_eq!((take(n), resume(&cache, n)), (None, None), "{n}");
    }
    let taken = [1, 3, 4].map(|n| (key(n), Reason::Taken));
    assert_eq!(*left.lock().unwrap(), taken);
    assert!(cache.contains(&key(2)));
    assert_eq!((cache.len(), shared.len()), (1, 1));
    assert!(shared.removed.lock().unwrap().is_empty());
}

/// A store outside as OpenSSL has it: one callback to store, one to ask, and nobody to decide.
#[test]
fn what_a_callback_hands_over_is_never_used_as_the_only_one() {
    let kept = Arc::new(Mutex::new(HashMap::new()));
    let (stored, asked) = (kept.clone(), kept.clone());
    let cache = builder().0.maximum(Some(1)).shards(1);
    let cache = cache
        .on_new(move |key, value| {
            let session = TierSession {
                single_use: *value > 9,
                ..TierSession::new(*key, *value, seconds(300))
            };
            stored.lock().unwrap().insert(*key, session);
            true
        })
        .on_get(move |key| {
            let session = asked.lock().unwrap().get(key).copied();
            session.map_or(Fetched::Miss, Fetched::Hit)
        });
    let cache = cache.build().unwrap();
    let server = cache.server();
    let establish = |n: u8| {
        let options = SessionOptions::default().single_use(n > 9);
        let kept = server.established(key(n), n.into(), options).unwrap();
        assert!(kept.is_kept());
    };
    let take = |n| server.take_with(&key(n), |value| *value).hit();
    let unclaimed = || cache.counters().unclaimed;

    // Where it was established it is used once: afterwards the callback has it still.
    establish(10);
    assert_eq!(resume(&cache, 10), Some(10));
    assert_eq!((resume(&cache, 10), take(10), unclaimed()), (None, None, 2));
    establish(1);
    assert_eq!((take(1), take(1), unclaimed()), (Some(1), None, 3));
    establish(11);
    assert_eq!(cache.get_cloned(&key(11)), Some(11));
    assert_eq!(
        (cache.get_cloned(&key(11)), resume(&cache, 11)),
        (None, None)
    );
    assert_eq!(unclaimed(), 4);

    // Evicted before: it is nowhere but outside.
    establish(12);
    establish(2);
    assert_eq!(cache.stats().evicted, 1);
    assert_eq!(
        (resume(&cache, 12), resume(&cache, 12), unclaimed()),
        (None, None, 6)
    );

    // What may be used more often is, and kept inside; but is not taken there as if it were the only one.
    establish(3);
    assert_eq!((resume(&cache, 2), resume(&cache, 2)), (Some(2), Some(2)));
    assert!(cache.contains(&key(2)));
    assert_eq!((take(2), cache.len(), unclaimed()), (None, 0, 7));
    assert_eq!(resume(&cache, 2), Some(2));
    assert_eq!(cache.take_cloned(&key(2)), None);
    assert_eq!((cache.len(), cache.counters().panics), (0, 0));
}

#[test]
fn what_was_inserted_and_not_established_nobody_gives_away() {
    let shared = Arc::new(Shared::default());
    let cache = builder().0.external(shared.clone()).build().unwrap();
    let once = SessionOptions::default().single_use(true);
    cache.insert_with(key(1), 1, once).unwrap();
    cache.insert(key(2), 2).unwrap();
    assert!(cache.contains(&key(1)) && shared.len() == 0);
    assert_eq!(
        (cache.get_cloned(&key(1)), cache.take_cloned(&key(2))),
        (None, None)
    );
    assert_eq!((cache.len(), cache.counters().unclaimed), (0, 2));
    cache.server().established(key(1), 1, once).unwrap();
    establish(&cache, 2);
    assert_eq!(
        (cache.get_cloned(&key(1)), cache.take_cloned(&key(2))),
        (Some(1), Some(2))
    );
}

/// A tier that can't be asked who may use a session.
struct Undecided(Arc<Shared>);

impl ExternalTier<u64> for Undecided {
    fn store(&self, session: TierSession<&u64>) {
        self.0.store(session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<u64> {
        self.0.fetch(key)
    }

    fn claim(&self, _: &SessionKey) -> Claim {
        Claim::Local
    }

    fn remove(&self, key: &SessionKey, reason: Reason) {
        self.0.remove(key, reason);
    }
}

#[test]
fn what_nobody_can_decide_is_used_where_it_was_established_and_says_so() {
    let shared = Arc::new(Shared::default());
    let decided = builder().0.external(shared.clone()).build().unwrap();
    let undecided = builder().0.external(Undecided(shared.clone()));
    let undecided = undecided.build().unwrap();
    let alone = builder().0.build().unwrap();
    let arbitrated = |found: SessionRef<'_, u64>| found.is_arbitrated();
    let once = SessionOptions::default().single_use(true);
    for (cache, by) in [(&decided, true), (&undecided, false), (&alone, true)] {
        let server = cache.server();
        for n in [1, 2] {
            server.established(key(n), n.into(), once).unwrap();
        }
        (3..=5).for_each(|n| establish(cache, n));
        assert_eq!(server.resume_entry(&key(1), arbitrated).hit(), Some(by));
        let guard = cache.pin();
        assert_eq!(cache.get_entry(&key(2), &guard).map(arbitrated), Some(by));
        assert_eq!(server.take_entry(&key(3), arbitrated).hit(), Some(by));
        assert_eq!(cache.take_cloned(&key(4)), Some(4));
        for n in 1..=4 {
            // Outside it may lie still.
            assert_eq!(server.take_entry(&key(n), arbitrated), Resumed::Miss);
            assert_eq!(cache.take_cloned(&key(n)), None);
        }
        let unclaimed = if by { 0 } else { 4 };
        assert_eq!(cache.counters().unclaimed, unclaimed);
        // What may be used more often is nobody's alone.
        assert_eq!(server.resume_entry(&key(5), arbitrated).hit(), Some(true));
        assert!(cache.iter(&guard).all(arbitrated));
    }
    // From outside, inside or not, nobody but the tier can say.
    shared.sessions.lock().unwrap().clear();
    decided.server().established(key(6), 6, once).unwrap();
    establish(&decided, 7);
    assert_eq!(
        undecided.server().resume_entry(&key(6), arbitrated),
        Resumed::Miss
    );
    assert_eq!(resume(&undecided, 7), Some(7));
    assert_eq!(undecided.take_cloned(&key(7)), None);
    assert_eq!(resume(&decided, 6), Some(6));
}
