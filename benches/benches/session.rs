//! What the session cache costs above the map that it is made of, side by side.
//!
//! ```text
//! cargo bench --bench session
//! cargo bench --bench session -- --quick
//! ```
//!
//! The cache reads its clock, compares the generation of a context, and counts insertions; its endpoints ask
//! for modes and count what they find. The map is given its time. Both have the same keys, payloads
//! and hasher, no listener and no maximum, and are measured in turn: medians of the pairs, 95 %
//! intervals by bootstrap. What is looked at by flushes that come by themselves is counted.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use sessionwheel::{
    Clock, Context, ExpiringMap, SessionCache, SessionId, SessionKey, SessionOptions, Timestamp,
};
use sessionwheel_bench::contest::{Bar, Plan, Run, compare};
use sessionwheel_bench::{Ids, Payload, payload, shuffled};

type Map = ExpiringMap<SessionKey, Payload>;
type Cache = SessionCache<Payload>;

#[derive(Debug, Parser)]
#[command(about = "The session cache beside the bare map")]
struct Arguments {
    /// Fewer pairs, less work.
    #[arg(long)]
    quick: bool,
    /// What `cargo bench` says; without it all is run once, and shortly.
    #[arg(long, hide = true)]
    bench: bool,
    /// What `cargo test --benches` says.
    #[arg(long, hide = true)]
    test: bool,
}

/// What the cache may cost.
enum Most {
    Nanoseconds(f64),
    Ratio(f64),
    /// It is shown to be compared with.
    Anything,
}

struct Line {
    name: String,
    ours: Run,
    map: Run,
    most: Most,
}

const NOW: Timestamp = Timestamp::from_secs(1);
const LATE: Timestamp = Timestamp::from_secs(300);

fn keys(seed: u64, n: usize) -> Vec<SessionKey> {
    let ids = Ids::new(seed).many(n).into_iter();
    ids.map(|id| SessionKey::new(Context::DEFAULT, SessionId::from(id)))
        .collect()
}

fn map() -> Map {
    ExpiringMap::builder().build().expect("no bad settings")
}

/// Without a cap that its clock could come to.
fn cache(clock: Clock) -> Cache {
    let builder = SessionCache::builder().clock(clock).maximum(None);
    let builder = builder.timeout(Duration::from_secs(86_400));
    builder.build().expect("no bad settings")
}

fn filled(keys: &[SessionKey], clock: Clock) -> (Cache, Map) {
    let (cache, map) = (cache(clock), map());
    for key in keys {
        cache.insert(*key, payload()).expect("there is room");
        map.insert(*key, payload(), LATE, NOW)
            .expect("there is room");
    }
    (cache, map)
}

/// Nanoseconds for each of about `operations` calls of `f`, with all keys in turn.
fn each(keys: &[SessionKey], operations: usize, mut f: impl FnMut(&SessionKey)) -> f64 {
    let rounds = operations.div_ceil(keys.len());
    let start = Instant::now();
    for key in (0..rounds).flat_map(|_| keys) {
        f(key);
    }
    start.elapsed().as_nanos() as f64 / (rounds * keys.len()) as f64
}

/// Hits read in place, under a guard that is held; with a clock that stands still, to see what reading the
/// system's costs.
fn in_place(n: usize, operations: usize, standing: bool, most: Most) -> Line {
    let keys = keys(1, n);
    let (clock, how) = match standing {
        true => (Clock::manual(NOW).0, "no clock"),
        false => (Clock::monotonic(), "in place"),
    };
    let (cache, map) = filled(&keys, clock);
    let order = shuffled(&keys);
    let same = order.clone();
    Line {
        name: format!("hit {how}, {n}"),
        ours: Box::new(move || {
            let guard = cache.pin();
            each(&order, operations, |key| {
                black_box(cache.get(key, &guard).expect("a hit")[0]);
            })
        }),
        map: Box::new(move || {
            let guard = map.pin();
            each(&same, operations, |key| {
                black_box(map.get(key, NOW, &guard).expect("a hit")[0]);
            })
        }),
        most,
    }
}

/// Self-contained hits that clone the payload out: the cache's own, or its endpoint's.
fn cloned(n: usize, operations: usize, endpoint: bool, most: Most) -> Line {
    let keys = keys(1, n);
    let (cache, map) = filled(&keys, Clock::monotonic());
    let order = shuffled(&keys);
    let same = order.clone();
    let how = if endpoint { "resumed" } else { "cloned" };
    Line {
        name: format!("hit {how}, {n}"),
        ours: Box::new(move || {
            each(&order, operations, |key| {
                let found = if endpoint {
                    cache.server().resume(key).hit()
                } else {
                    cache.get_cloned(key)
                };
                black_box(found.expect("a hit"));
            })
        }),
        map: Box::new(move || {
            each(&same, operations, |key| {
                black_box(map.get_cloned(key, NOW).expect("a hit"));
            })
        }),
        most,
    }
}

/// Which of two halves of a life is measured.
#[derive(Clone, Copy)]
enum Half {
    Insert,
    Take,
}

/// Nanoseconds for each of the inserts, or of the takes. Payloads are made before.
fn life(
    keys: &[SessionKey],
    half: Half,
    mut insert: impl FnMut(SessionKey, Payload),
    take: impl FnMut(&SessionKey),
) -> f64 {
    let payloads: Vec<_> = keys.iter().map(|_| payload()).collect();
    let start = Instant::now();
    for (key, payload) in keys.iter().zip(payloads) {
        insert(*key, payload);
    }
    let inserted = start.elapsed();
    let start = Instant::now();
    keys.iter().for_each(take);
    let taken = start.elapsed();
    let time = match half {
        Half::Insert => inserted,
        Half::Take => taken,
    };
    time.as_nanos() as f64 / keys.len() as f64
}

/// Inserts of new keys into one with `n` sessions, and the same number of takes.
fn turnover(n: usize, operations: usize, half: Half, endpoint: bool, most: Most) -> Line {
    let (cache, map) = filled(&keys(1, n), Clock::monotonic());
    let fresh = keys(2, operations);
    let same = fresh.clone();
    let what = match (half, endpoint) {
        (Half::Insert, false) => "insert",
        (Half::Insert, true) => "insert as established",
        (Half::Take, _) => "take",
    };
    Line {
        name: format!("{what}, {n}"),
        ours: Box::new(move || {
            let insert = |key, payload| {
                if endpoint {
                    let options = SessionOptions::default();
                    let kept = cache.server().established(key, payload, options);
                    assert!(kept.expect("there is room").is_kept());
                } else {
                    cache.insert(key, payload).expect("there is room");
                }
            };
            let take = |key: &SessionKey| {
                black_box(cache.take_cloned(key).expect("there"));
            };
            let time = life(&fresh, half, insert, take);
            cache.reclaim();
            time
        }),
        map: Box::new(move || {
            let insert = |key, payload| {
                map.insert(key, payload, LATE, NOW).expect("there is room");
            };
            let take = |key: &SessionKey| {
                black_box(map.take_cloned(key, NOW).expect("there"));
            };
            let time = life(&same, half, insert, take);
            map.reclaim();
            time
        }),
        most,
    }
}

/// The most that one insertion looks at while half of `n` sessions have expired, and how many took part.
fn worst_part(n: usize) -> (u64, u64) {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
    let builder = SessionCache::builder().clock(clock).maximum(None);
    let cache = builder.build().expect("no bad settings");
    let keys = keys(3, n);
    let (old, new) = keys.split_at(n / 2);
    for key in old {
        cache.insert(*key, payload()).expect("there is room");
    }
    hand.advance(Duration::from_secs(301));
    let (mut worst, mut parts, mut before) = (0, 0, cache.stats().visited);
    for key in new {
        cache.insert(*key, payload()).expect("there is room");
        let visited = cache.stats().visited;
        worst = worst.max(visited - before);
        parts += u64::from(visited != before);
        before = visited;
    }
    assert_eq!(cache.len(), n / 2, "all that had expired is gone");
    (worst, parts)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let smoke = !arguments.bench || arguments.test;
    let (pairs, more, divisor) = match (smoke, arguments.quick) {
        (true, _) => (1, 1, 100),
        (false, true) => (9, 9, 4),
        (false, false) => (15, 45, 1),
    };
    let plan = Plan {
        pairs,
        more,
        divisor,
        warms_up: !smoke,
    };
    let n = |n: usize| if smoke { n / 100 } else { n };
    let work = |operations: usize| operations / divisor;
    let [few, many] = [n(20_000), n(1_000_000)];
    let all: Vec<Box<dyn Fn() -> Line>> = vec![
        Box::new(move || in_place(few, work(8_000_000), false, Most::Nanoseconds(12.0))),
        Box::new(move || in_place(many, work(4_000_000), false, Most::Ratio(1.15))),
        Box::new(move || in_place(few, work(8_000_000), true, Most::Anything)),
        Box::new(move || in_place(many, work(4_000_000), true, Most::Anything)),
        Box::new(move || cloned(few, work(8_000_000), false, Most::Nanoseconds(12.0))),
        Box::new(move || cloned(many, work(4_000_000), false, Most::Ratio(1.15))),
        Box::new(move || cloned(few, work(8_000_000), true, Most::Anything)),
        Box::new(move || cloned(many, work(4_000_000), true, Most::Anything)),
        Box::new(move || turnover(few, work(200_000), Half::Insert, false, Most::Ratio(1.15))),
        Box::new(move || turnover(many, work(200_000), Half::Insert, false, Most::Ratio(1.15))),
        Box::new(move || turnover(many, work(200_000), Half::Insert, true, Most::Anything)),
        Box::new(move || turnover(few, work(200_000), Half::Take, false, Most::Ratio(1.15))),
        Box::new(move || turnover(many, work(200_000), Half::Take, false, Most::Ratio(1.15))),
    ];
    println!(
        "{:<32} {:>8} {:>8} {:>7}  {:<15} {:>5}  most",
        "", "cache", "map", "ratio", "95 %", "pairs"
    );
    let (mut met, mut bars) = (0, 0);
    for line in all {
        let Line {
            name,
            mut ours,
            mut map,
            most,
        } = line();
        let bar = Bar::TimeAtMost(match most {
            Most::Ratio(ratio) => ratio,
            Most::Nanoseconds(_) | Most::Anything => f64::INFINITY,
        });
        let outcome = compare(&mut *ours, &mut *map, bar, plan);
        let more = outcome.ours - outcome.theirs;
        let (text, ok) = match most {
            Most::Nanoseconds(ns) => (format!("+{ns} ns: {more:+.1}"), more <= ns),
            Most::Ratio(ratio) => (format!("{ratio}"), outcome.ratio <= ratio),
            Most::Anything => (format!("({more:+.1} ns)"), true),
        };
        if !matches!(most, Most::Anything) {
            bars += 1;
            met += usize::from(ok);
        }
        println!(
            "{name:<32} {:>8.1} {:>8.1} {:>7.3}  {:.3} to {:.3} {:>6}  {text}{}",
            outcome.ours,
            outcome.theirs,
            outcome.ratio,
            outcome.interval[0],
            outcome.interval[1],
            outcome.pairs.len(),
            if ok { "" } else { ": not met" },
        );
    }
    let budget = cache(Clock::monotonic())
        .automatic_flush()
        .expect("by default") as u64;
    let (worst, parts) = worst_part(n(200_000));
    println!(
        "an insertion looks at {worst} sessions at the most (bar {budget}); {parts} took part in a flush"
    );
    println!("{met} of {bars} bars met");
    // A count is a promise. A time is not, and `cargo bench` goes on to the next bench.
    if worst <= budget && parts > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
