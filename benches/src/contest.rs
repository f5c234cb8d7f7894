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

    pub fn holds(self, ratio: f64) -> bool {
        match self {
            Self::TimeAtMost(bar) => ratio <= bar,
            Self::ThroughputAtLeast(bar) => ratio >= bar,
        }
    }

    fn ratio(self, ours: f64, theirs: f64) -> f64 {
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
}

/// What pairs have shown: medians.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub ours: f64,
    pub theirs: f64,
    pub ratio: f64,
    /// Of the median ratio: 95 %, by bootstrap (Efron 1979).
    pub interval: [f64; 2],
    pub pairs: usize,
}

impl Plan {
    /// Whether a run is a short one.
    pub fn is_quick(self) -> bool {
        self.pairs < 9
    }

    /// For what is shown without a bar: straddling nothing, it needs no more pairs, and in a short
    /// run not even those.
    pub fn reported(self) -> Self {
        let pairs = if self.is_quick() { 1 } else { self.pairs };
        Self {
            pairs,
            more: pairs,
            ..self
        }
    }

    /// How much of a population scouts come to.
    pub fn part_scouted(self, n: usize) -> usize {
        if self.is_quick() { n / 4 } else { n }
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

/// The fastest of some.
pub fn best(all: &[Contestant], plan: Plan) -> &Contestant {
    let mut best: Option<(f64, &Contestant)> = None;
    for who in all {
        let so_far = best.map_or(f64::INFINITY, |(time, _)| time);
        let time = scouted(plan.looks(), so_far, who.prepare());
        if time < so_far {
            best = Some((time, who));
        }
    }
    best.expect("there is a peer").1
}

/// Measures two in turn.
pub fn compare(
    ours: &mut dyn FnMut() -> f64,
    theirs: &mut dyn FnMut() -> f64,
    bar: Bar,
    plan: Plan,
) -> Outcome {
    // Whatever is slow the first time; in a short run the median has to do without.
    if !plan.is_quick() {
        ours();
        theirs();
    }
    let mut pairs = Vec::new();
    loop {
        let turn = pairs.len() % 2 == 0;
        let first = if turn { ours() } else { theirs() };
        let second = if turn { theirs() } else { ours() };
        pairs.push(if turn {
            (first, second)
        } else {
            (second, first)
        });
        if pairs.len() == plan.pairs || pairs.len() == plan.more {
            let outcome = outcome(&pairs, bar);
            let [low, high] = outcome.interval;
            let straddles = bar.holds(low) != bar.holds(high);
            if !straddles || pairs.len() == plan.more {
                return outcome;
            }
        }
    }
}

/// What these pairs have shown: ours first.
pub fn outcome(pairs: &[(f64, f64)], bar: Bar) -> Outcome {
    const RESAMPLES: usize = 2_000;
    let ratios: Vec<f64> = pairs.iter().map(|&(o, t)| bar.ratio(o, t)).collect();
    let mut draw = Ids::new(95);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .map(|_| median((0..ratios.len()).map(|_| ratios[draw.below(ratios.len())])))
        .collect();
    medians.sort_by(f64::total_cmp);
    Outcome {
        ours: median(pairs.iter().map(|p| p.0)),
        theirs: median(pairs.iter().map(|p| p.1)),
        ratio: median(ratios.iter().copied()),
        interval: [medians[RESAMPLES / 40], medians[RESAMPLES - RESAMPLES / 40]],
        pairs: pairs.len(),
    }
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
