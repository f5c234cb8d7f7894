//! Rows 7 to 10: what flushes cost.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::rc::Rc;
use std::sync::Arc;

use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::Payload;
use sessionwheel_bench::peers::{
    AsItComes, Dash, LruShards, Ours, Papaya, Peer, QuickCache, RwLocked, SccMap, Seconds, Wheel,
};

use crate::flushing::{self, Inline, Noted, Worst};
use crate::rows::{Line, against, line, ranked, reported, rivals, say};
use sessionwheel_bench::contest::{
    Bar, Contestant, Plan, Run, best, compare, in_turn, median, outcome, outcome_beside,
    outcome_of_medians,
};

type Std = RandomState;
type Our = DefaultHashBuilder;

/// Peers that are flushed by a scan, with values of a type: each is `$peer` in `$run`, which makes it ready.
macro_rules! scanned {
    ($value:ty, $peer:ident => $run:expr) => {
        scanned!(@ $value, $peer => $run;
            Dash<Std, $value>, Dash<Our, $value>, Papaya<Std, $value>, Papaya<Our, $value>,
            SccMap<Std, $value>, SccMap<Our, $value>, QuickCache<Std, $value>,
            QuickCache<Our, $value>, RwLocked<Std, $value>, RwLocked<Our, $value>,
            LruShards<Std, $value>, LruShards<Our, $value>)
    };
    (@ $value:ty, $peer:ident => $run:expr; $($type:ty),*) => {
        vec![$({
            type $peer = $type;
            Contestant::new(<$peer as Peer<$value>>::flushed_name(), $run)
        }),*]
    };
}

/// OpenSSL's cache, where it is linked: `$peer` in `$run`.
macro_rules! openssl {
    ($peer:ident => $run:expr) => {{
        #[cfg(feature = "openssl")]
        let it = {
            type $peer = sessionwheel_bench::peers::OpenSsl;
            vec![Contestant::new(<$peer as Peer>::name(), $run)]
        };
        #[cfg(not(feature = "openssl"))]
        let it = Vec::<Contestant>::new();
        it
    }};
}

/// A flush, and the same less what dropping the same payloads costs without any cache.
fn total_and_own(mut total: Run, mut dropping: Run) -> impl FnMut() -> [f64; 2] {
    move || {
        let total = total();
        [total, (total - dropping()).max(1.0)]
    }
}

pub(crate) fn flush_half(plan: Plan) -> Vec<Line> {
    let plan = plan.fresh();
    let n = 1_000_000 / plan.divisor;
    let name = |what: &str| format!("flush half of {n}, {what}");
    let peers = |n| {
        let mut all = scanned!(Payload, P => move || flushing::flush_half::<P, Payload>(n));
        all.extend(openssl!(P => move || flushing::flush_half::<P, Payload>(n)));
        all
    };
    let (scouts, peers) = (peers(plan.part_scouted(n)), peers(n));
    let mut droppers = scanned!(Arc<Noted>, P => move || flushing::drop_half::<P>(n));
    droppers.extend(openssl!(P => move || flushing::drop_prepared_half::<P>(n)));
    let mut ours = total_and_own(
        flushing::flush_half_heard::<Payload>(n),
        flushing::drop_half::<Ours<Arc<Noted>>>(n),
    );
    let kinds =
        [("total", 1.0), ("own share", 0.5)].map(|(what, bar)| (what, Bar::TimeAtMost(bar)));
    say(7, &name("total and own share"));
    let mut lines = [vec![], vec![]];
    for (at, (peer, plan)) in rivals(&scouts, &peers, plan).into_iter().enumerate() {
        let dropper = droppers.iter().find(|dropper| dropper.name == peer.name);
        let dropping = dropper.expect("everybody drops").prepare();
        let mut theirs = total_and_own(peer.prepare(), dropping);
        let outcomes = |pairs: &[([f64; 2], [f64; 2])]| {
            [0, 1].map(|which| {
                let pairs: Vec<_> = pairs.iter().map(|(o, t)| (o[which], t[which])).collect();
                outcome(&pairs, kinds[which].1)
            })
        };
        let sure = |pairs: &[_]| {
            let mut all = kinds.iter().zip(outcomes(pairs));
            all.all(|((_, bar), outcome)| !bar.straddled_by(outcome.interval))
        };
        let pairs = in_turn(&mut ours, &mut theirs, plan, sure);
        for (which, outcome) in outcomes(&pairs).iter().enumerate() {
            let (what, bar) = kinds[which];
            let line = line(7, &name(what), &peer.name, bar, outcome);
            lines[which].push(ranked(at, line));
        }
    }
    let mut lines = lines.concat();

    let peers = |n| {
        let mut all = scanned!(Inline, P => move || flushing::flush_half::<P, Inline>(n));
        // What it stores is in one piece anyway.
        all.extend(openssl!(P => move || flushing::flush_half::<P, Payload>(n)));
        all
    };
    let (scouts, peers) = (peers(plan.part_scouted(n)), peers(n));
    let mut ours = flushing::flush_half_heard::<Inline>(n);
    let (name, bar) = (name("96 bytes inline"), Bar::TimeAtMost(0.9));
    lines.extend(against(7, &name, bar, plan, &mut ours, (&scouts, &peers)));
    lines
}

pub(crate) fn two_threads<U: Wheel<u64>, P: Wheel>(plan: Plan) -> Vec<Line> {
    let plan = plan.fresh();
    let n = 1_000_000 / plan.divisor;
    let bar = Bar::ThroughputAtLeast(1.7);
    let of = |what: &str, who: &str, plan: Plan, mut two: Run, mut one: Run| {
        let name = format!("{what}, two threads against one");
        say(8, &name);
        let outcome = compare(&mut two, &mut one, bar, plan);
        line(8, &name, who, bar, &outcome)
    };
    let ours = "ours, one thread";
    let (one, two) = (
        flushing::flush_half_with::<U, u64>,
        flushing::flush_half_with::<U, u64>,
    );
    let u64s = of(
        &format!("flush half of {n} u64"),
        ours,
        plan,
        two(n, true),
        one(n, false),
    );
    let (one, two) = (
        flushing::flush_half_with::<P, Payload>,
        flushing::flush_half_with::<P, Payload>,
    );
    if plan.has_bars_only() {
        return vec![u64s];
    }
    let arcs = format!("flush half of {n} Arc");
    let arcs = of(&arcs, ours, plan.reported(), two(n, true), one(n, false));
    let vec = format!("drop half of {n} Arc from a Vec");
    let (one, two) = (flushing::drop_with(n, 1), flushing::drop_with(n, 2));
    let vec = of(&vec, "a Vec, one thread", plan.reported(), two, one);
    vec![u64s, reported(arcs), reported(vec)]
}

/// A line for the totals against the best peer, one for OpenSSL's, and one for the worst flush.
fn each_second<W: Wheel>(n: usize, span: Seconds, seconds: Seconds, plan: Plan) -> Vec<Line> {
    let name = format!("flush each second, {seconds} s of {span} s lifetimes, {n}");
    say(9, &name);
    let (scouts, worst) = (Worst::default(), Worst::default());
    let peers = |worst: &Worst, n: usize, seconds: Seconds| {
        let times = (span, seconds);
        // Who looks at nothing that is not due comes first: then scouts see at once who is far behind.
        let mut all = openssl!(P => {
            let worst = Rc::clone(worst);
            move || flushing::every_second::<P>(n, times, &worst)
        });
        all.extend(scanned!(Payload, P => {
            let worst = Rc::clone(worst);
            move || flushing::every_second::<P>(n, times, &worst)
        }));
        all
    };
    // A part of the time tells scouts enough: a scan costs most at the beginning, where the worst flush is too.
    let scouting = |worst: &Worst, n| peers(worst, n, seconds.div_ceil(30));
    let (part, whole) = (
        scouting(&scouts, plan.part_scouted(n)),
        scouting(&Worst::default(), n),
    );
    let fastest = best(&part, &whole, plan);
    let steadiest = least(&scouts.borrow());

    let all = peers(&worst, n, seconds);
    let mut ours = flushing::every_second::<W>(n, (span, seconds), &worst);
    let bar = Bar::TimeAtMost(0.33);
    let mut lines = Vec::new();
    for peer in &all {
        let first = peer.name == fastest;
        // Maxima are of as many runs as there are pairs.
        let steady = peer.name == steadiest;
        let plan = if first || steady {
            plan
        } else {
            plan.reported()
        };
        if first || steady || peer.name == "OpenSSL" {
            let outcome = compare(&mut ours, &mut peer.prepare(), bar, plan);
            let line = line(9, &name, &peer.name, bar, &outcome);
            let at = if first { 0 } else { lines.len() };
            lines.insert(at, if first { line } else { reported(line) });
        }
    }
    let bar = Bar::TimeAtMost(1.0);
    lines.push(worst_single(
        &name,
        (&W::name(), &worst),
        &all,
        &mut ours,
        plan,
    ));

    if plan.has_bars_only() {
        return lines;
    }
    let as_it_comes = AsItComes::<W>::name();
    let mut helped = flushing::every_second::<AsItComes<W>>(n, (span, seconds), &worst);
    let outcome = compare(&mut helped, &mut ours, bar, plan.reported());
    let name = format!("{name}, {as_it_comes}");
    lines.push(reported(line(9, &name, &W::name(), bar, &outcome)));
    lines
}

/// The line of the worst single flush, beside the peer whose is the least: more runs of the two where those
/// that there have been do not do.
fn worst_single(
    name: &str,
    (we, worst): (&str, &Worst),
    all: &[Contestant],
    ours: &mut Run,
    plan: Plan,
) -> Line {
    let steadiest = {
        let mut of_peers = worst.borrow().clone();
        of_peers.remove(we);
        least(&of_peers)
    };
    let pairs = || -> Vec<(f64, f64)> {
        let worst = worst.borrow();
        let (ours, theirs) = (&worst[we], &worst[&steadiest]);
        // Ours has run beside all of them.
        let ours = &ours[ours.len().saturating_sub(theirs.len())..];
        ours.iter().copied().zip(theirs.iter().copied()).collect()
    };
    let bar = Bar::TimeAtMost(1.0);
    let peer = all.iter().find(|peer| peer.name == steadiest);
    let mut theirs = peer.expect("who was measured").prepare();
    let mut outcome = |least: usize| {
        while pairs().len() < least {
            ours();
            theirs();
        }
        outcome_of_medians(&pairs(), bar)
    };
    let first = outcome(plan.pairs);
    let outcome = match bar.straddled_by(first.interval) {
        true => outcome(plan.more),
        false => first,
    };
    line(9, &format!("{name}, worst"), &steadiest, bar, &outcome)
}

/// Whose median is the least.
fn least(worst: &BTreeMap<String, Vec<f64>>) -> String {
    let medians = worst
        .iter()
        .map(|(name, all)| (name, median(all.iter().copied())));
    let least = medians.min_by(|a, b| a.1.total_cmp(&b.1));
    least.expect("there is a peer").0.clone()
}

pub(crate) fn every_second<W: Wheel>(plan: Plan) -> Vec<Line> {
    let plan = plan.fresh();
    let n = 1_000_000 / plan.divisor;
    let of = |(span, seconds)| each_second::<W>(n, span, seconds, plan);
    [(300, 300), (7_200, 120)].map(of).concat()
}

pub(crate) fn nothing_due<W: Wheel<u64>>(plan: Plan) -> Vec<Line> {
    let (large, small) = (10_000_000 / plan.divisor, 100_000 / plan.divisor);
    let name = format!("flush with nothing due, {large} against {small}");
    say(10, &name);
    let bar = Bar::TimeAtMost(1.2);
    let mut ours = flushing::nothing_due::<W>(large, 1_000, false);
    let mut theirs = flushing::nothing_due::<W>(small, 1_000, false);
    let outcome = compare(&mut ours, &mut theirs, bar, plan);
    let mut lines = vec![line(10, &name, "ours, small", bar, &outcome)];
    let name = format!("flush with nothing due, {large}, against 2 µs");
    let bar = Bar::TimeAtMost(1.0);
    let time = outcome_beside(&outcome.pairs, 2_000.0, bar);
    lines.push(line(10, &name, "2 µs", bar, &time));
    if plan.has_bars_only() {
        return lines;
    }
    let name = format!("flush with nothing due, {large}, with helpers");
    let mut helped = flushing::nothing_due::<W>(large, 1_000, true);
    let outcome = compare(&mut helped, &mut ours, bar, plan.reported());
    lines.push(reported(line(10, &name, "ours", bar, &outcome)));
    lines
}
