//! One of the processes of `--tier`.

use std::io::stdin;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use sessionwheel::SessionCache;
use sessionwheel_redis::{Codec, Keyring, RedisTier};
use sessionwheel_rustls::{RustlsStore, StoredSession};

use super::{Account, Orders};
use crate::rustls_server::Rustls;
use crate::server::Server;
use crate::tls::Identity;

/// For Redis to answer. Longer than one would let a handshake wait: here all have to be resumed.
const DEADLINE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

/// Until standard input ends.
pub(crate) fn run() -> Result<()> {
    let orders: Orders = serde_json::from_str(&line()?.context("no orders")?)?;
    let codec = Codec::new(
        *b"rls1",
        |session: &StoredSession, bytes: &mut Vec<u8>| bytes.extend_from_slice(session.as_bytes()),
        |bytes: &[u8]| Some(StoredSession::copy_from(bytes)),
    );
    let keys = Keyring::new(1, orders.sealing_key);
    let tier = RedisTier::builder(&orders.redis, keys, codec)?
        .deadline(DEADLINE)
        .prefix(b"handshake-storm:")
        .build()?;
    tier.check(PATIENCE).context("Redis")?;

    let cache = SessionCache::builder()
        .maximum(Some(1_000_000))
        .external(tier.clone())
        .build()?;
    let store = RustlsStore::new(&cache)?;
    tier.share(store.context(), "handshake-storm")?;
    let identity = Identity::from_der(orders.certificate, orders.private_key);
    let stack = Rustls(identity.server(|config| store.install(config))?);
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let server = Server::start(loopback, Arc::new(stack), orders.threads)?;
    println!("listening on {}", server.address());

    while let Some(order) = line()? {
        ensure!(order == "write", "no such order");
        let written = tier.flush_writes(PATIENCE);
        println!("{}", if written { "written" } else { "not written" });
    }
    server.stop();
    let health = tier.health();
    let within = |share| health.latency.quantile(share).as_micros();
    let account = Account {
        written: health.counters.written,
        asked: health.latency.count(),
        hits: health.counters.hits,
        claimed: health.counters.claimed,
        answer_us: (within(0.5), within(0.99)),
    };
    println!("{}", serde_json::to_string(&account)?);
    Ok(())
}

/// `None` at the end.
fn line() -> Result<Option<String>> {
    let mut line = String::new();
    let read = stdin().read_line(&mut line)?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}
