//! Pairs of measurements that alternate in one process, and what they say about a bar.

use crate::Ids;

/// One measurement: nanoseconds for one operation, all work that it caused included.
pub type Run = Box<dyn FnMut() -> f64>;

/// Somebody who can be measured.
pub struct Contestant {
    pub name: String,
    prepare: Box<dyn Fn() -> Run>,
}

impl Contestant {
    pub fn new(name: String, prepare: impl Fn() -> Run + 'static) -> Self {
        Self {
            name,
            prepare: Box::new(prepare),
        }
    }

    pub fn prepare(&self) -> Run {
        (self.prepare)()
    }
}

/// What a ratio has to be.
#[derive(Clone, Copy, Debug)]
pub enum Bar {
    /// Our time over the peer's.
    TimeAtMost(f64),
    /// Our throughput over the peer's.
    ThroughputAtLeast(f64),
}

impl Bar {
    pub fn number(self) -> f64 {
        match self {
            Self::TimeAtMost(bar) | Self::ThroughputAtLeast(bar) => bar,
        }
    }

    /// Whether a ratio meets the bar.
    pub fn holds(self, ratio: f64) -> bool {
        match self {
            Self::TimeAtMost(bar) => ratio <= bar,
            Self::ThroughputAtLeast(bar) => ratio >= bar,
        }
    }

    /// Whether an interval's ends are on both sides of the bar.
    pub fn straddled_by(self, [low, high]: [f64; 2]) -> bool {
        self.holds(low) != self.holds(high)
    }

    /// What is held against the bar.
    pub fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::TimeAtMost(_) => ours / theirs,
            Self::ThroughputAtLeast(_) => theirs / ours,
        }
    }
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Pairs, and pairs where the interval straddles the bar.
    pub pairs: usize,
    pub more: usize,
    /// Work is divided by this.
    pub divisor: usize,
    /// Whether a first run of each is thrown away.
    pub warms_up: bool,
}

/// What pairs have shown: medians.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub ours: f64,
    pub theirs: f64,
    pub ratio: f64,
    /// Of the ratio: 95 %, by bootstrap (Efron 1979). Not numbers where there is none.
    pub interval: [f64; 2],
    /// Each pair as it was measured, ours first.
    pub pairs: Vec<(f64, f64)>,
}

impl Plan {
    /// Whether a run is a short one.
    pub fn is_quick(self) -> bool {
        self.pairs < 9
    }

    /// Whether a short run leaves out what is dear and has no bar. (One that only shows that all works does
    /// not.)
    pub fn has_bars_only(self) -> bool {
        self.is_quick() && self.divisor == 1
    }

    /// For what is shown without a bar: a third of the pairs, no more of them, and so no first run that does not count.
    pub fn reported(self) -> Self {
        let pairs = (self.pairs / 3).max(1);
        Self {
            pairs,
            more: pairs,
            warms_up: false,
            ..self
        }
    }

    /// For what is so far behind that nobody asks how far.
    pub fn once(self) -> Self {
        Self {
            pairs: 1,
            more: 1,
            ..self.reported()
        }
    }

    /// For runs that fill a cache of their own: there is nothing that the first one alone finds cold.
    pub fn fresh(self) -> Self {
        Self {
            warms_up: false,
            ..self
        }
    }

    /// Rounds of what is dear and varies little, or needs all of them where it is measured in earnest.
    pub fn one_or_all(self) -> usize {
        if self.is_quick() { 1 } else { self.pairs }
    }

    /// How much of a population scouts come to at first.
    pub fn part_scouted(self, n: usize) -> usize {
        n / if self.is_quick() { 8 } else { 4 }
    }

    /// How often a scout measures.
    pub fn looks(self) -> usize {
        if self.is_quick() { 1 } else { 2 }
    }
}

/// The best of some measurements. Who is far behind the best so far is not measured again.
pub fn scouted(looks: usize, best: f64, mut run: impl FnMut() -> f64) -> f64 {
    let mut time = f64::INFINITY;
    for _ in 0..looks {
        time = time.min(run());
        if time > 2.0 * best {
            break;
        }
    }
    time
}

/// Who comes this close to the fastest at a part of the work may be faster at all of it.
const CLOSE: f64 = 1.3;

/// Times of some, and the fastest of them.
fn times<'c>(
    who: impl Iterator<Item = &'c Contestant>,
    plan: Plan,
) -> (Vec<(f64, &'c Contestant)>, (f64, &'c Contestant)) {
    let mut times: Vec<(f64, &Contestant)> = Vec::new();
    let mut best = None;
    for who in who {
        let so_far = best.map_or(f64::INFINITY, |(time, _)| time);
        let time = scouted(plan.looks(), so_far, who.prepare());
        times.push((time, who));
        if time < so_far {
            best = Some((time, who));
        }
    }
    (times, best.expect("there is a peer"))
}

/// The fastest of these, who are scouted at a part of their work: in a long run those who are close to
/// each other then come to all of it, as `all` does.
pub fn best<'c>(scouts: &'c [Contestant], all: &'c [Contestant], plan: Plan) -> &'c str {
    let (times_of_part, (least, fastest)) = times(scouts.iter(), plan);
    let close: Vec<&str> = times_of_part
        .iter()
        .filter(|(time, _)| *time <= CLOSE * least)
        .map(|(_, who)| who.name.as_str())
        .collect();
    if plan.is_quick() || close.len() == 1 {
        return &fastest.name;
    }
    let contenders = all.iter().filter(|who| close.contains(&who.name.as_str()));
    let (_, (_, fastest)) = times(contenders, plan);
    &fastest.name
}

/// So many rounds as there are to be pairs; and if these do not do, as many as there are to be then.
pub fn rounds<R>(
    plan: Plan,
    mut round: impl FnMut(usize) -> R,
    mut will_do: impl FnMut(&[R]) -> bool,
) -> Vec<R> {
    let mut rounds = Vec::new();
    while rounds.len() < plan.pairs {
        rounds.push(round(rounds.len()));
    }
    if plan.pairs < plan.more && !will_do(&rounds) {
        while rounds.len() < plan.more {
            rounds.push(round(rounds.len()));
        }
    }
    rounds
}

/// Measures two in turn.
pub fn compare(
    ours: &mut dyn FnMut() -> f64,
    theirs: &mut dyn FnMut() -> f64,
    bar: Bar,
    plan: Plan,
) -> Outcome {
    let sure = |pairs: &[_]| !bar.straddled_by(outcome(pairs, bar).interval);
    outcome(&in_turn(ours, theirs, plan, sure), bar)
}

/// Pairs of two in turn, ours first in each; more of them if the first ones do not do.
pub fn in_turn<T>(
    ours: &mut dyn FnMut() -> T,
    theirs: &mut dyn FnMut() -> T,
    plan: Plan,
    will_do: impl FnMut(&[(T, T)]) -> bool,
) -> Vec<(T, T)> {
    if plan.warms_up {
        ours();
        theirs();
    }
    let pair = |round: usize| {
        if round % 2 == 0 {
            let ours = ours();
            (ours, theirs())
        } else {
            let theirs = theirs();
            (ours(), theirs)
        }
    };
    rounds(plan, pair, will_do)
}

/// What these pairs have shown: ours first.
pub fn outcome(pairs: &[(f64, f64)], bar: Bar) -> Outcome {
    let (ratios, [ours, theirs]) = (ratios(pairs, bar), medians(pairs));
    let interval = match ratios.len() {
        1 => [f64::NAN; 2],
        _ => bootstrap(|draw| median_of_some(&ratios, draw)),
    };
    Outcome {
        ours,
        theirs,
        ratio: median(ratios.iter().copied()),
        interval,
        pairs: pairs.to_vec(),
    }
}

/// What is measured in pairs beside a figure that is given: ours of each.
pub fn outcome_beside(pairs: &[(f64, f64)], figure: f64, bar: Bar) -> Outcome {
    let pairs: Vec<_> = pairs.iter().map(|&(ours, _)| (ours, figure)).collect();
    outcome(&pairs, bar)
}

/// As [`outcome`], but the ratio is that of the medians and not the median of the ratios: for maxima, which
/// have nothing to do with each other in a pair.
pub fn outcome_of_medians(pairs: &[(f64, f64)], bar: Bar) -> Outcome {
    let [ours, theirs] = medians(pairs);
    let [all_ours, all_theirs]: [Vec<f64>; 2] =
        [|p: &(f64, f64)| p.0, |p: &(f64, f64)| p.1].map(|side| pairs.iter().map(side).collect());
    Outcome {
        ours,
        theirs,
        ratio: bar.ratio(ours, theirs),
        interval: bootstrap(|draw| {
            let ours = median_of_some(&all_ours, draw);
            bar.ratio(ours, median_of_some(&all_theirs, draw))
        }),
        pairs: pairs.to_vec(),
    }
}

/// The geometric mean of several outcomes' ratios; of no pairs of its own.
pub fn geometric(outcomes: &[Outcome], bar: Bar) -> Outcome {
    fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
        let n = numbers.len() as f64;
        (numbers.map(f64::ln).sum::<f64>() / n).exp()
    }
    let ratios: Vec<_> = outcomes.iter().map(|o| ratios(&o.pairs, bar)).collect();
    Outcome {
        ours: mean(outcomes.iter().map(|each| each.ours)),
        theirs: mean(outcomes.iter().map(|each| each.theirs)),
        ratio: mean(outcomes.iter().map(|each| each.ratio)),
        interval: bootstrap(|draw| mean(ratios.iter().map(|each| median_of_some(each, draw)))),
        pairs: Vec::new(),
    }
}

fn ratios(pairs: &[(f64, f64)], bar: Bar) -> Vec<f64> {
    pairs.iter().map(|&(o, t)| bar.ratio(o, t)).collect()
}

fn medians(pairs: &[(f64, f64)]) -> [f64; 2] {
    [
        median(pairs.iter().map(|p| p.0)),
        median(pairs.iter().map(|p| p.1)),
    ]
}

/// The median of as many of these as there are, each drawn from all.
fn median_of_some(numbers: &[f64], draw: &mut Ids) -> f64 {
    median((0..numbers.len()).map(|_| numbers[draw.below(numbers.len())]))
}

/// Between which ends 95 % of what is drawn lies.
fn bootstrap(mut statistic: impl FnMut(&mut Ids) -> f64) -> [f64; 2] {
    const RESAMPLES: usize = 2_000;
    let mut draw = Ids::new(95);
    let mut drawn: Vec<f64> = (0..RESAMPLES).map(|_| statistic(&mut draw)).collect();
    drawn.sort_by(f64::total_cmp);
    [drawn[RESAMPLES / 40], drawn[RESAMPLES - RESAMPLES / 40]]
}

pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 0 {
        f64::midpoint(numbers[middle - 1], numbers[middle])
    } else {
        numbers[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan {
        pairs: 9,
        more: 27,
        divisor: 1,
        warms_up: true,
    };

    #[test]
    fn more_rounds_only_where_the_first_do_not_do() {
        assert_eq!(rounds(PLAN, |round| round, |_| true).len(), 9);
        let asked = std::cell::Cell::new(0);
        let all = rounds(
            PLAN,
            |round| round,
            |first| {
                asked.set(first.len());
                false
            },
        );
        assert_eq!((asked.get(), all), (9, (0..27).collect()));
        assert_eq!(rounds(PLAN.reported(), |round| round, |_| false).len(), 3);
    }

    #[test]
    fn scouts_who_are_close_come_to_all_of_the_work_and_nobody_else() {
        use std::cell::RefCell;
        use std::rc::Rc;
        let asked = Rc::new(RefCell::new(Vec::new()));
        let field = |times: [(&'static str, f64); 3]| {
            times.map(|(name, time)| {
                let asked = Rc::clone(&asked);
                let run = move || {
                    let asked = Rc::clone(&asked);
                    Box::new(move || {
                        asked.borrow_mut().push((name, time));
                        time
                    }) as Run
                };
                Contestant::new(name.into(), run)
            })
        };
        let part = field([("slow", 9.0), ("close", 1.2), ("fast", 1.0)]);
        let all = field([("slow", 0.1), ("close", 4.0), ("fast", 5.0)]);
        let quick = Plan { pairs: 3, ..PLAN };
        assert_eq!(best(&part, &all, quick), "fast");
        asked.borrow_mut().clear();
        assert_eq!(best(&part, &all, PLAN), "close");
        let of_all: Vec<_> = asked.borrow().iter().skip(6).copied().collect();
        let twice = |who| [who, who];
        assert_eq!(
            of_all,
            [twice(("close", 4.0)), twice(("fast", 5.0))].concat()
        );
        // Who is ahead by himself is not asked again.
        asked.borrow_mut().clear();
        let alone = field([("slow", 9.0), ("close", 1.4), ("fast", 1.0)]);
        assert_eq!(best(&alone, &all, PLAN), "fast");
        assert_eq!(asked.borrow().len(), 6);
    }

    #[test]
    fn pairs_are_ours_first_whoever_was_measured_first() {
        let order = std::cell::RefCell::new(Vec::new());
        let mut measure = [1.0, 2.0].map(|time| {
            let order = &order;
            move || {
                order.borrow_mut().push(time);
                time
            }
        });
        let [ours, theirs] = &mut measure;
        let pairs = in_turn(ours, theirs, PLAN, |_| true);
        assert_eq!(pairs, [(1.0, 2.0); 9]);
        // One each that does not count, and then in turn.
        assert_eq!(order.borrow()[..6], [1.0, 2.0, 1.0, 2.0, 2.0, 1.0]);
        order.borrow_mut().clear();
        let pairs = in_turn(ours, theirs, PLAN.fresh(), |_| true);
        assert_eq!((pairs.len(), order.borrow().len()), (9, 18));
        let pairs = in_turn(ours, theirs, PLAN.once(), |_| false);
        assert!(pairs.len() == 1 && outcome(&pairs, Bar::TimeAtMost(1.0)).interval[0].is_nan());
    }

    #[test]
    fn an_interval_holds_its_ratio_and_is_as_wide_as_what_was_measured() {
        let bar = Bar::TimeAtMost(1.0);
        let pairs = |spread: f64| -> Vec<(f64, f64)> {
            (0..27)
                .map(|i| (100.0 + spread * f64::from(i % 9 - 4), 100.0))
                .collect()
        };
        let width = |[low, high]: [f64; 2]| high - low;
        for of in [outcome, outcome_of_medians] {
            let [narrow, wide] = [0.1, 10.0].map(|spread| of(&pairs(spread), bar));
            for outcome in [&narrow, &wide] {
                let [low, high] = outcome.interval;
                assert!(low <= outcome.ratio && outcome.ratio <= high, "{outcome:?}");
            }
            assert!(width(narrow.interval) * 50.0 < width(wide.interval));
            let mean = geometric(&[narrow.clone(), wide.clone()], bar);
            assert!(width(mean.interval) > 0.0 && width(mean.interval) < width(wide.interval));
        }
        assert!(bar.straddled_by([0.9, 1.1]) && !bar.straddled_by([1.1, 1.2]));
    }
}
