//! What is measured: each function makes a measurement that can be repeated.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use sessionwheel::{DefaultHashBuilder, ExpiringMap, Timestamp};
use sessionwheel_bench::peers::{Hashbrown, Ours, Peer, Seconds, Session, at};
use sessionwheel_bench::{
    BETWEEN, Id, Ids, LATE, NOW, Payload, SOON, filled, payload, resident, shuffled,
};

use crate::contest::Run;

/// Nanoseconds for each of so many operations since a moment.
fn each(since: Instant, operations: usize) -> f64 {
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

/// Runs `f(thread)` on so many threads at once; from the first start to the last end.
fn together(threads: usize, f: impl Fn(usize) + Sync) -> f64 {
    let start = Barrier::new(threads);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|me| {
                let (start, f) = (&start, &f);
                scope.spawn(move || {
                    start.wait();
                    let began = Instant::now();
                    f(me);
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
pub(crate) fn cloned<P: Peer>(n: usize, threads: usize, lookups: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let orders: Vec<Vec<Id>> = {
        let order = shuffled(&ids);
        let step = n / threads;
        let from = |me: usize| [&order[me * step..], &order[..me * step]].concat();
        (0..threads).map(from).collect()
    };
    let peer: P = filled(&ids, |_| LATE);
    let each = lookups / threads;
    Box::new(move || {
        let time = together(threads, |me| {
            for id in orders[me].iter().cycle().take(each) {
                black_box(peer.get(id, NOW));
            }
        });
        time / (each * threads) as f64
    })
}

/// TLS 1.3 at full capacity: two inserts, a take, a lookup; lifetimes from 5 minutes to 2 hours.
pub(crate) fn mix<P: Peer>(n: usize, threads: usize, steps: usize) -> Run {
    /// So many of its last ids a thread takes and looks up.
    const RECENT: usize = 64;
    let peer = P::new(Some(n));
    let mut draw = Ids::new(4);
    let session = |draw: &mut Ids| Session {
        deadline: LATE + draw.below(6_900) as u64,
        payload: payload(),
    };
    for id in Ids::new(1).many(n) {
        peer.insert(id, session(&mut draw), NOW);
    }
    peer.settle();
    let each = steps / threads;
    let mut seed = 100;
    Box::new(move || {
        seed += threads as u64;
        let time = together(threads, |me| {
            let mut draw = Ids::new(seed + me as u64);
            let mut recent: [Id; RECENT] = std::array::from_fn(|_| draw.id());
            for step in 0..each {
                for new in 0..2 {
                    let id = draw.id();
                    peer.insert(id, session(&mut draw), NOW);
                    recent[(2 * step + new) % RECENT] = id;
                }
                black_box(peer.take(&recent[draw.below(RECENT)], NOW));
                black_box(peer.get(&recent[draw.below(RECENT)], NOW));
            }
        });
        time / (each * threads * 4) as f64
    })
}

/// Inserts into a cache that grows from nothing.
pub(crate) fn grow<P: Peer>(n: usize, repeat: usize, lifetime: fn(&mut Ids) -> Seconds) -> Run {
    let ids = Ids::new(1).many(n);
    Box::new(move || {
        let mut draw = Ids::new(6);
        let mut time = 0.0;
        for _ in 0..repeat {
            let session = |_: &Id| Session {
                deadline: lifetime(&mut draw),
                payload: payload(),
            };
            let sessions: Vec<Session> = ids.iter().map(session).collect();
            let start = Instant::now();
            let peer = P::new(None);
            for (id, session) in ids.iter().zip(sessions) {
                peer.insert(*id, session, NOW);
            }
            peer.settle();
            time += each(start, n);
        }
        time / repeat as f64
    })
}

/// Which of `n` are due, anywhere among the others.
fn half(n: usize) -> Vec<Seconds> {
    shuffled(&[vec![SOON; n / 2], vec![LATE; n - n / 2]].concat())
}

/// A flush of half, for each that it removes. With a listener where there is one to be had.
pub(crate) fn flush_half<P: Peer>(n: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let deadlines = half(n);
    Box::new(move || {
        let peer: P = filled(&ids, |i| deadlines[i]);
        let start = Instant::now();
        let removed = peer.flush(BETWEEN);
        peer.settle();
        assert_eq!(removed, n / 2);
        each(start, removed)
    })
}

/// Ours, with a listener that counts.
pub(crate) fn flush_half_heard(n: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let deadlines = half(n);
    Box::new(move || {
        let heard = std::sync::Arc::new(AtomicUsize::new(0));
        let ears = std::sync::Arc::clone(&heard);
        let map = ExpiringMap::builder()
            .helpers(0, |_| ())
            .listener(move |_: &Id, _: &Payload, _| {
                ears.fetch_add(1, Relaxed);
            })
            .build()
            .expect("good numbers");
        for (id, deadline) in ids.iter().zip(&deadlines) {
            let inserted = map.insert(*id, payload(), at(*deadline), at(NOW));
            assert!(inserted.is_ok(), "refused");
        }
        let start = Instant::now();
        let removed = map.flush(at(BETWEEN)).removed;
        while map.reclaim() > 0 {}
        let time = each(start, removed);
        assert_eq!((removed, heard.load(Relaxed)), (n / 2, n / 2));
        time
    })
}

/// Dropping the payloads of half of `n` sessions from a vector.
pub(crate) fn drop_half(n: usize) -> Run {
    let deadlines = half(n);
    Box::new(move || {
        let (due, rest): (Vec<_>, Vec<_>) = deadlines
            .iter()
            .map(|&deadline| (deadline, payload()))
            .partition(|&(deadline, _)| deadline == SOON);
        let dropped = due.len();
        let start = Instant::now();
        drop(due);
        let time = each(start, dropped);
        drop(rest);
        time
    })
}

/// A flush of half with u64 values, with so many helpers.
pub(crate) fn flush_half_with(n: usize, helpers: usize) -> Run {
    let ids = Ids::new(1).many(n);
    let deadlines = half(n);
    Box::new(move || {
        let builder = ExpiringMap::<Id, u64>::builder();
        let map = if helpers == 0 {
            builder.helpers(0, |_| ()).build()
        } else {
            builder.build()
        };
        let map = map.expect("good numbers");
        for (id, deadline) in ids.iter().zip(&deadlines) {
            map.insert(*id, 0, at(*deadline), at(NOW)).expect("room");
        }
        let start = Instant::now();
        let removed = map.flush(at(BETWEEN)).removed;
        while map.reclaim() > 0 {}
        assert_eq!(removed, n / 2);
        each(start, removed)
    })
}

/// A flush every second for so many seconds of lifetimes that are spread over `span`.
pub(crate) fn every_second<P: Peer>(n: usize, span: Seconds, seconds: Seconds) -> Run {
    let ids = Ids::new(1).many(n);
    Box::new(move || {
        let mut draw = Ids::new(9);
        let first = NOW + 1;
        let deadlines: Vec<Seconds> = ids
            .iter()
            .map(|_| first + draw.below(span as usize) as u64)
            .collect();
        let peer: P = filled(&ids, |i| deadlines[i]);
        let start = Instant::now();
        let mut removed = 0;
        for second in 1..=seconds {
            removed += peer.flush(first + second);
        }
        peer.settle();
        each(start, removed)
    })
}

/// A flush that finds nothing due.
pub(crate) fn nothing_due(n: usize, flushes: usize) -> Run {
    let before = resident();
    let map = ExpiringMap::<Id, u64>::builder()
        .shards(16)
        .helpers(0, |_| ());
    let map = map.build().expect("good numbers");
    let mut draw = Ids::new(10);
    for id in Ids::new(1).many(n) {
        let deadline = at(LATE + draw.below(6_900) as u64);
        map.insert(id, 0, deadline, at(NOW)).expect("room");
    }
    assert!(resident() >= before);
    Box::new(move || {
        let start = Instant::now();
        for _ in 0..flushes {
            let swept = map.flush(black_box(Timestamp::from_secs(BETWEEN)));
            assert_eq!(swept.removed, 0);
        }
        each(start, flushes)
    })
}
