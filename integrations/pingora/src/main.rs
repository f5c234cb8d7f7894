//! A proxy whose TLS listener resumes sessions from a `sessionwheel` cache.

#![forbid(unsafe_code)]

#[path = "../../openssl/examples/server/identify.rs"]
mod identify;

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use async_trait::async_trait;
use clap::Parser;
use openssl::ssl::SslFiletype;
use pingora::proxy::http_proxy_service;
use pingora::server::{Server, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use sessionwheel::{Pace, SessionCache};
use sessionwheel_openssl::{Attachment, Options};
use sessionwheel_pingora::{Forward, listener, upstream};
use tokio::select;
use tokio::time::interval;

use identify::identify;

/// What part of a processor flushes take: at full speed handshakes would wait for it where all are busy.
const PACE: Pace = Pace::percent(5);

/// Forwards HTTPS to an HTTP server, and tells it in the header X-TLS how each connection began.
#[derive(Parser)]
struct Args {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4433")]
    listen: SocketAddr,
    /// The HTTP server to forward to [default: one of its own]
    #[arg(long, value_name = "ADDRESS:PORT")]
    upstream: Option<SocketAddr>,
    /// Certificate chain, a file in PEM [default: one that nobody has signed]
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<String>,
    /// Its private key, a file in PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<String>,
    /// Lifetime of a session in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    timeout: u64,
    /// How many sessions to keep
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    maximum: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let cache = SessionCache::builder()
        .maximum(Some(args.maximum))
        .timeout(Duration::from_secs(args.timeout))
        .automatic_flush(None)
        .build()?;
    let (mut tls, attachment) = listener(&cache, Options::default())?;
    match (&args.certificate, &args.key) {
        (Some(certificate), Some(key)) => {
            tls.set_certificate_chain_file(certificate)?;
            tls.set_private_key_file(key, SslFiletype::PEM)?;
        }
        _ => identify(&mut tls)?,
    }
    let upstream = match args.upstream {
        Some(address) => address,
        None => an_upstream()?,
    };

    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut proxy = http_proxy_service(&server.configuration, Forward { upstream });
    proxy.add_tls_with_settings(&args.listen.to_string(), None, tls);
    server.add_service(proxy);
    server.add_service(background_service("sessions", Sessions(attachment)));
    println!("from https://{} to http://{upstream}", args.listen);
    server.run_forever();
}

/// One that says how the client's connection began.
fn an_upstream() -> Result<SocketAddr, Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    upstream::serve(listener, upstream::tell);
    Ok(address)
}

/// Lets a thread remove what has expired, and says what has changed.
struct Sessions(Attachment);

#[async_trait]
impl BackgroundService for Sessions {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let cache = self.0.cache();
        // Here, since a daemon has forked by now. It stops when this service does.
        let flusher = cache.spawn_flusher_at_pace(PACE);
        if let Err(error) = &flusher {
            eprintln!("nothing removes what has expired: {error}");
        }
        let mut second = interval(Duration::from_secs(1));
        let mut seen = Default::default();
        loop {
            select! {
                _ = shutdown.changed() => return,
                _ = second.tick() => {}
            }
            let counters = cache.counters();
            if counters != seen {
                seen = counters;
                let foreign = self.0.stats().foreign_ids;
                println!(
                    "{} sessions, {} hits, {} misses, {foreign} foreign ids",
                    seen.number, seen.hits, seen.misses
                );
            }
        }
    }
}
