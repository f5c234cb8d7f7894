//! An HTTP server that resumes sessions from a `sessionwheel` cache and says whether it did.
//!
//! ```text
//! cargo run --release --package sessionwheel-openssl --features openssl --example server
//! ```
//!
//! and then, for instance, `openssl s_client -connect 127.0.0.1:4433 -tls1_2 -no_ticket -reconnect`. With `--tier` and a
//! `--key-file` of 48 random bytes it shares its sessions with all that have the same.

mod fleet;
mod identify;
mod serve;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use openssl::ssl::{SslContext, SslMethod};
use sessionwheel::{Pace, SessionCache};
use sessionwheel_openssl::{Options, SingleUse, Storage, Tags, attach};

use identify::identify;
use serve::serve;

/// What part of a processor flushes take: at full speed handshakes would wait for it where all are busy.
const PACE: Pace = Pace::percent(5);

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
    /// Resume each session of TLS 1.3 once only
    #[arg(long)]
    single_use: bool,
    /// Keep sessions in DER: a sixth of the memory
    #[arg(long)]
    der: bool,
    /// Close without close_notify
    #[arg(long)]
    unclean: bool,
    /// The Redis that has the sessions of all servers
    #[arg(long, value_name = "redis://…", requires = "key_file")]
    tier: Option<String>,
    /// 48 random bytes, the same for all servers
    #[arg(long, value_name = "PATH")]
    key_file: Option<PathBuf>,
    /// How long a handshake waits for the Redis at most, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2)]
    deadline: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let mut builder = SessionCache::builder()
        .maximum(Some(args.maximum))
        .timeout(Duration::from_secs(args.timeout))
        .automatic_flush(None);
    let mut options = Options::default();
    if args.single_use {
        options = options.single_use(SingleUse::Tls13);
    }
    let storage = if args.der {
        Storage::Der
    } else {
        Storage::Objects
    };
    options = options.storage(storage);
    let mut shared = None;
    if let (Some(address), Some(path)) = (&args.tier, &args.key_file) {
        let deadline = Duration::from_millis(args.deadline);
        let (tier, tags) = fleet::join(address, path, deadline, storage)?;
        builder = builder.external(tier.clone());
        options = options.tags(Tags::With(tags));
        shared = Some(tier);
    }
    let cache = builder.build()?;
    let _flusher = cache.spawn_flusher_at_pace(PACE)?;

    let mut context = SslContext::builder(SslMethod::tls_server())?;
    identify(&mut context)?;
    context.set_max_early_data(args.early_data)?;
    let attachment = attach(&mut context, &cache, options)?;
    if let Some(tier) = &shared {
        tier.share(attachment.context(), "example")?;
    }

    let listener = TcpListener::bind(args.listen)?;
    println!("listening on {}", listener.local_addr()?);
    serve(listener, context.build(), args.unclean);

    let mut seen = Default::default();
    loop {
        sleep(Duration::from_secs(1));
        let counters = cache.counters();
        if counters != seen {
            seen = counters;
            let foreign = attachment.stats().foreign_ids;
            println!(
                "{} sessions, {} hits, {} misses, {foreign} foreign ids",
                seen.number, seen.hits, seen.misses
            );
        }
    }
}
