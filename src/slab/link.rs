//! The 32-bit link: a mark, a kind, a number.

use crate::geometry::NUMBER_BITS;
use crate::sync::atomic::{AtomicU32, Ordering};

/// A slot's number is its name. Slot 0 does not exist, so that zeroed memory names nothing.
pub(crate) type SlotNumber = u32;

/// What a bucket's list is chained with.
///
/// - In a slot, the mark means *removed*: it never comes off until the slot is recycled.
/// - In a bucket head, the mark means *busy*: its initialiser has not finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link(u32);

/// Where a link leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Target {
    Slot(SlotNumber),
    Bucket(u32),
    End,
}

impl Link {
    const MARK: u32 = 1 << 31;
    const BUCKET: u32 = 1 << 30;
    const NUMBER: u32 = (1 << NUMBER_BITS) - 1;

    /// A head that nobody has initialised: zeroed memory.
    pub(crate) const NONE: Self = Self(0);
    /// A head whose initialiser has just won it.
    pub(crate) const BUSY: Self = Self(Self::MARK);
    /// The end of the list. Nothing links to bucket 0, its first cell, so that number is free.
    pub(crate) const END: Self = Self(Self::BUCKET);

    #[inline]
    pub(crate) fn slot(number: SlotNumber) -> Self {
        debug_assert!(number != 0 && number <= Self::NUMBER);
        Self(number)
    }

    #[inline]
    pub(crate) fn bucket(number: u32) -> Self {
        debug_assert!(number != 0 && number <= Self::NUMBER);
        Self(Self::BUCKET | number)
    }

    #[inline]
    pub(crate) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    /// Reads a link cell.
    #[inline]
    pub(crate) fn load(cell: &AtomicU32) -> Self {
        // Acquire: partner of the Release CASes that write links in `table`; without it a reader
        // could follow a link to a slot whose body it does not see yet.
        Self(cell.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn raw(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn is_marked(self) -> bool {
        self.0 & Self::MARK != 0
    }

    #[inline]
    pub(crate) fn marked(self) -> Self {
        Self(self.0 | Self::MARK)
    }

    #[inline]
    pub(crate) fn unmarked(self) -> Self {
        Self(self.0 & !Self::MARK)
    }

    /// This target with `other`'s mark: a head keeps its busy bit whoever writes it.
    #[inline]
    pub(crate) fn with_mark_of(self, other: Self) -> Self {
        Self((self.0 & !Self::MARK) | (other.0 & Self::MARK))
    }

    #[inline]
    pub(crate) fn target(self) -> Target {
        let number = self.0 & Self::NUMBER;
        if self.0 & Self::BUCKET == 0 {
            Target::Slot(number)
        } else if number == 0 {
            Target::End
        } else {
            Target::Bucket(number)
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn marks_do_not_change_targets() {
        for link in [Link::slot(7), Link::bucket(9), Link::END] {
            assert!(!link.is_marked());
            assert!(link.marked().is_marked());
            assert_eq!(link.marked().target(), link.target());
            assert_eq!(link.marked().unmarked(), link);
            assert_eq!(link.with_mark_of(Link::BUSY), link.marked());
        }
        assert_eq!(Link::slot(7).target(), Target::Slot(7));
        assert_eq!(Link::bucket(9).target(), Target::Bucket(9));
        assert_eq!(Link::END.target(), Target::End);
    }
}
