//! What TLS 1.3 does at full capacity: two inserts, one take, one lookup, with random lifetimes.
//!
//! ```text
//! cargo bench --bench mix
//! ```
#![forbid(unsafe_code)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sessionwheel_bench::peers::{Peer, Session};
use sessionwheel_bench::{Group, Ids, NOW, each_peer, payload, settings};

/// A round of the mix.
const OPERATIONS: u64 = 4;

/// Rounds a second on the clock that the benches tell.
const ROUNDS: u64 = 50_000;

fn tls13<P: Peer>(group: &mut Group<'_>, n: usize) {
    let peer = P::new(P::BOUNDED.then_some(n));
    let mut ids = Ids::new(4);
    let mut recent = ids.clone().many(n);
    let lifetime = |ids: &mut Ids| 300 + ids.below(6_900) as u64;
    for id in &recent {
        let (deadline, payload) = (NOW + lifetime(&mut ids), payload());
        peer.insert(*id, Session { deadline, payload }, NOW);
    }
    let mut round = 0;
    group.bench_function(BenchmarkId::new(P::name(), n), |b| {
        b.iter(|| {
            let now = NOW + round / ROUNDS;
            round += 1;
            let taken = ids.below(n);
            let hit = peer.take(&recent[taken], now).is_some();
            for place in [taken, ids.below(n)] {
                let id = ids.id();
                if !P::BOUNDED && place != taken {
                    // Nobody else makes room.
                    peer.take(&recent[place], now);
                }
                recent[place] = id;
                let (deadline, payload) = (now + lifetime(&mut ids), payload());
                peer.insert(id, Session { deadline, payload }, now);
            }
            (hit, peer.get(&recent[ids.below(n)], now))
        });
    });
    peer.settle();
}

fn mix(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix");
    group.throughput(Throughput::Elements(OPERATIONS));
    for n in [20_000, 1_000_000] {
        each_peer!(tls13(&mut group, n));
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = mix }
criterion_main!(benches);
