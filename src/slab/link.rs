//! The 32-bit link: a mark and a number.

use crate::geometry::NUMBER_BITS;
use crate::sync::atomic::{AtomicU32, Ordering};

/// A slot's number is its name. Slot 0 does not exist, so that zeroed memory names nothing.
pub(crate) type SlotNumber = u32;

/// What follows a slot: in the spill list the next one; behind a word of a line nothing.
///
/// The mark means *removed*: it never comes off until the slot is recycled. A marked link leads to
/// what takes the slot's place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Link(u32);

impl Link {
    const MARK: u32 = 1 << 31;
    const NUMBER: u32 = (1 << NUMBER_BITS) - 1;

    /// Nothing follows.
    pub(crate) const END: Self = Self(0);

    #[inline]
    pub(crate) fn slot(number: SlotNumber) -> Self {
        debug_assert!(number != 0 && number <= Self::NUMBER);
        Self(number)
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

    /// The slot it leads to.
    #[inline]
    pub(crate) fn target(self) -> Option<SlotNumber> {
        let number = self.0 & Self::NUMBER;
        (number != 0).then_some(number)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_mark_does_not_change_the_target() {
        for (link, target) in [(Link::slot(7), Some(7)), (Link::END, None)] {
            assert!(!link.is_marked());
            assert!(link.marked().is_marked());
            assert_eq!(link.target(), target);
            assert_eq!(link.marked().target(), target);
            assert_eq!(link.marked().unmarked(), link);
        }
    }
}
