//! Threads that make histories, round after round.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};
use std::thread;

use fastrand::Rng;
use sessionwheel::{ExpiringMap, InsertError, Reason, Timestamp};

use crate::history::{Call, Instants, Record, calls, is_linearizable, overlapping, shortest};
use crate::spec::{Nanos, Step, Value};

/// How many threads there are.
pub const THREADS: usize = 4;
/// On how many keys a round is played.
pub const KEYS: usize = 2;
/// How many operations a thread calls in a round. The checker's time grows with the square.
pub const CALLS: usize = 48;

/// Lifetimes are shorter than this: the clock moves on by as much in a few dozen operations.
const LIFETIMES: Nanos = 24;
/// Ticks of 32 ns: a round is played on two or three, and each has more hints than it keeps in itself.
const TICK_BITS: u32 = 5;
/// So many entries are there beside those that are played with, so that ticks have lists.
const BYSTANDERS: usize = 4_000;
/// Later than any instant.
const IDLE: u64 = u64::MAX;
/// One in so many times a thread lets others go first, in the middle of an operation.
const POLITE: u8 = 12;

/// A key that now and then lets others go first.
#[derive(Eq, Debug)]
struct Key(usize);

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        now_and_then_go_last();
        self.0 == other.0
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        now_and_then_go_last();
        self.0.hash(state);
    }
}

fn now_and_then_go_last() {
    if fastrand::u8(..POLITE) == 0 {
        thread::yield_now();
    }
}

type Map = ExpiringMap<Key, Value>;

thread_local! {
    /// Who has left by what this thread is doing.
    static LEFT: RefCell<Vec<(usize, Value, Reason)>> = const { RefCell::new(Vec::new()) };
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Histories: one for each key and round.
    pub histories: usize,
    /// Calls in them; a flush is one in that of each key.
    pub operations: usize,
    /// Of these, how many overlap another one on their key.
    pub overlapping: usize,
    /// Entries that flushes removed.
    pub flushed: usize,
    /// Entries that left by any operation.
    pub left: usize,
    /// Of these, by inserts and takes that found them expired.
    pub found_expired: usize,
    /// And by inserts that found no room.
    pub evicted: usize,
}

impl Seen {
    /// How many in a hundred operations overlap another one on their key.
    pub fn share(&self) -> usize {
        100 * self.overlapping / self.operations.max(1)
    }

    fn add(&mut self, history: &[Record]) {
        let calls = calls(history);
        self.histories += 1;
        self.operations += calls.len();
        self.overlapping += overlapping(&calls);
        for record in history {
            match record.step {
                Step::Flush { .. } => {
                    self.flushed += 1;
                    self.left += 1;
                }
                Step::Evict { .. } => {
                    self.evicted += 1;
                    self.left += 1;
                }
                Step::Insert {
                    left: Some((_, reason)),
                    ..
                }
                | Step::Take {
                    left: Some((_, reason)),
                    ..
                }
                | Step::Remove {
                    left: Some((_, reason)),
                    ..
                } => {
                    self.left += 1;
                    self.found_expired += usize::from(reason == Reason::Expired);
                }
                _ => {}
            }
        }
    }
}

/// Where all threads wait for each other, as often as needed.
#[derive(Default)]
struct Gate {
    /// How often a thread has come, and whether it is over.
    came: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    /// `false` if it is over.
    fn pass(&self) -> bool {
        let mut came = self.came.lock().expect("no panic");
        came.0 += 1;
        let all = came.0.next_multiple_of(THREADS);
        self.changed.notify_all();
        let wait = |came: &mut (usize, bool)| came.0 < all && !came.1;
        let came = self.changed.wait_while(came, wait).expect("no panic");
        !came.1
    }

    /// Nobody is to wait any more.
    fn open_for_ever(&self) {
        self.came.lock().expect("no panic").1 = true;
        self.changed.notify_all();
    }
}

/// Opens the gate for ever if its thread panics, or the others would wait for it.
struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.open_for_ever();
        }
    }
}

fn at(nanos: Nanos) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// One thread's part in all rounds.
struct Player<'a> {
    me: usize,
    map: &'a Map,
    instants: &'a Instants,
    /// When the calls began that are under way, by thread; `IDLE` for one that calls nothing.
    begun: &'a [AtomicU64; THREADS],
    clock: &'a AtomicU64,
    rng: Rng,
    next_value: Value,
}

impl Player<'_> {
    /// A random operation, into the histories of the keys it was on.
    fn play(&mut self, histories: &mut [Vec<Record>; KEYS]) {
        let key = self.rng.usize(..KEYS);
        match self.rng.u32(..16) {
            0..4 => self.insert(key, histories),
            4..7 => histories[key].push(self.get(key)),
            7 => {
                let (call, (now, seen)) = self.call(|now| self.map.contains(&Key(key), at(now)));
                histories[key].push(call.meanwhile(Step::Contains { now, seen }));
            }
            8..10 => {
                let take = |now| self.map.take_cloned(&Key(key), at(now));
                let (call, (now, taken)) = self.call(take);
                let left = by_this_call(call, left(key), &mut histories[key]);
                histories[key].push(call.meanwhile(Step::Take { now, taken, left }));
            }
            10 => {
                let (call, (_, removed)) = self.call(|_| self.map.remove(&Key(key)));
                let left = left(key);
                histories[key].push(call.meanwhile(Step::Remove { removed, left }));
            }
            11..14 => self.retime(key, &mut histories[key]),
            14 => {
                self.clock.fetch_add(self.rng.u64(1..8), SeqCst);
            }
            _ => self.flush(histories),
        }
    }

    /// Calls, with what the clock says then; when that was, what it said, what came back.
    fn call<R>(&self, operation: impl FnOnce(Nanos) -> R) -> (Call, (Nanos, R)) {
        let called = self.instants.next();
        // Who is not seen here does nothing before this call has begun.
        self.begun[self.me].store(called, SeqCst);
        let begun = self.begun.iter().map(|begun| begun.load(SeqCst));
        let since = begun.min().expect("this one").min(called);
        let now = self.clock.load(SeqCst);
        let result = operation(now);
        let returned = self.instants.next();
        self.begun[self.me].store(IDLE, SeqCst);
        let thread = self.me;
        (
            Call {
                thread,
                called,
                returned,
                since,
            },
            (now, result),
        )
    }

    fn insert(&mut self, key: usize, histories: &mut [Vec<Record>; KEYS]) {
        self.next_value += THREADS as u64;
        let value = self.next_value;
        let lifetime = self.rng.u64(..LIFETIMES);
        let insert = |now| {
            self.map
                .insert(Key(key), value, at(now + lifetime), at(now))
        };
        let (call, (now, inserted)) = self.call(insert);
        match inserted {
            Ok(inserted) => {
                let replaced = inserted.replaced.then(|| replaced(key));
                assert_eq!(inserted.evicted, made_room(call, now, histories));
                let left = by_this_call(call, replaced, &mut histories[key]);
                let step = Step::Insert {
                    call: call.called,
                    value,
                    deadline: now + lifetime,
                    now,
                    left,
                };
                settled(&mut histories[key], call, step);
            }
            // The others were faster each time. Nobody was there under this key.
            Err(InsertError::Full(..)) => {
                made_room(call, now, histories);
                histories[key].push(call.meanwhile(Step::Get { now, seen: None }));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn retime(&mut self, key: usize, history: &mut Vec<Record>) {
        // Shorter or longer; now and then it has passed already.
        let lifetime = self.rng.u64(..LIFETIMES);
        let deadline = |now: Nanos| (now + lifetime).saturating_sub(2);
        let retime = |now| self.map.retime(&Key(key), at(deadline(now)), at(now));
        let (call, (now, retimed)) = self.call(retime);
        let step = Step::Retime {
            call: call.called,
            deadline: deadline(now),
            now,
            retimed,
        };
        settled(history, call, step);
    }

    /// A flush; every other one with a budget.
    fn flush(&mut self, histories: &mut [Vec<Record>; KEYS]) {
        let budget = self.rng.bool().then(|| self.rng.usize(..8));
        let flush = |now| match budget {
            None => self.map.flush(at(now)),
            Some(budget) => self.map.flush_within(at(now), budget),
        };
        let (call, (at, swept)) = self.call(flush);
        let thread = self.me;
        let all_left = LEFT.take();
        assert_eq!(swept.removed, all_left.len());
        for (key, history) in histories.iter_mut().enumerate() {
            history.push(call.at_first(Step::Begin { at, thread }));
            // More than one, if somebody inserts meanwhile.
            for &(_, left, reason) in all_left.iter().filter(|(of, ..)| *of == key) {
                assert_eq!(reason, Reason::Expired);
                history.push(call.meanwhile(Step::Flush { at, left }));
            }
            if !swept.remaining {
                history.push(call.at_last(Step::End { at, thread }));
            }
        }
    }

    fn get(&self, key: usize) -> Record {
        let get = |now| {
            let guard = self.map.pin();
            let entry = self.map.get_entry(&Key(key), at(now), &guard);
            entry.map(|entry| (*entry.value(), entry.deadline().as_nanos()))
        };
        let (call, (now, seen)) = self.call(get);
        call.meanwhile(Step::Get { now, seen })
    }

    /// Looks at all keys.
    fn look(&self, histories: &mut [Vec<Record>; KEYS]) {
        for (key, history) in histories.iter_mut().enumerate() {
            history.push(self.get(key));
        }
    }
}

/// A step that gives a deadline, and that its call has returned.
fn settled(history: &mut Vec<Record>, call: Call, step: Step) {
    history.push(call.meanwhile(step));
    history.push(call.at_last(Step::Settle { call: call.called }));
}

/// Whom an insert has replaced: he leaves last by it.
fn replaced(key: usize) -> (Value, Reason) {
    let last = LEFT.with_borrow_mut(Vec::pop);
    let (of, value, reason) = last.expect("the listener is told");
    assert_eq!(of, key, "{value} left: {reason:?}");
    (value, reason)
}

/// Who has left by a call, unless he was evicted: that may be another's doing.
fn by_this_call(
    call: Call,
    left: Option<(Value, Reason)>,
    history: &mut Vec<Record>,
) -> Option<(Value, Reason)> {
    if let Some((left, Reason::Evicted)) = left {
        history.push(call.by_some_call(Step::Evict { left }));
        return None;
    }
    left
}

/// Those whom an insert has removed to make room, each into the history of his key; how many.
fn made_room(call: Call, at: Nanos, histories: &mut [Vec<Record>; KEYS]) -> usize {
    let all_left = LEFT.take();
    for &(of, left, reason) in &all_left {
        histories[of].push(match reason {
            Reason::Evicted => call.by_some_call(Step::Evict { left }),
            Reason::Expired => call.meanwhile(Step::Flush { at, left }),
            _ => panic!("{left} left: {reason:?}"),
        });
    }
    all_left.len()
}

/// Who has left by an operation on one key.
fn left(key: usize) -> Option<(Value, Reason)> {
    let left = LEFT.take();
    assert!(left.len() <= 1, "by an operation on {key}: {left:?}");
    left.first().map(|&(of, value, reason)| {
        assert_eq!(of, key, "{value} left: {reason:?}");
        (value, reason)
    })
}

/// Plays rounds until the histories hold so many operations, each round on an empty map; with `maximum` on one that
/// holds no more, and no bystanders.
///
/// # Errors
///
/// The first history that no map without threads could have shown, as far as is needed to see that.
pub fn play(operations: usize, seed: u64, maximum: Option<usize>) -> Result<Seen, Vec<Record>> {
    let listener = |key: &Key, value: &Value, reason| {
        now_and_then_go_last();
        LEFT.with_borrow_mut(|left| left.push((key.0, *value, reason)));
    };
    // Without helpers: who flushes hears who leaves.
    let map = Map::builder()
        .shards(if maximum.is_some() { 1 } else { 2 })
        .maximum(maximum)
        .helpers(0, |_| ())
        .tick_bits(TICK_BITS)
        .listener(listener)
        .build()
        .expect("a map");
    let bystanders = if maximum.is_some() { 0 } else { BYSTANDERS };
    for bystander in KEYS..KEYS + bystanders {
        let inserted = map.insert(Key(bystander), 0, Timestamp::NEVER, Timestamp::ZERO);
        assert!(inserted.is_ok());
    }
    let (instants, clock) = (Instants::default(), AtomicU64::new(1));
    let begun = [const { AtomicU64::new(IDLE) }; THREADS];
    let gate = Gate::default();
    let rounds = operations.div_ceil(THREADS * CALLS);
    let histories = Mutex::new([const { Vec::new() }; KEYS]);
    let outcome = Mutex::new(Ok(Seen::default()));
    let run = |me: usize| {
        let mut player = Player {
            me,
            map: &map,
            instants: &instants,
            begun: &begun,
            clock: &clock,
            rng: Rng::with_seed(seed + me as u64),
            next_value: me as u64,
        };
        let mut records = [const { Vec::new() }; KEYS];
        let _opens = Opens(&gate);
        for _ in 0..rounds {
            if !gate.pass() {
                return;
            }
            for _ in 0..CALLS {
                player.play(&mut records);
            }
            let mut all = histories.lock().expect("no panic");
            for (all, mine) in all.iter_mut().zip(&mut records) {
                all.append(mine);
            }
            drop(all);
            if gate.pass() && me == 0 {
                player.look(&mut histories.lock().expect("no panic"));
                let mut outcome = outcome.lock().expect("no panic");
                for history in histories.lock().expect("no panic").iter_mut() {
                    match &mut *outcome {
                        Ok(_) if !is_linearizable(history) => {
                            *outcome = Err(shortest(history));
                            gate.open_for_ever();
                        }
                        Ok(seen) => seen.add(history),
                        Err(_) => {}
                    }
                    history.clear();
                }
                for key in 0..KEYS {
                    map.remove(&Key(key));
                }
                LEFT.take();
            }
        }
    };
    thread::scope(|scope| {
        for me in 0..THREADS {
            let run = &run;
            scope.spawn(move || run(me));
        }
    });
    outcome.into_inner().expect("no panic")
}
