//! `SESSIONWHEEL_OPERATIONS` sets how many operations are played, `SESSIONWHEEL_SEED` the seed.

use std::env;

use sessionwheel_linearizability::crowd::{Seen, play};

fn number(name: &str, default: u64) -> u64 {
    let given = env::var(name).ok();
    given.map_or(default, |given| given.parse().expect("a number"))
}

/// So many operations, on a map that holds at most so many entries.
fn linearizable(operations: u64, maximum: Option<usize>) -> Seen {
    let seed = number("SESSIONWHEEL_SEED", u64::from(std::process::id()));
    let seen = play(operations as usize, seed, maximum).unwrap_or_else(|history| {
        history.iter().for_each(|record| println!("{record:?}"));
        panic!(
            "seed {seed}: not linearizable, {} operations",
            history.len()
        );
    });
    println!(
        "linearizable: {} operations in {} histories, {} % overlap another on their key, seed {seed}",
        seen.operations,
        seen.histories,
        seen.share(),
    );
    println!("linearizable: {seen:?}");
    assert!(seen.operations as u64 >= operations);
    assert!(seen.flushed > 0 && seen.found_expired > 0);
    assert!(seen.share() >= 30, "threads that do not meet show nothing");
    seen
}

#[test]
fn every_history_is_that_of_a_map_without_threads() {
    let operations = number("SESSIONWHEEL_OPERATIONS", 100_000);
    linearizable(operations, None);
}

/// Room for one, so that each insert of another key evicts.
#[test]
fn so_is_one_with_evictions() {
    let operations = number("SESSIONWHEEL_OPERATIONS", 100_000) / 4;
    let seen = linearizable(operations, Some(1));
    assert!(seen.evicted > 0);
}
