//! What was removed here is a miss here from then on, whatever there was no room for.

mod support;

use std::time::Duration;

use support::server::Server;
use support::*;

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn what_was_removed_while_it_waited_is_never_written() {
    let Some(mut server) = Server::start(&[]) else {
        return;
    };
    server.kill();
    let few = builder(&server.address()).deadline(SHORT);
    let (a, tier) = host(few.queue(100).marks(10));
    (0..50).for_each(|n| establish(&a, n));
    (0..50).for_each(|n| assert!(a.remove(&key(n))));
    // Of those, what is still known of is written.
    (50..100).for_each(|n| establish(&a, n));
    assert!(server.launch());
    written(&tier);
    let written = server.keys().len();
    assert!((1..=10).contains(&written), "{written}");
    let (b, _) = host(builder(&server.address()));
    assert!((0..50).all(|n| !resumes(&b, n)), "it was removed");
    let found = (50..100).filter(|n| resumes(&b, *n)).count();
    assert_eq!(found, written);
    let counters = tier.health().counters;
    assert_eq!(counters.written as usize, written);
    let of = counters.dropped_writes + counters.cancelled_writes + counters.written;
    assert_eq!(of, 100, "{counters:?}");
}

#[test]
fn what_was_cleared_does_not_come_back_although_its_removal_was_lost() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier) = host(builder(&server.address()).queue(10).marks(100));
    for n in 0..1_000 {
        establish(&a, n);
        if n % 10 == 9 {
            written(&tier);
        }
    }
    // Nobody takes from the queue meanwhile.
    server.signal("-STOP");
    a.clear();
    server.signal("-CONT");
    written(&tier);
    let left = server.keys().len();
    assert!(left > 900, "{left}");
    assert!(tier.health().counters.dropped_removals > 900);
    assert!((0..1_000).all(|n| !resumes(&a, n)), "it was removed");
    let withheld = tier.health().counters.withheld;
    assert!(withheld as usize >= left - 100, "{withheld} of {left}");
    // The marks of what was lost are in nobody's way.
    for n in 1_000..1_050 {
        establish(&a, n);
        written(&tier);
    }
    let (b, _) = host(builder(&server.address()));
    assert!((1_000..1_050).all(|n| resumes(&b, n)));
    show(&format!(
        "ci: 1,000 cleared, {left} removals lost: 0 came back, {withheld} were withheld"
    ));
}

#[test]
fn a_removal_that_comes_too_early_is_carried_out_later() {
    refused_for_a_while("read only replica", &[]);
    let stale = ["--replica-serve-stale-data", "no"];
    let stale = [&stale[..], &["--replica-read-only", "no"]].concat();
    refused_for_a_while("MASTER is down", &stale);
}

fn refused_for_a_while(why: &str, settings: &[&str]) {
    let Some(server) = Server::start(settings) else {
        return;
    };
    let (a, tier) = host(builder(&server.address()));
    (0..10).for_each(|n| establish(&a, n));
    written(&tier);
    let mut connection = server.connection();
    let mut follow = |whom: [&str; 2]| {
        let () = redis::cmd("REPLICAOF")
            .arg(&whom)
            .query(&mut connection)
            .unwrap();
    };
    // It refuses all that would change something.
    follow(["127.0.0.1", "1"]);
    let before = tier.health().counters.connections_dropped;
    (0..10).for_each(|n| assert!(a.remove(&key(n))));
    eventually("they are refused", || {
        let health = tier.health();
        let last = health.last_error.unwrap_or_default();
        health.counters.connections_dropped > before && last.contains(why)
    });
    assert!((0..10).all(|n| !resumes(&a, n)));
    follow(["NO", "ONE"]);
    written(&tier);
    assert!(server.keys().is_empty());
    let counters = tier.health().counters;
    assert_eq!((counters.removed, counters.refused_removals), (10, 0));
}

#[test]
fn a_removal_that_meets_a_script_is_carried_out_later() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let (a, tier) = host(builder(&server.address()));
    let (b, _) = host(builder(&server.address()));
    (0..20).for_each(|n| establish(&a, n));
    written(&tier);
    let () = redis::cmd("CONFIG")
        .arg(&["SET", "lua-time-limit", "1"])
        .query(&mut server.connection())
        .unwrap();
    let mut runs = server.connection();
    let script = std::thread::spawn(move || {
        let endless = redis::cmd("EVAL").arg(&["while true do end", "0"]).take();
        endless.query::<()>(&mut runs)
    });
    let mut kills = server.connection();
    eventually("it runs", || {
        let said = redis::cmd("PING").exec(&mut kills);
        said.is_err_and(|error| error.code() == Some("BUSY"))
    });
    (0..10).for_each(|n| assert!(a.remove(&key(n))));
    eventually("they are refused", || {
        let last = tier.health().last_error;
        last.is_some_and(|error| error.contains("BUSY"))
    });
    assert!((0..10).all(|n| !resumes(&a, n)));
    let () = redis::cmd("SCRIPT").arg("KILL").query(&mut kills).unwrap();
    assert!(script.join().unwrap().is_err());
    written(&tier);
    let counters = tier.health().counters;
    assert_eq!((counters.removed, counters.refused_removals), (10, 0));
    // Of the others none is withheld, neither here nor elsewhere.
    establish(&b, 20);
    assert!((10..20).all(|n| resumes(&b, n)));
    eventually("it is shared", || resumes(&a, 20));
    assert_eq!(tier.health().counters.withheld, 0);
}
