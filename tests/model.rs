//! Random operation sequences against a plain model: a `HashMap` of deadlines.
//!
//! `SESSIONWHEEL_SEQUENCES` says how many sequences are run (3,000 by default). The test prints
//! how many it ran, of how many operations, and how often the rare things happened.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use common::Counted;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sessionwheel::{ExpiringMap, InsertError, Reason, Timestamp};

/// A time: small steps, the edges of ticks and wheel levels, and far away.
fn time() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => 0u64..200,
        3 => (0u32..64, -2i64..3).prop_map(|(bit, d)| (1u64 << bit).saturating_add_signed(d)),
        1 => any::<u64>(),
        1 => (0u64..6).prop_map(|d| u64::MAX - d),
    ]
}

#[derive(Clone, Debug)]
enum Op {
    Advance(u64),
    SetClock(u64),
    /// Key, and the deadline relative to now.
    Insert(u8, i64),
    InsertAt(u8, u64),
    Get(u8),
    Take(u8),
    Remove(u8),
    Retime(u8, u64),
    Flush,
    FlushAt(u64),
    FlushWithin(usize),
    Clear,
    SetMaximum(Option<usize>),
    Iterate,
    NextExpiry,
    Reclaim,
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
        1 => Just(Op::Clear),
        1 => prop::option::of(0usize..90).prop_map(Op::SetMaximum),
        1 => Just(Op::Iterate),
        1 => Just(Op::NextExpiry),
        1 => Just(Op::Reclaim),
    ]
}

#[derive(Clone, Debug)]
struct Setup {
    maximum: Option<usize>,
    shards: usize,
    tick_bits: u32,
    start: u64,
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

/// How often the rare things happened, over all sequences.
#[derive(Default, Debug)]
struct Seen {
    sequences: AtomicU64,
    operations: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    replaced: AtomicU64,
    taken: AtomicU64,
    retimed: AtomicU64,
    stopped_flushes: AtomicU64,
    surplus: AtomicU64,
}

struct Pair {
    map: ExpiringMap<u8, Counted>,
    /// Value and deadline of what must be in the map.
    model: HashMap<u8, (u64, u64)>,
    events: Arc<Mutex<Vec<(u8, u64, Reason)>>>,
    maximum: Option<usize>,
    shards: usize,
    now: u64,
    next_value: u64,
    live: Arc<AtomicU64>,
}

/// As the map keeps it: the very last deadlines count as never.
fn kept(deadline: u64) -> u64 {
    if deadline >= u64::MAX - 3 {
        u64::MAX
    } else {
        deadline
    }
}

fn passed(deadline: u64, now: u64) -> bool {
    deadline != u64::MAX && now.min(u64::MAX - 3) > deadline
}

impl Pair {
    fn new(setup: &Setup) -> Self {
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&events);
        let map = ExpiringMap::builder()
            .maximum(setup.maximum)
            .shards(setup.shards)
            .tick_bits(setup.tick_bits)
            .now(Timestamp::from_nanos(setup.start))
            .helpers(0, |_| unreachable!("zero helpers"))
            .listener(move |key: &u8, value: &Counted, reason| {
                log.lock().unwrap().push((*key, value.number(), reason));
            })
            .build()
            .unwrap();
        Self {
            map,
            model: HashMap::new(),
            events,
            maximum: setup.maximum,
            shards: setup.shards,
            now: setup.start,
            next_value: 0,
            live: Arc::new(AtomicU64::new(0)),
        }
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_nanos(self.now)
    }

    /// Takes the events of the last call out of the model; each must name what was there.
    fn settle(&mut self, expect: impl Fn(u8, u64, Reason) -> bool) -> usize {
        let events = std::mem::take(&mut *self.events.lock().unwrap());
        for &(key, value, reason) in &events {
            let (stored, deadline) = self
                .model
                .remove(&key)
                .unwrap_or_else(|| panic!("{key} left twice, or never was there"));
            assert_eq!(stored, value, "another value of {key} left");
            assert!(
                expect(key, deadline, reason),
                "{key} with deadline {deadline} left at {} as {reason:?}",
                self.now
            );
        }
        events.len()
    }

    /// A lowered maximum lets at most 64 leave for each call that inserts or flushes.
    fn surplus(&self) -> usize {
        let maximum = self.maximum.unwrap_or(usize::MAX);
        self.model.len().saturating_sub(maximum).min(64)
    }

    fn insert(&mut self, key: u8, deadline: u64, seen: &Seen) {
        let (now, at) = (self.now, self.at());
        let deadline = kept(deadline);
        let value = Counted::new(self.next_value, &self.live);
        self.next_value += 1;
        let number = value.number();
        let surplus = self.surplus();
        let result = self
            .map
            .insert(key, value, Timestamp::from_nanos(deadline), at);
        // What a lowered maximum costs leaves first, whatever becomes of the insert.
        let mut events = std::mem::take(&mut *self.events.lock().unwrap());
        let rest = events.split_off(surplus.min(events.len()));
        assert_eq!(events.len(), surplus, "the surplus leaves in steps of 64");
        seen.surplus.fetch_add(surplus as u64, Relaxed);
        *self.events.lock().unwrap() = events;
        self.settle(|_, d, reason| reason == by_room(d, now));
        *self.events.lock().unwrap() = rest;

        let refused = match &result {
            Err(InsertError::Expired(..)) => {
                assert!(passed(deadline, now));
                true
            }
            Err(InsertError::Zero(..)) => {
                assert_eq!(self.maximum, Some(0));
                true
            }
            Err(InsertError::Full(..)) => {
                // Only while a lowered maximum is not paid for.
                let maximum = self.maximum.expect("a map without a maximum is never full");
                assert!(self.model.len() > maximum, "full below its maximum");
                assert!(!self.model.contains_key(&key));
                true
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => false,
        };
        if refused {
            assert_eq!(self.settle(|_, _, _| false), 0, "a refused insert removed");
            return;
        }
        assert!(!passed(deadline, now), "an expired entry was taken in");
        let inserted = result.unwrap();
        let old = self.model.get(&key).copied();
        assert_eq!(inserted.replaced, old.is_some());
        if old.is_some() {
            let left = self.settle(|k, d, reason| {
                let expected = if passed(d, now) {
                    Reason::Expired
                } else {
                    Reason::Replaced
                };
                k == key && reason == expected
            });
            assert_eq!(left, 1);
            seen.replaced.fetch_add(1, Relaxed);
        } else if self.maximum.is_some_and(|m| self.model.len() >= m) {
            let exact = self.shards == 1 && self.model.len() <= 64;
            let first = self.model.values().map(|(_, d)| *d).min().unwrap();
            let left =
                self.settle(|_, d, reason| (!exact || d == first) && reason == by_room(d, now));
            assert_eq!(left, 1, "one had to make room");
            seen.evicted.fetch_add(1, Relaxed);
        } else {
            assert_eq!(self.settle(|_, _, _| false), 0, "nobody had to leave");
        }
        self.model.insert(key, (number, deadline));
    }

    fn flush(&mut self, at: u64, budget: Option<usize>, seen: &Seen) {
        let surplus = self.surplus();
        let timestamp = Timestamp::from_nanos(at);
        let swept = match budget {
            None => self.map.flush(timestamp),
            Some(budget) => self.map.flush_within(timestamp, budget),
        };
        let left = self.settle(|_, d, reason| {
            (passed(d, at) && reason == Reason::Expired)
                || (surplus > 0 && reason == Reason::Evicted)
        });
        seen.surplus.fetch_add(surplus as u64, Relaxed);
        assert_eq!(left, swept.removed + surplus);
        seen.expired.fetch_add(swept.removed as u64, Relaxed);
        if let Some(budget) = budget {
            assert!(swept.visited <= budget, "{swept:?} within {budget}");
        } else {
            assert!(!swept.remaining);
        }
        if swept.remaining {
            seen.stopped_flushes.fetch_add(1, Relaxed);
        } else if let Some((key, (_, d))) = self.model.iter().find(|(_, (_, d))| passed(*d, at)) {
            panic!("a flush at {at} left {key} with deadline {d}: {swept:?}");
        }
    }

    fn apply(&mut self, op: &Op, seen: &Seen) {
        let (now, at) = (self.now, self.at());
        let guard = sessionwheel::pin();
        let alive = |pair: &Self, key: &u8| {
            let entry = pair.model.get(key);
            entry.filter(|(_, d)| !passed(*d, now)).copied()
        };
        match *op {
            Op::Advance(by) => self.now = now.saturating_add(by),
            Op::SetClock(to) => self.now = to,
            Op::Insert(key, d) => {
                drop(guard);
                self.insert(key, now.saturating_add_signed(d), seen);
            }
            Op::InsertAt(key, deadline) => {
                drop(guard);
                self.insert(key, deadline, seen);
            }
            Op::Get(key) => {
                let expected = alive(self, &key);
                let got = self.map.get_entry(&key, at, &guard);
                let got = got.map(|e| (e.value().number(), e.deadline().as_nanos()));
                assert_eq!(got, expected);
                assert_eq!(self.map.contains(&key, at), expected.is_some());
            }
            Op::Take(key) => {
                let expected = alive(self, &key).map(|(v, _)| v);
                let taken = self.map.take(&key, at, &guard).map(Counted::number);
                assert_eq!(taken, expected);
                let left = self.settle(|k, _, reason| k == key && reason == Reason::Taken);
                assert_eq!(left, usize::from(expected.is_some()));
                seen.taken.fetch_add(left as u64, Relaxed);
            }
            Op::Remove(key) => {
                let there = self.model.contains_key(&key);
                assert_eq!(self.map.remove(&key), there);
                let left = self.settle(|k, _, reason| k == key && reason == Reason::Removed);
                assert_eq!(left, usize::from(there));
            }
            Op::Retime(key, deadline) => {
                let deadline = kept(deadline);
                let expected = alive(self, &key).is_some() && !passed(deadline, now);
                let done = self.map.retime(&key, Timestamp::from_nanos(deadline), at);
                assert_eq!(done, expected);
                if done {
                    self.model.get_mut(&key).unwrap().1 = deadline;
                    seen.retimed.fetch_add(1, Relaxed);
                }
            }
            Op::Flush => self.flush(now, None, seen),
            Op::FlushAt(at) => self.flush(at, None, seen),
            Op::FlushWithin(budget) => self.flush(now, Some(budget), seen),
            Op::Clear => {
                let all = self.model.len();
                assert_eq!(self.map.clear(), all);
                let left = self.settle(|_, _, reason| reason == Reason::Cleared);
                assert_eq!(left, all);
            }
            Op::SetMaximum(maximum) => {
                self.map.set_maximum(maximum);
                self.maximum = maximum;
                assert_eq!(self.map.maximum(), maximum);
            }
            Op::Iterate => {
                let mut met: Vec<_> = self
                    .map
                    .iter(&guard)
                    .map(|e| (*e.key(), (e.value().number(), e.deadline().as_nanos())))
                    .collect();
                met.sort_unstable();
                let mut expected: Vec<_> = self.model.iter().map(|(k, v)| (*k, *v)).collect();
                expected.sort_unstable();
                assert_eq!(met, expected);
            }
            Op::NextExpiry => {
                let first = self
                    .model
                    .values()
                    .map(|(_, d)| *d)
                    .filter(|d| *d != u64::MAX);
                match (self.map.next_expiry(), first.min()) {
                    (next, Some(first)) => {
                        let next = next.expect("something expires").as_nanos();
                        assert!(next <= first + 1, "{next} is after {first}");
                    }
                    (Some(_), None) => {
                        // Stale hints: flushing when told to must come to an end.
                        for turn in 0.. {
                            let Some(next) = self.map.next_expiry() else {
                                break;
                            };
                            assert!(turn < 1_000, "next_expiry makes no progress");
                            self.flush(next.as_nanos(), None, seen);
                        }
                    }
                    (None, None) => {}
                }
            }
            Op::Reclaim => {
                drop(guard);
                self.map.reclaim();
            }
        }
        assert_eq!(self.map.len(), self.model.len());
    }
}

fn by_room(deadline: u64, now: u64) -> Reason {
    if passed(deadline, now) {
        Reason::Expired
    } else {
        Reason::Evicted
    }
}

#[test]
fn operation_sequences_agree_with_the_model() {
    let sequences = std::env::var("SESSIONWHEEL_SEQUENCES")
        .ok()
        .map_or(3_000, |n| n.parse().expect("a number of sequences"));
    let seen = Seen::default();
    let mut runner = TestRunner::new(Config {
        cases: sequences,
        failure_persistence: None,
        max_shrink_iters: 20_000,
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
        let Pair { map, live, .. } = pair;
        drop(map);
        assert_eq!(live.load(Relaxed), 0, "values dropped once each");
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
    ] {
        assert_ne!(rare.load(Relaxed), 0, "{seen:?}");
    }
}
