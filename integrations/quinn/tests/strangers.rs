//! A client that nobody here wrote: Python's aioquic, against the server of `examples/zero_rtt`.
//!
//! If it is not installed the tests print SKIPPED and pass.
#![cfg(unix)]

#[path = "../examples/zero_rtt/server.rs"]
mod server;

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ChildStdin, ChildStdout};

use quinn::Endpoint;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sessionwheel::{Clock, SessionCache, Timestamp};
use sessionwheel_rustls::{RustlsStore, StoredSession};
use sessionwheel_stacks::example::Example;
use sessionwheel_stacks::program::{Running, output, start};
use sessionwheel_stacks::{Site, Version, walk_by_itself};
use tokio::runtime::Runtime;

const CLIENT: &str = include_str!("../examples/zero_rtt/client.py");

/// Runs until it is dropped.
struct Aioquic {
    _running: Running,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Aioquic {
    fn start() -> Option<Self> {
        let mut child = start("python3", &["-c", CLIENT])?;
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut client = Self {
            _running: Running(child),
            stdin,
            stdout,
        };
        let first = client.line();
        is_there(&first).then_some(client)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("a line");
        line
    }

    fn visit(&mut self, address: SocketAddr, ticket: &str) -> String {
        writeln!(self.stdin, "{address} {ticket}").expect("it listens");
        self.line()
    }
}

/// Whether the program is, by what it has printed.
fn is_there(printed: &str) -> bool {
    let there = printed.starts_with("aioquic is there\n");
    if !there {
        // Not println: the test harness would swallow it.
        let _ = writeln!(std::io::stderr(), "SKIPPED: python3 has no aioquic");
    }
    there
}

/// Two servers of one cache, each with a context of its own.
fn site(runtime: &Runtime) -> (Site<StoredSession>, [Endpoint; 2]) {
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    let cache = SessionCache::builder().clock(clock).build().unwrap();
    let stores = [(); 2].map(|()| RustlsStore::new(&cache).unwrap());
    let context = stores[0].context();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let _entered = runtime.enter();
    let servers = stores.map(|store| {
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let any_port = (Ipv4Addr::LOCALHOST, 0).into();
        server::serve(any_port, store, made.cert.der().clone(), key.into()).unwrap()
    });
    let [here, elsewhere] = [0, 1].map(|n| servers[n].local_addr().unwrap());
    let site = Site {
        cache,
        hand,
        context,
        here,
        elsewhere,
    };
    (site, servers)
}

#[test]
fn aioquic_resumes_with_early_data() {
    let Some(mut client) = Aioquic::start() else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let (site, _servers) = site(&runtime);
    walk_by_itself("aioquic", Version::Tls13, &site, |address| {
        let before = site.cache.counters().hits;
        let said = client.visit(address, "new");
        let hits = site.cache.counters().hits - before;
        let expected = match hits {
            0 => "TLSv1.3 handshake, late: HELLO\n",
            _ => "TLSv1.3 resumed, early: HELLO\n",
        };
        assert_eq!(said, expected, "both ends agree: {hits} hits");
        said
    });
}

#[test]
fn a_ticket_that_aioquic_offers_again_is_refused() {
    let Some(mut client) = Aioquic::start() else {
        return;
    };
    let runtime = Runtime::new().unwrap();
    let (site, _servers) = site(&runtime);
    let mut visit = |ticket| client.visit(site.here, ticket);
    assert!(visit("new").contains("handshake, late"));
    for _ in 0..5 {
        assert!(visit("new").contains("resumed, early"));
        assert!(visit("again").contains("handshake, late"));
        assert!(visit("again").contains("handshake, late"));
    }
    let counters = site.cache.counters();
    assert_eq!((counters.hits, counters.misses), (5, 10));
    println!("aioquic, TLSv1.3: 5 tickets accepted early, 10 refused that it had offered before");
}

#[test]
#[ignore = "builds the package by itself; ci/integrations.sh does it"]
fn the_readmes_command_starts_a_server_that_its_client_resumes_from() {
    let readme = include_str!("../README.md");
    let script = "integrations/quinn/examples/zero_rtt/client.py";
    assert!(readme.contains(&format!("`python3 {script} 127.0.0.1:4433`")));
    let server = Example::by_the_command_in(
        readme,
        "cargo run --release --package sessionwheel-quinn --example zero_rtt -- --listen 127.0.0.1:4433",
    );
    let script = format!("{}/../../{script}", env!("CARGO_MANIFEST_DIR"));
    let Some(printed) = output("python3", &[&script, &server.address], None) else {
        return;
    };
    if !is_there(&printed) {
        return;
    }
    let visits: Vec<_> = printed.lines().skip(1).collect();
    let early = "TLSv1.3 resumed, early: HELLO";
    assert_eq!(
        visits,
        ["TLSv1.3 handshake, late: HELLO", early, early, early]
    );
    println!("aioquic, TLSv1.3: 3 resumed from the example server, 1 not");
}
