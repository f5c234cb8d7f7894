//! Random faults for a while: no handshake is lost, and nothing served that was not stored for that id.
//!
//! `SESSIONWHEEL_SOAK` is for how many seconds: 3 if not set. `SESSIONWHEEL_SEED` draws the same faults again.

mod support;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use support::proxy::Proxy;
use support::server::Server;
use support::*;

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
    handshakes: AtomicU64,
    resumed: AtomicU64,
}

impl Crowd<'_> {
    fn run(&self, random: &AtomicU64) {
        while !self.stop.load(Ordering::Relaxed) {
            let cache = self.hosts[draw(random) as usize % 2];
            cache.server().begins();
            let known = self.next.load(Ordering::Relaxed);
            // Mostly young ones; `resumes` compares the value.
            let n = known.saturating_sub(draw(random) as u32 % 500);
            if n < known && resumes(cache, n) {
                self.resumed.fetch_add(1, Ordering::Relaxed);
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
            self.handshakes.fetch_add(1, Ordering::Relaxed);
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
        handshakes: AtomicU64::new(0),
        resumed: AtomicU64::new(0),
    };
    let mut met = [0; FAULTS.len()];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| crowd.run(&random))).collect();
        while begun.elapsed() < time && threads.iter().all(|thread| !thread.is_finished()) {
            let fault = draw(&random) as usize % FAULTS.len();
            met[fault] += 1;
            let pause = Duration::from_millis(20 + draw(&random) % 200);
            match FAULTS[fault] {
                "frozen" => server.signal("-STOP"),
                "killed" => server.kill(),
                "emptied" => {
                    let mut connection = server.connection();
                    let () = redis::cmd("FLUSHALL").query(&mut connection).unwrap();
                }
                "cut" => proxy.cut(draw(&random) as u32 % 20),
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
    });
    proxy.cut(0);
    // Once they are over it is as before, however busy the machine is.
    let mut n = crowd.next.load(Ordering::Relaxed);
    eventually("a session of one host resumes at the other", || {
        n += 1;
        establish(&a, n);
        tier_a.flush_writes(short) && resumes(&b, n)
    });
    let handshakes = crowd.handshakes.load(Ordering::Relaxed);
    let counted = |cache: &Cache| (cache.counters().accept, cache.counters().accept_good);
    let (begun, ended) = (counted(&a).0 + counted(&b).0, counted(&a).1 + counted(&b).1);
    assert_eq!((begun, ended), (handshakes, handshakes));
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
        "ci: {handshakes} handshakes begun and ended, {} resumed; faults: {}; at the second host {} hits, \
         {} timeouts, {} skipped, {} errors, {} dropped writes",
        crowd.resumed.load(Ordering::Relaxed),
        faults.join(", "),
        all.hits,
        all.timeouts,
        all.skipped,
        all.errors,
        all.dropped_writes
    ));
    assert!(all.hits > 0 && met.iter().sum::<u32>() > 0);
}
