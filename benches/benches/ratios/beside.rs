//! Rows 11 to 13: what happens beside a flush. See `sessionwheel_bench::beside` for what is measured
//! and what the control is.

use std::sync::Arc;
use std::time::Duration;

use sessionwheel::DefaultHashBuilder as Our;
use sessionwheel_bench::beside::{Cache, InTurn, Mode, Population, Report, Witness, destructors};
use sessionwheel_bench::peers::{
    AsItComes, Dash, LruShards, Papaya, Peer, QuickCache, RwLocked, SccMap, Wheel,
};

use crate::rows::{Line, line, reported};
use sessionwheel_bench::contest::{
    Bar, Outcome, Plan, median, outcome, outcome_of_medians, rounds,
};

/// Of this many sessions half are flushed.
const N: usize = 1_000_000;

/// Row 12: so large a share of runs has to be without a wait of the cache's own: eight of nine.
const CLEAN: f64 = 0.88;

/// Row 12: who has waited so many times as long as the best peer is not measured again in a short run.
const FAR_BEHIND: f64 = 100.0;

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
    let round = |round: usize| {
        let mut tails_of = [[0.0; 2]; 3];
        for step in 0..3 {
            let turn = (step + round) % 3;
            let mode = Mode::ALL[turn];
            let report = ours.measure(mode);
            say(11, "ours", mode, &report);
            tails_of[turn] = tails(&report);
        }
        tails_of
    };
    let lines = |rounds: &[_]| tail_lines(rounds, &population);
    let sure = |rounds: &[_]| lines(rounds).iter().all(|line| !line.unsure);
    lines(&rounds(plan, round, sure))
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
        Self::of::<P>(P::flushed_name(), population, Mode::Same)
    }

    fn of<C: Cache + 'p>(name: String, population: &'p Population, mode: Mode) -> Self {
        let mut cache = InTurn::<C>::alone(population);
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

    fn median(&self, which: usize) -> f64 {
        median(self.worst(which))
    }
}

/// Row 12: ours and all peers in turn; more rounds, where they are needed, of ours and of who is ahead. A
/// flush hashes next to nothing, so peers have our hasher.
pub(crate) fn waits<W: Wheel>(plan: Plan) -> Vec<Line> {
    let population = population(plan);
    let mut ours = Runner::new::<W>(&population);
    let undisturbed = "ours, beside no flush".to_owned();
    let mut own = vec![Runner::of::<W>(undisturbed, &population, Mode::Idle)];
    if !plan.has_bars_only() {
        own.push(Runner::new::<AsItComes<W>>(&population));
    }
    let mut peers = vec![
        Runner::new::<Dash<Our>>(&population),
        Runner::new::<Papaya<Our>>(&population),
        Runner::new::<SccMap<Our>>(&population),
        Runner::new::<QuickCache<Our>>(&population),
        Runner::new::<RwLocked<Our>>(&population),
        Runner::new::<LruShards<Our>>(&population),
    ];
    #[cfg(feature = "openssl")]
    peers.push(Runner::new::<sessionwheel_bench::peers::OpenSsl>(
        &population,
    ));
    for round in 0..plan.pairs {
        ours.run();
        peers.iter_mut().for_each(Runner::run);
        own.iter_mut().for_each(Runner::run);
        if round == 0 && plan.is_quick() {
            let least = peers[best(&peers, 0)].median(0);
            peers.retain(|peer| peer.median(0) <= FAR_BEHIND * least);
        }
    }
    let of = N / plan.divisor;
    let kinds = ["worst wait", "worst wait, time without a core taken off"];
    let names = kinds.map(|what| format!("{what}, beside a flush of half of {of}"));
    let ahead = [0, 1].map(|which| best(&peers, which));
    let unsure = (0..2).any(|which| worst(&ours, &peers[ahead[which]], which, "").unsure);
    if unsure {
        for _ in plan.pairs..plan.more {
            ours.run();
            for (at, peer) in peers.iter_mut().enumerate() {
                if ahead.contains(&at) {
                    peer.run();
                }
            }
        }
    }
    let mut lines = vec![unseen(&ours, of)];
    for (which, name) in names.iter().enumerate() {
        for peer in &peers {
            eprintln!(
                "row 12: {name}: {}, median {} ns",
                peer.name,
                peer.median(which)
            );
        }
        lines.push(worst(&ours, &peers[ahead[which]], which, name));
        // The machine's own, and ours otherwise.
        let own = own.iter().map(|own| worst(&ours, own, which, name));
        lines.extend(own.map(reported));
    }
    lines
}

/// Ours: waits in all. Peer: runs without any. Ratio: their share of all runs.
fn unseen(ours: &Runner<'_>, of: usize) -> Line {
    let runs = ours.unseen.len();
    // A run in which nothing was done shows nothing.
    let clean = ours.unseen.iter().zip(&ours.operations);
    let clean = clean.filter(|&(&waits, &done)| waits == 0 && done > 0);
    let waits: usize = ours.unseen.iter().sum();
    let counted = counted(waits, clean.count(), |_, clean| clean / runs as f64);
    let name = format!("waits over 1 ms that the control did not see, half of {of}");
    let bar = Bar::ThroughputAtLeast(CLEAN);
    Line {
        unit: "waits",
        pairs: runs,
        ..line(12, &name, "(runs without)", bar, &counted)
    }
}

/// What is counted and not paired, and the ratio that is made of it.
fn counted(ours: usize, theirs: usize, ratio: impl FnOnce(f64, f64) -> f64) -> Outcome {
    let [ours, theirs] = [ours, theirs].map(|count| count as f64);
    Outcome {
        ours,
        theirs,
        ratio: ratio(ours, theirs),
        interval: [f64::NAN; 2],
        pairs: Vec::new(),
    }
}

/// Of these the one whose median is the smallest.
fn best(peers: &[Runner<'_>], which: usize) -> usize {
    let medians = peers.iter().map(|peer| peer.median(which)).enumerate();
    let least = medians.min_by(|a, b| a.1.total_cmp(&b.1));
    least.expect("there is a peer").0
}

/// The ratio of the medians of maxima.
fn worst(ours: &Runner<'_>, peer: &Runner<'_>, which: usize, name: &str) -> Line {
    let bar = Bar::TimeAtMost(1.0);
    let pairs: Vec<(f64, f64)> = ours.worst(which).zip(peer.worst(which)).collect();
    let outcome = outcome_of_medians(&pairs, bar);
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
    let counted = counted(count, all, |count, all| count / all);
    Line {
        unit,
        pairs: runs,
        ..line(13, name, "(of so many)", bar, &counted)
    }
}
