//! The whole map under schedules that shuttle draws: random ones, and such that change the thread at a
//! few points only (PCT, Burckhardt et al. 2010). More threads and more operations than a loom model
//! can afford, but every ordering is taken for sequentially consistent.
//!
//! Runs with `--cfg shuttle --cfg sessionwheel_tiny` only; `ci/schedules.sh` does that.
//! `SESSIONWHEEL_SCHEDULES` sets how many of each kind, `SESSIONWHEEL_SEED` the seed.
#![cfg(shuttle)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use common::arena::Arena;
use common::{alone, number, seed};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

const OPERATIONS: usize = 12;

/// Changes of thread that a PCT schedule makes at the most, besides those at an end.
const DEPTH: usize = 5;

/// Bytes of each thread's stack. Shuttle's own 60 KiB do not hold a map that is being built: its atomics
/// are many times the size of the real ones.
const STACK: usize = 256 << 10;

/// Some threads do everything at once on a map with little room, on few keys; then its books are closed.
fn everything_at_once(flushes: &AtomicU64) {
    let mut rng = shuttle::rand::thread_rng();
    let threads = rng.gen_range(4..=8);
    let (shards, maximum) = (rng.gen_range(1..=2), rng.gen_range(2..=12));
    let mut arena = Arena::new(threads, threads * OPERATIONS, shards, Some(maximum));
    // Few enough that threads meet on them.
    arena.keys = rng.gen_range(1..=16);
    let arena = Arc::new(arena);
    let threads: Vec<_> = (0..threads)
        .map(|me| {
            let (arena, seed) = (Arc::clone(&arena), rng.r#gen());
            thread::spawn(move || arena.run_from(seed, me, OPERATIONS))
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    arena.ledger.close(&arena.map);
    flushes.fetch_add(arena.seen.flushes_among_others.load(Relaxed), Relaxed);
}

fn run(name: &str, seed: u64, schedules: u64, scheduler: impl Scheduler + 'static) {
    let flushes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&flushes);
    println!("schedules: {name}, seed {seed}");
    let mut config = Config::new();
    config.stack_size = STACK;
    // What they say stands at the top of this file.
    config.silence_warnings = true;
    let runner = Runner::new(scheduler, config);
    let ran = runner.run(move || everything_at_once(&counted));
    let flushes = flushes.load(Relaxed);
    println!("schedules: {ran} {name}, seed {seed}; {flushes} flushes with others inside");
    assert!(ran as u64 == schedules && flushes > 0);
}

#[test]
fn random_schedules() {
    let _alone = alone();
    let schedules = number("SESSIONWHEEL_SCHEDULES", 1_000);
    let seed = seed();
    let scheduler = RandomScheduler::new_from_seed(seed, schedules as usize);
    run("random schedules", seed, schedules, scheduler);
}

#[test]
fn schedules_of_few_changes() {
    let _alone = alone();
    let schedules = number("SESSIONWHEEL_SCHEDULES", 1_000);
    let seed = seed();
    let scheduler = PctScheduler::new_from_seed(seed, DEPTH, schedules as usize);
    run("PCT schedules", seed, schedules, scheduler);
}
