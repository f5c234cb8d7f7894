//! A session for a single use, wanted everywhere at once.

mod support;

use std::sync::Barrier;
use std::time::{Duration, Instant};

use redis::Commands;
use sessionwheel::SessionRef;
use support::proxy::Proxy;
use support::server::Server;
use support::*;

const ROUNDS: u32 = 1_000;

#[test]
fn of_two_hosts_one_wins() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (b, tier_b) = host(builder(&server.address()));
    let start = Barrier::new(2);
    let mut wins = [0; 2];
    for n in 0..ROUNDS {
        establish_once(&a, n);
        // Half of the races while the write may still be on its way.
        if n % 2 == 0 {
            written(&tier_a);
        } else {
            // At another moment of the write each time: queued, sent, answered.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_micros(u64::from(n % 400)) {}
        }
        let run = |cache: &Cache| {
            start.wait();
            resumes(cache, n)
        };
        let won = std::thread::scope(|scope| {
            let other = scope.spawn(|| run(&b));
            [run(&a), other.join().unwrap()]
        });
        assert!(won != [true, true], "round {n}: both");
        if n % 2 == 0 {
            assert!(won != [false, false], "round {n}: neither");
        }
        assert!(!resumes(&a, n) && !resumes(&b, n), "round {n}: again");
        wins[0] += u32::from(won[0]);
        wins[1] += u32::from(won[1]);
    }
    written(&tier_a);
    assert!(server.keys().is_empty(), "what nobody can use");
    let [at_a, at_b] = wins;
    show(&format!(
        "ci: {ROUNDS} races: {at_a} won here, {at_b} there, 0 by both"
    ));
    assert!(at_a + at_b >= ROUNDS / 2);
    let all = tier_a.health().counters;
    assert_eq!(all.undecided + tier_b.health().counters.undecided, 0);
}

#[test]
fn who_takes_asks_once() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier_a) = host(builder(&server.address()));
    let (b, tier_b) = host(builder(&server.address()));
    let take = |cache: &Cache, n| cache.server().take_with(&key(n), Vec::clone).hit();
    (0..50).for_each(|n| establish(&a, n));
    written(&tier_a);
    for n in 0..50 {
        assert_eq!(take(&b, n), Some(value(n)));
        assert_eq!((take(&a, n), take(&b, n)), (None, None));
    }
    let health = tier_b.health();
    let counters = health.counters;
    assert_eq!(
        (counters.hits, counters.claimed, counters.misses),
        (50, 50, 50)
    );
    assert_eq!(health.latency.count(), 100, "one for each");
    // What is on its way is taken here, and what was removed is not asked for.
    establish(&b, 50);
    assert_eq!((take(&b, 50), take(&b, 50)), (Some(value(50)), None));
    show("ci: single use: 50 taken by 50 questions, 100 more came too late");
}

#[test]
fn of_many_threads_on_many_hosts_one_wins() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let hosts: Vec<_> = (0..3).map(|_| host(builder(&server.address()))).collect();
    let races = number("SESSIONWHEEL_RACES").unwrap_or(50);
    for n in 0..u32::try_from(races).expect("not so many") {
        establish_once(&hosts[0].0, n);
        written(&hosts[0].1);
        let start = Barrier::new(6);
        let won = std::thread::scope(|scope| {
            let threads = hosts.iter().cycle().take(6).map(|(cache, _)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    u32::from(resumes(cache, n))
                })
            });
            let threads: Vec<_> = threads.collect();
            threads.into_iter().map(|t| t.join().unwrap()).sum::<u32>()
        });
        assert_eq!(won, 1, "round {n}");
    }
    show(&format!(
        "ci: single use: {races} sessions, six threads on three hosts each, one use of each"
    ));
}

#[test]
fn what_was_used_before_it_was_written_is_never_written() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier) = host(builder(&server.address()));
    server.signal("-STOP");
    (0..50).for_each(|n| establish_once(&a, n));
    // Connecting is under way or has failed; nothing was sent.
    assert!((0..50).all(|n| resumes(&a, n)));
    server.signal("-CONT");
    written(&tier);
    assert!(server.keys().is_empty());
    let counters = tier.health().counters;
    assert_eq!((counters.claimed_here, counters.written), (50, 0));
    show("ci: single use: 50 used before they were written, none of them written");
}

#[test]
fn what_was_dropped_from_the_queue_is_used_here_and_once() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    server.kill();
    let (a, tier) = host(
        builder(&server.address())
            .queue(10)
            .deadline(Duration::from_millis(2)),
    );
    (0..100).for_each(|n| establish_once(&a, n));
    let counters = tier.health().counters;
    assert_eq!((counters.stores, counters.dropped_writes), (100, 90));
    assert_eq!(tier.health().queued_writes, 10);
    for n in 0..100 {
        assert!(resumes(&a, n), "{n}");
        assert!(!resumes(&a, n), "{n}");
    }
    assert_eq!(tier.health().counters.claimed_here, 100);
    assert!(server.launch());
    written(&tier);
    assert!(server.keys().is_empty());
    show("ci: single use: 90 dropped from the queue and 10 in it, each used here, once");
}

#[test]
fn when_redis_is_down_it_is_a_miss_unless_asked_otherwise() {
    for local in [false, true] {
        let Some(mut server) = Server::start(&[]) else {
            return;
        };
        let (a, tier) = host(
            builder(&server.address())
                .local_when_down(local)
                .deadline(Duration::from_millis(20)),
        );
        (0..20).for_each(|n| establish_once(&a, n));
        written(&tier);
        server.kill();
        let resumed = (0..20).filter(|n| resumes(&a, *n)).count();
        assert_eq!(resumed, if local { 20 } else { 0 });
        assert!((0..20).all(|n| !resumes(&a, n)));
        assert_eq!(tier.health().counters.undecided, 20);
        show(&format!(
            "ci: single use: 20 claims of a server that is down, {resumed} used"
        ));
    }
}

#[test]
fn what_is_used_here_undecided_nobody_uses_later() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::new(&server);
    let patient = builder(&proxy.address()).timeouts(PATIENCE, PATIENCE);
    let patient = patient.deadline(Duration::from_millis(200));
    let (a, tier) = host(patient.local_when_down(true));
    let (b, _tier_b) = host(builder(&server.address()));
    eventually("a connection", || {
        resumes(&a, 99);
        tier.health().counters.misses > 0
    });
    let used = |n| {
        let arbitrated = |found: SessionRef<'_, Vec<u8>>| found.is_arbitrated();
        a.server().resume_entry(&key(n), arbitrated).hit()
    };
    proxy.hold_writes(true);
    establish_once(&a, 1);
    eventually("it is sent", || proxy.writes() == 1);
    // Redis is up, and the write not answered.
    assert_eq!(used(1), Some(false));
    assert_eq!(tier.health().counters.undecided, 1);
    proxy.hold_writes(false);
    written(&tier);
    assert_eq!(tier.health().counters.written, 1);
    assert!(!resumes(&b, 1), "it was used at the other host");
    assert_eq!(used(1), None);
    assert!(server.keys().is_empty());

    // Asked in time, as far as this machine is in time, Redis decides.
    establish_once(&a, 2);
    written(&tier);
    let by = used(2);
    assert_eq!(by, Some(tier.health().counters.undecided == 1));
    written(&tier);
    assert!(!resumes(&b, 2));
}

#[test]
fn somebody_else_s_bytes_claim_nothing() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier) = host(builder(&server.address()));
    establish_once(&a, 1);
    establish_once(&a, 2);
    written(&tier);
    let names = server.keys();
    let mut connection = server.connection();
    let other: Vec<u8> = connection.get(&names[1]).unwrap();
    let () = connection.set(&names[0], other).unwrap();
    assert!(!resumes(&a, 1), "what lies there is of another id");
    assert!(resumes(&a, 2));
    assert_eq!(tier.health().counters.unopened, 1);
}

#[test]
fn a_write_that_came_late_is_not_repeated() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let patient = builder(&server.address());
    let short = Duration::from_millis(50);
    let (a, tier_a) = host(patient.timeouts(PATIENCE, short));
    let (b, _tier_b) = host(builder(&server.address()));
    establish(&a, 1);
    written(&tier_a);
    server.signal("-STOP");
    establish_once(&a, 2);
    eventually("the write times out", || {
        tier_a.health().counters.unconfirmed_writes == 1
    });
    // What lies in the socket is carried out all the same.
    server.signal("-CONT");
    eventually("it arrives", || server.keys().len() == 2);
    assert!(resumes(&b, 2));
    establish(&a, 3);
    written(&tier_a);
    assert_eq!(server.keys().len(), 2, "the first and the third");
    assert!(!resumes(&a, 2) && !resumes(&b, 2));
    assert_eq!(tier_a.health().counters.lost, 1);
}

#[test]
fn a_claim_does_not_overtake_its_own_write() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::new(&server);
    let patient = builder(&proxy.address()).timeouts(PATIENCE, PATIENCE);
    let (a, tier) = host(patient.deadline(Duration::from_millis(200)));
    let (b, _tier_b) = host(builder(&server.address()));
    eventually("a connection", || {
        resumes(&a, 99);
        tier.health().counters.misses > 0
    });
    let asked = tier.health().latency.count();
    proxy.hold_writes(true);
    establish_once(&a, 1);
    eventually("it is sent", || proxy.writes() == 1);
    // Redis would say that there is none, and then take it in, for anybody.
    assert!(!resumes(&a, 1));
    let health = tier.health();
    assert_eq!((health.counters.undecided, health.counters.lost), (1, 0));
    assert_eq!(health.latency.count(), asked, "nothing was asked");
    proxy.hold_writes(false);
    written(&tier);
    assert!(resumes(&b, 1));
    assert!(!resumes(&a, 1) && !resumes(&b, 1));
}
