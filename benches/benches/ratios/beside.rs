//! Rows 11 to 13: what happens beside a flush. See `sessionwheel_bench::beside` for what is measured
//! and what the control is.

use std::slice;
use std::sync::Arc;
use std::time::Duration;

use sessionwheel::DefaultHashBuilder as Our;
use sessionwheel_bench::beside::{Cache, InTurn, Mode, Population, Report, Witness, destructors};
use sessionwheel_bench::peers::{
    Dash, LruShards, Papaya, Peer, QuickCache, RwLocked, SccMap, Wheel,
};

use crate::rows::{Line, line, reported};
use sessionwheel_bench::contest::{Bar, Outcome, Plan, median, outcome};

/// Of this many sessions half are flushed.
const N: usize = 1_000_000;

/// Row 12: so large a share of runs has to be without a wait of the cache's own: eight of nine.
const CLEAN: f64 = 0.88;

fn population(plan: Plan) -> Population {
    Population::new(N / plan.divisor, 50)
}

/// The 99.9th percentiles of lookups and of inserts, in nanoseconds; not a number, which meets no bar,
/// if there were none.
fn tails(report: &Report) -> [f64; 2] {
    [&report.lookups, &report.inserts].map(|of| match of.len() {
        0 => f64::NAN,
        _ => of.value_at_quantile(0.999) as f64,
    })
}

/// What the control saw and how much there was, for the reader on stderr.
fn say(row: u8, who: &str, mode: Mode, report: &Report) {
    let [lookup, insert] = tails(report);
    eprintln!(
        "row {row}: {who}, {}: {:.1} ms, {} operations, p99.9 {lookup} and {insert} ns, worst {:.1} \
         and {:.1} µs, {} waits over 1 ms, {} of them without a core, {} unseen; control: {} steps, {} pauses",
        mode.name(),
        report.window.as_secs_f64() * 1e3,
        report.operations(),
        report.lookups.max() as f64 / 1e3,
        report.inserts.max() as f64 / 1e3,
        report.waits.len(),
        report.preempted,
        report.unseen,
        report.control.len(),
        report.pauses.len(),
    );
}

/// Row 11: the three modes in turn, the order turning too.
pub(crate) fn tails_beside<W: Wheel>(plan: Plan) -> Vec<Line> {
    let population = population(plan);
    let mut ours = InTurn::<W>::new(&population);
    for mode in Mode::ALL {
        ours.measure(mode);
    }
    let mut rounds: Vec<[[f64; 2]; 3]> = Vec::new();
    loop {
        let mut round = [[0.0; 2]; 3];
        for step in 0..3 {
            let turn = (step + rounds.len()) % 3;
            let mode = Mode::ALL[turn];
            let report = ours.measure(mode);
            say(11, "ours", mode, &report);
            round[turn] = tails(&report);
        }
        rounds.push(round);
        if rounds.len() == plan.pairs || rounds.len() == plan.more {
            let lines = tail_lines(&rounds, &population);
            if rounds.len() == plan.more || lines.iter().all(|line| !line.unsure) {
                return lines;
            }
        }
    }
}

fn tail_lines(rounds: &[[[f64; 2]; 3]], population: &Population) -> Vec<Line> {
    let [idle, unrelated, same] = [0, 1, 2];
    let mut lines = Vec::new();
    for (against, whose, bar) in [
        (unrelated, "a flush of an unrelated cache", 1.2),
        (idle, "no flush", 1.5),
    ] {
        for (which, what) in ["lookups", "inserts"].into_iter().enumerate() {
            let pairs: Vec<(f64, f64)> = rounds
                .iter()
                .map(|round| (round[same][which], round[against][which]))
                .collect();
            let bar = Bar::TimeAtMost(bar);
            let name = format!("p99.9 of {what} beside a flush of {}", population.due());
            let against = format!("ours, beside {whose}");
            lines.push(line(11, &name, &against, bar, &outcome(&pairs, bar)));
        }
    }
    lines
}

/// One of those who are measured in turn, and what each of its runs showed.
struct Runner<'p> {
    name: String,
    mode: Mode,
    measure: Box<dyn FnMut() -> Report + 'p>,
    /// Of each run: the longest wait, and the longest less the time without a core.
    worst: Vec<[f64; 2]>,
    unseen: Vec<usize>,
    operations: Vec<u64>,
}

impl<'p> Runner<'p> {
    fn new<P: Peer>(population: &'p Population) -> Self {
        Self::of::<P>(P::name(), population, Mode::Same)
    }

    fn of<C: Cache + 'p>(name: String, population: &'p Population, mode: Mode) -> Self {
        let mut cache = InTurn::<C>::new(population);
        Self {
            name,
            mode,
            measure: Box::new(move || cache.measure(mode)),
            worst: Vec::new(),
            unseen: Vec::new(),
            operations: Vec::new(),
        }
    }

    fn run(&mut self) {
        let report = (self.measure)();
        say(12, &self.name, self.mode, &report);
        // Who did nothing waited all the while.
        let worst = match report.operations() {
            0 => [report.window.as_nanos() as u64; 2],
            _ => [report.worst(), report.worst_own],
        };
        self.worst.push(worst.map(|ns| ns as f64));
        self.unseen.push(report.unseen);
        self.operations.push(report.operations());
    }

    fn worst(&self, which: usize) -> impl Iterator<Item = f64> {
        self.worst.iter().map(move |worst| worst[which])
    }
}

/// Row 12: ours and all peers in turn. Waits end with the flush, which our hasher never makes
/// longer, so peers have that one.
pub(crate) fn waits<W: Wheel>(plan: Plan) -> Vec<Line> {
    let population = population(plan);
    let mut ours = Runner::new::<W>(&population);
    let undisturbed = "ours, beside no flush".to_owned();
    let mut undisturbed = Runner::of::<W>(undisturbed, &population, Mode::Idle);
    let mut peers = [
        Runner::new::<Dash<Our>>(&population),
        Runner::new::<Papaya<Our>>(&population),
        Runner::new::<SccMap<Our>>(&population),
        Runner::new::<QuickCache<Our>>(&population),
        Runner::new::<RwLocked<Our>>(&population),
        Runner::new::<LruShards<Our>>(&population),
    ];
    for _ in 0..plan.pairs {
        ours.run();
        undisturbed.run();
        for peer in &mut peers {
            peer.run();
        }
    }
    let of = N / plan.divisor;
    let mut lines = vec![unseen(&ours, of)];
    for (which, what) in ["worst wait", "worst wait, time without a core taken off"]
        .into_iter()
        .enumerate()
    {
        let name = format!("{what}, beside a flush of half of {of}");
        lines.push(worst(&ours, &peers, which, &name));
        // The machine's own.
        lines.push(reported(worst(
            &ours,
            slice::from_ref(&undisturbed),
            which,
            &name,
        )));
    }
    lines
}

/// Ours: waits in all. Peer: runs without any. Ratio: their share of all runs.
fn unseen(ours: &Runner<'_>, of: usize) -> Line {
    let runs = ours.unseen.len();
    // A run in which nothing was done shows nothing.
    let clean = ours.unseen.iter().zip(&ours.operations);
    let clean = clean.filter(|&(&waits, &done)| waits == 0 && done > 0);
    let clean = clean.count();
    let share = clean as f64 / runs as f64;
    let outcome = Outcome {
        ours: ours.unseen.iter().sum::<usize>() as f64,
        theirs: clean as f64,
        ratio: share,
        interval: [share; 2],
        pairs: runs,
    };
    let name = format!("waits over 1 ms that the control did not see, half of {of}");
    let bar = Bar::ThroughputAtLeast(CLEAN);
    Line {
        unit: "waits",
        ..line(12, &name, "(runs without)", bar, &outcome)
    }
}

/// The ratio of the medians of maxima, to the peer whose median is the smallest; the interval is that
/// of the paired ratios.
fn worst(ours: &Runner<'_>, peers: &[Runner<'_>], which: usize, name: &str) -> Line {
    let worst = |of: &Runner<'_>| median(of.worst(which));
    for peer in peers {
        eprintln!("row 12: {name}: {}, median {} ns", peer.name, worst(peer));
    }
    let peer = peers
        .iter()
        .min_by(|a, b| worst(a).total_cmp(&worst(b)))
        .expect("there is a peer");
    let bar = Bar::TimeAtMost(1.0);
    let pairs: Vec<(f64, f64)> = ours.worst(which).zip(peer.worst(which)).collect();
    let paired = outcome(&pairs, bar);
    let outcome = Outcome {
        ratio: paired.ours / paired.theirs,
        ..paired
    };
    line(12, name, &peer.name, bar, &outcome)
}

/// Row 13: counts, which have to be zero in every run.
pub(crate) fn swept<W: Wheel<Arc<Witness>>>(plan: Plan) -> Vec<Line> {
    let population = population(plan);
    // A second, as the row says, where anything is measured.
    let after = Duration::from_secs(1) / plan.divisor as u32;
    let mut sums = [0; 3];
    let mut ran = 0;
    for _ in 0..plan.pairs {
        let seen = destructors::<W>(&population, after);
        eprintln!("row 13: {seen:?}");
        assert_eq!(seen.swept, population.due(), "flushed what was due");
        ran += seen.flusher + seen.worker + seen.background;
        sums[0] += seen.worker + seen.background;
        sums[1] += seen.garbage_later;
        sums[2] += seen.garbage_at_rest;
    }
    let swept = plan.pairs * population.due();
    let names = [
        (
            "destructors on threads that called no flush",
            "destructors",
            ran,
        ),
        (
            "garbage left 1 s after a flush, with traffic",
            "entries",
            swept,
        ),
        (
            "garbage left after reclaim(), without traffic",
            "entries",
            swept,
        ),
    ];
    let counted = names.into_iter().zip(sums);
    counted
        .map(|((name, unit, all), count)| none(name, unit, count, all, plan.pairs))
        .collect()
}

/// Ours: how many there were in all runs. Peer: of how many. The bar is none.
fn none(name: &str, unit: &'static str, count: usize, all: usize, runs: usize) -> Line {
    let bar = Bar::TimeAtMost(0.0);
    // Where nothing was counted nothing is shown.
    assert!(all > 0, "{name}: of nothing");
    let ratio = count as f64 / all as f64;
    let outcome = Outcome {
        ours: count as f64,
        theirs: all as f64,
        ratio,
        interval: [ratio; 2],
        pairs: runs,
    };
    Line {
        unit,
        ..line(13, name, "(of so many)", bar, &outcome)
    }
}
