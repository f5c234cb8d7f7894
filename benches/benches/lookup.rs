//! What a hit costs: read in place under a guard that is held, and as one self-contained call that
//! clones the payload out.
//!
//! ```text
//! cargo bench --bench lookup
//! ```
#![forbid(unsafe_code)]

use std::collections::hash_map::RandomState;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use sessionwheel::DefaultHashBuilder;
use sessionwheel_bench::peers::{Hashbrown, Hasher, Ours, Papaya, Peer, at};
use sessionwheel_bench::{
    Group, Id, Ids, LATE, NOW, each_peer, filled, payload, populations, settings, shuffled,
};

fn in_place(group: &mut Group<'_>, ids: &[Id], order: &[Id]) {
    let n = ids.len();
    limit::<RandomState>(group, ids, order);
    limit::<DefaultHashBuilder>(group, ids, order);
    {
        let Ours(map) = filled(ids, |_| LATE);
        let guard = map.pin();
        let mut next = order.iter().cycle();
        group.bench_function(BenchmarkId::new("sessionwheel, in place", n), |b| {
            b.iter(|| map.get(next.next().unwrap(), at(NOW), &guard).unwrap()[0]);
        });
    }
    {
        let Papaya(map) = filled::<Papaya<DefaultHashBuilder>>(ids, |_| LATE);
        let guard = map.pin();
        let mut next = order.iter().cycle();
        group.bench_function(BenchmarkId::new("papaya, our hasher, in place", n), |b| {
            b.iter(|| guard.get(next.next().unwrap()).unwrap().payload[0]);
        });
    }
}

fn limit<S: Hasher>(group: &mut Group<'_>, ids: &[Id], order: &[Id]) {
    let map = Hashbrown::<S>::filled(ids.iter().map(|id| (*id, payload())));
    let name = format!("hashbrown unsynchronised{}, in place", S::SUFFIX);
    let mut next = order.iter().cycle();
    group.bench_function(BenchmarkId::new(name, ids.len()), |b| {
        b.iter(|| map.get(next.next().unwrap()).unwrap()[0]);
    });
}

fn cloned<P: Peer>(group: &mut Group<'_>, ids: &[Id], order: &[Id]) {
    let peer: P = filled(ids, |_| LATE);
    let mut next = order.iter().cycle();
    let name = format!("{}, cloned", P::name());
    // One that evicts before it is full misses some.
    group.bench_function(BenchmarkId::new(name, ids.len()), |b| {
        b.iter(|| peer.get(next.next().unwrap(), NOW));
    });
}

fn lookup(c: &mut Criterion) {
    let mut group = c.benchmark_group("lookup");
    for n in populations() {
        let ids = Ids::new(1).many(n);
        let order = shuffled(&ids);
        in_place(&mut group, &ids, &order);
        each_peer!(cloned(&mut group, &ids, &order));
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = lookup }
criterion_main!(benches);
