//! Insert/take pairs at a full cache, without a flush: does memory stay where it is?
//!
//! A cache is filled. A pair takes a session at random and inserts a new one in its place, as a
//! TLS 1.3 resumption does. Lifetimes are 5 minutes to 2 hours at random, time passes at a second
//! for 50,000 pairs, and nothing ever calls `flush` or `reclaim`. Resident memory is read after the
//! first 1,000,000 pairs and at the end.

use std::hash::BuildHasher;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sessionwheel::{ExpiringMap, InsertError, Timestamp};

use crate::{Id, Ids, Payload, payload, resident};

const FIRST: u64 = 1_000_000;

/// After how many of all pairs memory is first read.
#[must_use]
pub fn first(pairs: u64) -> u64 {
    FIRST.min(pairs / 10)
}

/// The end may be this much larger than the beginning.
pub const BAR: f64 = 1.10;

const PAIRS_PER_SECOND: u64 = 50_000;

/// What one process found.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    pub threads: usize,
    pub pairs: u64,
    pub live: u64,
    /// Bytes resident before the cache was made, after the first pairs, and at the end.
    pub resident_before: u64,
    pub resident_first: u64,
    pub resident_end: u64,
    /// End against first, of all that is resident, and of what came since before.
    pub ratio: f64,
    pub ratio_above_before: f64,
    pub bar: f64,
    pub slots: u64,
    pub garbage: u64,
    pub garbage_after_reclaim: u64,
    pub exhausted: u64,
    pub refused_otherwise: u64,
    pub missing: u64,
    pub evicted: u64,
    /// The making of ids and payloads included.
    pub ns_per_pair: f64,
    pub ok: bool,
}

type Map<S> = ExpiringMap<Id, Payload, S>;

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Pairs in all.
    pub pairs: u64,
    /// Sessions in the cache.
    pub live: usize,
    /// Threads that share the pairs.
    pub threads: usize,
    /// Too short for memory to say anything: it is read, but not judged.
    pub smoke: bool,
}

/// Does it in this process. What it says of memory holds if nobody had a heap here before.
#[must_use]
pub fn churn(work: Work) -> Run {
    let threads = work.threads;
    let live = work.live / threads * threads;
    // The ids that are live, one slice for each thread: there before memory is first read.
    let mut ids: Vec<Vec<Id>> = (0..threads)
        .map(|n| Ids::new(n as u64).many(live / threads))
        .collect();
    let resident_before = resident().unwrap_or(0);
    let map = ExpiringMap::builder()
        .maximum(Some(live))
        .build()
        .expect("a map");
    let first = first(work.pairs) / threads as u64;
    let rest = work.pairs / threads as u64 - first;
    let barrier = Barrier::new(threads + 1);
    let mut resident_first = 0;
    let mut begun = Instant::now();
    let workers: Vec<Worker> = thread::scope(|scope| {
        let handles: Vec<_> = ids
            .iter_mut()
            .enumerate()
            .map(|(n, ids)| {
                let (map, barrier) = (&map, &barrier);
                scope.spawn(move || {
                    let mut worker = Worker::new(n, threads);
                    worker.fill(map, ids);
                    worker.pairs(map, ids, first);
                    barrier.wait();
                    barrier.wait();
                    worker.pairs(map, ids, rest);
                    worker
                })
            })
            .collect();
        barrier.wait();
        resident_first = resident().unwrap_or(0);
        begun = Instant::now();
        barrier.wait();
        let join = |handle: thread::ScopedJoinHandle<'_, Worker>| handle.join().expect("a worker");
        handles.into_iter().map(join).collect()
    });
    let ns_per_pair = begun.elapsed().as_nanos() as f64 / (rest * threads as u64) as f64;
    let resident_end = resident().unwrap_or(0);
    let stats = map.stats();
    let garbage_after_reclaim = map.reclaim() as u64;

    let above = |bytes: u64| bytes.saturating_sub(resident_before) as f64;
    let ratio = resident_end as f64 / resident_first as f64;
    let sum = |count: fn(&Worker) -> u64| workers.iter().map(count).sum::<u64>();
    let mut run = Run {
        threads,
        pairs: (first + rest) * threads as u64,
        live: stats.live,
        resident_before,
        resident_first,
        resident_end,
        ratio,
        ratio_above_before: above(resident_end) / above(resident_first),
        bar: BAR,
        slots: stats.slots,
        garbage: stats.garbage,
        garbage_after_reclaim,
        exhausted: sum(|worker| worker.exhausted),
        refused_otherwise: sum(|worker| worker.refused),
        missing: sum(|worker| worker.missing),
        evicted: stats.evicted,
        ns_per_pair,
        ok: false,
    };
    // A session is missing when taken only if its insert was refused or it was evicted; with that,
    // what is there adds up.
    let lost = run.evicted + run.exhausted + run.refused_otherwise;
    let accounted = run.live + lost == live as u64 + run.missing && run.missing <= lost;
    let kept = run.exhausted + run.refused_otherwise == 0;
    run.ok = accounted && kept && (work.smoke || run.ratio <= BAR);
    run
}

/// A thread, with what it counts.
struct Worker {
    ids: Ids,
    /// Nanoseconds of the threads' own time, and how far a pair moves it.
    now: u64,
    step: u64,
    exhausted: u64,
    refused: u64,
    missing: u64,
}

impl Worker {
    fn new(n: usize, threads: usize) -> Self {
        Self {
            ids: Ids::new(1_000 + n as u64),
            now: 0,
            step: 1_000_000_000 / PAIRS_PER_SECOND * threads as u64,
            exhausted: 0,
            refused: 0,
            missing: 0,
        }
    }

    fn fill<S: BuildHasher>(&mut self, map: &Map<S>, ids: &[Id]) {
        for id in ids {
            self.insert(map, *id);
        }
    }

    fn pairs<S: BuildHasher>(&mut self, map: &Map<S>, ids: &mut [Id], n: u64) {
        for _ in 0..n {
            let place = self.ids.below(ids.len());
            let new = self.ids.id();
            let old = std::mem::replace(&mut ids[place], new);
            let guard = map.pin();
            let taken = map.take(&old, Timestamp::from_nanos(self.now), &guard);
            self.missing += u64::from(taken.is_none());
            drop(guard);
            self.insert(map, new);
            self.now += self.step;
        }
    }

    fn insert<S: BuildHasher>(&mut self, map: &Map<S>, id: Id) {
        let lifetime = 300_000_000_000 + self.ids.number() % 6_900_000_000_000;
        let deadline = Timestamp::from_nanos(self.now + lifetime);
        match map.insert(id, payload(), deadline, Timestamp::from_nanos(self.now)) {
            Ok(_) => {}
            Err(InsertError::Exhausted(..)) => self.exhausted += 1,
            Err(_) => self.refused += 1,
        }
    }
}
