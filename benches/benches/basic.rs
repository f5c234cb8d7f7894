//! Lookup, insert and flush beside a map that knows no expiry.
//!
//! ```text
//! cargo bench --bench basic
//! cargo bench --bench basic -- lookup
//! ```
//!
//! All use the same 32-byte ids, made outside the timed loop, with an `Arc<[u8; 200]>` as payload.
//! dashmap is measured with its default hasher and with ours. It checks no deadline when it looks
//! up, stores none, and has no flush: it stores the deadline beside the payload in the flush group
//! only, where it sweeps by `retain`, which looks at every entry and is marked so. The other groups
//! thus leave it less work than ours has.
#![forbid(unsafe_code)]

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dashmap::DashMap;
use sessionwheel::{DefaultHashBuilder, ExpiringMap, Timestamp};
use sessionwheel_bench::{Id, Ids, Payload, payload};

const NOW: Timestamp = Timestamp::from_secs(1);
const SOON: Timestamp = Timestamp::from_secs(10);
const LATE: Timestamp = Timestamp::from_secs(300);
const BETWEEN: Timestamp = Timestamp::from_secs(20);

type Ours = ExpiringMap<Id, Payload>;
type Dash<S> = DashMap<Id, Payload, S>;

fn ours() -> Ours {
    // No helpers: one thread on either side.
    let builder = ExpiringMap::builder().helpers(0, |_| {});
    builder.build().expect("a map")
}

fn ours_with(ids: &[Id], deadline: impl Fn(usize) -> Timestamp) -> Ours {
    let map = ours();
    for (i, id) in ids.iter().enumerate() {
        map.insert(*id, payload(), deadline(i), NOW).expect("room");
    }
    map
}

fn dash_with<S: BuildHasher + Clone + Default>(ids: &[Id]) -> Dash<S> {
    let map = DashMap::default();
    for id in ids {
        map.insert(*id, payload());
    }
    map
}

/// The same in another order.
fn shuffled<T: Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    let mut draw = Ids::new(99);
    for i in (1..items.len()).rev() {
        items.swap(i, draw.below(i + 1));
    }
    items
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    for n in [20_000, 1_000_000] {
        let ids = Ids::new(1).many(n);
        let order = shuffled(&ids);

        let map = ours_with(&ids, |_| LATE);
        let guard = map.pin();
        let mut next = order.iter().cycle();
        group.bench_function(BenchmarkId::new("sessionwheel, in place", n), |b| {
            b.iter(|| map.get(next.next().unwrap(), NOW, &guard).unwrap()[0]);
        });
        drop(guard);
        group.bench_function(BenchmarkId::new("sessionwheel, cloned", n), |b| {
            b.iter(|| map.get_cloned(next.next().unwrap(), NOW).unwrap());
        });
        drop(map);

        dash_lookup::<RandomState>(&mut group, "dashmap", &ids, &order);
        dash_lookup::<DefaultHashBuilder>(&mut group, "dashmap with our hasher", &ids, &order);
    }
    group.finish();
}

type Group<'c> = criterion::BenchmarkGroup<'c, criterion::measurement::WallTime>;

fn dash_lookup<S>(group: &mut Group<'_>, name: &str, ids: &[Id], order: &[Id])
where
    S: BuildHasher + Clone + Default,
{
    let n = ids.len();
    let map = dash_with::<S>(ids);
    let mut next = order.iter().cycle();
    group.bench_function(BenchmarkId::new(format!("{name}, in place"), n), |b| {
        b.iter(|| map.get(next.next().unwrap()).unwrap()[0]);
    });
    group.bench_function(BenchmarkId::new(format!("{name}, cloned"), n), |b| {
        b.iter(|| Payload::clone(&map.get(next.next().unwrap()).unwrap()));
    });
}

/// Into a growing map; payloads are made outside the timed loop, maps are dropped outside it.
fn insert(c: &mut Criterion) {
    const N: usize = 100_000;
    let ids = Ids::new(2).many(N);
    let sessions = || -> Vec<(Id, Payload)> { ids.iter().map(|id| (*id, payload())).collect() };
    let mut group = c.benchmark_group("insert");
    group.throughput(Throughput::Elements(N as u64));

    group.bench_function("sessionwheel", |b| {
        b.iter_batched(
            || (ours(), sessions()),
            |(map, sessions)| {
                for (id, payload) in sessions {
                    map.insert(id, payload, LATE, NOW).expect("room");
                }
                map
            },
            BatchSize::PerIteration,
        );
    });
    dash_insert::<RandomState>(&mut group, "dashmap", sessions);
    dash_insert::<DefaultHashBuilder>(&mut group, "dashmap with our hasher", sessions);
    group.finish();
}

fn dash_insert<S>(group: &mut Group<'_>, name: &str, sessions: impl Fn() -> Vec<(Id, Payload)>)
where
    S: BuildHasher + Clone + Default,
{
    group.bench_function(name, |b| {
        b.iter_batched(
            || (Dash::<S>::default(), sessions()),
            |(map, sessions)| {
                for (id, payload) in sessions {
                    map.insert(id, payload);
                }
                map
            },
            BatchSize::PerIteration,
        );
    });
}

/// Half of the sessions, and all of them, until the last destructor has run; and with none due.
fn flush(c: &mut Criterion) {
    const N: usize = 100_000;
    let ids = Ids::new(3).many(N);
    let mut group = c.benchmark_group("flush");
    for (name, due) in [("nothing due", 0), ("half due", N / 2), ("all due", N)] {
        // Those that are due lie anywhere among those that are not.
        let deadlines = shuffled(&[vec![SOON; due], vec![LATE; N - due]].concat());
        if due > 0 {
            group.throughput(Throughput::Elements(due as u64));
        }
        group.bench_function(BenchmarkId::new("sessionwheel", name), |b| {
            b.iter_batched(
                || ours_with(&ids, |i| deadlines[i]),
                |map| {
                    let removed = map.flush(BETWEEN).removed;
                    assert_eq!(removed, due);
                    while map.reclaim() > 0 {}
                    map
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function(BenchmarkId::new("dashmap by retain", name), |b| {
            b.iter_batched(
                || {
                    let map = DashMap::<Id, (Timestamp, Payload)>::new();
                    for (i, id) in ids.iter().enumerate() {
                        map.insert(*id, (deadlines[i], payload()));
                    }
                    map
                },
                |map| {
                    map.retain(|_, (deadline, _)| *deadline >= BETWEEN);
                    assert_eq!(black_box(map.len()), N - due);
                    map
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = lookup, insert, flush
}
criterion_main!(benches);
