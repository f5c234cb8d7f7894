//! Time as the wheel of one shard counts it.

use crate::geometry::{DIGIT_BITS, POSITIONS};
use crate::slab::{Deadline, Moment};
use crate::time::Timestamp;

/// At most so many levels come down in different shards at different times.
const STAGGERED: u32 = 3;

/// Ticks of `2^bits` nanoseconds. Each shard is ahead of the clock by some of them: what stands at a
/// position of an upper level is handed down when its span begins, and so begins in each shard at
/// another time. Without it one flush a minute would hand down the next minute of all shards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticks {
    bits: u32,
    lead: u64,
}

impl Ticks {
    /// Those of one of `shards`.
    pub(crate) fn of_shard(bits: u32, shard: usize, shards: usize) -> Self {
        // The same digit on every level, so that on each of them the shards are spread evenly.
        let digit = (shard * POSITIONS as usize / shards) as u64;
        let lead = (0..staggered(bits)).map(|level| digit << (level * DIGIT_BITS));
        Self {
            bits,
            lead: lead.sum(),
        }
    }

    /// Levels that these ticks need.
    pub(super) fn levels(self) -> u32 {
        (u64::BITS - self.bits).div_ceil(DIGIT_BITS)
    }

    /// The tick a deadline lies in. None is behind the last one without a lead: those that would be
    /// are that one.
    #[inline]
    pub(super) fn of(self, deadline: Deadline) -> u64 {
        self.ahead(deadline.tick(self.bits))
    }

    /// The last tick in which a deadline can lie that has passed.
    #[inline]
    pub(super) fn due_at(self, at: Moment) -> u64 {
        self.ahead(at.last_due_tick(self.bits))
    }

    #[inline]
    fn ahead(self, tick: u64) -> u64 {
        let last = Deadline::LAST.tick(self.bits);
        tick.saturating_add(self.lead).min(last)
    }

    /// No deadline that lies in this tick or a later one is earlier than this.
    pub(super) fn begin(self, tick: u64) -> Timestamp {
        Timestamp::from_nanos(tick.saturating_sub(self.lead) << self.bits)
    }
}

/// A lead is less than a 64th of all ticks there are: at the end of time each shard has lost that many.
fn staggered(bits: u32) -> u32 {
    let digits = (u64::BITS - bits) / DIGIT_BITS;
    digits.saturating_sub(1).min(STAGGERED)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SHARDS: usize = 4;
    const TIMES: [u64; 10] = [
        0,
        1,
        15,
        16,
        1_000_003,
        1 << 40,
        u64::MAX - 40,
        u64::MAX - 7,
        u64::MAX - 6,
        u64::MAX - 5,
    ];

    fn all() -> impl Iterator<Item = Ticks> {
        let of_bits = |bits| (0..SHARDS).map(move |shard| Ticks::of_shard(bits, shard, SHARDS));
        [0, 4, 30, 46, 51, 52, 58, 62].into_iter().flat_map(of_bits)
    }

    #[test]
    fn who_has_passed_lies_in_a_tick_that_has_come() {
        for ticks in all() {
            let end = 1u128 << (ticks.levels() * DIGIT_BITS);
            for t in TIMES {
                let deadline = Deadline::new(Timestamp::from_nanos(t));
                let after = Moment::new(Timestamp::from_nanos(t + 1));
                assert!(ticks.of(deadline) <= ticks.due_at(after), "{t}");
                // Another one can be added, and it has a place on the wheel.
                assert!(ticks.due_at(after) < u64::MAX, "{t}");
                assert!(u128::from(ticks.due_at(after)) < end, "{t}");
                assert!(ticks.begin(ticks.of(deadline)).as_nanos() <= t, "{t}");
            }
        }
    }

    #[test]
    fn however_long_ticks_are_a_lead_is_a_small_part_of_them() {
        let deadline = |t| Deadline::new(Timestamp::from_nanos(t));
        for ticks in all() {
            let last = Deadline::LAST.tick(ticks.bits);
            assert!(ticks.lead <= last >> DIGIT_BITS, "{ticks:?}");
            // No two of these become one.
            for part in 0..=100 {
                let t = (u128::from(last - ticks.lead) * part / 100) as u64;
                assert_eq!(
                    ticks.of(deadline(t << ticks.bits)),
                    t + ticks.lead,
                    "{ticks:?}"
                );
            }
        }
    }

    #[test]
    fn each_shard_begins_the_spans_of_a_level_at_another_time() {
        for level in 1..=STAGGERED {
            let span = 1 << (level * DIGIT_BITS);
            let offset = |shard| Ticks::of_shard(4, shard, SHARDS).lead % span;
            let mut offsets: Vec<_> = (0..SHARDS).map(offset).collect();
            offsets.sort_unstable();
            let apart = span / SHARDS as u64;
            for pair in offsets.windows(2) {
                assert!(pair[1] - pair[0] >= apart, "{offsets:?}");
            }
        }
    }
}
