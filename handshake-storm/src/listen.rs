//! `--listen`: a server for other people's clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sessionwheel::SessionCache;
use sessionwheel_rustls::RustlsStore;

use crate::rustls_server::Rustls;
use crate::server::Server;
use crate::tls::{Identity, Version};

/// Connections served at once; more wait in the kernel's queue.
const THREADS: usize = 128;

const FLUSH_EVERY: Duration = Duration::from_secs(1);

pub(crate) fn run(address: SocketAddr, timeout: Duration) -> Result<()> {
    let cache = SessionCache::builder().timeout(timeout).build()?;
    let store = RustlsStore::new(&cache)?;
    let config = Identity::generate()?.server(|config| store.install(config))?;
    let (sender, interrupted) = channel();
    ctrlc::set_handler(move || {
        let _ = sender.send(());
    })
    .context("cannot wait for Ctrl-C")?;
    let server = Server::start(address, Arc::new(Rustls(config)), THREADS)?;
    println!("{}", how_to_connect(server.address(), timeout));

    let mut flushed = 0;
    let mut flushes = 0u64;
    while interrupted.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
        flushed += cache.flush().removed;
        flushes += 1;
    }
    let seen = server.seen();
    for (name, version) in [("TLS 1.2", Version::Tls12), ("TLS 1.3", Version::Tls13)] {
        let (full, resumed) = seen.handshakes(version);
        println!("{name}: {full} full handshakes, {resumed} resumed");
    }
    println!(
        "{flushes} flushes removed {flushed} sessions, {} are left; {} connections failed",
        cache.len(),
        seen.failures()
    );
    // Connections that are still open end with the process.
    Ok(())
}

fn how_to_connect(at: SocketAddr, timeout: Duration) -> String {
    let seconds = timeout.as_secs();
    format!(
        "listening on {at}
TLS 1.2 (session id) and TLS 1.3 (stateful tickets), a self-signed certificate for localhost,
sessions live for {seconds} s. Try:

  openssl s_client -connect {at} -tls1_2 -no_ticket -reconnect </dev/null | grep -E '^(New|Reused)'

  (sleep 1) | openssl s_client -connect {at} -tls1_3 -sess_out session.pem | grep -E '^(New|Reused)'
  (sleep 1) | openssl s_client -connect {at} -tls1_3 -sess_in session.pem | grep -E '^(New|Reused)'

The last command says Reused once; a second time it says New, for a ticket resumes once.
A request (GET / HTTP/1.0) is answered with how the session began. Ctrl-C ends the server."
    )
}
