//! What a flush does to lookups and inserts beside it.
//!
//! ```text
//! cargo bench --bench stall                       # 100k, 1M and 10M sessions, all peers
//! cargo bench --bench stall -- --quick            # 100k and 1M, less than three minutes
//! cargo bench --bench stall -- --sessions 1000000 --share 50 --peer papaya --json
//! cargo bench --bench stall -- --timeline         # latency over time, as JSON
//! ```
//!
//! One thread flushes 10 %, 50 % or 100 % of a cache in one flush, another looks up sessions that
//! stay and inserts fresh ones. Three modes: `idle`, nobody flushes; `unrelated`, the same flusher
//! flushes another cache of the same kind and size, which shows what a flush does to the machine; and
//! `same`. Only operations that overlapped the flush count. Flushes that are over soon are repeated,
//! each time in fresh caches.
//!
//! Waits are operations of more than 1 ms. Of those, `no core` are the ones during which the
//! scheduler had no core for the thread, `unseen` the ones that neither that explains nor the control
//! saw: a loop that touches no cache, in turn with the operations on the same thread
//! (`sessionwheel_bench::beside` says why there). A peer that cannot be flushed on request, or whose
//! destructors nobody can wait for, is n/a.
#![forbid(unsafe_code)]

mod print;

use std::time::Duration;

use clap::Parser;
use sessionwheel_bench::beside::{Mode, Population, Report, all_modes, destructors, timeline};
use sessionwheel_bench::each_peer;
#[cfg(feature = "openssl")]
use sessionwheel_bench::peers::OpenSsl;
use sessionwheel_bench::peers::{
    Dash, Expiry, LruShards, Ours, Papaya, Peer, QuickCache, RwLocked, SccMap,
};

#[derive(Debug, Parser)]
#[command(about = "What a flush does to lookups and inserts beside it")]
struct Arguments {
    /// So many sessions.
    #[arg(long, value_delimiter = ',', default_value = "100000,1000000,10000000")]
    sessions: Vec<usize>,
    /// Per cent of them that are due.
    #[arg(long, value_delimiter = ',', default_value = "10,50,100",
        value_parser = clap::value_parser!(u8).range(1..=100))]
    share: Vec<u8>,
    /// Only peers whose name has this in it.
    #[arg(long, default_value = "")]
    peer: String,
    /// Not more than 1,000,000 sessions, fewer repetitions, only peers that are flushed, and those
    /// with our hasher only, which is the faster one for most.
    #[arg(long)]
    quick: bool,
    /// One JSON object for each line.
    #[arg(long)]
    json: bool,
    /// Latency over time during a flush of half of the first number of sessions, as JSON; ours and
    /// some peers.
    #[arg(long)]
    timeline: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Windows shorter than this are repeated until they are as long together.
const ENOUGH: Duration = Duration::from_millis(100);

/// What is measured.
struct Case<'a> {
    arguments: &'a Arguments,
    population: Population,
    sessions: usize,
    share: u8,
    /// No more repetitions than this.
    rounds: usize,
}

impl Case<'_> {
    fn wanted<P: Peer>(&self) -> bool {
        P::name().contains(&self.arguments.peer)
    }
}

/// Two caches of OpenSSL's with more than this would be twenty gigabytes and more.
const OPENSSL_AT_MOST: usize = 1_000_000;

fn stalls<P: Peer>(case: &Case<'_>) {
    if !case.wanted::<P>() {
        return;
    }
    let not_applicable = |why| print::not_applicable(case.arguments.json, &P::flushed_name(), why);
    if P::EXPIRY == Expiry::None {
        return not_applicable("not flushed on request");
    }
    if P::name() == "OpenSSL" && case.sessions > OPENSSL_AT_MOST {
        return not_applicable("too large for this machine");
    }
    let mut sum: [Report; 3] = all_modes::<P>(&case.population);
    let [_, _, same] = &sum;
    let mut window = same.window;
    for _ in 1..case.rounds {
        if window >= ENOUGH {
            break;
        }
        let more = all_modes::<P>(&case.population);
        window += more[2].window;
        for (sum, more) in sum.iter_mut().zip(&more) {
            sum.add(more);
        }
    }
    for (mode, report) in Mode::ALL.into_iter().zip(&sum) {
        print::report(case, &P::flushed_name(), mode, report);
    }
}

fn lines<P: Peer>(case: &Case<'_>) {
    if case.wanted::<P>() {
        let margin = Duration::from_millis(20);
        print::timeline(&P::flushed_name(), &timeline::<P>(&case.population, margin));
    }
}

/// Calls a function for each of these.
macro_rules! each {
    ($f:ident ( $case:expr ); $($peer:ty),* $(,)?) => {
        $($f::<$peer>($case);)*
    };
}

fn main() {
    type Our = sessionwheel::DefaultHashBuilder;
    let mut arguments = Arguments::parse();
    // Without `--bench` it is a test target of `cargo test --benches`.
    let (rounds, after) = match (arguments.bench, arguments.quick) {
        (false, _) => {
            arguments.sessions = vec![2_000];
            (1, Duration::from_millis(20))
        }
        (true, true) => {
            arguments.sessions.retain(|&n| n <= 1_000_000);
            (4, Duration::from_secs(1))
        }
        (true, false) => (25, Duration::from_secs(1)),
    };
    let case = |sessions, share| Case {
        arguments: &arguments,
        population: Population::new(sessions, usize::from(share)),
        sessions,
        share,
        rounds,
    };
    if arguments.timeline {
        let case = case(arguments.sessions[0], 50);
        each!(lines(&case); Ours, Dash<Our>, Papaya<Our>, SccMap<Our>, QuickCache<Our>,
            RwLocked<Our>, LruShards<Our>);
        #[cfg(feature = "openssl")]
        lines::<OpenSsl>(&case);
        return;
    }
    for &sessions in &arguments.sessions {
        for &share in &arguments.share {
            let case = case(sessions, share);
            print::heading(&case);
            if arguments.quick {
                // With the faster hasher only.
                each!(stalls(&case); Ours, Dash<Our>, Papaya<Our>, SccMap<Our>, QuickCache<Our>,
                    RwLocked<Our>, LruShards<Our>);
                #[cfg(feature = "openssl")]
                stalls::<OpenSsl>(&case);
            } else {
                each_peer!(stalls(&case));
            }
            if case.wanted::<Ours>() {
                let seen = destructors::<Ours<_>>(&case.population, after);
                print::destructors(&case, &seen);
            }
        }
    }
}
