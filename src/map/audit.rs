//! What holds of a map that nobody uses at the moment: the fuzzer asks after each operation.
#![cfg(any(fuzzing, all(test, not(loom))))]

use std::collections::BTreeSet;
use std::ptr;

use super::ExpiringMap;
use super::core::Core;
use super::shard::Shard;

/// Panics unless each slot is in one place, each live one is where lookups find it, and permits are as many as
/// entries.
pub(crate) fn audit<K, V, S>(map: &ExpiringMap<K, V, S>)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    audit_core(&map.core);
}

fn audit_core<K: Send + Sync + 'static, V: Send + Sync + 'static>(core: &Core<K, V>) {
    let live: u64 = core.shards.iter().map(|shard| audit_shard(shard)).sum();
    assert_eq!(core.permits.in_use(), Some(live), "permits in use");
}

/// How many entries there are.
fn audit_shard<K: Send + Sync + 'static, V: Send + Sync + 'static>(shard: &Shard<K, V>) -> u64 {
    let slab = &shard.slab;
    let all = slab.high_water();
    let live: BTreeSet<_> = (1..=all).filter(|&n| shard.live(n).is_some()).collect();

    let found = shard.table.numbers(slab);
    let in_table: BTreeSet<_> = found.iter().copied().collect();
    assert_eq!(found.len(), in_table.len(), "slots in the table twice");
    assert_eq!(in_table, live, "slots in the table, and live ones");
    for &number in &live {
        let slot = slab.slot(number);
        let found = shard
            .table
            .lookup(slab, slot.hash(), |it| ptr::eq(it, slot));
        assert!(found.is_some(), "no lookup comes to slot {number}");
    }

    let free = slab.free_numbers();
    let distinct: BTreeSet<_> = free.iter().copied().collect();
    assert_eq!(free.len(), distinct.len(), "slots on the free list twice");
    assert!(distinct.is_disjoint(&live), "live slots on the free list");
    let known = (live.len() + free.len()) as u64 + slab.garbage();
    assert_eq!(known, u64::from(all), "slots live, free and waiting");
    live.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn filled() -> ExpiringMap<u64, u64> {
        let map = ExpiringMap::builder()
            .maximum(Some(50))
            .shards(2)
            .tick_bits(4)
            .build()
            .unwrap();
        for key in 0..60 {
            map.insert(key, key, at(key + 10), at(0)).unwrap();
        }
        map
    }

    #[test]
    fn books_are_right_whatever_has_been_done() {
        let map = filled();
        for round in 0..200 {
            let key = round % 60;
            let now = at(round);
            match round % 5 {
                0 => _ = map.insert(key, round, at(round + 30), now),
                1 => _ = map.take(&key, now, &map.pin()),
                2 => _ = map.retime(&key, at(round + 9), now),
                3 => _ = map.flush(now),
                _ => map.set_maximum(Some(20 + round as usize % 40)),
            }
            audit(&map);
        }
    }

    #[test]
    #[should_panic(expected = "slots live, free and waiting")]
    fn a_slot_that_is_lost_is_missed() {
        let map = filled();
        // Held by nobody who would give it back.
        std::mem::forget(map.core.shards[0].slab.take_fresh());
        audit(&map);
    }

    #[test]
    #[should_panic(expected = "permits in use")]
    fn a_permit_that_is_returned_twice_is_noticed() {
        let map = filled();
        map.core.permits.give(0, 1);
        audit(&map);
    }

    #[test]
    #[should_panic(expected = "slots in the table, and live ones")]
    fn a_removed_entry_that_stays_in_the_table_is_noticed() {
        let map = filled();
        let shard = &map.core.shards[0];
        let number = (1..).find(|&n| shard.live(n).is_some()).unwrap();
        assert!(crate::table::Table::mark(shard.slab.slot(number)));
        audit(&map);
    }
}
