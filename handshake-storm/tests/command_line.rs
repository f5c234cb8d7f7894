//! A small storm with `--json`, and bad arguments.

use std::process::{Command, Output};

use serde_json::Value;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handshake-storm"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn small_storm(stack: &str) -> Output {
    run(&[
        "--json",
        "--stack",
        stack,
        "--sessions",
        "2000",
        "--full",
        "40",
        "--resumptions",
        "200",
        "--overlaps",
        "50",
    ])
}

#[test]
fn a_small_storm_prints_one_json_object_and_all_that_must_hold_holds() {
    let stores = stores(&small_storm("rustls"), "stand-ins");

    let theirs = &stores[1];
    assert_eq!(theirs["name"], "rustls");
    for none in ["expired_offered", "expired_resumed", "flushed", "flush_ms"] {
        assert!(theirs[none].is_null(), "{none}");
    }
    assert!(theirs["during_flush_us"].is_null());
}

#[cfg(feature = "openssl")]
#[test]
fn so_does_a_small_storm_on_openssl() {
    let stores = stores(&small_storm("openssl"), "OpenSSL 3");

    let theirs = &stores[1];
    assert_eq!(theirs["name"], "openssl");
    assert!(theirs["expired_offered"].is_null());
    assert_flushes(theirs);
}

/// The stores of a storm in which all that must hold held; the first one is ours.
fn stores(output: &Output, note: &str) -> Vec<Value> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains(note), "{errors}");
    let mut report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let Value::Array(stores) = report["stores"].take() else {
        panic!("no stores");
    };
    assert_eq!(stores.len(), 2);

    for store in &stores {
        for version in ["tls12", "tls13"] {
            assert_eq!(store[version]["live_rate"], 1.0, "{store}");
            assert!(store[version]["full"].as_u64().unwrap() >= 40);
            assert!(store[version]["resumed"].as_u64().unwrap() >= 200);
        }
        assert_eq!(store["quiet_us"]["n"], 400);
        assert_times(&store["quiet_us"]);
    }

    let ours = &stores[0];
    assert_eq!(ours["name"], "sessionwheel");
    assert_eq!(ours["expired_offered"], 80);
    assert_eq!(ours["expired_resumed"], 0);
    assert_flushes(ours);
    stores
}

fn assert_flushes(store: &Value) {
    assert!(store["flushed"].as_u64().unwrap() >= 1000);
    assert_eq!(store["flushed"], store["background_expired"]);
    assert!(store["flush_ms"].as_f64().unwrap() > 0.0);
    assert!(store["during_flush_us"]["n"].as_u64().unwrap() >= 50);
    assert_times(&store["during_flush_us"]);
}

fn assert_times(summary: &Value) {
    let read = |key: &str| summary[key].as_f64().unwrap();
    let rising = ["p50", "p99", "p999", "max"].map(read);
    assert!(rising[0] > 0.0 && rising.is_sorted(), "{rising:?}");
}

#[test]
fn bad_arguments_end_with_a_message_and_code_2() {
    let bad: [&[&str]; 7] = [
        &["--sessions", "0"],
        &["--sessions", "999999999999"],
        &["--sessions", "-1"],
        &["--listen", "nowhere"],
        &["--timeout", "5"],
        &["--listen", "127.0.0.1:0", "--timeout", "0"],
        &["--no-such-thing"],
    ];
    for arguments in bad {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with("error: "), "{errors}");
    }
}

#[test]
fn an_address_in_use_is_an_error_with_a_message() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&["--listen", &address]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains(&address), "{errors}");
}
