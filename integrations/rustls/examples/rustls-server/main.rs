//! An HTTP server that resumes sessions from a `sessionwheel` cache and says whether it did.
//!
//! ```text
//! cargo run --release --package sessionwheel-rustls --example rustls-server
//! ```
//!
//! and then, for instance, `openssl s_client -connect 127.0.0.1:4433 -tls1_2 -no_ticket -reconnect`.

mod serve;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use rustls::ServerConfig;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use sessionwheel::SessionCache;
use sessionwheel_rustls::RustlsStore;

use serve::serve;

/// Serves TLS on an address and says in plain text how each connection began.
#[derive(Parser)]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4433")]
    listen: SocketAddr,
    /// Lifetime of a session in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// How many sessions to keep
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    maximum: usize,
    /// Bytes of early data to accept from clients of TLS 1.3
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    early_data: u32,
    /// Close without close_notify
    #[arg(long)]
    unclean: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let cache = SessionCache::builder()
        .maximum(Some(args.maximum))
        .timeout(Duration::from_secs(args.timeout))
        .build()?;

    // A new key, and a certificate for it that nobody has signed.
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())?;
    config.max_early_data_size = args.early_data;
    let store = RustlsStore::new(&cache)?.install(&mut config);

    let listener = TcpListener::bind(args.listen)?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener, Arc::new(config), args.unclean);

    let mut seen = Default::default();
    loop {
        sleep(Duration::from_secs(1));
        cache.flush();
        let counters = cache.counters();
        if counters != seen {
            seen = counters;
            let bad = store.stats().bad_keys;
            println!(
                "{} sessions, {} hits, {} misses, {bad} ids of a wrong length",
                seen.number, seen.hits, seen.misses
            );
        }
    }
}
