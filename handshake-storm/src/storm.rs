//! The storm itself: half of the population expires and is flushed while clients keep resuming,
//! again and again, until enough handshakes overlapped a flush.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;

use crate::args::Plan;
use crate::backend::{Backend, Expiry, MOST_ROUNDS};
use crate::client::{Client, Handshake};
use crate::flushes::{Flushes, Interval};
use crate::latency::Latency;
use crate::scenario::{record_resumed, sum};
use crate::tally::{Sessions, Tally};
use crate::tls::Version;
use crate::{population, progress};

/// Real time after which the storm ends even if too few handshakes overlapped a flush; the report
/// then says so.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a storm found.
pub(crate) struct Storm {
    pub(crate) tally: Tally,
    pub(crate) flushes: Flushes,
    /// Background sessions that expired, and that flushes removed.
    pub(crate) expired: usize,
    pub(crate) flushed: usize,
    /// Resumptions that overlapped a flush.
    pub(crate) during: Latency,
}

pub(crate) fn run(
    plan: &Plan,
    backend: &Backend,
    expiry: &dyn Expiry,
    clients: &[Client],
) -> Result<Storm> {
    let bar = progress::bar(backend.name, "handshakes during flushes", plan.overlaps);
    let stop = AtomicBool::new(false);
    let (sender, receiver) = channel();
    let (rounds, resumed) = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .iter()
            .map(|client| {
                let (sender, stop) = (sender.clone(), &stop);
                scope.spawn(move || {
                    let done = resume_until(stop, client, &sender);
                    stop.store(true, Ordering::Relaxed); // after an error all shall stop
                    done
                })
            })
            .collect();
        drop(sender);
        let mut rounds = Rounds::new(receiver);
        let filled = rounds.run(plan, backend, expiry, &stop, &bar);
        stop.store(true, Ordering::Relaxed);
        let resumed: Result<Vec<Tally>> = threads
            .into_iter()
            .map(|t| t.join().map_err(|_| anyhow!("a client thread panicked"))?)
            .collect();
        rounds.collect();
        filled.map(|()| (rounds, resumed))
    })?;
    bar.finish();
    Ok(Storm {
        tally: sum(&resumed?),
        flushes: rounds.flushes,
        expired: rounds.expired,
        flushed: rounds.flushed,
        during: rounds.during,
    })
}

/// One client: resumes in both versions by turns, and reports every handshake.
fn resume_until(stop: &AtomicBool, client: &Client, report: &Sender<Handshake>) -> Result<Tally> {
    let mut tally = Tally::default();
    for name in (0..client.names()).cycle() {
        for version in Version::ALL {
            if stop.load(Ordering::Relaxed) {
                return Ok(tally);
            }
            let handshake = client.handshake(version, name)?;
            tally.count(&handshake, Sessions::Live);
            // Nobody listens any more only when the storm has ended.
            let _ = report.send(handshake);
        }
    }
    Ok(tally)
}

/// Fill and flush, round after round, beside the clients.
struct Rounds {
    handshakes: Receiver<Handshake>,
    flushes: Flushes,
    expired: usize,
    flushed: usize,
    during: Latency,
}

impl Rounds {
    fn new(handshakes: Receiver<Handshake>) -> Self {
        Self {
            handshakes,
            flushes: Flushes::default(),
            expired: 0,
            flushed: 0,
            during: Latency::new(),
        }
    }

    fn run(
        &mut self,
        plan: &Plan,
        backend: &Backend,
        expiry: &dyn Expiry,
        stop: &AtomicBool,
        bar: &ProgressBar,
    ) -> Result<()> {
        let begun = Instant::now();
        let hidden = ProgressBar::hidden();
        for round in 0..MOST_ROUNDS {
            if round > 0 {
                population::fill(&*backend.passing, plan.passing(), &hidden)?;
            }
            expiry.pass();
            self.expired += plan.passing();
            let start = Instant::now();
            self.flushed += expiry.flush();
            let end = Instant::now();
            self.flushes.push(Interval { start, end });
            self.collect();
            bar.set_position(self.during.count().min(plan.overlaps as u64));
            let enough = self.during.count() >= plan.overlaps as u64;
            if enough || stop.load(Ordering::Relaxed) || begun.elapsed() > PATIENCE {
                break;
            }
        }
        Ok(())
    }

    /// Looks at the handshakes that have been reported. None of them can overlap a flush that has
    /// not been noted: each has ended, and no flush is running.
    fn collect(&mut self) {
        for handshake in self.handshakes.try_iter() {
            if self.flushes.overlap(&handshake.time) {
                record_resumed(&mut self.during, &handshake);
            }
        }
    }
}
