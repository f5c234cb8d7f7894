//! What rows are made of, and the first two.

use serde::Serialize;

use crate::work;
use sessionwheel_bench::contest::{Bar, Contestant, Outcome, Plan, best, compare};

/// One line of the table.
#[derive(Clone, Debug, Serialize)]
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
    /// Not a number where there is none.
    pub(crate) bar: f64,
    /// Whether the median meets the bar; the table says `~` all the same where it is unsure.
    pub(crate) ok: bool,
    /// The interval straddles the bar, after all pairs.
    pub(crate) unsure: bool,
}

pub(crate) fn line(row: u8, name: &str, best_peer: &str, bar: Bar, outcome: &Outcome) -> Line {
    Line {
        row,
        name: name.into(),
        ours: outcome.ours,
        unit: "ns",
        best_peer: best_peer.into(),
        peer: outcome.theirs,
        ratio: outcome.ratio,
        interval: outcome.interval,
        pairs: outcome.pairs.len(),
        bar: bar.number(),
        ok: bar.holds(outcome.ratio),
        unsure: bar.straddled_by(outcome.interval),
    }
}

/// The same without a bar.
pub(crate) fn reported(line: Line) -> Line {
    Line {
        bar: f64::NAN,
        ok: true,
        unsure: false,
        ..line
    }
}

/// Peers of these types, each measured by a function of a module with these arguments.
macro_rules! contestants {
    ($module:ident :: $f:ident $arguments:tt; $($peer:ty),* $(,)?) => {
        vec![$(Contestant::new(
            <$peer as Peer>::name(),
            move || $module::$f::<$peer> $arguments,
        )),*]
    };
}
pub(crate) use contestants;

/// OpenSSL's cache, where it is linked.
macro_rules! openssl {
    ($module:ident :: $f:ident $arguments:tt) => {{
        #[cfg(feature = "openssl")]
        let it = vec![Contestant::new(
            <sessionwheel_bench::peers::OpenSsl as Peer>::name(),
            move || $module::$f::<sessionwheel_bench::peers::OpenSsl> $arguments,
        )];
        #[cfg(not(feature = "openssl"))]
        let it = Vec::<Contestant>::new();
        it
    }};
}
pub(crate) use openssl;

/// Who is measured: the peer that is the best of those scouted; then, without a bar and in no short run,
/// OpenSSL's cache if that is another.
pub(crate) fn rivals<'p>(
    scouts: &[Contestant],
    peers: &'p [Contestant],
    plan: Plan,
) -> Vec<(&'p Contestant, Plan)> {
    let best = best(scouts, peers, plan);
    let mut rivals = Vec::new();
    for peer in peers {
        if peer.name == best {
            rivals.insert(0, (peer, plan));
        } else if peer.name == "OpenSSL" && !plan.has_bars_only() {
            rivals.push((peer, plan.reported()));
        }
    }
    rivals
}

/// The line of one of these rivals: with a bar if it is the first.
pub(crate) fn ranked(at: usize, line: Line) -> Line {
    if at == 0 { line } else { reported(line) }
}

/// Ours in turn with each of those who are measured.
pub(crate) fn against(
    row: u8,
    name: &str,
    bar: Bar,
    plan: Plan,
    ours: &mut dyn FnMut() -> f64,
    (scouts, peers): (&[Contestant], &[Contestant]),
) -> Vec<Line> {
    say(row, name);
    let rivals = rivals(scouts, peers, plan).into_iter().enumerate();
    let lines = rivals.map(|(at, (peer, plan))| {
        let outcome = compare(ours, &mut peer.prepare(), bar, plan);
        ranked(at, line(row, name, &peer.name, bar, &outcome))
    });
    lines.collect()
}

/// Says what is being measured, on stderr.
pub(crate) fn say(row: u8, what: &str) {
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
