//! Removal of all entries, or of those that somebody does not want.

use super::batch::Batch;
use super::core::Core;
use super::types::{Reason, Swept};
use crate::geometry::NUMBER_BITS;
use crate::reclaim;
use crate::slab::SlotNumber;

/// As many as there can be, and the one behind the last.
const SHARD_BITS: u32 = super::builder::MAX_SHARDS.ilog2() + 1;

/// After so many looks the guard is refreshed: a look takes some nanoseconds.
const LOOKS: usize = 1_024;

/// Where a removal in steps goes on: see
/// [`ExpiringMap::remove_where_within`](crate::ExpiringMap::remove_where_within).
///
/// A new one stands at the beginning. It means something only to the map that has moved it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Cursor {
    shard: u32,
    /// The last slot that was looked at.
    slot: SlotNumber,
}

impl Cursor {
    /// Bits that [`raw`](Self::raw) takes: those of a slot, and of a shard.
    pub(crate) const BITS: u32 = NUMBER_BITS + SHARD_BITS;

    /// In few bits: zero at the beginning.
    pub(crate) fn raw(self) -> u64 {
        u64::from(self.shard) << NUMBER_BITS | u64::from(self.slot)
    }

    pub(crate) fn from_raw(raw: u64) -> Self {
        Self {
            shard: (raw >> NUMBER_BITS) as u32,
            slot: raw as SlotNumber & ((1 << NUMBER_BITS) - 1),
        }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// Removes what is unwanted, and drops of that what is ripe.
    pub(super) fn remove_all(&self, reason: Reason, unwanted: impl FnMut(&K, &V) -> bool) -> Swept {
        let mut cursor = Cursor::default();
        let mut drops = u64::MAX;
        self.remove_from(&mut cursor, usize::MAX, &mut drops, reason, unwanted)
    }

    /// The same from a slot on, for `budget` slots, dropping no more than `drops` entries, which are taken off it. At
    /// the end the cursor is where it was at the beginning.
    pub(super) fn remove_within(
        &self,
        cursor: &mut Cursor,
        budget: usize,
        drops: &mut u64,
        unwanted: impl FnMut(&K, &V) -> bool,
    ) -> Swept {
        let first = cursor.shard as usize;
        let swept = self.remove_from(cursor, budget, drops, Reason::Removed, unwanted);
        self.drop_some(first, drops);
        swept
    }

    fn remove_from(
        &self,
        cursor: &mut Cursor,
        budget: usize,
        drops: &mut u64,
        reason: Reason,
        mut unwanted: impl FnMut(&K, &V) -> bool,
    ) -> Swept {
        let mut swept = Swept::default();
        while let Some(shard) = self.shards.get(cursor.shard as usize) {
            let mut guard = reclaim::pin();
            let mut batch = Batch::new(self, cursor.shard as usize, &mut guard, *drops);
            let last = shard.slab.high_water();
            let before = swept.visited;
            while cursor.slot < last && swept.visited < budget {
                cursor.slot += 1;
                swept.visited += 1;
                batch.remove(cursor.slot, reason, &mut unwanted);
                if swept.visited % LOOKS == 0 {
                    batch.refresh();
                }
            }
            batch.settle();
            swept.removed += batch.removed;
            *drops = batch.drops;
            shard.counters.visited(swept.visited - before);
            if cursor.slot < last {
                swept.remaining = true;
                return swept;
            }
            *cursor = Cursor {
                shard: cursor.shard + 1,
                slot: 0,
            };
        }
        *cursor = Cursor::default();
        swept
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::map::builder::MAX_SHARDS;

    #[test]
    fn a_cursor_goes_through_few_bits() {
        assert_eq!(Cursor::default().raw(), 0);
        for shard in [0, 1, 2, MAX_SHARDS as u32] {
            for slot in [0, 1, 5, (1 << NUMBER_BITS) - 1] {
                let cursor = Cursor { shard, slot };
                assert_eq!(Cursor::from_raw(cursor.raw()), cursor);
                assert!(cursor.raw() < 1 << Cursor::BITS);
            }
        }
        let most = Cursor::from_raw((1 << Cursor::BITS) - 1);
        assert!(
            most.shard < 2 * MAX_SHARDS as u32,
            "a bit more than it takes"
        );
    }
}
