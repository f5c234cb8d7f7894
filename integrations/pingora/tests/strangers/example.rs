//! The example itself, by the command that the README gives.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{ChildStdout, Command, Stdio};

use sessionwheel_pingora::upstream;
use sessionwheel_stacks::example::curl_resumes;
use sessionwheel_stacks::program::{Running, Scratch, output};

use crate::proxy::{Port, behind};
use crate::support::{Identity, NAME};

/// Starts it, and waits until it listens. Not with --release, which would take minutes here.
fn example(arguments: &[&str]) -> (SocketAddr, Running, BufReader<ChildStdout>) {
    let port = Port::new();
    let address = port.address.to_string();
    let mut child = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--", "--listen", &address])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let running = Running(child);
    let mut line = String::new();
    stdout.read_line(&mut line).expect("a line");
    let begins = format!("from https://{address} to http://127.0.0.1:");
    assert!(line.starts_with(&begins), "{line}");
    (port.listens(), running, stdout)
}

#[test]
fn the_readmes_command_starts_a_proxy_that_curl_resumes_from() {
    let readme = include_str!("../../README.md");
    let command = "cargo run --release";
    assert!(readme.lines().any(|line| line == command), "in the README");
    let (address, _running, stdout) = example(&[]);
    curl_resumes(&address.to_string(), stdout);
}

#[test]
fn it_takes_a_certificate_and_a_server_to_forward_to() {
    let identity = Identity::new(NAME);
    let scratch = Scratch::make();
    let certificate = scratch.write("cert.pem", identity.certificate.to_pem().unwrap());
    let key = scratch.write("key.pem", identity.key.private_key_to_pem_pkcs8().unwrap());
    let to = behind(|head| upstream::response(head.lines().next().unwrap())).to_string();
    let given = [
        "--certificate",
        &certificate,
        "--key",
        &key,
        "--upstream",
        &to,
    ];
    let (address, _running, _stdout) = example(&given);

    let url = format!("https://{NAME}:{}/shop", address.port());
    let arguments = ["--silent", "--ipv4", "--cacert", &certificate, &url];
    if let Some(printed) = output("curl", &arguments, None) {
        assert_eq!(printed, "GET /shop HTTP/1.1\n");
    }
}
