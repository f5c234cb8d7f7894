//! The due set: slots to look at now. Permanent.
//!
//! Three levels of [stamped words](super::stamped). A bit of the lowest level stands for a slot, a
//! bit above for a word of the level below that may not be empty. So an idle shard is passed by
//! with one load per 32,768 slots.
//!
//! Room is made for a block of slots when the first of them is hinted, wherever that hint goes: the first flush of a
//! cache that has grown would otherwise make all of it. But not on the highest level, which a flush looks
//! through that finds nothing due.
//!
//! Ground rules: as for every stamped word, on every level, and setting goes from below upwards.

use std::ops::Range;

use super::stamped::{Look, Part, Stamped, WIDTH, WIDTH_BITS, lower, ones, raise, sweep_word};
use crate::prefetch::PREFETCHES;
use crate::segments::Segments;
use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Slots in a block. Segments begin with a block, and no page of memory lies between two of them.
const ROOM: u32 = WIDTH << WORDS_FIRST_BITS;

/// The first segment of words has `2^WORDS_FIRST_BITS` of them.
const WORDS_FIRST_BITS: u32 = if cfg!(loom) { 0 } else { 2 };

#[cfg(not(loom))]
mod levels {
    use super::super::stamped::WIDTH_BITS;
    use super::{AtomicU64, Segments, WORDS_FIRST_BITS};
    use crate::geometry::NUMBER_BITS;
    const WORDS: u32 = NUMBER_BITS - WIDTH_BITS;
    pub(super) type Words = Segments<AtomicU64, WORDS_FIRST_BITS, { (WORDS + 1) as usize }>;
    pub(super) type Middle = Segments<AtomicU64, 0, { (WORDS - WIDTH_BITS + 1) as usize }>;
    pub(super) type Roots = Segments<AtomicU64, 0, { (WORDS - 2 * WIDTH_BITS + 1) as usize }>;
}
#[cfg(loom)]
mod levels {
    use super::{AtomicU64, Segments, WORDS_FIRST_BITS};
    // Three, so that a model may have one beside another below one word of the middle.
    pub(super) type Words = Segments<AtomicU64, WORDS_FIRST_BITS, 2>;
    pub(super) type Middle = Segments<AtomicU64, 0, 1>;
    pub(super) type Roots = Segments<AtomicU64, 0, 1>;
}

/// How many looks ahead a sweep says which slots come: as many lines as a core fetches at a time, and
/// some more for those that are there already.
const AHEAD: usize = if PREFETCHES { 24 } else { 0 };

pub(crate) struct DueSet {
    words: levels::Words,
    middle: levels::Middle,
    roots: levels::Roots,
}

impl DueSet {
    pub(super) fn new() -> Self {
        let due = Self {
            words: Segments::new(),
            middle: Segments::new(),
            roots: Segments::new(),
        };
        due.make_room(0);
        due
    }

    /// A slot has been hinted that is higher than all before, the highest of which was `before`: makes room if it is the
    /// first of its block. (Who sets a bit without any makes it then; under loom everybody does.)
    #[inline]
    pub(super) fn prepare(&self, slot: SlotNumber, before: SlotNumber) {
        if before / ROOM < slot / ROOM {
            self.make_room(slot);
        }
    }

    fn make_room(&self, slot: SlotNumber) {
        if !cfg!(loom) {
            let word = slot >> WIDTH_BITS;
            self.middle.get_or_alloc(word >> WIDTH_BITS);
            // Relaxed: written as it is, so that the system looks for its page now. If it is not, somebody has
            // written there.
            let cell = self.words.get_or_alloc(word);
            let _ = cell.compare_exchange(0, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Adds one slot.
    pub(super) fn set(&self, slot: SlotNumber) {
        self.set_all(&mut [slot]);
    }

    /// Adds some slots, and leaves them sorted.
    pub(super) fn set_all(&self, slots: &mut [SlotNumber]) {
        slots.sort_unstable();
        let of_one = |bits: u32| move |a: &SlotNumber, b: &SlotNumber| a >> bits == b >> bits;
        for below_root in slots.chunk_by(of_one(3 * WIDTH_BITS)) {
            let mut middles = 0;
            for below_middle in below_root.chunk_by(of_one(2 * WIDTH_BITS)) {
                let mut words = 0;
                for in_word in below_middle.chunk_by(of_one(WIDTH_BITS)) {
                    let bits = in_word.iter().fold(0, |bits, slot| bits | bit(*slot));
                    let word = in_word[0] >> WIDTH_BITS;
                    raise(self.words.get_or_alloc(word), bits);
                    step!("hint: has raised a word");
                    words |= bit(word);
                }
                let middle = below_middle[0] >> (2 * WIDTH_BITS);
                raise(self.middle.get_or_alloc(middle), words);
                middles |= bit(middle);
            }
            let root = below_root[0] >> (3 * WIDTH_BITS);
            raise(self.roots.get_or_alloc(root), middles);
        }
    }

    /// Adds the slots of neighbouring words, all below one word of the middle level.
    pub(super) fn set_words(&self, first: u32, words: &[u32]) {
        debug_assert_eq!(
            first >> WIDTH_BITS,
            (first + words.len() as u32 - 1) >> WIDTH_BITS
        );
        let mut occupied = 0;
        for (i, &bits) in words.iter().enumerate() {
            if bits != 0 {
                let index = first + i as u32;
                raise(self.words.get_or_alloc(index), bits);
                occupied |= bit(index);
            }
        }
        if occupied != 0 {
            let middle = first >> WIDTH_BITS;
            raise(self.middle.get_or_alloc(middle), occupied);
            let root = middle >> WIDTH_BITS;
            raise(self.roots.get_or_alloc(root), bit(middle));
        }
    }

    /// Whether nothing is due. Reads one word per 32,768 slots.
    pub(super) fn is_empty(&self) -> bool {
        self.roots
            .allocated(0)
            .all(|(_, root)| Stamped::load(root).bits() == 0)
    }

    /// Looks at the slots of a range. If `look` stops it: the slot at which it did. `soon` is told
    /// of a slot some looks before.
    pub(super) fn sweep_range(
        &self,
        range: Range<SlotNumber>,
        soon: impl Fn(SlotNumber),
        mut look: impl FnMut(SlotNumber) -> Look,
    ) -> Option<SlotNumber> {
        if range.is_empty() {
            return None;
        }
        let mut stopped = None;
        let mut ahead = self
            .from(range.start)
            .skip_while(|&slot| slot < range.start);
        ahead.by_ref().take(AHEAD).for_each(&soon);
        let mut look = |slot| {
            if AHEAD != 0 {
                ahead.next().into_iter().for_each(&soon);
            }
            let seen = look(slot);
            if seen == Look::Stop {
                stopped = Some(slot);
            }
            seen
        };
        let (first, last) = (range.start >> WIDTH_BITS, range.end >> WIDTH_BITS);
        for (index, root) in self.roots.allocated(first >> (2 * WIDTH_BITS)) {
            if index > last >> (2 * WIDTH_BITS) {
                break;
            }
            let part = descend(root, index, |middle| {
                let word = self.middle.at(middle);
                descend(word, middle, |word| {
                    let wanted = part_of_word(&range, word);
                    if wanted == 0 {
                        return Part::Occupied;
                    }
                    sweep_word(self.words.at(word), word << WIDTH_BITS, wanted, &mut look)
                })
            });
            if part == Part::Stopped {
                break;
            }
        }
        stopped
    }

    /// Changes whenever a slot is added.
    pub(super) fn version(&self) -> u64 {
        self.roots
            .allocated(0)
            .fold(0, |sum, (_, root)| sum + Stamped::load(root).stamp())
    }

    /// The slots in the set, from the word of `first` on. Clears nothing.
    pub(super) fn from(&self, first: SlotNumber) -> impl Iterator<Item = SlotNumber> + '_ {
        let first = first >> WIDTH_BITS;
        let below = |word: &AtomicU64, index: u32| {
            let bits = Stamped::load(word).bits();
            ones(bits).map(move |bit| (index << WIDTH_BITS) | bit)
        };
        let roots = self.roots.allocated(first >> (2 * WIDTH_BITS));
        let middles = roots.flat_map(move |(index, root)| below(root, index));
        let words = middles.flat_map(move |middle| below(self.middle.at(middle), middle));
        words
            .filter(move |&word| word >= first)
            .flat_map(move |word| below(self.words.at(word), word))
    }
}

/// The bit of a slot in its word, or of a word in the one above.
fn bit(number: u32) -> u32 {
    1 << (number % WIDTH)
}

/// The bits of a word that stand for slots of a range.
fn part_of_word(range: &Range<SlotNumber>, word: u32) -> u32 {
    let first = word << WIDTH_BITS;
    let from = range.start.saturating_sub(first).min(WIDTH);
    let to = range.end.saturating_sub(first).min(WIDTH);
    let below = |bit: u32| u32::MAX.checked_shr(WIDTH - bit).unwrap_or(0);
    below(to) & !below(from)
}

/// Goes through the words below `word` and clears the bits of those found empty.
fn descend(word: &AtomicU64, index: u32, mut below: impl FnMut(u32) -> Part) -> Part {
    let seen = Stamped::load(word);
    let mut empty = 0;
    let mut stopped = false;
    for bit in ones(seen.bits()) {
        match below((index << WIDTH_BITS) | bit) {
            Part::Empty => empty |= 1 << bit,
            Part::Occupied => {}
            Part::Stopped => {
                stopped = true;
                break;
            }
        }
    }
    // If this fails the bits stay: they cost one look next time.
    let cleared = empty == 0 || lower(word, seen, empty);
    if stopped {
        Part::Stopped
    } else if cleared && seen.without(empty).bits() == 0 {
        Part::Empty
    } else {
        Part::Occupied
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
