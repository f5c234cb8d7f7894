//! `handshake-storm`: real rustls servers and clients that resume TLS sessions while the session
//! cache is filled and flushed. See `--help` and the README.
#![cfg_attr(not(feature = "openssl"), forbid(unsafe_code))]
#![deny(missing_docs)]

mod args;
mod backend;
mod client;
#[cfg(feature = "redis")]
mod fleet;
mod flushes;
mod latency;
mod listen;
mod memory;
mod offers;
#[cfg(feature = "openssl")]
mod openssl;
mod population;
mod progress;
mod report;
mod rustls_server;
mod scenario;
mod server;
mod storm;
mod table;
mod tally;
mod tls;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use args::{Args, Job};

fn main() -> ExitCode {
    let done = match Args::parse().into_job() {
        Job::Storm { plan, json } => scenario::run(&plan).and_then(|report| show(&report, json)),
        Job::Listen { address, timeout } => listen::run(address, timeout).map(|()| true),
        #[cfg(feature = "redis")]
        Job::Fleet { plan, redis } => fleet::run(&plan, &redis),
        #[cfg(feature = "redis")]
        Job::Host => fleet::host::run().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("handshake-storm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the report; false if something that must hold did not.
fn show(report: &report::Report, json: bool) -> Result<bool> {
    if json {
        eprintln!("{}", report.note);
        println!("{}", serde_json::to_string(report)?);
    } else {
        println!("{}\n{}", report.note, table::render(report));
    }
    let failures = report.failures();
    for failure in &failures {
        eprintln!("handshake-storm: FAILED: {failure}");
    }
    Ok(failures.is_empty())
}
