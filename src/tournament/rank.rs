//! A deadline as the tournament compares it.

use crate::slab::Deadline;

/// The greater, the sooner it leaves. Zero, which is what fresh memory says, is nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Rank(u64);

impl Rank {
    pub(crate) const NOBODY: Self = Self(0);

    /// Everybody with a deadline comes before those who never expire.
    const NEVER: Self = Self(1);

    #[inline]
    pub(crate) fn of(deadline: Deadline) -> Self {
        if deadline.is_never() {
            Self::NEVER
        } else {
            // At least 2: the last value of a deadline that is not "never" is two below it.
            Self(!deadline.raw())
        }
    }

    #[inline]
    pub(super) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(super) fn raw(self) -> u64 {
        self.0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn the_earlier_deadline_ranks_higher() {
        let at = |t| Rank::of(Deadline::new(Timestamp::from_nanos(t)));
        let last = u64::MAX - 5;
        let falling = [
            Rank::of(Deadline::EXPIRED),
            Rank::of(Deadline::EVICTED),
            Rank::of(Deadline::CLOSED),
            at(0),
            at(1),
            at(1 << 40),
            at(last - 1),
            at(last),
            Rank::of(Deadline::NEVER),
            Rank::NOBODY,
        ];
        assert!(falling.is_sorted_by(|a, b| a > b), "{falling:?}");
        assert_eq!(at(last + 1), Rank::of(Deadline::NEVER));
    }
}
