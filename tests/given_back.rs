//! What a map has taken from the allocator it gives back, to the last byte.
//!
//! One test, and no thread beside it, since the allocator counts for all threads.

use peak_alloc::PeakAlloc;
use sessionwheel::{ExpiringMap, Timestamp};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const ENTRIES: u64 = 5_000;

fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// Bytes that are there when what was deferred has been done, as entries come and go in another map: the
/// fewest, for the collector's own queue grows and shrinks by two kilobytes at a time.
fn settled(other: &ExpiringMap<u64, ()>) -> usize {
    let come_and_gone = |_| {
        let inserted = other.insert(1, (), at(1), at(0));
        assert!(inserted.is_ok(), "refused");
        assert_eq!(other.flush(at(100)).removed, 1);
        assert_eq!(other.reclaim(), 0);
        ALLOCATOR.current_usage()
    };
    (0..1_000).map(come_and_gone).min().expect("a thousand")
}

/// A map that all kinds of things were done to, dropped with what is in it. How much there was then.
fn lived(maximum: Option<usize>) -> usize {
    let map: ExpiringMap<u64, Box<u64>> = ExpiringMap::builder()
        .maximum(maximum)
        .shards(2)
        .tick_bits(4)
        .now(at(0))
        .helpers(0, |_| ())
        .build()
        .expect("good numbers");
    // Half of them at one time, so that a tick needs its numbers, its list and its bits.
    let deadline = |key: u64| at(if key % 2 == 0 { 1_000 } else { 100 + key * key });
    for key in 0..ENTRIES {
        let inserted = map.insert(key, Box::new(key), deadline(key), at(0));
        assert!(inserted.is_ok(), "refused");
    }
    // Some of what is due, in several calls; a pass that stops half-way; and a tick that others go to.
    let mut removed = 0;
    for time in [500, 50_000, 50_000] {
        removed += map.flush_within(at(time), 100).removed;
    }
    removed += map.flush(at(20_000_000)).removed;
    assert!(removed > 0, "nothing was due");
    for key in 0..ENTRIES {
        map.retime(&key, at(30_000_000 + key), at(0));
    }
    map.flush(at(29_000_000));
    for key in (0..ENTRIES).step_by(3) {
        map.remove(&key);
    }
    assert!(!map.is_empty());
    ALLOCATOR.current_usage()
}

#[test]
fn what_a_map_has_taken_is_given_back() {
    let other = ExpiringMap::builder()
        .helpers(0, |_| ())
        .build()
        .expect("good numbers");
    let maxima = [None, Some(ENTRIES as usize), Some(500)];
    let mut given_back = [0; 3];
    for (maximum, given_back) in maxima.into_iter().zip(&mut given_back) {
        // What is made once for all maps, and by what is deferred.
        lived(maximum);
        let before = settled(&other);
        for _ in 0..3 {
            *given_back = lived(maximum) - before;
            assert_eq!(
                settled(&other),
                before,
                "bytes, with a maximum of {maximum:?}"
            );
        }
        assert!(
            *given_back > 10_000,
            "{given_back} bytes were none to speak of"
        );
    }
    // Not before: what is printed is kept, by who runs the tests.
    println!("bytes given back, with maxima {maxima:?}: {given_back:?}");
}
