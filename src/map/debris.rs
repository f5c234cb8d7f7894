//! Reclaim: what has been removed is dropped.
//!
//! Ground rules:
//! - A value is dropped when no thread is left that was pinned when it was removed. Who calls for it here drives the
//!   epoch.
//! - Who wants it all dropped waits for threads that are pinned, or just dropping some of it, but not for long: see
//!   [`PATIENCE`]. It waits only for what was removed before it began, so that it comes to an end whatever others remove.

use std::time::{Duration, Instant};

use super::core::Core;
use crate::inside::Inside;
use crate::reclaim;
use crate::slab::Origin;
use crate::sync::atomic::Ordering;
use crate::sync::{thread, yield_now};

/// So often in a row who drops what was removed tries without getting anywhere, before it sleeps. Other threads
/// are pinned for the length of one operation, unless they hold a guard, or were descheduled.
const TRIES: u32 = if cfg!(loom) { 1 } else { 128 };

/// So long it waits in all, be it for turns that it gives to others or asleep. A thread that was descheduled while it was
/// pinned comes to its next turn when all have had theirs that want the same processor.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long a rest is at least: operating systems don't wake a thread much more exactly.
pub(crate) const REST: Duration = Duration::from_micros(100);

/// What had been removed and not dropped at some time, and how dropping it gets on.
pub(crate) struct Debris {
    goals: Vec<Goal>,
    pub(super) left: u64,
    /// How often in a row nothing of it was dropped.
    idle: u32,
    /// An outer guard of this thread's holds the epoch, or an outer call is at it already: no
    /// use in trying often.
    nested: bool,
    /// Whether it is worth sleeping for.
    rests: bool,
    patience: Duration,
}

/// What to do after a try.
pub(crate) enum Then {
    /// Nothing is left, or nothing to be hoped for.
    End,
    /// Try again at once.
    GoOn,
    /// Try again after so long; zero is a turn given to others.
    Wait(Duration),
}

/// As many slots were retired in a lane of a shard, of all that ever were.
struct Goal {
    shard: usize,
    origin: Origin,
    retired: u64,
}

impl Debris {
    fn then(&self) -> Then {
        if self.left == 0 {
            Then::End
        } else if self.idle == 0 {
            Then::GoOn
        } else if self.nested || self.patience.is_zero() {
            Then::End
        } else if self.idle < TRIES {
            Then::Wait(Duration::ZERO)
        } else if self.rests {
            Then::Wait(REST)
        } else {
            Then::End
        }
    }

    /// Who was told to wait has waited for so long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.patience = self.patience.saturating_sub(time);
    }
}

/// Waits as it is told, and says how long that was.
fn wait(time: Duration) -> Duration {
    let begun = Instant::now();
    if time.is_zero() {
        yield_now();
    } else {
        thread::sleep(time);
    }
    if cfg!(shuttle) {
        // A schedule has to be the same each time.
        Duration::ZERO
    } else {
        begun.elapsed()
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> Core<K, V> {
    /// Drops what removals of many have left.
    pub(super) fn drop_flushed(&self) {
        self.drop_garbage(&[Origin::Flushed], wait);
    }

    /// Drops what has been removed in any way. How much is left.
    pub(super) fn reclaim(&self) -> u64 {
        self.drop_garbage(&[Origin::Single, Origin::Flushed], wait);
        self.shards.iter().map(|shard| shard.slab.garbage()).sum()
    }

    /// Drives the epoch and drops what is ripe until as much has been dropped as was waiting, or
    /// nothing moves. What others retire meanwhile is not waited for.
    pub(super) fn drop_garbage(
        &self,
        origins: &[Origin],
        mut wait: impl FnMut(Duration) -> Duration,
    ) {
        let mut debris = self.debris(origins);
        if debris.left == 0 {
            return;
        }
        loop {
            match self.drop_debris(&mut debris, u64::MAX) {
                Then::End => break,
                Then::GoOn => (),
                Then::Wait(time) => debris.waited(wait(time)),
            }
        }
        if !debris.nested {
            // Relaxed: a hint.
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
        let mut debris = Debris {
            goals: origins.iter().flat_map(of).collect(),
            left: 0,
            idle: 0,
            nested: reclaim::is_pinned() || Inside::anything(),
            // Relaxed: a hint. Who holds a guard for long is slept for once, and not by each flush anew. (In models no time
            // passes.)
            rests: !cfg!(any(loom, shuttle)) && self.held_back.load(Ordering::Relaxed) == 0,
            patience: PATIENCE,
        };
        debris.left = self.left_of(&mut debris.goals);
        debris
    }

    /// How much is left, and of what.
    fn left_of(&self, goals: &mut Vec<Goal>) -> u64 {
        goals.retain(|goal| self.left(goal) != 0);
        goals.iter().map(|goal| self.left(goal)).sum()
    }

    fn left(&self, goal: &Goal) -> u64 {
        let slab = &self.shards[goal.shard].slab;
        slab.left_to(goal.retired, goal.origin)
    }

    /// Drives the epoch and drops what is ripe of it (or was removed later), `most` at the most.
    pub(super) fn drop_debris(&self, debris: &mut Debris, mut most: u64) -> Then {
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
        let left = self.left_of(&mut debris.goals);
        debris.idle = if left < debris.left {
            0
        } else {
            debris.idle + 1
        };
        debris.left = left;
        debris.then()
    }
}
