//! The 64-bit head of a line: which of its words count, how far it has been split, and a version.

use crate::geometry::LINE_WORDS;

/// One CAS of it is what adds an entry to a line or takes one out. Each moves the version.
///
/// A blank head (zeroed memory) is that of a line which is not open yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head(u64);

impl Head {
    const VALID: u64 = (1 << LINE_WORDS) - 1;
    /// The depth and one, so that an open head is never blank.
    const DEPTH_SHIFT: u32 = LINE_WORDS as u32;
    const DEPTH_BITS: u32 = 6;
    const DEPTH_ONE: u64 = 1 << Self::DEPTH_SHIFT;
    const SPLITTING: u64 = 1 << (Self::DEPTH_SHIFT + Self::DEPTH_BITS);
    const SPILLED: u64 = Self::SPLITTING << 1;
    const EARLY: u64 = Self::SPILLED << 1;
    /// What is above counts changes: 41 bits, which would have to go round while one thread is
    /// between its load and its CAS.
    const VERSION_ONE: u64 = Self::EARLY << 1;

    /// An open line's first head.
    pub(super) fn open(depth: u32, valid: u32, spilled: bool) -> Self {
        let spilled = if spilled { Self::SPILLED } else { 0 };
        Self(u64::from(valid) | (u64::from(depth) + 1) << Self::DEPTH_SHIFT | spilled)
    }

    #[inline]
    pub(super) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(super) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn is_blank(self) -> bool {
        self.0 == 0
    }

    /// Which words count.
    #[inline]
    pub(super) fn valid(self) -> u32 {
        (self.0 & Self::VALID) as u32
    }

    /// How many bits of a hash all entries of the line share: those of the line's number.
    #[inline]
    pub(super) fn depth(self) -> u32 {
        debug_assert!(!self.is_blank());
        ((self.0 >> Self::DEPTH_SHIFT) as u32 & ((1 << Self::DEPTH_BITS) - 1)).wrapping_sub(1)
    }

    /// Of the depth that most lines have, not being split, not spilled: what most lines are like.
    #[inline]
    pub(super) fn is_plain(self, shape: Shape) -> bool {
        const STATE: u32 = ((Head::VERSION_ONE - 1) & !Head::VALID) as u32;
        self.0 as u32 & STATE == shape.state()
    }

    /// Being split: only the end of that may change it.
    #[inline]
    pub(super) fn is_splitting(self) -> bool {
        self.0 & Self::SPLITTING != 0
    }

    /// Some of the line's entries may be in the spill list, and new ones go there.
    #[inline]
    pub(super) fn is_spilled(self) -> bool {
        self.0 & Self::SPILLED != 0
    }

    fn bumped(self) -> Self {
        Self(self.0.wrapping_add(Self::VERSION_ONE))
    }

    #[inline]
    pub(super) fn with(self, word: usize) -> Self {
        Self(self.0 | 1 << word).bumped()
    }

    #[inline]
    pub(super) fn without(self, word: usize) -> Self {
        Self(self.0 & !(1 << word)).bumped()
    }

    /// Begins a split, before its time or not.
    pub(super) fn splitting(self, early: bool) -> Self {
        let early = if early { Self::EARLY } else { 0 };
        Self(self.0 | Self::SPLITTING | early).bumped()
    }

    /// Being split before its time: the child stands among the early lines.
    pub(super) fn is_early(self) -> bool {
        self.0 & Self::EARLY != 0
    }

    pub(super) fn spilled(self) -> Self {
        Self(self.0 | Self::SPILLED).bumped()
    }

    /// One level deeper, without the words that moved.
    pub(super) fn split(self, moved: u32) -> Self {
        let rest = self.0 & !(Self::SPLITTING | Self::EARLY | u64::from(moved));
        Self(rest + Self::DEPTH_ONE).bumped()
    }
}

/// How many bits of a hash name a line, and what follows from that, in one word so that a lookup
/// computes none of it: below the bits as a mask, above the state in the head of a plain line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shape(u64);

impl Shape {
    /// Grows with `bits`.
    pub(super) fn new(bits: u32) -> Self {
        let state = (u64::from(bits) + 1) << Head::DEPTH_SHIFT;
        Self(state << 32 | ((1 << bits) - 1))
    }

    #[inline]
    pub(super) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(super) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn bits(self) -> u32 {
        (self.state() >> Head::DEPTH_SHIFT) - 1
    }

    /// The line of a hash, if all had been split so far and no further.
    #[inline]
    pub(super) fn line_of(self, hash: u32) -> u32 {
        self.0 as u32 & hash
    }

    #[inline]
    fn state(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

const _: () = assert!(
    Head::VERSION_ONE <= 1 << 32,
    "the state is in the lower half"
);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_shape_tells_mask_and_bits_and_grows() {
        for bits in 0..=crate::geometry::LINE_BITS {
            let shape = Shape::new(bits);
            assert_eq!(shape.bits(), bits);
            assert_eq!(shape.line_of(u32::MAX), (1 << bits) - 1);
            assert!(bits == 0 || Shape::new(bits - 1).raw() < shape.raw());
        }
    }

    #[test]
    fn the_parts_do_not_touch_each_other() {
        let head = Head::open(0, 0, false);
        assert!(!head.is_blank() && head.depth() == 0 && head.valid() == 0);
        let head = Head::open(31, 0b11, true);
        assert!(head.is_spilled() && !head.is_splitting());
        assert!(!head.is_plain(Shape::new(31)) && !head.splitting(false).is_plain(Shape::new(31)));
        let plain = Head::open(31, 0b11, false).without(0);
        assert!(plain.is_plain(Shape::new(31)) && !plain.is_plain(Shape::new(30)));
        assert_eq!((head.depth(), head.valid()), (31, 0b11));
        let next = head.without(0);
        assert_eq!((next.depth(), next.valid()), (31, 0b10));
        assert_ne!(next.with(0), head, "the version has moved");
        assert_eq!(next.with(0).valid(), 0b11);
        for early in [false, true] {
            let split = Head::open(3, 0b11, false).splitting(early);
            assert!(split.is_splitting() && split.is_early() == early);
            assert!(!split.is_spilled());
        }
        let split = Head::open(3, 0b11, false).splitting(true).split(0b01);
        assert!(!split.is_splitting() && !split.is_early());
        assert_eq!((split.depth(), split.valid()), (4, 0b10));
        assert!(split.spilled().is_spilled());
    }

    #[test]
    fn the_version_goes_round() {
        let head = Head::from_raw(!Head::SPLITTING);
        let next = head.without(0);
        assert_eq!(
            (next.depth(), next.valid()),
            (head.depth(), Head::VALID as u32 & !1)
        );
        assert_ne!(next, head);
    }
}
