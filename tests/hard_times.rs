//! Times, ids and maxima at their limits.

use std::time::Duration;

use sessionwheel::{
    Clock, Context, ExpiringMap, InsertError, SessionCache, SessionId, SessionKey, SessionOptions,
    Timestamp,
};

type Map = ExpiringMap<u64, String>;

const SECOND: u64 = 1_000_000_000;
const TEN_YEARS: u64 = 10 * 365 * 86_400 * SECOND;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

fn map() -> Map {
    ExpiringMap::builder().shards(1).build().unwrap()
}

#[test]
fn a_maximum_of_zero_keeps_nothing_and_hands_everything_back() {
    let map: Map = ExpiringMap::builder().maximum(Some(0)).build().unwrap();
    match map.insert(7, "seven".into(), at(10), at(0)) {
        Err(InsertError::Zero(7, value)) => assert_eq!(value, "seven"),
        other => panic!("{other:?}"),
    }
    assert_eq!((map.len(), map.maximum()), (0, Some(0)));
    assert_eq!(map.flush(Timestamp::NEVER).visited, 0);
    map.set_maximum(Some(1));
    map.insert(7, "seven".into(), at(10), at(0)).unwrap();
    map.set_maximum(Some(0));
    assert!(map.insert(8, "eight".into(), at(10), at(0)).is_err());
    assert_eq!((map.len(), map.stats().evicted), (0, 1), "it has left");
}

#[test]
fn an_entry_whose_deadline_is_now_lives_for_this_instant() {
    let map = map();
    for now in [0, 1, 77, 1 << 30, (1 << 36) - 1, u64::MAX - 5] {
        map.insert(1, "x".into(), at(now), at(now)).unwrap();
        assert!(map.contains(&1, at(now)));
        assert_eq!(map.flush(at(now)).removed, 0);
        assert!(!map.contains(&1, at(now + 1)));
        assert!(map.take_cloned(&1, at(now + 1)).is_none());
        assert!(!map.retime(&1, Timestamp::NEVER, at(now + 1)));
        assert_eq!(map.len(), 1, "a miss, but still there");
        assert_eq!(map.flush(at(now + 1)).removed, 1);
    }
    assert!(map.is_empty());
}

#[test]
fn a_deadline_in_the_past_is_refused_and_changes_nothing() {
    let map = map();
    map.insert(1, "old".into(), at(100), at(0)).unwrap();
    match map.insert(1, "new".into(), at(49), at(50)) {
        Err(InsertError::Expired(1, value)) => assert_eq!(value, "new"),
        other => panic!("{other:?}"),
    }
    assert_eq!(map.get_cloned(&1, at(50)).unwrap(), "old");
    assert!(!map.retime(&1, at(49), at(50)));
    assert_eq!(map.get_cloned(&1, at(100)).unwrap(), "old");
}

#[test]
fn an_entry_without_an_end_leaves_by_eviction_clear_or_removal_only() {
    let map = map();
    for key in 0..5 {
        map.insert(key, String::new(), Timestamp::NEVER, at(u64::MAX))
            .unwrap();
    }
    assert_eq!(map.next_expiry(), None);
    assert_eq!(map.flush(Timestamp::NEVER).removed, 0);
    assert!(map.contains(&0, Timestamp::NEVER));
    assert!(map.retime(&0, at(10), at(5)));
    assert_eq!(map.flush(at(11)).removed, 1);
    assert!(map.remove(&1));
    map.set_maximum(Some(2));
    map.flush(at(0));
    assert_eq!((map.len(), map.stats().evicted), (2, 1));
    assert_eq!(map.clear(), 2);
}

/// A life of inserts and re-timings with a flush each tick: what flushes look at is bounded by what
/// they remove, a constant for each, and each survivor once per level.
#[test]
fn flushes_look_at_little_more_than_they_remove() {
    const TICK: u64 = 16;
    const LEVELS: u64 = 10;
    for (shards, longest) in [(1u64, 40u64), (1, 5_000), (4, 5_000), (4, 200_000)] {
        let map: Map = ExpiringMap::builder()
            .shards(shards as usize)
            .tick_bits(4)
            .build()
            .unwrap();
        let (mut visited, mut removed, mut inserted, mut flushes) = (0, 0, 0u64, 0);
        for tick in 0..3_000u64 {
            let now = tick * TICK;
            for _ in 0..20 {
                let lifetime = (inserted * 7_919) % longest;
                map.insert(inserted, String::new(), at(now + lifetime), at(now))
                    .unwrap();
                inserted += 1;
            }
            let swept = map.flush(at(now));
            visited += swept.visited as u64;
            removed += swept.removed as u64;
            flushes += 1;
        }
        let bound = removed + 4 * shards * flushes + inserted * (LEVELS + 1);
        println!(
            "{shards} shards, up to {longest}: {visited} visited, {removed} removed, {flushes} flushes, {inserted} inserted, bound {bound}"
        );
        assert!(visited <= bound);
        // In fact most are looked at once, or once more on their way through two levels.
        assert!(visited <= 3 * inserted + 40 * flushes, "{visited}");
        let rest = map.flush(Timestamp::NEVER);
        assert_eq!(removed + rest.removed as u64, inserted);
        assert_eq!(map.stats().visited, visited + rest.visited as u64);
    }
}

/// What a second's flush visits in steady state: so many inserted, so many removed, each second.
fn seconds(map: &Map, from: u64, seconds: u64, key: &mut u64) -> Vec<(usize, usize)> {
    (0..seconds)
        .map(|second| {
            let now = from + second * SECOND;
            for _ in 0..10 {
                *key += 1;
                map.insert(*key, String::new(), at(now + 60 * SECOND), at(now))
                    .unwrap();
            }
            let swept = map.flush(at(now));
            (swept.visited, swept.removed)
        })
        .collect()
}

#[test]
fn a_clock_that_jumps_ten_years_and_back_costs_no_more_than_the_longest_lifetime() {
    let map = map();
    let mut key = 0;
    let from = 1_000 * SECOND;
    seconds(&map, from, 120, &mut key);
    let there = map.len();
    assert!((590..=630).contains(&there));
    let jump = map.flush(at(from + TEN_YEARS));
    assert_eq!(jump.removed, there);
    assert!(jump.visited <= there + 1_000, "{jump:?}");
    // Back again: the wheel is at the horizon now, so that hints wait in the due set for as long as
    // entries lived at the most, and then all is as before.
    let from = from + 120 * SECOND;
    let meanwhile = seconds(&map, from, 130, &mut key);
    let after = seconds(&map, from + 130 * SECOND, 300, &mut key);
    let visited: usize = after.iter().map(|s| s.0).sum();
    let removed: usize = after.iter().map(|s| s.1).sum();
    println!(
        "{} visited meanwhile; after that {visited} for {removed} removed",
        meanwhile.iter().map(|s| s.0).sum::<usize>()
    );
    assert!((2_900..=3_100).contains(&removed));
    assert!(visited <= 2 * removed + 64 * 300, "{visited}");
    let worst = after.iter().map(|s| s.0).max().unwrap();
    assert!(worst <= 700, "one flush looked at {worst}");
}

#[test]
fn a_session_cache_survives_the_same_jump() {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    let cache = SessionCache::builder().clock(clock).build().unwrap();
    let key = |n: u8| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    cache.insert(key(1), "one").unwrap();
    hand.advance(Duration::from_nanos(TEN_YEARS));
    assert!(cache.get_cloned(&key(1)).is_none());
    assert_eq!(cache.flush().removed, 1);
    hand.set(Timestamp::from_secs(1_010));
    cache.insert(key(2), "two").unwrap();
    hand.advance(Duration::from_secs(300));
    assert_eq!(cache.get_cloned(&key(2)), Some("two"), "its whole lifetime");
    assert_eq!(cache.flush().removed, 0);
    hand.advance(Duration::from_nanos(1));
    assert!(cache.get_cloned(&key(2)).is_none());
    assert_eq!(cache.flush().removed, 1);
    hand.set(Timestamp::ZERO);
    cache.insert(key(3), "three").unwrap();
    assert_eq!(
        cache.get_cloned(&key(3)),
        Some("three"),
        "at the clock's start"
    );
    hand.set(Timestamp::NEVER);
    assert!(cache.get_cloned(&key(3)).is_none(), "at its end");
    cache.insert(key(4), "four").unwrap();
    assert_eq!(cache.get_cloned(&key(4)), Some("four"));
}

#[test]
fn a_timeout_of_zero_and_one_without_an_end() {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    let builder = SessionCache::builder().clock(clock).lineage(None);
    let cache = builder.build().unwrap();
    let [now, ever] = [1, 2].map(|n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32])));
    let timeout = |t| SessionOptions::default().timeout(t);
    cache
        .insert_with(now, "now", timeout(Duration::ZERO))
        .unwrap();
    cache
        .insert_with(ever, "ever", timeout(Duration::MAX))
        .unwrap();
    assert!(cache.contains(&now));
    hand.advance(Duration::from_nanos(1));
    assert!(!cache.contains(&now));
    hand.advance(Duration::from_nanos(TEN_YEARS));
    assert_eq!(cache.flush().removed, 1);
    assert!(cache.contains(&ever));
}

#[test]
fn ids_of_every_length() {
    let cache = SessionCache::<usize>::builder().build().unwrap();
    let bytes = vec![0u8; 64 * 1024];
    let mut keys = Vec::new();
    for len in 0..=32 {
        // All zeros, so that only the length tells them apart.
        let id = SessionId::new(&bytes[..len]).unwrap();
        assert_eq!((id.len(), id.is_empty()), (len, len == 0));
        let key = SessionKey::new(Context::DEFAULT, id);
        assert!(!cache.insert(key, len).unwrap().replaced);
        keys.push(key);
    }
    for len in [33, 255, 64 * 1024] {
        let error = SessionId::new(&bytes[..len]).unwrap_err();
        assert!(error.to_string().contains(&len.to_string()), "{error}");
    }
    for (len, key) in keys.iter().enumerate() {
        assert_eq!(cache.take_cloned(key), Some(len));
    }
    assert!(cache.is_empty());
}
