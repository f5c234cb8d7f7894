//! One thread: what the lanes count, and in which order what they hold comes back.

use std::time::{Duration, Instant};

use super::*;
use crate::inside::Name;
use crate::reclaim;

type Value = Arc<()>;

/// However slow the machine is, and however many tests are pinned for a moment.
const PATIENCE: Duration = Duration::from_secs(if cfg!(miri) { 600 } else { 10 });

/// A slab with values that are counted: by the clones of this one.
struct Slots {
    slab: Arc<Slab<u32, Value>>,
    value: Value,
}

impl Slots {
    fn new(limit: u32) -> Self {
        Self {
            slab: Arc::new(Slab::new(limit, Name::new())),
            value: Value::new(()),
        }
    }

    /// Fresh ones, as if they were in the table.
    fn linked(&self, slots: u32) -> Vec<SlotNumber> {
        let link = |_| {
            let held = self.slab.take_fresh().expect("within the limit");
            let number = held.number();
            held.fill(0, Deadline::NEVER, 7, Arc::clone(&self.value))
                .release();
            assert!(self.slab.slot(number).publish());
            number
        };
        (0..slots).map(link).collect()
    }

    fn retire(&self, numbers: &[SlotNumber]) {
        let guard = reclaim::pin();
        for &number in numbers {
            self.slab.retire(number, &guard);
        }
    }

    fn pending(&self, origin: Origin) -> u64 {
        self.slab.lane(origin).pending.load(Ordering::Relaxed) >> 32
    }

    /// Waits for those that are retired: tests beside this one are pinned too.
    fn ripen(&self, origin: Origin) {
        let lane = self.slab.lane(origin);
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "nothing ripens");
            let guard = reclaim::pin();
            self.slab.seal(origin, &guard);
            guard.flush();
            drop(guard);
            let mut ripe = 0;
            for half in &lane.limbo {
                let mut next = half.load(Ordering::Acquire) as u32;
                while next != 0 {
                    ripe += 1;
                    next = self.slab.behind(next);
                }
            }
            if ripe == lane.garbage() {
                return;
            }
            crate::sync::thread::yield_now();
        }
    }

    /// So many values are there.
    fn values(&self) -> usize {
        Arc::strong_count(&self.value) - 1
    }
}

#[test]
fn a_goal_is_as_far_as_it_is_and_never_behind() {
    let lane = Lane::new();
    assert_eq!([lane.left_to(0), lane.left_to(2)], [0, 2]);
    lane.count_recycled(5);
    let left = [4, 5, 6, 9].map(|goal| lane.left_to(goal));
    assert_eq!(left, [0, 0, 1, 4]);
    // As far as a signed number goes.
    assert_eq!(lane.left_to(5 + u64::MAX / 2), u64::MAX / 2);
    // The count goes round, and so does the goal.
    lane.count_recycled(u64::MAX - 5);
    assert_eq!(lane.left_to(u64::MAX), 0);
    assert_eq!([lane.left_to(0), lane.left_to(2)], [1, 3]);
}

#[test]
fn a_stamp_moves_goes_round_and_leaves_the_number_alone() {
    assert_eq!(stamped(0, 7), 1 << 32 | 7);
    assert_eq!(stamped(5 << 32 | 7, 9), 6 << 32 | 9);
    assert_eq!(stamped(u64::from(u32::MAX) << 32 | 7, 0), 0);
}

#[test]
fn what_is_retired_is_counted_by_its_lane_until_it_is_recycled() {
    let slots = Slots::new(u32::MAX);
    let numbers = slots.linked(5);
    for &number in &numbers[..2] {
        let slot = slots.slab.slot(number);
        assert!(
            slot.change_deadline(Deadline::NEVER, Deadline::EXPIRED)
                .is_ok()
        );
    }
    slots.retire(&numbers);
    let of = |f: &dyn Fn(Origin) -> u64| [f(Origin::Flushed), f(Origin::Single)];
    assert_eq!(of(&|origin| slots.pending(origin)), [2, 3]);
    assert_eq!(of(&|origin| slots.slab.garbage_of(origin)), [2, 3]);
    assert_eq!(slots.slab.garbage(), 5);
    slots.ripen(Origin::Flushed);
    assert_eq!(of(&|origin| slots.pending(origin)), [0, 3]);
    assert_eq!(slots.slab.recycle(Origin::Flushed, 1), 1);
    assert_eq!((slots.slab.garbage(), slots.values()), (4, 4));
    assert_eq!(slots.slab.recycle(Origin::Flushed, 9), 1);
    assert_eq!(slots.slab.recycle(Origin::Flushed, 9), 0);
    assert_eq!(of(&|origin| slots.slab.garbage_of(origin)), [0, 3]);
    assert_eq!(of(&|origin| slots.slab.retired(origin)), [2, 3]);
    assert_eq!(of(&|origin| slots.slab.left_to(4, origin)), [2, 4]);
    assert_eq!(slots.values(), 3);
}

#[test]
fn single_ones_are_deferred_when_there_are_enough() {
    let slots = Slots::new(u32::MAX);
    let numbers = slots.linked(SEAL_AT as u32 + 1);
    for (&number, count) in numbers.iter().zip(1..) {
        slots.retire(&[number]);
        assert_eq!(slots.pending(Origin::Single), count % SEAL_AT);
    }
    let guard = reclaim::pin();
    assert!(slots.slab.seal(Origin::Single, &guard));
    assert!(!slots.slab.seal(Origin::Single, &guard), "nothing is left");
    assert!(!slots.slab.seal(Origin::Flushed, &guard));
}

#[test]
fn a_chain_is_retired_as_a_whole() {
    let slots = Slots::new(u32::MAX);
    let numbers = slots.linked(3);
    let mut chain = Chain::default();
    for &number in &numbers {
        chain.push(&slots.slab, number);
    }
    let guard = reclaim::pin();
    slots.slab.retire_chain(Chain::default(), &guard);
    assert_eq!(slots.slab.garbage(), 0);
    slots.slab.retire_chain(chain, &guard);
    drop(guard);
    let garbage = [Origin::Flushed, Origin::Single].map(|of| slots.slab.garbage_of(of));
    assert_eq!((garbage, slots.values()), ([3, 0], 3));
    slots.ripen(Origin::Flushed);
    assert_eq!(slots.slab.recycle(Origin::Flushed, 9), 3);
    assert_eq!((slots.slab.garbage(), slots.values()), (0, 0));
}

#[test]
fn the_bound_of_slots_can_be_changed() {
    let slots = Slots::new(2);
    assert_eq!((slots.linked(2).len(), slots.slab.limit()), (2, 2));
    assert!(slots.slab.take_fresh().is_none());
    slots.slab.set_limit(3);
    assert!(slots.slab.take_fresh().is_some());
    slots.slab.set_limit(0);
    assert!(slots.slab.take_fresh().is_none());
}

#[test]
fn a_chain_of_several_threads_is_sorted_part_by_part_and_nobody_is_lost() {
    let slots = Slots::new(u32::MAX);
    let long = 2 * SEAL_AT as u32 + 5;
    let numbers = slots.linked(long);
    let chain = |order: &[SlotNumber]| {
        for pair in order.windows(2) {
            let life = Life::retired(pair[1]).raw();
            slots.slab.slot(pair[0]).life.store(life, Ordering::Relaxed);
        }
        let last = order[order.len() - 1];
        let life = Life::retired(0).raw();
        slots.slab.slot(last).life.store(life, Ordering::Relaxed);
        slots.slab.in_address_order(order[0])
    };
    for len in [1, 2, SEAL_AT as usize, SEAL_AT as usize + 1, long as usize] {
        // From the highest on, as when each is retired in its turn.
        let order: Vec<_> = numbers[..len].iter().rev().copied().collect();
        let (first, last) = chain(&order);
        let mut back = vec![first];
        while back[back.len() - 1] != last {
            back.push(slots.slab.behind(back[back.len() - 1]));
            assert!(
                back.len() <= len,
                "it ends with the one that is said to be last"
            );
        }
        assert_eq!(slots.slab.behind(last), 0);
        for part in back.rchunks(SEAL_AT as usize) {
            assert!(part.is_sorted(), "{part:?}");
        }
        back.sort_unstable();
        assert_eq!(back, numbers[..len]);
    }
}

#[test]
fn what_ripens_later_comes_back_later() {
    let slots = Slots::new(u32::MAX);
    // Something is free, so that one is recycled at a time.
    drop(slots.slab.take_fresh());
    let numbers = slots.linked(6);
    let mut back = Vec::new();
    let mut retired = numbers.chunks(2).map(|two| two.to_vec());
    let mut next = |retire: bool| {
        if retire {
            slots.retire(&retired.next().expect("more"));
            slots.ripen(Origin::Single);
        }
        let held = slots.slab.take_ripe(Origin::Single).expect("ripe");
        back.push(held.number());
        // Stays held.
        mem::forget(held);
    };
    // One of two is there when the next two come.
    for retire in [true, true, false, true, false, false] {
        next(retire);
    }
    assert!(slots.slab.take_ripe(Origin::Single).is_none());
    assert_eq!(back, numbers);
    assert_eq!((slots.values(), slots.slab.garbage()), (0, 0));
}

#[test]
fn who_takes_a_ripe_slot_frees_another_if_nothing_is_free() {
    let slots = Slots::new(u32::MAX);
    slots.retire(&slots.linked(4));
    slots.ripen(Origin::Single);
    let held = slots.slab.take_ripe(Origin::Single).expect("ripe");
    assert_eq!((slots.values(), slots.slab.garbage()), (2, 2));
    // Now something is.
    let other = slots.slab.take_ripe(Origin::Single).expect("ripe");
    assert_eq!((slots.values(), slots.slab.garbage()), (1, 1));
    let free = slots.slab.take_free().expect("the one");
    assert!(slots.slab.take_free().is_none());
    let mut all = [held.number(), other.number(), free.number()];
    all.sort_unstable();
    assert_eq!(all, [1, 2, 3]);
}

#[test]
fn nobody_has_more_in_hand_than_a_part_of_all() {
    for (limit, hand) in [
        (20, 1),
        (HAND_SHARE, 1),
        (3 * HAND_SHARE, 3),
        (20 * HAND_SHARE, HAND),
    ] {
        let slots = Slots::new(limit);
        slots.retire(&slots.linked(20));
        slots.ripen(Origin::Single);
        let lane = slots.slab.lane(Origin::Single);
        assert_eq!(slots.slab.recycle_up_to(lane, 20), hand.into(), "{limit}");
        assert_eq!(slots.values(), 20 - hand as usize);
        assert_eq!(slots.slab.recycle(Origin::Single, 20), 20 - u64::from(hand));
        assert_eq!(slots.values(), 0);
    }
}

#[test]
fn a_slab_that_goes_drops_what_is_in_it() {
    let slots = Slots::new(u32::MAX);
    let numbers = slots.linked(3);
    slots.retire(&numbers[..1]);
    drop(slots.slab.take_fresh());
    let value = slots.value;
    drop(slots.slab);
    assert_eq!(Arc::strong_count(&value), 1);
}
