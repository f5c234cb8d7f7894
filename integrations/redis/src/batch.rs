//! What is sent together: commands out, answers in, and what becomes of each.

use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{ServerError, Value};
use sessionwheel::Timestamp;

use crate::core::{Core, Removal};
use crate::entry::{Entry, State};
use crate::health::Tallies;
use crate::link::{Failure, Link, told};
use crate::node::{Node, Queues};
use crate::questions::Question;
use crate::redirect::{ASKING, Redirect};
use crate::server::Server;

/// Of each kind, sent together at most.
pub(crate) const BATCH: usize = 128;
/// Redis refuses times that don't fit; no session lives longer than a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3_600);

/// Something that is to be sent, or was.
pub(crate) enum Sent {
    Removal(Removal),
    Entry(Arc<Entry>),
    Question(Arc<Question>),
}

/// Another server is to be asked.
pub(crate) type Redirected = Vec<(Redirect, Sent)>;

/// In the order in which it is sent, and its answers come.
#[derive(Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Each, and whether `ASKING` precedes it.
    sent: Vec<(Sent, bool)>,
}

impl Batch {
    /// Removals first, then sessions, then questions: what was stored after a removal survives it. What was removed after
    /// it was stored is either not sent any more, or was sent in an earlier batch.
    pub(crate) fn take(core: &Core, queues: &Queues) -> Self {
        let now = core.now();
        let mut batch = Self::default();
        for _ in 0..BATCH {
            let Some(removal) = queues.removals.pop() else {
                break;
            };
            if is_still_due(core, &removal) {
                batch.add(Sent::Removal(removal), false, now);
            }
        }
        for _ in 0..BATCH {
            let Some(entry) = queues.writes.pop() else {
                break;
            };
            if millis_left(&entry, now) == 0 {
                if entry.step(State::Queued, State::Removed) {
                    Tallies::add(&core.tallies.cancelled_writes);
                }
            } else if entry.step(State::Queued, State::Sent) {
                batch.add(Sent::Entry(entry), false, now);
            }
        }
        for _ in 0..BATCH {
            let Some(question) = queues.questions.pop() else {
                break;
            };
            batch.add(Sent::Question(question), false, now);
        }
        batch
    }

    pub(crate) fn add(&mut self, one: Sent, asking: bool, now: Timestamp) {
        if asking {
            self.bytes.extend_from_slice(ASKING);
        }
        one.pack(now, &mut self.bytes);
        self.sent.push((one, asking));
    }

    /// Sends it and takes the answers; whatever happens, each has become something, but for what has to be sent to
    /// another server. What comes of questions is told to the server's node, if it is known.
    pub(crate) fn exchange(
        self,
        core: &Core,
        (server, node): (&Server, Option<&Node>),
        link: &mut Link,
        until: Instant,
    ) -> (Result<(), Failure>, Redirected) {
        let mut redirected = Vec::new();
        let mut done = link.send(&self.bytes, until);
        // Why there is no point in sending it more.
        let mut unfit = None;
        for (one, asking) in self.sent {
            let reply = match &done {
                Ok(()) => answer(link, asking, until),
                Err(_) => Err(Failure::Closed),
            };
            if let Ok(Value::ServerError(error)) = &reply {
                unfit = unfit.or_else(|| is_unfit(error).then(|| told(error)));
                if let Some(redirect) = server.redirect(error) {
                    Tallies::add(&core.tallies.redirected);
                    redirected.push((redirect, one));
                    continue;
                }
            }
            let asked = matches!(one, Sent::Question(_)) && done.is_ok();
            if let Some(node) = node.filter(|_| asked) {
                match reply {
                    Ok(Value::BulkString(_) | Value::Nil) => node.breaker.succeeded(),
                    _ => node.failed(core),
                }
            }
            if let Err(failure) = one.settle(core, reply)
                && done.is_ok()
            {
                // After this nothing more is read from the link.
                done = Err(failure);
            }
        }
        if let Some(why) = unfit {
            done = done.and(Err(Failure::Refused(why)));
        }
        (done, redirected)
    }
}

/// Whether who says so is no master now, and will be later, or another one is; or has a script to run first.
fn is_unfit(error: &ServerError) -> bool {
    let codes = ["READONLY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "BUSY"];
    codes.contains(&error.code())
}

fn answer(link: &mut Link, asking: bool, until: Instant) -> Result<Value, Failure> {
    if asking && !matches!(link.reply(until)?, Value::Okay) {
        return Err(Failure::Garbage);
    }
    link.reply(until)
}

impl Sent {
    fn pack(&self, now: Timestamp, bytes: &mut Vec<u8>) {
        match self {
            Self::Removal(removal) => redis::cmd("DEL")
                .arg(&*removal.name)
                .write_packed_command(bytes),
            Self::Entry(entry) => entry.with_sealed(|sealed| {
                redis::cmd("SET")
                    .arg(&*entry.name)
                    .arg(sealed)
                    .arg("PX")
                    .arg(millis_left(entry, now).max(1))
                    .write_packed_command(bytes);
            }),
            Self::Question(question) => redis::cmd("GET")
                .arg(&*question.name)
                .write_packed_command(bytes),
        }
    }

    /// What the answer makes of it. The error is one after which the link is of no use.
    fn settle(self, core: &Core, reply: Result<Value, Failure>) -> Result<(), Failure> {
        match (self, reply) {
            (Self::Removal(removal), Ok(Value::Int(_))) => {
                Tallies::add(&core.tallies.removed);
                // It may have been asked before.
                core.forget_question(&removal.key);
                if let Some(mark) = &removal.mark {
                    core.settle(mark);
                }
            }
            (Self::Removal(removal), Ok(Value::ServerError(error))) if is_unfit(&error) => {
                core.note(&format!("removing: {}", told(&error)));
                core.put_back_removal(removal);
            }
            (Self::Removal(removal), Ok(Value::ServerError(error))) => {
                Tallies::add(&core.tallies.refused_removals);
                core.note(&format!("removing: {}", told(&error)));
                core.lose_removal(&removal);
            }
            (Self::Removal(removal), reply) => {
                // Twice is as good as once.
                core.put_back_removal(removal);
                return Err(reply.err().unwrap_or(Failure::Garbage));
            }
            (Self::Question(question), Ok(Value::BulkString(sealed))) => {
                core.answer_question(&question, sealed);
            }
            (Self::Question(question), Ok(Value::Nil)) => {
                Tallies::add(&core.tallies.misses);
                question.answer(None);
            }
            (Self::Question(question), Ok(Value::ServerError(error))) => {
                Tallies::add(&core.tallies.errors);
                core.note(&told(&error));
                question.answer(None);
            }
            (Self::Question(question), reply) => {
                Tallies::add(&core.tallies.errors);
                question.answer(None);
                return Err(reply.err().unwrap_or(Failure::Garbage));
            }
            (Self::Entry(entry), Ok(Value::Okay)) => {
                Tallies::add(&core.tallies.written);
                entry.step(State::Sent, State::Written);
                core.settle(&entry);
            }
            (Self::Entry(entry), Ok(Value::ServerError(error))) => {
                core.note(&format!("writing: {}", told(&error)));
                refused(core, &entry);
            }
            (Self::Entry(entry), reply) => {
                Tallies::add(&core.tallies.unconfirmed_writes);
                entry.step(State::Sent, State::Unknown);
                core.settle(&entry);
                return Err(reply.err().unwrap_or(Failure::Garbage));
            }
        }
        Ok(())
    }

    /// Nobody has carried it out, and nobody is left to be asked.
    pub(crate) fn give_up(self, core: &Core) {
        match self {
            Self::Removal(removal) => core.put_back_removal(removal),
            Self::Entry(entry) => refused(core, &entry),
            Self::Question(question) => {
                Tallies::add(&core.tallies.unrouted);
                question.answer(None);
            }
        }
    }
}

/// The session is nowhere but here.
fn refused(core: &Core, entry: &Entry) {
    Tallies::add(&core.tallies.refused_writes);
    entry.step(State::Sent, State::Unshared);
}

/// Whether no other session has been written in its place.
fn is_still_due(core: &Core, removal: &Removal) -> bool {
    core.mark(&removal.key).is_none_or(|current| {
        let mark = removal.mark.as_ref();
        let same = mark.is_some_and(|mark| Arc::ptr_eq(mark, &current));
        same || current.state() != State::Written
    })
}

/// For how many milliseconds it still lives.
fn millis_left(entry: &Entry, now: Timestamp) -> u64 {
    let left = entry.until.saturating_since(now).min(LONGEST);
    u64::try_from(left.as_millis()).unwrap_or(0)
}
