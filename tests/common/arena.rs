//! A map that threads fall upon with everything at once, its ledger, and who is inside.

use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use sessionwheel::{ExpiringMap, InsertError, Timestamp};

use super::ledger::Ledger;
use super::{Counted, Random};

pub const KEYS: u64 = 96;

pub fn at(nanos: u64) -> Timestamp {
    Timestamp::from_nanos(nanos)
}

/// Which threads are inside an operation: odd while one is. Of those that it has no room for, nobody
/// asks.
pub struct Presence(Vec<AtomicU64>);

impl Presence {
    pub fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn inside<R>(&self, me: usize, f: impl FnOnce() -> R) -> R {
        let enter_or_leave = || self.0.get(me).map(|p| p.fetch_add(1, SeqCst));
        enter_or_leave();
        let result = f();
        enter_or_leave();
        result
    }

    /// The same, and whether another thread was inside an operation meanwhile.
    pub fn watch<R>(&self, me: usize, f: impl FnOnce() -> R) -> (R, bool) {
        let look = || -> Vec<u64> { self.0.iter().map(|p| p.load(SeqCst)).collect() };
        let before = look();
        let result = self.inside(me, f);
        let after = look();
        let overlap = (0..before.len())
            .any(|other| other != me && (before[other] % 2 == 1 || before[other] != after[other]));
        (result, overlap)
    }
}

#[derive(Default, Debug)]
pub struct Seen {
    pub operations: AtomicU64,
    pub hits: AtomicU64,
    pub taken: AtomicU64,
    pub removed: AtomicU64,
    pub retimed: AtomicU64,
    pub refused: AtomicU64,
    pub flushes: AtomicU64,
    pub flushes_among_others: AtomicU64,
    pub stopped_flushes: AtomicU64,
    pub clears: AtomicU64,
    pub iterated: AtomicU64,
    pub raised: AtomicU64,
    pub lowered: AtomicU64,
}

pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

pub struct Arena {
    /// On how many keys operations fall.
    pub keys: u64,
    pub map: ExpiringMap<u64, Counted>,
    pub ledger: Arc<Ledger>,
    pub now: AtomicU64,
    pub presence: Presence,
    pub seen: Seen,
    /// Moves with every operation.
    progress: Arc<AtomicU64>,
}

/// In which somebody has moved, on any machine.
const LONG: Duration = Duration::from_secs(60);

impl Arena {
    pub fn new(threads: usize, values: usize, shards: usize, maximum: Option<usize>) -> Self {
        let ledger = Ledger::new(values);
        let books = Arc::clone(&ledger);
        let map = ExpiringMap::builder()
            .maximum(maximum)
            .shards(shards)
            .tick_bits(2)
            .listener(move |_: &u64, value: &Counted, reason| books.left(value, reason))
            .build()
            .unwrap();
        Self {
            keys: KEYS,
            map,
            ledger,
            now: AtomicU64::new(0),
            presence: Presence::new(threads),
            seen: Seen::default(),
            progress: Arc::default(),
        }
    }

    /// From now on the process ends, and says why, if nobody moves for long: a thread that goes round and
    /// round in the map says nothing.
    pub fn watch_over(&self) {
        let watched = Arc::downgrade(&self.progress);
        thread::spawn(move || {
            let (mut before, mut since) = (0, Instant::now());
            while let Some(progress) = watched.upgrade() {
                let now = progress.load(Relaxed);
                if now != before {
                    (before, since) = (now, Instant::now());
                } else if since.elapsed() > LONG {
                    // Around the test harness, which would keep it to itself.
                    let line = format!("nobody has moved for {LONG:?} after {now} operations\n");
                    let _ = io::stderr().write_all(line.as_bytes());
                    process::exit(1);
                }
                drop(progress);
                thread::sleep(Duration::from_millis(100));
            }
        });
    }

    /// Says that somebody moves.
    pub fn moves(&self) {
        self.progress.fetch_add(1, Relaxed);
    }

    pub fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    pub fn insert(&self, number: usize, key: u64, lifetime: u64) {
        let now = self.now();
        let value = self.ledger.value(number);
        match self.map.insert(key, value, at(now + lifetime), at(now)) {
            Ok(_) => self.ledger.inserted(),
            Err(InsertError::Full(k, value)) => {
                assert_eq!((k, value.number()), (key, number as u64), "handed back");
                count(&self.seen.refused);
            }
            Err(other) => panic!("{other:?}"),
        }
    }

    /// One operation of thread `me`; `number` is for the value it may insert.
    fn step(&self, me: usize, number: usize, random: &mut Random) {
        let Self { map, seen, .. } = self;
        let key = random.below(self.keys);
        let now = self.now();
        count(&seen.operations);
        self.moves();
        match random.below(100) {
            0..40 => self
                .presence
                .inside(me, || self.insert(number, key, random.below(120))),
            40..55 => self.presence.inside(me, || {
                let guard = map.pin();
                if let Some(entry) = map.get_entry(&key, at(now), &guard) {
                    assert_eq!(*entry.key(), key);
                    assert!(entry.deadline() >= at(now), "expired, and found");
                    entry.value().number();
                    count(&seen.hits);
                }
            }),
            55..65 => self.presence.inside(me, || {
                let guard = map.pin();
                if let Some(value) = map.take(&key, at(now), &guard) {
                    self.ledger.taken(value);
                    count(&seen.taken);
                }
            }),
            65..70 => self.presence.inside(me, || {
                if map.remove(&key) {
                    count(&seen.removed);
                }
            }),
            70..80 => self.presence.inside(me, || {
                let to = match random.below(8) {
                    0 => Timestamp::NEVER,
                    _ => at(now + random.below(200)),
                };
                if map.retime(&key, to, at(now)) {
                    count(&seen.retimed);
                }
            }),
            80..88 => {
                self.now.fetch_add(random.below(8), Relaxed);
            }
            88..93 => {
                let early = random.below(30);
                let flush = || map.flush(at(now.saturating_sub(early)));
                let (_, overlap) = self.presence.watch(me, flush);
                count(&seen.flushes);
                seen.flushes_among_others.fetch_add(overlap.into(), Relaxed);
            }
            93..97 => {
                let budget = random.below(20) as usize;
                let swept = self
                    .presence
                    .inside(me, || map.flush_within(at(now), budget));
                assert!(swept.visited <= budget);
                seen.stopped_flushes
                    .fetch_add(swept.remaining.into(), Relaxed);
            }
            97..99 => self.presence.inside(me, || {
                let guard = map.pin();
                let met = map.iter(&guard).inspect(|e| {
                    e.value().number();
                });
                seen.iterated.fetch_add(met.count() as u64, Relaxed);
            }),
            _ if random.below(8) == 0 => {
                self.presence.inside(me, || map.clear());
                count(&seen.clears);
            }
            _ => {
                map.next_expiry();
                map.reclaim();
            }
        }
    }

    pub fn run(&self, me: usize, operations: usize) {
        self.run_from(me as u64 + 1, me, operations);
    }

    pub fn run_from(&self, seed: u64, me: usize, operations: usize) {
        let mut random = Random::new(seed);
        for i in 0..operations {
            self.step(me, me * operations + i, &mut random);
        }
    }

    pub fn finish(self, rare: &[&str]) {
        let Self {
            map, ledger, seen, ..
        } = self;
        println!("{seen:?} {:?}", map.stats());
        let all = format!("{seen:?} {:?}", map.stats());
        for name in rare {
            assert!(!all.contains(&format!(" {name}: 0")), "{name}: {all}");
        }
        ledger.close(&map);
        drop(map);
        assert_eq!(ledger.live(), 0);
    }
}

pub const RARE: [&str; 11] = [
    "hits",
    "taken",
    "removed",
    "retimed",
    "flushes_among_others",
    "stopped_flushes",
    "clears",
    "iterated",
    "expired",
    "evicted",
    "replaced",
];
