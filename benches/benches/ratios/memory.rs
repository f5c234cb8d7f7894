//! Row 14: what is resident. Each measurement has a process of its own, so that none finds what
//! others have left in the heap.
//!
//! Above key and value means: of what is resident more than before the cache was made, less what
//! the payloads take (the same run with a vector of exact capacity in place of the cache, less that
//! vector), less 32 bytes for each key and 8 for each pointer to a payload.

use std::env;
use std::process::{Command, Stdio};
use std::thread;

use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::churn::{self, BAR, Run, Work};
use sessionwheel_bench::peers::{
    Dash, Moka, Ours, Papaya, Peer, RwLocked, SccIndex, SccMap, Session,
};
use sessionwheel_bench::{Id, Ids, LATE, NOW, Payload, payload, resident};

use crate::figure::{Figure, is_smoke};
use crate::rows::Line;
use sessionwheel_bench::contest::Plan;

const KEY_AND_VALUE: f64 = (size_of::<Id>() + size_of::<Payload>()) as f64;

/// Whom a process fills: a name, whether it has a maximum, and a function that does it.
type Who = (&'static str, fn(usize) -> f64);

const PAYLOADS: &str = "payloads";
const OURS: &str = "ours";
const OURS_BOUNDED: &str = "ours, bounded";
const OURS_EQUAL: &str = "ours, equal lifetimes";

type Our = DefaultHashBuilder;

/// Each peer once: what it keeps does not depend on the hasher. moka is a cache, and has a maximum
/// as its users give it one.
const PEERS: [Who; 6] = [
    ("dashmap", |n| filled::<Dash<Our>>(None, n, true)),
    ("papaya", |n| filled::<Papaya<Our>>(None, n, true)),
    ("scc HashMap", |n| filled::<SccMap<Our>>(None, n, true)),
    ("scc HashIndex", |n| filled::<SccIndex<Our>>(None, n, true)),
    ("moka", |n| filled::<Moka<Our>>(Some(n), n, true)),
    ("RwLock<hashbrown>", |n| {
        filled::<RwLocked<Our>>(None, n, true)
    }),
];

const OTHERS: [Who; 4] = [
    (PAYLOADS, payloads),
    (OURS, |n| filled::<Ours>(None, n, true)),
    (OURS_BOUNDED, |n| filled::<Ours>(Some(n), n, true)),
    (OURS_EQUAL, |n| filled::<Ours>(None, n, false)),
];

/// Bytes resident; the row is left out where the system does not tell.
fn now() -> f64 {
    resident().expect("bytes resident") as f64
}

/// Bytes for each session in a cache of `n`, payloads included. Lifetimes are random, from 5 minutes
/// to 2 hours, or equal.
fn filled<P: Peer>(maximum: Option<usize>, n: usize, random: bool) -> f64 {
    let before = now();
    let peer = P::new(maximum);
    let (mut ids, mut draw) = (Ids::new(1), Ids::new(6));
    for _ in 0..n {
        let spread = if random { draw.below(6_900) as u64 } else { 0 };
        let session = Session {
            deadline: LATE + spread,
            payload: payload(),
        };
        peer.insert(ids.id(), session, NOW);
    }
    peer.settle();
    let bytes = now() - before;
    let live = peer.count().expect("it counts");
    assert!(live == n || maximum.is_some(), "{live} of {n} are live");
    // The process ends with it.
    std::mem::forget(peer);
    bytes / live as f64
}

/// Bytes for each payload, held by nobody.
fn payloads(n: usize) -> f64 {
    let before = now();
    let mut all = Vec::with_capacity(n);
    all.extend((0..n).map(|_| payload()));
    let bytes = now() - before;
    std::mem::forget(all);
    bytes / n as f64 - size_of::<Payload>() as f64
}

/// What a process that was started by [`in_a_process`] does: prints one line of JSON.
pub(crate) fn child(task: &[String]) {
    let word = |at: usize| task[at].as_str();
    let number = |at: usize| word(at).parse::<usize>().expect("a number");
    match word(0) {
        "bytes" => {
            let mut all = OTHERS.iter().chain(&PEERS);
            let (_, fill) = all.find(|who| who.0 == word(1)).expect("somebody known");
            println!("{}", serde_json::json!(fill(number(2))));
        }
        "churn" => {
            let run = churn::churn(Work {
                pairs: number(1) as u64,
                live: number(2),
                threads: 1,
                smoke: word(3) == "true",
            });
            println!("{}", serde_json::json!(run));
        }
        other => panic!("{other}: unknown"),
    }
}

fn in_a_process<T: serde::de::DeserializeOwned>(task: &[String]) -> T {
    let program = env::current_exe().expect("the path of this program");
    let output = Command::new(program)
        .args(task.iter().flat_map(|word| ["--child", word]))
        .stderr(Stdio::inherit())
        .output()
        .expect("another process");
    serde_json::from_slice(&output.stdout).expect("what a process prints")
}

fn bytes_of(who: &str, n: usize) -> f64 {
    in_a_process(&["bytes".into(), who.into(), n.to_string()])
}

pub(crate) fn resident_bytes(plan: Plan) -> Vec<Line> {
    if resident().is_none() {
        eprintln!("row 14: n/a: this system does not tell what is resident");
        return Vec::new();
    }
    // Beside each other, since nothing is timed.
    thread::scope(|scope| {
        let churned = scope.spawn(|| churned(plan));
        let mut lines = bytes_each(plan);
        lines.push(churned.join().expect("no panic"));
        lines
    })
}

/// Memory for each session, ours and the peers'.
fn bytes_each(plan: Plan) -> Vec<Line> {
    let mut lines = Vec::new();
    for (n, bar) in [(1_000_000, 48.0), (1_100_000, 72.0)] {
        let n = n / plan.divisor;
        eprintln!("row 14: bytes above key and value, {n} sessions");
        // The same in every run: nothing is drawn, and nothing else runs in that process.
        let payloads = bytes_of(PAYLOADS, n);
        // Beside the pairs, which in a long run take as long as all of these one after the other.
        let at_once = if plan.is_quick() { 2 } else { 1 };
        let some = |who: &[&str]| -> Vec<f64> {
            thread::scope(|scope| {
                let above = |who| bytes_of(who, n) - payloads - KEY_AND_VALUE;
                let all: Vec<_> = (who.iter())
                    .map(|&who| scope.spawn(move || above(who)))
                    .collect();
                let bytes = all.into_iter().map(|it| it.join().expect("no panic"));
                bytes.collect()
            })
        };
        let above = |who: &[&str]| -> Vec<f64> { who.chunks(at_once).flat_map(some).collect() };
        let names = PEERS.map(|(who, _)| who);
        let peers: Vec<_> = names.into_iter().zip(above(&names)).collect();
        let (best, _) = (peers.iter().copied())
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .expect("there are some");
        let first = lines.len();
        // Two processes tell the same but for a tenth of a byte.
        let rounds: Vec<_> = (0..plan.one_or_all())
            .map(|_| above(&[OURS, best, OURS_BOUNDED, OURS_EQUAL]))
            .collect();
        for (at, lifetimes) in [
            (0, "random lifetimes"),
            (2, "random lifetimes, a maximum"),
            (3, "equal lifetimes"),
        ] {
            let pairs: Vec<_> = rounds.iter().map(|bytes| (bytes[at], bytes[1])).collect();
            let name = format!("bytes above key and value, {n}, {lifetimes}");
            let figure = Figure {
                row: 14,
                name: &name,
                unit: "bytes",
                peer: best,
                bar: Some(bar),
            };
            lines.push(figure.line(&pairs));
        }
        for (who, bytes) in peers {
            let figure = Figure {
                row: 14,
                name: &format!("bytes above key and value, {n}, beside {who}"),
                unit: "bytes",
                peer: who,
                bar: None,
            };
            let line = figure.line(&[(lines[first].ours, bytes)]);
            lines.push(line);
        }
    }
    lines
}

/// Memory after very many pairs.
fn churned(plan: Plan) -> Line {
    let pairs = if plan.is_quick() {
        10_000_000
    } else {
        100_000_000
    };
    let pairs = pairs / plan.divisor;
    let live = 100_000 / plan.divisor;
    let first = churn::first(pairs as u64);
    let name = format!("resident after {pairs} insert/take pairs against {first}");
    eprintln!("row 14: {name}");
    let run: Run = in_a_process(&[
        "churn".into(),
        pairs.to_string(),
        live.to_string(),
        is_smoke(plan).to_string(),
    ]);
    let figure = Figure {
        row: 14,
        name: &name,
        unit: "MB",
        peer: "ours, after the first pairs",
        bar: None,
    };
    let pair = (
        run.resident_end as f64 / 1e6,
        run.resident_first as f64 / 1e6,
    );
    Line {
        bar: BAR,
        // Also whether every insert was taken, and every session there.
        ok: run.ok,
        ..figure.line(&[pair])
    }
}
