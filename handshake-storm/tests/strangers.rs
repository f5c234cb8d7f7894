//! Other people's clients against `--listen`. What they get from the store is tested with the store.
//!
//! A test whose program is not installed prints SKIPPED and passes.
#![cfg(unix)]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use sessionwheel_stacks::program::Scratch;
use sessionwheel_stacks::s_client::{self, began, run};
use support::Listening;

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// How each connection of an `s_client` run began. Without a request it closes at once.
fn s_client(
    server: &Listening,
    arguments: &[&str],
    request: Option<&[u8]>,
) -> Option<Vec<&'static str>> {
    Some(began(&run(&server.address, &[arguments], request)?))
}

#[test]
fn openssl_reconnects_five_times_with_a_tls12_session_id() {
    let server = Listening::start(60);
    let arguments = ["-tls1_2", "-no_ticket", "-reconnect"];
    let Some(began) = s_client(&server, &arguments, None) else {
        return;
    };
    let expected = ["New", "Reused", "Reused", "Reused", "Reused", "Reused"];
    assert_eq!(began, expected);
}

#[test]
fn openssl_resumes_a_tls13_session_once_and_not_twice() {
    s_client::resumes_a_ticket_once(&Listening::start(60).address);
}

#[test]
fn openssl_resumes_nothing_after_the_timeout() {
    let timeout = 3;
    let server = Listening::start(timeout);
    let versions: [&[&str]; 2] = [&["-tls1_2", "-no_ticket"], &["-tls1_3"]];
    let scratch = Scratch::make();
    let files = versions.map(|flags| (scratch.file(flags[0]), flags));
    for (file, flags) in &files {
        let save = [*flags, &["-sess_out", file]].concat();
        match s_client(&server, &save, Some(REQUEST)) {
            Some(began) => assert_eq!(began, ["New"]),
            None => return,
        }
    }
    let offer = |(file, flags): &(String, &[&str])| {
        let offer = [*flags, &["-sess_in", file]].concat();
        s_client(&server, &offer, Some(REQUEST)).unwrap()
    };
    // A TLS 1.2 session can be offered twice: it is the timeout that makes the difference.
    assert_eq!(offer(&files[0]), ["Reused"]);
    sleep(Duration::from_secs(timeout) + Duration::from_millis(200));
    for file in &files {
        assert_eq!(offer(file), ["New"], "{:?}", file.1);
    }
}

#[test]
fn clients_that_misbehave_stop_nobody() {
    let server = Listening::start(60);
    let silent: Vec<_> = (0..32)
        .map(|_| TcpStream::connect(&server.address).expect("connects"))
        .collect();
    for _ in 0..32 {
        let mut garbage = TcpStream::connect(&server.address).expect("connects");
        // The server may have closed already.
        let _ = garbage.write_all(&[0x5A; 4096]);
    }
    let arguments = ["-tls1_2", "-no_ticket", "-reconnect"];
    if let Some(began) = s_client(&server, &arguments, None) {
        assert_eq!(began.len(), 6);
    }
    drop(silent);
}

#[test]
fn ctrl_c_ends_the_server_with_a_summary() {
    let server = Listening::start(1);
    let began = s_client(&server, &["-tls1_2", "-no_ticket"], Some(REQUEST));
    sleep(Duration::from_millis(3_200)); // the timeout, and a flush once a second
    let summary = server.interrupt();
    if began.is_some() {
        assert!(summary.contains("TLS 1.2: 1 full handshakes, 0 resumed"));
        assert!(
            summary.contains("removed 1 sessions, 0 are left"),
            "{summary}"
        );
    }
    assert!(summary.contains("0 connections failed"), "{summary}");
}
