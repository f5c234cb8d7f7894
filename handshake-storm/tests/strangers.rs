//! Other people's clients against `--listen`: OpenSSL's `s_client` and Python's `ssl`.
//!
//! A test whose program is not installed prints SKIPPED and passes.

mod support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use support::Listening;

const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// Runs a program with `input`, holds its standard input open until it ends, and returns what it
/// printed. Nothing if there is no such program.
fn output(program: &str, arguments: &[&str], input: &[u8]) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut child = match child {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // Not println: the test harness would swallow it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {program} not found");
            return None;
        }
        child => child.expect("the program starts"),
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(input).expect("input");
    let open = (!input.is_empty()).then_some(stdin);
    let printed = child.wait_with_output().expect("the program ends").stdout;
    drop(open);
    Some(String::from_utf8_lossy(&printed).into_owned())
}

/// How each connection of an `s_client` run began.
fn s_client(server: &Listening, arguments: &[&str], input: &[u8]) -> Option<Vec<&'static str>> {
    let arguments = [&["s_client", "-connect", &server.address], arguments].concat();
    let printed = output("openssl", &arguments, input)?;
    let began = |line: &str| {
        let known = ["New", "Reused"];
        let word = line.split_once(", TLSv1.")?.0;
        known.into_iter().find(|k| *k == word)
    };
    Some(printed.lines().filter_map(began).collect())
}

/// A file that is removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("a path in UTF-8")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn openssl_reconnects_five_times_with_a_tls12_session_id() {
    let server = Listening::start(60);
    let arguments = ["-tls1_2", "-no_ticket", "-reconnect"];
    let Some(began) = s_client(&server, &arguments, b"") else {
        return;
    };
    let expected = ["New", "Reused", "Reused", "Reused", "Reused", "Reused"];
    assert_eq!(began, expected);
}

#[test]
fn openssl_resumes_a_tls13_session_once_and_not_twice() {
    let server = Listening::start(60);
    let file = Scratch::new("once.pem");
    let save = ["-tls1_3", "-sess_out", file.path()];
    let Some(began) = s_client(&server, &save, REQUEST) else {
        return;
    };
    assert_eq!(began, ["New"]);
    let offer = ["-tls1_3", "-sess_in", file.path()];
    assert_eq!(s_client(&server, &offer, REQUEST).unwrap(), ["Reused"]);
    assert_eq!(s_client(&server, &offer, REQUEST).unwrap(), ["New"]);
}

#[test]
fn openssl_resumes_nothing_after_the_timeout() {
    let timeout = 3;
    let server = Listening::start(timeout);
    let versions: [(&str, &[&str]); 2] = [
        ("late12.pem", &["-tls1_2", "-no_ticket"]),
        ("late13.pem", &["-tls1_3"]),
    ];
    let files = versions.map(|(name, arguments)| (Scratch::new(name), arguments));
    for (file, arguments) in &files {
        let save = [*arguments, &["-sess_out", file.path()]].concat();
        match s_client(&server, &save, REQUEST) {
            Some(began) => assert_eq!(began, ["New"]),
            None => return,
        }
    }
    let offer = |(file, arguments): &(Scratch, &[&str])| {
        let offer = [*arguments, &["-sess_in", file.path()]].concat();
        s_client(&server, &offer, REQUEST).unwrap()
    };
    // A TLS 1.2 session can be offered twice: it is the timeout that makes the difference.
    assert_eq!(offer(&files[0]), ["Reused"]);
    sleep(Duration::from_secs(timeout) + Duration::from_millis(200));
    for file in &files {
        assert_eq!(offer(file), ["New"], "{:?}", file.1);
    }
}

const PYTHON: &str = r#"
import socket, ssl, sys
host, port = sys.argv[1].rsplit(":", 1)

def connect(context, session):
    with socket.create_connection((host, int(port))) as plain:
        with context.wrap_socket(plain, session=session) as tls:
            tls.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b""
            while piece := tls.recv(4096):  # the tickets of TLS 1.3 come before the answer
                answer += piece
            return tls.session, tls.session_reused, answer.split()[-1].decode()

for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.options |= ssl.OP_NO_TICKET if version == ssl.TLSVersion.TLSv1_2 else 0
    session = None
    for _ in range(4):
        session, reused, said = connect(context, session)
        print(version.name, reused, said)
"#;

#[test]
fn python_resumes_in_both_versions() {
    let server = Listening::start(60);
    let Some(printed) = output("python3", &["-c", PYTHON, &server.address], b"") else {
        return;
    };
    let expected: Vec<String> = ["TLSv1_2", "TLSv1_3"]
        .iter()
        .flat_map(|version| {
            let first = format!("{version} False handshake");
            let others = vec![format!("{version} True resumed"); 3];
            std::iter::once(first).chain(others)
        })
        .collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), expected);
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
    if let Some(began) = s_client(&server, &arguments, b"") {
        assert_eq!(began.len(), 6);
    }
    drop(silent);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_server_with_a_summary() {
    let server = Listening::start(1);
    let began = s_client(&server, &["-tls1_2", "-no_ticket"], REQUEST);
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
