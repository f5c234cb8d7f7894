//! One thread at a time: where hints go, what is opened when, and what half-way openers leave.

use super::*;
use crate::geometry::{FEW, LIST_CHUNK, LIST_SHARE, PAGE_WORDS};

const TICK_BITS: u32 = 4;
const SHARDS: usize = 4;

fn deadline(tick: u64) -> Deadline {
    Deadline::new(Timestamp::from_nanos(tick << TICK_BITS))
}

/// A time at which everything up to `tick` may be due.
fn reached(tick: u64) -> Moment {
    Moment::new(Timestamp::from_nanos((tick << TICK_BITS) + 1))
}

/// Of the only shard: it is not ahead of the clock.
fn wheel_at(tick: u64) -> Wheel {
    wheel_of(0, tick)
}

fn wheel_of(shard: usize, tick: u64) -> Wheel {
    Wheel::new(Ticks::of_shard(TICK_BITS, shard, SHARDS), reached(tick))
}

fn due(wheel: &Wheel) -> Vec<SlotNumber> {
    wheel.due.from(0).collect()
}

fn open(wheel: &Wheel, tick: u64) {
    assert!(wheel.open(reached(tick), &crate::pin(), || true));
}

/// Puts what is in the due set but not due back into the wheel.
fn cascade(wheel: &Wheel, deadline_of: impl Fn(SlotNumber) -> Deadline) {
    let guard = crate::pin();
    wheel.sweep_from(
        0,
        |_| (),
        |slot| {
            let deadline = deadline_of(slot);
            if wheel.is_due_place(deadline) {
                return Look::Stay;
            }
            wheel.hint(slot, deadline, &guard);
            Look::Finished
        },
    );
}

#[test]
fn a_place_is_the_highest_digit_that_differs() {
    let at = |cursor, tick| place(cursor, tick);
    let position = |level, number| Place::Position { level, number };
    let p = u64::from(POSITIONS);
    assert_eq!(at(5, 5), Place::Due);
    assert_eq!(at(5, 4), Place::Due);
    assert_eq!(at(0, 1), position(0, 1));
    assert_eq!(at(0, p - 1), position(0, p - 1));
    assert_eq!(at(0, p), position(1, 1));
    assert_eq!(at(p - 1, p), position(1, 1));
    assert_eq!(at(p, p + 1), position(0, p + 1));
    assert_eq!(at(0, p * p + 7), position(2, 1));
}

#[test]
fn every_slot_becomes_due_at_its_tick_and_not_before() {
    // Ticks on all sides of level boundaries.
    let p = u64::from(POSITIONS);
    let ticks: Vec<u64> = [
        1,
        2,
        p - 1,
        p,
        p + 1,
        2 * p,
        p * p - 1,
        p * p,
        p * p + p + 1,
    ]
    .into_iter()
    .flat_map(|t| [t, t + 1])
    .collect();
    let starts = [0, 1, p - 1, p, p * p - 2];
    for (shard, start) in (0..SHARDS).flat_map(|shard| starts.map(|start| (shard, start))) {
        let wheel = wheel_of(shard, start);
        let guard = crate::pin();
        let of = |slot: SlotNumber| deadline(start + ticks[slot as usize - 1]);
        for slot in 1..=ticks.len() as u32 {
            wheel.hint(slot, of(slot), &guard);
        }
        for tick in start..=start + p * p + p + 2 {
            open(&wheel, tick);
            cascade(&wheel, of);
            let expected: Vec<u32> = (1..=ticks.len() as u32)
                .filter(|&slot| start + ticks[slot as usize - 1] <= tick)
                .collect();
            assert_eq!(
                due(&wheel),
                expected,
                "shard {shard} from {start} at {tick}"
            );
        }
    }
}

#[test]
fn the_past_goes_to_the_due_set_and_never_goes_nowhere() {
    let wheel = wheel_at(100);
    let guard = crate::pin();
    wheel.hint(3, deadline(99), &guard);
    wheel.hint(4, deadline(100), &guard);
    wheel.hint(5, Deadline::NEVER, &guard);
    assert_eq!(due(&wheel), [3, 4]);
    assert_eq!(wheel.horizon.load(Ordering::Relaxed), 100);
}

#[test]
fn the_cursor_stops_at_the_horizon() {
    let wheel = wheel_at(10);
    wheel.hint(1, deadline(500), &crate::pin());
    open(&wheel, 1 << 40);
    assert_eq!(wheel.cursor.load(Ordering::Relaxed), 500);
    assert_eq!(due(&wheel), [1]);
    // Back in ordinary times a later deadline goes to the wheel, not to the due set.
    wheel.hint(2, deadline(501), &crate::pin());
    assert_eq!(due(&wheel), [1]);
}

#[test]
fn an_opener_that_stops_leaves_the_work_to_the_next() {
    let wheel = wheel_at(0);
    let guard = crate::pin();
    for slot in 1..=4 {
        wheel.hint(slot * 600, deadline(u64::from(slot)), &guard);
    }
    let mut parts = 2;
    let finished = wheel.open(reached(4), &guard, || {
        parts -= 1;
        parts >= 0
    });
    assert!(!finished);
    assert_eq!(due(&wheel), [600, 1200]);
    assert_eq!(wheel.done.load(Ordering::Relaxed), 0);
    // What has been moved is in the due set; the others come after the tick in which they began.
    assert_eq!(
        wheel.next(|_| None),
        Next::Due(Timestamp::from_nanos(1 << TICK_BITS))
    );
    assert_eq!(
        wheel.earliest_due(|slot| Some(deadline(u64::from(slot / 600)))),
        Some(deadline(1).timestamp())
    );
    // An opener at an earlier time does all of it.
    open(&wheel, 1);
    assert_eq!(due(&wheel), [600, 1200, 1800, 2400]);
    assert_eq!(wheel.done.load(Ordering::Relaxed), 4);
}

#[test]
fn an_opener_may_stop_between_any_two_parts_of_a_tick() {
    const SLOTS: u32 = 4_000;
    let wheel = wheel_at(0);
    let guard = crate::pin();
    // The highest first, so that there is room for all who are kept by their numbers.
    for slot in (1..=SLOTS).rev() {
        wheel.hint(slot, deadline(1), &guard);
    }
    let listed = SLOTS / LIST_SHARE;
    let paged = SLOTS - listed - FEW as u32;
    let pages = paged / (u64::BITS * PAGE_WORDS) + 1;
    let parts = 1 + listed.div_ceil(LIST_CHUNK as u32) + pages;
    let mut moved = 0;
    for part in 1..=parts {
        let mut left = 1;
        let finished = wheel.open(reached(1), &guard, || {
            left -= 1;
            left >= 0
        });
        assert_eq!(finished, part == parts, "at {part} of {parts}");
        let now = due(&wheel).len();
        assert!(now > moved, "nothing new at {part} of {parts}");
        moved = now;
    }
    assert_eq!(moved, SLOTS as usize);
}

#[test]
fn an_object_in_the_way_of_a_later_round_is_moved_out() {
    // An opener advanced the cursor and was stopped before it emptied anything.
    let wheel = wheel_at(0);
    let guard = crate::pin();
    let p = u64::from(POSITIONS);
    wheel.hint(1, deadline(2), &guard);
    wheel.horizon.store(p + 1, Ordering::Relaxed);
    assert!(!wheel.open(reached(p + 1), &guard, || false));
    assert_eq!(due(&wheel), [] as [u32; 0]);
    // The same position, one round later.
    wheel.hint(2, deadline(p + 2), &guard);
    assert_eq!(due(&wheel), [1], "the older hint is due, not lost");
    open(&wheel, p + 2);
    assert_eq!(due(&wheel), [1, 2]);
}

#[test]
fn next_tells_when_and_then_there_is_progress() {
    let wheel = wheel_at(0);
    let guard = crate::pin();
    assert_eq!(wheel.next(|_| None), Next::Nothing);
    let p = u64::from(POSITIONS);
    let of = |_| deadline(p + 9);
    wheel.hint(7, of(7), &guard);
    let mut steps = 0;
    while due(&wheel) != [7] {
        let Next::From(at) = wheel.next(|slot| Some(of(slot))) else {
            panic!("something is hinted");
        };
        assert!(at.as_nanos() <= ((p + 9) << TICK_BITS) + 1);
        assert!(wheel.open(Moment::new(at), &guard, || true));
        cascade(&wheel, of);
        steps += 1;
        assert!(steps <= wheel.levels());
    }
}

#[test]
fn there_is_something_due_when_its_tick_has_begun() {
    let wheel = wheel_at(0);
    let guard = crate::pin();
    let has_due = |tick| wheel.has_due(reached(tick));
    assert!(!has_due(0) && !has_due(1 << 40), "nothing was ever hinted");
    let p = u64::from(POSITIONS);
    wheel.hint(1, deadline(p), &guard);
    assert!(!has_due(p - 1) && has_due(p) && has_due(1 << 40));
    // An opener who is stopped has moved the cursor.
    assert!(!wheel.open(reached(p), &guard, || false));
    assert!(has_due(0), "what was left undone");
    open(&wheel, p);
    assert_eq!(due(&wheel), [1]);
    assert!(has_due(0), "it is in the due set, and nobody has looked");
    wheel.sweep_from(0, |_| (), |_| Look::Finished);
    assert!(!has_due(1 << 40));
}

#[test]
fn what_was_looked_at_is_due_at_its_time_or_after_an_addition() {
    let wheel = wheel_at(0);
    let guard = crate::pin();
    let early = Deadline::new(Timestamp::from_nanos(3));
    let has_due = |nanos| wheel.has_due(Moment::new(Timestamp::from_nanos(nanos)));
    wheel.hint(1, early, &guard);
    let version = wheel.version();
    assert!(has_due(2));
    wheel.settle(version, early);
    assert!(!has_due(3) && has_due(4));
    wheel.hint(2, early, &guard);
    assert_ne!(wheel.version(), version);
    assert!(has_due(3));
    wheel.settle(version, early);
    assert!(has_due(3), "of a pass from before the addition");
}

#[test]
fn who_asks_when_next_learns_that_time_has_gone_on_meanwhile() {
    let wheel = wheel_at(5);
    let guard = crate::pin();
    wheel.hint(1, deadline(5), &guard);
    wheel.hint(2, deadline(9), &guard);
    let next = wheel.next(|_| {
        open(&wheel, 9);
        Some(deadline(5))
    });
    assert_eq!(next, Next::Due(Timestamp::from_nanos(6 << TICK_BITS)));
}
