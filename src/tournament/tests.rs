//! One thread against a plain model; several threads until they stop.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::slab::Deadline;
use crate::sync::Arc;
use crate::sync::thread;
use crate::time::Timestamp;

fn rank(at: u64) -> Rank {
    Rank::of(Deadline::new(Timestamp::from_nanos(at)))
}

fn set(tournament: &Tournament, slot: SlotNumber, at: u64) {
    tournament.enter(slot, || rank(at));
}

/// All of them, in the order in which they leave.
fn drain(tournament: &Tournament) -> Vec<SlotNumber> {
    std::iter::from_fn(|| {
        let (slot, _) = tournament.first()?;
        tournament.leave(slot);
        Some(slot)
    })
    .collect()
}

#[test]
fn they_leave_in_the_order_of_their_deadlines() {
    let tournament = Tournament::new();
    // On both sides of a match's edge, in every round.
    let slots = [1u32, 15, 16, 255, 256, 4_095, 4_096, 65_535, 65_536, 70_000];
    for (i, &slot) in slots.iter().enumerate() {
        set(&tournament, slot, 1_000 - i as u64);
    }
    let backwards: Vec<_> = slots.iter().rev().copied().collect();
    assert_eq!(drain(&tournament), backwards);
    assert_eq!(tournament.first(), None);
}

#[test]
fn equals_leave_in_turn() {
    // Else the newest of those that never expire would leave again and again: its slot is the one
    // that was used last.
    let tournament = Tournament::new();
    const N: u32 = if cfg!(miri) { 20 } else { 100 };
    // So often that the turn comes round more than once, in every match.
    const TURNS: u32 = 3;
    for slot in 1..=N {
        set(&tournament, slot, u64::MAX);
    }
    let leaves = |_| {
        let (slot, _) = tournament.first().expect("all are there");
        tournament.leave(slot);
        set(&tournament, slot, u64::MAX);
        slot
    };
    for _ in 0..TURNS {
        let mut left: Vec<_> = (0..N).map(leaves).collect();
        left.sort_unstable();
        left.dedup();
        assert_eq!(left.len(), N as usize);
    }
}

#[test]
fn a_key_that_lags_behind_is_put_right_by_whoever_reads_it_last() {
    // The second reading differs from the first: somebody re-timed or removed the slot meanwhile.
    let tournament = Tournament::new();
    let mut readings = [rank(5), rank(9), rank(9)].into_iter();
    tournament.enter(3, || readings.next().expect("read three times"));
    assert_eq!(tournament.first(), Some((3, rank(9))));
    let mut readings = [rank(2), Rank::NOBODY, Rank::NOBODY].into_iter();
    tournament.enter(3, || readings.next().expect("read three times"));
    assert_eq!(tournament.first(), None);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 256 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_first_is_the_first(
        steps in prop::collection::vec((1..300u32, prop::option::of(0..50u64)), 1..if cfg!(miri) { 40 } else { 400 })
    ) {
        let tournament = Tournament::new();
        let mut model = BTreeMap::new();
        for (slot, at) in steps {
            if let Some(at) = at {
                set(&tournament, slot, at);
                model.insert(slot, at);
            } else {
                tournament.leave(slot);
                model.remove(&slot);
            }
            let first = tournament.first();
            let expected = model.values().min().map(|&at| rank(at));
            prop_assert_eq!(first.map(|(_, rank)| rank), expected);
            if let Some((slot, found)) = first {
                prop_assert_eq!(model.get(&slot).map(|&at| rank(at)), Some(found));
            }
        }
    }
}

#[test]
fn when_the_threads_have_stopped_nobody_is_hidden() {
    const THREADS: u32 = 4;
    const SLOTS: u32 = if cfg!(miri) { 3 } else { 40 };
    let rounds = if cfg!(miri) { 1 } else { 200 };
    let mut met = 0;
    for round in 0..rounds {
        let tournament = Arc::new(Tournament::new());
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let tournament = Arc::clone(&tournament);
                thread::spawn(move || {
                    // Slots of their own, matches in common.
                    for step in 0..SLOTS * 10 {
                        let slot = 1 + thread + THREADS * (step % SLOTS);
                        tournament.leave(slot);
                        tournament.first();
                        set(&tournament, slot, u64::from(step * 31 % 17 + round));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panics");
        }
        let mut all = drain(&tournament);
        all.sort_unstable();
        let everybody: Vec<_> = (1..=THREADS * SLOTS).collect();
        assert_eq!(all, everybody);
        met += all.len();
    }
    println!("tournament: {met} met, nobody was hidden");
}
