//! A Redis Cluster of three masters.

use std::thread;
use std::time::Duration;

use super::eventually;
use super::node::{Node, free_port};

pub const SLOTS: u16 = 16_384;

pub struct Cluster {
    pub masters: Vec<Node>,
    /// Their names for each other.
    ids: Vec<String>,
    settings: String,
}

impl Cluster {
    /// A third of the slots each. `timeout` is after how many milliseconds one is taken for dead.
    pub fn start(timeout: u32) -> Option<Self> {
        Self::start_with(timeout, "")
    }

    /// With `more` settings, which may be those of TLS.
    pub fn start_with(timeout: u32, more: &str) -> Option<Self> {
        let settings = format!(
            "cluster-enabled yes\ncluster-require-full-coverage no\ncluster-node-timeout {timeout}\n\
             cluster-migration-barrier 100\nrepl-diskless-sync-delay 0\n{more}"
        );
        let masters: Option<Vec<_>> = (0..3).map(|_| start(&settings)).collect();
        let masters = masters?;
        for (number, master) in (0_u16..).zip(&masters) {
            let epoch = (number + 1).to_string();
            let () = master.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            let [first, next] = [number, number + 1].map(|n| u32::from(n) * u32::from(SLOTS) / 3);
            let range = [first.to_string(), (next - 1).to_string()];
            let () = master.ask(&["CLUSTER", "ADDSLOTSRANGE", &range[0], &range[1]]);
        }
        let ids = masters
            .iter()
            .map(|master| master.ask(&["CLUSTER", "MYID"]));
        let cluster = Self {
            ids: ids.collect(),
            masters,
            settings,
        };
        for other in &cluster.masters[1..] {
            cluster.meet(other);
        }
        eventually("the three know each other", || {
            cluster.masters.iter().all(|master| {
                let info: String = master.ask(&["CLUSTER", "INFO"]);
                let is = |line| info.contains(line);
                is("cluster_state:ok") && is("cluster_slots_assigned:16384") && is("cluster_size:3")
            })
        });
        Some(cluster)
    }

    fn meet(&self, other: &Node) {
        let bus: Vec<String> = other.ask(&["CONFIG", "GET", "cluster-port"]);
        // As the Cluster calls it.
        let port = other.tls_port.unwrap_or(other.port).to_string();
        let () = self.masters[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus[1]]);
    }

    /// A replica of one of the masters, which has all that it has.
    pub fn replica_of(&self, master: usize) -> Node {
        let replica = start(&self.settings).expect("a replica");
        self.meet(&replica);
        eventually("the replica knows its master", || {
            let nodes: String = replica.ask(&["CLUSTER", "NODES"]);
            self.ids.iter().all(|id| nodes.contains(id))
        });
        let () = replica.ask(&["CLUSTER", "REPLICATE", &self.ids[master]]);
        eventually("the replica follows", || {
            let info: String = replica.ask(&["INFO", "replication"]);
            info.contains("master_link_status:up")
        });
        // Else nobody votes for it.
        eventually("the others know", || {
            self.masters.iter().all(|other| {
                let nodes: String = other.ask(&["CLUSTER", "NODES"]);
                nodes.contains(&format!("slave {}", self.ids[master]))
            })
        });
        replica
    }

    pub fn owner(&self, slot: u16) -> usize {
        let map: Vec<(u16, u16, (String, u16))> = self.map();
        let range = map
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&slot));
        let (_, _, (_, port)) = range.expect("a master");
        let at = self.masters.iter().position(|master| master.port == *port);
        at.expect("one of ours")
    }

    /// First, last, and the master, by the word of one that is up.
    fn map(&self) -> Vec<(u16, u16, (String, u16))> {
        let up = self
            .masters
            .iter()
            .find(|master| master.connection().is_some());
        let all: Vec<Vec<redis::Value>> = up.expect("one is up").ask(&["CLUSTER", "SLOTS"]);
        let range = |parts: Vec<redis::Value>| {
            let from = |at: usize| redis::from_redis_value(parts[at].clone()).expect("a number");
            let (first, last) = (from(0), from(1));
            let redis::Value::Array(master) = &parts[2] else {
                panic!("no master")
            };
            let host = redis::from_redis_value(master[0].clone()).expect("a host");
            let port = redis::from_redis_value(master[1].clone()).expect("a port");
            (first, last, (host, port))
        };
        all.into_iter().map(range).collect()
    }

    pub fn addresses(&self) -> Vec<String> {
        self.masters.iter().map(Node::address).collect()
    }

    /// How many keys each has.
    pub fn sizes(&self) -> Vec<usize> {
        self.masters
            .iter()
            .map(|master| master.ask(&["DBSIZE"]))
            .collect()
    }

    /// Moves a slot the way that the manual describes, and keeps it open for `open` before and after its keys
    /// move.
    pub fn move_slot(&self, slot: u16, to: usize, open: Duration) {
        let from = self.owner(slot);
        let (source, target) = (&self.masters[from], &self.masters[to]);
        let slot = slot.to_string();
        let set = |at: &Node, what: &[&str]| {
            let () = at.ask(&[&["CLUSTER", "SETSLOT", &slot][..], what].concat());
        };
        set(target, &["IMPORTING", &self.ids[from]]);
        set(source, &["MIGRATING", &self.ids[to]]);
        thread::sleep(open);
        let port = target.port.to_string();
        let mut connection = source.connection().expect("a connection");
        loop {
            let mut some = redis::cmd("CLUSTER");
            some.arg("GETKEYSINSLOT").arg(&slot).arg(10);
            let keys: Vec<Vec<u8>> = some.query(&mut connection).expect("keys");
            if keys.is_empty() {
                break;
            }
            for key in keys {
                let mut migrate = redis::cmd("MIGRATE");
                migrate
                    .arg("127.0.0.1")
                    .arg(&port)
                    .arg(key)
                    .arg(0)
                    .arg(5_000);
                // Its keys may have been used meanwhile: `NOKEY`.
                let _: String = migrate.query(&mut connection).expect("moved");
            }
        }
        thread::sleep(open);
        for node in [target, source] {
            set(node, &["NODE", &self.ids[to]]);
        }
        for node in &self.masters {
            set(node, &["NODE", &self.ids[to]]);
        }
    }
}

fn start(settings: &str) -> Option<Node> {
    let mut file = format!("{settings}cluster-port {}\n", free_port());
    if settings.contains("tls-cluster yes") {
        file += &format!("tls-port {}\n", free_port());
    }
    Node::start(free_port(), &[], &file)
}
