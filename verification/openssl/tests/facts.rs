//! Facts of OpenSSL's cache that the random test cannot meet, or that its table rests on, each beside what
//! ours does. docs/openssl.md names them.

use std::time::Duration;

use sessionwheel::{
    Clock, Context, Inserted, ManualClock, Role, SessionCache, SessionId, SessionKey,
    SessionOptions, Timestamp,
};
use sessionwheel_openssl_contract::ffi::{Cache, Session, TLS_1_2, TLS_1_3, reported, version};
use sessionwheel_openssl_contract::handshake::{self, Version};

const NOW: i64 = 1_000_000;

fn key(id: &[u8]) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::new(id).unwrap())
}

fn ours(maximum: Option<usize>) -> (SessionCache<u8>, ManualClock) {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(NOW as u64));
    let builder = SessionCache::builder()
        .clock(clock)
        .maximum(maximum)
        .shards(1);
    (
        builder.automatic_flush(None).lineage(None).build().unwrap(),
        hand,
    )
}

fn insert(cache: &SessionCache<u8>, id: &[u8], timeout: u64) -> Inserted {
    let options = SessionOptions::default().timeout(Duration::from_secs(timeout));
    cache.insert_with(key(id), 0, options).unwrap()
}

fn session(id: &[u8], time: i64, timeout: i64) -> Session {
    let session = Session::new(id);
    session.set_time(time);
    assert!(session.set_timeout(timeout));
    session
}

/// An empty one, on a thread that has read all reports.
fn cache() -> Cache {
    drop(reported());
    Cache::new()
}

fn add(cache: &mut Cache, session: &Session) -> bool {
    // SAFETY: each test adds a session to one cache.
    unsafe { cache.add(session) }
}

/// The ids reported since the last call.
fn ids() -> Vec<Vec<u8>> {
    reported().into_iter().map(Vec::from).collect()
}

#[test]
fn a_size_of_n_holds_one_less_and_ours_holds_n() {
    for (size, holds) in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 4)] {
        let mut cache = cache();
        cache.set_size(size);
        let (ours, _) = ours(Some(size as usize));
        for n in 0..10 {
            assert!(add(&mut cache, &session(&[n; 32], NOW, 100)));
            insert(&ours, &[n; 32], 100);
        }
        assert_eq!((cache.number(), cache.cache_full()), (holds, 10 - holds));
        // They expire in the same second: there the oldest leave.
        let stayed = |n: u8| usize::from(n) >= 10 - holds;
        assert!((0..10).all(|n| cache.has(&[n; 32]) == stayed(n)));
        assert_eq!(
            (ours.len(), ours.stats().evicted),
            (size as usize, 10 - size as u64)
        );
    }
}

#[test]
fn the_defaults_are_7200_seconds_304_for_a_bare_session_and_300_here() {
    let (cache, ours) = (cache(), SessionCache::<u8>::builder().build().unwrap());
    assert_eq!(
        (cache.timeout(), Session::new(&[1; 32]).view().timeout()),
        (7_200, 304)
    );
    assert_eq!(ours.timeout(), Duration::from_secs(300));
    assert_eq!((cache.size(), ours.maximum()), (20_480, Some(20_480)));
}

#[test]
fn a_timeout_of_zero_is_the_default_of_7200_seconds_and_here_it_is_zero() {
    let context = |role, mode| handshake::context(Version::Tls12, role, mode, false);
    let client = context(Role::Client, openssl_sys::SSL_SESS_CACHE_OFF);
    let server = context(Role::Server, openssl_sys::SSL_SESS_CACHE_SERVER);
    let mut cache = handshake::cache(&server);
    assert_eq!((cache.set_timeout(0), cache.timeout()), (7_200, 0));
    let made = handshake::shake(&client, &server, None, 1, true).unwrap();
    assert_eq!(made.server.view().timeout(), 7_200);

    let (clock, hand) = Clock::manual(Timestamp::from_secs(NOW as u64));
    let builder = SessionCache::builder().clock(clock).timeout(Duration::ZERO);
    let ours = builder.build().unwrap();
    ours.insert(key(&[1; 32]), 0).unwrap();
    assert!(ours.contains(&key(&[1; 32])));
    hand.advance(Duration::from_nanos(1));
    assert!(!ours.contains(&key(&[1; 32])));
}

#[test]
fn a_ticket_of_tls_1_3_is_resumed_each_time_and_here_once_if_it_is_for_one_use() {
    let context = |role, mode| handshake::context(Version::Tls13(1), role, mode, false);
    let client = context(Role::Client, openssl_sys::SSL_SESS_CACHE_OFF);
    let server = context(Role::Server, openssl_sys::SSL_SESS_CACHE_SERVER);
    let (cache, (ours, _)) = (handshake::cache(&server), ours(None));
    let made = handshake::shake(&client, &server, None, 1, true).unwrap();
    for id in 2..5 {
        let again = handshake::shake(&client, &server, Some(&made.client), id, true).unwrap();
        assert!(again.resumed);
        assert_eq!(cache.number(), id, "each has minted another");
    }
    for (id, once) in [(1, false), (2, true)] {
        let options = SessionOptions::default().tls13(true).single_use(once);
        let key = key(&[id; 32]);
        ours.server().established(key, 0, options).unwrap();
        let resumed = [0; 3].map(|_| ours.server().resume(&key).hit().is_some());
        assert_eq!(resumed, [true, !once, !once]);
    }
}

#[test]
fn what_expires_at_the_time_of_the_flush_stays() {
    for timeout in [0, 100] {
        let (mut cache, (ours, _)) = (cache(), ours(None));
        let kept = session(&[1; 32], NOW, timeout);
        assert!(add(&mut cache, &kept));
        insert(&ours, &[1; 32], timeout as u64);
        for (at, left) in [(-1, 1), (0, 1), (1, 0)] {
            cache.flush(NOW + timeout + at);
            ours.flush_sessions(NOW + timeout + at);
            assert_eq!((cache.number(), ours.len()), (left, left), "{at}");
        }
    }
}

#[test]
fn a_negative_time_flushes_all_from_3_2_on_and_nothing_here() {
    let (mut cache, (ours, _)) = (cache(), ours(None));
    assert!(add(&mut cache, &session(&[1; 32], NOW, 100)));
    insert(&ours, &[1; 32], 100);
    cache.flush(-1);
    ours.flush_sessions(-1);
    let left = if version() < (3, 2, 0) { 1 } else { 0 };
    assert_eq!((cache.number(), ours.len()), (left, 1));
}

#[test]
fn a_flush_reports_by_expiry() {
    let mut cache = cache();
    for (id, timeout) in [(2, 200), (4, 400), (1, 100), (3, 300)] {
        assert!(add(&mut cache, &session(&[id; 32], NOW, timeout)));
    }
    cache.flush(NOW + 301);
    let mut order = vec![vec![1; 32], vec![2; 32], vec![3; 32]];
    // Called after the lock is released, from a stack.
    let reversed = match version() {
        (3, 6, patch) => patch >= 4,
        (4, 0, patch) => patch >= 2,
        (major, minor, _) => (major, minor) > (4, 0),
    };
    if reversed {
        order.reverse();
    }
    assert_eq!(ids(), order);
}

#[test]
fn an_empty_id_cannot_be_removed_and_stops_evictions_and_here_it_is_an_id() {
    let (mut cache, (ours, _)) = (cache(), ours(Some(3)));
    cache.set_size(4);
    let empty = session(&[], NOW, 10);
    assert!(add(&mut cache, &empty));
    insert(&ours, &[], 10);
    assert!(!cache.remove(&empty));
    assert!(ids().is_empty(), "nor is anybody told");
    for n in 0..10 {
        assert!(add(&mut cache, &session(&[n; 32], NOW, 100)));
        insert(&ours, &[n; 32], 100);
    }
    // It expires first, so it is the one to be evicted, and cannot be.
    assert_eq!((cache.number(), cache.cache_full()), (11, 0));
    assert_eq!((ours.len(), ours.stats().evicted), (3, 8));
    assert!(!ours.contains(&key(&[])));
    insert(&ours, &[], 10);
    assert!(ours.remove(&key(&[])));
}

#[test]
fn a_key_is_version_and_id_and_here_context_and_id() {
    let mut cache = cache();
    assert!(add(&mut cache, &Session::of_version(&[1; 32], TLS_1_3)));
    assert!(add(&mut cache, &Session::of_version(&[1; 32], TLS_1_2)));
    assert_eq!(cache.number(), 2);
    let (ours, _) = ours(None);
    insert(&ours, &[1; 32], 100);
    let other = SessionKey::new(ours.context().unwrap(), SessionId::from([1; 32]));
    ours.insert(other, 0).unwrap();
    assert_eq!(ours.len(), 2);
}

#[test]
fn a_second_add_rewrites_the_time_if_the_mode_says_so_and_here_always() {
    let wall = |session: &Session| session.view().time() > NOW;
    let mut cache = cache();
    let mine = session(&[1; 32], NOW, 100);
    assert!(add(&mut cache, &mine));
    assert!(!add(&mut cache, &mine));
    assert!(!wall(&mine), "not by default");
    cache.update_time();
    assert!(!add(&mut cache, &mine), "it was there");
    assert!(wall(&mine));

    let (ours, hand) = ours(None);
    insert(&ours, &[1; 32], 100);
    hand.advance(Duration::from_secs(60));
    assert!(insert(&ours, &[1; 32], 100).replaced);
    hand.advance(Duration::from_secs(60));
    assert!(ours.contains(&key(&[1; 32])));
}

/// A session whose time was rewritten by a second add is found where its old time had put it.
#[test]
fn from_3_3_on_a_rewritten_time_hides_expired_sessions_from_a_flush_and_none_here() {
    let mut cache = cache();
    cache.update_time();
    let (first, second) = (session(&[1; 32], NOW, 10), session(&[2; 32], NOW, 100));
    for session in [&first, &second] {
        assert!(add(&mut cache, session));
    }
    // An add has set their times to the wall clock's; the second one expires first from now on.
    second.set_time(NOW);
    first.set_time(NOW - 100);
    assert!(!add(&mut cache, &first), "its time is now");
    cache.flush(NOW + 1_000);
    let hidden = usize::from(version() >= (3, 3, 0));
    assert_eq!(cache.number(), 1 + hidden);

    let (ours, hand) = ours(None);
    insert(&ours, &[1; 32], 10);
    insert(&ours, &[2; 32], 100);
    hand.advance(Duration::from_secs(5));
    insert(&ours, &[1; 32], 2_000);
    assert_eq!(ours.flush_sessions(NOW + 1_000), 1);
    assert!(ours.contains(&key(&[1; 32])));
}

#[test]
fn what_is_out_of_range_for_openssl_cannot_be_said_here() {
    let mut cache = cache();
    // A session born before 1970 never expires.
    assert!(add(&mut cache, &session(&[1; 32], -NOW, 10)));
    cache.flush(NOW);
    assert_eq!(cache.number(), 1);
    // A negative timeout of a context is accepted; on 3.2 and later it reads back as 584 years.
    cache.set_timeout(-5);
    let read = cache.timeout();
    let wanted = if version() < (3, 2, 0) {
        -5
    } else {
        18_446_744_068
    };
    assert_eq!(read, wanted);
}

#[test]
fn from_3_2_on_634_years_are_short_and_here_for_ever() {
    let (mut cache, (ours, hand)) = (cache(), ours(None));
    assert!(add(&mut cache, &session(&[1; 32], NOW, 20_000_000_000)));
    insert(&ours, &[1; 32], 20_000_000_000);
    let far = NOW + 2_000_000_000;
    cache.flush(far);
    hand.set(Timestamp::from_secs(far as u64));
    ours.flush();
    let left = usize::from(version() < (3, 2, 0));
    assert_eq!((cache.number(), ours.len()), (left, 1));
}

#[test]
fn a_dropped_cache_reports_all_it_has_and_ours_nobody() {
    let mut cache = cache();
    let mine = session(&[1; 32], NOW, 100);
    assert!(add(&mut cache, &mine));
    drop(cache);
    assert_eq!(ids(), [[1; 32]]);
    assert!(!mine.view().is_resumable());
}

#[test]
fn a_full_cache_never_evicts_the_session_it_takes_in() {
    let (mut cache, (ours, hand)) = (cache(), ours(Some(2)));
    cache.set_size(3);
    for n in 1..=2 {
        assert!(add(&mut cache, &session(&[n; 32], NOW, 100)));
        insert(&ours, &[n; 32], 100);
    }
    let old = session(&[3; 32], NOW - 1_000, 10);
    assert!(add(&mut cache, &old));
    assert!(old.view().is_resumable() && cache.has(&[3; 32]));
    hand.set(Timestamp::from_secs((NOW - 1_000) as u64));
    insert(&ours, &[3; 32], 10);
    assert!(ours.contains(&key(&[3; 32])));
    assert_eq!((cache.number(), ours.len()), (2, 2));
}

/// Of so many handshakes, those after which what had expired was gone.
#[test]
fn openssl_flushes_at_every_256th_handshake_resumed_or_not_and_ours_at_every_255th_insertion() {
    const HANDSHAKES: u8 = 130;
    let context = |role, mode| handshake::context(Version::Tls12, role, mode, false);
    let client = context(Role::Client, openssl_sys::SSL_SESS_CACHE_OFF);
    let server = context(Role::Server, openssl_sys::SSL_SESS_CACHE_SERVER);
    let mut cache = handshake::cache(&server);
    let (ours, hand) = {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(NOW as u64));
        let builder = SessionCache::builder().clock(clock);
        (builder.automatic_flush(Some(1_000)).build().unwrap(), hand)
    };
    let expired = session(&[255; 32], NOW, 10);
    let (mut theirs_at, mut ours_at) = (Vec::new(), Vec::new());
    // Each second one resumes what the one before has established.
    for round in 0..4_usize {
        for n in 0..HANDSHAKES {
            let made = handshake::shake(&client, &server, None, n.into(), true).unwrap();
            for (nth, offer) in [(0, None), (1, Some(&made.client))] {
                if let Some(offer) = offer {
                    let again = handshake::shake(&client, &server, Some(offer), 0, true).unwrap();
                    assert!(again.resumed);
                }
                if !cache.has(&[255; 32]) {
                    theirs_at
                        .push((round * usize::from(HANDSHAKES) + usize::from(n)) * 2 + nth + 1);
                    assert!(add(&mut cache, &expired));
                }
            }
            cache.remove(&made.server);

            hand.advance(Duration::from_secs(301));
            let options = SessionOptions::default();
            let id = [n, round as u8];
            ours.server().established(key(&id), 0, options).unwrap();
            if ours.len() == 1 {
                ours_at.push(round * usize::from(HANDSHAKES) + usize::from(n) + 1);
            }
        }
    }
    assert_eq!(theirs_at, [1, 256, 512, 768, 1_024]);
    assert_eq!(ours_at, [1, 255, 510]);
}
