//! Operation sequences against the model of `tests/model.rs`.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

use arbitrary::Arbitrary;
use common::pair::{Op, Pair, Seen, Setup};
use libfuzzer_sys::fuzz_target;

/// A time: from zero, from an edge of ticks and wheel levels, from the end, or any.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Time {
    Small(u8),
    Edge(u8, i8),
    FromEnd(u8),
    Any(u64),
}

impl Time {
    fn nanos(self) -> u64 {
        match self {
            Self::Small(t) => t.into(),
            Self::Edge(bit, by) => (1u64 << (bit % 64)).saturating_add_signed(by.into()),
            Self::FromEnd(before) => u64::MAX - u64::from(before),
            Self::Any(t) => t,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Step {
    Advance(Time),
    SetClock(Time),
    Insert(u8, i8),
    InsertAt(u8, Time),
    Get(u8),
    Take(u8),
    Remove(u8),
    Retime(u8, Time),
    Flush,
    FlushAt(Time),
    FlushWithin(u8),
    Clear,
    RemoveWhere(u8, Option<u8>),
    SetMaximum(Option<u8>),
    Iterate,
    NextExpiry,
    Reclaim,
}

impl From<Step> for Op {
    fn from(step: Step) -> Self {
        match step {
            Step::Advance(by) => Self::Advance(by.nanos()),
            Step::SetClock(to) => Self::SetClock(to.nanos()),
            Step::Insert(key, by) => Self::Insert(key, by.into()),
            Step::InsertAt(key, at) => Self::InsertAt(key, at.nanos()),
            Step::Get(key) => Self::Get(key),
            Step::Take(key) => Self::Take(key),
            Step::Remove(key) => Self::Remove(key),
            Step::Retime(key, at) => Self::Retime(key, at.nanos()),
            Step::Flush => Self::Flush,
            Step::FlushAt(at) => Self::FlushAt(at.nanos()),
            Step::FlushWithin(budget) => Self::FlushWithin(budget.into()),
            Step::Clear => Self::Clear,
            Step::RemoveWhere(bits, budget) => {
                Self::RemoveWhere(bits, budget.map(|n| usize::from(n).max(1)))
            }
            Step::SetMaximum(maximum) => Self::SetMaximum(maximum.map(usize::from)),
            Step::Iterate => Self::Iterate,
            Step::NextExpiry => Self::NextExpiry,
            Step::Reclaim => Self::Reclaim,
        }
    }
}

#[derive(Arbitrary, Debug)]
struct Input {
    maximum: Option<u8>,
    shards: u8,
    tick_bits: u8,
    start: Time,
    steps: Vec<Step>,
}

fuzz_target!(|input: Input| {
    let setup = Setup {
        maximum: input.maximum.map(usize::from),
        shards: 1 << (input.shards % 3),
        tick_bits: u32::from(input.tick_bits) % 63,
        start: input.start.nanos(),
    };
    let seen = Seen::default();
    let mut pair = Pair::new(&setup);
    for step in input.steps {
        pair.apply(&step.into(), &seen);
        // Every entry after every step.
        pair.apply(&Op::Iterate, &seen);
    }
    pair.finish();
});
