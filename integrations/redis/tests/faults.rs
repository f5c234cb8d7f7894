//! What can go wrong with a Redis. In all of it handshakes go on, what can't be had in time is a counted miss, and
//! nothing is served that was not stored for that id: `resumes` compares the value of every hit.

mod support;

use std::time::{Duration, Instant};

use redis::Commands;
use sessionwheel_redis::{BreakerState, TierCounters, TierError};
use support::proxy::{Liar, Proxy};
use support::server::Server;
use support::*;

const SHORT: Duration = Duration::from_millis(20);

/// All the reasons why a lookup that went out came to nothing.
fn missed(counters: &TierCounters) -> u64 {
    counters.misses
        + counters.skipped
        + counters.timeouts
        + counters.starved
        + counters.errors
        + counters.unopened
}

/// So long takes no lookup: much longer than its deadline, and no more than half of what a server sleeps here.
const HANG: Duration = Duration::from_secs(1);

/// Whether it resumes, and that it doesn't hang.
fn resumes_in_time(cache: &Cache, n: u32) -> bool {
    let begun = Instant::now();
    let resumed = resumes(cache, n);
    let took = begun.elapsed();
    assert!(took < HANG, "{n}: {took:?}");
    resumed
}

/// `lookups` handshakes that offer sessions which the host hasn't got, and establish new ones.
fn handshakes(cache: &Cache, lookups: std::ops::Range<u32>) -> u32 {
    let mut hits = 0;
    for n in lookups {
        hits += u32::from(resumes_in_time(cache, n));
        establish(cache, 1_000_000 + n);
    }
    hits
}

/// A server with sessions 0 to 199, and a host that hasn't got them.
fn with_sessions(server: &Server, address: &str) -> (Cache, Tier) {
    let (a, tier) = host(builder(&server.address()));
    (0..200).for_each(|n| establish(&a, n));
    written(&tier);
    host(builder(address).deadline(SHORT).breaker(3, SHORT))
}

/// One of these sessions comes from the server, on a machine however slow.
fn shares(cache: &Cache, sessions: std::ops::Range<u32>) {
    let mut sessions = sessions.cycle();
    eventually("a session is shared", || {
        resumes(cache, sessions.next().expect("some"))
    });
}

/// From some time on all is as ever, for one of the sessions `left`.
fn recovers(cache: &Cache, tier: &Tier, left: std::ops::Range<u32>) {
    eventually("the breaker closes", || {
        tier.health().breaker == BreakerState::Closed && tier.health().connections > 0
    });
    shares(cache, left);
}

#[test]
fn stopped_killed_and_restarted_empty() {
    for way in ["stop", "kill"] {
        let Some(mut server) = Server::start(&[]) else {
            return;
        };
        let (b, tier) = with_sessions(&server, &server.address());
        shares(&b, 0..50);
        let before = tier.health().counters;
        match way {
            "stop" => server.stop(),
            _ => server.kill(),
        }
        assert_eq!(handshakes(&b, 50..100), 0);
        let during = tier.health();
        assert_eq!(missed(&during.counters) - missed(&before), 50);
        assert!(during.breaker_openings >= 1, "{during:?}");
        assert!(during.counters.skipped > before.skipped, "{during:?}");
        assert!(during.last_error.is_some());

        assert!(server.launch());
        eventually("it is asked again, and has nothing", || {
            let misses = tier.health().counters.misses;
            assert!(!resumes(&b, 100));
            tier.health().counters.misses > misses
        });
        // What was established meanwhile has waited.
        written(&tier);
        let (c, _) = host(builder(&server.address()));
        assert!(resumes(&c, 1_000_050) && resumes(&c, 1_000_099));
        show(&format!("ci: {way}: 50 lookups, 50 counted misses"));
    }
}

/// That there is no connection yet says nothing of the server.
#[test]
fn who_is_only_just_being_connected_to_is_not_given_up() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    for comes_back in [false, true] {
        let proxy = Proxy::new(&server);
        proxy.hold(true);
        let slow = builder(&proxy.address()).deadline(SHORT).breaker(5, SHORT);
        let mut slow = slow.timeouts(PATIENCE, PATIENCE).stop_timeout(SHORT);
        if comes_back {
            slow = slow.pending(SHORT);
        }
        let (b, tier) = host(slow);
        let miss = |n| {
            eventually("a miss", || {
                let found = b.server().resume(&key(n));
                let pending = found.is_pending();
                assert!(found.hit().is_none());
                !pending
            });
        };
        (0..20).for_each(miss);
        let health = tier.health();
        assert_eq!((health.breaker_openings, health.counters.skipped), (0, 0));
        assert_eq!(missed(&health.counters), 20);
        proxy.hold(false);
        eventually("it is asked", || {
            miss(20);
            tier.health().counters.misses > 0
        });
        show(&format!(
            "ci: not connected yet, {}: 20 counted misses, and the breaker is closed",
            if comes_back {
                "and who asks comes back"
            } else {
                "and who asks waits"
            }
        ));
    }
    // Once it is known that nobody is there it is as ever.
    let nowhere = builder("unix:///nonexistent/sessionwheel").deadline(SHORT);
    let (b, tier) = host(nowhere.breaker(5, PATIENCE));
    eventually("it is given up", || {
        assert!(!resumes(&b, 1));
        tier.health().breaker_openings > 0
    });
}

#[test]
fn frozen() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (b, tier) = with_sessions(&server, &server.address());
    handshakes(&b, 0..10);
    let before = tier.health().counters;
    let mut connection = server.connection();
    let sleeper = std::thread::spawn(move || {
        let slept: redis::RedisResult<()> = redis::cmd("DEBUG")
            .arg("SLEEP")
            .arg(2)
            .query(&mut connection);
        slept.unwrap();
    });
    // Until it sleeps: a lookup is no miss before.
    let begun = Instant::now();
    let mut n = 10;
    while tier.health().counters.timeouts == before.timeouts {
        assert!(n < 150 && begun.elapsed() < PATIENCE);
        resumes_in_time(&b, n);
        n += 1;
    }
    let frozen = tier.health().counters;
    assert_eq!(handshakes(&b, 150..180), 0);
    let after = tier.health();
    assert_eq!(missed(&after.counters) - missed(&frozen), 30);
    assert!(after.breaker_openings >= 1);
    let dropped = after.counters.connections_dropped - before.connections_dropped;
    let failed = after.counters.timeouts - before.timeouts;
    assert!(dropped >= failed, "{dropped} of {failed}");
    sleeper.join().unwrap();
    recovers(&b, &tier, 180..200);
    assert_eq!(tier.health().counters.unopened, 0);
    show(&format!(
        "ci: frozen: 30 lookups, 30 counted misses, {failed} timeouts, {dropped} connections dropped"
    ));
}

#[test]
fn an_answer_that_comes_late_reaches_nobody() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::new(&server);
    let (a, tier_a) = host(builder(&server.address()));
    (0..100).for_each(|n| establish(&a, n));
    written(&tier_a);
    // Never enough failures for the breaker.
    let late = builder(&proxy.address())
        .connections(1)
        .breaker(u32::MAX, SHORT);
    let (b, tier) = host(late.deadline(Duration::from_millis(200)));
    eventually("a connection", || {
        tier.check(PATIENCE).is_ok() && resumes(&b, 0)
    });
    let mut timeouts = 0;
    for n in 1..20 {
        let before = tier.health().counters;
        proxy.hold(true);
        let late = resumes(&b, n);
        proxy.hold(false);
        let after = tier.health().counters;
        assert!(!late || after.hits > before.hits);
        timeouts += after.timeouts - before.timeouts;
        eventually("another connection", || tier.health().connections > 0);
        // The next one gets its own answer, or none; not the one before.
        eventually("a hit", || resumes(&b, 20 + n));
    }
    let counters = tier.health().counters;
    assert_eq!(counters.unopened, 0);
    assert!(timeouts >= 10, "{timeouts}");
    assert!(counters.connections_dropped >= timeouts);
    show(&format!(
        "ci: late answers: {timeouts}, and none of them reached another lookup"
    ));
}

#[test]
fn connections_cut_in_the_middle_of_an_answer() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::new(&server);
    let (b, tier) = with_sessions(&server, &proxy.address());
    eventually("a connection", || resumes(&b, 0));
    let (mut cut, mut n) = (0, 1);
    for _ in 0..30 {
        eventually("a connection", || tier.health().connections > 0);
        let before = missed(&tier.health().counters);
        proxy.cut(1);
        let hit = resumes(&b, n);
        n += 1;
        // It may have met a connection that was being made.
        if !hit {
            assert_eq!(missed(&tier.health().counters), before + 1);
            cut += 1;
        }
        establish(&b, 2_000_000 + n);
        eventually("the cut", || {
            proxy.cuts_left() == 0 || tier.flush_writes(SHORT)
        });
        proxy.cut(0);
    }
    recovers(&b, &tier, 100..200);
    let counters = tier.health().counters;
    assert_eq!(counters.unopened, 0);
    assert!(cut > 0 && counters.connections_dropped > 0);
    show(&format!(
        "ci: cut: {cut} of 30 lookups were counted misses, {} connections dropped",
        counters.connections_dropped
    ));
}

#[test]
fn garbage_for_an_answer() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    // What was stored for session 199, for whatever is asked.
    let (_, tier_a) = with_sessions(&server, &server.address());
    drop(tier_a);
    let other = server
        .keys()
        .into_iter()
        .find(|name| name.ends_with(id(199).as_bytes()));
    let other: Vec<u8> = server.connection().get(other.unwrap()).unwrap();
    let bulk = [format!("${}\r\n", other.len()).as_bytes(), &other, b"\r\n"].concat();

    let nil = b"$-1\r\n";
    let many: Vec<(&str, Vec<u8>)> = vec![
        ("another id's", bulk.clone()),
        ("and once more", [&bulk[..], &bulk].concat()),
        ("nil, and another id's", [&nil[..], &bulk].concat()),
        ("half of it", bulk[..bulk.len() / 2].to_vec()),
        ("too long", b"$2147483647\r\n".to_vec()),
        ("too many", b"*2147483647\r\n".to_vec()),
        ("a number", b":7\r\n".to_vec()),
        ("a word", b"+OK\r\n".to_vec()),
        (
            "another protocol",
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        ),
        ("no end", vec![b'+'; 1 << 20]),
        ("zeros", vec![0; 1_000]),
        ("an error", b"-ERR what?\r\n".to_vec()),
        ("no bytes of a session", b"$3\r\nabc\r\n".to_vec()),
    ];
    let kinds = many.len();
    for (what, answer) in many {
        let liar = Liar::new(move |_| answer.clone());
        let short = builder(&liar.address()).deadline(SHORT);
        let (b, tier) = host(short.breaker(3, SHORT).stop_timeout(SHORT));
        let mut n = 0;
        eventually("it was asked", || {
            assert!(!resumes(&b, n), "{what}");
            establish(&b, 1_000 + n);
            n += 1;
            let counters = tier.health().counters;
            missed(&counters) - counters.skipped - counters.starved >= 5
        });
        let counters = tier.health().counters;
        assert_eq!(missed(&counters), u64::from(n), "{what}: {counters:?}");
        assert_eq!(
            (counters.hits, counters.written),
            (
                0,
                if what == "a word" {
                    counters.written
                } else {
                    0
                }
            )
        );
    }
    show(&format!("ci: garbage: {kinds} kinds of it, nothing served"));
}

fn next(numbers: &mut std::ops::Range<u32>) -> std::ops::Range<u32> {
    let n = numbers.next().expect("some are left");
    n..n + 1
}

/// While it is asked, and until it is itself again.
#[test]
fn replaced_by_one_that_answers_garbage() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    let (b, tier) = with_sessions(&server, &server.address());
    shares(&b, 0..50);
    let before = tier.health().counters;

    server.kill();
    let liar = Liar::in_place_of(&server, |_| b"$3\r\nabc\r\n".to_vec());
    let mut asked = 50..u32::MAX;
    eventually("it is believed to be a Redis", || {
        assert_eq!(handshakes(&b, next(&mut asked)), 0);
        asked.start >= 100 && tier.health().counters.unopened > before.unopened
    });
    let during = tier.health().counters;
    let lookups = u64::from(asked.start - 50);
    assert_eq!(missed(&during) - missed(&before), lookups);
    assert_eq!(during.hits, before.hits);

    drop(liar);
    assert!(server.launch());
    eventually("it is asked again, and has nothing", || {
        let misses = tier.health().counters.misses;
        assert!(!resumes(&b, 100));
        tier.health().counters.misses > misses
    });
    establish(&b, 7);
    written(&tier);
    let (c, _) = host(builder(&server.address()));
    assert!(resumes(&c, 7));
    show(&format!(
        "ci: replaced by garbage: {lookups} lookups, {lookups} counted misses"
    ));
}

#[test]
fn a_wrong_password() {
    let Some(server) = Server::start(&["--requirepass", "right"]) else {
        return;
    };
    let address = |password| format!("{}?pass={password}", server.address());
    let wrong = builder(&address("wrong"))
        .deadline(SHORT)
        .stop_timeout(SHORT);
    let (b, tier) = host(wrong);
    let Err(TierError::Server(why)) = tier.check(PATIENCE) else {
        panic!("the wrong password is right")
    };
    assert!(
        why.contains("WRONGPASS") || why.to_lowercase().contains("password"),
        "{why}"
    );
    assert_eq!(handshakes(&b, 0..30), 0);
    assert_eq!(missed(&tier.health().counters), 30);
    eventually("it says why", || {
        let last = tier.health().last_error;
        last.is_some_and(|last| last.contains("refused"))
    });
    let (c, right) = host(builder(&address("right")));
    right.check(PATIENCE).unwrap();
    establish(&c, 1);
    written(&right);
    assert_eq!(right.health().counters.written, 1);
}

#[test]
fn a_full_or_forbidding_server_refuses_and_the_session_stays_here() {
    let Some(server) = Server::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"])
    else {
        return;
    };
    let (a, tier) = host(builder(&server.address()));
    (0..10).for_each(|n| establish_once(&a, n));
    written(&tier);
    assert_eq!(tier.health().counters.refused_writes, 10);
    assert!((0..10).all(|n| resumes(&a, n)));
    assert!((0..10).all(|n| !resumes(&a, n)));
    assert_eq!(tier.health().counters.claimed_here, 10);
}

#[test]
fn a_flood_while_it_is_down_is_bounded() {
    let nowhere = builder("unix:///nonexistent/sessionwheel");
    let (cache, tier) = host(nowhere.queue(100).marks(1_000).stop_timeout(SHORT));
    (0..5_000).for_each(|n| establish(&cache, n));
    (0..5_000).for_each(|n| _ = cache.remove(&key(n)));
    let health = tier.health();
    assert_eq!((health.queued_writes, health.queued_removals), (100, 100));
    assert!(health.marks <= 1_000);
    assert_eq!(health.counters.dropped_removals, 4_900);
    let begun = Instant::now();
    drop((cache, tier));
    assert!(begun.elapsed() < PATIENCE);
}
