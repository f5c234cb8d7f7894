//! What is measured: each function makes a measurement that can be repeated.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::peers::{Hashbrown, Ours, Peer, Seconds, Session, at};
use sessionwheel_bench::{Id, Ids, LATE, NOW, filled, payload, shuffled};

use sessionwheel_bench::contest::Run;

/// Nanoseconds for each of so many operations since a moment.
pub(crate) fn each(since: Instant, operations: usize) -> f64 {
    since.elapsed().as_nanos() as f64 / operations as f64
}

/// Calls `f` with every id of a shuffled list, about `lookups` times in all.
fn look_up(order: &[Id], lookups: usize, mut f: impl FnMut(&Id) -> u8) -> f64 {
    let rounds = lookups.div_ceil(order.len());
    let start = Instant::now();
    let mut sum = 0u64;
    for id in (0..rounds).flat_map(|_| order) {
        sum += u64::from(f(id));
    }
    black_box(sum);
    each(start, rounds * order.len())
}

/// Hits read in place under a guard that is held.
pub(crate) fn in_place(n: usize, lookups: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let order = shuffled(&ids);
    let Ours(map) = filled(&ids, |_| LATE);
    Box::new(move || {
        let guard = map.pin();
        look_up(&order, lookups, |id| {
            map.get(id, at(NOW), &guard).expect("a hit")[0]
        })
    })
}

/// The same in a plain hash map that nobody writes to.
pub(crate) fn unsynchronised(n: usize, lookups: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let order = shuffled(&ids);
    let map = Hashbrown::<DefaultHashBuilder>::filled(ids.iter().map(|id| (*id, payload())));
    Box::new(move || look_up(&order, lookups, |id| map.get(id).expect("a hit")[0]))
}

/// Something that can be measured with so many threads: nanoseconds for one operation.
pub(crate) type Scaled = Box<dyn FnMut(usize) -> f64>;

/// Runs `f` with each of these on a thread of its own, all at once; nanoseconds from the first
/// start to the last end.
fn together<T: Send>(each: Vec<T>, f: impl Fn(T) + Sync) -> f64 {
    let start = Barrier::new(each.len());
    thread::scope(|scope| {
        let threads: Vec<_> = each
            .into_iter()
            .map(|mine| {
                let (start, f) = (&start, &f);
                scope.spawn(move || {
                    start.wait();
                    let began = Instant::now();
                    f(mine);
                    (began, Instant::now())
                })
            })
            .collect();
        let times: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"))
            .collect();
        let began = times.iter().map(|time| time.0).min();
        let ended = times.iter().map(|time| time.1).max();
        ended.zip(began).map_or(f64::NAN, |(ended, began)| {
            ended.duration_since(began).as_nanos() as f64
        })
    })
}

/// Self-contained lookups that clone the payload out.
pub(crate) fn cloned<P: Peer>(n: usize, lookups: usize) -> Scaled {
    let ids = Ids::new(1).many(n);
    let order = shuffled(&ids);
    let peer: P = filled(&ids, |_| LATE);
    Box::new(move |threads| {
        let (each, step) = (lookups / threads, n / threads);
        let starts = (0..threads).map(|me| me * step).collect();
        let time = together(starts, |start: usize| {
            let ids = order[start..].iter().chain(&order[..start]);
            for id in ids.cycle().take(each) {
                black_box(peer.get(id, NOW));
            }
        });
        time / (each * threads) as f64
    })
}

/// A thread of the mix, between its runs.
struct Worker {
    draw: Ids,
    /// Its last ids, which it takes and looks up.
    recent: Vec<Id>,
}

/// A session for 5 minutes to 2 hours.
fn session(draw: &mut Ids) -> Session {
    Session {
        deadline: LATE + draw.below(6_900) as u64,
        payload: payload(),
    }
}

/// A worker, and what it will insert.
fn new<P: Peer>(worker: &mut Worker, n: usize) -> (&mut Worker, Vec<(Id, P::Prepared)>) {
    let draw = &mut worker.draw;
    let one = |_| {
        let id = draw.id();
        (id, P::prepare(id, session(draw)))
    };
    let new = (0..n).map(one).collect();
    (worker, new)
}

/// TLS 1.3 at full capacity: two inserts, a take, a lookup; random lifetimes.
///
/// In rounds, each four times as long as the last, until one takes long enough or has all the
/// steps; that one counts, and the next time begins with its length. What is inserted is made
/// between rounds.
pub(crate) fn mix<P: Peer>(n: usize, steps: usize) -> Scaled {
    const ENOUGH: f64 = 30e6;
    const RECENT: usize = 64;
    let peer = P::new(Some(n));
    let ids = Ids::new(1).many(n);
    let mut draw = Ids::new(4);
    peer.fill(ids.iter().map(|id| (*id, session(&mut draw))), NOW);
    let mut workers: Vec<Worker> = (0..16)
        .map(|me| Worker {
            draw: Ids::new(100 + me),
            recent: ids
                .iter()
                .cycle()
                .skip(me as usize * RECENT)
                .take(RECENT)
                .copied()
                .collect(),
        })
        .collect();
    let mut rounds = BTreeMap::new();
    Box::new(move |threads| {
        let round = rounds.entry(threads).or_insert(threads);
        loop {
            *round = (*round).min(steps).next_multiple_of(threads);
            let prepare = |worker| new::<P>(worker, 2 * *round / threads);
            let each = workers.iter_mut().take(threads).map(prepare).collect();
            let mut time = together(each, |(worker, new): (&mut Worker, Vec<_>)| {
                let Worker { draw, recent } = worker;
                let mut new = new.into_iter().enumerate();
                while let (Some(first), Some(second)) = (new.next(), new.next()) {
                    for (i, (id, prepared)) in [first, second] {
                        peer.add(prepared, NOW);
                        recent[i % RECENT] = id;
                    }
                    black_box(peer.take(&recent[draw.below(RECENT)], NOW));
                    black_box(peer.get(&recent[draw.below(RECENT)], NOW));
                }
            });
            let start = Instant::now();
            peer.settle();
            time += start.elapsed().as_nanos() as f64;
            if time >= ENOUGH || *round >= steps {
                return time / (4 * *round) as f64;
            }
            *round *= 4;
        }
    })
}

/// Inserts into a cache that grows from nothing.
pub(crate) fn grow<P: Peer>(n: usize, repeat: usize, lifetime: fn(&mut Ids) -> Seconds) -> Run {
    let ids = Ids::new(1).many(n);
    Box::new(move || {
        let mut draw = Ids::new(6);
        let mut time = 0.0;
        for _ in 0..repeat {
            let prepared = |id: &Id| {
                let (deadline, payload) = (lifetime(&mut draw), payload());
                P::prepare(*id, Session { deadline, payload })
            };
            let all: Vec<_> = ids.iter().map(prepared).collect();
            let start = Instant::now();
            let peer = P::new(None);
            for prepared in all {
                peer.add(prepared, NOW);
            }
            peer.settle();
            time += each(start, n);
        }
        time / repeat as f64
    })
}
