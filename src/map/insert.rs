//! Insert: slot first, then permit, then publish.

use super::core::{Core, Route};
use super::evict::Evicted;
use super::shard::Shard;
use super::types::{InsertError, Inserted, Reason};
use crate::reclaim::{self, Guard};
use crate::slab::{Deadline, Held, Moment, Origin, SlotNumber};
use crate::sync::yield_now;
use crate::table::{Search, Table};
use crate::time::Timestamp;

/// So often an insert that finds no slot drives reclamation before it is refused.
const ROUNDS: usize = 8;

/// From this round on it offers its processor to others: the guard that holds everything back may
/// be that of a thread that was descheduled in the middle of an operation.
const YIELD_FROM: usize = 4;

impl<K: Eq + Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    pub(super) fn insert(
        &self,
        hash: u64,
        key: K,
        value: V,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Inserted, InsertError<K, V>> {
        // The line comes while a slot is found and filled.
        self.prefetch(hash);
        let mut guard = reclaim::pin();
        let surplus = self.pay_debt(Moment::new(now), &guard);
        self.deliver(&surplus.events, &guard);
        let inserted = self.insert_one(hash, key, value, deadline, now, &mut guard);
        inserted.map(|inserted| Inserted {
            evicted: inserted.evicted + surplus.count,
            ..inserted
        })
    }

    fn insert_one(
        &self,
        hash: u64,
        key: K,
        value: V,
        deadline: Timestamp,
        now: Timestamp,
        guard: &mut Guard,
    ) -> Result<Inserted, InsertError<K, V>> {
        let (deadline, now) = (Deadline::new(deadline), Moment::new(now));
        if deadline.has_passed(now) {
            return Err(InsertError::Expired(key, value));
        }
        if self.permits.maximum() == 0 {
            return Err(InsertError::Zero(key, value));
        }
        let Route { shard, index, hash } = self.route(hash);
        let Some(held) = shard.take_slot(guard) else {
            shard.counters.exhausted();
            return Err(InsertError::Exhausted(key, value));
        };
        let guard = &*guard;
        let retire = |n: SlotNumber| shard.slab.retire(n, guard);
        let mut undelivered = Undelivered {
            core: self,
            evicted: Evicted::default(),
            guard,
        };
        let evicted = &mut undelivered.evicted;
        let filled = held.fill(hash, deadline, key, value);
        let number = filled.number();
        let mut inserted = Inserted::default();
        let mut permit = None;
        loop {
            let search = shard.table.search(
                &shard.slab,
                hash,
                true,
                // SAFETY: the walk has reached the slot, and we are pinned.
                |slot| unsafe { slot.with_body(|key, _| key == filled.key()) },
                retire,
            );
            match search {
                Search::Found { at, slot, link } => {
                    let old = shard.slab.slot(slot);
                    if !Table::supersede(old, link, number, filled.slot()) {
                        continue;
                    }
                    filled.release();
                    // The new one goes by the old one's permit.
                    drop(permit);
                    shard.publish(number, guard);
                    let reason = match old.close_deadline() {
                        Deadline::EVICTED => Reason::Evicted,
                        old if old.has_passed(now) => Reason::Expired,
                        _ => Reason::Replaced,
                    };
                    shard.finish(slot, Some(at), reason, guard);
                    inserted.replaced = true;
                    self.note(&mut evicted.events, index, slot, reason);
                    break;
                }
                Search::Absent { at } => {
                    if permit.is_none() {
                        permit = self.permits.take(index);
                    }
                    if permit.is_none() {
                        permit = self.evict(index, now, evicted, guard);
                    }
                    let Some(right) = permit.take() else {
                        shard.counters.full();
                        let (key, value) = filled.unfill();
                        return Err(InsertError::Full(key, value));
                    };
                    if shard.table.add(&shard.slab, at, number, filled.slot()) {
                        right.use_up();
                        filled.release();
                        shard.publish(number, guard);
                        break;
                    }
                    permit = Some(right);
                }
            }
        }
        inserted.evicted = evicted.count;
        Ok(inserted)
    }
}

/// What an insert has removed, told to the listener when this is dropped: last, and also if a
/// comparison panics after an eviction.
struct Undelivered<'m, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    core: &'m Core<K, V>,
    evicted: Evicted,
    guard: &'m Guard,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Drop for Undelivered<'_, K, V> {
    fn drop(&mut self) {
        self.core.deliver(&self.evicted.events, self.guard);
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Shard<K, V> {
    /// A slot for a new entry.
    #[inline]
    fn take_slot(&self, guard: &mut Guard) -> Option<Held<'_, K, V>> {
        if let Some(held) = self.take_used_slot() {
            return Some(held);
        }
        self.take_slot_slowly(guard)
    }

    /// That of an entry that has left, if one is ripe: so what leaves is dropped as soon as others
    /// come, and no reserve of free slots delays it.
    #[inline]
    fn take_used_slot(&self) -> Option<Held<'_, K, V>> {
        let ripe = self.slab.take_ripe(Origin::Single);
        ripe.or_else(|| self.slab.take_free())
    }

    #[cold]
    fn take_slot_slowly(&self, guard: &mut Guard) -> Option<Held<'_, K, V>> {
        if let Some(held) = self.slab.take_fresh() {
            self.table.grow_for(&self.slab, held.number());
            return Some(held);
        }
        for round in 0..ROUNDS {
            if round >= YIELD_FROM {
                yield_now();
            }
            self.slab.seal(Origin::Single, guard);
            self.slab.seal(Origin::Flushed, guard);
            guard.flush();
            guard.refresh();
            if let Some(held) = self.take_used_slot() {
                return Some(held);
            }
            if let Some(held) = self.slab.take_ripe(Origin::Flushed) {
                self.counters.stray();
                return Some(held);
            }
        }
        None
    }
}
