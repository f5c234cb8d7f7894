//! Who sees what a thread did sees what it did before, under another key and by no other
//! synchronisation than that. (Each operation takes effect at one instant: so nobody may see two of them
//! the wrong way round.)
//!
//! Both threads hold a guard: pinning again makes no fence then, which would order their operations.
#![cfg(loom)]

use sessionwheel::{Timestamp, pin};
use sessionwheel_loom_tests::{Watched, beside, check, long, tick};

const NEVER: Timestamp = Timestamp::NEVER;

/// Keys of two lines, with fingerprints that are not a vacant word's.
const FIRST: u64 = 1 << 24;
const SECOND: u64 = 2 << 24 | 1;

/// Two entries, in different lines.
fn two() -> Watched {
    let map = Watched::default();
    map.put(FIRST, 11, NEVER, tick(0));
    map.put(SECOND, 22, tick(3), tick(0));
    map
}

/// Of one thread that takes the first entry and then does `second` to the other, and one that looks at the
/// other by `seen`: if that saw it, the first entry is gone.
fn in_this_order(
    name: &str,
    bound: usize,
    second: impl Fn(&Watched) + Copy + Send + Sync + 'static,
    seen: impl Fn(&Watched) -> bool + Send + Sync + 'static,
) {
    check(name, bound, move || {
        let map = two();
        let other = beside(&map, move |map| {
            let _guard = pin();
            assert_eq!(map.take(FIRST, tick(0)), Some(11));
            second(map);
        });
        let guard = pin();
        let before = map.get(FIRST, tick(0)).is_none();
        let seen = seen(&map);
        let gone = map.get(FIRST, tick(0)).is_none();
        drop(guard);
        other.join().unwrap();
        assert!(gone || !(before || seen), "the wrong way round");
    });
}

/// At stake: the mark, and the deadline word that was closed behind it.
#[test]
fn two_takes_against_two_gets() {
    in_this_order(
        "two_takes_against_two_gets",
        long(2, 3),
        |map| assert_eq!(map.take(SECOND, tick(0)), Some(22)),
        |map| map.get(SECOND, tick(0)).is_none(),
    );
}

/// At stake: a new deadline.
#[test]
fn take_and_retime_against_two_gets() {
    in_this_order(
        "take_and_retime_against_two_gets",
        3,
        |map| {
            map.retime(&SECOND, NEVER, tick(0));
        },
        |map| {
            let guard = pin();
            let entry = map.get_entry(&SECOND, tick(0), &guard);
            entry.is_some_and(|entry| entry.deadline() == NEVER)
        },
    );
}

/// At stake: an iteration comes to an entry by its number, not through the table.
#[test]
fn insert_against_iteration() {
    check("insert_against_iteration", 3, || {
        let map = Watched::default();
        let other = beside(&map, |map| {
            map.put(FIRST, 11, NEVER, tick(0));
            map.put(SECOND, 22, NEVER, tick(0));
        });
        let guard = pin();
        for entry in map.iter(&guard) {
            let there = (*entry.key(), entry.value().read());
            assert!(matches!(there, (FIRST, 11) | (SECOND, 22)), "{there:?}");
        }
        drop(guard);
        other.join().unwrap();
        map.settled(&[], 2);
    });
}
