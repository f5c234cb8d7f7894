//! `--tier`: two server processes that share sessions in a Redis, and clients that go from one to the other.

pub(crate) mod host;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustls::crypto::ring::default_provider;
use serde::{Deserialize, Serialize};

use crate::args::Plan;
use crate::client::Client;
use crate::latency::Latency;
use crate::scenario::{on_all, record_resumed, sum};
use crate::tally::{Sessions, Tally};
use crate::tls::{Identity, Version};

/// What a host is told first, in one line. Not on its command line, which everybody can read.
#[derive(Serialize, Deserialize)]
struct Orders {
    redis: String,
    certificate: Vec<u8>,
    private_key: Vec<u8>,
    sealing_key: [u8; 32],
    threads: usize,
}

/// What a host says last.
#[derive(Serialize, Deserialize)]
struct Account {
    written: u64,
    asked: u64,
    hits: u64,
    claimed: u64,
    /// Microseconds that half of the answers, and 99 % of them, did not reach.
    answer_us: (u128, u128),
}

/// True if every session that a client had from one host was resumed by the other.
pub(crate) fn run(plan: &Plan, redis: &str) -> Result<bool> {
    let identity = Identity::generate()?;
    let (certificate, private_key) = identity.der();
    let mut sealing_key = [0; 32];
    let random = default_provider().secure_random;
    random
        .fill(&mut sealing_key)
        .map_err(|_| anyhow!("no randomness"))?;
    let orders = serde_json::to_string(&Orders {
        redis: redis.to_owned(),
        certificate: certificate.to_vec(),
        private_key: private_key.to_vec(),
        sealing_key,
        threads: 2 * plan.clients,
    })?;
    let mut hosts = [Host::start(&orders)?, Host::start(&orders)?];
    let addresses = hosts.each_ref().map(|host| host.address);
    println!("two processes, at {} and {}", addresses[0], addresses[1]);

    let clients = (0..plan.clients)
        .map(|first| {
            let numbers = (first..plan.full).step_by(plan.clients);
            Client::new(&identity, addresses[0], numbers)
        })
        .collect::<Result<Vec<_>>>()?;
    let rounds = plan.resumptions.div_ceil(plan.full);
    let (mut tally, mut times) = (Tally::default(), Latency::new());
    for round in 0..=rounds {
        let address = addresses[round % 2];
        let parts = on_all(&clients, |_, client| offer_all(client, address))?;
        let (tallies, latencies): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        tally.add(&sum(&tallies));
        latencies.iter().for_each(|latency| times.add(latency));
        // Writes go behind; a client that is quicker than they are would find nothing.
        for host in &mut hosts {
            host.write_all()?;
        }
    }

    let wanted = (plan.full * rounds) as u64;
    let mut all = true;
    for (name, version) in [("TLS 1.2", Version::Tls12), ("TLS 1.3", Version::Tls13)] {
        let (full, resumed) = tally.handshakes(version);
        println!(
            "{name}: {full} full handshakes, {resumed} of {wanted} resumed by the other process"
        );
        all &= resumed == wanted;
    }
    let times = times.summary();
    println!(
        "a resumption: p50 {:.0} µs, p99 {:.0} µs, of {}",
        times.p50, times.p99, times.n
    );
    for host in hosts {
        let address = host.address;
        let account = host.stop()?;
        println!(
            "{address}: {} sessions written; Redis asked {} times: {} found, {} taken for their single use; \
             answers within {} µs (p50), {} µs (p99)",
            account.written,
            account.asked,
            account.hits,
            account.claimed,
            account.answer_us.0,
            account.answer_us.1
        );
    }
    if !all {
        eprintln!("handshake-storm: FAILED: a session was not resumed by the other process");
    }
    Ok(all)
}

/// One handshake of each version for each name.
fn offer_all(client: &Client, server: SocketAddr) -> Result<(Tally, Latency)> {
    let (mut tally, mut times) = (Tally::default(), Latency::new());
    for name in 0..client.names() {
        for version in Version::ALL {
            let handshake = client.handshake_with(server, version, name)?;
            tally.count(&handshake, Sessions::Live);
            record_resumed(&mut times, &handshake);
        }
    }
    Ok((tally, times))
}

/// A server process. It ends when its standard input does.
struct Host {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Host {
    fn start(orders: &str) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("--host")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a server process")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("no pipe")?;
        let mut host = Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
            address: SocketAddr::from(([0, 0, 0, 0], 0)),
        };
        let answer = host.ask(orders)?;
        host.address = answer
            .strip_prefix("listening on ")
            .and_then(|address| address.parse().ok())
            .with_context(|| format!("a server process says {answer:?}"))?;
        Ok(host)
    }

    /// Waits until all that it has established is in Redis.
    fn write_all(&mut self) -> Result<()> {
        let answer = self.ask("write")?;
        ensure!(answer == "written", "Redis does not take the sessions");
        Ok(())
    }

    fn ask(&mut self, line: &str) -> Result<String> {
        let stdin = self.stdin.as_mut().context("no pipe")?;
        writeln!(stdin, "{line}").context("a server process has ended")?;
        self.read()
    }

    fn read(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.stdout.read_line(&mut line)? == 0 {
            bail!("a server process has ended");
        }
        Ok(line.trim_end().to_owned())
    }

    fn stop(mut self) -> Result<Account> {
        drop(self.stdin.take());
        Ok(serde_json::from_str(&self.read()?)?)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
