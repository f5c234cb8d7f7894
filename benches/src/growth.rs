//! Growing from empty: what a single insert does at the most, counted.
//!
//! Counted in `sessionwheel-counted`, which is the same sources built with counters, so that the
//! crate whose time is measured counts nothing.

use std::hash::BuildHasher;

use sessionwheel_counted::tally::{Each, Tally, tally};
use sessionwheel_counted::{ExpiringMap, MapBuilder, Timestamp};

use crate::{Id, Ids, NOW};

/// What one insert may touch: slots and lines, and everything else that is held in segments.
pub const TOUCHED: usize = 128;
/// Segments of slots, of lines, of a tick's directory, of the places of early lines, of the tournament, and
/// pages or chunks of a tick that one insert may allocate: so many of each.
pub const ALLOCATED: usize = 1;

/// What was seen while a map grew.
#[derive(Clone, Copy, Debug, Default)]
pub struct Growth {
    /// Inserts.
    pub inserts: usize,
    /// What any one insert touched, all kinds together.
    pub touched: usize,
    /// Segments of slots and of lines that any one insert allocated.
    pub segments: usize,
    /// Of any one insert, each number by itself.
    pub most: Tally,
    /// Of all inserts.
    pub sum: Tally,
}

impl Growth {
    fn add(&mut self, one: Tally) {
        let each = |f: fn(usize, usize) -> usize, a: Each, b: Each| Each {
            slots: f(a.slots, b.slots),
            lines: f(a.lines, b.lines),
            directories: f(a.directories, b.directories),
            places: f(a.places, b.places),
            words: f(a.words, b.words),
        };
        let all = |f: fn(usize, usize) -> usize, a: Tally| Tally {
            touched: each(f, a.touched, one.touched),
            segments: each(f, a.segments, one.segments),
            pages: f(a.pages, one.pages),
            ticks: f(a.ticks, one.ticks),
        };
        let Each {
            slots,
            lines,
            directories,
            places,
            words,
        } = one.touched;
        let touched = slots + lines + directories + places + words;
        self.inserts += 1;
        self.touched = self.touched.max(touched);
        self.segments = (self.segments).max(one.segments.slots + one.segments.lines);
        self.most = all(usize::max, self.most);
        self.sum = all(|a, b| a + b, self.sum);
    }
}

/// Lets a map grow to `n` sessions, on one thread, and counts at every insert.
///
/// # Panics
/// If an insert is refused.
pub fn grow<S: BuildHasher>(
    builder: MapBuilder<Id, u64, S>,
    n: usize,
    mut deadline: impl FnMut() -> Timestamp,
) -> Growth {
    let map: ExpiringMap<Id, u64, S> = builder.build().expect("good numbers");
    let now = Timestamp::from_secs(NOW);
    let mut ids = Ids::new(16);
    let mut growth = Growth::default();
    for _ in 0..n {
        let (id, deadline) = (ids.id(), deadline());
        let (inserted, one) = tally(|| map.insert(id, 0, deadline, now));
        assert!(inserted.is_ok(), "refused");
        growth.add(one);
    }
    assert_eq!(map.len(), n);
    growth
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasherDefault, DefaultHasher, Hasher};

    use super::*;
    use crate::LATE;

    /// The same in every run: the hasher has no key, the shards do not depend on the machine.
    fn check(what: &str, maximum: bool, deadline: impl FnMut() -> Timestamp) {
        let n = if cfg!(debug_assertions) {
            200_000
        } else {
            4_000_000
        };
        let builder = ExpiringMap::builder()
            .shards(16)
            .maximum(maximum.then_some(n))
            .hasher(BuildHasherDefault::<DefaultHasher>::default());
        let growth = grow(builder, n, deadline);
        println!("ci: {what}: {growth:?}");
        // Each insert was counted, lines were split, segments and pages allocated.
        assert_eq!(growth.inserts, n);
        let Growth { most, sum, .. } = growth;
        assert!(sum.touched.slots >= n && sum.touched.lines >= n && most.touched.slots > 8);
        assert!(sum.segments.slots >= 16 * 8 && sum.segments.lines >= 16 * 8);
        assert!(sum.pages >= n / 1_024);
        assert!(growth.touched <= TOUCHED, "touched: {}", growth.touched);
        assert!(growth.segments <= ALLOCATED, "{most:?}");
        assert!(most.segments.directories <= ALLOCATED, "{most:?}");
        assert!(most.segments.places <= ALLOCATED, "{most:?}");
        assert!(most.segments.words <= ALLOCATED, "{most:?}");
        assert!(most.pages <= ALLOCATED, "{most:?}");
    }

    /// Whose ids say themselves what their hash is.
    #[derive(Default)]
    struct Chosen(u64);

    impl Hasher for Chosen {
        fn write(&mut self, bytes: &[u8]) {
            // The first of an id; the length before it is overwritten.
            let first = bytes.first_chunk().expect("eight bytes");
            self.0 = u64::from_ne_bytes(*first);
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }

    fn id_of(hash: u64) -> Id {
        let mut id = Id::default();
        id[..8].copy_from_slice(&hash.to_ne_bytes());
        id
    }

    /// Fifteen entries whose hashes differ in no bit of those that name a line nor in the next, but in the one after
    /// that, make a line be split twice by one insert: it is full, and all of it goes the same way.
    #[test]
    fn who_splits_a_line_twice_allocates_one_segment_of_places() {
        const EMPTY: u64 = 0xa;
        let (now, late) = (Timestamp::from_secs(NOW), Timestamp::from_secs(LATE));
        let mut growth = Growth::default();
        for bits in 4..=10 {
            let map = ExpiringMap::builder()
                .shards(1)
                .hasher(BuildHasherDefault::<Chosen>::default())
                .build()
                .expect("good numbers");
            let mut insert = |hash| {
                let (inserted, one) = tally(|| map.insert(id_of(hash), 0u64, late, now));
                assert!(inserted.is_ok_and(|inserted| !inserted.replaced));
                growth.add(one);
                one.touched.places
            };
            let mut draw = Ids::new(16);
            let others = std::iter::repeat_with(|| draw.number());
            // Lines have numbers of so many bits as soon as there are more entries than eight for each with one bit less.
            for hash in others
                .filter(|hash| hash & 0xf != EMPTY)
                .take((4 << bits) + 1)
            {
                insert(hash);
            }
            let looked: Vec<_> = (0..15).map(|i| insert(EMPTY | i << (bits + 1))).collect();
            // The last one alone has made two lines: it has looked for the numbers of both.
            assert!(
                looked[..14].iter().all(|&n| n <= 1) && looked[14] >= 2,
                "{looked:?}"
            );
        }
        println!("ci: a line split twice: {growth:?}");
        assert!(
            growth.most.segments.places <= ALLOCATED,
            "{:?}",
            growth.most
        );
    }

    /// Inserts have made it, but for one segment on the highest level of the due set.
    #[test]
    fn the_first_flush_finds_its_room() {
        let map = ExpiringMap::builder().shards(1).helpers(0, |_| ());
        let map: ExpiringMap<Id, u64> = map.build().expect("good numbers");
        let (mut ids, mut draw) = (Ids::new(16), Ids::new(6));
        for _ in 0..20_000 {
            let deadline = Timestamp::from_secs(LATE + draw.below(6_900) as u64);
            let inserted = map.insert(ids.id(), 0, deadline, Timestamp::from_secs(NOW));
            assert!(inserted.is_ok(), "refused");
        }
        let (swept, counted) = tally(|| map.flush(Timestamp::from_secs(LATE + 60)));
        println!("ci: the first flush: {swept:?}, {counted:?}");
        assert!(swept.removed > 100 && counted.touched.words > 10);
        assert_eq!(counted.segments.words, 1);
    }

    #[test]
    fn a_growing_map_takes_small_steps() {
        check("equal lifetimes", false, || Timestamp::from_secs(LATE));
        let mut draw = Ids::new(6);
        let mut random = || Timestamp::from_secs(LATE + draw.below(6_900) as u64);
        check("random lifetimes", false, &mut random);
        check("random lifetimes, a maximum", true, &mut random);
    }
}
