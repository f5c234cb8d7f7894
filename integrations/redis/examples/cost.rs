//! What the tier costs above the bare commands, on a Redis of your own, which had better have nothing else to do:
//!
//! ```text
//! cargo run --release --package sessionwheel-redis --example cost -- redis://127.0.0.1:6379/ [sessions]
//! ```
//!
//! Writes: sessions that are sealed, queued, and confirmed, beside pipelines of 128 plain `SET … PX` with the same bytes.
//! Reads: lookups of sessions that lie in Redis only, beside a plain `GET` of the same bytes. In turn, five times;
//! medians of each. Then, with the server stopped by `DEBUG SLEEP` (if it may): how long lookups wait.

use std::env;
use std::error::Error;
use std::time::{Duration, Instant};

use redis::ConnectionLike;
use sessionwheel::{Context, Fetched, SessionCache, SessionId, SessionKey, SessionOptions};
use sessionwheel_redis::{Codec, Keyring, RedisTier};

/// As long as those of rustls without client certificates.
const VALUE: usize = 84;
/// What is sealed is longer by this.
const SEALING: usize = 78;
const DEADLINE: Duration = Duration::from_millis(2);
const ROUNDS: usize = 5;

type Tier = RedisTier<Vec<u8>>;

fn tier(address: &str, deadline: Duration) -> Result<Tier, Box<dyn Error>> {
    let codec = Codec::new(
        *b"cost",
        |value: &Vec<u8>, bytes| bytes.extend_from_slice(value),
        |bytes| Some(bytes.to_vec()),
    );
    let builder = RedisTier::builder(address, Keyring::new(1, [7; 32]), codec)?;
    let builder = builder.deadline(deadline).queue(1 << 20).marks(1 << 21);
    // Every one of them waits in front of the frozen server.
    let tier = builder.breaker(u32::MAX, DEADLINE).connections(1).build()?;
    tier.check(Duration::from_secs(5))?;
    Ok(tier)
}

fn key(round: usize, n: usize) -> SessionKey {
    let mut id = [round as u8; 32];
    id[..8].copy_from_slice(&(n as u64).to_be_bytes());
    SessionKey::new(Context::DEFAULT, SessionId::from(id))
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn quantile(times: &mut [Duration], share: f64) -> Duration {
    times.sort();
    times[((times.len() - 1) as f64 * share) as usize]
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args().skip(1);
    let address = words.next().ok_or("which Redis? redis://127.0.0.1:6379/")?;
    let sessions = words.next().map_or(Ok(20_000), |word| word.parse())?;
    let client = redis::Client::open(&*address)?;
    let mut plain = client.get_connection()?;
    let bytes = vec![7_u8; VALUE + SEALING];

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let (mut lookups, mut gets) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // The deadline is not what is measured here.
        let tier = tier(&address, Duration::from_secs(5))?;
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

        for n in 0..sessions {
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
    let ratio = |ours: Duration, theirs: Duration| ours.as_secs_f64() / theirs.as_secs_f64();
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "a write behind {ours:?}, a pipelined SET {theirs:?}: {:.2} times",
        ratio(ours, theirs)
    );
    let (ours, theirs) = (median(lookups), median(gets));
    println!(
        "a lookup {ours:?}, a GET {theirs:?}: {:.2} times",
        ratio(ours, theirs)
    );
    frozen(&address, &client)
}

fn frozen(address: &str, client: &redis::Client) -> Result<(), Box<dyn Error>> {
    let tier = tier(address, DEADLINE)?;
    let ask = |n| {
        let begun = Instant::now();
        let fetched = sessionwheel::ExternalTier::fetch(&tier, &key(255, n));
        assert!(!matches!(fetched, Fetched::Hit(_)));
        begun.elapsed()
    };
    ask(0);
    let mut sleeping = client.get_connection()?;
    let nap = redis::cmd("DEBUG").arg("SLEEP").arg(2).get_packed_command();
    let slept = std::thread::spawn(move || sleeping.req_packed_command(&nap));
    std::thread::sleep(Duration::from_millis(100));
    let mut waits: Vec<_> = (1..=500).map(ask).collect();
    if slept.join().is_ok_and(|done| done.is_err()) {
        println!("not frozen: the server does not allow DEBUG SLEEP");
        return Ok(());
    }
    let [half, most] = [0.5, 0.99].map(|share| quantile(&mut waits, share));
    println!("frozen, with a deadline of {DEADLINE:?}: p50 {half:?}, p99 {most:?}");
    Ok(())
}
