//! What the models share: how a model is run and counted, and a map that loom can repeat exactly.
//!
//! See `README.md` for what is modelled and how to run it.
#![cfg(loom)]

use std::hash::{BuildHasherDefault, Hasher};
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use loom::cell::UnsafeCell;
use sessionwheel::{ExpiringMap, InsertError, Inserted, Reason, Timestamp};

/// Fewer executions than this are no model: something was serialised that should not be.
const LEAST: u64 = 100;

/// The preemption bound with crossbeam-epoch itself, which takes many more steps than the small
/// collector.
const EPOCH_BOUND: usize = 2;

/// The preemption bound of a model that the short form has no time for: the larger one if the environment
/// variable `SESSIONWHEEL_LOOM` is `full`.
pub fn long(short: usize, full: usize) -> usize {
    if std::env::var("SESSIONWHEEL_LOOM").is_ok_and(|value| value == "full") {
        full
    } else {
        short
    }
}

/// What the environment variable `SESSIONWHEEL_LOOM_BOUND` says: no model has a lower bound then.
fn least_bound() -> usize {
    let value = std::env::var("SESSIONWHEEL_LOOM_BOUND");
    value.map_or(0, |value| value.parse().expect("a number of preemptions"))
}

/// Runs `model` in every interleaving with at most `bound` preemptions, and says how many
/// executions that took.
///
/// # Panics
/// If an execution does, or if there were suspiciously few.
pub fn check(name: &str, bound: usize, model: impl Fn() + Send + Sync + 'static) {
    let bound = bound.max(least_bound());
    let bound = if cfg!(crossbeam_loom) {
        bound.min(EPOCH_BOUND)
    } else {
        bound
    };
    // Not loom's atomic: it counts across executions.
    let executions = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(bound);
    builder.max_branches = 20_000;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let n = executions.load(Ordering::Relaxed);
    // Around the test harness, which would keep it to itself, and on a line of its own.
    let line = format!("\nmodel {name}: executions {n} (preemption bound {bound})\n");
    std::io::stdout()
        .write_all(line.as_bytes())
        .expect("stdout is there");
    assert!(n >= LEAST, "only {n} executions of {name}");
}

/// A hash is its key, so that every execution meets the same buckets.
#[derive(Default)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are u64");
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A value whose reads and whose drop loom watches: a read that did not happen before the drop is
/// a read of a recycled slot, in whatever order the two came in this execution.
pub struct Value {
    number: UnsafeCell<u64>,
    /// How many have not been dropped yet. Not loom's: it belongs to the books.
    alive: Arc<AtomicU64>,
}

// SAFETY: shared for reading only; loom fails the model otherwise.
unsafe impl Sync for Value {}

impl Value {
    pub fn read(&self) -> u64 {
        // SAFETY: only `drop` writes, and loom fails the model if that is not ordered after this.
        self.number.with(|value| unsafe { *value })
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: `&mut self`.
        self.number.with_mut(|value| unsafe { *value = 0 });
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who left, and why: (key, value, reason).
pub type Left = (u64, u64, Reason);

type Map = ExpiringMap<u64, Value, BuildHasherDefault<Identity>>;

/// A map of one shard and a few ticks, with a record of who left it.
#[derive(Clone)]
pub struct Watched {
    // Not loom's Arc, nor its Mutex: neither belongs to what is modelled, and both cost states.
    map: Arc<Map>,
    left: Arc<Mutex<Vec<Left>>>,
    alive: Arc<AtomicU64>,
}

impl Default for Watched {
    fn default() -> Self {
        let left = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&left);
        let map = ExpiringMap::builder()
            .shards(1)
            .tick_bits(TICK_BITS)
            .hasher(BuildHasherDefault::default())
            .listener(move |&key, value: &Value, reason| {
                let event = (key, value.read(), reason);
                log.lock().expect("no panics").push(event);
            })
            .build()
            .expect("good numbers");
        Self {
            map: Arc::new(map),
            left,
            alive: Arc::default(),
        }
    }
}

impl Watched {
    /// An insert that must succeed; whether it replaced.
    pub fn put(&self, key: u64, value: u64, deadline: Timestamp, now: Timestamp) -> bool {
        self.offer(key, value, deadline, now)
            .expect("there is room")
            .replaced
    }

    /// An insert that may be refused.
    pub fn offer(
        &self,
        key: u64,
        value: u64,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Inserted, InsertError<u64, Value>> {
        self.alive.fetch_add(1, Ordering::Relaxed);
        let value = Value {
            number: UnsafeCell::new(value),
            alive: Arc::clone(&self.alive),
        };
        self.map.insert(key, value, deadline, now)
    }

    /// How many of the values of this map have not been dropped yet; to be asked when the map is gone.
    pub fn alive(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.alive)
    }

    pub fn get(&self, key: u64, now: Timestamp) -> Option<u64> {
        let guard = sessionwheel::pin();
        self.map.get(&key, now, &guard).map(Value::read)
    }

    /// A take whose value is read in place at the last moment at which that is allowed.
    pub fn take(&self, key: u64, now: Timestamp) -> Option<u64> {
        let guard = sessionwheel::pin();
        let taken = self.map.take(&key, now, &guard);
        taken.map(Value::read)
    }

    /// Removes all that has expired, in fewer steps than `ExpiringMap::flush`: it does not try
    /// again and again to drop what it removed.
    pub fn flush(&self, at: Timestamp) -> usize {
        let swept = self.map.flush_within(at, usize::MAX);
        assert!(!swept.remaining);
        swept.removed
    }

    /// An entry comes and goes, so that its slot is free again and its hint is stale.
    pub fn leave_a_stale_hint(&self, deadline: Timestamp) {
        self.put(0, 1, deadline, tick(0));
        assert_eq!(self.take(0, tick(0)), Some(1));
        assert_eq!(self.map.reclaim(), 0);
        self.forget_who_left();
    }

    /// As if nobody had left so far.
    pub fn forget_who_left(&self) {
        self.left.lock().expect("no panics").clear();
    }

    /// Who has left so far, in a fixed order.
    pub fn left(&self) -> Vec<Left> {
        let mut left = self.left.lock().expect("no panics").clone();
        left.sort_by_key(|&(key, value, _)| (key, value));
        left
    }

    /// When all threads are done: exactly these have left, so many are there, nothing was dropped
    /// while somebody could read it.
    ///
    /// # Panics
    /// If not.
    pub fn settled(&self, left: &[Left], live: usize) {
        assert_eq!(self.left(), left, "who left, and why");
        let stats = self.map.stats();
        assert_eq!(stats.live, live as u64, "permits in use");
        let guard = sessionwheel::pin();
        assert_eq!(self.map.iter(&guard).count(), live, "entries by number");
        // loom's complaints would be caught and counted there.
        assert_eq!((stats.drop_panics, stats.listener_panics), (0, 0));
    }
}

impl std::ops::Deref for Watched {
    type Target = Map;

    fn deref(&self) -> &Map {
        &self.map
    }
}

/// Runs `f` on a thread of its own.
pub fn beside<R: 'static>(
    map: &Watched,
    f: impl FnOnce(&Watched) -> R + 'static,
) -> loom::thread::JoinHandle<R> {
    let map = map.clone();
    loom::thread::spawn(move || f(&map))
}

/// Two levels of four positions: ticks 0 to 15.
pub const TICK_BITS: u32 = 60;

/// The first moment of a tick.
pub fn tick(number: u64) -> Timestamp {
    Timestamp::from_nanos(number << TICK_BITS)
}

/// The first moment at which a deadline at `tick(number)` has passed.
pub fn after(number: u64) -> Timestamp {
    Timestamp::from_nanos((number << TICK_BITS) + 1)
}
