//! What a flush costs with nothing due, half, and all, until the last destructor has run.
//!
//! ```text
//! cargo bench --bench flush
//! ```
//!
//! A peer without expiry flushes by a scan of everything and is marked so. One whose clock cannot be
//! set, or that cannot be swept, is n/a here.
#![forbid(unsafe_code)]

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sessionwheel_bench::peers::{Expiry, Peer, Seconds};
use sessionwheel_bench::{
    BETWEEN, Group, Id, Ids, LATE, SOON, each_peer, filled, settings, shuffled,
};

const N: usize = 100_000;

fn flushed<P: Peer>(group: &mut Group<'_>, ids: &[Id], what: &str, deadlines: &[Seconds]) {
    if P::EXPIRY == Expiry::None {
        println!("flush/{}/{what}: n/a", P::name());
        return;
    }
    let due = deadlines.iter().filter(|&&d| d < BETWEEN).count();
    if due > 0 {
        group.throughput(Throughput::Elements(due as u64));
    }
    group.bench_function(BenchmarkId::new(P::flushed_name(), what), |b| {
        b.iter_batched(
            || filled::<P>(ids, |i| deadlines[i]),
            |peer| {
                peer.flush(BETWEEN);
                peer.settle();
                peer
            },
            BatchSize::PerIteration,
        );
    });
    let peer: P = filled(ids, |i| deadlines[i]);
    peer.flush(BETWEEN);
    let left = peer.count().expect("who is flushed tells");
    assert_eq!(left, N - due, "{} flushed all that was due", P::name());
}

fn flush(c: &mut Criterion) {
    let ids = Ids::new(3).many(N);
    let mut group = c.benchmark_group("flush");
    for (what, due) in [("nothing due", 0), ("half due", N / 2), ("all due", N)] {
        // Those that are due lie anywhere among those that are not.
        let deadlines = shuffled(&[vec![SOON; due], vec![LATE; N - due]].concat());
        each_peer!(flushed(&mut group, &ids, what, &deadlines));
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = flush }
criterion_main!(benches);
