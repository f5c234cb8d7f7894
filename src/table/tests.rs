//! One thread: what a line takes, when it is split, and what others find of a split that has stopped.

use super::head::Head;
use super::*;
use crate::geometry::LINE_LOAD;
use crate::inside::Name;
use crate::reclaim::{self, Guard};
use crate::slab::Deadline;
use crate::sync::Arc;

/// As many entries as a line has words.
const WORDS: u32 = LINE_WORDS as u32;

/// A table of numbers, each under a hash that the test says.
struct Numbers {
    table: Table,
    slab: Arc<Slab<u32, ()>>,
    _guard: Guard,
}

impl Numbers {
    fn new() -> Self {
        Self {
            table: Table::new(),
            slab: Arc::new(Slab::new(u32::MAX, Name::new())),
            _guard: reclaim::pin(),
        }
    }

    fn number(slot: &Slot<u32, ()>) -> u32 {
        // SAFETY: reached through the table, under the guard.
        unsafe { slot.with_key(|&number| number) }
    }

    fn search(&self, hash: u32, number: u32, grow: bool) -> Search<'_> {
        let same = |slot: &Slot<u32, ()>| Self::number(slot) == number;
        self.table.search(&self.slab, hash, grow, same, |_| ())
    }

    fn add(&self, hash: u32, number: u32) {
        let held = self.slab.take_fresh().expect("no bound");
        let filled = held.fill(hash, Deadline::NEVER, number, ());
        loop {
            let Search::Absent { at } = self.search(hash, number, false) else {
                panic!("{number} is there");
            };
            if self
                .table
                .add(&self.slab, at, filled.number(), filled.slot())
            {
                return filled.release();
            }
        }
    }

    fn remove(&self, hash: u32, number: u32) {
        let Search::Found { slot, .. } = self.search(hash, number, false) else {
            panic!("{number} is not there");
        };
        assert!(Table::mark(self.slab.slot(slot)));
        let mut unlinked = Vec::new();
        self.table.clean(&self.slab, hash, |n| unlinked.push(n));
        assert_eq!(unlinked, [slot]);
    }

    /// Whether readers and writers find it; they agree.
    fn has(&self, hash: u32, number: u32) -> bool {
        let same = |slot: &Slot<u32, ()>| Self::number(slot) == number;
        let read = self.table.lookup(&self.slab, hash, same);
        let found = read.map(|(_, slot)| (slot.hash(), Self::number(slot)));
        assert!(found.is_none_or(|found| found == (hash, number)));
        if !self.table.lines.of(hash).head.is_splitting() {
            let written = matches!(self.search(hash, number, false), Search::Found { .. });
            assert_eq!(written, found.is_some(), "{number}");
        }
        found.is_some()
    }

    fn depth(&self, hash: u32) -> u32 {
        self.table.lines.of(hash).head.depth()
    }

    fn is_spilled(&self, hash: u32) -> bool {
        self.table.lines.of(hash).head.is_spilled()
    }
}

/// A hash of the line, with a fingerprint.
fn hash(line: u32, fingerprint: u32) -> u32 {
    fingerprint << 24 | line
}

#[test]
fn fresh_slots_split_lines_that_no_insert_comes_to() {
    let table = Table::new();
    let slab = Slab::<u64, u64>::new(u32::MAX, Name::new());
    let _pinned = reclaim::pin();
    // There ought to be twice as many lines from the slot behind the first part on.
    let (lines, part) = (128, 64 * LINE_LOAD);
    for slots in 1..=part + lines {
        table.grow_for(&slab, slots);
    }
    assert_eq!(1 << table.lines.bits(), lines);
    for hash in 0..lines {
        assert!(table.lines.plain(hash).is_some(), "line {hash}");
    }
}

#[test]
fn a_search_that_grows_splits_as_far_as_it_should_and_no_further() {
    let numbers = Numbers::new();
    numbers.table.lines.grow_for(4 * LINE_LOAD);
    numbers.search(0b101, 7, false);
    assert_eq!(numbers.depth(0b101), 0);
    numbers.search(0b101, 7, true);
    assert_eq!(numbers.depth(0b101), 2);
    assert_eq!(numbers.depth(0b110), 1, "off the way");
}

#[test]
fn fresh_slots_leave_lines_alone_that_are_deep_enough() {
    let numbers = Numbers::new();
    numbers.table.lines.grow_for(4 * LINE_LOAD);
    for line in 0..4 {
        numbers.search(line, 7, true);
    }
    for _ in 0..4 {
        numbers.table.grow_for(&numbers.slab, 4 * LINE_LOAD);
    }
    assert_eq!([0, 1, 2, 3].map(|line| numbers.depth(line)), [2; 4]);
}

#[test]
fn a_line_takes_as_many_as_it_has_words_wherever_they_are_at_home() {
    for home in (0..=255).step_by(if cfg!(miri) { 51 } else { 1 }) {
        let numbers = Numbers::new();
        for number in 0..WORDS {
            numbers.add(hash(0, home), number);
        }
        assert_eq!(numbers.depth(0), 0, "from {home} on");
        assert!((0..WORDS).all(|number| numbers.has(hash(0, home), number)));
        assert!(!numbers.has(hash(0, home), WORDS));
        // There is room again for each that goes.
        for number in 0..3 * WORDS {
            numbers.remove(hash(0, home), number);
            numbers.add(hash(0, home), number + WORDS);
        }
        assert!((3 * WORDS..4 * WORDS).all(|number| numbers.has(hash(0, home), number)));
        assert_eq!(numbers.depth(0), 0, "from {home} on");
        assert!(!numbers.is_spilled(0));
    }
}

#[test]
fn a_glance_is_at_who_may_have_the_hash_and_at_nobody_else() {
    let numbers = Numbers::new();
    let glance = |hash| {
        let Ok(found) = numbers.table.glance(&numbers.slab, hash) else {
            panic!("the line is like most");
        };
        found.map(Numbers::number)
    };
    numbers.add(hash(0, 5), 1);
    numbers.add(hash(0, 7), 2);
    assert_eq!(glance(hash(0, 5)), Some(1));
    assert_eq!(glance(hash(0, 7)), Some(2));
    // 0 is what vacant words seem to have.
    assert_eq!([glance(hash(0, 6)), glance(hash(0, 0))], [None, None]);
    numbers.remove(hash(0, 5), 1);
    assert_eq!(glance(hash(0, 5)), None);
    assert_eq!(glance(hash(0, 7)), Some(2));
}

#[test]
fn a_full_line_is_split_and_makes_room_on_both_sides() {
    let numbers = Numbers::new();
    for number in 0..WORDS + 1 {
        numbers.add(hash(number % 2, number), number);
    }
    assert_eq!((numbers.depth(0), numbers.depth(1)), (1, 1));
    // What has moved counts no more and left its words to others.
    for line in [0, 1] {
        let seen = numbers.table.lines.of(line);
        for at in 0..LINE_WORDS {
            let counts = seen.head.valid() >> at & 1 != 0;
            assert_eq!(counts, seen.line.word(at) != Word::VACANT, "{line}, {at}");
        }
    }
    assert!((0..WORDS + 1).all(|number| numbers.has(hash(number % 2, number), number)));
}

#[test]
fn only_a_line_that_is_split_before_its_time_has_its_child_among_the_early() {
    let full = Numbers::new();
    for number in 0..WORDS + 1 {
        full.add(hash(number % 2, number), number);
    }
    let grown = Numbers::new();
    grown.add(hash(0, 1), 1);
    grown.table.grow_for(&grown.slab, LINE_LOAD + 1);
    for (numbers, early) in [(full, true), (grown, false)] {
        assert_eq!((numbers.depth(0), numbers.depth(1)), (1, 1));
        assert_eq!(numbers.table.lines.early.get(1).is_some(), early);
    }
}

#[test]
fn hashes_that_are_all_but_equal_split_some_lines_further_and_spill() {
    let numbers = Numbers::new();
    let most = numbers.table.lines.most_bits();
    assert_eq!(most, 2);
    // In the order of their hashes in the list, and not in that in which they come.
    let hashes = [0b1000, 0, 0b11000, 0b10000];
    let all = || (0..8 * WORDS).map(|number| (hashes[number as usize % 4], number));
    for (hash, number) in all() {
        assert!(!numbers.has(hash, number));
        numbers.add(hash, number);
        assert!(numbers.has(hash, number));
    }
    assert_eq!(numbers.depth(0), most);
    assert!(numbers.is_spilled(0));
    let there = |parts: &[u32]| {
        all().all(|(hash, number)| numbers.has(hash, number) == parts.contains(&(number % 3)))
    };
    assert!(there(&[0, 1, 2]));
    // Marked ones stay in the list until somebody comes by.
    for (hash, number) in all().filter(|(_, number)| number % 3 == 0) {
        numbers.remove(hash, number);
    }
    assert!(there(&[1, 2]));
    for (hash, number) in all().filter(|(_, number)| number % 3 == 1) {
        let same = |slot: &Slot<u32, ()>| Numbers::number(slot) == number;
        let found = numbers.table.lookup(&numbers.slab, hash, same);
        assert!(Table::mark(found.expect("there").1));
        assert!(numbers.table.lookup(&numbers.slab, hash, same).is_none());
    }
    assert!(there(&[2]));
    assert!(!numbers.has(0b100, 8 * WORDS) && !numbers.has(0b100000, 8 * WORDS));
}

/// A line that holds one entry of its own and one of its child's, of one fingerprint, and is being split.
fn splitting() -> (Numbers, u32, u32) {
    let numbers = Numbers::new();
    let (own, childs) = (hash(0b10, 9), hash(0b11, 9));
    numbers.add(own, 1);
    numbers.add(childs, 2);
    let seen = numbers.table.lines.of(0);
    let begun = seen.line.change(seen.head, seen.head.splitting(false));
    assert!(begun.is_ok());
    (numbers, own, childs)
}

/// The place of the child's entry in the line, and its word.
fn place_of_the_childs(numbers: &Numbers, seen: Seen<'_>) -> (usize, Word) {
    let mut words = places(seen.head.valid()).map(|at| (at, seen.line.word(at)));
    let is_the_childs = |word: Word| seen.is_childs(numbers.slab.slot(word.number()).hash());
    words.find(|&(_, word)| is_the_childs(word)).expect("there")
}

#[test]
fn all_is_found_wherever_a_split_has_stopped() {
    let (numbers, own, childs) = splitting();
    let all_found = || {
        assert!(numbers.has(own, 1) && numbers.has(childs, 2));
        assert!(!numbers.has(own, 2) && !numbers.has(childs, 1));
    };
    let lines = &numbers.table.lines;
    all_found();
    let seen = lines.of(0);
    let (at, word) = place_of_the_childs(&numbers, seen);
    assert!(seen.line.swing(at, word, word.moved()).is_ok());
    all_found();
    let child = lines.child_or_alloc(seen);
    for to in 0..LINE_WORDS {
        child.fill(to, if to == at { word } else { Word::VACANT });
    }
    all_found();
    assert_eq!(lines.of(childs).index, 0, "not open yet");
    child.open(Head::open(1, 1 << at, false));
    assert_eq!((lines.of(own).index, lines.of(childs).index), (0, 1));
    all_found();
    // Whoever comes next carries it through.
    numbers.table.finish_split(&numbers.slab, seen);
    assert_eq!((numbers.depth(own), numbers.depth(childs)), (1, 1));
    all_found();
}

#[test]
fn a_writer_carries_a_split_through_that_has_stopped() {
    let (numbers, own, childs) = splitting();
    assert!(matches!(
        numbers.search(own, 1, false),
        Search::Found { .. }
    ));
    assert_eq!((numbers.depth(own), numbers.depth(childs)), (1, 1));
    assert!(numbers.has(own, 1) && numbers.has(childs, 2));
    // And so does a fresh slot.
    let (numbers, own, childs) = splitting();
    numbers.table.grow_for(&numbers.slab, LINE_LOAD + 1);
    assert_eq!((numbers.depth(own), numbers.depth(childs)), (1, 1));
    assert!(numbers.has(own, 1) && numbers.has(childs, 2));
}
