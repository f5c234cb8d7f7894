//! Threads that make histories, round after round.

use std::cell::RefCell;
use std::hint::spin_loop;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;

use fastrand::Rng;
use sessionwheel::{ExpiringMap, Reason, Timestamp};

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
/// Ticks of 8 ns, so that a round is played on several of them.
const TICK_BITS: u32 = 3;

thread_local! {
    /// Who has left by what this thread is doing.
    static LEFT: RefCell<Vec<(usize, Value, Reason)>> = const { RefCell::new(Vec::new()) };
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Histories: one for each key and round.
    pub histories: usize,
    /// Calls in them; a flush and a step of the clock are one in that of each key.
    pub operations: usize,
    /// Of these, how many overlap another one on their key.
    pub overlapping: usize,
    /// How many flushes had to remove an entry, or to see that others did.
    pub flushed: usize,
    /// Entries that left by any operation, and by inserts and takes that found them expired.
    pub left: usize,
    /// Of these, by inserts and takes that found them expired.
    pub found_expired: usize,
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

/// Waits until all threads are there, as often as needed. Spins for a while, so that they go on
/// together.
struct Gate(AtomicUsize);

/// Opens the gate for ever if its thread panics, or the others would wait for it.
struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.0.store(BROKEN, SeqCst);
        }
    }
}

const BROKEN: usize = usize::MAX / 2;

impl Gate {
    /// `false` if a thread has panicked.
    fn pass(&self) -> bool {
        let mine = self.0.fetch_add(1, SeqCst);
        let all = (mine / THREADS + 1) * THREADS;
        let mut spins = 0;
        while self.0.load(SeqCst) < all {
            spins += 1;
            if spins % 128 == 0 {
                thread::yield_now();
            }
            spin_loop();
        }
        self.0.load(SeqCst) < BROKEN
    }
}

fn at(nanos: Nanos) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// One thread's part in all rounds.
struct Player<'a> {
    me: usize,
    map: &'a ExpiringMap<usize, Value>,
    instants: &'a Instants,
    clock: &'a AtomicU64,
    rng: Rng,
    next_value: Value,
}

impl Player<'_> {
    /// A random operation, into the histories of the keys it was on.
    fn play(&mut self, histories: &mut [Vec<Record>; KEYS]) {
        let key = self.rng.usize(..KEYS);
        match self.rng.u32(..16) {
            0..4 => self.insert(key, &mut histories[key]),
            4..7 => {
                let get = |now| self.map.get_cloned(&key, at(now));
                let (call, (now, seen)) = self.call(get);
                histories[key].push(call.meanwhile(Step::Get { now, seen }));
            }
            7 => {
                let (call, (now, seen)) = self.call(|now| self.map.contains(&key, at(now)));
                histories[key].push(call.meanwhile(Step::Contains { now, seen }));
            }
            8..10 => {
                let (call, (now, taken)) = self.call(|now| self.map.take_cloned(&key, at(now)));
                let left = left(key);
                histories[key].push(call.meanwhile(Step::Take { now, taken, left }));
            }
            10 => {
                let (call, (_, removed)) = self.call(|_| self.map.remove(&key));
                let left = left(key);
                histories[key].push(call.meanwhile(Step::Remove { removed, left }));
            }
            11..14 => self.retime(key, &mut histories[key]),
            14 => {
                let step = self.rng.u64(1..8);
                let advance = |_| self.clock.fetch_add(step, SeqCst) + step;
                let (call, (_, to)) = self.call(advance);
                let records = histories.iter_mut();
                records.for_each(|records| records.push(call.meanwhile(Step::Advance(to))));
            }
            _ => self.flush(histories),
        }
    }

    /// Calls, with what the clock says then; when that was, what it said, what came back.
    fn call<R>(&self, operation: impl FnOnce(Nanos) -> R) -> (Call, (Nanos, R)) {
        let called = self.instants.next();
        let now = self.clock.load(SeqCst);
        let result = operation(now);
        let returned = self.instants.next();
        let thread = self.me;
        (
            Call {
                thread,
                called,
                returned,
            },
            (now, result),
        )
    }

    fn insert(&mut self, key: usize, history: &mut Vec<Record>) {
        self.next_value += THREADS as u64;
        let value = self.next_value;
        let lifetime = self.rng.u64(..LIFETIMES);
        let insert = |now| self.map.insert(key, value, at(now + lifetime), at(now));
        let (call, (now, inserted)) = self.call(insert);
        match inserted {
            Ok(_) => {
                let step = Step::Insert {
                    call: call.called,
                    value,
                    deadline: now + lifetime,
                    now,
                    left: left(key),
                };
                settled(history, call, step);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn retime(&mut self, key: usize, history: &mut Vec<Record>) {
        // Shorter or longer; now and then it has passed already.
        let lifetime = self.rng.u64(..LIFETIMES);
        let deadline = |now: Nanos| (now + lifetime).saturating_sub(2);
        let retime = |now| self.map.retime(&key, at(deadline(now)), at(now));
        let (call, (now, retimed)) = self.call(retime);
        let step = Step::Retime {
            call: call.called,
            deadline: deadline(now),
            now,
            retimed,
        };
        settled(history, call, step);
    }

    fn flush(&self, histories: &mut [Vec<Record>; KEYS]) {
        let (call, (at, _)) = self.call(|now| self.map.flush(at(now)));
        let thread = self.me;
        let all_left = LEFT.take();
        for (key, history) in histories.iter_mut().enumerate() {
            history.push(call.at_first(Step::Begin { at, thread }));
            // More than one, if somebody inserts meanwhile.
            for &(_, left, reason) in all_left.iter().filter(|(of, ..)| *of == key) {
                assert_eq!(reason, Reason::Expired);
                history.push(call.meanwhile(Step::Flush { at, left }));
            }
            history.push(call.at_last(Step::End { at, thread }));
        }
    }

    /// Looks at all keys.
    fn look(&self, histories: &mut [Vec<Record>; KEYS]) {
        for (key, history) in histories.iter_mut().enumerate() {
            let (call, (now, seen)) = self.call(|now| self.map.get_cloned(&key, at(now)));
            history.push(call.meanwhile(Step::Get { now, seen }));
        }
    }
}

/// A step that gives a deadline, and that its call has returned.
fn settled(history: &mut Vec<Record>, call: Call, step: Step) {
    history.push(call.meanwhile(step));
    history.push(call.at_last(Step::Settle { call: call.called }));
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

/// Plays rounds until the histories hold so many operations, each round on an empty map.
///
/// # Errors
///
/// The first history that no map without threads could have shown, as far as is needed to see that.
pub fn play(operations: usize, seed: u64) -> Result<Seen, Vec<Record>> {
    let listener = |key: &usize, value: &Value, reason| {
        LEFT.with_borrow_mut(|left| left.push((*key, *value, reason)));
    };
    // One shard: flushes of one run on the thread that calls them, which hears who leaves.
    let map = ExpiringMap::builder()
        .shards(1)
        .tick_bits(TICK_BITS)
        .listener(listener)
        .build()
        .expect("a map");
    let (instants, clock) = (Instants::default(), AtomicU64::new(1));
    let gate = Gate(AtomicUsize::new(0));
    let rounds = operations.div_ceil(THREADS * CALLS);
    let histories = Mutex::new([const { Vec::new() }; KEYS]);
    let outcome = Mutex::new(Ok(Seen::default()));
    let run = |me: usize| {
        let mut player = Player {
            me,
            map: &map,
            instants: &instants,
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
                        Ok(_) if !is_linearizable(history) => *outcome = Err(shortest(history)),
                        Ok(seen) => seen.add(history),
                        Err(_) => {}
                    }
                    history.clear();
                }
                map.clear();
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
