//! Get, take, remove and re-time.

use super::core::{Core, Route};
use super::shard::Shard;
use super::types::{Entry, Reason};
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment, Slot, SlotNumber};
use crate::sync::atomic::{Ordering, fence};
use crate::table::{Search, Table};
use crate::time::Timestamp;

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// The value under a key. The caller is pinned by `guard`.
    #[inline]
    pub(super) fn get<'g>(
        &'g self,
        hash: u64,
        same: impl Fn(&K) -> bool,
        now: Timestamp,
        guard: &'g Guard,
    ) -> Option<&'g V> {
        let (slot, _) = self.find(hash, same, Moment::new(now), guard)?;
        // SAFETY: reached through the table under the guard, which `'g` borrows, as it does the map.
        Some(unsafe { slot.value() })
    }

    /// The same with the key and the deadline.
    #[inline]
    pub(super) fn get_entry<'g>(
        &'g self,
        hash: u64,
        same: impl Fn(&K) -> bool,
        now: Timestamp,
        guard: &'g Guard,
    ) -> Option<Entry<'g, K, V>> {
        let (slot, deadline) = self.find(hash, same, Moment::new(now), guard)?;
        // SAFETY: as in `get`.
        Some(unsafe { Entry::new(slot, deadline) })
    }

    /// The slot of the live entry under a key, and its deadline.
    ///
    /// What nearly every lookup meets is short enough to become part of the caller: how many lookups
    /// the processor works on at once, while it waits for memory, depends on how short they are.
    #[inline]
    fn find<'g>(
        &'g self,
        hash: u64,
        same: impl Fn(&K) -> bool,
        now: Moment,
        guard: &'g Guard,
    ) -> Option<(&'g Slot<K, V>, Deadline)> {
        let Route { shard, hash, .. } = self.route(hash);
        match shard.table.glance(&shard.slab, hash) {
            Ok(None) => return None,
            Ok(Some(slot)) => {
                let deadline = slot.deadline();
                // SAFETY: reached through the table under the guard.
                let same = unsafe { slot.with_key(&same) };
                // The deadline before the mark, as in `find_slowly`.
                if same && !slot.load_link().is_marked() {
                    return (!deadline.has_passed(now)).then_some((slot, deadline));
                }
            }
            Err(_) => {}
        }
        self.find_slowly(shard, hash, same, now, guard)
    }

    #[cold]
    #[inline(never)]
    fn find_slowly<'g>(
        &'g self,
        shard: &'g Shard<K, V>,
        hash: u32,
        same: impl Fn(&K) -> bool,
        now: Moment,
        _pinned: &'g Guard,
    ) -> Option<(&'g Slot<K, V>, Deadline)> {
        loop {
            let (_, slot) = shard.table.lookup(&shard.slab, hash, equals(&same))?;
            // The deadline before the mark: if the entry is not removed now, it was there, with
            // this deadline, when that was read.
            let deadline = slot.deadline();
            if slot.load_link().is_marked() {
                // Removed, or replaced: then the new one is in the list. A tombstone on the old one
                // says nothing of it.
                continue;
            }
            return (!deadline.has_passed(now)).then_some((slot, deadline));
        }
    }

    /// Removes the entry under a key if it is live and `wanted`: exactly one of any number of
    /// callers.
    pub(super) fn take<'g>(
        &'g self,
        hash: u64,
        same: impl Fn(&K) -> bool,
        wanted: impl Fn(&V) -> bool,
        now: Timestamp,
        guard: &'g Guard,
    ) -> Option<Entry<'g, K, V>> {
        let now = Moment::new(now);
        let (slot, deadline) = self.extract(hash, same, Some(now), wanted, Reason::Taken, guard)?;
        // SAFETY: as in `get`; its removal is ours, made under this guard.
        Some(unsafe { Entry::new(slot, deadline) })
    }

    /// Removes the entry under a key, expired or not.
    pub(super) fn remove(&self, hash: u64, same: impl Fn(&K) -> bool, guard: &Guard) -> bool {
        self.extract(hash, same, None, |_| true, Reason::Removed, guard)
            .is_some()
    }

    fn extract(
        &self,
        hash: u64,
        same: impl Fn(&K) -> bool,
        now: Option<Moment>,
        wanted: impl Fn(&V) -> bool,
        reason: Reason,
        guard: &Guard,
    ) -> Option<(&Slot<K, V>, Deadline)> {
        let Route { shard, index, hash } = self.route(hash);
        loop {
            let retire = |n: SlotNumber| shard.slab.retire(n, guard);
            let found = shard
                .table
                .search(&shard.slab, hash, false, equals(&same), retire);
            let Search::Found {
                at, slot: number, ..
            } = found
            else {
                return None;
            };
            let slot = shard.slab.slot(number);
            let deadline = slot.deadline();
            if slot.load_link().is_marked() {
                continue; // as in `get`
            }
            // Without a clock: what a flush or an eviction has sentenced is gone already.
            let gone = now.map_or(deadline.is_tombstone(), |now| deadline.has_passed(now));
            // SAFETY: the walk has reached the slot, and we are pinned.
            if gone || !unsafe { slot.with_body(|_, value| wanted(value)) } {
                return None;
            }
            step!("take: has found");
            if Table::mark(slot) {
                step!("take: has marked");
                // Re-timed or sentenced since it was judged? Then that came first, and may have left
                // nothing to take; who has sentenced it finds the mark set, and counts nothing.
                let deadline = slot.close_deadline();
                let valid = now.is_none_or(|now| !deadline.has_passed(now));
                let reason = match deadline {
                    _ if valid => reason,
                    Deadline::EVICTED => Reason::Evicted,
                    _ => Reason::Expired,
                };
                step!("take: has closed");
                self.permits.give(index, 1);
                step!("take: has returned its permit");
                shard.finish(number, Some(at), reason, guard);
                self.deliver_one(index, number, reason, guard);
                return valid.then_some((slot, deadline));
            }
        }
    }

    /// Gives a live entry another deadline, unless `deadline_of`, which is told the one before, gives none. `true` only if
    /// it then lives until that. Nothing is asked about one that has expired.
    pub(super) fn retime(
        &self,
        hash: u64,
        same: impl Fn(&K) -> bool,
        deadline_of: impl Fn(&V, Timestamp) -> Option<Timestamp>,
        now: Timestamp,
        guard: &Guard,
    ) -> bool {
        let now = Moment::new(now);
        let Route { shard, hash, .. } = self.route(hash);
        loop {
            let found = shard.table.lookup(&shard.slab, hash, equals(&same));
            let Some((number, slot)) = found else {
                return false;
            };
            let old = slot.deadline();
            if slot.load_link().is_marked() {
                continue; // as in `get`
            }
            if old.has_passed(now) {
                return false;
            }
            let of = |value: &V| deadline_of(value, old.timestamp());
            // SAFETY: the walk has reached the slot, and we are pinned.
            let Some(new) = (unsafe { slot.with_body(|_, value| of(value)) }) else {
                return false;
            };
            let new = Deadline::new(new);
            if new.has_passed(now) {
                return false;
            }
            // Who removes for reasons of time changes this word before the mark, so either that
            // fails, or this does; who removes for another reason closes it behind the mark, so
            // either this fails, or the remover goes by the new deadline.
            step!("retime: has found");
            if slot.change_deadline(old, new).is_ok() {
                step!("retime: has changed");
                // Partner: the fence in `Shard::publish`. Without it the inserter could miss the new
                // deadline while a flush that meets this hint misses that the slot is published.
                // Partner: the fence in `Tournament::begin`, as in `Shard::publish`.
                fence(Ordering::SeqCst);
                shard.schedule(number, new, guard);
                return true;
            }
        }
    }
}

/// Compares keys of slots reached through the table.
fn equals<K, V>(same: &impl Fn(&K) -> bool) -> impl FnMut(&Slot<K, V>) -> bool {
    // SAFETY: the table calls it only for slots its walk has reached, and every walk is pinned.
    move |slot| unsafe { slot.with_key(same) }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{ExpiringMap, Timestamp};

    #[test]
    fn a_retiming_is_of_the_value_that_was_asked_about() {
        let at = Timestamp::from_secs;
        let map: ExpiringMap<u64, u64> = ExpiringMap::builder().build().unwrap();
        map.insert(7, 200, at(100), at(0)).unwrap();
        let replaced = |&value: &u64| {
            if value == 200 {
                map.insert(7, 300, at(100), at(0)).unwrap();
            }
            Some(at(value))
        };
        assert!(map.retime_with(&7, replaced, at(0)));
        assert!(!map.retime_with(&7, |_| None, at(0)));
        let guard = map.pin();
        let entry = map.get_entry(&7, at(0), &guard).unwrap();
        assert_eq!((*entry.value(), entry.deadline()), (300, at(300)));
        assert!(!map.retime_with(&7, |_| panic!("it has expired"), at(301)));
    }

    /// The condition is asked between the judgement and the mark.
    #[test]
    fn a_retime_between_a_takers_judgement_and_its_mark_counts() {
        let at = Timestamp::from_nanos;
        let map: ExpiringMap<u64, u64> = ExpiringMap::builder().build().unwrap();
        let guard = map.pin();
        for (new, taken) in [(97, false), (100, true), (300, true)] {
            map.insert(7, 7, at(200), at(90)).unwrap();
            let retimed = |_: &u64| map.retime(&7, at(new), at(95));
            let found = map.take_if(&7, retimed, at(100), &guard);
            assert_eq!(found.map(|e| e.deadline()), taken.then_some(at(new)));
            assert!(map.is_empty());
        }
        let stats = map.stats();
        assert_eq!((stats.taken, stats.expired), (2, 1));
    }
}
