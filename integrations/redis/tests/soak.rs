//! Random faults for a while: each handshake comes to its end and none stands still, each lookup finds its session or is a
//! counted miss, and nothing is served that was not stored for that id.
//!
//! Four threads do to the caches what handshakes do, so that there are many; two make whole handshakes, of rustls.
//! `SESSIONWHEEL_SOAK` is for how many seconds: 3 if not set. `SESSIONWHEEL_SEED` draws the same faults again.

#[path = "support/stack.rs"]
mod stack;
mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustls::HandshakeKind;
use rustls::client::Resumption;
use sessionwheel::Resumed;
use sessionwheel_redis::{Health, RedisTierBuilder, TierCounters};
use stack::Host;
use stack::tls::{Identity, VERSIONS, handshake};
use support::proxy::{Liar, Proxy};
use support::server::Server;
use support::*;

const CALLERS: usize = 4;
/// One for each version.
const WHOLE: usize = 2;
const THREADS: usize = CALLERS + WHOLE;

const FAULTS: [&str; 9] = [
    "frozen",
    "frozen for long",
    "killed",
    "emptied",
    "cut",
    "held",
    "garbage",
    "wrong password",
    "nothing",
];

const SHORT: Duration = Duration::from_millis(10);

/// What takes longer has waited for what it should not: each question ends after 2 ms. This is no bar for speed; but a
/// server that is frozen for long is so for longer.
const STALL: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_millis(1_500);

/// What is no answer to anything. No session among it: what comes and doesn't open is another one's. The last one refuses a
/// removal, if it comes for one, and what was sealed before is withheld for a minute then: not in a run of seconds.
const GARBAGE: [&[u8]; 5] = [
    b":7\r\n",
    b"*2147483647\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"$9\r\nhalf",
    b"-ERR what?\r\n",
];

const MINUTE: Duration = Duration::from_secs(60);

/// So many sessions for a single use are remembered, by their numbers: many more than are asked for.
const USED: usize = 1 << 20;
/// So old, in sessions, is what is looked up at most.
const YOUNG: u32 = 500;

/// Splitmix64.
fn draw(state: &AtomicU64) -> u64 {
    let mut z = state
        .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn sum(counters: &[AtomicU64]) -> u64 {
    counters.iter().map(read).sum()
}

/// How long things took, by the first four bits of that in nanoseconds.
struct Times {
    buckets: Vec<AtomicU64>,
    longest: AtomicU64,
    stalls: AtomicU64,
}

impl Times {
    fn new() -> Self {
        Self {
            buckets: (0..512).map(|_| AtomicU64::new(0)).collect(),
            longest: AtomicU64::new(0),
            stalls: AtomicU64::new(0),
        }
    }

    fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).expect("no century").max(8);
        let power = nanos.ilog2();
        let bucket = 8 * power as usize + (nanos >> (power - 3) & 7) as usize;
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
        self.stalls
            .fetch_add(u64::from(took > STALL), Ordering::Relaxed);
    }

    /// Not reached by this share of them.
    fn quantile(&self, share: f64) -> Duration {
        let wanted = (sum(&self.buckets) as f64 * share).ceil().max(1.0) as u64;
        let mut below = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            below += read(bucket);
            below >= wanted
        });
        let bucket = bucket.expect("some");
        Duration::from_nanos((9 + bucket as u64 % 8) << (bucket / 8 - 3))
    }

    /// What they were; and none of them a stall.
    fn told(&self, what: &str) -> String {
        let longest = Duration::from_nanos(read(&self.longest));
        let stalls = read(&self.stalls);
        assert_eq!(
            stalls, 0,
            "{what} of more than {STALL:?}, the longest {longest:?}"
        );
        let [half, most] = [0.5, 0.99].map(|share| self.quantile(share));
        format!("{what}: p50 {half:.1?}, p99 {most:.1?}, the longest {longest:.1?}")
    }
}

/// Handshakes of some threads, by turns at three hosts; those of the last one can come back for an answer.
struct Crowd<'a> {
    hosts: [&'a Cache; 3],
    next: AtomicU32,
    /// Which session for a single use was used last, of those whose numbers have this remainder.
    used: Vec<AtomicU32>,
    stop: AtomicBool,
    /// Of each thread.
    handshakes: [AtomicU64; THREADS],
    /// At each host: lookups, and those that found their session.
    lookups: [AtomicU64; 3],
    resumed: [AtomicU64; 3],
    times: Times,
}

impl Crowd<'_> {
    fn run(&self, random: &AtomicU64, thread: usize) {
        while !self.stop.load(Ordering::Relaxed) {
            let host = draw(random) as usize % self.hosts.len();
            let cache = self.hosts[host];
            cache.server().begins();
            let known = self.next.load(Ordering::Relaxed);
            let n = known.saturating_sub(draw(random) as u32 % YOUNG);
            if n < known && self.resumes(host, n) {
                if n % 2 == 1 {
                    let last = self.used[n as usize % USED].swap(n, Ordering::Relaxed);
                    assert_ne!(last, n, "it was used twice");
                }
            } else {
                let n = self.next.fetch_add(1, Ordering::Relaxed);
                if n % 2 == 1 {
                    establish_once(cache, n);
                } else {
                    establish(cache, n);
                }
            }
            cache.server().ends();
            self.handshakes[thread].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Comes back as long as it is told to.
    fn resumes(&self, host: usize, n: u32) -> bool {
        let begun = Instant::now();
        let found = loop {
            match self.hosts[host].server().resume(&key(n)) {
                Resumed::Pending => std::thread::sleep(Duration::from_micros(50)),
                found => break found.hit(),
            }
        };
        self.times.add(begun.elapsed());
        if let Some(found) = &found {
            assert_eq!(*found, value(n), "another one's session");
        }
        let resumed = found.is_some();
        self.lookups[host].fetch_add(1, Ordering::Relaxed);
        self.resumed[host].fetch_add(u64::from(resumed), Ordering::Relaxed);
        resumed
    }

    /// Each lookup has found its session, or a reason was counted why not. To be called when nothing goes on.
    fn reconcile(&self, host: usize, tier: &TierCounters) -> u64 {
        let inside = self.hosts[host].counters();
        let outside = inside.misses + inside.timeouts - inside.pending;
        let claims = inside.unclaimed + inside.refused;
        let (lookups, resumed) = (read(&self.lookups[host]), read(&self.resumed[host]));
        assert_eq!(inside.hits, resumed);
        let found = tier.hits + tier.hits_on_the_way;
        assert_eq!(inside.cb_hits, found);
        assert_eq!(lookups, resumed + claims + outside - found, "{inside:?}");
        if inside.pending > 0 {
            // Reasons are counted for questions there. Two may come back for one, or nobody, being late.
            return lookups;
        }
        // Of claims, too, but for those each is counted once more.
        let failed = tier.skipped + tier.timeouts + tier.starved + tier.errors + tier.unrouted;
        let failed = failed - tier.undecided;
        let missed = failed + tier.misses + tier.not_asked + tier.expired + tier.withheld;
        // Who has shared the answer of another has shared its reason.
        let answered = found + missed..=found + missed + tier.shared;
        assert!(answered.contains(&outside), "{outside}: {tier:?}");
        lookups
    }
}

/// Whole handshakes, by turns at two servers.
struct Whole {
    identity: Identity,
    hosts: [Host; 2],
    full: AtomicU64,
    resumed: AtomicU64,
    times: Times,
}

impl Whole {
    fn run(&self, crowd: &Crowd, random: &AtomicU64, thread: usize) {
        let version = VERSIONS[thread % VERSIONS.len()];
        let client = self
            .identity
            .client(version, Resumption::in_memory_sessions(32));
        while !crowd.stop.load(Ordering::Relaxed) {
            let host = &self.hosts[draw(random) as usize % self.hosts.len()];
            let begun = Instant::now();
            // To its end, for both, or this panics.
            let kind = handshake(&client, &host.config);
            self.times.add(begun.elapsed());
            let counter = if kind == HandshakeKind::Resumed {
                &self.resumed
            } else {
                &self.full
            };
            counter.fetch_add(1, Ordering::Relaxed);
            crowd.handshakes[thread].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Once the faults are over: what one has established resumes with the other.
    fn recover(&self) {
        let [a, b] = &self.hosts;
        for version in VERSIONS {
            recovered("a session of one server resumes with the other", || {
                let client = self
                    .identity
                    .client(version, Resumption::in_memory_sessions(32));
                handshake(&client, &a.config);
                a.tier.flush_writes(SHORT)
                    && handshake(&client, &b.config) == HandshakeKind::Resumed
            });
        }
    }
}

/// Once the faults are over it is so. A removal that was refused among them, and by the garbage one can be, has what was
/// sealed within a minute after it withheld.
fn recovered(what: &str, is_so: impl FnMut() -> bool) {
    eventually_within(MINUTE + PATIENCE, what, is_so);
}

/// Ends the test, and its server, when a thread has stood still for longer than anything takes.
struct Watchdog {
    seen: [(u64, Instant); THREADS],
}

impl Watchdog {
    fn look(&mut self, handshakes: &[AtomicU64; THREADS], server: &mut Server) {
        for (seen, now) in self.seen.iter_mut().zip(handshakes) {
            let now = read(now);
            if seen.0 != now {
                *seen = (now, Instant::now());
            }
            if seen.1.elapsed() > PATIENCE {
                show("a handshake hangs");
                server.discard();
                std::process::exit(1);
            }
        }
    }
}

/// Begins, lasts for `pause`, and is over; in a run of that time.
fn befall(
    fault: &str,
    server: &mut Server,
    proxy: &Proxy,
    random: &AtomicU64,
    pause: Duration,
    time: Duration,
) {
    let wait = || std::thread::sleep(pause);
    match fault {
        "frozen" => {
            server.signal("-STOP");
            wait();
            server.signal("-CONT");
        }
        "frozen for long" => {
            server.signal("-STOP");
            std::thread::sleep(LONG);
            server.signal("-CONT");
        }
        "killed" => {
            server.kill();
            wait();
            assert!(server.launch());
        }
        "emptied" => {
            let () = redis::cmd("FLUSHALL")
                .query(&mut server.connection())
                .unwrap();
            wait();
        }
        "cut" => {
            proxy.cut(draw(random) as u32 % 20);
            wait();
        }
        "held" => {
            proxy.hold(true);
            wait();
            proxy.hold(false);
        }
        "garbage" => {
            let kinds = GARBAGE.len() - usize::from(time < MINUTE);
            let garbage = GARBAGE[draw(random) as usize % kinds];
            server.kill();
            let liar = Liar::in_place_of(server, move |_| garbage.to_vec());
            wait();
            drop(liar);
            assert!(server.launch());
        }
        "wrong password" => {
            let mut connection = server.connection();
            let mut password = |rule: &str| {
                let mut set = redis::cmd("ACL");
                set.arg("SETUSER").arg("fleet").arg("resetpass").arg(rule);
                let () = set.query(&mut connection).unwrap();
                // Who has logged in stays so.
                let mut kill = redis::cmd("CLIENT");
                kill.arg("KILL").arg("USER").arg("fleet");
                let () = kill.query(&mut connection).unwrap();
            };
            password(">wrong");
            wait();
            password(">right");
        }
        _ => wait(),
    }
}

fn hasty<V: Send + Sync + 'static>(builder: RedisTierBuilder<V>) -> RedisTierBuilder<V> {
    let builder = builder.deadline(Duration::from_millis(2)).queue(2_000);
    builder
        .breaker(5, SHORT)
        .timeouts(SHORT * 10, SHORT * 20)
        .stop_timeout(SHORT)
}

#[test]
fn random_faults_lose_no_handshake() {
    let user = ["--user", "fleet", "on", ">right", "~*", "+@all"];
    let Some(mut server) = Server::start(&user) else {
        return;
    };
    let time = Duration::from_secs(number("SESSIONWHEEL_SOAK").unwrap_or(3));
    let seed = number("SESSIONWHEEL_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.expect("after 1970").as_nanos() as u64
    });
    show(&format!("ci: seed {seed}, {} s", time.as_secs()));
    let random = AtomicU64::new(seed);
    let proxy = Proxy::new(&server);
    let direct = server.address_of("fleet", "right");
    let relayed = proxy.address_of("fleet", "right");
    let (a, tier_a) = host(hasty(builder(&direct)));
    let (b, tier_b) = host(hasty(builder(&relayed)));
    // Its questions go by the connection that writes.
    let (c, tier_c) = host(hasty(builder(&relayed)).pending(2 * SHORT));
    let identity = Identity::new();
    let whole = Whole {
        hosts: [&direct, &relayed]
            .map(|address| Host::new(hasty(stack::builder(address)), &identity)),
        identity,
        full: AtomicU64::new(0),
        resumed: AtomicU64::new(0),
        times: Times::new(),
    };
    let crowd = Crowd {
        hosts: [&a, &b, &c],
        next: AtomicU32::new(1),
        used: (0..USED).map(|_| AtomicU32::new(0)).collect(),
        stop: AtomicBool::new(false),
        handshakes: std::array::from_fn(|_| AtomicU64::new(0)),
        lookups: std::array::from_fn(|_| AtomicU64::new(0)),
        resumed: std::array::from_fn(|_| AtomicU64::new(0)),
        times: Times::new(),
    };
    let mut met = [0; FAULTS.len()];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let (crowd, whole, random) = (&crowd, &whole, &random);
        let run = |thread| match thread {
            0..CALLERS => scope.spawn(move || crowd.run(random, thread)),
            _ => scope.spawn(move || whole.run(crowd, random, thread)),
        };
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        let go_on = || threads.iter().all(|thread| !thread.is_finished());
        let mut watchdog = Watchdog {
            seen: [(0, begun); THREADS],
        };
        let mut is_over = false;
        while !is_over && go_on() {
            watchdog.look(&crowd.handshakes, &mut server);
            is_over = begun.elapsed() >= time;
            // The last one is long, so that there is one that is; of the others few.
            let fault = match draw(random) as usize % FAULTS.len() {
                _ if is_over => 1,
                1 if !draw(random).is_multiple_of(4) => 0,
                fault => fault,
            };
            met[fault] += 1;
            let pause = Duration::from_millis(20 + draw(random) % 200);
            befall(FAULTS[fault], &mut server, &proxy, random, pause, time);
            std::thread::sleep(pause / 2);
        }
        crowd.stop.store(true, Ordering::Relaxed);
        while threads.iter().any(|thread| !thread.is_finished()) {
            watchdog.look(&crowd.handshakes, &mut server);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let tiers = [&tier_a, &tier_b, &tier_c];
    let lookups: u64 = (0..tiers.len())
        .map(|host| crowd.reconcile(host, &tiers[host].health().counters))
        .sum();
    let (handshakes, resumed) = (sum(&crowd.handshakes[..CALLERS]), sum(&crowd.resumed));
    // Whoever did not resume has established a session: they have not run out.
    let established = u64::from(crowd.next.load(Ordering::Relaxed)) - 1;
    assert_eq!(handshakes, resumed + established);

    proxy.cut(0);
    // Once they are over it is as before, however busy the machine is.
    let mut n = crowd.next.load(Ordering::Relaxed);
    for other in [1, 2] {
        recovered("a session of one host resumes at another", || {
            n += 1;
            establish(&a, n);
            let written = tier_a.flush_writes(SHORT);
            written && crowd.resumes(other, n)
        });
    }
    whole.recover();
    let bounded = |health: Health| {
        assert!(health.queued_writes <= 2_000 && health.queued_removals <= 2_000);
        // Nor has an answer reached anybody whose it was not.
        assert_eq!(health.counters.unopened, 0);
        health.counters
    };
    let all = bounded(tier_b.health());
    let asked_again = c.counters().pending;
    for (tier, cache) in tiers.iter().zip([&a, &b, &c]) {
        bounded(tier.health());
        assert_eq!(cache.counters().panics, 0);
    }
    whole
        .hosts
        .iter()
        .for_each(|host| _ = bounded(host.tier.health()));
    let faults: Vec<_> = FAULTS
        .iter()
        .zip(met)
        .map(|(f, n)| format!("{f} {n}"))
        .collect();
    show(&format!(
        "ci: {handshakes} handshakes, {lookups} lookups, {resumed} resumed, the rest counted misses; faults: {}; at the \
         second host {} hits, {} timeouts, {} skipped, {} errors, {} dropped writes; at the third {asked_again} were told to \
         come back",
        faults.join(", "),
        all.hits,
        all.timeouts,
        all.skipped,
        all.errors,
        all.dropped_writes
    ));
    let refused = |health: Health| (health.counters.refused_removals, health.counters.withheld);
    let whole_hosts = whole.hosts.iter().map(|host| host.tier.health());
    let all_hosts = tiers.iter().map(|tier| tier.health()).chain(whole_hosts);
    let refused: Vec<_> = all_hosts.map(refused).collect();
    show(&format!(
        "ci: removals refused and answers withheld because of that, at each host: {refused:?}"
    ));
    let kinds = [&whole.full, &whole.resumed].map(read);
    assert_eq!(kinds[0] + kinds[1], sum(&crowd.handshakes[CALLERS..]));
    show(&format!(
        "ci: rustls: {} handshakes, all to their end, {} of them resumed",
        kinds[0] + kinds[1],
        kinds[1]
    ));
    show(&format!("ci: {}", crowd.times.told("lookups")));
    show(&format!("ci: {}", whole.times.told("handshakes of rustls")));
    assert!(all.hits > 0 && asked_again > 0 && kinds[1] > 0);
}
