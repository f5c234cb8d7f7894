//! No reply reaches another request, be it of a lookup, of a claim, or in the middle of a batch. (Those of lookups are in
//! `faults.rs`.)

mod support;

use std::time::Duration;

use support::proxy::Proxy;
use support::server::Server;
use support::*;

/// So late is what is held; in time is what isn't, on a busy machine too.
const LATE: Duration = Duration::from_millis(300);

fn is_there(server: &Server, n: u32) -> bool {
    let mut names = server.keys().into_iter();
    names.any(|name| name.ends_with(id(n).as_bytes()))
}

/// How many of these hosts may use session `n`, one after the other.
fn uses(hosts: [&Cache; 3], n: u32) -> usize {
    hosts.into_iter().filter(|host| resumes(host, n)).count()
}

/// By a lookup that takes what isn't here, and by a claim of what is: both ask `GETDEL`.
#[test]
fn a_late_answer_to_a_claim_reaches_nobody() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::new(&server);
    let (a, tier_a) = host(builder(&server.address()));
    let (c, _tier_c) = host(builder(&server.address()));
    // Never enough failures for the breaker.
    let one = builder(&proxy.address()).connections(1);
    let one = one.breaker(u32::MAX, LATE).deadline(LATE);
    let (b, tier) = host(one.timeouts(PATIENCE, PATIENCE));
    eventually("it answers", || {
        let misses = tier.health().counters.misses;
        assert!(!resumes(&b, 1_000));
        tier.health().counters.misses > misses
    });
    let rounds = 5;
    for n in (0..4 * rounds).step_by(2) {
        let (late, next) = (n, n + 1);
        let here = n % 4 == 2;
        let (from, its) = if here { (&b, &tier) } else { (&a, &tier_a) };
        establish_once(from, late);
        establish_once(from, next);
        written(its);
        let take = |n| match here {
            true => b.server().resume(&key(n)).hit(),
            false => b.server().take_with(&key(n), Vec::clone).hit(),
        };
        eventually("a connection", || tier.health().connections == 1);
        let before = tier.health().counters;
        proxy.hold(true);
        assert_eq!(take(late), None);
        eventually("Redis has given it away", || !is_there(&server, late));
        proxy.hold(false);
        let after = tier.health().counters;
        assert_eq!(after.timeouts, before.timeouts + 1);
        assert_eq!(after.connections_dropped, before.connections_dropped + 1);

        eventually("a connection", || tier.health().connections == 1);
        assert_eq!(take(next), Some(value(next)));
        // What the late answer was about is lost, and used by nobody.
        assert_eq!(uses([&a, &b, &c], late), 0);
        assert_eq!(uses([&a, &b, &c], next), 0, "it was used");
    }
    let counters = tier.health().counters;
    assert_eq!(counters.unopened, 0);
    assert_eq!(counters.claimed, u64::from(2 * rounds));
    assert_eq!(
        counters.undecided,
        u64::from(rounds),
        "claims of what was here"
    );
    show(&format!(
        "ci: late answers: {rounds} to lookups that take, {rounds} to claims, and none of them reached another one"
    ));
}

/// A removal, a session and a question in one batch, whose answers come when nobody waits for them any more.
#[test]
fn late_answers_to_a_batch_reach_nobody() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let proxy = Proxy::new(&server);
    let (a, tier_a) = host(builder(&server.address()));
    let (c, _tier_c) = host(builder(&server.address()));
    let timeout = Duration::from_secs(1);
    let (b, tier) = host(
        builder(&proxy.address())
            .breaker(u32::MAX, PATIENCE)
            .timeouts(PATIENCE, timeout)
            .pending(timeout),
    );
    let rounds = 3;
    for n in (0..10 * rounds).step_by(10) {
        let [asked, asked_next, gone, first, once, once_next] =
            std::array::from_fn(|i| n + i as u32);
        establish(&a, asked);
        establish(&a, asked_next);
        written(&tier_a);
        establish(&b, gone);
        written(&tier);
        let before = tier.health().counters;
        let writes = proxy.writes();
        proxy.hold(true);
        establish(&b, first);
        eventually("it is sent", || proxy.writes() > writes);
        // While its answer is waited for, the next batch comes together.
        establish_once(&b, once);
        assert!(b.remove(&key(gone)));
        assert!(b.server().resume(&key(asked)).is_pending());
        proxy.let_one_pass();
        eventually("they are late", || {
            tier.health().counters.unconfirmed_writes > before.unconfirmed_writes
        });
        let during = tier.health().counters;
        assert_eq!(during.written, before.written + 1, "the first one alone");
        assert_eq!(during.removed, before.removed);
        eventually("nothing was answered", || {
            let found = b.server().resume(&key(asked));
            let pending = found.is_pending();
            assert_eq!(found.hit(), None);
            !pending
        });
        proxy.hold(false);

        // Everything gets its own answer, be it after some attempts.
        establish_once(&b, once_next);
        eventually("its own answer", || resumes(&b, asked_next));
        eventually("and this one's", || resumes(&b, asked));
        written(&tier);
        assert!(!is_there(&server, gone));
        assert!(!resumes(&b, gone) && !resumes(&c, gone));
        let after = tier.health().counters;
        assert_eq!(after.removed, before.removed + 1);
        assert_eq!(after.written, before.written + 2);
        // Redis has taken in what it could not confirm in time, once.
        assert_eq!(uses([&b, &c, &a], once), 1);
        assert_eq!(uses([&c, &b, &a], once_next), 1);
    }
    let counters = tier.health().counters;
    assert_eq!((counters.unopened, counters.refused_writes), (0, 0));
    assert_eq!(counters.unconfirmed_writes, u64::from(rounds));
    show(&format!(
        "ci: late answers: {rounds} batches, and none of their answers reached another request"
    ));
}
