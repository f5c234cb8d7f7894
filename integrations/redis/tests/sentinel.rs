//! A master, a replica, and a Sentinel: the master dies.

mod support;

use std::time::Duration;

use support::node::{Node, free_port};
use support::*;

fn info(node: &Node, section: &str) -> String {
    node.ask(&["INFO", section])
}

#[test]
fn the_sessions_outlive_their_master() {
    let (first, second, third) = (free_port(), free_port(), free_port());
    let common = "repl-diskless-sync-delay 0\n";
    let Some(mut master) = Node::start(first, &[], common) else {
        return;
    };
    let file = format!("{common}replicaof 127.0.0.1 {first}\n");
    let replica = Node::start(second, &[], &file).expect("a replica");
    eventually("the replica follows", || {
        info(&replica, "replication").contains("master_link_status:up")
    });
    let file = format!(
        "sentinel monitor fleet 127.0.0.1 {first} 1\n\
         sentinel down-after-milliseconds fleet 500\nsentinel failover-timeout fleet 3000\n"
    );
    let sentinel = Node::start(third, &["--sentinel"], &file).expect("a Sentinel");
    eventually("the Sentinel knows the replica", || {
        info(&sentinel, "sentinel").contains("slaves=1")
    });

    let nobody = format!("redis://127.0.0.1:{}/", free_port());
    let sentinel = sentinel.address();
    let tier = || {
        // The first one is down.
        let sentinels = [&*nobody, &*sentinel];
        let builder = builder("redis://of-no-matter/").deadline(Duration::from_millis(100));
        host(builder.sentinels(&sentinels, "fleet").expect("addresses"))
    };
    let (a, tier_a) = tier();
    let (b, tier_b) = tier();
    tier_a.check(PATIENCE).expect("a master");
    (0..50).for_each(|n| establish(&a, n));
    written(&tier_a);
    eventually("the other finds the first", || resumes(&b, 0));
    eventually("the replica has them", || {
        info(&replica, "keyspace").contains("keys=50")
    });

    master.kill();
    (50..100).for_each(|n| establish(&a, n));
    // With the replica, which is the master now: what was there, and what was established since.
    let mut next = (1..100).cycle();
    let mut found = [false; 2];
    eventually("both are found", || {
        let n = next.next().expect("one more");
        let hit = resumes(&b, n);
        found[usize::from(n >= 50)] |= hit;
        found == [true; 2]
    });
    assert!(info(&replica, "replication").contains("role:master"));
    let counters = tier_b.health().counters;
    assert!(counters.connections_failed > 0);
    show(&format!(
        "ci: Sentinel: found again after {} failed attempts to connect",
        counters.connections_failed
    ));

    let unknown = builder("redis://of-no-matter/").sentinels(&[&sentinel], "unknown");
    let error = host(unknown.expect("addresses")).1.check(PATIENCE);
    assert!(error.expect_err("none").to_string().contains("no Sentinel"));
}
