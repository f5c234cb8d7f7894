//! Does memory stay where it is while sessions come and go and nobody flushes?
//!
//! ```text
//! cargo bench --bench churn                        # 50,000,000 pairs, with 1 and with 2 threads
//! cargo bench --bench churn -- --quick --json      # 5,000,000
//! cargo bench --bench churn -- --pairs 20000000
//! ```
//!
//! A cache of at most 100,000 sessions is filled, and then sessions come and go; what a pair is,
//! `sessionwheel_bench::churn` says. Resident memory is read after the first 1,000,000 pairs and at
//! the end. Each number of threads has a process of its own, so that none starts with another's
//! heap.
//!
//! The cache is full but for the sessions that are being exchanged. An insert that finds no room
//! while another thread moves the last of it evicts; that is counted and shown.
//!
//! "NOT MET", and exit code 1 but under `cargo bench` (where others are still to come), if memory grew by more than
//! 10 %, an insert was refused, or a session was missing that was not evicted.
//! A thread that the system stops while it is pinned holds slots back: a machine that is busy with
//! something else may refuse inserts here for that reason.
#![forbid(unsafe_code)]

use std::env;
use std::num::{NonZeroU64, NonZeroUsize};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;
use sessionwheel_bench::churn::{Run, Work, churn};

const PAIRS: u64 = 50_000_000;
const LIVE: usize = 100_000;
const THREADS: [usize; 2] = [1, 2];

#[derive(Debug, Parser)]
#[command(about = "Memory over very many insert/take pairs")]
struct Arguments {
    /// How many of them.
    #[arg(long)]
    pairs: Option<NonZeroU64>,
    /// Only with so many threads.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// A tenth of the pairs.
    #[arg(long)]
    quick: bool,
    /// A JSON object.
    #[arg(long)]
    json: bool,
    /// Too short for memory to say anything.
    #[arg(long, hide = true)]
    test: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Settings {
    pairs: u64,
    live: usize,
    /// Only these, in this process.
    threads: Option<usize>,
    json: bool,
    smoke: bool,
    /// Whether its exit code is a verdict.
    judges: bool,
}

impl Settings {
    fn of(arguments: &Arguments) -> Self {
        let Arguments { pairs, threads, .. } = *arguments;
        // Without `--bench` it is a test target of `cargo test --benches`.
        let as_test = !arguments.bench && pairs.is_none() && threads.is_none();
        let smoke = arguments.test || as_test;
        let (by_default, live) = match (smoke, arguments.quick) {
            (true, _) => (50_000, 2_000),
            (false, true) => (PAIRS / 10, LIVE),
            (false, false) => (PAIRS, LIVE),
        };
        Self {
            pairs: pairs.map_or(by_default, NonZeroU64::get),
            live,
            threads: threads.map(NonZeroUsize::get),
            json: arguments.json,
            smoke,
            judges: !arguments.bench,
        }
    }

    fn verdict(&self, ok: bool) -> ExitCode {
        if ok || !self.judges {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn work(&self, threads: usize) -> Work {
        Work {
            pairs: self.pairs,
            live: self.live,
            threads,
            smoke: self.smoke,
        }
    }
}

fn main() -> ExitCode {
    let settings = Settings::of(&Arguments::parse());
    if let (Some(threads), false) = (settings.threads, settings.smoke) {
        let run = churn(settings.work(threads));
        if settings.json {
            println!("{}", serde_json::json!(run));
        } else {
            print_heading(&settings);
            print(&run);
        }
        return settings.verdict(run.ok);
    }
    if settings.smoke {
        let ok = THREADS.map(|threads| churn(settings.work(threads)).ok);
        println!(
            "churn: {} pairs with {THREADS:?} threads: {ok:?}",
            settings.pairs
        );
        return settings.verdict(ok == [true; 2]);
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
    settings.verdict(ok)
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
