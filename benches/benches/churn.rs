//! Does memory stay where it is while sessions come and go and nobody flushes?
//!
//! ```text
//! cargo bench --bench churn                        # 50,000,000 pairs, with 1 and with 2 threads
//! cargo bench --bench churn -- --pairs 5000000 --json
//! ```
//!
//! A cache of at most 100,000 sessions is filled. A pair takes a session at random and inserts a
//! new one in its place, as a TLS 1.3 resumption does. Lifetimes are 5 minutes to 2 hours at
//! random, time passes at a second for 50,000 pairs, and nothing ever calls `flush` or `reclaim`.
//! Resident memory is read after the first 1,000,000 pairs and at the end. Each number of threads
//! has a process of its own, so that none starts with another's heap.
//!
//! The cache is full but for the sessions that are being exchanged. An insert that finds no room
//! while another thread moves the last of it evicts; that is counted and shown.
//!
//! Exit code 1 if memory grew by more than 10 %, an insert was refused, or a session was missing
//! that was not evicted.
//! A thread that the system stops while it is pinned holds slots back: a machine that is busy with
//! something else may refuse inserts here for that reason.
#![forbid(unsafe_code)]

use std::hash::BuildHasher;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Barrier;
use std::time::Instant;
use std::{env, thread};

use serde::{Deserialize, Serialize};
use sessionwheel::{ExpiringMap, InsertError, Timestamp};
use sessionwheel_bench::{Id, Ids, Payload, payload, resident};

const PAIRS: u64 = 50_000_000;
const LIVE: usize = 100_000;
const FIRST: u64 = 1_000_000;
const THREADS: [usize; 2] = [1, 2];

/// The end may be this much larger than the beginning.
const BAR: f64 = 1.10;

const PAIRS_PER_SECOND: u64 = 50_000;

/// What one process found.
#[derive(Debug, Serialize, Deserialize)]
struct Run {
    threads: usize,
    pairs: u64,
    live: u64,
    /// Bytes resident before the cache was made, after the first pairs, and at the end.
    resident_before: u64,
    resident_first: u64,
    resident_end: u64,
    /// End against first, of all that is resident, and of what came since before.
    ratio: f64,
    ratio_above_before: f64,
    bar: f64,
    slots: u64,
    garbage: u64,
    garbage_after_reclaim: u64,
    exhausted: u64,
    refused_otherwise: u64,
    missing: u64,
    evicted: u64,
    /// The making of ids and payloads included.
    ns_per_pair: f64,
    ok: bool,
}

struct Settings {
    pairs: u64,
    live: usize,
    /// Only these, in this process.
    threads: Option<usize>,
    json: bool,
    /// Too short for memory to say anything.
    smoke: bool,
}

impl Settings {
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self {
            pairs: PAIRS,
            live: LIVE,
            threads: None,
            json: false,
            smoke: false,
        };
        let (mut bench, mut pairs) = (false, None);
        while let Some(arg) = args.next() {
            let mut number = || -> Result<u64, String> {
                let word = args.next().ok_or(format!("{arg}: a number is missing"))?;
                let number = word.parse().ok().filter(|&n| n > 0);
                number.ok_or(format!("{arg} {word}: not a positive number"))
            };
            match arg.as_str() {
                "--pairs" => pairs = Some(number()?),
                "--threads" => settings.threads = Some(number()? as usize),
                "--json" => settings.json = true,
                "--test" => settings.smoke = true,
                "--bench" => bench = true, // says `cargo bench`
                _ => {
                    return Err(format!(
                        "{arg}: unknown; known: --pairs N, --threads N, --json"
                    ));
                }
            }
        }
        // Without `--bench` it is a test target of `cargo test --benches`.
        settings.smoke |= !bench && pairs.is_none() && settings.threads.is_none();
        if settings.smoke {
            settings.pairs = 50_000;
            settings.live = 2_000;
        }
        settings.pairs = pairs.unwrap_or(settings.pairs);
        Ok(settings)
    }
}

fn main() -> ExitCode {
    let settings = match Settings::from_args(env::args().skip(1)) {
        Ok(settings) => settings,
        Err(message) => {
            eprintln!("churn: {message}");
            return ExitCode::from(2);
        }
    };
    if let (Some(threads), false) = (settings.threads, settings.smoke) {
        let run = churn(&settings, threads);
        if settings.json {
            println!("{}", serde_json::json!(run));
        } else {
            print_heading(&settings);
            print(&run);
        }
        return verdict(run.ok);
    }
    if settings.smoke {
        let ok = THREADS.map(|threads| churn(&settings, threads).ok);
        println!(
            "churn: {} pairs with {THREADS:?} threads: {ok:?}",
            settings.pairs
        );
        return verdict(ok == [true; 2]);
    }
    if !settings.json {
        print_heading(&settings);
    }
    let mut runs = Vec::new();
    for threads in THREADS {
        let run = in_a_process(&settings, threads);
        if !settings.json {
            print(&run);
        }
        runs.push(run);
    }
    let ok = runs.iter().all(|run| run.ok);
    if settings.json {
        println!("{}", serde_json::json!({ "runs": runs, "ok": ok }));
    }
    verdict(ok)
}

fn verdict(ok: bool) -> ExitCode {
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn in_a_process(settings: &Settings, threads: usize) -> Run {
    let program = env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .args(["--json", "--pairs", &settings.pairs.to_string()])
        .args(["--threads", &threads.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .expect("another process");
    serde_json::from_slice(&output.stdout).expect("what a run prints")
}

fn print_heading(settings: &Settings) {
    let (pairs, live) = (settings.pairs, settings.live);
    println!("churn: {pairs} insert/take pairs, {live} live entries, no flush");
}

fn print(run: &Run) {
    let mb = |bytes: u64| bytes as f64 / 1e6;
    println!();
    println!(
        "{} thread(s), {:.0} ns per pair",
        run.threads, run.ns_per_pair
    );
    println!(
        "  resident before the cache was made   {:8.1} MB",
        mb(run.resident_before)
    );
    println!(
        "  resident after the first pairs       {:8.1} MB",
        mb(run.resident_first)
    );
    println!(
        "  resident at the end                  {:8.1} MB",
        mb(run.resident_end)
    );
    println!(
        "  end against first                    {:8.3}    (bar {})",
        run.ratio, run.bar
    );
    println!(
        "  the same above what was before       {:8.3}",
        run.ratio_above_before
    );
    println!("  slots that were ever in use          {:8}", run.slots);
    println!("  garbage                              {:8}", run.garbage);
    println!(
        "  garbage after reclaim                {:8}",
        run.garbage_after_reclaim
    );
    println!(
        "  inserts refused as Exhausted         {:8}    (bar 0)",
        run.exhausted
    );
    println!(
        "  inserts refused otherwise            {:8}    (bar 0)",
        run.refused_otherwise
    );
    println!("  evictions                            {:8}", run.evicted);
    println!("  sessions missing when taken          {:8}", run.missing);
    println!("  {}", if run.ok { "ok" } else { "NOT MET" });
}

type Map<S> = ExpiringMap<Id, Payload, S>;

fn churn(settings: &Settings, threads: usize) -> Run {
    let live = settings.live / threads * threads;
    // The ids that are live, one slice for each thread: there before memory is first read.
    let mut ids: Vec<Vec<Id>> = (0..threads)
        .map(|n| Ids::new(n as u64).many(live / threads))
        .collect();
    let resident_before = resident().unwrap_or(0);
    let map = ExpiringMap::builder()
        .maximum(Some(live))
        .build()
        .expect("a map");
    let first = FIRST.min(settings.pairs / 10) / threads as u64;
    let rest = settings.pairs / threads as u64 - first;
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
    run.ok = accounted && kept && (settings.smoke || run.ratio <= BAR);
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
