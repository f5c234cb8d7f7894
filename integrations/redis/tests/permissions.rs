//! Hosts that log in as users who may do no more than they have to, and as some who may do less.

mod support;

use std::time::Duration;

use sessionwheel_redis::TierCounters;
use support::server::Server;
use support::*;

/// What the README says is used.
const COMMANDS: [&str; 6] = ["+ping", "+select", "+set", "+get", "+getdel", "+del"];

/// Makes `fleet` a user who may do this and nothing else.
fn allow(server: &Server, keys: &str, commands: &[&str]) {
    let mut set = redis::cmd("ACL");
    set.arg("SETUSER").arg("fleet").arg("reset").arg("on");
    let set = set.arg(">right").arg(keys).arg(commands);
    let () = set.query(&mut server.connection()).unwrap();
}

/// With the key or command missing: it is said, and counted.
fn told(tier: &Tier) -> TierCounters {
    let health = tier.health();
    let last = health.last_error.expect("a reason");
    assert!(last.contains("no permissions"), "{last}");
    assert_eq!(health.breaker_openings, 0);
    health.counters
}

#[test]
fn what_is_needed_is_enough() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    allow(&server, "~sw:*", &COMMANDS);
    let address = server.address_of("fleet", "right") + "&db=1";
    let (a, tier_a) = host(builder(&address));
    let (b, tier_b) = host(builder(&address));
    let (c, _tier_c) = host(builder(&address).pending(Duration::from_secs(1)));
    tier_a.check(PATIENCE).unwrap();
    (0..20).for_each(|n| establish(&a, n));
    (20..40).for_each(|n| establish_once(&a, n));
    written(&tier_a);
    assert!((0..40).all(|n| resumes(&b, n)));
    assert!((20..40).all(|n| !resumes(&a, n)));
    eventually("it comes back", || resumes(&c, 0));
    (0..20).for_each(|n| assert!(a.remove(&key(n))));
    written(&tier_a);
    assert_eq!(tier_a.health().counters.removed, 20);
    for tier in [&tier_a, &tier_b] {
        let health = tier.health();
        assert_eq!((health.counters.errors, health.last_error), (0, None));
    }
    show("ci: permissions: 40 sessions shared, 20 removed, with seven commands and one prefix");
}

#[test]
fn what_is_missing_is_a_counted_miss_and_said() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let address = server.address_of("fleet", "right");
    let (a, tier_a) = host(builder(&server.address()));
    let missing = ["+get", "+getdel", "+set", "+del"];
    for (n, missing) in (0..).step_by(10).zip(missing) {
        let commands: Vec<_> = COMMANDS.into_iter().filter(|c| *c != missing).collect();
        allow(&server, "~sw:*", &commands);
        let (b, tier) = host(builder(&address));
        assert_eq!(tier.check(PATIENCE).is_ok(), missing != "+getdel");
        establish(&a, n);
        establish_once(&a, n + 1);
        written(&tier_a);
        establish(&b, n + 2);
        establish_once(&b, n + 3);
        written(&tier);
        // Of the other host: for many uses, and for one.
        let theirs = [n, n + 1].map(|n| resumes(&b, n));
        let ours = [n + 2, n + 3].map(|n| resumes(&b, n));
        let outside = resumes(&a, n + 2);
        assert!(b.remove(&key(n + 2)));
        written(&tier);
        assert!(!resumes(&b, n + 2), "it was removed");
        let counters = told(&tier);
        let (found, counted) = match missing {
            "+get" => ((theirs, ours, outside), counters.errors),
            "+getdel" => ((theirs, ours, outside), counters.undecided),
            "+set" => ((theirs, ours, outside), counters.refused_writes),
            _ => ((theirs, ours, outside), counters.refused_removals),
        };
        let (yes, no) = (true, false);
        let wanted = match missing {
            "+get" => (([no, no], [yes, yes], yes), 2),
            // A session for a single use is used by nobody whom Redis doesn't tell.
            "+getdel" => (([yes, no], [yes, no], yes), 2),
            // What is nowhere but here is used here.
            "+set" => (([yes, yes], [yes, yes], no), 2),
            _ => (([yes, yes], [yes, yes], yes), 1),
        };
        assert_eq!((found, counted), wanted, "without {missing}: {counters:?}");
    }
    show(
        "ci: permissions: four commands missed, one after the other; each counted, and the reason said",
    );
}

#[test]
fn whoever_may_not_even_begin_is_told_why() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let short = Duration::from_millis(20);
    // Other keys, and no way to see whether anybody is there.
    for (keys, commands) in [("~other:*", &COMMANDS[..]), ("~sw:*", &COMMANDS[1..])] {
        allow(&server, keys, commands);
        let none = builder(&server.address_of("fleet", "right")).deadline(short);
        let (b, tier) = host(none.breaker(u32::MAX, short).stop_timeout(short));
        let why = tier.check(PATIENCE).unwrap_err().to_string();
        assert!(why.contains("no permissions"), "{why}");
        establish_once(&b, 1);
        eventually("it says why", || tier.health().last_error.is_some());
        assert!((10..20).all(|n| !resumes(&b, n)));
        let counters = told(&tier);
        assert_eq!(counters.errors + counters.starved + counters.timeouts, 10);
        // It was never outside.
        if keys == "~other:*" {
            eventually("it is refused", || {
                tier.health().counters.refused_writes == 1
            });
        }
        assert!(resumes(&b, 1) && !resumes(&b, 1));
        assert!(server.keys().is_empty());
    }
    show("ci: permissions: other keys, and no PING: 20 lookups, 20 counted misses");
}
