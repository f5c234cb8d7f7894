//! The figures that matter, each beside its bar: ours and the best peer in turn, in one process.
//!
//! ```text
//! cargo bench --bench ratios                 # all rows
//! cargo bench --bench ratios -- --row 5 --quick --json
//! ```
//!
//! A scouting round finds the best peer of a row, with its own hasher or ours: at a part of the work, and
//! where some are close to each other there, at all of it (rows 3 and 4 at once). Then the two are
//! measured in turn, nine pairs or more; the median of the pairs' ratios is held against the bar,
//! and shown with its 95 % interval (bootstrap). Where the interval straddles the bar 27 pairs are
//! measured. A row is `ok`, `not met`, or `~` where the interval still straddles. Times are wall
//! times for one operation and end when all work that it caused is done, destructors included.
//! Where something is counted, or bytes are, the bar stands beside our own number and not beside the
//! ratio. A line without a bar is there to be compared with; most have a third of the pairs.
//! With `--sessions` rows 8 to 13 are of the session cache, not of the map below it. (What it costs above the
//! map otherwise is shown by `cargo bench --bench session`.)
//! With the feature `openssl`, OpenSSL's own cache is among the peers, and has lines of its own
//! where it is not the best.
#![forbid(unsafe_code)]

mod beside;
mod figure;
mod flushes;
mod flushing;
mod growth;
mod inserts;
mod memory;
mod points;
mod rows;
mod server;
mod work;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;

use rows::Line;
use sessionwheel_bench::beside::Witness;
use sessionwheel_bench::contest::Plan;
use sessionwheel_bench::peers::{Ours, Sessions, Wheel};

#[derive(Debug, Parser)]
#[command(about = "Ratios to the best peer, beside their bars")]
struct Arguments {
    /// Only this row; may be given again.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=16))]
    row: Vec<u8>,
    /// Fewer pairs and steps, smaller scouting, and no first run that does not count.
    #[arg(long)]
    quick: bool,
    /// Rows 8 to 13 with the session cache.
    #[arg(long)]
    sessions: bool,
    /// One JSON object for each line.
    #[arg(long)]
    json: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
    /// What a process of its own has to measure, and nothing else; word by word.
    #[arg(long, hide = true)]
    child: Vec<String>,
}

fn measure(row: u8, sessions: bool, plan: Plan) -> Vec<Line> {
    match row {
        8..=13 if sessions => beside_flushes::<Sessions<u64>, Sessions, Sessions<_>>(row, plan),
        8..=13 => beside_flushes::<Ours<u64>, Ours, Ours<_>>(row, plan),
        1 => rows::in_place(1, 1_000_000, 1.25, plan),
        2 => rows::in_place(2, 20_000, 1.1, plan),
        3 => points::cloned(plan),
        4 => points::mix(plan),
        5 => inserts::grow(plan),
        6 => inserts::lifetimes(plan),
        7 => flushes::flush_half(plan),
        14 => memory::resident_bytes(plan),
        15 => server::resumed(plan),
        _ => growth::growing(plan),
    }
}

/// What can be asked of the map and of the session cache.
fn beside_flushes<U: Wheel<u64>, P: Wheel, W: Wheel<Arc<Witness>>>(
    row: u8,
    plan: Plan,
) -> Vec<Line> {
    match row {
        8 => flushes::two_threads::<U, P>(plan),
        9 => flushes::every_second::<P>(plan),
        10 => flushes::nothing_due::<U>(plan),
        11 => beside::tails_beside::<P>(plan),
        12 => beside::waits::<P>(plan),
        _ => beside::swept::<W>(plan),
    }
}

fn print(line: &Line) {
    let (bar, state) = match (line.unsure, line.ok) {
        _ if line.bar.is_nan() => (String::new(), "no bar"),
        (true, _) => (format!("bar {}", line.bar), "~"),
        (false, true) => (format!("bar {}", line.bar), "ok"),
        (false, false) => (format!("bar {}", line.bar), "not met"),
    };
    let [low, high] = line.interval;
    let text = format!(
        "{:>3}  {:<58} {:>9.1} {:>9.1} {} {:<28} {:>6.2} [{:.2}, {:.2}]  {:<8} {:>2} pairs  {}",
        line.row,
        line.name,
        line.ours,
        line.peer,
        line.unit,
        line.best_peer,
        line.ratio,
        low,
        high,
        bar,
        line.pairs,
        state,
    );
    println!("{}", text.replace("NaN", "  -"));
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !arguments.child.is_empty() {
        memory::child(&arguments.child);
        return ExitCode::SUCCESS;
    }
    // Without `--bench` it is a test target of `cargo test --benches`.
    let plan = match (arguments.bench, arguments.quick) {
        (false, _) => Plan {
            pairs: 1,
            more: 1,
            divisor: 100,
            warms_up: false,
        },
        (true, true) => Plan {
            pairs: 3,
            more: 5,
            divisor: 1,
            // The median has to do without.
            warms_up: false,
        },
        (true, false) => Plan {
            pairs: 9,
            more: 27,
            divisor: 1,
            warms_up: true,
        },
    };
    let rows = match (arguments.row.is_empty(), arguments.sessions) {
        (true, false) => (1..=16).collect(),
        (true, true) => (8..=13).collect(),
        (false, _) => arguments.row,
    };
    let mut met = 0;
    let mut lines = 0;
    for row in rows {
        let begun = Instant::now();
        let measured = measure(row, arguments.sessions, plan);
        eprintln!("row {row}: {:.1} s", begun.elapsed().as_secs_f64());
        for line in measured {
            lines += usize::from(!line.bar.is_nan());
            met += usize::from(line.ok && !line.unsure && !line.bar.is_nan());
            if arguments.json {
                println!("{}", serde_json::json!(line));
            } else {
                print(&line);
            }
        }
    }
    eprintln!("{met} of {lines} bars met");
    ExitCode::SUCCESS
}
