//! A map beside a plain model of it: a `HashMap` of deadlines.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use sessionwheel::{Cursor, ExpiringMap, InsertError, Reason, Timestamp};

use super::Counted;

#[derive(Clone, Debug)]
pub enum Op {
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
    /// Bounded flushes of this budget until nothing remains.
    FlushInSteps(usize),
    Clear,
    /// Keys of which the lower bits are these; within this budget at a time, or at once.
    RemoveWhere(u8, Option<usize>),
    SetMaximum(Option<usize>),
    Iterate,
    NextExpiry,
    Reclaim,
}

#[derive(Clone, Debug)]
pub struct Setup {
    pub maximum: Option<usize>,
    pub shards: usize,
    pub tick_bits: u32,
    pub start: u64,
}

/// How often the rare things happened, over all sequences.
#[derive(Default, Debug)]
pub struct Seen {
    pub sequences: AtomicU64,
    pub operations: AtomicU64,
    pub expired: AtomicU64,
    pub evicted: AtomicU64,
    pub replaced: AtomicU64,
    pub taken: AtomicU64,
    pub retimed: AtomicU64,
    pub stopped_flushes: AtomicU64,
    pub surplus: AtomicU64,
    pub unwanted: AtomicU64,
}

/// A map and its model, which must agree after each operation.
pub struct Pair {
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
    if deadline >= u64::MAX - 4 {
        u64::MAX
    } else {
        deadline
    }
}

fn passed(deadline: u64, now: u64) -> bool {
    deadline != u64::MAX && now.min(u64::MAX - 4) > deadline
}

impl Pair {
    pub fn new(setup: &Setup) -> Self {
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

    /// Parts of a removal until nothing remains; how many have left.
    fn remove_in_steps(&self, budget: usize, unwanted: impl Fn(&u8) -> bool) -> usize {
        let mut cursor = Cursor::default();
        let mut removed = 0;
        loop {
            let part = |key: &u8, _: &Counted| unwanted(key);
            let swept = self.map.remove_where_within(&mut cursor, budget, part);
            assert!(swept.removed <= swept.visited && swept.visited <= budget);
            removed += swept.removed;
            if !swept.remaining {
                assert_eq!(cursor, Cursor::default(), "at the beginning again");
                return removed;
            }
            assert_eq!(swept.visited, budget, "there is more to look at");
        }
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
        let there = old.is_some();
        assert_eq!(inserted.replaced, there, "whether it has replaced");
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
            let exact = self.shards == 1;
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

    /// Whether it says that something remains.
    fn flush(&mut self, at: u64, budget: Option<usize>, seen: &Seen) -> bool {
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
        assert!(swept.visited >= swept.removed, "{swept:?}");
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
        swept.remaining
    }

    pub fn apply(&mut self, op: &Op, seen: &Seen) {
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
            Op::Flush => _ = self.flush(now, None, seen),
            Op::FlushAt(at) => _ = self.flush(at, None, seen),
            Op::FlushWithin(budget) => _ = self.flush(now, Some(budget), seen),
            Op::FlushInSteps(budget) => {
                // Calling until nothing remains comes to an end, whoever stays.
                let mut steps = 0;
                while self.flush(now, Some(budget), seen) {
                    steps += 1;
                    assert!(steps < 2_000, "bounded flushes go round in circles");
                }
            }
            Op::Clear => {
                let all = self.model.len();
                assert_eq!(self.map.clear(), all);
                let left = self.settle(|_, _, reason| reason == Reason::Cleared);
                assert_eq!(left, all);
            }
            Op::RemoveWhere(bits, budget) => {
                let unwanted = |key: &u8| key % 4 == bits % 4;
                let all = self.model.keys().filter(|key| unwanted(key)).count();
                let removed = match budget {
                    None => self.map.remove_where(|key, _| unwanted(key)),
                    Some(budget) => self.remove_in_steps(budget, unwanted),
                };
                let left = self.settle(|k, _, why| unwanted(&k) && why == Reason::Removed);
                assert_eq!((removed, left), (all, all));
                seen.unwanted.fetch_add(all as u64, Relaxed);
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
                        let next = next.expect("the next expiry, of something").as_nanos();
                        assert!(
                            next <= first + 1,
                            "the next expiry, {next}, is after {first}"
                        );
                    }
                    (Some(_), None) => {
                        // Stale hints: flushing when told to must come to an end.
                        for turn in 0.. {
                            let Some(next) = self.map.next_expiry() else {
                                break;
                            };
                            assert!(turn < 1_000, "next_expiry makes no progress");
                            _ = self.flush(next.as_nanos(), None, seen);
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
        assert_eq!(self.map.len(), self.model.len(), "so many are there");
        #[cfg(fuzzing)]
        sessionwheel::internals::audit(&self.map);
    }

    /// Drops the map: every value must have been dropped once then.
    pub fn finish(self) {
        assert_eq!(self.map.stats().drop_panics, 0, "a value was dropped twice");
        let Self { map, live, .. } = self;
        drop(map);
        assert_eq!(live.load(Relaxed), 0, "values dropped once each");
    }
}

fn by_room(deadline: u64, now: u64) -> Reason {
    if passed(deadline, now) {
        Reason::Expired
    } else {
        Reason::Evicted
    }
}
