//! The wheel: when to look at which slot.
//!
//! **The table is the truth, the wheel only holds hints.** Slot *s* in tick *t* says "*s* may be due
//! at *t*". To schedule is to add it, to re-time is to add it elsewhere, to remove early is to do
//! nothing: a stale hint costs one look. A hierarchical wheel (Varghese and Lauck 1987)
//! with 64 positions a level.
//!
//! - `cursor` is the tick up to which time has come. It only moves forwards.
//! - `place(cursor, d)`: the due set if `d <= cursor`, else the level of the highest digit in which
//!   `d` and `cursor` differ, at that digit of `d`.
//! - `horizon` is the largest tick ever hinted; the cursor stops there, so that a clock that jumps
//!   years ahead and back costs no more than the longest lifetime.
//! - `done` says up to where positions have been emptied.
//!
//! **Invariant W.** When a hint has returned, its slot stands in the tick object where `place` puts
//! its deadline, or in the due set, at every instant until the slot is removed or
//! hinted elsewhere. So no sweeper, wherever it stops, hides anything from another.
//!
//! Ground rules:
//! - Callers are pinned: tick objects are retired through the epoch.
//! - A hint adds its slot, *then* reads the cursor; an opener moves the cursor, *then* reads slots;
//!   a `SeqCst` fence lies between in both. So either the opener sees the slot, or the hint sees
//!   the cursor and goes again.
//! - The cursor carries nothing but itself, so all its accesses are Relaxed. What else has to be in
//!   order with it: that nobody reads an older one than before, or than was read by who made what is
//!   seen here (coherence of one location), and the fences.
//! - An opener moves all slots to the due set *before* it takes the object out, and raises `done`
//!   *after* that. Who stops half-way leaves `done` behind, and the next one does the work.
//! - An object found in the way of a later round is moved out likewise, by whoever finds it.

mod bits;
mod due;
mod list;
mod pass;
mod put;
mod settled;
mod stamped;
mod tick;
mod ticks;

use std::ptr;

use due::DueSet;
use pass::Pass;
use put::put;
use settled::Settled;
pub(crate) use stamped::Look;
use tick::Tick;
pub(crate) use ticks::Ticks;

use crate::geometry::{DIGIT_BITS, POSITIONS};
use crate::reclaim::Guard;
use crate::slab::{Deadline, Moment, SlotNumber};
use crate::sync::Padded;
use crate::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
use crate::tally;
use crate::time::Timestamp;

/// Where a tick's hint belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Due,
    Position { level: u32, number: u64 },
}

/// When a sweep may next have something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Something is in the due set, or about to be put there: then it has no deadline before this.
    Due(Timestamp),
    /// From this time on.
    From(Timestamp),
    Nothing,
}

pub(crate) struct Wheel {
    ticks: Ticks,
    cursor: Padded<AtomicU64>,
    done: AtomicU64,
    horizon: AtomicU64,
    /// The highest slot ever hinted.
    reach: AtomicU32,
    /// Level by level.
    positions: Box<[AtomicPtr<Tick>]>,
    due: DueSet,
    pass: Pass,
    settled: Settled,
}

impl Wheel {
    pub(crate) fn new(ticks: Ticks, now: Moment) -> Self {
        let start = ticks.due_at(now);
        Self {
            ticks,
            cursor: Padded(AtomicU64::new(start)),
            done: AtomicU64::new(start),
            horizon: AtomicU64::new(start),
            reach: AtomicU32::new(0),
            positions: (0..ticks.levels() * POSITIONS)
                .map(|_| AtomicPtr::new(ptr::null_mut()))
                .collect(),
            due: DueSet::new(),
            pass: Pass::new(),
            settled: Settled::new(),
        }
    }

    fn levels(&self) -> u32 {
        self.positions.len() as u32 / POSITIONS
    }

    #[inline]
    fn position(&self, level: u32, number: u64) -> &AtomicPtr<Tick> {
        let digit = (number % u64::from(POSITIONS)) as u32;
        &self.positions[(level * POSITIONS + digit) as usize]
    }

    /// Says that `slot` may be due after `deadline`. Called after the slot is linked, or re-timed.
    pub(crate) fn hint(&self, slot: SlotNumber, deadline: Deadline, guard: &Guard) {
        if deadline.is_never() {
            return;
        }
        let tick = self.ticks.of(deadline);
        // Relaxed: a flush that begins after this insert has returned sees it by whatever told its
        // caller so; an earlier one may leave this slot alone.
        if self.horizon.load(Ordering::Relaxed) < tick {
            self.horizon.fetch_max(tick, Ordering::Relaxed);
        }
        // Relaxed, here and in `prefetch`: it only decides how a tick keeps the slot.
        let mut reach = self.reach.load(Ordering::Relaxed);
        if reach < slot {
            let before = self.reach.fetch_max(slot, Ordering::Relaxed);
            self.due.prepare(slot, before);
            reach = before.max(slot);
        }
        // Relaxed: an old one leads to a place where the fence below tells, or a newer object.
        let mut cursor = self.cursor.load(Ordering::Relaxed);
        loop {
            let Place::Position { level, number } = place(cursor, tick) else {
                self.due.set(slot);
                step!("hint: has added to the due set");
                return;
            };
            let cell = self.position(level, number);
            // Acquire: partner of the Release in `put`; with that, what is read of the cursor from
            // here on is no older than what the installer of a newer object had read.
            let mut object = cell.load(Ordering::Acquire);
            if object.is_null() {
                tally::tick_allocated();
                object = put(cell, ptr::null_mut(), Tick::new(number));
                step!("hint: has made a tick");
            }
            // SAFETY: we are pinned, and objects are retired through the epoch.
            let found = unsafe { &*object };
            if found.number() < number {
                // Left over from an earlier round, whose time has come: `cursor`, which we read,
                // lies beyond it. The fence is the one an opener makes after that.
                fence(Ordering::SeqCst);
                found.move_to(&self.due, || true);
                step!("hint: has moved an older round out");
                self.take_out(cell, object, guard);
                continue;
            }
            if found.number() == number {
                step!("hint: has a tick");
                found.set(slot, reach);
                step!("hint: has added");
                // Partner: the fence in `open` (and the one above). Without it the opener could
                // miss the slot while we miss the cursor, and the hint would be lost.
                fence(Ordering::SeqCst);
                let now = self.cursor.load(Ordering::Relaxed);
                if now < first_tick(level, number) {
                    return;
                }
                cursor = now;
                continue;
            }
            // A newer object: its installer had read a later cursor than we have, and so do we now.
            cursor = self.cursor.load(Ordering::Relaxed);
        }
    }

    /// Asks for the line in which a hint would set its bit.
    #[inline]
    pub(crate) fn prefetch(&self, slot: SlotNumber, deadline: Deadline) {
        // Relaxed: an old cursor asks for another line than is needed.
        let cursor = self.cursor.load(Ordering::Relaxed);
        if let Place::Position { level, number } = place(cursor, self.ticks.of(deadline)) {
            if let Some(found) = self.found(level, number) {
                found.prefetch(slot, self.reach.load(Ordering::Relaxed));
            }
        }
    }

    /// Where `at` would move the cursor.
    fn target(&self, at: Moment) -> u64 {
        let horizon = self.horizon.load(Ordering::Relaxed); // as in `hint`
        self.ticks.due_at(at).min(horizon)
    }

    /// Moves time forwards to `at`, and what has become due to the due set. `pay` is asked before
    /// each part of a tick; `false` if it refused, and the next call goes on.
    pub(crate) fn open(&self, at: Moment, guard: &Guard, mut pay: impl FnMut() -> bool) -> bool {
        let target = self.target(at);
        let mut cursor = self.cursor.load(Ordering::Relaxed);
        if cursor < target {
            cursor = self.cursor.fetch_max(target, Ordering::Relaxed).max(target);
            step!("open: has moved the cursor");
        }
        // Acquire: partner of the Release at the end; who skips the work knows it is done.
        let done = self.done.load(Ordering::Acquire);
        if done >= cursor {
            return true;
        }
        // Partner: the fence in `hint`. The cursor is read or written before, slots are read after.
        fence(Ordering::SeqCst);
        for level in 0..self.levels() {
            for number in self.numbers(level, done, cursor) {
                let cell = self.position(level, number);
                let object = cell.load(Ordering::Acquire); // as in `hint`
                if object.is_null() {
                    continue;
                }
                // SAFETY: as in `hint`.
                let found = unsafe { &*object };
                if first_tick(level, found.number()) > cursor {
                    continue;
                }
                if !found.move_to(&self.due, &mut pay) {
                    return false;
                }
                step!("open: has moved a tick");
                self.take_out(cell, object, guard);
                step!("open: has taken a tick out");
            }
        }
        step!("open: has moved all");
        // Release: all of it is in the due set before anyone reads that it is.
        self.done.fetch_max(cursor, Ordering::Release);
        true
    }

    /// The spans of a level that begin after tick `done` and not after `cursor`: the last round.
    fn numbers(&self, level: u32, done: u64, cursor: u64) -> std::ops::RangeInclusive<u64> {
        let shift = level * DIGIT_BITS;
        let to = cursor >> shift;
        let from = (done >> shift) + 1;
        from.max(to.saturating_sub(u64::from(POSITIONS) - 1))..=to
    }

    fn take_out(&self, cell: &AtomicPtr<Tick>, object: *mut Tick, guard: &Guard) {
        // Release: who finds the position empty (or what was put there later) finds its slots in the
        // due set, and the cursor that they went there by. Not Acquire: who loaded the pointer made
        // that, and as long as we are pinned no other object is at that address.
        let taken = cell.compare_exchange(
            object,
            ptr::null_mut(),
            Ordering::Release,
            Ordering::Relaxed,
        );
        if taken.is_ok() {
            let object = Retired(object);
            guard.defer(move || drop(object));
        }
    }

    /// A pass over the due set from a slot on. If `look` stops it: the slot at which it did. `soon` is told of a
    /// slot some looks before.
    pub(crate) fn sweep_from(
        &self,
        first: SlotNumber,
        soon: impl Fn(SlotNumber),
        look: impl FnMut(SlotNumber) -> Look,
    ) -> Option<SlotNumber> {
        self.due.sweep_range(first..SlotNumber::MAX, soon, look)
    }

    /// Changes whenever a slot is added to the due set.
    pub(crate) fn version(&self) -> u64 {
        self.due.version()
    }

    /// Notes that a pass over all of the due set, begun at `version`, has found no deadline before
    /// `until`.
    pub(crate) fn settle(&self, version: u64, until: Deadline) {
        self.settled.note(version, until);
    }

    /// A part of a pass over the due set, for looks that remove what has expired at `at`. `true` if
    /// the whole set has now been looked at, by this call and those before it.
    pub(crate) fn sweep_in_turn(
        &self,
        at: Moment,
        soon: impl Fn(SlotNumber),
        look: impl FnMut(SlotNumber) -> Look,
    ) -> bool {
        self.pass.sweep(&self.due, at, soon, look)
    }

    /// Whether a deadline still belongs in the due set.
    pub(crate) fn is_due_place(&self, deadline: Deadline) -> bool {
        // Relaxed: an old cursor only leads to a hint, which finds out.
        let cursor = self.cursor.load(Ordering::Relaxed);
        place(cursor, self.ticks.of(deadline)) == Place::Due
    }

    /// Whether a flush at `at` would find anything to do beyond moving the cursor.
    pub(crate) fn has_due(&self, at: Moment) -> bool {
        let cursor = self.cursor.load(Ordering::Relaxed);
        // Acquire: as in `open`. It goes for this cursor, however late that was read.
        let done = self.done.load(Ordering::Acquire);
        if done < cursor || !(self.due.is_empty() || self.settled.covers(&self.due, at)) {
            return true;
        }
        let target = self.target(at);
        let hinted = (0..self.levels()).any(|level| {
            self.numbers(level, done, target)
                .filter_map(|number| self.found(level, number))
                .any(|found| first_tick(level, found.number()) <= target)
        });
        // Another flush may have moved something to the due set behind our back, after we had looked
        // there. It has moved the cursor before, and where we found its object gone (Release in
        // `take_out`, Acquire in `found`) that is visible.
        hinted || self.cursor.load(Ordering::Relaxed) != cursor
    }

    /// The object at a position. The caller is pinned for as long as it looks at it.
    #[inline]
    fn found(&self, level: u32, number: u64) -> Option<&Tick> {
        // Acquire: partner of the Release in `put`, and of that in `take_out`: who finds nothing here
        // reads a later cursor than the hints had by which it was something.
        let object = self.position(level, number).load(Ordering::Acquire);
        // SAFETY: as in `hint`.
        unsafe { object.as_ref() }
    }

    /// Calls `f` with the first ticks of the spans behind the cursor in which there may be hints.
    fn each_span(&self, cursor: u64, mut f: impl FnMut(u64)) {
        for level in 0..self.levels() {
            // Behind the cursor's own digit, to the end of its block: what comes later stands on
            // the levels above.
            let own = cursor >> (level * DIGIT_BITS);
            for number in own + 1..=(own | u64::from(POSITIONS - 1)) {
                let found = self.found(level, number);
                if found.is_some_and(|found| found.number() == number) {
                    f(first_tick(level, number));
                }
            }
        }
    }

    /// When a flush may next have something to do. `deadline_of` gives the deadline of a slot that
    /// is live. Never later than the earliest deadline hinted.
    pub(crate) fn next(&self, deadline_of: impl FnMut(SlotNumber) -> Option<Deadline>) -> Next {
        // Acquire: as in `open`. It also makes the cursor no older than this.
        let done = self.done.load(Ordering::Acquire);
        let cursor = self.cursor.load(Ordering::Relaxed);
        if done < cursor {
            return Next::Due(self.ticks.begin(done + 1));
        }
        // Slots in the due set may be on their way to a tick behind that of an object.
        let mut earliest = self.earliest_due(deadline_of);
        self.each_span(cursor, |tick| {
            let at = self.ticks.begin(tick);
            earliest = Some(earliest.map_or(at, |e| e.min(at)));
        });
        if self.cursor.load(Ordering::Relaxed) != cursor {
            // Something may have gone to the due set behind our back: as in `has_due`.
            return Next::Due(self.ticks.begin(cursor + 1));
        }
        match earliest {
            Some(at) => Next::From(Timestamp::from_nanos(at.as_nanos().saturating_add(1))),
            None => Next::Nothing,
        }
    }

    /// The earliest deadline in the due set.
    pub(crate) fn earliest_due(
        &self,
        deadline_of: impl FnMut(SlotNumber) -> Option<Deadline>,
    ) -> Option<Timestamp> {
        let due = self.due.from(0).filter_map(deadline_of);
        due.map(Deadline::timestamp).min()
    }
}

impl Drop for Wheel {
    fn drop(&mut self) {
        for cell in &self.positions {
            let object = cell.load(Ordering::Relaxed); // `&mut self`
            if !object.is_null() {
                // SAFETY: made by `put`; nobody else can reach this wheel any more, and
                // objects taken out before are owned by their deferred closures.
                drop(unsafe { Box::from_raw(object) });
            }
        }
    }
}

/// The first tick of a span.
#[inline]
fn first_tick(level: u32, number: u64) -> u64 {
    number << (level * DIGIT_BITS)
}

/// A tick that was taken out.
struct Retired(*mut Tick);

// SAFETY: the last owner of a tick may be any thread: it is plain data and atomics.
unsafe impl Send for Retired {}

impl Drop for Retired {
    fn drop(&mut self) {
        // SAFETY: made by `put` from a box, and taken out by exactly one thread, which made this.
        // It deferred the drop, so that whoever had found the tick by then is gone.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

#[inline]
fn place(cursor: u64, tick: u64) -> Place {
    if tick <= cursor {
        return Place::Due;
    }
    let level = (63 - (tick ^ cursor).leading_zeros()) / DIGIT_BITS;
    Place::Position {
        level,
        number: tick >> (level * DIGIT_BITS),
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
