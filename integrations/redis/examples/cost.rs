//! What the tier costs above the bare commands, on a Redis of your own, which had better have nothing else to do:
//!
//! ```text
//! cargo run --release --package sessionwheel-redis --example cost -- redis://127.0.0.1:6379/ [sessions]
//! ```
//!
//! Writes: sessions that are sealed, queued, and confirmed, beside pipelines of 128 plain `SET … PX` with the same bytes.
//! Reads: lookups of sessions that lie in Redis only, beside a plain `GET` of the same bytes. In turn, writes 25 times and
//! reads of five of those; medians of each. The tier is as it comes, but for the deadline, which is not what is measured there; so there are no more
//! sessions than its queue holds.
//!
//! Then the server is stopped by `DEBUG SLEEP` (it has to be allowed: `--enable-debug-command yes`), and it is measured how long
//! lookups wait: first as many as there are connections, each of which is asked on one that was good a moment ago; then as many
//! for which there is none.
//!
//! Each figure stands beside its bar. Exits with 1 if one was missed.

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use redis::ConnectionLike;
use sessionwheel::{
    Context, ExternalTier, Fetched, SessionCache, SessionId, SessionKey, SessionOptions,
};
use sessionwheel_redis::{Codec, Keyring, RedisTier, RedisTierBuilder};

/// As long as those of rustls without client certificates.
const VALUE: usize = 84;
/// What is sealed is longer by this.
const SEALING: usize = 74;
const ROUNDS: usize = 25;
/// In the first of them what was written is read.
const READ: usize = 5;
/// What the tier's queue holds.
const MOST: usize = 16_384;

/// The tier's own, if it isn't told.
const DEADLINE: Duration = Duration::from_millis(2);
/// Of a server that is frozen: so many are asked on a connection each, and so many have none.
const QUESTIONS: usize = 500;
/// Longer than all of them wait together.
const NAP: u64 = 6;

/// Times of the bare command.
const TIMES: f64 = 1.3;
/// Beyond the deadline: half of those that wait, and all but one in a hundred.
const HALF: Duration = Duration::from_millis(1);
const MOST_OF_THEM: Duration = Duration::from_millis(10);

type Outcome<T> = Result<T, Box<dyn Error>>;

fn builder(address: &str) -> Outcome<RedisTierBuilder<Vec<u8>>> {
    let codec = Codec::new(
        *b"cost",
        |value: &Vec<u8>, bytes| bytes.extend_from_slice(value),
        |bytes| Some(bytes.to_vec()),
    );
    let keys = Keyring::new(1, [7; 32]);
    Ok(RedisTier::builder(address, keys, codec)?)
}

fn key(round: usize, n: usize) -> SessionKey {
    let mut id = [round as u8; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    SessionKey::new(Context::DEFAULT, SessionId::from(id))
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share).round() as usize]
}

/// Says it, and whether it is within its bar.
fn judge(figure: &str, bar: &str, is_met: bool) -> bool {
    let verdict = if is_met { "met" } else { "MISSED" };
    println!("{figure}; bar {bar}: {verdict}");
    is_met
}

fn compare(what: [&str; 2], mut ours: Vec<Duration>, mut theirs: Vec<Duration>) -> bool {
    let (ours, theirs) = (quantile(&mut ours, 0.5), quantile(&mut theirs, 0.5));
    let times = ours.as_secs_f64() / theirs.as_secs_f64();
    let [one, other] = what;
    let figure = format!("{one} {ours:?}, {other} {theirs:?}: {times:.2} times");
    judge(&figure, &format!("{TIMES}"), times <= TIMES)
}

fn main() -> Outcome<ExitCode> {
    let mut words = env::args().skip(1);
    let address = words.next().ok_or("which Redis? redis://127.0.0.1:6379/")?;
    let sessions = words.next().map_or(Ok(16_000), |word| word.parse())?;
    if !(1..=MOST).contains(&sessions) {
        return Err(format!("from 1 to {MOST} sessions").into());
    }
    let mut all_met = beside_the_commands(&address, sessions)?;
    all_met &= frozen(&address)?;
    Ok(if all_met {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn beside_the_commands(address: &str, sessions: usize) -> Outcome<bool> {
    let mut plain = redis::Client::open(address)?.get_connection()?;
    let bytes = vec![7_u8; VALUE + SEALING];
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut lookups, mut gets) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let tier = builder(address)?.deadline(Duration::from_secs(5)).build()?;
        tier.check(Duration::from_secs(5))?;
        let cache = SessionCache::builder()
            .internal_store(false)
            .internal_lookup(false)
            .external(tier.clone())
            .build()?;
        let begun = Instant::now();
        for n in 0..sessions {
            let options = SessionOptions::default();
            let done = cache
                .server()
                .established(key(round, n), vec![7; VALUE], options);
            done.map_err(|_| "not kept")?;
        }
        if !tier.flush_writes(Duration::from_secs(60)) {
            return Err("Redis does not take the sessions".into());
        }
        ours.push(begun.elapsed() / sessions as u32);

        let begun = Instant::now();
        for first in (0..sessions).step_by(128) {
            let mut pipe = redis::pipe();
            for n in first..sessions.min(first + 128) {
                let name = [&b"cost:"[..], key(round, n).id().as_bytes()].concat();
                pipe.cmd("SET")
                    .arg(name)
                    .arg(&bytes)
                    .arg("PX")
                    .arg(300_000)
                    .ignore();
            }
            pipe.exec(&mut plain)?;
        }
        theirs.push(begun.elapsed() / sessions as u32);

        for n in (0..sessions).filter(|_| round < READ) {
            let begun = Instant::now();
            let found = cache.server().resume(&key(round, n)).hit();
            lookups.push(begun.elapsed());
            if found.is_none_or(|value| value.len() != VALUE) {
                return Err("a session is not there".into());
            }
            let name = [&b"cost:"[..], key(round, n).id().as_bytes()].concat();
            let begun = Instant::now();
            let found: Vec<u8> = redis::cmd("GET").arg(name).query(&mut plain)?;
            gets.push(begun.elapsed());
            assert_eq!(found.len(), bytes.len());
        }
    }
    let writes = compare(["a write behind", "a pipelined SET"], ours, theirs);
    let reads = compare(["a lookup", "a GET"], lookups, gets);
    Ok(writes && reads)
}

fn frozen(address: &str) -> Outcome<bool> {
    let client = redis::Client::open(address)?;
    let tier = builder(address)?
        .deadline(DEADLINE)
        .connections(QUESTIONS)
        // Every one of them waits.
        .breaker(u32::MAX, DEADLINE)
        .build()?;
    let ask = |n| {
        let begun = Instant::now();
        let fetched = tier.fetch(&key(255, n));
        assert!(!matches!(fetched, Fetched::Hit(_)));
        begun.elapsed()
    };
    let begun = Instant::now();
    while tier.health().connections < QUESTIONS {
        if begun.elapsed() > Duration::from_secs(60) {
            let health = tier.health();
            return Err(format!("{QUESTIONS} connections can't be had: {health:?}").into());
        }
        // The first one starts it.
        ask(0);
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut sleeping = client.get_connection()?;
    let mut awake = client.get_connection()?;
    awake.set_read_timeout(Some(Duration::from_millis(50)))?;
    let nap = redis::cmd("DEBUG")
        .arg("SLEEP")
        .arg(NAP)
        .get_packed_command();
    let slept = std::thread::spawn(move || sleeping.req_packed_command(&nap).map(drop));
    while redis::cmd("PING").exec(&mut awake).is_ok() {
        if slept.is_finished() {
            break;
        }
    }
    let mut all_met = true;
    for what in ["on a live connection", "without a connection"] {
        let before = tier.health().counters;
        let mut waits: Vec<_> = (1..=QUESTIONS).map(ask).collect();
        let after = tier.health().counters;
        let timeouts = after.timeouts - before.timeouts;
        let starved = after.starved - before.starved;
        println!(
            "frozen, {QUESTIONS} lookups {what}, with a deadline of {DEADLINE:?}: {timeouts} timeouts, {starved} starved, {} \
             hits, {} errors",
            after.hits - before.hits,
            after.errors - before.errors
        );
        let wanted = if what == "on a live connection" {
            timeouts
        } else {
            starved
        };
        if wanted != QUESTIONS as u64 || slept.is_finished() {
            slept.join().map_err(|_| "a panic")??;
            return Err("that is not what was to be measured: was the server asleep?".into());
        }
        for (name, share, beyond) in [("p50", 0.5, HALF), ("p99", 0.99, MOST_OF_THEM)] {
            let waited = quantile(&mut waits, share);
            let bar = DEADLINE + beyond;
            all_met &= judge(
                &format!("  {name} {waited:?}"),
                &format!("{bar:?}"),
                waited <= bar,
            );
        }
    }
    slept.join().map_err(|_| "a panic")??;
    Ok(all_met)
}
