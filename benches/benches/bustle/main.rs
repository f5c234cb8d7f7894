//! The community's harness: `bustle`, with the three mixes of conc-map-bench.
//!
//! ```text
//! cargo bench --bench bustle
//! cargo bench --bench bustle -- --quick --json
//! ```
//!
//! `u64` keys, `u32` values, 2^22 operations on maps made for 2^22 entries, with 1, 2 and 16
//! threads:
//!
//! | mix        | read | insert | remove | update | filled before |
//! |------------|------|--------|--------|--------|---------------|
//! | ReadHeavy  | 98 % |    1 % |    1 % |    0 % |          75 % |
//! | Exchange   | 10 % |   40 % |   40 % |   10 % |          75 % |
//! | RapidGrow  |  5 % |   80 % |    5 % |   10 % |             0 |
//!
//! Keys and operations are the same for all collections: one seed. The harness checks the result
//! of every operation. It takes the time on a thread that only waits, which is late where there are
//! more threads than processors, so the time is taken from the first thread's first operation to
//! the last thread's last one. Collections take turns, several times; the median counts. Peers with their
//! default hasher and with ours. Ours makes no room in advance, and its deadlines never pass.
#![forbid(unsafe_code)]

mod collections;
mod timed;

use std::collections::hash_map::RandomState;
use std::process::ExitCode;

use bustle::{Collection, CollectionHandle, Mix, Workload};
use clap::Parser;
use serde::Serialize;
use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::peers::Hasher;

use collections::{Dash, Ours, Papaya, Scc};
use timed::{Timed, run};

const THREADS: [usize; 3] = [1, 2, 16];

const SEED: [u8; 32] = *b"the same operations for everyone";

#[derive(Debug, Parser)]
#[command(about = "conc-map-bench's mixes, in bustle")]
struct Arguments {
    /// 2^18 instead of 2^22 entries, once.
    #[arg(long)]
    quick: bool,
    /// How often each collection is measured.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// One JSON object for each mix, number of threads and collection.
    #[arg(long)]
    json: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Names of a mix, and what it does.
struct Named(&'static str, fn() -> Mix, f64);

const MIXES: [Named; 3] = [
    Named("ReadHeavy", || mix(98, 1, 1, 0), 0.75),
    Named("Exchange", || mix(10, 40, 40, 10), 0.75),
    Named("RapidGrow", || mix(5, 80, 5, 10), 0.0),
];

fn mix(read: u8, insert: u8, remove: u8, update: u8) -> Mix {
    Mix {
        read,
        insert,
        remove,
        update,
        upsert: 0,
    }
}

/// One row of the table.
#[derive(Debug, Serialize)]
struct Row {
    mix: &'static str,
    threads: usize,
    collection: String,
    capacity_log2: u8,
    operations: u64,
    /// Medians: millions of operations in a second, and nanoseconds that one takes its thread.
    million_per_second: f64,
    ns: f64,
    runs: Vec<f64>,
}

/// A name, and what measures it: millions of operations in a second.
type Contestant = (String, fn(&Workload) -> f64);

fn measure<C: Collection>(workload: &Workload) -> f64
where
    C::Handle: CollectionHandle<Key = u64>,
{
    workload.run_silently::<Timed<C>>();
    let mut run = run();
    let spans = std::mem::take(&mut run.spans);
    assert_eq!(spans.len(), run.threads, "every thread did all it had to");
    let began = spans.iter().map(|span| span.0).min();
    let ended = spans.iter().map(|span| span.1).max();
    let took = ended.zip(began).map(|(ended, began)| ended - began);
    (run.each * run.threads) as f64 / took.expect("a thread").as_secs_f64() / 1e6
}

fn contestants() -> Vec<Contestant> {
    fn with<S: Hasher>() -> [Contestant; 3] {
        let name = |name: &str| format!("{name}{}", S::SUFFIX);
        [
            (name("dashmap"), measure::<Dash<S>>),
            (name("papaya"), measure::<Papaya<S>>),
            (name("scc HashMap"), measure::<Scc<S>>),
        ]
    }
    let mut all: Vec<Contestant> = vec![("sessionwheel".into(), measure::<Ours>)];
    all.extend(with::<RandomState>());
    all.extend(with::<DefaultHashBuilder>());
    all
}

/// All collections with one mix and so many threads.
fn rows(named: &Named, threads: usize, capacity_log2: u8, runs: usize) -> Vec<Row> {
    let Named(mix, make, prefill) = named;
    let mut workload = Workload::new(threads, make());
    workload
        .initial_capacity_log2(capacity_log2)
        .prefill_fraction(*prefill)
        .operations(1.0)
        .seed(SEED);
    let contestants = contestants();
    let mut measured = vec![Vec::new(); contestants.len()];
    let each = (1 << capacity_log2) / threads;
    {
        let mut run = run();
        (run.threads, run.each) = (threads, each);
    }
    for _ in 0..runs {
        for ((_, measure), measured) in contestants.iter().zip(&mut measured) {
            measured.push(measure(&workload));
        }
    }
    let row = |((collection, _), runs): (Contestant, Vec<f64>)| {
        let mut sorted = runs.clone();
        sorted.sort_by(f64::total_cmp);
        let million_per_second = sorted[sorted.len() / 2];
        Row {
            mix,
            threads,
            collection,
            capacity_log2,
            operations: (each * threads) as u64,
            million_per_second,
            ns: threads as f64 * 1e3 / million_per_second,
            runs,
        }
    };
    contestants.into_iter().zip(measured).map(row).collect()
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Without `--bench` it is a test target of `cargo test --benches`.
    let (capacity_log2, runs) = match (arguments.bench, arguments.quick) {
        (false, _) => (10, 1),
        (true, true) => (18, 1),
        (true, false) => (22, arguments.runs.max(1)),
    };
    if !arguments.json {
        println!("2^{capacity_log2} entries and operations, median of {runs}: M/s (ours = 1)");
    }
    for named in &MIXES {
        for threads in THREADS {
            eprintln!("{}, {threads} thread(s)", named.0);
            let rows = rows(named, threads, capacity_log2, runs);
            let ours = rows[0].million_per_second;
            for row in rows {
                if arguments.json {
                    println!("{}", serde_json::json!(row));
                    continue;
                }
                println!(
                    "{:<10} {:>2} thread(s)  {:<24} {:>8.2} M/s  {:>8.0} ns  {:>5.2}",
                    row.mix,
                    row.threads,
                    row.collection,
                    row.million_per_second,
                    row.ns,
                    row.million_per_second / ours,
                );
            }
        }
    }
    ExitCode::SUCCESS
}
