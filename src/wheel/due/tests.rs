//! One thread at a time: what is added, looked at, and left.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;
use crate::geometry::MAX_SLOTS;

/// A pass over all of it; `false` if `look` stopped it.
fn sweep(due: &DueSet, look: impl FnMut(SlotNumber) -> Look) -> bool {
    due.sweep_range(0..SlotNumber::MAX, |_| (), look).is_none()
}

fn contents(due: &DueSet) -> Vec<u32> {
    due.from(0).collect()
}

#[test]
fn finished_bits_go_and_others_stay() {
    let slots = [1, 2, 31, 32, 33, 1023, 1024, 40_000, 70_000];
    let due = of(&slots);
    assert_eq!(contents(&due), slots);
    let swept = sweep(&due, |slot| {
        if slot % 2 == 0 {
            Look::Finished
        } else {
            Look::Stay
        }
    });
    assert!(swept);
    assert_eq!(contents(&due), [1, 31, 33, 1023]);
    assert!(!due.is_empty());
    assert!(sweep(&due, |_| Look::Finished));
    assert!(due.is_empty());
}

#[test]
fn room_is_made_before_it_is_needed_but_on_the_top_level() {
    const SLOTS: u32 = if cfg!(miri) { 1_500 } else { 40_000 };
    let due = DueSet::new();
    let has_room = |slot| {
        let word = slot >> WIDTH_BITS;
        due.words.get(word).is_some() && due.middle.get(word >> WIDTH_BITS).is_some()
    };
    // For the first ones from the beginning.
    assert!(has_room(ROOM - 1) && !has_room(ROOM));
    // The first of a block is whoever comes first, and no other.
    due.prepare(ROOM + 1, ROOM);
    assert!(!has_room(ROOM));
    due.prepare(ROOM + 1, ROOM - 1);
    assert!(has_room(ROOM));
    for slot in ROOM + 2..=SLOTS {
        due.prepare(slot, slot - 1);
        assert!(has_room(slot), "{slot}");
    }
    assert!(!has_room(4 * SLOTS));
    assert!(due.roots.get(0).is_none() && due.is_empty());
    // What is there stays.
    due.set(ROOM + 1);
    due.prepare(ROOM, 0);
    assert_eq!(contents(&due), [ROOM + 1]);
}

#[test]
fn a_stopped_sweep_leaves_the_rest() {
    let all: Vec<_> = (0..200).map(|n| n * 17 + 1).collect();
    let due = of(&all);
    let mut left = 7;
    let swept = sweep(&due, |_| {
        if left == 0 {
            return Look::Stop;
        }
        left -= 1;
        Look::Finished
    });
    assert!(!swept);
    assert_eq!(contents(&due), all[7..]);
    assert!(sweep(&due, |_| Look::Finished));
    assert!(due.is_empty());
}

#[test]
fn a_bit_set_during_the_look_is_not_cleared() {
    // The look itself plays the other thread: it sets the bit again after it was read.
    let due = DueSet::new();
    due.set(5);
    let mut looks = 0;
    sweep(&due, |slot| {
        looks += 1;
        if looks == 1 {
            due.set(slot);
        }
        Look::Finished
    });
    assert_eq!(looks, 2, "the stamp made it look again");
    // The words above were raised meanwhile too, so they keep their bits until the next pass.
    assert!(sweep(&due, |_| unreachable!("nothing is left")));
    assert!(due.is_empty());
}

/// Numbers on both sides of where words of each level meet.
fn edges() -> Vec<SlotNumber> {
    let around = |at: u32| [at - 1, at, at + 1];
    let all = (1..=17).flat_map(|bits| around(1 << bits));
    let all = all.chain((1..4).flat_map(|n| around((n * 3) << (n * WIDTH_BITS))));
    all.collect::<BTreeSet<_>>().into_iter().collect()
}

fn of(slots: &[SlotNumber]) -> DueSet {
    let due = DueSet::new();
    slots.iter().for_each(|&slot| due.set(slot));
    due
}

/// What a pass over a range looks at.
fn looked_at(due: &DueSet, range: Range<SlotNumber>, look: Look) -> Vec<SlotNumber> {
    let mut seen = Vec::new();
    let stopped = due.sweep_range(
        range,
        |_| (),
        |slot| {
            seen.push(slot);
            look
        },
    );
    assert_eq!(stopped, None);
    seen
}

#[test]
fn slots_may_be_added_in_any_company() {
    let edges = edges();
    let together = DueSet::new();
    together.set_all(&mut edges.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(contents(&together), edges);
    assert_eq!(looked_at(&together, 0..SlotNumber::MAX, Look::Stay), edges);
    for &a in &edges {
        for &b in &edges {
            let due = DueSet::new();
            due.set_all(&mut [b, a]);
            let pair: Vec<_> = BTreeSet::from([a, b]).into_iter().collect();
            assert_eq!(contents(&due), pair);
            assert_eq!(looked_at(&due, 0..SlotNumber::MAX, Look::Finished), pair);
            assert!(due.is_empty(), "{pair:?}");
        }
    }
}

#[test]
fn words_may_be_added_at_once() {
    for first in [0, 3, 31, 32, 62, 1022, 1024] {
        // As many as there are up to the end of a word of the middle level, and the second is empty.
        let bits = [0x8000_0001, 0, 1 << 7, u32::MAX];
        let words = &bits[..bits.len().min((WIDTH - first % WIDTH) as usize)];
        let due = DueSet::new();
        due.set_words(first, words);
        let each = |(at, &bits): (u32, &u32)| ones(bits).map(move |bit| (first + at) * WIDTH + bit);
        let slots: Vec<_> = (0..).zip(words).flat_map(each).collect();
        assert_eq!(contents(&due), slots);
        assert_eq!(looked_at(&due, 0..SlotNumber::MAX, Look::Finished), slots);
        assert!(due.is_empty(), "from word {first} on");
    }
    let due = DueSet::new();
    due.set_words(8, &[0; 8]);
    assert!(due.is_empty());
    assert_eq!(due.version(), 0, "nothing was added");
}

#[test]
fn a_pass_over_a_range_looks_at_that_range() {
    let edges = edges();
    let within = |range: &Range<SlotNumber>| -> Vec<_> {
        let inside = |slot: &SlotNumber| range.contains(slot);
        edges.iter().copied().filter(inside).collect()
    };
    let all = of(&edges);
    for &start in &edges {
        for &end in &edges {
            let range = start..end;
            assert_eq!(looked_at(&all, range.clone(), Look::Stay), within(&range));
        }
        let due = of(&edges);
        assert_eq!(
            looked_at(&due, 0..start, Look::Finished),
            within(&(0..start))
        );
        let rest = within(&(start..SlotNumber::MAX));
        assert_eq!(contents(&due), rest);
        // From the beginning of its word on.
        let word = start / WIDTH * WIDTH;
        let from: Vec<_> = all.from(start).collect();
        assert_eq!(from, within(&(word..SlotNumber::MAX)));
        assert_eq!(
            looked_at(&due, start..SlotNumber::MAX, Look::Finished),
            rest
        );
        assert!(due.is_empty(), "split at {start}");
    }
}

#[test]
fn a_slot_is_announced_before_the_look_at_it() {
    let edges = edges();
    let announced = RefCell::new(Vec::new());
    let mut seen = 0;
    let stopped = of(&edges).sweep_range(
        0..SlotNumber::MAX,
        |slot| announced.borrow_mut().push(slot),
        |_| {
            seen += 1;
            let due = if PREFETCHES { AHEAD + seen } else { 0 };
            assert_eq!(announced.borrow().len(), due.min(edges.len()));
            Look::Stay
        },
    );
    assert_eq!((stopped, seen), (None, edges.len()));
    let all = if PREFETCHES { edges.as_slice() } else { &[] };
    assert_eq!(*announced.borrow(), all);
}

#[test]
fn a_pass_over_an_empty_range_announces_nobody() {
    let all = of(&edges());
    for at in edges() {
        let nobody = |slot| unreachable!("{slot} is not in {at}..{at}");
        let stopped = all.sweep_range(at..at, nobody, |_| unreachable!());
        assert_eq!(stopped, None);
    }
}

#[test]
fn every_addition_changes_the_version() {
    let edges = edges();
    let due = DueSet::new();
    for slot in edges.iter().chain(&edges) {
        let before = due.version();
        due.set(*slot);
        assert_ne!(due.version(), before);
    }
}

#[test]
fn the_last_slot_has_a_place() {
    let due = of(&[MAX_SLOTS]);
    assert_eq!(contents(&due), [MAX_SLOTS]);
    assert_eq!(
        looked_at(&due, 0..SlotNumber::MAX, Look::Finished),
        [MAX_SLOTS]
    );
    assert!(due.is_empty());
}

#[test]
fn no_level_has_more_segments_than_it_needs() {
    fn segments<T>() -> u32 {
        (size_of::<T>() / size_of::<usize>()) as u32
    }
    for (level, segments, first_bits) in [
        (1, segments::<levels::Words>(), 2),
        (2, segments::<levels::Middle>(), 0),
        (3, segments::<levels::Roots>(), 0),
    ] {
        let last = MAX_SLOTS >> (level * WIDTH_BITS);
        assert_eq!(
            segments,
            (last + (1 << first_bits)).ilog2() + 1,
            "level {level}"
        );
    }
}
