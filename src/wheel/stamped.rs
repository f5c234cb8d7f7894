//! A word of 32 bits and a 32-bit stamp.
//!
//! Ground rules:
//! - **To set is to move the stamp**, even if the bit is set already.
//! - **To clear** is one CAS against the word as it was *before* what its bits stand for was looked
//!   at. Whoever set a bit in between has moved the stamp, so the clearing fails.
//!
//! A stamp would have to go round (2^32 sets of one word between one sweeper's load and its CAS)
//! to deceive it.

use crate::slab::SlotNumber;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Bits in a word.
pub(super) const WIDTH: u32 = 32;
pub(super) const WIDTH_BITS: u32 = 5;

/// A word as it was read.
#[derive(Clone, Copy)]
pub(super) struct Stamped(u64);

impl Stamped {
    pub(super) fn load(word: &AtomicU64) -> Self {
        // Acquire: partner of the Release in `raise` and `lower`; who sees a bit sees the slot (or the
        // word below) as it was when the bit was set, and who sees it gone what led to that.
        Self(word.load(Ordering::Acquire))
    }

    pub(super) fn bits(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn stamp(self) -> u64 {
        self.0 >> WIDTH
    }

    fn with(self, bits: u32) -> Self {
        let stamp = self.stamp().wrapping_add(1) & u64::from(u32::MAX);
        Self((stamp << WIDTH) | u64::from(self.bits() | bits))
    }

    pub(super) fn without(self, bits: u32) -> Self {
        Self(self.0 & !u64::from(bits))
    }
}

/// Sets bits and moves the stamp.
pub(super) fn raise(word: &AtomicU64, bits: u32) {
    let mut seen = Stamped(word.load(Ordering::Relaxed));
    // Release: as said in `Stamped::load`. What earlier ones released the word goes on carrying by
    // itself, for it only changes by such exchanges.
    while let Err(now) = word.compare_exchange_weak(
        seen.0,
        seen.with(bits).0,
        Ordering::Release,
        Ordering::Relaxed,
    ) {
        seen = Stamped(now);
    }
}

/// Clears bits unless the word has changed since it was read.
pub(super) fn lower(word: &AtomicU64, seen: Stamped, bits: u32) -> bool {
    // Release: who sees the bit gone sees what became of the slot (removed, or hinted elsewhere), or of
    // the word below. Not Acquire: with the same stamp and bits, it is the write that `Stamped::load`
    // had read.
    word.compare_exchange(
        seen.0,
        seen.without(bits).0,
        Ordering::Release,
        Ordering::Relaxed,
    )
    .is_ok()
}

/// What a look at a slot found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// Nothing to come back for: its bit may be cleared.
    Finished,
    /// Its bit stays.
    Stay,
    /// Not looked at, or enough has been: the pass ends here.
    Stop,
}

/// How a pass, or a part of it, ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    Empty,
    Occupied,
    Stopped,
}

/// Looks at the slots of one word, from `first` on, as far as `wanted`, then clears the bits that
/// are finished.
pub(super) fn sweep_word(
    word: &AtomicU64,
    first: SlotNumber,
    wanted: u32,
    look: &mut impl FnMut(SlotNumber) -> Look,
) -> Part {
    loop {
        let seen = Stamped::load(word);
        let mut finished = 0;
        let mut stopped = false;
        for bit in ones(seen.bits() & wanted) {
            match look(first | bit) {
                Look::Finished => finished |= 1 << bit,
                Look::Stay => {}
                Look::Stop => {
                    stopped = true;
                    break;
                }
            }
        }
        step!("sweep: has looked");
        let cleared = finished == 0 || lower(word, seen, finished);
        step!("sweep: has cleared");
        if stopped {
            return Part::Stopped;
        }
        if cleared {
            return if seen.without(finished).bits() == 0 {
                Part::Empty
            } else {
                Part::Occupied
            };
        }
        // Somebody has set a bit here since: look again.
    }
}

/// The numbers of the bits that are set.
pub(super) fn ones(mut bits: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then(|| bits.trailing_zeros())?;
        bits &= bits - 1;
        Some(bit)
    })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn stamps_wrap() {
        let full = Stamped(u64::from(u32::MAX) << 32 | 1);
        assert_eq!(full.with(2).0, 3);
    }

    #[test]
    fn setting_a_bit_that_is_set_defeats_a_clearing() {
        let word = AtomicU64::new(0);
        raise(&word, 1);
        let seen = Stamped::load(&word);
        raise(&word, 1);
        assert!(!lower(&word, seen, 1));
        assert!(lower(&word, Stamped::load(&word), 1));
        assert_eq!(Stamped::load(&word).bits(), 0);
    }
}
