//! Two server processes on one Redis: what a client has of one is good at the other.
//!
//! They are two of the example, by the README's command; the client is `openssl s_client`.

#![cfg(unix)]

#[path = "../../redis/tests/support/mod.rs"]
mod redises;

use std::sync::Barrier;
use std::thread;

use redises::server::Server as Redis;
use redises::{PATIENCE, eventually, number, show};
use sessionwheel_stacks::example::Example;
use sessionwheel_stacks::program::Scratch;
use sessionwheel_stacks::s_client::{began, flags, run};
use sessionwheel_stacks::{REQUEST, Version};

fn processes(redis: &Redis, words: &[&str]) -> (Scratch, [Example; 2]) {
    let scratch = Scratch::make();
    let key = scratch.write("key", [7; 48]);
    let (address, deadline) = (redis.address(), PATIENCE.as_millis().to_string());
    let shared = [
        "--tier",
        &address,
        "--key-file",
        &key,
        "--deadline",
        &deadline,
    ];
    let words = [&shared, words].concat();
    let readme = include_str!("../README.md");
    let command = "cargo run --release --package sessionwheel-openssl --features openssl --example server \
                   -- --tier redis://127.0.0.1:6379/ --key-file key";
    let example = || Example::told(readme, command, &words);
    (scratch, [example(), example()])
}

/// A new session there, in this file.
fn save(version: Version, there: &Example, file: &str) {
    let save = ["-sess_out", file];
    let printed = run(&there.address, &[flags(version), &save], Some(REQUEST));
    assert_eq!(began(&printed.expect("s_client")), ["New"]);
}

/// Whether the one in this file is resumed there, as both ends see it.
fn resumes(version: Version, there: &Example, file: &str) -> bool {
    let offer = ["-sess_in", file];
    let printed = run(&there.address, &[flags(version), &offer], Some(REQUEST));
    let printed = printed.expect("s_client");
    let resumed = began(&printed) == ["Reused"];
    assert_eq!(resumed, printed.contains(" resumed"), "both ends agree");
    resumed
}

fn there_is_a_client() -> bool {
    sessionwheel_stacks::program::output("openssl", &["version"], None).is_some()
}

#[test]
fn a_client_of_one_process_resumes_with_the_other() {
    let Some(redis) = Redis::start(&[]).filter(|_| there_is_a_client()) else {
        return;
    };
    let (scratch, [a, b]) = processes(&redis, &[]);
    let file = scratch.file("session");
    for version in Version::BOTH {
        for (one, other) in [(&a, &b), (&b, &a)].repeat(5) {
            save(version, one, &file);
            // It is on its way there, perhaps.
            eventually("it is there", || resumes(version, other, &file));
            assert!((0..2).all(|_| resumes(version, other, &file)));
            assert!(resumes(version, one, &file));
        }
        show(&format!(
            "ci: OpenSSL, {version}: 10 sessions of one process resumed 3 times by the other, and once at home"
        ));
    }
}

/// Raced `SESSIONWHEEL_RACES` times, 20 if not set.
#[test]
fn a_ticket_is_good_in_one_process() {
    let Some(redis) = Redis::start(&[]).filter(|_| there_is_a_client()) else {
        return;
    };
    let (scratch, both) = processes(&redis, &["--single-use"]);
    let file = scratch.file("session");
    let races = number("SESSIONWHEEL_RACES").unwrap_or(20);
    let mut wins = [0; 2];
    for round in 0..races {
        save(Version::Tls13, &both[0], &file);
        let start = Barrier::new(2);
        let won = thread::scope(|scope| {
            let race = |there| {
                start.wait();
                resumes(Version::Tls13, there, &file)
            };
            let racers = both
                .each_ref()
                .map(|there| scope.spawn(move || race(there)));
            racers.map(|racer| racer.join().expect("no panic"))
        });
        assert!(won[0] != won[1], "round {round}: {won:?}");
        wins[usize::from(won[1])] += 1;
        assert!(
            both.iter()
                .all(|there| !resumes(Version::Tls13, there, &file))
        );
    }
    show(&format!(
        "ci: OpenSSL: {races} tickets raced between two processes, {} won where they were made, {} in the other",
        wins[0], wins[1]
    ));
}
