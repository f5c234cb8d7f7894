//! The thread of a tier: it connects, probes, and writes behind.
//!
//! # Ground rules
//!
//! - It alone connects, so that no handshake waits for that, and it alone takes from the queues.
//! - Within a batch removals go first, then sessions, then questions: what was stored after a removal survives it. What
//!   was removed after it was stored is either not sent any more, or was sent in an earlier batch.
//! - It never waits longer than a timeout, and not beyond the time at which it has to end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use redis::Value;
use sessionwheel::Timestamp;

use crate::core::{BATCH, Core, Removal};
use crate::entry::{Entry, State};
use crate::health::Tallies;
use crate::link::{Failure, Link, told};
use crate::questions::Question;

/// Between two flushes of the marks.
const TIDY: Duration = Duration::from_millis(250);
/// Between two attempts to connect, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));
/// So long a short batch waits for more to come: fewer round trips, for both ends. A session that is used up
/// here meanwhile is never sent.
const GATHER: Duration = Duration::from_micros(100);
/// Redis refuses times that don't fit; no session lives longer than a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Until the tier is dropped. `_end` closes with it.
pub(crate) fn run(core: &Arc<Core>, _end: Sender<()>) {
    let mut worker = Worker {
        core,
        writer: None,
        connecting: Backoff::new(),
        writing: Backoff::new(),
        tidy_at: Instant::now(),
    };
    loop {
        let busy = worker.step();
        if let Some(by) = core.stop_by.get()
            && (core.is_idle() || Instant::now() >= *by)
        {
            core.give_up_questions();
            return;
        }
        if !busy {
            thread::park_timeout(worker.nap());
        }
    }
}

struct Worker<'a> {
    core: &'a Arc<Core>,
    writer: Option<Link>,
    connecting: Backoff,
    /// A server may let itself be connected to, and then fail.
    writing: Backoff,
    tidy_at: Instant,
}

/// When what has failed is tried again.
struct Backoff {
    at: Instant,
    pause: Duration,
}

impl Backoff {
    fn new() -> Self {
        Self {
            at: Instant::now(),
            pause: BACKOFF.0,
        }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.at
    }

    fn failed(&mut self) {
        self.at = Instant::now() + self.pause;
        self.pause = (2 * self.pause).min(BACKOFF.1);
    }

    fn succeeded(&mut self) {
        self.pause = BACKOFF.0;
    }
}

/// What was sent, in the order of the answers to come.
enum Sent {
    Removal(Removal),
    Entry(Arc<Entry>),
    Question(Arc<Question>),
}

impl Worker<'_> {
    /// True if there is more to do at once.
    fn step(&mut self) -> bool {
        let now = Instant::now();
        if now >= self.tidy_at {
            self.tidy_at = now + TIDY;
            self.core.tidy();
        }
        self.keep_links(now);
        self.exchange()
    }

    /// How long there is nothing to do unless somebody says so.
    fn nap(&self) -> Duration {
        let core = self.core;
        let mut until = Instant::now() + TIDY;
        if let Some(by) = core.stop_by.get() {
            until = until.min(*by);
        }
        if let Some(probe) = core.breaker.probe_at() {
            until = until.min(probe);
        }
        if !core.is_idle() {
            until = until.min(self.connecting.at.max(self.writing.at));
        }
        if self.wants_links() {
            until = until.min(self.connecting.at);
        }
        let nap = until.saturating_duration_since(Instant::now());
        nap.max(Duration::from_millis(1))
    }

    fn wants_links(&self) -> bool {
        let core = self.core;
        core.stop_by.get().is_none()
            && !core.breaker.is_open()
            && core.links.load(Ordering::Relaxed) < core.settings.connections
    }

    fn keep_links(&mut self, now: Instant) {
        let core = self.core;
        if core.stop_by.get().is_some() {
            return;
        }
        if core.breaker.probe_at().is_some_and(|due| now >= due) {
            // Those there are have failed, or stand beside those that have.
            core.drop_links();
            if let Ok(link) = core.breaker.probe(|| self.connect()) {
                core.add_link(link);
            }
        }
        while self.wants_links() && self.connecting.is_over() {
            match self.connect() {
                Ok(link) => core.add_link(link),
                Err(_) => break,
            }
        }
    }

    fn connect(&mut self) -> Result<Link, Failure> {
        let core = self.core;
        let until = self.until(core.settings.connect_timeout);
        match core.server.connect(until) {
            Ok(link) => {
                self.connecting.succeeded();
                Tallies::add(&core.tallies.connections);
                Ok(link)
            }
            Err(failure) => {
                self.connecting.failed();
                Tallies::add(&core.tallies.connections_failed);
                core.note(&format!("connecting: {failure}"));
                Err(failure)
            }
        }
    }

    fn until(&self, timeout: Duration) -> Instant {
        let until = Instant::now() + timeout;
        self.core.stop_by.get().map_or(until, |by| until.min(*by))
    }

    /// Sends one batch, and takes its answers. True if it did.
    fn exchange(&mut self) -> bool {
        let core = self.core;
        let nothing =
            core.writes.is_empty() && core.removals.is_empty() && core.questions.is_empty();
        if nothing {
            return false;
        }
        if !self.writing.is_over() {
            core.give_up_questions();
            return false;
        }
        if self.writer.as_ref().is_some_and(|link| !link.is_quiet()) {
            Tallies::add(&core.tallies.connections_dropped);
            self.writer = None;
        }
        let Some(mut link) = self.writer.take() else {
            if self.connecting.is_over() {
                self.writer = self.connect().ok();
            }
            if self.writer.is_none() {
                core.give_up_questions();
            }
            return self.writer.is_some();
        };
        let queued = core.writes.len() + core.removals.len();
        if queued < BATCH && core.questions.is_empty() && core.stop_by.get().is_none() {
            thread::sleep(GATHER);
        }
        // Before anything is taken from the queues.
        core.in_flight.fetch_add(1, Ordering::AcqRel);
        let (bytes, sent) = self.batch();
        let until = self.until(core.settings.write_timeout);
        match exchange(core, &mut link, &bytes, sent, until) {
            Ok(()) => {
                self.writer = Some(link);
                self.writing.succeeded();
            }
            Err(failure) => {
                self.writing.failed();
                Tallies::add(&core.tallies.connections_dropped);
                core.note(&format!("writing: {failure}"));
            }
        }
        core.in_flight.fetch_sub(1, Ordering::AcqRel);
        true
    }

    fn batch(&self) -> (Vec<u8>, Vec<Sent>) {
        let core = self.core;
        let (mut bytes, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..BATCH {
            let Some(removal) = core.removals.pop() else {
                break;
            };
            if is_still_due(core, &removal) {
                redis::cmd("DEL")
                    .arg(&*removal.name)
                    .write_packed_command(&mut bytes);
                sent.push(Sent::Removal(removal));
            }
        }
        let now = core.now();
        for _ in 0..BATCH {
            let Some(entry) = core.writes.pop() else {
                break;
            };
            let Some(millis) = lives(&entry, now) else {
                if entry.step(State::Queued, State::Gone) {
                    Tallies::add(&core.tallies.cancelled_writes);
                    entry.forget_sealed();
                }
                continue;
            };
            if !entry.step(State::Queued, State::Sent) {
                continue;
            }
            entry.with_sealed(|sealed| {
                redis::cmd("SET")
                    .arg(&*entry.name)
                    .arg(sealed)
                    .arg("PX")
                    .arg(millis)
                    .write_packed_command(&mut bytes);
            });
            sent.push(Sent::Entry(entry));
        }
        for _ in 0..BATCH {
            let Some(question) = core.questions.pop() else {
                break;
            };
            redis::cmd("GET")
                .arg(&*question.name)
                .write_packed_command(&mut bytes);
            sent.push(Sent::Question(question));
        }
        (bytes, sent)
    }
}

/// Whether no other session has come in its place.
fn is_still_due(core: &Core, removal: &Removal) -> bool {
    core.mark(&removal.key).is_none_or(|current| {
        let mark = removal.mark.as_ref();
        mark.is_some_and(|mark| Arc::ptr_eq(mark, &current))
    })
}

/// For how many milliseconds still, if for any.
fn lives(entry: &Entry, now: Timestamp) -> Option<u64> {
    let left = entry.until.saturating_since(now).min(LONGEST);
    let millis = u64::try_from(left.as_millis()).ok()?;
    (millis > 0).then_some(millis)
}

/// Sends a batch and takes the answers; whatever happens, each has become something.
fn exchange(
    core: &Arc<Core>,
    link: &mut Link,
    bytes: &[u8],
    sent: Vec<Sent>,
    until: Instant,
) -> Result<(), Failure> {
    let mut done = link.send(bytes, until);
    // It was the master once.
    let mut moved = false;
    for one in sent {
        let reply = match &done {
            Ok(()) => link.reply(until),
            Err(_) => Err(Failure::Closed),
        };
        match (one, reply) {
            (Sent::Removal(removal), Ok(Value::Int(_))) => {
                Tallies::add(&core.tallies.removed);
                if let Some(mark) = &removal.mark {
                    core.settle(mark);
                }
            }
            (Sent::Removal(_), Ok(Value::ServerError(error))) => {
                // Its mark stays: it isn't asked for here.
                Tallies::add(&core.tallies.refused_removals);
                core.note(&format!("removing: {}", told(&error)));
            }
            (Sent::Removal(removal), reply) => {
                keep_failure(&mut done, reply);
                // Twice is as good as once. If the queue is full, what it has is newer.
                if core.removals.push(removal).is_err() {
                    Tallies::add(&core.tallies.dropped_removals);
                }
            }
            (Sent::Question(question), reply) => {
                let answer = match reply {
                    Ok(Value::BulkString(sealed)) => Some(sealed.into()),
                    Ok(Value::Nil) => {
                        Tallies::add(&core.tallies.misses);
                        None
                    }
                    Ok(Value::ServerError(error)) => {
                        Tallies::add(&core.tallies.errors);
                        core.note(&told(&error));
                        None
                    }
                    reply => {
                        Tallies::add(&core.tallies.errors);
                        keep_failure(&mut done, reply);
                        None
                    }
                };
                question.answer(answer);
            }
            (Sent::Entry(entry), Ok(Value::Okay)) => {
                Tallies::add(&core.tallies.written);
                entry.step(State::Sent, State::Written);
                core.settle(&entry);
            }
            (Sent::Entry(entry), Ok(Value::ServerError(error))) => {
                Tallies::add(&core.tallies.refused_writes);
                core.note(&format!("writing: {}", told(&error)));
                entry.step(State::Sent, State::Unshared);
                entry.forget_sealed();
                moved |= error.code() == "READONLY";
            }
            (Sent::Entry(entry), reply) => {
                keep_failure(&mut done, reply);
                Tallies::add(&core.tallies.unconfirmed_writes);
                entry.step(State::Sent, State::Unknown);
                core.settle(&entry);
            }
        }
    }
    if moved {
        done = done.and(Err(Failure::Closed));
    }
    done
}

/// After this nothing more is read from the link.
fn keep_failure(done: &mut Result<(), Failure>, reply: Result<Value, Failure>) {
    if done.is_ok() {
        *done = Err(reply.err().unwrap_or(Failure::Garbage));
    }
}
