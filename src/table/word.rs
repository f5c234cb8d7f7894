//! The 32-bit word of a line: a slot's number, some bits of its hash, and whether it has moved.

use crate::geometry::NUMBER_BITS;
use crate::slab::SlotNumber;

/// Names an entry from a line.
///
/// - *Fingerprint*, the top byte: the upper bits of the hash, so that other entries' slots are seldom
///   read.
/// - *Moved*, the bit below: a split has taken it over into the child line; it never changes again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(u32);

const FINGERPRINT_BITS: u32 = 8;
const FINGERPRINT_SHIFT: u32 = 32 - FINGERPRINT_BITS;

/// The part of a hash that a word holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Fingerprint(u32);

impl Fingerprint {
    #[inline]
    pub(super) fn of_hash(hash: u32) -> Self {
        Self(hash >> FINGERPRINT_SHIFT)
    }

    // For the comparison with vectors, which not all targets have.
    #[allow(dead_code)]
    #[inline]
    pub(super) fn byte(self) -> u8 {
        self.0 as u8
    }

    /// One of `words`, as evenly as the fingerprint allows.
    #[inline]
    pub(super) fn one_of(self, words: usize) -> usize {
        (self.0 as usize * words) >> FINGERPRINT_BITS
    }
}

impl Word {
    const MOVED: u32 = 1 << NUMBER_BITS;
    const NUMBER: u32 = Self::MOVED - 1;

    /// Zeroed memory, in a line that is not open yet.
    pub(super) const BLANK: Self = Self(0);
    /// Nobody's, in an open line. Not blank, so that who is late with filling the line fails.
    pub(super) const VACANT: Self = Self(Self::MOVED);

    #[inline]
    pub(super) fn new(fingerprint: Fingerprint, number: SlotNumber) -> Self {
        debug_assert!(number != 0 && number <= Self::NUMBER);
        Self(fingerprint.0 << FINGERPRINT_SHIFT | number)
    }

    #[inline]
    pub(super) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    #[inline]
    pub(super) fn raw(self) -> u32 {
        self.0
    }

    #[inline]
    pub(super) fn number(self) -> SlotNumber {
        self.0 & Self::NUMBER
    }

    /// The same hash, another slot.
    #[inline]
    pub(super) fn with_number(self, number: SlotNumber) -> Self {
        Self((self.0 & !Self::NUMBER) | number)
    }

    #[inline]
    pub(super) fn has(self, fingerprint: Fingerprint) -> bool {
        self.0 >> FINGERPRINT_SHIFT == fingerprint.0
    }

    #[inline]
    pub(super) fn is_moved(self) -> bool {
        self.0 & Self::MOVED != 0
    }

    #[inline]
    pub(super) fn moved(self) -> Self {
        Self(self.0 | Self::MOVED)
    }

    #[inline]
    pub(super) fn unmoved(self) -> Self {
        Self(self.0 & !Self::MOVED)
    }
}

const _: () = assert!(NUMBER_BITS + 1 == FINGERPRINT_SHIFT);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn number_fingerprint_and_mark_are_apart() {
        let fingerprint = Fingerprint::of_hash(0xA7FF_FFFF);
        let word = Word::new(fingerprint, 77);
        assert_eq!(word.number(), 77);
        assert!(word.has(fingerprint) && word.moved().has(fingerprint));
        assert!(!word.has(Fingerprint::of_hash(0xA6FF_FFFF)));
        assert!(!word.is_moved() && word.moved().is_moved());
        assert_eq!(word.moved().unmoved(), word);
        assert_eq!(word.with_number(5).number(), 5);
        assert!(word.with_number(5).has(fingerprint));
        assert_eq!(Word::VACANT.number(), 0);
        assert_ne!(Word::VACANT, Word::BLANK);
    }

    #[test]
    fn every_word_is_somebodys_home() {
        for words in [2, 3, 14] {
            let mut seen = vec![0; words];
            for top in 0..256u32 {
                seen[Fingerprint::of_hash(top << 24).one_of(words)] += 1;
            }
            assert!(seen.iter().all(|&n| n >= 256 / words), "{seen:?}");
        }
    }
}
