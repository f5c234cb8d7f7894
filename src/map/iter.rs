//! Iteration: weakly consistent, never blocking.

use std::fmt;
use std::marker::PhantomData;

use super::core::Core;
use super::types::Entry;
use crate::reclaim::Guard;

/// Iterates over a map's entries. Made by [`ExpiringMap::iter`](crate::ExpiringMap::iter).
pub struct Iter<'g, K: Send + Sync + 'static, V: Send + Sync + 'static> {
    core: &'g Core<K, V>,
    shard: usize,
    number: u32,
    _guard: PhantomData<&'g Guard>,
}

impl<'g, K: Send + Sync + 'static, V: Send + Sync + 'static> Iter<'g, K, V> {
    pub(super) fn new(core: &'g Core<K, V>, _guard: &'g Guard) -> Self {
        Self {
            core,
            shard: 0,
            number: 0,
            _guard: PhantomData,
        }
    }
}

impl<'g, K: Send + Sync + 'static, V: Send + Sync + 'static> Iterator for Iter<'g, K, V> {
    type Item = Entry<'g, K, V>;

    fn next(&mut self) -> Option<Entry<'g, K, V>> {
        while let Some(shard) = self.core.shards.get(self.shard) {
            while self.number < shard.slab.high_water() {
                self.number += 1;
                let Some(slot) = shard.live(self.number) else {
                    continue;
                };
                let deadline = slot.deadline();
                if deadline.is_tombstone() {
                    continue;
                }
                // SAFETY: seen live under the guard that `'g` borrows.
                return Some(unsafe { Entry::new(slot, deadline) });
            }
            self.shard += 1;
            self.number = 0;
        }
        None
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> fmt::Debug for Iter<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Iter").finish_non_exhaustive()
    }
}
