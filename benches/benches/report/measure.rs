//! What the pictures show, measured.

use std::hint::black_box;
use std::time::{Duration, Instant};

use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::beside::{Population, timeline};
#[cfg(feature = "openssl")]
use sessionwheel_bench::peers::OpenSsl;
use sessionwheel_bench::peers::{
    Dash, LruShards, Moka, Ours, Papaya, Peer, QuickCache, RwLocked, SccMap, Seconds, Session,
};
use sessionwheel_bench::{BETWEEN, Ids, LATE, NOW, SOON, filled, payload, shuffled};

use crate::draw::Series;
use crate::panels::Panel;

type Our = DefaultHashBuilder;

/// How large everything is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    divisor: usize,
    /// The better of so many measurements counts.
    repeats: usize,
}

impl Sizes {
    pub(crate) fn new(full: bool) -> Self {
        if full {
            Self {
                divisor: 1,
                repeats: 3,
            }
        } else {
            Self {
                divisor: 1_000,
                repeats: 1,
            }
        }
    }

    /// How many sessions the flushes are among.
    pub(crate) fn flushed(self) -> usize {
        1_000_000 / self.divisor
    }

    fn populations(self, largest: usize) -> impl Iterator<Item = usize> {
        let steps = [
            10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000,
        ];
        steps
            .into_iter()
            .take_while(move |&n| n <= largest)
            .map(move |n| n / self.divisor)
    }

    fn best(self, mut measure: impl FnMut() -> f64) -> f64 {
        (0..self.repeats)
            .map(|_| measure())
            .fold(f64::MAX, f64::min)
    }
}

fn nanoseconds(since: Instant, operations: usize) -> f64 {
    since.elapsed().as_nanos() as f64 / operations as f64
}

/// A series for each of these peers, by a function with these arguments.
macro_rules! each {
    ($f:ident $arguments:tt; $($peer:ty),* $(,)?) => {
        vec![$($f::<$peer> $arguments),*]
    };
}

/// One for OpenSSL, where it is linked.
macro_rules! openssl {
    ($f:ident $arguments:tt) => {{
        #[cfg(feature = "openssl")]
        let it = vec![$f::<OpenSsl> $arguments];
        #[cfg(not(feature = "openssl"))]
        let it = Vec::new();
        it
    }};
}

fn short(name: &str) -> String {
    name.replace(", our hasher", "")
}

/// All of them with one population, and then with the next: so the slow minutes of a machine are not one peer's.
pub(crate) fn lookups(sizes: Sizes) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for n in sizes.populations(10_000_000) {
        let mut times = each!(lookup(sizes, n);
            Ours, Dash<Our>, Papaya<Our>, SccMap<Our>, QuickCache<Our>, Moka<Our>);
        // 10,000,000 of OpenSSL's sessions would be nine gigabytes.
        if n * sizes.divisor <= 1_000_000 {
            times.extend(openssl!(lookup(sizes, n)));
        }
        for (name, time) in times {
            let point = (n as f64, time);
            match series.iter_mut().find(|series| series.name == name) {
                Some(series) => series.points.push(point),
                None => series.push(Series::new(name, vec![point])),
            }
        }
    }
    series
}

fn lookup<P: Peer>(sizes: Sizes, n: usize) -> (String, f64) {
    const LOOKUPS: usize = 1_000_000;
    eprintln!("lookup: {}, {n}", P::name());
    let ids = Ids::new(1).many(n);
    let order = shuffled(&ids);
    let peer: P = filled(&ids, |_| LATE);
    let lookups = LOOKUPS / sizes.divisor;
    // On and on: what was just looked up is in cache.
    let mut order = order.iter().cycle();
    let time = sizes.best(|| {
        let start = Instant::now();
        for id in order.by_ref().take(lookups) {
            black_box(peer.get(id, NOW));
        }
        nanoseconds(start, lookups)
    });
    (short(&P::name()), time)
}

pub(crate) fn flushes(sizes: Sizes) -> Vec<Series> {
    let mut series = each!(flush(sizes);
        Ours, Dash<Our>, Papaya<Our>, SccMap<Our>, QuickCache<Our>, RwLocked<Our>);
    series.extend(openssl!(flush(sizes)));
    series
}

fn flush<P: Peer>(sizes: Sizes) -> Series {
    let n = sizes.flushed();
    let ids = Ids::new(1).many(n);
    let mut points = Vec::new();
    for percent in [0.1, 1.0, 3.0, 10.0, 30.0, 100.0] {
        eprintln!("flush: {}, {percent} %", P::name());
        let due = (n as f64 * percent / 100.0) as usize;
        let deadlines = shuffled(&[vec![SOON; due], vec![LATE; n - due]].concat());
        let time = sizes.best(|| {
            let peer: P = filled(&ids, |i| deadlines[i]);
            let start = Instant::now();
            let removed = peer.flush(BETWEEN);
            peer.settle();
            let time = start.elapsed();
            assert_eq!(removed, due, "{}", P::name());
            time.as_nanos() as f64
        });
        points.push((percent, time));
    }
    Series::new(short(&P::flushed_name()), points)
}

pub(crate) fn inserts(sizes: Sizes) -> Vec<Series> {
    let equal = ("equal lifetimes", equal as fn(&mut Ids) -> Seconds);
    let random = ("random lifetimes", random as fn(&mut Ids) -> Seconds);
    let mut series = vec![
        insert::<Ours>(sizes, equal),
        insert::<Ours>(sizes, random),
        insert::<Dash<Our>>(sizes, random),
        insert::<Papaya<Our>>(sizes, random),
        insert::<Moka<Our>>(sizes, random),
    ];
    series.extend(openssl!(insert(sizes, equal)));
    series.extend(openssl!(insert(sizes, random)));
    series
}

fn equal(_: &mut Ids) -> Seconds {
    LATE
}

fn random(draw: &mut Ids) -> Seconds {
    LATE + draw.below(6_900) as u64
}

fn insert<P: Peer>(sizes: Sizes, (kind, lifetime): (&str, fn(&mut Ids) -> Seconds)) -> Series {
    /// So many more, or as many as come in the time.
    const MORE: usize = 2_000;
    const LIMIT: Duration = Duration::from_secs(2);
    let mut points = Vec::new();
    for n in sizes.populations(1_000_000) {
        eprintln!("insert: {}, {kind}, {n}", P::name());
        let mut draw = Ids::new(6);
        let deadlines: Vec<Seconds> = (0..n).map(|_| lifetime(&mut draw)).collect();
        let peer: P = filled(&Ids::new(1).many(n), |i| deadlines[i]);
        let mut ids = Ids::new(2);
        let time = sizes.best(|| {
            let prepared: Vec<_> = (0..MORE)
                .map(|_| {
                    let (deadline, payload) = (lifetime(&mut draw), payload());
                    P::prepare(ids.id(), Session { deadline, payload })
                })
                .collect();
            let mut done = 0;
            let start = Instant::now();
            for prepared in prepared {
                peer.add(prepared, NOW);
                done += 1;
                if done % 16 == 0 && start.elapsed() > LIMIT {
                    break;
                }
            }
            peer.settle();
            nanoseconds(start, done)
        });
        points.push((n as f64, time));
    }
    Series::new(format!("{}, {kind}", short(&P::name())), points)
}

pub(crate) fn timelines(sizes: Sizes) -> Vec<Panel> {
    let population = Population::new(sizes.flushed(), 50);
    let mut panels = each!(line(sizes, &population);
        Ours, Dash<Our>, Papaya<Our>, SccMap<Our>, QuickCache<Our>, RwLocked<Our>, LruShards<Our>);
    panels.extend(openssl!(line(sizes, &population)));
    panels
}

/// Of some runs the one that is in the middle by its longest wait.
fn line<P: Peer>(sizes: Sizes, population: &Population) -> Panel {
    eprintln!("timeline: {}", P::name());
    let runs = (0..sizes.repeats).map(|_| one_line::<P>(population));
    let mut runs: Vec<_> = runs.collect();
    runs.sort_by(|a, b| a.longest().total_cmp(&b.longest()));
    runs.swap_remove(sizes.repeats / 2)
}

fn one_line<P: Peer>(population: &Population) -> Panel {
    let seen = timeline::<P>(population, Duration::from_millis(20));
    let points = seen
        .samples
        .iter()
        // Less the time in which there was no core for the thread: that is the machine's.
        .map(|sample| (sample.at, (sample.took - sample.off).max(0.1) * 1e3))
        .collect();
    Panel {
        series: Series::new(short(&P::flushed_name()), points),
        flush: seen.flush,
    }
}
