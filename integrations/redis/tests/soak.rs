//! Random faults for a while: no handshake hangs, each lookup finds its session or is a counted miss, and nothing is served
//! that was not stored for that id.
//!
//! `SESSIONWHEEL_SOAK` is for how many seconds: 3 if not set. `SESSIONWHEEL_SEED` draws the same faults again.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use sessionwheel_redis::TierCounters;
use support::proxy::Proxy;
use support::server::Server;
use support::*;

const THREADS: usize = 4;
const FAULTS: [&str; 6] = ["frozen", "killed", "emptied", "cut", "held", "nothing"];

/// Splitmix64.
fn draw(state: &AtomicU64) -> u64 {
    let mut z = state
        .fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

/// Handshakes of one thread, by turns at both hosts.
struct Crowd<'a> {
    hosts: [&'a Cache; 2],
    next: AtomicU32,
    /// Sessions for a single use, and how often each was used.
    uses: Vec<AtomicU32>,
    stop: AtomicBool,
    /// Of each thread.
    handshakes: [AtomicU64; THREADS],
    /// At each host: lookups, and those that found their session.
    lookups: [AtomicU64; 2],
    resumed: [AtomicU64; 2],
}

impl Crowd<'_> {
    fn run(&self, random: &AtomicU64, thread: usize) {
        while !self.stop.load(Ordering::Relaxed) {
            let host = draw(random) as usize % 2;
            let cache = self.hosts[host];
            cache.server().begins();
            let known = self.next.load(Ordering::Relaxed);
            // Mostly young ones; `resumes` compares the value.
            let n = known.saturating_sub(draw(random) as u32 % 500);
            if n < known && self.resumes(host, n) {
                if n % 2 == 1 {
                    let used = self.uses[n as usize].fetch_add(1, Ordering::Relaxed);
                    assert_eq!(used, 0, "{n} was used twice");
                }
            } else if (known as usize) < self.uses.len() {
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

    fn resumes(&self, host: usize, n: u32) -> bool {
        let resumed = resumes(self.hosts[host], n);
        self.lookups[host].fetch_add(1, Ordering::Relaxed);
        self.resumed[host].fetch_add(u64::from(resumed), Ordering::Relaxed);
        resumed
    }

    /// Each lookup has found its session, or a reason was counted why not. To be called when nothing goes on.
    fn reconcile(&self, host: usize, tier: &TierCounters) -> u64 {
        let inside = self.hosts[host].counters();
        let outside = inside.misses + inside.timeouts;
        let claims = inside.unclaimed + inside.refused;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (lookups, resumed) = (read(&self.lookups[host]), read(&self.resumed[host]));
        assert_eq!(inside.hits, resumed);
        let found = tier.hits + tier.hits_on_the_way;
        assert_eq!(inside.cb_hits, found);
        assert_eq!(lookups, resumed + claims + outside - found, "{inside:?}");
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

/// Ends the test, and its server, when a thread has stood still for longer than anything takes.
struct Watchdog {
    seen: [(u64, Instant); THREADS],
}

impl Watchdog {
    fn look(&mut self, handshakes: &[AtomicU64; THREADS], server: &mut Server) {
        for (seen, now) in self.seen.iter_mut().zip(handshakes) {
            let now = now.load(Ordering::Relaxed);
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

#[test]
fn random_faults_lose_no_handshake() {
    let Some(mut server) = Server::start(&[]) else {
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
    let short = Duration::from_millis(10);
    let tier = |address: &str| {
        let tier = builder(address).deadline(Duration::from_millis(2));
        host(
            tier.queue(2_000)
                .breaker(5, short)
                .timeouts(short * 10, short * 20),
        )
    };
    let (a, tier_a) = tier(&server.address());
    let (b, tier_b) = tier(&proxy.address());
    let crowd = Crowd {
        hosts: [&a, &b],
        next: AtomicU32::new(1),
        uses: (0..10_000_000).map(|_| AtomicU32::new(0)).collect(),
        stop: AtomicBool::new(false),
        handshakes: std::array::from_fn(|_| AtomicU64::new(0)),
        lookups: [AtomicU64::new(0), AtomicU64::new(0)],
        resumed: [AtomicU64::new(0), AtomicU64::new(0)],
    };
    let mut met = [0; FAULTS.len()];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let (crowd, random) = (&crowd, &random);
        let run = |thread| scope.spawn(move || crowd.run(random, thread));
        let threads: Vec<_> = (0..THREADS).map(run).collect();
        let mut watchdog = Watchdog {
            seen: [(0, begun); THREADS],
        };
        while begun.elapsed() < time && threads.iter().all(|thread| !thread.is_finished()) {
            watchdog.look(&crowd.handshakes, &mut server);
            let fault = draw(random) as usize % FAULTS.len();
            met[fault] += 1;
            let pause = Duration::from_millis(20 + draw(random) % 200);
            match FAULTS[fault] {
                "frozen" => server.signal("-STOP"),
                "killed" => server.kill(),
                "emptied" => {
                    let mut connection = server.connection();
                    let () = redis::cmd("FLUSHALL").query(&mut connection).unwrap();
                }
                "cut" => proxy.cut(draw(random) as u32 % 20),
                "held" => proxy.hold(true),
                _ => {}
            }
            std::thread::sleep(pause);
            match FAULTS[fault] {
                "frozen" => server.signal("-CONT"),
                "killed" => assert!(server.launch()),
                "held" => proxy.hold(false),
                _ => {}
            }
            std::thread::sleep(pause / 2);
        }
        crowd.stop.store(true, Ordering::Relaxed);
        while threads.iter().any(|thread| !thread.is_finished()) {
            watchdog.look(&crowd.handshakes, &mut server);
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let counters = [&tier_a, &tier_b].map(|tier| tier.health().counters);
    let lookups = crowd.reconcile(0, &counters[0]) + crowd.reconcile(1, &counters[1]);
    proxy.cut(0);
    // Once they are over it is as before, however busy the machine is.
    let mut n = crowd.next.load(Ordering::Relaxed);
    eventually("a session of one host resumes at the other", || {
        n += 1;
        establish(&a, n);
        tier_a.flush_writes(short) && resumes(&b, n)
    });
    let sum = |counters: &[AtomicU64]| {
        let each = counters
            .iter()
            .map(|counter| counter.load(Ordering::Relaxed));
        each.sum::<u64>()
    };
    let (handshakes, resumed) = (sum(&crowd.handshakes), sum(&crowd.resumed));
    for (tier, cache) in [(&tier_a, &a), (&tier_b, &b)] {
        let health = tier.health();
        assert!(health.queued_writes <= 2_000 && health.queued_removals <= 2_000);
        assert_eq!(health.counters.unopened, 0);
        assert_eq!(cache.counters().panics, 0);
    }
    let faults: Vec<_> = FAULTS
        .iter()
        .zip(met)
        .map(|(f, n)| format!("{f} {n}"))
        .collect();
    let all = tier_b.health().counters;
    show(&format!(
        "ci: {handshakes} handshakes, {lookups} lookups, {resumed} resumed, the rest counted misses; faults: {}; at the \
         second host {} hits, {} timeouts, {} skipped, {} errors, {} dropped writes",
        faults.join(", "),
        all.hits,
        all.timeouts,
        all.skipped,
        all.errors,
        all.dropped_writes
    ));
    assert!(all.hits > 0 && met.iter().sum::<u32>() > 0);
}
