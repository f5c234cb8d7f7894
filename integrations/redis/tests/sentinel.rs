//! A master, a replica, and a Sentinel: the master dies.

mod support;

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use support::*;

/// One of the three processes, in a directory of its own.
struct Node {
    child: Child,
    port: u16,
    directory: PathBuf,
}

impl Node {
    fn start(port: u16, arguments: &[&str], file: &str) -> Option<Self> {
        let name = format!("sessionwheel-sentinel-{}-{port}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        std::fs::write(directory.join("conf"), file).expect("a file");
        let started = Command::new("redis-server")
            .arg("conf")
            .args(arguments)
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            let _ = std::fs::remove_dir_all(&directory);
            let _ = writeln!(std::io::stderr(), "SKIPPED: no redis-server");
            return None;
        };
        let node = Self {
            child,
            port,
            directory,
        };
        eventually("it answers", || node.connection().is_some());
        Some(node)
    }

    fn connection(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}/", self.port)).ok()?;
        client.get_connection().ok()
    }

    fn info(&self, section: &str) -> String {
        let mut connection = self.connection().expect("a connection");
        redis::cmd("INFO")
            .arg(section)
            .query(&mut connection)
            .expect("text")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn the_sessions_outlive_their_master() {
    let (first, second, third) = (free_port(), free_port(), free_port());
    let common = "bind 127.0.0.1\nsave \"\"\nrepl-diskless-sync-delay 0\n";
    let file = format!("port {first}\n{common}");
    let Some(mut master) = Node::start(first, &[], &file) else {
        return;
    };
    let file = format!("port {second}\n{common}replicaof 127.0.0.1 {first}\n");
    let replica = Node::start(second, &[], &file).expect("a replica");
    eventually("the replica follows", || {
        replica
            .info("replication")
            .contains("master_link_status:up")
    });
    let file = format!(
        "port {third}\nbind 127.0.0.1\nsentinel monitor fleet 127.0.0.1 {first} 1\n\
         sentinel down-after-milliseconds fleet 500\nsentinel failover-timeout fleet 3000\n"
    );
    let sentinel = Node::start(third, &["--sentinel"], &file).expect("a Sentinel");
    eventually("the Sentinel knows the replica", || {
        sentinel.info("sentinel").contains("slaves=1")
    });

    let nobody = format!("redis://127.0.0.1:{}/", free_port());
    let sentinel = format!("redis://127.0.0.1:{third}/");
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
        replica.info("keyspace").contains("keys=50")
    });

    master.child.kill().expect("kill");
    master.child.wait().expect("it ends");
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
    assert!(replica.info("replication").contains("role:master"));
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
