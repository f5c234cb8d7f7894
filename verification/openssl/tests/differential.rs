//! Random operations on OpenSSL's cache and on ours.
//!
//! `SESSIONWHEEL_OPERATIONS` sets how many operations there are at least, `SESSIONWHEEL_SEED` the seed.

use std::hash::BuildHasher;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use sessionwheel_openssl_contract::difference::Difference;
use sessionwheel_openssl_contract::ffi;
use sessionwheel_openssl_contract::op::{By, IDS, Op, Timeout, When};
use sessionwheel_openssl_contract::pair::{Pair, Seen, Setup};

/// Operations of one sequence, at the most; half of it on average.
const LENGTH: usize = 400;

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |given| given.parse().expect("a number"))
}

fn setup() -> impl Strategy<Value = Setup> {
    let ids = prop_oneof![1 => 1usize..4, 3 => 4usize..24, 3 => 24usize..IDS];
    (ids, size()).prop_map(|(ids, size)| Setup { ids, size })
}

/// Room as OpenSSL counts.
fn size() -> impl Strategy<Value = i64> {
    prop_oneof![2 => Just(0i64), 2 => 1i64..4, 4 => 4i64..24, 4 => 24i64..60]
}

/// So many seconds from now: seldom the same twice, or often.
fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![3 => -4_000i64..4_000, 2 => -4i64..5]
}

fn timeout() -> impl Strategy<Value = Timeout> {
    prop_oneof![
        15 => (0i64..12_000).prop_map(Timeout::Seconds),
        4 => (0i64..6).prop_map(Timeout::Seconds),
        1 => Just(Timeout::Never),
        1 => Just(Timeout::Far),
    ]
}

fn when() -> impl Strategy<Value = When> {
    prop_oneof![
        1 => Just(When::All),
        2 => prop_oneof![Just(-1i64), Just(i64::MIN), -9_000i64..0].prop_map(When::Negative),
        1 => Just(When::Last),
        8 => prop_oneof![Just(0i64), -4_000i64..1_000].prop_map(When::Now),
        30 => (prop_oneof![9 => 0usize..4, 1 => 0..IDS], -1i64..2)
            .prop_map(|(nth, after)| When::Expiry(nth, after)),
    ]
}

fn by() -> impl Strategy<Value = By> {
    prop_oneof![2 => Just(By::Latest), 1 => Just(By::Older), 1 => Just(By::Key)]
}

/// Ids are brought into the sequence's range later.
fn op() -> impl Strategy<Value = Op> {
    let id = 1..IDS;
    let older = any::<bool>();
    prop_oneof![
        4 => (0u32..200).prop_map(Op::Advance),
        30 => (id.clone(), offset(), timeout()).prop_map(|(id, t, d)| Op::New(id, t, d)),
        8 => (id.clone(), older).prop_map(|(id, older)| Op::Add { id, older }),
        3 => (id.clone(), by()).prop_map(|(id, by)| Op::Remove(id, by)),
        2 => id.clone().prop_map(Op::Take),
        6 => (id.clone(), older, offset()).prop_map(|(id, older, t)| Op::SetTime(id, older, t)),
        6 => (id.clone(), older, prop_oneof![9 => timeout(), 1 => Just(Timeout::Negative)])
            .prop_map(|(id, older, d)| Op::SetTimeout(id, older, d)),
        3 => prop_oneof![9 => size(), 1 => Just(-1i64)].prop_map(Op::SetSize),
        5 => when().prop_map(Op::Flush),
        5 => id.prop_map(Op::Lookup),
    ]
}

/// Draws its id from 1 up to `ids`.
fn within(op: Op, ids: usize) -> Op {
    let within = |id: usize| 1 + id % ids;
    match op {
        Op::New(id, t, d) => Op::New(within(id), t, d),
        Op::Add { id, older } => Op::Add {
            id: within(id),
            older,
        },
        Op::Remove(id, by) => Op::Remove(within(id), by),
        Op::Take(id) => Op::Take(within(id)),
        Op::SetTime(id, older, t) => Op::SetTime(within(id), older, t),
        Op::SetTimeout(id, older, d) => Op::SetTimeout(within(id), older, d),
        Op::Lookup(id) => Op::Lookup(within(id)),
        Op::Advance(_) | Op::SetSize(_) | Op::Flush(_) => op,
    }
}

/// Runs one sequence.
fn run(setup: &Setup, ops: &[Op], seen: &Seen) -> Result<(), TestCaseError> {
    let mut pair = Pair::new(setup);
    for (n, op) in ops.iter().enumerate() {
        pair.step(op, seen)
            .map_err(|wrong| TestCaseError::fail(format!("operation {n}, {op:?}: {wrong}")))?;
    }
    pair.finish(seen).map_err(TestCaseError::fail)
}

#[test]
fn both_caches_do_the_same_but_for_what_is_in_the_table() {
    let operations = number("SESSIONWHEEL_OPERATIONS", 100_000);
    let seed = number(
        "SESSIONWHEEL_SEED",
        std::hash::RandomState::new().hash_one(0),
    );
    println!("openssl: {}, seed {seed}", ffi::name());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // Somewhat more sequences than that makes on average.
    let cases = operations * 2 * 103 / 100 / LENGTH as u64 + 20;
    let config = Config {
        cases: u32::try_from(cases).expect("fewer sequences"),
        failure_persistence: None,
        max_shrink_iters: 50_000,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let sequences = (setup(), prop::collection::vec(op(), 1..=LENGTH)).prop_map(|(setup, ops)| {
        let ops: Vec<_> = ops.into_iter().map(|op| within(op, setup.ids)).collect();
        (setup, ops)
    });
    let seen = Seen::default();
    match runner.run(&sequences, |(setup, ops)| run(&setup, &ops, &seen)) {
        Ok(()) => {}
        Err(TestError::Fail(why, (setup, ops))) => {
            println!("{setup:?}");
            ops.iter()
                .enumerate()
                .for_each(|(n, op)| println!("  {n}: {op:?}"));
            panic!("seed {seed}: {why}");
        }
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
    println!(
        "openssl: {} operations in {} sequences; compared: {} cached sessions, {} removals, {} evictions",
        seen.operations.get(),
        seen.sequences.get(),
        seen.sessions.get(),
        seen.removals.get(),
        seen.evictions.get(),
    );
    println!("openssl: intended differences met:\n{}", seen.met);
    assert!(seen.operations.get() >= operations);
    let never_met: Vec<_> = Difference::CACHE
        .iter()
        .filter(|&&difference| seen.met.times(difference) == 0)
        // From 3.2 on such times are not asked for.
        .filter(|&&difference| difference != Difference::FarIsNever || ffi::version() < (3, 2, 0))
        .collect();
    assert!(
        operations < 50_000 || never_met.is_empty(),
        "not met: {never_met:?}"
    );
}
