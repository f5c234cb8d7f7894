//! The life word: where a slot stands in its life cycle.

use super::link::SlotNumber;

/// *free* (chained in the free list) → *held* by one inserter → *linked* → *retired* (chained in
/// a pending stack, and then in a limbo) → recycled: *held* or *free* again.
///
/// One bit says whether the body (key and value) is there, so that dropping the whole slab knows
/// which bodies to drop whatever state it finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Life(u32);

impl Life {
    const BODY: u32 = 1 << 31;
    const STATE: u32 = 1 << 30;

    /// Taken out of the free list; its holder alone may touch the body.
    pub(crate) const HELD: Self = Self(Self::STATE);
    /// In the table. Who comes by number may go on only after reading this, pinned.
    pub(crate) const LINKED: Self = Self(Self::STATE | Self::BODY);

    /// Body dropped and wiped; `next` follows in the free list (0: nobody).
    #[inline]
    pub(crate) fn free(next: SlotNumber) -> Self {
        Self(next)
    }

    /// Unlinked, body still there; `next` follows in its chain (0: nobody).
    #[inline]
    pub(crate) fn retired(next: SlotNumber) -> Self {
        Self(Self::BODY | next)
    }

    #[inline]
    pub(crate) fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) fn raw(self) -> u32 {
        self.0
    }

    #[inline]
    pub(crate) fn has_body(self) -> bool {
        self.0 & Self::BODY != 0
    }

    /// Who follows in the chain, for a slot that is free or retired.
    #[inline]
    pub(crate) fn next(self) -> SlotNumber {
        debug_assert!(
            self.0 & Self::STATE == 0,
            "a held or linked slot is in no chain"
        );
        self.number()
    }

    /// The same, or nonsense if the slot is in another state.
    #[inline]
    pub(crate) fn number(self) -> SlotNumber {
        self.0 & !(Self::BODY | Self::STATE)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn states_are_distinct() {
        assert!(Life::LINKED.has_body());
        assert!(!Life::HELD.has_body());
        assert!(Life::retired(3).has_body());
        assert!(!Life::free(3).has_body());
        assert_eq!(Life::retired(3).next(), 3);
        assert_eq!(Life::free(3).next(), 3);
        assert_ne!(Life::free(0), Life::HELD);
    }
}
