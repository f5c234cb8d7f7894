//! The deadline word: it alone decides between a removal for reasons of time and a re-timing.

use crate::time::Timestamp;

/// A deadline as a slot keeps it: three tombstones, then the timestamps moved up by three, then
/// "never". The four last timestamps before [`Timestamp::NEVER`] (they lie 584 years ahead) leave
/// no room for a later time and count as never.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Deadline(u64);

/// A caller's time, in the same numbers as [`Deadline`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Moment(u64);

const SHIFT: u64 = 3;

/// The timestamp of the last deadline that can pass.
const LAST: u64 = u64::MAX - 5;

impl Deadline {
    /// A flush has judged the entry expired: from here on everybody reads it as expired, and
    /// anyone may go on to set the mark. Also what a blank slot says.
    pub(crate) const EXPIRED: Self = Self(0);
    /// Chosen to make room, likewise.
    pub(crate) const EVICTED: Self = Self(1);
    /// Of an entry that was taken, removed or replaced: who has set the mark closes the word, and
    /// learns by what deadline the entry lived at the last.
    pub(crate) const CLOSED: Self = Self(2);
    /// The last one that can pass.
    pub(crate) const LAST: Self = Self(LAST + SHIFT);
    pub(crate) const NEVER: Self = Self(u64::MAX);

    #[inline]
    pub(crate) fn new(at: Timestamp) -> Self {
        let at = at.as_nanos();
        if at > LAST {
            Self::NEVER
        } else {
            Self(at + SHIFT)
        }
    }

    #[inline]
    pub(crate) fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    #[inline]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    #[inline]
    pub(crate) fn is_tombstone(self) -> bool {
        self.0 < SHIFT
    }

    #[inline]
    pub(crate) fn is_never(self) -> bool {
        self == Self::NEVER
    }

    /// Past, strictly: at the deadline itself an entry is still valid. Tombstones always are,
    /// "never" never is.
    #[inline]
    pub(crate) fn has_passed(self, now: Moment) -> bool {
        now.0 > self.0
    }

    /// The timestamp; 0 for a tombstone.
    #[inline]
    pub(crate) fn timestamp(self) -> Timestamp {
        if self.is_never() {
            Timestamp::NEVER
        } else {
            Timestamp::from_nanos(self.0.saturating_sub(SHIFT))
        }
    }

    /// The tick this deadline lies in.
    #[inline]
    pub(crate) fn tick(self, tick_bits: u32) -> u64 {
        self.0.saturating_sub(SHIFT) >> tick_bits
    }
}

impl Moment {
    #[inline]
    pub(crate) fn new(now: Timestamp) -> Self {
        // Above the last deadline at the most, and below "never", whatever the caller's clock says.
        Self(now.as_nanos().min(LAST + 1) + SHIFT)
    }

    #[inline]
    pub(crate) fn raw(self) -> u64 {
        self.0
    }

    /// The last tick in which a deadline can lie that has passed.
    #[inline]
    pub(crate) fn last_due_tick(self, tick_bits: u32) -> u64 {
        (self.0 - SHIFT).saturating_sub(1) >> tick_bits
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn deadline(t: u64) -> Deadline {
        Deadline::new(Timestamp::from_nanos(t))
    }

    fn moment(t: u64) -> Moment {
        Moment::new(Timestamp::from_nanos(t))
    }

    #[test]
    fn passes_strictly_after() {
        for t in [0, 1, 2, 1 << 30, LAST] {
            assert!(!deadline(t).has_passed(moment(t)), "{t}");
            assert!(deadline(t).has_passed(moment(t + 1)), "{t}");
        }
    }

    #[test]
    fn never_does_not_pass_and_tombstones_always_have() {
        assert!(!Deadline::NEVER.has_passed(moment(u64::MAX)));
        for t in LAST + 1..=u64::MAX {
            assert!(!deadline(t).has_passed(moment(u64::MAX)));
        }
        assert!(Deadline::EXPIRED.has_passed(moment(0)));
        assert!(Deadline::EVICTED.has_passed(moment(0)));
        assert!(deadline(0) > Deadline::EVICTED);
    }

    #[test]
    fn tombstones_are_no_deadlines() {
        for tombstone in [Deadline::EXPIRED, Deadline::EVICTED, Deadline::CLOSED] {
            assert!(tombstone.is_tombstone(), "{tombstone:?}");
        }
        for deadline in [deadline(0), deadline(1), Deadline::LAST, Deadline::NEVER] {
            assert!(!deadline.is_tombstone(), "{deadline:?}");
        }
        assert_eq!(
            (deadline(LAST), deadline(LAST + 1)),
            (Deadline::LAST, Deadline::NEVER)
        );
    }

    #[test]
    fn a_passed_deadline_lies_at_or_before_the_last_due_tick() {
        assert_eq!(moment(0).last_due_tick(4), 0);
        for d in [0u64, 1, 15, 16, 17, 255, 256] {
            assert_eq!(deadline(d).tick(4), moment(d + 1).last_due_tick(4), "{d}");
        }
    }

    #[test]
    fn timestamps_survive() {
        for t in [0, 1, 77, LAST, u64::MAX] {
            assert_eq!(deadline(t).timestamp().as_nanos(), t);
        }
    }
}
