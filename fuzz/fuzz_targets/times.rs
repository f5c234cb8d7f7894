//! Deadlines, flushes and clocks at the edges of ticks and wheel levels, wherever the map starts.
//!
//! Times are sums of a few powers of two, so that they share digits with the cursor or differ from
//! it by one, on every level.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::pair::{Op, Pair, Seen, Setup};
use libfuzzer_sys::fuzz_target;

/// Now, plus or minus a power of two and a little; or a multiple of one.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Near {
    Behind(u8, i8),
    Before(u8, i8),
    NextMultiple(u8, i8),
    LastMultiple(u8, i8),
}

impl Near {
    fn of(self, now: u64) -> u64 {
        let power = |bit: u8| 1u64 << (bit % 64);
        match self {
            Self::Behind(bit, by) => now
                .saturating_add(power(bit))
                .saturating_add_signed(by.into()),
            Self::Before(bit, by) => now
                .saturating_sub(power(bit))
                .saturating_add_signed(by.into()),
            Self::NextMultiple(bit, by) => (now | (power(bit) - 1))
                .saturating_add(1)
                .saturating_add_signed(by.into()),
            Self::LastMultiple(bit, by) => {
                (now & !(power(bit) - 1)).saturating_add_signed(by.into())
            }
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Clock(Near),
    Insert(u8, Near),
    Retime(u8, Near),
    Take(u8),
    Flush,
    FlushAt(Near),
    FlushWithin(u8),
    NextExpiry,
}

#[derive(Arbitrary, Debug)]
struct Input {
    tick_bits: u8,
    shards: u8,
    start: [u8; 3],
    evicts: bool,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let mut now = input
        .start
        .iter()
        .fold(0u64, |sum, bit| sum.wrapping_add(1 << (bit % 64)));
    let setup = Setup {
        maximum: input.evicts.then_some(8),
        // Each is ahead of the clock by another part of a level's span.
        shards: 1 << (input.shards % 3),
        tick_bits: u32::from(input.tick_bits) % 63,
        start: now,
    };
    let seen = Seen::default();
    let mut pair = Pair::new(&setup);
    for step in input.steps {
        let op = match step {
            Step::Clock(near) => {
                now = near.of(now);
                Op::SetClock(now)
            }
            Step::Insert(key, near) => Op::InsertAt(key % 32, near.of(now)),
            Step::Retime(key, near) => Op::Retime(key % 32, near.of(now)),
            Step::Take(key) => Op::Take(key % 32),
            Step::Flush => Op::Flush,
            Step::FlushAt(near) => Op::FlushAt(near.of(now)),
            Step::FlushWithin(budget) => Op::FlushWithin(budget.into()),
            Step::NextExpiry => Op::NextExpiry,
        };
        pair.apply(&op, &seen);
        pair.apply(&Op::Iterate, &seen);
    }
    pair.finish();
});
