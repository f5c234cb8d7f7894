//! What an insert costs: into a map that grows from empty.
//!
//! ```text
//! cargo bench --bench insert
//! ```
#![forbid(unsafe_code)]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sessionwheel_bench::peers::{Peer, Session};
use sessionwheel_bench::{Group, Id, Ids, LATE, NOW, each_peer, payload, settings};

const N: usize = 100_000;

/// What is inserted is made outside the timed loop, maps are dropped outside it.
fn growing<P: Peer>(group: &mut Group<'_>, ids: &[Id]) {
    let prepared = |id: &Id| {
        let (deadline, payload) = (LATE, payload());
        P::prepare(*id, Session { deadline, payload })
    };
    group.bench_function(P::name(), |b| {
        b.iter_batched(
            || (P::new(None), ids.iter().map(prepared).collect::<Vec<_>>()),
            |(peer, all)| {
                for prepared in all {
                    peer.add(prepared, NOW);
                }
                peer.settle();
                peer
            },
            BatchSize::PerIteration,
        );
    });
}

fn insert(c: &mut Criterion) {
    let ids = Ids::new(2).many(N);
    let mut group = c.benchmark_group("insert");
    group.throughput(Throughput::Elements(N as u64));
    each_peer!(growing(&mut group, &ids));
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = insert }
criterion_main!(benches);
