//! One server that is asked: the only one, or one of the masters of a Cluster. Each has connections, queues, a breaker
//! and a thread of its own, so that one that is down or frozen holds up no other.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};
use crossbeam_queue::ArrayQueue;
use redis::Value;

use crate::breaker::Breaker;
use crate::builder::Settings;
use crate::core::{Core, Removal};
use crate::entry::Entry;
use crate::health::{NodeHealth, Tallies};
use crate::link::{Failure, Link, told};
use crate::questions::Question;
use crate::redirect::{ASKING, Redirect};
use crate::server::Server;
use crate::weight::Sum;

/// What waits to be sent.
pub(crate) struct Queues {
    pub(crate) writes: ArrayQueue<Arc<Entry>>,
    /// Of those that wait to be written, or are being written.
    pub(crate) bytes: Sum,
    pub(crate) removals: ArrayQueue<Removal>,
    /// Lookups that nobody waits for.
    pub(crate) questions: ArrayQueue<Arc<Question>>,
}

impl Queues {
    pub(crate) fn new(length: usize) -> Self {
        Self {
            writes: ArrayQueue::new(length),
            bytes: Sum::default(),
            removals: ArrayQueue::new(length),
            questions: ArrayQueue::new(length),
        }
    }

    /// Whether nothing has to be written or removed.
    pub(crate) fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.removals.is_empty()
    }
}

pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) breaker: Breaker,
    pub(crate) queues: Queues,
    /// Links that nobody uses.
    ready: (Sender<Link>, Receiver<Link>),
    /// Links for lookups, used or not.
    pub(crate) links: AtomicUsize,
    /// It has been connected to, or could not be. Before that, that there is no link says nothing of it.
    tried: AtomicBool,
    /// Its worker.
    pub(crate) thread: OnceLock<Thread>,
    /// It is no master any more: its worker hands over what waits, and ends.
    retired: AtomicBool,
}

impl Node {
    pub(crate) fn new(server: Server, settings: &Settings) -> Self {
        Self {
            server,
            breaker: Breaker::new(settings.breaker.0, settings.breaker.1),
            queues: Queues::new(settings.queue),
            ready: crossbeam_channel::bounded(settings.connections),
            links: AtomicUsize::new(0),
            tried: AtomicBool::new(false),
            thread: OnceLock::new(),
            retired: AtomicBool::new(false),
        }
    }

    pub(crate) fn wake(&self) {
        if let Some(worker) = self.thread.get() {
            worker.unpark();
        }
    }

    pub(crate) fn retire(&self) {
        // Release: partner of the Acquire below. Nothing is pushed any more, and the worker sees all that was.
        self.retired.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// The worker has.
    pub(crate) fn has_tried(&self) {
        // Release: partner of the Acquire below. Who reads it finds the links that there are.
        self.tried.store(true, Ordering::Release);
    }

    pub(crate) fn is_tried(&self) -> bool {
        self.tried.load(Ordering::Acquire)
    }

    pub(crate) fn health(&self) -> NodeHealth {
        NodeHealth {
            address: self.server.place.info.addr().to_string(),
            breaker: self.breaker.state(),
            connections: self.links.load(Ordering::Relaxed),
            queued_writes: self.queues.writes.len(),
            queued_removals: self.queues.removals.len(),
            queued_bytes: self.queues.bytes.get(),
        }
    }

    /// Asks one question: the answer, or to where it redirects. Every failure is counted.
    pub(crate) fn ask(
        &self,
        core: &Core,
        command: &[u8],
        asking: bool,
        until: Instant,
    ) -> Result<Result<Value, Redirect>, Failure> {
        if self.breaker.is_open() {
            Tallies::add(&core.tallies.skipped);
            return Err(Failure::Timeout);
        }
        loop {
            let Ok(link) = self.ready.1.recv_deadline(until) else {
                Tallies::add(&core.tallies.starved);
                // Busy is not broken, nor is what is only just being connected to.
                if self.is_tried() && self.links.load(Ordering::Relaxed) == 0 {
                    self.failed(core);
                }
                return Err(Failure::Timeout);
            };
            let mut borrowed = Borrowed {
                node: self,
                core,
                link: Some(link),
            };
            if !borrowed.is_quiet() {
                continue;
            }
            let begun = Instant::now();
            return match borrowed.ask(command, asking, until) {
                Ok(Value::ServerError(error)) => {
                    if let Some(redirect) = self.server.redirect(&error) {
                        borrowed.give_back();
                        self.breaker.succeeded();
                        return Ok(Err(redirect));
                    }
                    // A master that is none any more: wherever the master is now, it isn't there.
                    if error.code() != "READONLY" {
                        borrowed.give_back();
                    }
                    Tallies::add(&core.tallies.errors);
                    self.failed(core);
                    let why = told(&error);
                    core.note(&why);
                    Err(Failure::Refused(why))
                }
                Ok(value) => {
                    borrowed.give_back();
                    core.latency.add(begun.elapsed());
                    self.breaker.succeeded();
                    Ok(Ok(value))
                }
                Err(failure) => {
                    drop(borrowed);
                    Tallies::add(match failure {
                        Failure::Timeout => &core.tallies.timeouts,
                        _ => &core.tallies.errors,
                    });
                    self.failed(core);
                    Err(failure)
                }
            };
        }
    }

    /// A lookup has.
    pub(crate) fn failed(&self, core: &Core) {
        if self.breaker.failed(Instant::now()) {
            Tallies::add(&core.breaker_openings);
        }
        self.wake();
    }

    /// Adds a link for lookups, unless there are enough.
    pub(crate) fn add_link(&self, link: Link) {
        self.links.fetch_add(1, Ordering::Relaxed);
        if self.ready.0.try_send(link).is_err() {
            self.links.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Drops the links that nobody uses.
    pub(crate) fn drop_links(&self, core: &Core) {
        while let Ok(link) = self.ready.1.try_recv() {
            drop(Borrowed {
                node: self,
                core,
                link: Some(link),
            });
        }
    }
}

/// A link in use. It is dropped with this, unless it is given back.
struct Borrowed<'a> {
    node: &'a Node,
    core: &'a Core,
    link: Option<Link>,
}

impl Borrowed<'_> {
    fn is_quiet(&mut self) -> bool {
        self.link.as_mut().is_some_and(Link::is_quiet)
    }

    fn ask(&mut self, command: &[u8], asking: bool, until: Instant) -> Result<Value, Failure> {
        let link = self.link.as_mut().ok_or(Failure::Closed)?;
        if asking {
            link.send(&[ASKING, command].concat(), until)?;
            match link.reply(until)? {
                Value::Okay => {}
                _ => return Err(Failure::Garbage),
            }
        } else {
            link.send(command, until)?;
        }
        let value = link.reply(until)?;
        match value {
            Value::Nil | Value::BulkString(_) | Value::ServerError(_) => Ok(value),
            _ => Err(Failure::Garbage),
        }
    }

    fn give_back(&mut self) {
        // Whoever takes it looks whether it is quiet.
        if self.link.as_ref().is_some_and(Link::is_drained)
            && let Some(link) = self.link.take()
            && let Err(error) = self.node.ready.0.try_send(link)
        {
            self.link = Some(error.into_inner());
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if self.link.take().is_some() {
            self.node.links.fetch_sub(1, Ordering::Relaxed);
            Tallies::add(&self.core.tallies.connections_dropped);
            self.node.wake();
        }
    }
}
