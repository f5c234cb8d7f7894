//! The run from beginning to end: fill, full handshakes, resumptions, storm, expired sessions.

use std::net::{Ipv4Addr, SocketAddr};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::args::{Plan, Stack};
use crate::backend::{Backend, Expiry};
use crate::client::{Client, Handshake};
use crate::latency::Latency;
#[cfg(feature = "openssl")]
use crate::openssl;
use crate::report::{Report, StoreReport};
use crate::server::Server;
use crate::storm::{self, Storm};
use crate::tally::{Sessions, Tally};
use crate::tls::{Identity, Version};
use crate::{memory, population, progress};

pub(crate) fn run(plan: &Plan) -> Result<Report> {
    let identity = Identity::generate()?;
    // Both are filled before either is used, so that neither is built from memory that the other
    // has given back, and both measurements of memory mean the same.
    let (prepared, note) = match plan.stack {
        Stack::Rustls => (
            [
                Prepared::fill(plan, || Backend::sessionwheel(plan, &identity))?,
                Prepared::fill(plan, || Backend::rustls(plan, &identity))?,
            ],
            population::note(plan.sessions),
        ),
        #[cfg(feature = "openssl")]
        Stack::Openssl => {
            let template = openssl::Template::make(&identity)?;
            (
                [
                    Prepared::fill(plan, || openssl::sessionwheel(plan, &identity, &template))?,
                    Prepared::fill(plan, || openssl::own(&identity, &template))?,
                ],
                openssl::note(plan.sessions),
            )
        }
    };
    let stores = prepared
        .iter()
        .map(|store| {
            store
                .run(plan, &identity)
                .with_context(|| store.backend.name.to_owned())
        })
        .collect::<Result<_>>()?;
    Ok(Report { stores, note })
}

/// A store that holds the population.
struct Prepared {
    backend: Backend,
    /// By how much the resident memory grew.
    bytes: Option<u64>,
}

impl Prepared {
    fn fill(plan: &Plan, build: impl FnOnce() -> Result<Backend>) -> Result<Self> {
        let before = memory::resident();
        let backend = build()?;
        let bar = progress::bar(backend.name, "filling", plan.sessions);
        population::fill(&*backend.lasting, plan.lasting(), &bar)?;
        population::fill(&*backend.passing, plan.passing(), &bar)?;
        bar.finish();
        let bytes = before.zip(memory::resident());
        let bytes = bytes.map(|(before, after)| after.saturating_sub(before));
        Ok(Self { backend, bytes })
    }

    fn run(&self, plan: &Plan, identity: &Identity) -> Result<StoreReport> {
        let backend = &self.backend;
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        // Twice as many threads as clients: one serves while another one still closes.
        let server = Server::start(loopback, backend.stack.clone(), 2 * plan.clients)?;
        let clients = (0..plan.clients)
            .map(|first| {
                let numbers = (first..plan.full).step_by(plan.clients);
                Client::new(identity, server.address(), numbers)
            })
            .collect::<Result<Vec<_>>>()?;

        let mut tally = full_handshakes(backend.name, plan, &clients)?;
        let (resumed, quiet) = resumptions(backend.name, plan, &clients)?;
        tally.add(&resumed);
        let storm = match &backend.expiry {
            Some(expiry) => {
                let storm = storm::run(plan, backend, &**expiry, &clients)?;
                tally.add(&storm.tally);
                if expiry.pass_clients() {
                    tally.add(&expired(backend.name, plan, &**expiry, &clients)?);
                }
                Some(storm)
            }
            None => None,
        };
        both_ends_agree(&server, &tally)?;
        server.stop();
        Ok(self.report(plan, &tally, &quiet, storm.as_ref()))
    }

    fn report(
        &self,
        plan: &Plan,
        tally: &Tally,
        quiet: &Latency,
        storm: Option<&Storm>,
    ) -> StoreReport {
        let millis = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let offered = tally.expired_offered > 0;
        StoreReport {
            name: self.backend.name,
            tls12: tally.version(Version::Tls12),
            tls13: tally.version(Version::Tls13),
            expired_offered: offered.then_some(tally.expired_offered),
            expired_resumed: offered.then_some(tally.expired_resumed),
            background_expired: storm.map(|s| s.expired as u64),
            flushed: storm.map(|s| s.flushed as u64),
            flushes: storm.map(|s| s.flushes.count() as u64),
            flush_ms: storm.map(|s| millis(s.flushes.total())),
            quiet_us: quiet.summary(),
            during_flush_us: storm.map(|s| s.during.summary()),
            longest_flush_ms: storm.map(|s| millis(s.flushes.longest())),
            population_bytes: self.bytes,
            overlaps_wanted: plan.overlaps as u64,
            resumptions_wanted: plan.resumptions as u64,
        }
    }
}

fn full_handshakes(store: &str, plan: &Plan, clients: &[Client]) -> Result<Tally> {
    let bar = progress::bar(store, "full handshakes", 2 * plan.full);
    let tallies = on_all(clients, |_, client| {
        offer_each(client, 0..client.names(), Sessions::Live, || bar.inc(1))
    })?;
    bar.finish();
    Ok(sum(&tallies))
}

fn resumptions(store: &str, plan: &Plan, clients: &[Client]) -> Result<(Tally, Latency)> {
    let bar = progress::bar(store, "resumptions", 2 * plan.resumptions);
    let parts = on_all(clients, |number, client| {
        let mut tally = Tally::default();
        let mut latency = Latency::new();
        for turn in (number..plan.resumptions).step_by(clients.len()) {
            for version in Version::ALL {
                let handshake = client.handshake(version, turn / clients.len())?;
                tally.count(&handshake, Sessions::Live);
                record_resumed(&mut latency, &handshake);
                bar.inc(1);
            }
        }
        Ok((tally, latency))
    })?;
    bar.finish();
    let (tallies, latencies): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut quiet = Latency::new();
    for latency in &latencies {
        quiet.add(latency);
    }
    Ok((sum(&tallies), quiet))
}

/// Offers the clients' own sessions, which have expired: half of them before a flush has come by,
/// half of them after it.
fn expired(store: &str, plan: &Plan, expiry: &dyn Expiry, clients: &[Client]) -> Result<Tally> {
    let bar = progress::bar(store, "expired sessions", 2 * plan.full);
    let before = on_all(clients, |_, client| {
        let some = 0..client.names() / 2;
        offer_each(client, some, Sessions::Expired, || bar.inc(1))
    })?;
    expiry.flush();
    let after = on_all(clients, |_, client| {
        let others = client.names() / 2..client.names();
        offer_each(client, others, Sessions::Expired, || bar.inc(1))
    })?;
    bar.finish();
    let mut tally = sum(&before);
    tally.add(&sum(&after));
    Ok(tally)
}

/// One handshake of each version for each of `names`.
fn offer_each(
    client: &Client,
    names: std::ops::Range<usize>,
    sessions: Sessions,
    step: impl Fn(),
) -> Result<Tally> {
    let mut tally = Tally::default();
    for name in names {
        for version in Version::ALL {
            tally.count(&client.handshake(version, name)?, sessions);
            step();
        }
    }
    Ok(tally)
}

/// Full handshakes have times of another kind: they stay out of the latencies.
pub(crate) fn record_resumed(latency: &mut Latency, handshake: &Handshake) {
    if handshake.resumed {
        latency.record(handshake.time.length());
    }
}

/// Does `work` with every client, each on a thread of its own.
pub(crate) fn on_all<T: Send>(
    clients: &[Client],
    work: impl Fn(usize, &Client) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .enumerate()
            .map(|(number, client)| scope.spawn(move || work(number, client)))
            .collect();
        threads
            .into_iter()
            .map(|t| t.join().map_err(|_| anyhow!("a client thread panicked"))?)
            .collect()
    })
}

pub(crate) fn sum(tallies: &[Tally]) -> Tally {
    let mut all = Tally::default();
    for tally in tallies {
        all.add(tally);
    }
    all
}

/// Every single handshake has been compared already; this is about those that a client never saw.
fn both_ends_agree(server: &Server, tally: &Tally) -> Result<()> {
    for version in Version::ALL {
        let (here, there) = (tally.handshakes(version), server.seen().handshakes(version));
        ensure!(
            here == there,
            "the ends disagree on {version:?}: (full, resumed) is {here:?} for the clients and \
             {there:?} for the server"
        );
    }
    Ok(())
}
