//! What TLS 1.3 does at full capacity: two inserts, one take, one lookup, with random lifetimes.
//!
//! ```text
//! cargo bench --bench mix
//! ```
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sessionwheel_bench::peers::{Peer, Seconds, Session};
use sessionwheel_bench::{Group, Ids, NOW, each_peer, payload, populations, settings};

/// A round of the mix.
const OPERATIONS: u64 = 4;

/// Rounds a second on the clock that the benches tell.
const ROUNDS: u64 = 50_000;

/// So many rounds' sessions are made at once, while the clock stands still.
const AT_ONCE: u64 = 1_000;

fn tls13<P: Peer>(group: &mut Group<'_>, n: usize) {
    let peer = P::new(P::BOUNDED.then_some(n));
    let mut ids = Ids::new(4);
    let mut recent = ids.clone().many(n);
    let lifetime = |ids: &mut Ids| 300 + ids.below(6_900) as u64;
    let session = |now: Seconds, ids: &mut Ids| {
        let (deadline, payload) = (now + lifetime(ids), payload());
        Session { deadline, payload }
    };
    let sessions = recent.iter().map(|id| (*id, session(NOW, &mut ids)));
    peer.fill(sessions, NOW);
    let mut ids = Ids::new(5);
    let mut round = 0;
    group.bench_function(BenchmarkId::new(P::name(), n), |b| {
        b.iter_custom(|rounds| {
            let mut time = Duration::ZERO;
            let mut left = rounds;
            while left > 0 {
                let some = left.min(AT_ONCE);
                left -= some;
                let now = NOW + round / ROUNDS;
                round += some;
                let prepared = |_| {
                    let id = ids.id();
                    (id, P::prepare(id, session(now, &mut ids)))
                };
                let mut new = (0..2 * some).map(prepared).collect::<Vec<_>>().into_iter();
                let begun = Instant::now();
                while let (Some(first), Some(second)) = (new.next(), new.next()) {
                    let taken = ids.below(n);
                    black_box(peer.take(&recent[taken], now));
                    for (place, (id, prepared)) in [(taken, first), (ids.below(n), second)] {
                        if !P::BOUNDED && place != taken {
                            // Nobody else makes room.
                            peer.take(&recent[place], now);
                        }
                        recent[place] = id;
                        peer.add(prepared, now);
                    }
                    black_box(peer.get(&recent[ids.below(n)], now));
                }
                time += begun.elapsed();
            }
            time
        });
    });
    peer.settle();
}

fn mix(c: &mut Criterion) {
    let mut group = c.benchmark_group("mix");
    group.throughput(Throughput::Elements(OPERATIONS));
    for n in populations() {
        each_peer!(tls13(&mut group, n));
    }
    group.finish();
}

criterion_group! { name = benches; config = settings(); targets = mix }
criterion_main!(benches);
