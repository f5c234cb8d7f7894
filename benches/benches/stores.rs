//! What each call of rustls costs in a store, beside the one that is built in.
//!
//! ```text
//! cargo bench --bench stores
//! cargo bench --bench stores -- --quick
//! ```
//!
//! Keys and values are handed over as rustls does it, in vectors made before; a session has 84 bytes. In turn,
//! medians. The built-in store has as much room as it needs; its `take` at a million sessions takes milliseconds
//! and is left out.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use sessionwheel::SessionCache;
use sessionwheel_bench::contest::{Bar, Plan, Run, compare, median};
use sessionwheel_bench::{Id, Ids, shuffled};
use sessionwheel_rustls::RustlsStore;

type Store = Arc<dyn StoresServerSessions>;

#[derive(Debug, Parser)]
#[command(about = "Each call of rustls in our store and in its own")]
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

/// What rustls keeps of a session without client certificates.
const VALUE: [u8; 84] = [0x5e; 84];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Put,
    Get,
    Take,
    /// Of a ticket that nobody has.
    TakeInVain,
}

fn ours() -> Store {
    let builder = SessionCache::builder().maximum(None);
    let day = Duration::from_secs(86_400);
    let cache = builder.timeout(day).build().expect("no bad settings");
    Arc::new(RustlsStore::new(&cache).expect("a context"))
}

fn built_in(room: usize) -> Store {
    ServerSessionMemoryCache::new(room)
}

fn put_all(store: &Store, ids: &[Id]) -> Duration {
    let sessions: Vec<_> = ids.iter().map(|id| (id.to_vec(), VALUE.to_vec())).collect();
    let start = Instant::now();
    for (key, value) in sessions {
        assert!(store.put(key, value), "there is room");
    }
    start.elapsed()
}

/// Nanoseconds for each of these calls on a store that has `known` and is left as it was.
fn run(store: Store, call: Call, known: Rc<[Id]>, operations: usize) -> Run {
    let fresh = Ids::new(2).many(operations);
    Box::new(move || {
        let look = |ids: &mut dyn Iterator<Item = &Id>, found: bool| {
            let start = Instant::now();
            for id in ids {
                let value = if call == Call::Get {
                    store.get(id)
                } else {
                    store.take(id)
                };
                assert_eq!(black_box(value).is_some(), found);
            }
            start.elapsed()
        };
        let time = match call {
            Call::Put => {
                let time = put_all(&store, &fresh);
                fresh.iter().for_each(|id| drop(store.take(id)));
                time
            }
            Call::Get => look(&mut known.iter().cycle().take(operations), true),
            Call::Take => {
                put_all(&store, &fresh);
                look(&mut fresh.iter(), true)
            }
            Call::TakeInVain => look(&mut fresh.iter(), false),
        };
        time.as_nanos() as f64 / operations as f64
    })
}

fn main() {
    let arguments = Arguments::parse();
    let smoke = !arguments.bench || arguments.test;
    let (pairs, divisor) = match (smoke, arguments.quick) {
        (true, _) => (1, 100),
        (false, true) => (9, 4),
        (false, false) => (15, 1),
    };
    let plan = Plan {
        pairs,
        more: pairs,
        divisor,
        warms_up: !smoke,
    };
    println!("{:<24} {:>9} {:>9}", "ns", "ours", "built in");
    for sessions in [20_000, 1_000_000] {
        let sessions = if smoke { sessions / 100 } else { sessions };
        let ids = Ids::new(1).many(sessions);
        let known: Rc<[Id]> = shuffled(&ids).into();
        let room = 200_000 / divisor;
        let stores = [ours(), built_in(sessions + room)];
        for store in &stores {
            put_all(store, &ids);
        }
        for call in [Call::Put, Call::Get, Call::Take, Call::TakeInVain] {
            // Whoever puts has to take out again, and the built-in store looks through all of it.
            let deletes = matches!(call, Call::Put | Call::Take);
            let [mut ours, mut theirs] = [0, 1].map(|n| {
                let operations = if n == 1 && deletes { room / 100 } else { room };
                run(stores[n].clone(), call, known.clone(), operations)
            });
            let name = format!("{call:?}, {sessions}");
            if deletes && sessions > 20_000 {
                ours();
                let time = median((0..pairs).map(|_| ours()));
                println!("{name:<24} {time:>9.0}");
            } else {
                let bar = Bar::TimeAtMost(f64::INFINITY);
                let outcome = compare(&mut *ours, &mut *theirs, bar, plan);
                println!("{name:<24} {:>9.0} {:>9.0}", outcome.ours, outcome.theirs);
            }
        }
    }
}
