//! Connections that end as they should not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use sessionwheel_stacks::program::{PATIENCE, Running, Scratch, start, until};
use sessionwheel_stacks::s_client::{flags, returning};
use sessionwheel_stacks::{End, Version, resumed};

use crate::proxy::Proxy;

const ROUNDS: u64 = 10;
/// After it the proxy leaves it to the client to close.
const STAY: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Not one whose client vanishes without close_notify, nor another that breaks off with an alert.
#[test]
fn no_connection_spoils_a_session() {
    for version in Version::BOTH {
        let proxy = Proxy::new(End::Clean);
        let here = proxy.site.here;
        let scratch = Scratch::make();
        let file = scratch.file("session");
        let mut connect = returning(version, file.clone());
        let Some(first) = connect(&here.to_string()) else {
            return;
        };
        assert!(!resumed(&first, version));
        for round in 1..=ROUNDS {
            vanish(&here.to_string(), version, &file);
            until("word of an unclean close", || {
                let stats = proxy.attachment.stats();
                assert_eq!(stats.removals_followed, 0, "an unclean close, followed");
                stats.removals_ignored >= round
            });
            pester(here);
            let printed = connect(&here.to_string()).unwrap();
            assert!(resumed(&printed, version), "round {round}: {printed}");
        }
        println!("s_client, {version}: {ROUNDS} unclean closes, resumed after each");
    }
}

/// Resumes the session in this file, is answered, and is killed.
fn vanish(address: &str, version: Version, file: &str) {
    let arguments = ["s_client", "-connect", address, "-sess_in", file];
    let arguments = [&arguments, flags(version)].concat();
    let mut client = Running(start("openssl", &arguments).unwrap());
    let mut stdin = client.0.stdin.take().unwrap();
    stdin.write_all(STAY).unwrap();
    let stdout = BufReader::new(client.0.stdout.take().unwrap());
    let mut printed = stdout.lines().map(|line| line.unwrap());
    let answer = format!("{version} resumed");
    assert!(printed.any(|line| line == answer));
}

/// Speaks no TLS to it, and waits until it has had enough.
fn pester(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut alert = Vec::new();
    // It may be reset, since there is more than the server has read.
    if let Err(error) = stream.read_to_end(&mut alert) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}
