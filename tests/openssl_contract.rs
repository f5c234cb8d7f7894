//! What OpenSSL's session cache is known to do, asked of ours: the parts that need no handshake. (Those that do are
//! in openssl_endpoints.rs.) Where ours decides otherwise, the test says so. docs/openssl.md has the tables;
//! `verification/openssl` runs both caches side by side.

mod common;

use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use common::{scale, scope};
use sessionwheel::{
    Clock, Context, InsertError, Inserted, ManualClock, Reason, SessionCache, SessionId,
    SessionKey, SessionOptions, Timestamp,
};

const NOW: i64 = 1_000_000;

type Left = Arc<Mutex<Vec<(u8, Reason)>>>;

fn key(n: u8) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
}

fn seconds(n: i64) -> Duration {
    Duration::from_secs(n.try_into().expect("not negative"))
}

/// A cache of one shard with a clock that stands still, and who has left it.
fn cache(maximum: Option<usize>) -> (SessionCache<u8>, ManualClock, Left) {
    let left = Left::default();
    let log = Arc::clone(&left);
    let (clock, hand) = Clock::manual(Timestamp::from_secs(NOW as u64));
    let cache = SessionCache::builder()
        .maximum(maximum)
        .shards(1)
        .clock(clock)
        // As OpenSSL, which has none.
        .lineage(None)
        .automatic_flush(None)
        .on_remove(move |_, n, reason| log.lock().unwrap().push((*n, reason)))
        .build()
        .unwrap();
    (cache, hand, left)
}

fn insert(cache: &SessionCache<u8>, n: u8, timeout: i64) -> Inserted {
    let options = SessionOptions::default().timeout(seconds(timeout));
    cache.insert_with(key(n), n, options).unwrap()
}

fn there(cache: &SessionCache<u8>) -> Vec<u8> {
    let guard = cache.pin();
    let mut all: Vec<_> = cache.iter(&guard).map(|session| *session.value()).collect();
    all.sort_unstable();
    all
}

fn taken(left: &Left) -> Vec<(u8, Reason)> {
    let mut left = std::mem::take(&mut *left.lock().unwrap());
    left.sort_unstable_by_key(|(n, _)| *n);
    left
}

#[test]
fn c01_a_flush_goes_by_the_expiry_that_was_set_last() {
    let (cache, _hand, left) = cache(None);
    for (n, timeout) in [(1, 500), (2, 5), (3, 50)] {
        insert(&cache, n, timeout);
    }
    // OpenSSL sets time and timeout of a cached session apart; here it is how long it lives from now on.
    for (n, timeout) in [(1, 0), (2, 10), (3, 20)] {
        assert!(cache.retime(&key(n), seconds(timeout)));
    }
    for (at, gone) in [(9, 1), (11, 2), (21, 3)] {
        assert_eq!(cache.flush_sessions(NOW + at), 1);
        assert_eq!(taken(&left), [(gone, Reason::Expired)]);
    }
    for n in 1..=3 {
        insert(&cache, n, 100);
    }
    assert_eq!(cache.flush_sessions(0), 3);
    assert!(cache.is_empty());
    assert_eq!(taken(&left), [1, 2, 3].map(|n| (n, Reason::Cleared)));
}

/// As under OpenSSL's `SSL_SESS_CACHE_UPDATE_TIME`; here always.
#[test]
fn c01_a_second_insert_starts_the_time_anew() {
    let (cache, hand, _) = cache(None);
    insert(&cache, 1, 100);
    hand.advance(seconds(60));
    insert(&cache, 1, 100);
    hand.advance(seconds(60));
    assert!(cache.contains(&key(1)));
    assert_eq!(cache.flush().removed, 0);
    hand.advance(seconds(41));
    assert_eq!(cache.flush().removed, 1);
}

#[test]
fn c02_equality_keeps_a_session() {
    for timeout in [0, 1, 300] {
        let (cache, hand, _) = cache(None);
        insert(&cache, 1, timeout);
        assert_eq!(cache.flush_sessions(NOW + timeout - 1), 0);
        assert_eq!(cache.flush_sessions(NOW + timeout), 0);
        hand.advance(seconds(timeout));
        assert!(cache.contains(&key(1)), "resumed at its last second");
        assert_eq!(cache.flush_sessions(NOW + timeout + 1), 1);
    }
}

#[test]
fn c02_a_maximal_timeout_ends_with_everything_only() {
    let (cache, hand, _) = cache(None);
    let options = SessionOptions::default().timeout(Duration::MAX);
    cache.insert_with(key(1), 1, options).unwrap();
    assert_eq!(cache.flush_sessions(i64::MAX), 0);
    hand.set(Timestamp::NEVER);
    assert!(cache.contains(&key(1)));
    assert_eq!(cache.flush_sessions(0), 1);
}

/// As in OpenSSL up to 3.1; from 3.2 on it removes all.
#[test]
fn c02_a_negative_time_removes_nothing() {
    let (cache, hand, _) = cache(None);
    insert(&cache, 1, 0);
    hand.advance(seconds(100));
    for tm in [-1, -NOW, i64::MIN] {
        assert_eq!(cache.flush_sessions(tm), 0);
    }
    assert_eq!(cache.len(), 1);
}

/// OpenSSL's page says 300 seconds, its code 7200.
#[test]
fn c02_the_timeout_is_300_seconds_unless_said_otherwise() {
    let (cache, hand, _) = cache(None);
    cache.insert(key(1), 1).unwrap();
    hand.advance(seconds(300));
    assert!(cache.contains(&key(1)));
    hand.advance(seconds(1));
    assert!(!cache.contains(&key(1)));
}

#[test]
fn c03_with_room_for_one_the_second_evicts_the_first() {
    let (cache, _hand, left) = cache(Some(1));
    insert(&cache, 1, 500);
    assert_eq!(insert(&cache, 2, 5).evicted, 1);
    assert_eq!(taken(&left), [(1, Reason::Evicted)]);
    assert!(cache.contains(&key(2)));
}

/// OpenSSL up to 3.5 calls back under its lock, and such a callback never returns.
#[test]
fn c03_a_callback_may_call_into_the_cache() {
    let own: Arc<Mutex<Option<SessionCache<u8>>>> = Arc::default();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let (clock, hand) = Clock::manual(Timestamp::from_secs(NOW as u64));
    let (inner, log) = (Arc::clone(&own), Arc::clone(&calls));
    let cache = SessionCache::builder()
        .maximum(Some(1))
        .shards(1)
        .clock(clock)
        .on_remove(move |gone, n, _| {
            log.lock().unwrap().push(*n);
            let cache = inner.lock().unwrap().clone().expect("the test holds it");
            assert!(!cache.contains(gone));
            if *n == 99 {
                return;
            }
            assert_eq!(cache.flush().removed, 0);
            assert_eq!(cache.flush_sessions(NOW - 1), 0);
            // From in here nobody is evicted: there is room, or there is none.
            match cache.insert(key(99), 99) {
                Ok(_) => assert!(cache.remove(&key(99))),
                Err(error) => assert!(matches!(error, InsertError::Full(..))),
            }
        })
        .build()
        .unwrap();
    *own.lock().unwrap() = Some(cache.clone());
    let called = || std::mem::take(&mut *calls.lock().unwrap());
    insert(&cache, 1, 10);
    insert(&cache, 2, 10);
    assert_eq!(called(), [1], "evicted; no room for 99");
    hand.advance(seconds(11));
    assert_eq!(cache.flush().removed, 1);
    assert_eq!(called(), [2, 99]);
    insert(&cache, 3, 10);
    assert!(cache.remove(&key(3)));
    assert_eq!(called(), [3, 99]);
    insert(&cache, 4, 10);
    assert_eq!(cache.flush_sessions(0), 1);
    assert_eq!(called(), [4, 99]);
    assert_eq!(cache.stats().listener_panics, 0);
    *own.lock().unwrap() = None;
}

/// `SSL_CTX_free` reports all that is there.
#[test]
fn c03_a_dropped_cache_reports_nobody() {
    let (cache, _hand, left) = cache(Some(1));
    insert(&cache, 1, 10);
    drop(cache);
    assert_eq!(taken(&left), []);
}

/// OpenSSL's size of N holds N - 1.
#[test]
fn c04_a_maximum_of_n_holds_n_and_the_first_to_expire_leave() {
    let (cache, _hand, left) = cache(Some(5));
    for (n, timeout) in [
        (1, 50),
        (2, 90),
        (3, 10),
        (4, 70),
        (5, 30),
        (6, 100),
        (7, 20),
        (8, 80),
        (9, 40),
        (10, 60),
    ] {
        insert(&cache, n, timeout);
    }
    assert_eq!(there(&cache), [2, 4, 6, 8, 10]);
    assert_eq!(taken(&left), [1, 3, 5, 7, 9].map(|n| (n, Reason::Evicted)));
    assert_eq!(cache.stats().evicted, 5);
}

/// OpenSSL refuses an object that is there, and replaces another without telling anybody. Here there are no
/// objects: it is a replacement either way, and is reported.
#[test]
fn c04_a_replacement_is_reported_as_replaced() {
    let (cache, _hand, left) = cache(Some(2));
    insert(&cache, 1, 10);
    insert(&cache, 2, 10);
    let second = cache.insert(key(1), 101).unwrap();
    assert!(second.replaced);
    assert_eq!((second.evicted, cache.len()), (0, 2));
    assert_eq!(taken(&left), [(1, Reason::Replaced)]);
    assert_eq!(cache.get_cloned(&key(1)), Some(101));
}

/// OpenSSL returns 0 too, but calls back with the argument.
#[test]
fn c04_removing_an_absent_session_calls_nobody() {
    let (cache, _hand, left) = cache(None);
    assert!(!cache.remove(&key(1)));
    insert(&cache, 1, 10);
    assert!(cache.remove(&key(1)));
    assert!(!cache.remove(&key(1)));
    assert_eq!(taken(&left), [(1, Reason::Removed)]);
}

#[test]
fn c05_a_full_cache_takes_in_a_session_that_expires_before_all_others() {
    for maximum in [1, 2, 5] {
        let (cache, _hand, left) = cache(Some(maximum));
        for n in 0..maximum as u8 {
            insert(&cache, n, 100 + i64::from(n));
        }
        assert_eq!(insert(&cache, 50, 1).evicted, 1);
        assert_eq!(cache.get_cloned(&key(50)), Some(50));
        assert_eq!(taken(&left), [(0, Reason::Evicted)]);
        // The next one takes its place.
        insert(&cache, 51, 1_000);
        assert_eq!(taken(&left), [(50, Reason::Evicted)]);
    }
}

/// In OpenSSL an add pays for it, all of it, and no flush.
#[test]
fn c06_a_lowered_maximum_is_paid_for_by_the_next_insert_or_flush() {
    for flush in [false, true] {
        let (cache, _hand, left) = cache(None);
        for n in 1..=20 {
            insert(&cache, n, n.into());
        }
        cache.set_maximum(Some(10));
        assert_eq!((cache.len(), taken(&left)), (20, vec![]));
        assert!(cache.contains(&key(1)) && !cache.remove(&key(99)));
        assert_eq!(cache.len(), 20);
        if flush {
            assert_eq!(cache.flush_sessions(1), 0);
            assert_eq!(there(&cache), (11..=20).collect::<Vec<_>>());
        } else {
            assert_eq!(insert(&cache, 50, 5).evicted, 11);
            assert_eq!(there(&cache), (12..=20).chain([50]).collect::<Vec<_>>());
        }
        assert!(
            taken(&left)
                .iter()
                .all(|(_, reason)| *reason == Reason::Evicted)
        );
    }
}

/// OpenSSL lets all go with one add.
#[test]
fn c06_a_maximum_lowered_by_far_is_paid_for_in_steps_of_64() {
    let (cache, _hand, _) = cache(None);
    for n in 0..200 {
        insert(&cache, n, 1_000 + i64::from(n));
    }
    cache.set_maximum(Some(10));
    let mut steps = vec![cache.len()];
    while cache.len() > 10 {
        cache.flush_sessions(1);
        steps.push(cache.len());
    }
    assert_eq!(steps, [200, 136, 72, 10]);
    assert_eq!(there(&cache), (190..200).collect::<Vec<_>>());
}

/// 0 is no limit to OpenSSL, and to the function of that name; else `None` is, and 0 keeps nothing.
#[test]
fn c06_without_a_maximum_nobody_is_evicted() {
    let (cache, _hand, left) = cache(Some(1));
    assert_eq!(cache.sess_set_cache_size(0).unwrap(), 1);
    for n in 0..250 {
        insert(&cache, n, 1);
    }
    assert_eq!((cache.len(), taken(&left)), (250, vec![]));
    assert_eq!((cache.sess_get_cache_size(), cache.maximum()), (0, None));
    cache.set_maximum(Some(1_000));
    cache.set_maximum(None);
    assert_eq!((cache.len(), taken(&left)), (250, vec![]));
    cache.set_maximum(Some(0));
    assert!(matches!(
        cache.insert(key(251), 251),
        Err(InsertError::Zero(..))
    ));
}

#[test]
fn c07_counters_tell_what_happened() {
    let (cache, hand, _) = cache(Some(3));
    for n in 1..=5 {
        insert(&cache, n, n.into());
    }
    insert(&cache, 5, 1);
    cache.remove(&key(4));
    assert!(cache.take_cloned(&key(3)).is_some());
    hand.advance(seconds(2));
    cache.flush();
    insert(&cache, 6, 1);
    cache.clear();
    let stats = cache.stats();
    let counted = (
        stats.evicted,
        stats.replaced,
        stats.removed,
        stats.taken,
        stats.expired,
        stats.cleared,
    );
    assert_eq!(counted, (2, 1, 1, 1, 1, 1));
    assert_eq!(stats.live, 0);
}

#[test]
fn c07_never_more_than_the_maximum_and_evictions_are_counted_exactly() {
    const THREADS: u64 = 4;
    const MAXIMUM: usize = 16;
    let each = 3_000 * scale() as u64;
    let cache = SessionCache::builder()
        .maximum(Some(MAXIMUM))
        .shards(1)
        .build()
        .unwrap();
    let begin = Barrier::new(THREADS as usize);
    scope(|scope| {
        for thread in 0..THREADS {
            let (cache, begin) = (&cache, &begin);
            scope.spawn(move || {
                begin.wait();
                for n in 0..each {
                    let mut id = [0; 32];
                    id[..8].copy_from_slice(&(thread << 32 | n).to_le_bytes());
                    cache
                        .insert(SessionKey::new(Context::DEFAULT, SessionId::from(id)), n)
                        .unwrap();
                    assert!(cache.len() <= MAXIMUM);
                }
            });
        }
    });
    assert_eq!(cache.len(), MAXIMUM);
    assert_eq!(cache.stats().evicted, THREADS * each - MAXIMUM as u64);
}

#[test]
fn c09_another_context_is_a_miss_and_leaves_the_session() {
    let (cache, _hand, left) = cache(None);
    let site = cache.context().unwrap();
    let theirs = SessionKey::new(site, SessionId::from([1; 32]));
    cache.insert(theirs, 1).unwrap();
    assert_eq!(cache.get_cloned(&key(1)), None);
    assert_eq!(cache.take_cloned(&key(1)), None);
    assert!(!cache.remove(&key(1)));
    assert_eq!(taken(&left), []);
    assert_eq!(cache.get_cloned(&theirs), Some(1));
}

#[test]
fn c10_a_session_is_resumed_up_to_its_last_second() {
    let (cache, hand, _) = cache(None);
    insert(&cache, 1, 100);
    for (age, resumed) in [(99, true), (100, true), (101, false)] {
        hand.set(Timestamp::from_secs((NOW + age) as u64));
        assert_eq!(cache.get_cloned(&key(1)).is_some(), resumed, "{age}");
    }
    assert_eq!(cache.len(), 1, "it leaves with a flush, not with a lookup");
}

/// OpenSSL likewise; BoringSSL refuses the session. A monotonic clock never shows it.
#[test]
fn c10_a_clock_before_birth_does_not_matter() {
    let (cache, hand, _) = cache(None);
    insert(&cache, 1, 100);
    hand.set(Timestamp::from_secs(1));
    assert_eq!(cache.get_cloned(&key(1)), Some(1));
}

#[test]
fn c10_a_lookup_extends_no_life_and_a_renewal_does() {
    let (cache, hand, _) = cache(None);
    insert(&cache, 1, 100);
    insert(&cache, 2, 100);
    hand.advance(seconds(90));
    assert!(cache.get_cloned(&key(1)).is_some());
    assert!(cache.retime(&key(2), seconds(100)));
    hand.advance(seconds(90));
    assert_eq!(
        (cache.contains(&key(1)), cache.contains(&key(2))),
        (false, true)
    );
    assert!(
        !cache.retime(&key(1), seconds(100)),
        "an expired one is not brought back"
    );
}

#[test]
fn c11_a_ticket_for_one_use_is_good_for_one() {
    let (cache, _hand, left) = cache(None);
    let once = SessionOptions::default().single_use(true);
    cache.insert_with(key(1), 1, once).unwrap();
    assert_eq!(cache.get_cloned(&key(1)), Some(1));
    assert_eq!(cache.get_cloned(&key(1)), None);
    assert_eq!(taken(&left), [(1, Reason::Taken)]);
}

#[test]
fn c11_of_all_who_offer_a_ticket_at_once_one_gets_it() {
    const THREADS: usize = 4;
    let rounds = 300 * scale();
    let (cache, _hand, _) = cache(None);
    let once = SessionOptions::default().single_use(true);
    let begin = Barrier::new(THREADS);
    let won = Mutex::new(vec![0; rounds]);
    scope(|scope| {
        for thread in 0..THREADS {
            let (cache, begin, won) = (&cache, &begin, &won);
            scope.spawn(move || {
                for round in 0..rounds {
                    if thread == 0 {
                        cache.insert_with(key(1), 1, once).unwrap();
                    }
                    begin.wait();
                    if cache.get_cloned(&key(1)).is_some() {
                        won.lock().unwrap()[round] += 1;
                    }
                    begin.wait();
                }
            });
        }
    });
    assert!(
        won.into_inner()
            .unwrap()
            .iter()
            .all(|&winners| winners == 1)
    );
}
