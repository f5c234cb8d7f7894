//! Doors for the models and the fuzzer: thin wrappers around what is private otherwise. No part of
//! the crate's interface; only there under `--cfg loom` and `--cfg fuzzing`.
#![allow(missing_docs, missing_debug_implementations)]

use crate::cache::automatic::{self, Left};
use crate::cache::monotonic::offset;
use crate::cache::purge;
use crate::inside::Name;
use crate::map::{parallel, permits};
use crate::segments;
use crate::slab::{self, Deadline, Exclusive, Moment, Origin};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::tournament::{self, Rank};
use crate::wheel::{self, Look, Ticks};
use crate::{Cursor, Guard, Swept, Timestamp};

/// The wheel by itself. Slots are numbers that only the caller gives a meaning.
pub struct Wheel(wheel::Wheel);

impl Wheel {
    pub fn new(tick_bits: u32, now: Timestamp) -> Self {
        let ticks = Ticks::of_shard(tick_bits, 0, 1);
        Self(wheel::Wheel::new(ticks, Moment::new(now)))
    }

    pub fn hint(&self, slot: u32, deadline: Timestamp, guard: &Guard) {
        self.0.hint(slot, Deadline::new(deadline), guard);
    }

    pub fn open(&self, at: Timestamp, guard: &Guard) -> bool {
        self.0.open(Moment::new(at), guard, || true)
    }

    /// An opener that is stopped when it has moved so many parts of ticks: the cursor moves, work is left.
    pub fn open_and_stop(&self, at: Timestamp, parts: u32, guard: &Guard) {
        let mut left = parts;
        let pay = || left.checked_sub(1).inspect(|now| left = *now).is_some();
        assert!(!self.0.open(Moment::new(at), guard, pay), "nothing is left");
    }

    /// `look` says whether it has finished with the slot.
    pub fn sweep(&self, mut look: impl FnMut(u32) -> bool) -> bool {
        let stopped = self.0.sweep_from(
            0,
            |_| (),
            |slot| {
                if look(slot) {
                    Look::Finished
                } else {
                    Look::Stay
                }
            },
        );
        stopped.is_none()
    }

    /// A part of a pass: no more than `most` looks. `true` if it has come all the way round.
    pub fn sweep_in_turn(
        &self,
        at: Timestamp,
        mut most: usize,
        mut look: impl FnMut(u32) -> bool,
    ) -> bool {
        self.0.sweep_in_turn(
            Moment::new(at),
            |_| (),
            |slot| {
                if most == 0 {
                    return Look::Stop;
                }
                most -= 1;
                if look(slot) {
                    Look::Finished
                } else {
                    Look::Stay
                }
            },
        )
    }

    /// What a sweep has found out: nothing that was in the due set at `version` expires before
    /// `until`.
    pub fn settle(&self, version: u64, until: Timestamp) {
        self.0.settle(version, Deadline::new(until));
    }

    pub fn version(&self) -> u64 {
        self.0.version()
    }

    pub fn has_due(&self, at: Timestamp) -> bool {
        self.0.has_due(Moment::new(at))
    }

    pub fn is_due_place(&self, deadline: Timestamp) -> bool {
        self.0.is_due_place(Deadline::new(deadline))
    }
}

/// The tournament by itself. What a slot says, the caller tells: its deadline, if it is live.
pub struct Tournament(tournament::Tournament);

impl Default for Tournament {
    fn default() -> Self {
        Self(tournament::Tournament::new())
    }
}

impl Tournament {
    pub fn enter(&self, slot: u32, mut reading: impl FnMut() -> Option<Timestamp>) {
        let rank = |at| Rank::of(Deadline::new(at));
        self.0.enter(slot, || reading().map_or(Rank::NOBODY, rank));
    }

    pub fn leave(&self, slot: u32) {
        self.0.leave(slot);
    }

    pub fn begin(&self) {
        self.0.begin();
    }

    pub fn is_on(&self) -> bool {
        self.0.is_on()
    }

    pub fn complete(&self) {
        self.0.complete();
    }

    pub fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    pub fn first(&self) -> Option<u32> {
        self.0.first().map(|(slot, _)| slot)
    }
}

/// The slots of a shard by themselves, with values and no keys.
pub struct Slab<V>(Arc<slab::Slab<(), V>>);

impl<V: Send + Sync + 'static> Slab<V> {
    pub fn new(limit: u32) -> Self {
        Self(Arc::new(slab::Slab::new(limit, Name::new())))
    }

    /// Moves a value into a slot, as an insert looks for one.
    pub fn enter(&self, value: V) -> Option<u32> {
        let slab = &self.0;
        let ripe = slab.take_ripe(Origin::Single);
        let held = ripe.or_else(|| slab.take_free());
        let held = held.or_else(|| slab.take_fresh())?;
        let filled = held.fill(0, Deadline::new(Timestamp::NEVER), (), value);
        let number = filled.number();
        filled.release();
        assert!(slab.slot(number).publish(), "nobody has removed it");
        Some(number)
    }

    /// Retires slots, as one chain.
    pub fn leave(&self, numbers: &[u32], guard: &Guard) {
        for &number in numbers {
            self.0.retire(number, guard);
        }
        self.0.seal(Origin::Single, guard);
    }

    /// What a flush does with what is ripe.
    pub fn recycle(&self) -> u64 {
        self.0.recycle(Origin::Single, u64::MAX)
    }

    pub fn garbage(&self) -> u64 {
        self.0.garbage()
    }

    /// As a flush asks that waits until what it retired has been dropped.
    pub fn left_to(&self, goal: u64) -> u64 {
        self.0.left_to(goal, Origin::Single)
    }

    /// What a map does when it is dropped.
    ///
    /// # Safety
    /// Nobody else uses the slab; closures may be pending.
    pub unsafe fn clear(&self) {
        // SAFETY: the caller's.
        self.0.clear_exclusive(&mut unsafe { Exclusive::new() });
    }
}

/// Segments by themselves: elements 0 to 6, in three of them.
pub struct Segments(segments::Segments<AtomicU64, 0, 3>);

impl Default for Segments {
    fn default() -> Self {
        Self(segments::Segments::new())
    }
}

impl Segments {
    /// Counts one more, in an element that may have to be allocated.
    pub fn count(&self, index: u32) {
        let element = self.0.get_or_alloc(index);
        element.fetch_add(1, Ordering::Relaxed);
    }

    pub fn get(&self, index: u32) -> Option<u64> {
        let element = self.0.get(index);
        element.map(|element| element.load(Ordering::Relaxed))
    }

    /// The counts of a segment, if it is there.
    pub fn aligned(&self, first: u32, len: usize) -> Vec<u64> {
        let elements = self.0.aligned(first, len).iter();
        elements.map(|e| e.load(Ordering::Relaxed)).collect()
    }

    /// All counts there are.
    pub fn allocated(&self) -> Vec<u64> {
        let elements = self.0.allocated(0);
        elements.map(|(_, e)| e.load(Ordering::Relaxed)).collect()
    }
}

/// What is known of purges whose sessions may still be there.
#[derive(Default)]
pub struct Purges(purge::Purges);

impl Purges {
    pub fn ask(&self) {
        self.0.ask();
    }

    pub fn are_pending(&self) -> bool {
        self.0.pending().is_some()
    }

    /// A part of a pass. `part` is told where it begins, and says where the next one does.
    pub fn go_on(&self, part: impl FnOnce(u64) -> Option<u64>) {
        self.0.go_on(|cursor| {
            let next = part(cursor.raw());
            *cursor = Cursor::from_raw(next.unwrap_or(0));
            let mut swept = Swept::default();
            swept.remaining = next.is_some();
            swept
        });
    }
}

/// When a cache flushes by itself: at every second insertion, under loom.
pub struct Automatic(automatic::Automatic);

impl Automatic {
    pub fn new(budget: usize) -> Self {
        Self(automatic::Automatic::new(Some(budget)))
    }

    /// After an insertion at `now`. `part` is told of which time the flush is, and says whether something that had expired
    /// by then is left.
    pub fn inserted(&self, now: Timestamp, part: impl FnOnce(Timestamp) -> bool) {
        let part = |turn: automatic::Turn| Left {
            expired: turn.at.is_some_and(part),
            purged: false,
            looks: 1,
        };
        self.0.inserted(|| true, now, || u64::MAX, part);
    }
}

/// The permits of a map by themselves.
pub struct Permits(permits::Permits);

impl Permits {
    pub fn new(maximum: u64, shards: usize) -> Self {
        Self(permits::Permits::new(maximum, shards))
    }

    /// As an insert does that publishes its entry.
    pub fn take(&self, shard: usize) -> bool {
        self.0.take(shard).map(permits::Permit::use_up).is_some()
    }

    pub fn give(&self, shard: usize) {
        self.0.give(shard, 1);
    }

    /// Calls `evict` if there is debt that nobody has promised to pay, and pays with what it returns
    /// the permit of.
    pub fn pay_after(&self, shard: usize, evict: impl FnOnce()) {
        if let Some(promise) = self.0.promise() {
            evict();
            self.0.give(shard, 1);
            drop(promise);
        }
    }

    pub fn set_maximum(&self, maximum: u64) {
        self.0.set_maximum(maximum);
    }

    pub fn in_use(&self) -> Option<u64> {
        self.0.in_use()
    }
}

/// Does items `0..items` of `work` on this thread and on those that `spawn` starts.
pub fn each(
    spawn: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static,
    items: usize,
    work: &(dyn Fn(usize) + Sync),
) {
    let items: Vec<usize> = (0..items).collect();
    let helpers = parallel::Helpers::custom(items.len() - 1, spawn);
    parallel::each(&helpers, &items, || true, work);
}

/// What a clock adds to the coarse one.
pub struct Offset(offset::Offset);

impl Offset {
    pub fn new(coarse: u64, offset: u64) -> Self {
        Self(offset::Offset::new(coarse, offset))
    }

    pub fn apply(&self, coarse: u64, measure: impl FnOnce() -> u64) -> u64 {
        self.0.apply(coarse, measure)
    }
}

/// Panics unless the books of a map that nobody uses at the moment are right.
#[cfg(fuzzing)]
pub fn audit<K, V, S>(map: &crate::ExpiringMap<K, V, S>)
where
    K: Send + Sync + 'static,
    V: Send + Sync + 'static,
{
    crate::map::audit::audit(map);
}

/// How old a measurement may get.
pub const REFRESH: u64 = offset::REFRESH;
