//! What the operations share. The public map adds the hasher and the documentation.

use super::hash;
use super::notify::Event;
use super::parallel::Helpers;
use super::permits::{self, Permits, UNLIMITED};
use super::shard::Shard;
use super::stats::Stats;
use super::types::Reason;
use crate::inside::Name;
use crate::reclaim::{self, Guard};
use crate::slab::{Exclusive, Moment, SlotNumber};
use crate::sync::Padded;
use crate::sync::atomic::AtomicUsize;
use crate::wheel::Ticks;

pub(super) type Listener<K, V> = Box<dyn Fn(&K, &V, Reason) + Send + Sync>;

pub(super) struct Core<K: Send + Sync + 'static, V: Send + Sync + 'static> {
    /// A power of two of them.
    pub(super) shards: Box<[Padded<Shard<K, V>>]>,
    pub(super) permits: Permits,
    pub(super) listener: Option<Listener<K, V>>,
    pub(super) helpers: Helpers,
    /// Which shard the next bounded flush begins with.
    pub(super) flush_rotor: AtomicUsize,
    /// From which shard the next surplus entry leaves.
    pub(super) surplus_rotor: AtomicUsize,
    /// Whether a thread calls the roll before it gives up.
    pub(super) rolling: AtomicUsize,
    /// Whether who last dropped what was removed has left some of it.
    pub(super) held_back: AtomicUsize,
}

/// A shard, its number, and the hash by which its table looks.
pub(super) struct Route<'m, K, V> {
    pub(super) shard: &'m Shard<K, V>,
    pub(super) index: usize,
    pub(super) hash: u32,
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    pub(super) fn new(
        shards: usize,
        maximum: u64,
        tick_bits: u32,
        now: Moment,
        listener: Option<Listener<K, V>>,
        helpers: Helpers,
    ) -> Self {
        let slots = permits::slots_per_shard(maximum, shards as u64);
        let name = Name::new();
        let shard = |index| {
            let ticks = Ticks::of_shard(tick_bits, index, shards);
            Padded(Shard::new(slots, ticks, now, name.clone()))
        };
        let core = Self {
            shards: (0..shards).map(shard).collect(),
            permits: Permits::new(maximum, shards),
            listener,
            helpers,
            flush_rotor: AtomicUsize::new(0),
            surplus_rotor: AtomicUsize::new(0),
            rolling: AtomicUsize::new(0),
            held_back: AtomicUsize::new(0),
        };
        core.prepare_for(maximum);
        core
    }

    /// Lets the entries compete for who leaves first, once there is a maximum.
    fn prepare_for(&self, maximum: u64) {
        if maximum == UNLIMITED {
            return;
        }
        for shard in &self.shards {
            let _guard = reclaim::pin();
            // Whoever comes before the roll is called to its end calls it too.
            if !shard.tournament.is_complete() {
                shard.tournament.begin();
                shard.call_the_roll();
                shard.tournament.complete();
            }
        }
    }

    #[inline]
    pub(super) fn route(&self, hash: u64) -> Route<'_, K, V> {
        let (index, hash) = hash::split(hash, self.shards.len());
        Route {
            shard: &self.shards[index],
            index,
            hash,
        }
    }

    /// Asks for the line of a hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        let Route { shard, hash, .. } = self.route(hash);
        shard.table.prefetch(hash);
    }

    /// What it was before.
    pub(super) fn set_maximum(&self, maximum: u64) -> u64 {
        self.prepare_for(maximum);
        let before = self.permits.set_maximum(maximum);
        // Again if another call came in between: the limits have to be those of the last maximum.
        loop {
            let maximum = self.permits.maximum();
            let slots = permits::slots_per_shard(maximum, self.shards.len() as u64);
            for shard in &self.shards {
                shard.slab.set_limit(slots);
            }
            if self.permits.maximum() == maximum {
                return before;
            }
        }
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.permits.in_use().unwrap_or_else(|| {
            // An upper bound.
            self.slots().min(self.permits.maximum())
        })
    }

    /// Slots ever used.
    pub(super) fn slots(&self) -> u64 {
        let each = self.shards.iter().map(|s| s.slab.high_water());
        each.map(u64::from).sum()
    }

    /// Tells the listener of one entry.
    #[inline]
    pub(super) fn deliver_one(
        &self,
        index: usize,
        slot: SlotNumber,
        reason: Reason,
        guard: &Guard,
    ) {
        if self.has_listener() {
            let shard = index as u32;
            self.deliver(
                &[Event {
                    shard,
                    slot,
                    reason,
                }],
                guard,
            );
        }
    }

    pub(super) fn stats(&self) -> Stats {
        let mut stats = Stats {
            live: self.len(),
            slots: self.slots(),
            ..Stats::default()
        };
        for shard in &self.shards {
            shard.counters.add_to(&mut stats);
            stats.garbage += shard.slab.garbage();
            stats.drop_panics += shard.slab.drop_panics();
        }
        stats
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Drop for Core<K, V> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`, and references handed out borrow the map. Deferred closures hold
        // the slabs, so without this the bodies would live until the last closure has run.
        let mut exclusive = unsafe { Exclusive::new() };
        for shard in &self.shards {
            shard.slab.clear_exclusive(&mut exclusive);
        }
    }
}
