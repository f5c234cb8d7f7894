//! One thread is stopped in the middle of what it does, at each step that the sources name in turn. All
//! others (two) go on: their operations end in a bounded number of steps, a flush of theirs is complete, an
//! insert is refused only when the slack is used up. When the thread goes on, nothing was lost or
//! doubled.
//!
//! Runs with `--cfg sessionwheel_steps` only; `ci/suspension.sh` does that. `SESSIONWHEEL_STRESS`
//! multiplies how often a thread is stopped at each step.
#![cfg(sessionwheel_steps)]

mod common;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use common::arena::at;
use common::ledger::Ledger;
use common::{Counted, Random, alone, scale};
use sessionwheel::{ExpiringMap, InsertError};

const MAXIMUM: usize = 48;
const LEAST: usize = 24;
const KEYS: u64 = 96;

/// As the documentation of `InsertError::Exhausted` has it: so many slots beyond the maximum.
const SLACK: usize = 16_384;

/// Slots that a stopped thread may have in hand: a batch that it has not retired, ripe ones that it is
/// about to free, one for itself.
const IN_HAND: usize = 64 + 32 + 1;

/// How many operations a thread tries until it is stopped.
const ATTEMPTS: usize = 200_000;

/// How many operations each of two others does meanwhile.
const MEANWHILE: usize = 2_000;
const _: () = assert!(2 * MEANWHILE < SLACK / 2);

/// More steps than any operation takes: a flush has some for each entry, and for each tick.
const STEPS: u64 = 1_024;

/// Values of the thread that is stopped; those of the others come after them.
const SECOND: usize = ATTEMPTS;
const THIRD: usize = SECOND + MEANWHILE;
const VALUES: usize = THIRD + 4 * (MAXIMUM + SLACK);

thread_local! {
    /// This is the thread to be stopped.
    static VICTIM: Cell<bool> = const { Cell::new(false) };
    /// How many steps this thread's operation has taken.
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Until it has come so many times more.
    Waiting(u64),
    Stopped,
    Released,
}

/// Where the thread is stopped, once.
struct Stop {
    state: Mutex<State>,
    changed: Condvar,
}

impl Stop {
    fn new(passes: u64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State::Waiting(passes)),
            changed: Condvar::new(),
        })
    }

    /// The thread has come to the step.
    fn here(&self) {
        if !VICTIM.get() {
            return;
        }
        let mut state = self.state.lock().unwrap();
        match *state {
            State::Waiting(0) => {
                *state = State::Stopped;
                self.changed.notify_all();
                let released = self.changed.wait_while(state, |s| *s == State::Stopped);
                drop(released);
            }
            State::Waiting(passes) => *state = State::Waiting(passes - 1),
            State::Stopped | State::Released => {}
        }
    }

    /// It will not come any more.
    fn over(&self) {
        let mut state = self.state.lock().unwrap();
        if matches!(*state, State::Waiting(_)) {
            *state = State::Released;
            self.changed.notify_all();
        }
    }

    /// Whether it has come.
    fn wait(&self) -> bool {
        let state = self.state.lock().unwrap();
        let state = self
            .changed
            .wait_while(state, |state| matches!(state, State::Waiting(_)));
        *state.unwrap() == State::Stopped
    }

    fn release(&self) {
        *self.state.lock().unwrap() = State::Released;
        self.changed.notify_all();
    }

    fn is_over(&self) -> bool {
        *self.state.lock().unwrap() == State::Released
    }
}

/// The names of all steps, as the sources have them.
fn steps() -> Vec<String> {
    fn collect(folder: &Path, names: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, names);
            } else if path.file_name().is_some_and(|name| name != "step.rs") {
                let source = std::fs::read_to_string(path).unwrap();
                let behind = source.split("step!(\"").skip(1);
                names.extend(behind.map(|s| s.split('"').next().unwrap().to_owned()));
            }
        }
    }
    let mut names = Vec::new();
    collect(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut names,
    );
    names.sort();
    let all = names.len();
    names.dedup();
    assert!(
        all == names.len() && all > 0,
        "{all} steps, {} names",
        names.len()
    );
    names
}

struct Arena {
    map: ExpiringMap<u64, Counted>,
    ledger: Arc<Ledger>,
    now: AtomicU64,
    /// The key that the thread to be stopped is busy with.
    busy: AtomicU64,
}

impl Arena {
    fn new(shards: usize) -> Self {
        let ledger = Ledger::new(VALUES);
        let books = Arc::clone(&ledger);
        let map = ExpiringMap::builder()
            .maximum(Some(MAXIMUM))
            .shards(shards)
            .helpers(0, |_| ())
            .tick_bits(4)
            .listener(move |_, value, reason| books.left(value, reason))
            .build()
            .unwrap();
        Self {
            map,
            ledger,
            now: AtomicU64::new(1),
            busy: AtomicU64::new(KEYS),
        }
    }

    /// Whether it was taken in.
    fn insert(&self, number: usize, key: u64, lifetime: u64) -> bool {
        let now = self.now.load(SeqCst);
        let value = self.ledger.value(number);
        match self.map.insert(key, value, at(now + lifetime), at(now)) {
            Ok(_) => self.ledger.inserted(),
            Err(InsertError::Full(..) | InsertError::Exhausted(..)) => return false,
            Err(other) => panic!("{other:?}"),
        }
        true
    }

    /// One operation of a thread; `number` is for the value it may insert.
    fn operate(&self, number: usize, random: &mut Random, key: u64) {
        let map = &self.map;
        let now = self.now.load(SeqCst);
        // In turn: time goes slowly, so that the map is full; fast, so that all expires; by rounds of the
        // wheel, and flushes leave most of what they find.
        let (hurry, thorough) = [(3, true), (64, true), (1_024, false)][number / 512 % 3];
        match random.below(100) {
            0..40 => {
                // Many for one tick, so that it needs all it has to keep them; some for a later round.
                let lifetime = match random.below(8) {
                    0 => random.below(3_000),
                    _ => random.below(4) * 40,
                };
                self.insert(number, key, lifetime);
            }
            40..45 => {
                let guard = map.pin();
                if let Some(value) = map.get(&key, at(now), &guard) {
                    value.number();
                }
            }
            45..60 => {
                let guard = map.pin();
                if let Some(value) = map.take(&key, at(now), &guard) {
                    self.ledger.taken(value);
                }
            }
            60..65 => {
                map.remove(&key);
            }
            65..78 => {
                map.retime(&key, at(now + random.below(200)), at(now));
            }
            78..88 => {
                self.now.fetch_add(random.below(hurry), SeqCst);
            }
            88..94 if thorough => {
                map.flush(at(now));
            }
            88..99 => {
                let budget = random.below(if thorough { 20 } else { 2 }) as usize;
                assert!(map.flush_within(at(now), budget).visited <= budget);
            }
            _ if random.below(2) == 0 => {
                let most = (MAXIMUM - LEAST + 1) as u64;
                map.set_maximum(Some(LEAST + random.below(most) as usize));
            }
            _ => {
                map.reclaim();
            }
        }
    }

    fn until_stopped(&self, stop: &Stop, random: &mut Random) -> usize {
        VICTIM.set(true);
        for number in 0..ATTEMPTS {
            let key = random.below(KEYS);
            self.busy.store(key, SeqCst);
            self.operate(number, random, key);
            if stop.is_over() {
                return number;
            }
        }
        stop.over();
        ATTEMPTS
    }

    /// Numbers of the values whose deadline has passed at `now`, but for what the stopped thread may
    /// have under way.
    fn expired(&self, now: u64) -> BTreeSet<u64> {
        let guard = self.map.pin();
        let busy = self.busy.load(SeqCst);
        let entries = self.map.iter(&guard);
        let expired = entries.filter(|e| e.deadline() < at(now) && *e.key() != busy);
        expired.map(|e| e.value().number()).collect()
    }
}

/// What the others did while one was stopped.
#[derive(Clone, Copy, Default, Debug)]
struct Meanwhile {
    operations: usize,
    most_steps: u64,
    flushed: usize,
    taken_in: usize,
    refused: bool,
}

/// Random operations, with values from this number on; the most steps of one of them.
fn many(arena: &Arena, first: usize, random: &mut Random) -> u64 {
    let numbers = first..first + MEANWHILE;
    let steps = numbers.map(|number| {
        let key = random.below(KEYS);
        TAKEN.set(0);
        arena.operate(number, random, key);
        TAKEN.get()
    });
    steps.max().unwrap_or(0)
}

fn meanwhile(arena: &Arena, shards: usize, random: &mut Random) -> Meanwhile {
    let mut seen = Meanwhile {
        operations: 2 * MEANWHILE,
        ..Meanwhile::default()
    };
    let exhausted = arena.map.stats().exhausted;
    thread::scope(|scope| {
        let mut theirs = Random::new(random.next());
        let second = scope.spawn(move || many(arena, SECOND, &mut theirs));
        seen.most_steps = many(arena, THIRD, random).max(second.join().unwrap());
    });
    // All that has come is less than the slack.
    let exhausted = arena.map.stats().exhausted - exhausted;
    assert_eq!(exhausted, 0, "refused before the slack was used up");
    let mut bounded = |operation: &mut dyn FnMut()| {
        TAKEN.set(0);
        operation();
        seen.operations += 1;
        seen.most_steps = seen.most_steps.max(TAKEN.get());
    };
    let mut number = THIRD + MEANWHILE;
    // Another flush is complete by itself.
    let now = arena.now.fetch_add(48, SeqCst) + 48;
    let expired = arena.expired(now);
    bounded(&mut || {
        arena.map.flush(at(now));
    });
    let left = arena.expired(now);
    assert!(
        left.is_empty(),
        "{left:?} of {expired:?} were left at {now}"
    );
    let flushed = expired.len();
    bounded(&mut || arena.map.set_maximum(Some(MAXIMUM)));
    let full = arena.map.stats().full;
    // Inserts go on until the slack is used up, if what was removed can't be dropped.
    let (mut taken_in, mut refused) = (0, false);
    while taken_in < 2 * (MAXIMUM + SLACK) && !refused {
        bounded(&mut || {
            let key = KEYS + 1 + taken_in as u64;
            refused = !arena.insert(number, key, 10_000);
        });
        number += 1;
        taken_in += usize::from(!refused);
    }
    if refused {
        let stats = arena.map.stats();
        let used = arena.map.len() + stats.garbage as usize;
        assert_eq!(stats.full, full, "refused for another reason");
        let all = MAXIMUM + SLACK;
        // Chance decides which of two shards is out of slots first, and both are nearly so then.
        let least = if shards == 1 { all } else { all / 10 * 9 };
        assert!(
            used + IN_HAND >= least,
            "refused with {used} slots used of {all}"
        );
    }
    // What is there is found, and taken, even so.
    let newest = KEYS + taken_in as u64;
    let now = at(arena.now.load(SeqCst));
    bounded(&mut || assert!(arena.map.contains(&newest, now)));
    bounded(&mut || {
        let guard = arena.map.pin();
        arena
            .ledger
            .taken(arena.map.take(&newest, now, &guard).expect("it is there"));
    });
    bounded(&mut || assert!(!arena.map.contains(&newest, now)));
    Meanwhile {
        flushed,
        taken_in,
        refused,
        ..seen
    }
}

/// Stops a thread at a step, when it has passed it some times; how many operations it had done by then,
/// and what the others did. `None` if it never came there.
fn suspend(
    step: &str,
    passes: u64,
    shards: usize,
    steps: &[String],
    seed: u64,
) -> Option<(usize, Meanwhile)> {
    let arena = Arena::new(shards);
    let stop = Stop::new(passes);
    let scenario = fail::FailScenario::setup();
    for name in steps {
        let stop = (name == step).then(|| Arc::clone(&stop));
        let passed = move || {
            TAKEN.set(TAKEN.get() + 1);
            assert!(
                VICTIM.get() || TAKEN.get() <= STEPS,
                "an operation without an end"
            );
            if let Some(stop) = &stop {
                stop.here();
            }
        };
        fail::cfg_callback(name.as_str(), passed).unwrap();
    }
    let (mut before, mut seen) = (0, None);
    thread::scope(|scope| {
        let (arena, stop) = (&arena, &stop);
        let victim = scope.spawn(move || arena.until_stopped(stop, &mut Random::new(seed)));
        if stop.wait() {
            let _releases = common::OnDrop(|| stop.release());
            seen = Some(meanwhile(arena, shards, &mut Random::new(!seed)));
        }
        before = victim.join().unwrap();
    });
    scenario.teardown();
    // No permit was lost: as many are taken in as ever.
    arena.map.set_maximum(Some(MAXIMUM));
    arena.map.clear();
    assert_eq!(arena.map.reclaim(), 0);
    for number in 0..MAXIMUM {
        let key = number as u64;
        let value = arena.ledger.value(VALUES - MAXIMUM + number);
        let now = arena.now.load(SeqCst);
        let inserted = arena.map.insert(key, value, at(now + 9), at(now)).unwrap();
        arena.ledger.inserted();
        assert!(
            !inserted.replaced && inserted.evicted == 0,
            "a permit was lost"
        );
    }
    arena.ledger.close(&arena.map);
    Some((before, seen?))
}

/// However many a flush has removed when it is stopped, the room of nearly all of them is there for inserts.
#[test]
fn a_flush_that_is_stopped_after_any_of_its_removals_has_hardly_any_room_in_hand() {
    const IN_HAND: usize = MAXIMUM / 16;
    let _alone = alone();
    let (mut stopped, mut most) = (0, 0);
    for removed in 1..=MAXIMUM {
        let map = ExpiringMap::builder()
            .maximum(Some(MAXIMUM))
            .shards(1)
            .helpers(0, |_| ())
            .build()
            .unwrap();
        for key in 0..MAXIMUM {
            map.insert(key, key, at(10), at(1)).unwrap();
        }
        let stop = Stop::new(removed as u64 - 1);
        let scenario = fail::FailScenario::setup();
        let here = Arc::clone(&stop);
        fail::cfg_callback("sweep: has marked", move || here.here()).unwrap();
        thread::scope(|scope| {
            let flusher = scope.spawn(|| {
                VICTIM.set(true);
                map.flush(at(20)).removed
            });
            assert!(stop.wait());
            let _releases = common::OnDrop(|| stop.release());
            stopped += 1;
            let mut evicted = 0;
            for key in 0..removed {
                let inserted = map.insert(MAXIMUM + key, key, at(90), at(20));
                evicted += inserted.expect("room").evicted;
            }
            assert!(
                evicted <= IN_HAND,
                "{evicted} had to leave, {removed} removed"
            );
            most = most.max(evicted);
            stop.release();
            flusher.join().unwrap();
            let there = map.len();
            assert!(there <= removed && there + evicted >= removed);
        });
        scenario.teardown();
    }
    println!("suspension: {stopped} flushes stopped, {most} entries at the most had to leave");
    assert!(stopped == MAXIMUM && most > 0);
}

#[test]
fn nobody_waits_for_a_thread_that_is_stopped_wherever_it_is() {
    let _alone = alone();
    let steps = steps();
    let mut total = Meanwhile::default();
    let mut kinds = BTreeMap::<&str, usize>::new();
    let mut suspended = 0;
    for step in &steps {
        for seed in 0..2 * scale() as u64 {
            // Not always the first time, nor always with two shards; but some steps are seldom taken.
            let shards = 1 + seed as usize % 2;
            let mut settings = [(seed * 5, shards), (0, shards), (0, 2)].into_iter();
            let stopped = settings
                .find_map(|(passes, shards)| suspend(step, passes, shards, &steps, seed + 1));
            let Some((before, seen)) = stopped else {
                panic!("no thread has ever come to: {step}");
            };
            println!("suspended at {step}: operation {before}; {seen:?}");
            suspended += 1;
            *kinds.entry(step.split(':').next().unwrap()).or_default() += 1;
            total.operations += seen.operations;
            total.flushed += seen.flushed;
            total.taken_in += seen.taken_in;
            total.most_steps = total.most_steps.max(seen.most_steps);
            total.refused |= seen.refused;
        }
    }
    println!(
        "suspension: {suspended} threads stopped at {} steps, {} operations of others meanwhile, \
         {} steps at the most in one, {} entries flushed, {} taken in until refused, {kinds:?}",
        steps.len(),
        total.operations,
        total.most_steps,
        total.flushed,
        total.taken_in,
    );
    assert!(total.flushed > 0 && total.refused);
}
