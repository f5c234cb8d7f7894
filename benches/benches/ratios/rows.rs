//! The rows: what is compared with what, and the bar.

use std::collections::hash_map::RandomState;

use serde::Serialize;
use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::Ids;
use sessionwheel_bench::peers::{
    Dash, LruShards, Moka, Ours, Papaya, Peer as _, QuickCache, Rustls, SccIndex, SccMap, Seconds,
};

use crate::contest::{Bar, Contestant, Outcome, Plan, Run, best, compare};
use crate::work;

/// One line of the table.
#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) row: u8,
    pub(crate) name: String,
    pub(crate) ours: f64,
    pub(crate) unit: &'static str,
    pub(crate) best_peer: String,
    pub(crate) peer: f64,
    pub(crate) ratio: f64,
    pub(crate) interval: [f64; 2],
    pub(crate) pairs: usize,
    pub(crate) bar: f64,
    pub(crate) ok: bool,
    /// The interval straddles the bar, after all pairs.
    pub(crate) unsure: bool,
}

pub(crate) fn line(row: u8, name: &str, best_peer: &str, bar: Bar, outcome: &Outcome) -> Line {
    let [low, high] = outcome.interval;
    Line {
        row,
        name: name.into(),
        ours: outcome.ours,
        unit: "ns",
        best_peer: best_peer.into(),
        peer: outcome.theirs,
        ratio: outcome.ratio,
        interval: outcome.interval,
        pairs: outcome.pairs,
        bar: bar.number(),
        ok: bar.holds(outcome.ratio),
        unsure: bar.holds(low) != bar.holds(high),
    }
}

type Std = RandomState;
type Our = DefaultHashBuilder;

/// Peers of these types, each measured by a function of `work` with these arguments.
macro_rules! contestants {
    ($f:ident $arguments:tt; $($peer:ty),* $(,)?) => {
        vec![$(Contestant::new(<$peer>::name(), move || work::$f::<$peer> $arguments)),*]
    };
}

/// Says what is being measured, on stderr.
fn say(row: u8, what: &str) {
    eprintln!("row {row}: {what}");
}

pub(crate) fn in_place(row: u8, n: usize, bar: f64, plan: Plan) -> Vec<Line> {
    let (n, lookups) = (n / plan.divisor, 2_000_000 / plan.divisor);
    let name = format!("hit in place, {n} sessions");
    say(row, &name);
    let bar = Bar::TimeAtMost(bar);
    let mut ours = work::in_place(n, lookups);
    let mut theirs = work::unsynchronised(n, lookups);
    let outcome = compare(&mut ours, &mut theirs, bar, plan);
    vec![line(row, &name, "hashbrown, unsynchronised", bar, &outcome)]
}

/// Rows of points with a bar each, and one for their geometric mean.
fn points(
    row: u8,
    name: &str,
    bars: (f64, Option<f64>),
    plan: Plan,
    peers: impl Fn(usize, usize) -> Vec<Contestant>,
    ours: impl Fn(usize, usize) -> Run,
) -> Vec<Line> {
    let bar = Bar::ThroughputAtLeast(bars.0);
    let mut lines = Vec::new();
    for n in [20_000, 1_000_000].map(|n| n / plan.divisor) {
        for threads in [1, 2, 16] {
            let name = format!("{name}, {n} sessions, {threads} thread(s)");
            say(row, &name);
            let peers = peers(n, threads);
            let best = best(&peers);
            let outcome = compare(&mut ours(n, threads), &mut best.prepare(), bar, plan);
            lines.push(line(row, &name, &best.name, bar, &outcome));
        }
    }
    if let Some(mean) = bars.1 {
        let logs = lines.iter().map(|line| line.ratio.ln());
        let ratio = (logs.sum::<f64>() / lines.len() as f64).exp();
        let bar = Bar::ThroughputAtLeast(mean);
        let outcome = Outcome {
            ours: f64::NAN,
            theirs: f64::NAN,
            ratio,
            interval: [ratio; 2],
            pairs: 0,
        };
        let name = format!("{name}, geometric mean");
        lines.push(line(row, &name, "", bar, &outcome));
    }
    lines
}

pub(crate) fn cloned(plan: Plan) -> Vec<Line> {
    let lookups = 1_000_000 / plan.divisor;
    let peers = |n, threads| {
        contestants!(cloned(n, threads, lookups);
            Dash<Std>, Dash<Our>, Papaya<Std>, Papaya<Our>, SccMap<Std>, SccMap<Our>,
            SccIndex<Std>, SccIndex<Our>, QuickCache<Std>, QuickCache<Our>)
    };
    let ours = |n, threads| work::cloned::<Ours>(n, threads, lookups);
    points(3, "hit cloned", (0.9, Some(1.1)), plan, peers, ours)
}

pub(crate) fn mix(plan: Plan) -> Vec<Line> {
    let steps = 200_000 / plan.divisor;
    let bounded = |n, threads| {
        contestants!(mix(n, threads, steps);
            QuickCache<Std>, QuickCache<Our>, LruShards<Std>, LruShards<Our>, Rustls)
    };
    let moka = |n, threads| contestants!(mix(n, threads, steps); Moka<Std>, Moka<Our>);
    let ours = |n, threads| work::mix::<Ours>(n, threads, steps);
    let mut lines = points(4, "mix at capacity", (1.0, None), plan, bounded, ours);
    lines.extend(points(4, "mix, moka", (3.0, None), plan, moka, ours));
    lines
}

fn late(_: &mut Ids) -> Seconds {
    sessionwheel_bench::LATE
}

fn random(draw: &mut Ids) -> Seconds {
    sessionwheel_bench::LATE + draw.below(6_900) as u64
}

pub(crate) fn grow(plan: Plan) -> Vec<Line> {
    let n = 1_000_000 / plan.divisor;
    let name = format!("insert into a growing cache, to {n}");
    say(5, &name);
    let peers = contestants!(grow(n, 1, late);
        Dash<Std>, Dash<Our>, Papaya<Std>, Papaya<Our>, SccMap<Std>, SccMap<Our>,
        SccIndex<Std>, SccIndex<Our>);
    let best = best(&peers);
    let bar = Bar::TimeAtMost(0.75);
    let mut ours = work::grow::<Ours>(n, 1, late);
    let outcome = compare(&mut ours, &mut best.prepare(), bar, plan);
    vec![line(5, &name, &best.name, bar, &outcome)]
}

pub(crate) fn lifetimes(plan: Plan) -> Vec<Line> {
    let bar = Bar::TimeAtMost(1.1);
    let of = |(n, repeat): (usize, usize)| {
        let n = n / plan.divisor;
        let name = format!("insert, random against equal lifetimes, {n}");
        say(6, &name);
        let mut random = work::grow::<Ours>(n, repeat, random);
        let mut equal = work::grow::<Ours>(n, repeat, late);
        let outcome = compare(&mut random, &mut equal, bar, plan);
        line(6, &name, "ours, equal lifetimes", bar, &outcome)
    };
    [(16_000, 20), (1_000_000, 1)].map(of).into()
}

pub(crate) fn flush_half(plan: Plan) -> Vec<Line> {
    let n = 1_000_000 / plan.divisor;
    let name = format!("flush half of {n}, total");
    say(7, &name);
    let peers = contestants!(flush_half(n);
        Dash<Our>, Papaya<Our>, SccMap<Our>, QuickCache<Our>);
    let best = best(&peers);
    let bar = Bar::TimeAtMost(1.0);
    let mut ours = work::flush_half_heard(n);
    let mut theirs = best.prepare();
    let total = compare(&mut ours, &mut theirs, bar, plan);
    let name_own = format!("flush half of {n}, own share");
    say(7, &name_own);
    // Both less the same: what dropping the payloads costs without any cache.
    let mut own = [ours, theirs].map(|mut total| -> Run {
        let mut dropping = work::drop_half(n);
        Box::new(move || (total() - dropping()).max(1.0))
    });
    let [ours, theirs] = &mut own;
    let bar_own = Bar::TimeAtMost(0.5);
    let share = compare(ours, theirs, bar_own, plan);
    vec![
        line(7, &name, &best.name, bar, &total),
        line(7, &name_own, &best.name, bar_own, &share),
    ]
}

pub(crate) fn two_threads(plan: Plan) -> Vec<Line> {
    let n = 1_000_000 / plan.divisor;
    let name = format!("flush half of {n} u64 with two threads, against one");
    say(8, &name);
    let bar = Bar::ThroughputAtLeast(1.7);
    let mut two = work::flush_half_with(n, 1);
    let mut one = work::flush_half_with(n, 0);
    let outcome = compare(&mut two, &mut one, bar, plan);
    vec![line(8, &name, "ours, one thread", bar, &outcome)]
}

pub(crate) fn every_second(plan: Plan) -> Vec<Line> {
    let n = 1_000_000 / plan.divisor;
    let bar = Bar::TimeAtMost(0.33);
    let of = |(span, seconds): (Seconds, Seconds)| {
        let name = format!("flush each second, {seconds} s of {span} s lifetimes, {n}");
        say(9, &name);
        let peers = contestants!(every_second(n, span, seconds);
            Dash<Our>, Papaya<Our>, SccMap<Our>, QuickCache<Our>);
        let best = best(&peers);
        let mut ours = work::every_second::<Ours>(n, span, seconds);
        let outcome = compare(&mut ours, &mut best.prepare(), bar, plan);
        line(9, &name, &best.name, bar, &outcome)
    };
    [(300, 300), (7_200, 120)].map(of).into()
}

pub(crate) fn nothing_due(plan: Plan) -> Vec<Line> {
    let (large, small) = (10_000_000 / plan.divisor, 100_000 / plan.divisor);
    let name = format!("flush with nothing due, {large} against {small}");
    say(10, &name);
    let bar = Bar::TimeAtMost(1.2);
    let mut ours = work::nothing_due(large, 1_000);
    let mut theirs = work::nothing_due(small, 1_000);
    let outcome = compare(&mut ours, &mut theirs, bar, plan);
    let name_time = format!("flush with nothing due, {large}, against 2 µs");
    let bar_time = Bar::TimeAtMost(1.0);
    let time = Outcome {
        theirs: 2_000.0,
        ratio: outcome.ours / 2_000.0,
        interval: [outcome.ours / 2_000.0; 2],
        ..outcome.clone()
    };
    vec![
        line(10, &name, "ours, small", bar, &outcome),
        line(10, &name_time, "2 µs", bar_time, &time),
    ]
}
