//! Insert: slot first, then permit, then publish.

use super::core::{Core, Route};
use super::evict::Evicted;
use super::shard::Shard;
use super::types::{InsertError, Inserted, Reason};
use crate::reclaim::{self, Guard};
use crate::slab::{Deadline, Filled, Held, Moment, Origin, SlotNumber};
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
        let (deadline, now) = (Deadline::new(deadline), Moment::new(now));
        let expired = deadline.has_passed(now);
        let refused = expired || self.permits.maximum() == 0;
        let route = self.route(hash);
        // Before the guard, for what was in the slot is dropped.
        let mut held = if refused {
            None
        } else {
            route.shard.take_used_slot()
        };
        let mut guard = reclaim::pin();
        if held.is_none() && !refused {
            held = route.shard.take_slot_slowly(&mut guard);
        }
        let surplus = self.pay_debt(now, &guard);
        self.deliver(&surplus.events, &guard);
        let Some(held) = held else {
            return Err(if expired {
                InsertError::Expired(key, value)
            } else if refused {
                InsertError::Zero(key, value)
            } else {
                route.shard.counters.exhausted();
                InsertError::Exhausted(key, value)
            });
        };
        step!("insert: has a slot");
        route.shard.prefetch(held.number(), deadline);
        let filled = held.fill(route.hash, deadline, key, value);
        let inserted = self.insert_filled(route, filled, now, &guard);
        inserted.map(|inserted| Inserted {
            evicted: inserted.evicted + surplus.count,
            ..inserted
        })
    }

    fn insert_filled(
        &self,
        route: Route<'_, K, V>,
        filled: Filled<'_, K, V>,
        now: Moment,
        guard: &Guard,
    ) -> Result<Inserted, InsertError<K, V>> {
        let Route { shard, index, hash } = route;
        let retire = |n: SlotNumber| shard.slab.retire(n, guard);
        let mut undelivered = Undelivered {
            core: self,
            evicted: Evicted::default(),
            guard,
        };
        let evicted = &mut undelivered.evicted;
        let number = filled.number();
        let mut inserted = Inserted::default();
        let mut permit = None;
        loop {
            let search = shard.table.search(
                &shard.slab,
                hash,
                true,
                // SAFETY: the walk has reached the slot, and we are pinned.
                |slot| unsafe { slot.with_key(|key| key == filled.key()) },
                retire,
            );
            match search {
                Search::Found { at, slot, link } => {
                    let old = shard.slab.slot(slot);
                    if !Table::supersede(old, link, number, filled.slot()) {
                        continue;
                    }
                    filled.release();
                    step!("insert: has replaced");
                    // The new one goes by the old one's permit.
                    drop(permit);
                    shard.publish(number, guard);
                    step!("insert: has published what replaces");
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
                    step!("insert: has a permit");
                    if shard.table.add(&shard.slab, at, number, filled.slot()) {
                        right.use_up();
                        filled.release();
                        step!("insert: has added");
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
    /// A slot for a new entry: that of an entry that has left, if one is ripe, so that what leaves is
    /// dropped as soon as others come, and no reserve of free slots delays it.
    #[inline]
    fn take_used_slot(&self) -> Option<Held<'_, K, V>> {
        let ripe = self.slab.take_ripe(Origin::Single);
        ripe.or_else(|| self.slab.take_free())
    }

    /// A slot that was never used, or else any that can be had.
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
            let mut held = None;
            guard.refresh_after(|| held = self.take_used_slot().or_else(|| self.take_stray()));
            if held.is_some() {
                return held;
            }
        }
        None
    }

    /// That of an entry that a flush has removed.
    fn take_stray(&self) -> Option<Held<'_, K, V>> {
        let held = self.slab.take_ripe(Origin::Flushed)?;
        self.counters.stray();
        Some(held)
    }
}
