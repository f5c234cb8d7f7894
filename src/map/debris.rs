//! Reclaim: what has been removed is dropped.
//!
//! Ground rules:
//! - A value is dropped when no thread is left that was pinned when it was removed; who drops it drives the epoch.
//! - Values are dropped while no guard of the caller's own is held: their destructors are strangers'.
//! - Who wants it all dropped waits for threads that are pinned, but not for long: see [`PATIENCE`]. It waits only for
//!   what was removed before it began, so that it comes to an end whatever others remove.

use std::time::{Duration, Instant};

use super::core::Core;
use crate::inside::Inside;
use crate::reclaim;
use crate::slab::Origin;
use crate::sync::atomic::Ordering;
use crate::sync::{thread, yield_now};

/// So often in a row who drops what was removed tries without getting anywhere. Other threads
/// are pinned for the length of one operation, unless they hold a guard, or were descheduled.
const TRIES: u32 = if cfg!(loom) { 1 } else { 128 };

/// And then with rests in between, of so much time in all. A thread that was descheduled while it was pinned comes to its
/// next turn when all have had theirs that want the same processor, 3 to 4 ms each.
const PATIENCE: Duration = Duration::from_millis(if cfg!(any(loom, shuttle)) { 0 } else { 20 });

/// How long a rest is at least: operating systems don't wake a thread much more exactly.
pub(crate) const REST: Duration = Duration::from_micros(100);

/// What had been removed and not dropped at some time.
pub(crate) struct Debris {
    goals: Vec<Goal>,
    left: u64,
    /// How often in a row nothing of it was dropped.
    idle: u32,
}

/// As many slots were retired in a lane of a shard, of all that ever were.
struct Goal {
    shard: usize,
    origin: Origin,
    retired: u64,
}

impl Debris {
    /// Whether the last try was in vain.
    pub(crate) fn is_stuck(&self) -> bool {
        self.idle != 0
    }

    /// Whether there is something left, and some use in trying again.
    pub(crate) fn is_worth_a_try(&self) -> bool {
        self.left != 0 && self.idle < TRIES
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// Drives the epoch and drops what is ripe until as much has been dropped as was waiting, or
    /// nothing moves. What others retire meanwhile is not waited for.
    pub(super) fn drop_garbage(&self, origins: &[Origin]) {
        self.drop_garbage_resting(origins, |time| {
            let begun = Instant::now();
            thread::sleep(time);
            begun.elapsed()
        });
    }

    /// `rest` rests for about as long as it is told, and says how long it was.
    pub(super) fn drop_garbage_resting(
        &self,
        origins: &[Origin],
        mut rest: impl FnMut(Duration) -> Duration,
    ) {
        let mut debris = self.debris(origins);
        if debris.left == 0 {
            return;
        }
        // An outer guard of this thread's holds the epoch, or an outer call is at it already: no
        // use in trying often.
        let nested = reclaim::is_pinned() || Inside::anything();
        // Relaxed: a hint. Who holds a guard for long is waited for once, and not by each flush anew.
        let mut patience = if nested || self.held_back.load(Ordering::Relaxed) != 0 {
            Duration::ZERO
        } else {
            PATIENCE
        };
        while self.drop_debris(&mut debris, u64::MAX) != 0 {
            if !debris.is_stuck() {
                continue;
            }
            if debris.is_worth_a_try() && !nested {
                yield_now();
            } else if patience.is_zero() {
                break;
            } else {
                patience = patience.saturating_sub(rest(REST));
            }
        }
        if !nested {
            let held_back = usize::from(debris.left != 0);
            self.held_back.store(held_back, Ordering::Relaxed);
        }
    }

    /// What has been removed so far and not dropped.
    pub(super) fn debris(&self, origins: &[Origin]) -> Debris {
        let goal = |shard: usize, origin| Goal {
            shard,
            origin,
            retired: self.shards[shard].slab.retired(origin),
        };
        let shards = 0..self.shards.len();
        let of = |&origin| shards.clone().map(move |shard| goal(shard, origin));
        let mut goals: Vec<Goal> = origins.iter().flat_map(of).collect();
        goals.retain(|goal| self.left(goal) != 0);
        let left = goals.iter().map(|goal| self.left(goal)).sum();
        Debris {
            goals,
            left,
            idle: 0,
        }
    }

    fn left(&self, goal: &Goal) -> u64 {
        let slab = &self.shards[goal.shard].slab;
        slab.left_to(goal.retired, goal.origin)
    }

    /// Drives the epoch and drops what is ripe of it (or was removed later), `most` at the most. How much is
    /// left.
    pub(super) fn drop_debris(&self, debris: &mut Debris, mut most: u64) -> u64 {
        let mut guard = reclaim::pin();
        for goal in &debris.goals {
            self.shards[goal.shard].slab.seal(goal.origin, &guard);
        }
        guard.flush();
        guard.refresh();
        guard.flush();
        drop(guard);
        for goal in &debris.goals {
            most -= self.shards[goal.shard].slab.recycle(goal.origin, most);
        }
        let left = debris.goals.iter().map(|goal| self.left(goal)).sum();
        debris.idle = if left < debris.left {
            0
        } else {
            debris.idle + 1
        };
        debris.left = left;
        left
    }

    pub(super) fn reclaim(&self) -> u64 {
        self.drop_garbage(&[Origin::Single, Origin::Flushed]);
        self.shards.iter().map(|shard| shard.slab.garbage()).sum()
    }
}
