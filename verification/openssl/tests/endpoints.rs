//! Random handshakes with OpenSSL's caches, and the same of our endpoints.
//!
//! `SESSIONWHEEL_HANDSHAKES` sets how many operations there are at least, `SESSIONWHEEL_SEED` the seed.

use std::hash::BuildHasher;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use sessionwheel::Mode;
use sessionwheel_openssl_contract::difference::Difference;
use sessionwheel_openssl_contract::ffi;
use sessionwheel_openssl_contract::handshake::Version;
use sessionwheel_openssl_contract::spec::Setup;
use sessionwheel_openssl_contract::wire::{Act, Done, IDS, LENGTH, Wire};

fn number(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |given| given.parse().expect("a number"))
}

/// The first of the modes is the one that includes this end.
fn setup(modes: [Mode; 2]) -> impl Strategy<Value = Setup> {
    let mode = prop_oneof![
        6 => Just(modes[0]), 2 => Just(Mode::Both), 1 => Just(modes[1]), 1 => Just(Mode::Off)
    ];
    let often = || prop::bool::weighted(0.8);
    let maximum = prop_oneof![2 => Just(0usize), 1 => 1usize..3, 4 => 3usize..IDS];
    (
        mode,
        often(),
        often(),
        any::<bool>(),
        any::<bool>(),
        maximum,
    )
        .prop_map(
            |(mode, lookup, store, update_time, outside, maximum)| Setup {
                mode,
                lookup,
                store,
                update_time,
                outside,
                maximum,
            },
        )
}

fn act() -> impl Strategy<Value = Act> {
    let id = 1..=IDS;
    let offer = prop_oneof![1 => Just(None), 4 => id.clone().prop_map(Some)];
    prop_oneof![
        12 => (offer, id.clone(), 0i64..8, prop::bool::weighted(0.9)).prop_map(
            |(offer, id, timeout, keeps)| Act::Shake { offer, id, timeout, keeps }
        ),
        2 => (0i64..3).prop_map(Act::Advance),
        2 => id.clone().prop_map(Act::Take),
        1 => id.clone().prop_map(Act::Remove),
        1 => Just(Act::Flush),
        1 => id.prop_map(Act::Withdraw),
    ]
}

/// With one ticket: of a second one there would be no object to be had.
fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::Tls12), Just(Version::Tls13(1))]
}

/// Runs one sequence.
fn run(
    (version, client, server): (Version, Setup, Setup),
    acts: &[Act],
    done: &Done,
) -> Result<(), TestCaseError> {
    let mut wire = Wire::new(version, client, server);
    for (n, act) in acts.iter().enumerate() {
        wire.step(act, done)
            .map_err(|wrong| TestCaseError::fail(format!("operation {n}, {act:?}: {wrong}")))?;
    }
    done.sequences.set(done.sequences.get() + 1);
    Ok(())
}

#[test]
fn endpoints_do_what_openssl_does_in_handshakes_but_for_what_is_in_the_table() {
    let operations = number("SESSIONWHEEL_HANDSHAKES", 5_000);
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
        max_shrink_iters: 5_000,
        ..Config::default()
    };
    let mut runner =
        TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let ends = (
        version(),
        setup([Mode::Client, Mode::Server]),
        setup([Mode::Server, Mode::Client]),
    );
    let sequences = (ends, prop::collection::vec(act(), 1..=LENGTH));
    let done = Done::default();
    match runner.run(&sequences, |(ends, acts)| run(ends, &acts, &done)) {
        Ok(()) => {}
        Err(TestError::Fail(why, ((version, client, server), acts))) => {
            println!("{version:?}\nclient: {client:?}\nserver: {server:?}");
            acts.iter()
                .enumerate()
                .for_each(|(n, act)| println!("  {n}: {act:?}"));
            panic!("seed {seed}: {why}");
        }
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
    println!("openssl: {done}");
    println!("openssl: intended differences met:\n{}", done.met);
    assert!(done.acts.get() >= operations);
    assert!(
        operations < 1_000 || done.resumed.iter().all(|resumed| resumed.get() > 0),
        "a version in which nothing was resumed"
    );
    let never_met: Vec<_> = Difference::HANDSHAKES
        .iter()
        .filter(|&&difference| done.met.times(difference) == 0)
        .collect();
    assert!(
        operations < 10_000 || never_met.is_empty(),
        "not met: {never_met:?}"
    );
}
