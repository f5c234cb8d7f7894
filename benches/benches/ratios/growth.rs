//! Row 16: growing from empty, and what a single insert does at the most.

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::growth::{ALLOCATED, Growth, TOUCHED, grow};
use sessionwheel_bench::peers::{
    Dash, LruShards, Ours, Papaya, Peer, RwLocked, SccIndex, SccMap, Session,
};
use sessionwheel_bench::{Ids, LATE, NOW, payload};
use sessionwheel_counted::{ExpiringMap, Timestamp};

use crate::figure::Figure;
use crate::rows::Line;
use sessionwheel_bench::contest::{Contestant, Plan, Run};

const N: usize = 4_000_000;

/// The longest time of an insert, in nanoseconds. The payload is one for all, made outside.
fn worst<P: Peer>(n: usize) -> Run {
    let payload = payload();
    Box::new(move || {
        let mut ids = Ids::new(1);
        let mut draw = Ids::new(6);
        let peer = P::new(None);
        let mut worst = 0;
        for _ in 0..n {
            let id = ids.id();
            let session = Session {
                deadline: LATE + draw.below(6_900) as u64,
                payload: payload.clone(),
            };
            let start = Instant::now();
            peer.insert(black_box(id), session, NOW);
            worst = worst.max(start.elapsed().as_nanos());
        }
        worst as f64
    })
}

fn times(plan: Plan) -> Vec<Line> {
    type Our = DefaultHashBuilder;
    let n = if plan.is_quick() { N / 4 } else { N } / plan.divisor;
    macro_rules! contestants {
        ($($peer:ty),* $(,)?) => {
            [$(Contestant::new(<$peer>::name(), move || worst::<$peer>(n))),*]
        };
    }
    let all = contestants!(
        Ours,
        Dash<Our>,
        Papaya<Our>,
        SccMap<Our>,
        SccIndex<Our>,
        RwLocked<Our>,
        LruShards<Our>,
    );
    eprintln!("row 16: worst insert while growing to {n}");
    let mut runs = all.each_ref().map(Contestant::prepare);
    let [ours, peers @ ..] = &mut runs;
    // Of a maximum nine runs are needed; what it is compared with has as many as lines without a bar have.
    let mut worst = Vec::new();
    let mut rounds = Vec::new();
    for round in 0..plan.one_or_all() {
        worst.push(ours() / 1_000.0);
        if round < plan.reported().pairs {
            rounds.push(peers.each_mut().map(|run| run() / 1_000.0));
        }
    }
    let name = format!("worst insert while growing to {n}");
    let line = |peer: &str, pairs: &[(f64, f64)]| {
        let figure = Figure {
            row: 16,
            name: &name,
            unit: "µs",
            peer,
            bar: None,
        };
        figure.line(pairs)
    };
    let alone: Vec<_> = worst.iter().map(|&ours| (ours, f64::NAN)).collect();
    let mut lines = vec![line("", &alone)];
    for (at, peer) in all[1..].iter().enumerate() {
        let theirs = rounds.iter().map(|round| round[at]);
        let pairs: Vec<_> = worst.iter().copied().zip(theirs).collect();
        lines.push(line(&peer.name, &pairs));
    }
    lines
}

/// Grows, and counts.
fn count(n: usize, maximum: Option<usize>, random: bool) -> Growth {
    let mut draw = Ids::new(6);
    let deadline = || {
        let spread = if random { draw.below(6_900) as u64 } else { 0 };
        Timestamp::from_secs(LATE + spread)
    };
    grow(ExpiringMap::builder().maximum(maximum), n, deadline)
}

fn counts(plan: Plan) -> Vec<Line> {
    let n = N / plan.divisor;
    eprintln!("row 16: counting while growing to {n}");
    // Beside each other, since nothing is timed and each thread counts for itself.
    let grown = thread::scope(|scope| {
        [(None, false), (None, true), (Some(n), true)]
            .map(|(maximum, random)| scope.spawn(move || count(n, maximum, random)))
            .map(|growth| growth.join().expect("no panic"))
    });
    let most = |f: fn(&Growth) -> usize| grown.iter().map(f).max().unwrap_or(0);
    let line = |what: &str, unit, most, bar: Option<usize>| {
        let figure = Figure {
            row: 16,
            name: &format!("{what}, of one insert, to {n}"),
            unit,
            peer: "",
            bar: bar.map(|bar| bar as f64),
        };
        figure.counted(most)
    };
    vec![
        line(
            "slots, heads and words touched",
            "touched",
            most(|g| g.touched),
            Some(TOUCHED),
        ),
        line(
            "segments of slots",
            "allocated",
            most(|g| g.most.segments.slots),
            Some(ALLOCATED),
        ),
        line(
            "segments of lines",
            "allocated",
            most(|g| g.most.segments.lines),
            Some(ALLOCATED),
        ),
        line(
            "segments of a tick's directory",
            "allocated",
            most(|g| g.most.segments.directories),
            Some(ALLOCATED),
        ),
        line(
            "segments of the places of early lines",
            "allocated",
            most(|g| g.most.segments.places),
            Some(ALLOCATED),
        ),
        line(
            "segments of the tournament",
            "allocated",
            most(|g| g.most.segments.words),
            Some(ALLOCATED),
        ),
        line(
            "pages",
            "allocated",
            most(|g| g.most.pages),
            Some(ALLOCATED),
        ),
    ]
}

pub(crate) fn growing(plan: Plan) -> Vec<Line> {
    let mut lines = counts(plan);
    lines.extend(times(plan));
    lines
}
