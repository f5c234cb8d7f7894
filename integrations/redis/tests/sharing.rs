//! Two hosts on one Redis.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis::Commands;
use sessionwheel::{Context, SessionCache, SessionKey, SessionOptions};
use sessionwheel_redis::{BreakerState, Keyring, RedisTier, ShareError};
use support::server::Server;
use support::*;

#[test]
fn what_one_host_establishes_resumes_at_the_other() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (b, tier_b) = host(builder(&server.address()));
    (0..500).for_each(|n| establish(&a, n));
    written(&tier_a);
    assert_eq!(tier_a.health().counters.written, 500);
    assert!((0..500).all(|n| resumes(&b, n)));
    assert!(!resumes(&b, 500));
    let counters = tier_b.health().counters;
    assert_eq!((counters.hits, counters.misses), (500, 1));
    assert_eq!(tier_b.health().latency.count(), 501);
    // From then on from inside.
    assert!((0..500).all(|n| resumes(&b, n)));
    assert_eq!(tier_b.health().counters.hits, 500);
    assert_eq!(tier_b.health().breaker, BreakerState::Closed);
    show("ci: sharing: 500 sessions of one host resumed at the other, by 500 hits");
}

#[test]
fn what_is_not_written_yet_is_found_and_used_once() {
    // Nobody is there to be written to.
    let nowhere = "unix:///nonexistent/sessionwheel";
    let tier = builder(nowhere).deadline(Duration::ZERO).build().unwrap();
    let cache = SessionCache::builder()
        .internal_lookup(false)
        .external(tier.clone())
        .build()
        .unwrap();
    establish(&cache, 1);
    establish_once(&cache, 2);
    for _ in 0..3 {
        assert!(resumes(&cache, 1));
    }
    assert!(resumes(&cache, 2));
    assert!(!resumes(&cache, 2));
    cache.remove(&key(1));
    assert!(!resumes(&cache, 1));
    let counters = tier.health().counters;
    assert_eq!((counters.hits_on_the_way, counters.claimed_here), (4, 1));
    assert_eq!(counters.cancelled_writes, 2);
}

#[test]
fn the_sealed_bytes_show_nothing_and_live_as_long_as_the_session() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (cache, tier) = host(builder(&server.address()).prefix(b"fleet:"));
    let options = SessionOptions::default().timeout(Duration::from_secs(100));
    let secret = b"a secret of this length".to_vec();
    cache
        .server()
        .established(key(7), secret.clone(), options)
        .unwrap();
    written(&tier);
    let names = server.keys();
    assert_eq!(names.len(), 1);
    assert!(names[0].starts_with(b"fleet:test\0"));
    assert!(names[0].ends_with(id(7).as_bytes()));
    let mut connection = server.connection();
    let sealed: Vec<u8> = connection.get(&names[0]).unwrap();
    assert!(!sealed.windows(8).any(|part| part == &secret[..8]));
    let lives: u64 = connection.pttl(&names[0]).unwrap();
    assert!((50_000..=100_000).contains(&lives), "{lives}");
}

#[test]
fn removals_and_flushes_reach_redis() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (b, _tier_b) = host(builder(&server.address()));
    (0..300).for_each(|n| establish(&a, n));
    written(&tier_a);
    assert_eq!(server.keys().len(), 300);
    assert!((0..100).all(|n| a.remove(&key(n))));
    // At once here, whatever Redis has.
    assert!((0..100).all(|n| !resumes(&a, n)));
    written(&tier_a);
    assert_eq!(server.keys().len(), 200);
    assert!((0..100).all(|n| !resumes(&b, n)));
    assert!((100..200).all(|n| resumes(&b, n)));
    // By the word of who flushes.
    let late = a.now().saturating_add(Duration::from_secs(3_600));
    assert_eq!(a.flush_at(late).removed, 200);
    written(&tier_a);
    assert_eq!(server.keys().len(), 0);
    assert_eq!(tier_a.health().counters.removed, 300);

    establish(&a, 1);
    written(&tier_a);
    assert!(resumes(&b, 1), "stored after it was removed");
    a.clear();
    written(&tier_a);
    assert_eq!(server.keys().len(), 0);
    show("ci: sharing: 300 sessions, 100 of them removed and 200 flushed, none is left in Redis");
}

#[test]
fn what_has_to_make_room_here_stays_there() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let tier = builder(&server.address()).build().unwrap();
    let cache = SessionCache::builder()
        .maximum(Some(10))
        .external(tier.clone())
        .build()
        .unwrap();
    for n in 0..100 {
        establish(&cache, n);
    }
    written(&tier);
    assert_eq!((cache.len(), server.keys().len()), (10, 100));
    assert!((0..100).all(|n| resumes(&cache, n)));
    show("ci: sharing: 100 sessions on a host with room for 10, all resumed");
}

#[test]
fn contexts_are_shared_by_name_and_else_not_at_all() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (b, tier_b) = host(builder(&server.address()));
    // In another order on each host.
    let (a_api, a_web, a_own) = (
        a.context().unwrap(),
        a.context().unwrap(),
        a.context().unwrap(),
    );
    let (b_web, b_api, b_own) = (
        b.context().unwrap(),
        b.context().unwrap(),
        b.context().unwrap(),
    );
    tier_a.share(a_api, "api").unwrap();
    tier_a.share(a_web, "web").unwrap();
    tier_b.share(b_api, "api").unwrap();
    tier_b.share(b_web, "web").unwrap();
    assert_eq!(tier_b.share(b_own, "web"), Err(ShareError::Taken));

    let establish = |context: Context| {
        let key = SessionKey::new(context, id(1));
        let options = SessionOptions::default();
        a.server().established(key, value(1), options).unwrap();
    };
    establish(a_api);
    establish(a_own);
    written(&tier_a);
    assert_eq!(server.keys().len(), 1);
    let resumes = |context: Context| b.server().resume(&SessionKey::new(context, id(1))).hit();
    assert_eq!(resumes(b_web), None);
    assert_eq!(resumes(b_own), None);
    assert_eq!(resumes(Context::DEFAULT), None);
    assert_eq!(resumes(b_api), Some(value(1)));
    // A session that is not shared is used here without a question.
    let own = SessionKey::new(a_own, id(1));
    assert!(a.server().take_with(&own, |_| ()).hit().is_some());
}

#[test]
fn a_configuration_that_is_loaded_anew_takes_the_name_over() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (b, tier_b) = host(builder(&server.address()));
    let (before, at_b) = (a.context().unwrap(), b.context().unwrap());
    tier_a.share(before, "api").unwrap();
    tier_b.share(at_b, "api").unwrap();
    let establish = |context, n, once| {
        let options = SessionOptions::default().single_use(once);
        let key = SessionKey::new(context, id(n));
        a.server().established(key, value(n), options).unwrap();
    };
    let resumes = |cache: &Cache, context, n| {
        let found = cache
            .server()
            .resume(&SessionKey::new(context, id(n)))
            .hit();
        assert!(found.as_ref().is_none_or(|found| *found == value(n)));
        found.is_some()
    };
    establish(before, 1, false);
    (2..6).for_each(|n| establish(before, n, true));
    written(&tier_a);

    let now = a.context().unwrap();
    assert_eq!(tier_a.share(now, "api"), Err(ShareError::Taken));
    assert!(tier_a.unshare(before) && !tier_a.unshare(before));
    tier_a.share(now, "api").unwrap();
    // What was shared is there for whoever has the name, here and there.
    assert!(resumes(&a, now, 1) && resumes(&b, at_b, 1));
    // What is for a single use is so at all three together.
    let three = [(&b, at_b), (&a, before), (&a, now)];
    for n in 2..5 {
        let first = n as usize % 3;
        let order = (first..first + 3).map(|at| three[at % 3]);
        let won: Vec<bool> = order.map(|(cache, own)| resumes(cache, own, n)).collect();
        assert_eq!(won, [true, false, false], "{n}");
    }
    // What is removed of it is removed.
    assert!(a.remove(&SessionKey::new(before, id(5))));
    written(&tier_a);
    assert!(
        three
            .into_iter()
            .all(|(cache, own)| !resumes(cache, own, 5))
    );
    // What is established in it from now on stays here.
    establish(before, 6, false);
    establish(before, 7, true);
    written(&tier_a);
    for n in [6, 7] {
        assert!(!resumes(&b, at_b, n) && !resumes(&a, now, n));
        assert!(resumes(&a, before, n));
    }
    assert!(resumes(&a, before, 6) && !resumes(&a, before, 7));
    // And what the new one establishes doesn't.
    establish(now, 8, false);
    written(&tier_a);
    assert!(resumes(&b, at_b, 8) && !resumes(&a, before, 8));
    show(
        "ci: contexts: a name taken over by another, 3 sessions for a single use each used once at all three",
    );
}

#[test]
fn a_key_is_replaced_on_a_running_fleet() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let tier = |keys| {
        RedisTier::builder(&server.address(), keys, codec())
            .unwrap()
            .deadline(PATIENCE)
    };
    let (a, tier_a) = host(tier(Keyring::new(1, [1; 32])));
    let (b, tier_b) = host(tier(Keyring::new(1, [1; 32])));
    let (stranger, tier_s) = host(tier(Keyring::new(1, [9; 32])));
    establish(&a, 1);
    tier_a.accept(2, [2; 32]).unwrap();
    tier_b.accept(2, [2; 32]).unwrap();
    assert!(tier_a.rotate(2, Duration::from_secs(1_000)));
    establish(&a, 2);
    establish(&a, 3);
    written(&tier_a);
    // Sealed by the old key and by the new one; b seals with the old one still.
    assert!(resumes(&b, 1) && resumes(&b, 2));
    assert!(!resumes(&stranger, 1) && !resumes(&stranger, 3));
    assert_eq!(tier_s.health().counters.unopened, 2);
    // Without grace all that the old key has sealed is gone.
    establish(&b, 4);
    written(&tier_b);
    assert!(tier_b.rotate(2, Duration::ZERO));
    let rotated = Instant::now();
    while Instant::now() == rotated {}
    let (c, tier_c) = host(tier(Keyring::new(2, [2; 32])));
    assert!(resumes(&c, 3));
    assert!(!resumes(&c, 4));
    assert_eq!(tier_c.health().counters.unopened, 1);
    // A host that starts now may still open what the old one has sealed, until it is told not to.
    let (d, tier_d) = host(tier(Keyring::new(2, [2; 32]).and(1, [1; 32]).unwrap()));
    assert!(resumes(&d, 4));
    assert!(tier_d.forget(1) && !tier_d.forget(2));
    assert!(!resumes(&d, 1) && resumes(&d, 3));
    assert_eq!(tier_d.health().counters.unopened, 1);
    show(
        "ci: keys: replaced on two hosts, opened by the old one while that is known, and not after",
    );
}

#[test]
fn a_purge_is_of_one_host_and_what_comes_later_is_shared() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (b, tier_b) = host(builder(&server.address()));
    (0..20).for_each(|n| establish(&a, n));
    (20..40).for_each(|n| establish(&b, n));
    written(&tier_a);
    written(&tier_b);
    a.purge(Context::DEFAULT);
    assert!((0..40).all(|n| !resumes(&a, n)));
    assert_eq!(a.counters().refused, 40);
    assert!((0..40).all(|n| resumes(&b, n)), "b has purged nothing");

    // Within a moment after the purge what is new may pass for older.
    let mut n = 40;
    let mut is_shared = |host: &Cache, tier: &Tier, other: &Cache| {
        eventually("what one establishes the other resumes", || {
            n += 1;
            establish(host, n);
            written(tier);
            resumes(other, n)
        });
    };
    is_shared(&a, &tier_a, &b);
    is_shared(&b, &tier_b, &a);
    assert!((0..40).all(|n| !resumes(&a, n)), "and the old ones never");
    b.purge(Context::DEFAULT);
    assert!((0..40).all(|n| !resumes(&b, n)));
    is_shared(&a, &tier_a, &b);
    // By the hosts' clocks, which are one here: a process started anew has purged nothing.
    let (anew, _) = host(builder(&server.address()));
    assert!(resumes(&anew, 0));
    show(&format!(
        "ci: purges: 40 sessions refused, {} established later",
        n - 40
    ));
}

#[test]
fn what_is_too_long_stays_here() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (cache, tier) = host(builder(&server.address()));
    let long = vec![0; 65_537];
    let options = SessionOptions::default().single_use(true);
    cache
        .server()
        .established(key(1), long.clone(), options)
        .unwrap();
    written(&tier);
    assert!(server.keys().is_empty());
    assert_eq!(cache.server().resume(&key(1)).hit(), Some(long));
    let counters = tier.health().counters;
    assert_eq!((counters.unsealed, counters.claimed_here), (1, 1));
}

#[test]
fn with_reads_off_or_ids_that_are_not_ours_nothing_is_asked() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (silent, tier_s) = host(builder(&server.address()).reads(false));
    let ours = |id: &sessionwheel::SessionId| id.as_bytes()[0] < 10;
    let (choosy, tier_c) = host(builder(&server.address()).ours(ours));
    establish(&a, 1);
    establish(&a, 20);
    written(&tier_a);
    assert!(!resumes(&silent, 1));
    assert!(resumes(&choosy, 1) && !resumes(&choosy, 20));
    assert_eq!(tier_s.health().counters.not_asked, 1);
    assert_eq!(tier_c.health().counters.not_asked, 1);
}

#[test]
fn the_last_handle_waits_until_all_is_written() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let patient = builder(&server.address()).stop_timeout(PATIENCE);
    let (cache, tier) = host(patient.timeouts(PATIENCE, PATIENCE));
    server.signal("-STOP");
    (0..1_000).for_each(|n| establish(&cache, n));
    let awake = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(50));
            awake.store(true, Ordering::Relaxed);
            server.signal("-CONT");
        });
        drop((cache, tier));
        assert!(awake.load(Ordering::Relaxed));
    });
    assert_eq!(server.keys().len(), 1_000);
    show("ci: sharing: 1,000 sessions that waited, all written before the last handle was gone");
}
