//! A few operations of three threads on few keys: for Miri, which runs other schedules, and has loads
//! return other values that they may return, with each of its seeds (`ci/sanitize.sh`).
//!
//! `SESSIONWHEEL_SEED` sets the seed of the operations.

mod common;

use common::arena::Arena;
use common::{alone, seed};

const THREADS: usize = 3;
const OPERATIONS: usize = 40;
const MAXIMUM: usize = 3;

#[test]
fn three_threads_on_four_keys() {
    let _alone = alone();
    let seed = seed();
    println!("few: seed {seed}");
    // Nobody asks who is inside: that would order what is to be unordered.
    let mut arena = Arena::new(0, THREADS * OPERATIONS, 1, Some(MAXIMUM));
    arena.keys = 4;
    common::scope(|scope| {
        for me in 0..THREADS {
            let arena = &arena;
            scope.spawn(move || {
                arena.run_from(seed.wrapping_add(me as u64 + 1), me, OPERATIONS);
            });
        }
    });
    arena.finish(&["operations", "replaced"]);
}
