//! Lines that split: nobody is lost on the way, nobody is there twice, and no word that is used
//! again leads a reader astray.
//!
//! Under loom a line has two words, and lines are split by three bits at the most: the lower ones of
//! the key, which is its own hash. The numbers here are those bits; each key has a fingerprint of its
//! own, not that of a vacant word.
#![cfg(loom)]

use sessionwheel::{Reason, Timestamp};
use sessionwheel_loom_tests::{Watched, beside, check, long, tick};

const NEVER: Timestamp = Timestamp::NEVER;

/// The key of a number: its fingerprint is above.
fn key(number: u64) -> u64 {
    (number + 1) << 24 | number
}

/// A map with these, each the value of itself and ten.
fn with(numbers: &[u64]) -> Watched {
    let map = Watched::default();
    for &number in numbers {
        add(&map, number);
    }
    map
}

/// Adds one; whether it replaced.
fn add(map: &Watched, number: u64) -> bool {
    put(map, number, number + 10)
}

fn put(map: &Watched, number: u64, value: u64) -> bool {
    map.put(key(number), value, NEVER, tick(0))
}

fn get(map: &Watched, number: u64) -> Option<u64> {
    map.get(key(number), tick(0))
}

fn take(map: &Watched, number: u64) -> Option<u64> {
    map.take(key(number), tick(0))
}

fn retime(map: &Watched, number: u64) -> bool {
    map.retime(&key(number), NEVER, tick(0))
}

/// At stake: an entry that moves to the new line, and one that stays, are found all the while.
#[test]
fn split_against_lookup() {
    check("split_against_lookup", 3, || {
        let map = with(&[0, 2]);
        let other = beside(&map, |map| add(map, 4));
        assert_eq!((get(&map, 2), get(&map, 0)), (Some(12), Some(10)));
        assert!(!other.join().unwrap());
        map.settled(&[], 3);
    });
}

/// The same where a line is split further than the others, so that readers come by way of it even
/// when the new line is open.
#[test]
fn deep_split_against_lookup() {
    check("deep_split_against_lookup", 2, || {
        let map = with(&[0, 4]);
        let other = beside(&map, |map| add(map, 8));
        assert_eq!((get(&map, 4), get(&map, 0)), (Some(14), Some(10)));
        assert!(!other.join().unwrap());
        assert_eq!(get(&map, 8), Some(18));
        map.settled(&[], 3);
    });
}

/// At stake: a line is split before its time, and while that goes on its time comes. Who helps then has to
/// put the child where the other does, and who looks for it must find it.
#[test]
fn early_split_against_growth() {
    check("early_split_against_growth", 2, || {
        let map = with(&[0, 4, 1]);
        let other = beside(&map, |map| add(map, 8));
        assert!(!add(&map, 5));
        assert_eq!((get(&map, 4), get(&map, 0)), (Some(14), Some(10)));
        assert!(!other.join().unwrap());
        for number in [0, 1, 4, 5, 8] {
            assert_eq!(get(&map, number), Some(number + 10));
        }
        map.settled(&[], 5);
    });
}

/// At stake: an entry is taken once, from whichever line it is in, and leaves no word behind that
/// leads to its slot when that is used again.
#[test]
fn deep_split_against_take() {
    check("deep_split_against_take", long(2, 3), || {
        let map = with(&[0, 4]);
        let other = beside(&map, |map| add(map, 8));
        assert_eq!(take(&map, 4), Some(14));
        map.reclaim();
        assert_eq!((get(&map, 4), get(&map, 0)), (None, Some(10)));
        assert!(!other.join().unwrap());
        map.settled(&[(key(4), 14, Reason::Taken)], 2);
    });
}

/// At stake: while one thread stands between opening the new line and closing the old one, an entry
/// leaves by the new line, is recycled and its slot used for the same key; a third, who comes by the
/// old line, must not follow the word that still stands there.
#[test]
fn deep_split_against_take_and_lookup() {
    check("deep_split_against_take_and_lookup", 1, || {
        let map = with(&[0, 4]);
        let splitter = beside(&map, |map| add(map, 8));
        let reader = beside(&map, |map| get(map, 4));
        assert_eq!(take(&map, 4), Some(14));
        map.reclaim();
        put(&map, 4, 24);
        assert!(matches!(reader.join().unwrap(), None | Some(14 | 24)));
        assert!(!splitter.join().unwrap());
        map.settled(&[(key(4), 14, Reason::Taken)], 3);
    });
}

/// The same where the recycled slot serves the reader's own key: the word it left behind must not
/// lead there before it is published.
#[test]
fn deep_split_against_reuse_and_lookup() {
    check("deep_split_against_reuse_and_lookup", 1, || {
        let map = with(&[0, 4]);
        let splitter = beside(&map, |map| add(map, 8));
        let reader = beside(&map, |map| get(map, 0));
        assert_eq!(take(&map, 4), Some(14));
        map.reclaim();
        assert!(put(&map, 0, 20));
        assert!(matches!(reader.join().unwrap(), Some(10 | 20)));
        assert!(!splitter.join().unwrap());
        map.settled(
            &[(key(0), 10, Reason::Replaced), (key(4), 14, Reason::Taken)],
            2,
        );
    });
}

/// At stake: a replaced entry's word is swung in the old line or copied to the new one; either way
/// its slot is let go once, and not while a word still leads there.
#[test]
fn deep_split_against_replace() {
    check("deep_split_against_replace", 2, || {
        let map = with(&[0, 4]);
        let other = beside(&map, |map| add(map, 8));
        assert!(put(&map, 4, 24));
        assert!(!other.join().unwrap());
        // The replaced one's slot is used again.
        map.reclaim();
        assert!(!add(&map, 1));
        assert_eq!((get(&map, 4), get(&map, 0)), (Some(24), Some(10)));
        map.settled(&[(key(4), 14, Reason::Replaced)], 4);
    });
}

/// Two threads come to split the same line.
#[test]
fn split_against_split() {
    check("split_against_split", long(2, 3), || {
        let map = with(&[0, 2]);
        let other = beside(&map, |map| add(map, 4));
        assert!(!add(&map, 6));
        assert!(!other.join().unwrap());
        for number in [0, 2, 4, 6] {
            assert_eq!(get(&map, number), Some(number + 10));
        }
        map.settled(&[], 4);
    });
}

/// At stake: what was found once is found again. A word that an insert has claimed and may still
/// give up does not count.
#[test]
fn insert_into_a_used_word_against_lookup() {
    check("insert_into_a_used_word_against_lookup", 3, || {
        let map = with(&[0]);
        let other = beside(&map, |map| (get(map, 2), get(map, 2)));
        assert_eq!(take(&map, 0), Some(10));
        assert!(!add(&map, 2));
        let seen = other.join().unwrap();
        assert!(
            matches!(seen, (None, None | Some(12)) | (Some(12), Some(12))),
            "{seen:?}"
        );
        map.settled(&[(key(0), 10, Reason::Taken)], 1);
    });
}

/// The same for a re-timing, which looks for its entry without a glance first.
#[test]
fn insert_into_a_used_word_against_retime() {
    check("insert_into_a_used_word_against_retime", 3, || {
        let map = with(&[0]);
        let other = beside(&map, |map| (retime(map, 2), retime(map, 2)));
        assert_eq!(take(&map, 0), Some(10));
        assert!(!add(&map, 2));
        let seen = other.join().unwrap();
        assert!(
            matches!(seen, (false, _) | (true, true)),
            "found once and not again: {seen:?}"
        );
        map.settled(&[(key(0), 10, Reason::Taken)], 1);
    });
}

/// The same as the first, where the word is claimed from a line that changes, so that it is given up
/// again.
#[test]
fn insert_and_take_against_lookup() {
    check("insert_and_take_against_lookup", 2, || {
        let map = with(&[0]);
        let inserter = beside(&map, |map| add(map, 2));
        let reader = beside(&map, |map| (get(map, 2), get(map, 2)));
        assert_eq!(take(&map, 0), Some(10));
        assert!(!inserter.join().unwrap());
        let seen = reader.join().unwrap();
        assert!(
            matches!(seen, (None, None | Some(12)) | (Some(12), Some(12))),
            "{seen:?}"
        );
        map.settled(&[(key(0), 10, Reason::Taken)], 1);
    });
}

/// Two inserts of key 16 beside each other, into a map that has two others.
fn insert_twice(map: &Watched) {
    let other = beside(map, |map| add(map, 16));
    let mine = put(map, 16, 36);
    let theirs = other.join().unwrap();
    assert!(mine != theirs, "one of them replaced the other's");
    let (gone, here) = if mine { (26, 36) } else { (36, 26) };
    assert_eq!(get(map, 16), Some(here));
    map.settled(&[(key(16), gone, Reason::Replaced)], 3);
}

/// Keys 0, 8 and 16 share all the bits that lines are split by: the third spills. At stake: two
/// inserts of one key leave one entry, one in the line and one in the list would be two.
#[test]
fn spill_against_insert() {
    check("spill_against_insert", 1, || {
        let map = with(&[0, 8]);
        insert_twice(&map);
    });
}

/// The same with one preemption more, where all lines are split already and no slots have to be made.
#[test]
fn spill_against_insert_where_nothing_splits() {
    check("spill_against_insert_where_nothing_splits", 3, || {
        let map = with(&[0, 4, 8, 12]);
        for number in [4, 12] {
            assert!(take(&map, number).is_some());
        }
        map.reclaim();
        map.forget_who_left();
        insert_twice(&map);
    });
}

/// At stake: the same where an entry of the line leaves meanwhile, so that there is room after all.
#[test]
fn spill_against_take_and_insert() {
    check("spill_against_take_and_insert", 2, || {
        let map = with(&[0, 8]);
        let other = beside(&map, |map| add(map, 16));
        assert_eq!(take(&map, 0), Some(10));
        let mine = put(&map, 16, 36);
        let theirs = other.join().unwrap();
        assert!(mine != theirs, "one of them replaced the other's");
        let (gone, here) = if mine { (26, 36) } else { (36, 26) };
        assert_eq!(take(&map, 16), Some(here));
        assert_eq!(get(&map, 16), None);
        assert_eq!(get(&map, 8), Some(18));
        let mut left = [
            (key(0), 10, Reason::Taken),
            (key(16), gone, Reason::Replaced),
            (key(16), here, Reason::Taken),
        ];
        left.sort_by_key(|&(key, value, _)| (key, value));
        map.settled(&left, 1);
    });
}

/// At stake: who finds an entry at the end of the spill list finds what is in it, also where another leaves
/// the list meanwhile that led there.
#[test]
fn spill_against_take_and_lookup() {
    check("spill_against_take_and_lookup", 3, || {
        let map = with(&[0, 8, 16]);
        let other = beside(&map, |map| add(map, 24));
        assert_eq!(take(&map, 16), Some(26));
        assert!(matches!(get(&map, 24), None | Some(34)));
        assert!(!other.join().unwrap());
        assert_eq!(get(&map, 24), Some(34));
        map.settled(&[(key(16), 26, Reason::Taken)], 3);
    });
}
