//! Random operation sequences against a plain model: a `HashMap` of deadlines.
//!
//! `SESSIONWHEEL_SEQUENCES` says how many sequences are run (1,000 by default). The test prints
//! how many it ran, of how many operations, and how often the rare things happened. `SESSIONWHEEL_SHRINKS` says
//! how often it tries to make a sequence shorter that failed (20,000).

mod common;

use std::sync::atomic::Ordering::Relaxed;

use common::number;
use common::pair::{Op, Pair, Seen, Setup};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// A time: small steps, the edges of ticks and wheel levels, and far away.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0u64..200,
        3 => (0u32..64, -2i64..3).prop_map(|(bit, d)| (1u64 << bit).saturating_add_signed(d)),
        1 => any::<u64>(),
        1 => (0u64..6).prop_map(|d| u64::MAX - d),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0u8..96;
    prop_oneof![
        6 => (0u64..40).prop_map(Op::Advance),
        1 => time().prop_map(Op::Advance),
        1 => time().prop_map(Op::SetClock),
        20 => (key.clone(), -2i64..120).prop_map(|(k, d)| Op::Insert(k, d)),
        4 => (key.clone(), time()).prop_map(|(k, t)| Op::InsertAt(k, t)),
        6 => key.clone().prop_map(Op::Get),
        5 => key.clone().prop_map(Op::Take),
        2 => key.clone().prop_map(Op::Remove),
        4 => (key, time()).prop_map(|(k, t)| Op::Retime(k, t)),
        4 => Just(Op::Flush),
        1 => time().prop_map(Op::FlushAt),
        3 => (0usize..40).prop_map(Op::FlushWithin),
        2 => (1usize..8).prop_map(Op::FlushInSteps),
        1 => Just(Op::Clear),
        2 => (0u8..4, prop::option::of(1usize..16)).prop_map(|(b, n)| Op::RemoveWhere(b, n)),
        1 => prop::option::of(0usize..90).prop_map(Op::SetMaximum),
        1 => Just(Op::Iterate),
        1 => Just(Op::NextExpiry),
        1 => Just(Op::Reclaim),
    ]
}

fn setup() -> impl Strategy<Value = Setup> {
    let maximum = prop_oneof![
        2 => Just(None),
        3 => (1usize..20).prop_map(Some),
        2 => (20usize..80).prop_map(Some),
        1 => Just(Some(0)),
    ];
    let shards = prop_oneof![4 => Just(1usize), 1 => Just(2), 1 => Just(4)];
    let ticks = prop_oneof![
        3 => Just(0u32), 2 => Just(2), 2 => Just(4), 1 => Just(30), 1 => Just(62)
    ];
    let start = prop_oneof![3 => Just(1_000u64), 1 => Just(0), 1 => time()];
    (maximum, shards, ticks, start).prop_map(|(maximum, shards, tick_bits, start)| Setup {
        maximum,
        shards,
        tick_bits,
        start,
    })
}

#[test]
fn operation_sequences_agree_with_the_model() {
    let sequences = number("SESSIONWHEEL_SEQUENCES", 1_000) as u32;
    let seen = Seen::default();
    let mut runner = TestRunner::new(Config {
        cases: sequences,
        failure_persistence: None,
        max_shrink_iters: number("SESSIONWHEEL_SHRINKS", 20_000) as u32,
        ..Config::default()
    });
    let strategy = (setup(), prop::collection::vec(op(), 1..120));
    let result = runner.run(&strategy, |(setup, ops)| {
        let mut pair = Pair::new(&setup);
        for op in &ops {
            pair.apply(op, &seen);
        }
        seen.sequences.fetch_add(1, Relaxed);
        seen.operations.fetch_add(ops.len() as u64, Relaxed);
        pair.finish();
        Ok(())
    });
    println!("{seen:?}");
    if let Err(error) = result {
        panic!("{error}");
    }
    assert_eq!(seen.sequences.load(Relaxed), u64::from(sequences));
    for rare in [
        &seen.expired,
        &seen.evicted,
        &seen.replaced,
        &seen.taken,
        &seen.retimed,
        &seen.stopped_flushes,
        &seen.surplus,
        &seen.unwanted,
    ] {
        assert_ne!(rare.load(Relaxed), 0, "{seen:?}");
    }
}
