//! An example server, by the command that its README gives.

use std::io::{BufRead, BufReader};
use std::process::{ChildStdout, Command, Stdio};

use crate::program::{Running, output};

/// A server that runs until this is dropped.
pub struct Example {
    /// Where it listens.
    pub address: String,
    /// What it says from now on.
    pub stdout: BufReader<ChildStdout>,
    _running: Running,
}

impl Example {
    /// The one that `command` starts, which stands in `readme` on a line of its own, on a port that is free. Its words behind
    /// ` -- ` are left out.
    pub fn by_the_command_in(readme: &str, command: &str) -> Self {
        Self::told(readme, command, &[])
    }

    /// The same, with these words besides.
    pub fn told(readme: &str, command: &str, words: &[&str]) -> Self {
        assert!(readme.lines().any(|line| line == command), "{command}");
        let command = command.split_once(" -- ").map_or(command, |(it, _)| it);
        let first = command.split(' ').skip(1);
        let mut cargo = Command::new(env!("CARGO"));
        // What cargo has set for this test. The build script of *ring* looks at that, so that all would be built anew.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        let mut child = cargo
            // Not with --release, which would take minutes here.
            .args(first.filter(|word| *word != "--release"))
            .args(["--quiet", "--", "--listen", "127.0.0.1:0"])
            .args(words)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdout(Stdio::piped())
            .spawn()
            .expect("cargo");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let running = Running(child);
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let address = line.trim().strip_prefix("listening on ");
        Self {
            address: address.expect("the address comes first").into(),
            stdout,
            _running: running,
        }
    }
}

/// curl resumes from it.
pub fn resumes_by_the_command_in(readme: &str, command: &str) {
    let example = Example::by_the_command_in(readme, command);
    curl_resumes(&example.address, example.stdout);
}

/// From the example server at this address, which says on its standard output what has changed.
pub fn curl_resumes(address: &str, stdout: impl BufRead) {
    let url = format!("https://{address}/");
    let mut arguments = vec!["--insecure", "--silent", "--tls-max", "1.2"];
    arguments.extend(["--header", "Connection: close", &url, &url]);
    if let Some(printed) = output("curl", &arguments, None) {
        assert_eq!(printed, "TLSv1.2 handshake\nTLSv1.2 resumed\n");
        // Once a second it says what has changed: it may have done so between the two.
        let last = "1 sessions, 1 hits, 0 misses";
        let mut said = stdout.lines().map(|line| line.expect("a line"));
        assert!(said.by_ref().take(2).any(|line| line.starts_with(last)));
        println!("curl, TLSv1.2: resumed from the example server");
    }
}
