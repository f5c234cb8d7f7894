//! Points in time: [`Timestamp`].
//!
//! The crate never asks the operating system for the time on behalf of the
//! map: the caller passes it in. A [`Timestamp`] is therefore no more than a
//! number of nanoseconds on a clock of the caller's choice. Where zero lies
//! doesn't matter, as long as it stays where it is for the life of the map.
//!
//! All arithmetic saturates. A sum that doesn't fit is [`Timestamp::NEVER`],
//! and `NEVER` stays `NEVER`, whatever is added to it or taken from it; so an
//! absurdly long lifetime becomes an unlimited one and never a short one.

use std::time::Duration;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A point in time: nanoseconds on the caller's clock.
///
/// Two timestamps can be compared if they come from the same clock. The whole
/// range of `u64` is legal; its end, [`Timestamp::NEVER`], is later than every
/// other point and stands for "does not expire".
///
/// # Examples
///
/// ```
/// use sessionwheel::Timestamp;
/// use std::time::Duration;
///
/// let born = Timestamp::from_secs(1_000);
/// let deadline = born.saturating_add(Duration::from_secs(300));
///
/// assert_eq!(deadline, Timestamp::from_secs(1_300));
/// assert_eq!(deadline.saturating_since(born), Duration::from_secs(300));
/// assert!(deadline < Timestamp::NEVER);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin of the clock. This is also the [`Default`].
    pub const ZERO: Self = Self(0);

    /// The point that is never reached: as a deadline, "does not expire".
    ///
    /// ```
    /// # use sessionwheel::Timestamp;
    /// assert_eq!(Timestamp::NEVER.as_nanos(), u64::MAX);
    /// ```
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `nanos` nanoseconds after the clock's origin.
    ///
    /// `u64::MAX` is [`Timestamp::NEVER`].
    ///
    /// ```
    /// # use sessionwheel::Timestamp;
    /// assert_eq!(Timestamp::from_nanos(7).as_nanos(), 7);
    /// ```
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's origin; `u64::MAX` for
    /// [`Timestamp::NEVER`].
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The point `secs` seconds after the clock's origin.
    ///
    /// Saturates to [`Timestamp::NEVER`] from 18,446,744,074 seconds (about
    /// 584 years) on.
    ///
    /// ```
    /// # use sessionwheel::Timestamp;
    /// assert_eq!(Timestamp::from_secs(2).as_nanos(), 2_000_000_000);
    /// assert_eq!(Timestamp::from_secs(u64::MAX), Timestamp::NEVER);
    /// ```
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(NANOS_PER_SEC))
    }

    /// The point `span` later.
    ///
    /// A result that doesn't fit is [`Timestamp::NEVER`], and `NEVER` stays
    /// `NEVER`.
    ///
    /// ```
    /// # use sessionwheel::Timestamp;
    /// # use std::time::Duration;
    /// let now = Timestamp::from_secs(10);
    /// assert_eq!(now.saturating_add(Duration::from_secs(5)), Timestamp::from_secs(15));
    /// assert_eq!(now.saturating_add(Duration::MAX), Timestamp::NEVER);
    /// ```
    #[must_use]
    pub const fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// The point `span` earlier, or [`Timestamp::ZERO`] if that would lie
    /// before the clock's origin.
    ///
    /// [`Timestamp::NEVER`] stays `NEVER`: it isn't a finite point that could
    /// be moved.
    ///
    /// ```
    /// # use sessionwheel::Timestamp;
    /// # use std::time::Duration;
    /// let now = Timestamp::from_secs(10);
    /// assert_eq!(now.saturating_sub(Duration::from_secs(4)), Timestamp::from_secs(6));
    /// assert_eq!(now.saturating_sub(Duration::MAX), Timestamp::ZERO);
    /// assert_eq!(Timestamp::NEVER.saturating_sub(Duration::MAX), Timestamp::NEVER);
    /// ```
    #[must_use]
    pub const fn saturating_sub(self, span: Duration) -> Self {
        if self.0 == u64::MAX {
            return Self::NEVER;
        }
        Self(self.0.saturating_sub(nanos(span)))
    }

    /// How much later than `earlier` this point is; zero if it isn't later.
    ///
    /// For [`Timestamp::NEVER`] this is the distance to the end of the range,
    /// some hundreds of years, unless `earlier` is `NEVER` as well.
    ///
    /// ```
    /// # use sessionwheel::Timestamp;
    /// # use std::time::Duration;
    /// let (early, late) = (Timestamp::from_secs(1), Timestamp::from_secs(4));
    /// assert_eq!(late.saturating_since(early), Duration::from_secs(3));
    /// assert_eq!(early.saturating_since(late), Duration::ZERO);
    /// ```
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// The nanoseconds in `span`, at most `u64::MAX`.
pub(crate) const fn nanos(span: Duration) -> u64 {
    span.as_secs()
        .saturating_mul(NANOS_PER_SEC)
        .saturating_add(span.subsec_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: Timestamp = Timestamp::from_nanos(u64::MAX - 1);
    const NANO: Duration = Duration::from_nanos(1);

    #[test]
    fn never_is_later_than_all_others() {
        assert!(Timestamp::NEVER > LAST);
        assert!(Timestamp::ZERO < Timestamp::from_nanos(1));
        assert_eq!(Timestamp::default(), Timestamp::ZERO);
    }

    #[test]
    fn from_secs_saturates_at_the_last_second_that_fits() {
        let fits = u64::MAX / NANOS_PER_SEC;
        assert_eq!(Timestamp::from_secs(fits).as_nanos(), fits * NANOS_PER_SEC);
        assert_eq!(Timestamp::from_secs(fits + 1), Timestamp::NEVER);
    }

    #[test]
    fn add_saturates_to_never() {
        assert_eq!(LAST.saturating_add(Duration::ZERO), LAST);
        assert_eq!(LAST.saturating_add(NANO), Timestamp::NEVER);
        assert_eq!(LAST.saturating_add(2 * NANO), Timestamp::NEVER);
        assert_eq!(Timestamp::NEVER.saturating_add(NANO), Timestamp::NEVER);
        assert_eq!(
            Timestamp::ZERO.saturating_add(Duration::MAX),
            Timestamp::NEVER
        );
    }

    #[test]
    fn a_span_longer_than_u64_nanoseconds_does_not_wrap() {
        // 2^64 ns and a little: a wrapped product would be a short lifetime.
        let span = Duration::from_secs(u64::MAX / NANOS_PER_SEC + 1);
        assert_eq!(nanos(span), u64::MAX);
        assert_eq!(nanos(Duration::from_nanos(u64::MAX)), u64::MAX);
        assert_eq!(nanos(Duration::from_nanos(u64::MAX - 1)), u64::MAX - 1);
        assert_eq!(
            Timestamp::from_secs(1).saturating_add(span),
            Timestamp::NEVER
        );
    }

    #[test]
    fn sub_stops_at_zero_and_leaves_never() {
        assert_eq!(
            Timestamp::from_nanos(1).saturating_sub(2 * NANO),
            Timestamp::ZERO
        );
        assert_eq!(
            LAST.saturating_sub(NANO),
            Timestamp::from_nanos(u64::MAX - 2)
        );
        assert_eq!(Timestamp::NEVER.saturating_sub(NANO), Timestamp::NEVER);
    }

    #[test]
    fn since_is_zero_backwards() {
        assert_eq!(LAST.saturating_since(Timestamp::NEVER), Duration::ZERO);
        assert_eq!(Timestamp::NEVER.saturating_since(LAST), NANO);
        assert_eq!(
            Timestamp::NEVER.saturating_since(Timestamp::NEVER),
            Duration::ZERO
        );
    }

    #[test]
    fn arithmetic_is_usable_in_constants() {
        const DEADLINE: Timestamp =
            Timestamp::from_secs(1).saturating_add(Duration::from_millis(500));
        const AGE: Duration = DEADLINE.saturating_since(Timestamp::from_secs(1));
        assert_eq!(DEADLINE.as_nanos(), 1_500_000_000);
        assert_eq!(AGE, Duration::from_millis(500));
    }
}
