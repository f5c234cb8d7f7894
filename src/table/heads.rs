//! The directory of bucket heads.

use crate::geometry::{FIRST_BITS, NUMBER_BITS, SEGMENTS};
use crate::segments::Segments;
use crate::slab::Link;
use crate::sync::atomic::{AtomicU32, Ordering};

/// Heads kept for each slot ever used, to a power of two: chains of half an entry on average, for
/// 4 bytes a head.
const HEADS_PER_SLOT: u32 = 2;

/// A bucket stands in the list before all entries at or above this position.
#[inline]
pub(super) fn bucket_position(bucket: u32) -> u32 {
    bucket.reverse_bits()
}

/// The bucket that `bucket` splits off: the same number without its highest bit.
#[inline]
pub(super) fn parent(bucket: u32) -> u32 {
    debug_assert!(bucket != 0);
    bucket & !(1 << (31 - bucket.leading_zeros()))
}

pub(super) struct Heads {
    cells: Segments<AtomicU32, FIRST_BITS, SEGMENTS>,
    /// The directory has `2^bits` heads. Only grows.
    bits: AtomicU32,
}

impl Heads {
    pub(super) fn new() -> Self {
        let cells = Segments::new();
        // Bucket 0 is the list's first cell. Relaxed: the table is not shared yet.
        let first: &AtomicU32 = cells.get_or_alloc(0);
        first.store(Link::END.raw(), Ordering::Relaxed);
        Self {
            cells,
            bits: AtomicU32::new(1),
        }
    }

    #[inline]
    pub(super) fn grow_for(&self, slots: u32) {
        let heads = (u64::from(slots) * u64::from(HEADS_PER_SLOT)).next_power_of_two();
        let bits = heads.trailing_zeros().min(NUMBER_BITS);
        // Relaxed: a larger directory is only a shorter way; every size finds everything.
        if bits > self.bits.load(Ordering::Relaxed) {
            self.bits.fetch_max(bits, Ordering::Relaxed);
        }
    }

    #[inline]
    pub(super) fn bucket_of(&self, hash: u32) -> u32 {
        hash & ((1 << self.bits.load(Ordering::Relaxed)) - 1)
    }

    pub(super) fn get_or_alloc(&self, bucket: u32) -> &AtomicU32 {
        self.cells.get_or_alloc(bucket)
    }

    /// The cell of a bucket that a link led to: it is in the list.
    #[inline]
    pub(super) fn linked(&self, bucket: u32) -> &AtomicU32 {
        self.cells.at(bucket)
    }

    /// The first link of a hash's bucket, or of the nearest parent that is in the list.
    #[inline]
    pub(super) fn first_link(&self, hash: u32) -> Link {
        let mut bucket = self.bucket_of(hash);
        loop {
            if let Some(cell) = self.cells.get(bucket) {
                let link = Link::load(cell);
                // In the list: neither uninitialised nor busy.
                if link != Link::NONE && !link.is_marked() {
                    return link;
                }
            }
            bucket = parent(bucket);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_parent_comes_before_its_child() {
        for bucket in 1..1000u32 {
            assert!(parent(bucket) < bucket);
            assert!(bucket_position(parent(bucket)) < bucket_position(bucket));
        }
    }

    #[test]
    fn two_heads_a_slot() {
        let heads = Heads::new();
        for (slots, bits) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (1000, 11)] {
            heads.grow_for(slots);
            assert_eq!(heads.bits.load(Ordering::Relaxed), bits, "{slots}");
        }
        heads.grow_for(1);
        assert_eq!(heads.bits.load(Ordering::Relaxed), 11);
    }
}
