//! Rows 3 and 4: throughput at two sizes, with 1, 2 and 16 threads.

use std::collections::hash_map::RandomState;

use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::peers::{
    Dash, LruShards, Moka, Ours, Papaya, Peer, QuickCache, Rustls, SccIndex, SccMap, refused,
};

use crate::rows::{Line, line, reported, say};
use crate::work::{self, Scaled};
use sessionwheel_bench::contest::{Bar, Outcome, Plan, compare, geometric, scouted};

type Std = RandomState;
type Our = DefaultHashBuilder;

const THREADS: [usize; 3] = [1, 2, 16];

/// A peer, and what makes it ready at a size.
type Scalable = (String, fn(usize, usize) -> Scaled);

macro_rules! scalable {
    ($f:ident; $($peer:ty),* $(,)?) => {
        vec![$((<$peer as Peer>::name(), work::$f::<$peer> as fn(usize, usize) -> Scaled)),*]
    };
}

/// Who takes so many times as long as the best peer has one pair beside ours.
const FAR_BEHIND: f64 = 100.0;

/// Of which peers the best is measured, what its name has to begin with, and the bar.
type Group = (&'static str, Option<f64>);

/// What is measured at every point: with how much work at a time.
struct Row {
    number: u8,
    name: &'static str,
    work: usize,
    ours: fn(usize, usize) -> Scaled,
    peers: Vec<Scalable>,
    groups: Vec<Group>,
}

impl Row {
    /// All points at a size: each with a line for every group.
    fn points(&self, n: usize, plan: Plan) -> Vec<(usize, Line, Outcome)> {
        say(
            self.number,
            &format!("{}, {n} sessions, scouting", self.name),
        );
        let mut best = [f64::INFINITY; 3];
        // Who is the best goes by what fits into caches: only a short run looks at less.
        let part = if plan.is_quick() {
            plan.part_scouted(n)
        } else {
            n
        };
        let mut scout = |(_, prepare): &Scalable| {
            let mut run = prepare(part, self.work);
            let mut at = 0..3;
            THREADS.map(|threads| {
                let at = at.next().expect("as many");
                let time = scouted(plan.looks(), best[at], || run(threads));
                best[at] = best[at].min(time);
                time
            })
        };
        let times: Vec<[f64; 3]> = self.peers.iter().map(&mut scout).collect();
        let mut duels = Vec::new();
        for at in 0..3 {
            for (group, (name, _)) in self.groups.iter().enumerate() {
                let mine = (0..times.len()).filter(|&who| self.peers[who].0.starts_with(name));
                let best = mine.min_by(|&a, &b| times[a][at].total_cmp(&times[b][at]));
                duels.extend(best.map(|who| (who, at, group)));
            }
        }
        // Whom nobody has set a bar has a line only where it is not the best anyway, and in no short run.
        let all = duels.clone();
        duels.retain(|&(who, at, group)| {
            let shown = !plan.has_bars_only() && !all.contains(&(who, at, 0));
            self.groups[group].1.is_some() || shown
        });
        // Each is made ready once.
        duels.sort_unstable();
        let mut lines = Vec::new();
        let mut ours = (self.ours)(n, self.work);
        for duels in duels.chunk_by(|a, b| a.0 == b.0) {
            let (peer, prepare) = &self.peers[duels[0].0];
            let mut theirs = prepare(n, self.work);
            for &(who, at, group) in duels {
                let threads = THREADS[at];
                let name = format!("{}, {n} sessions, {threads} thread(s)", self.name);
                say(self.number, &format!("{name}, {peer}"));
                let (plan, has_bar) = match self.groups[group].1 {
                    Some(_) => (plan, true),
                    None if times[who][at] > FAR_BEHIND * best[at] => (plan.once(), false),
                    None => (plan.reported(), false),
                };
                let bar = Bar::ThroughputAtLeast(self.groups[group].1.unwrap_or(1.0));
                let before = refused();
                let outcome = compare(&mut || ours(threads), &mut || theirs(threads), bar, plan);
                let mut line = line(self.number, &name, peer, bar, &outcome);
                let refused = refused() - before;
                if refused > 0 {
                    line.name = format!("{name}, {refused} inserts refused");
                }
                let line = if has_bar { line } else { reported(line) };
                lines.push((at, group, line, outcome));
            }
        }
        lines.sort_by_key(|&(at, group, ..)| (group, at));
        lines
            .into_iter()
            .map(|(_, group, line, outcome)| (group, line, outcome))
            .collect()
    }

    fn lines(&self, plan: Plan) -> (Vec<Line>, Vec<Outcome>) {
        let sizes = [20_000, 1_000_000].map(|n| n / plan.divisor);
        let mut lines = sizes.map(|n| self.points(n, plan)).concat();
        lines.sort_by_key(|&(group, ..)| group);
        lines
            .into_iter()
            .map(|(_, line, outcome)| (line, outcome))
            .unzip()
    }
}

pub(crate) fn cloned(plan: Plan) -> Vec<Line> {
    let row = Row {
        number: 3,
        name: "hit cloned",
        work: 1_000_000 / plan.divisor,
        ours: work::cloned::<Ours>,
        peers: scalable!(cloned;
            Dash<Std>, Dash<Our>, Papaya<Std>, Papaya<Our>, SccMap<Std>, SccMap<Our>,
            SccIndex<Std>, SccIndex<Our>, QuickCache<Std>, QuickCache<Our>),
        groups: vec![("", Some(0.9))],
    };
    let (mut lines, outcomes) = row.lines(plan);
    let bar = Bar::ThroughputAtLeast(1.1);
    let mean = geometric(&outcomes, bar);
    let name = "hit cloned, geometric mean";
    let pairs = lines.iter().map(|line| line.pairs).min().unwrap_or(0);
    lines.push(Line {
        pairs,
        ..line(3, name, "each point's best", bar, &mean)
    });
    lines
}

pub(crate) fn mix(plan: Plan) -> Vec<Line> {
    let peers = scalable!(mix;
        QuickCache<Std>, QuickCache<Our>, LruShards<Std>, LruShards<Our>,
        Moka<Std>, Moka<Our>, Rustls);
    #[cfg(feature = "openssl")]
    let peers = [peers, scalable!(mix; sessionwheel_bench::peers::OpenSsl)].concat();
    let row = Row {
        number: 4,
        name: "mix at capacity",
        // A step is dear for some.
        work: if plan.is_quick() { 50_000 } else { 200_000 } / plan.divisor,
        ours: work::mix::<Ours>,
        peers,
        groups: vec![("", Some(1.0)), ("moka", Some(3.0)), ("OpenSSL", None)],
    };
    row.lines(plan).0
}
