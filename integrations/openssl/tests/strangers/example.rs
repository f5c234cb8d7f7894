//! The example itself, by the command that the README gives.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::program::{Running, output};

#[test]
fn the_readmes_command_starts_a_server_that_curl_resumes_from() {
    let readme = include_str!("../../README.md");
    let command =
        "cargo run --release --package sessionwheel-openssl --features openssl --example server";
    assert!(readme.lines().any(|line| line == command), "in the README");
    let mut child = Command::new(env!("CARGO"))
        // Not with --release, which would take minutes here.
        .args(
            command
                .split(' ')
                .skip(1)
                .filter(|word| *word != "--release"),
        )
        .args(["--quiet", "--", "--listen", "127.0.0.1:0"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let _running = Running(child);
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let address = line
        .trim()
        .strip_prefix("listening on ")
        .expect("the address comes first");
    let url = format!("https://{address}/");
    let arguments = ["--insecure", "--silent", "--tls-max", "1.2", &url, &url];
    if let Some(printed) = output("curl", &arguments, None) {
        assert_eq!(printed, "TLSv1.2 handshake\nTLSv1.2 resumed\n");
        // Once a second it says what has changed: it may have done so between the two.
        let last = "1 sessions, 1 hits, 0 misses, 0 foreign ids";
        let mut said = stdout.lines().map(|line| line.expect("a line"));
        assert!(said.by_ref().take(2).any(|line| line == last));
    }
}
