//! The thread of one server: it connects, probes, and writes behind.
//!
//! # Ground rules
//!
//! - It alone connects, so that no handshake waits for that, and it alone takes from the queues of its server.
//! - What another server of a Cluster has to be asked for is asked there before anything else is sent, so that
//!   commands for one id stay in their order.
//! - It never waits longer than a timeout for any answer, and not beyond the time at which it has to end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::backoff::Backoff;
use crate::batch::{BATCH, Batch, Redirected};
use crate::core::{Core, TIDY};
use crate::health::Tallies;
use crate::link::{Failure, Link};
use crate::node::Node;
use crate::redirect::{Address, HOPS};
use crate::server::Server;

/// So long a short batch waits for more to come: fewer round trips, for both ends. A session that is used up
/// here meanwhile is never sent.
const GATHER: Duration = Duration::from_micros(100);

pub(crate) fn thread() -> thread::Builder {
    thread::Builder::new().name("sessionwheel-redis".into())
}

/// Starts the worker of a server. `end` closes when it has ended. `None` if there can be no thread.
pub(crate) fn spawn(core: &Arc<Core>, node: &Arc<Node>, end: Sender<()>) -> Option<()> {
    let (with, of) = (core.clone(), node.clone());
    let run = move || {
        run(&with, &of);
        drop(end);
    };
    let handle = thread().spawn(run).ok()?;
    // Nobody else sets it.
    let _ = node.thread.set(handle.thread().clone());
    Some(())
}

/// Until the tier is dropped, or the server is no master any more.
fn run(core: &Arc<Core>, node: &Arc<Node>) {
    let mut worker = Worker {
        core,
        node,
        writer: None,
        elsewhere: Vec::new(),
        connecting: Backoff::new(),
        writing: Backoff::new(),
        tidy_at: Instant::now(),
    };
    loop {
        if node.is_retired() {
            node.drop_links(core);
            return;
        }
        let busy = worker.step();
        if core.is_over() {
            core.give_up_questions(&node.queues);
            node.drop_links(core);
            return;
        }
        if !busy {
            thread::park_timeout(worker.nap());
        }
    }
}

struct Worker<'a> {
    core: &'a Core,
    node: &'a Node,
    writer: Option<Link>,
    /// To those that the last batch was sent on to.
    elsewhere: Vec<(Address, Link)>,
    connecting: Backoff,
    /// A server may let itself be connected to, and then fail.
    writing: Backoff,
    tidy_at: Instant,
}

impl Worker<'_> {
    /// True if there is more to do at once.
    fn step(&mut self) -> bool {
        let now = Instant::now();
        // A Cluster has a keeper for that.
        if now >= self.tidy_at && !self.core.nodes.is_cluster() {
            self.tidy_at = now + TIDY;
            self.core.tidy();
        }
        self.keep_links(now);
        self.exchange()
    }

    /// How long there is nothing to do unless somebody says so.
    fn nap(&self) -> Duration {
        let mut until = Instant::now() + TIDY;
        if let Some(probe) = self.node.breaker.probe_at() {
            until = until.min(probe);
        }
        if !self.node.queues.is_idle() {
            until = until.min(self.connecting.at.max(self.writing.at));
        }
        if self.wants_links() {
            until = until.min(self.connecting.at);
        }
        let nap = until.saturating_duration_since(Instant::now());
        self.core.shorter_at_the_end(nap)
    }

    fn wants_links(&self) -> bool {
        self.core.stop_by.get().is_none()
            && !self.node.breaker.is_open()
            && self.node.links.load(Ordering::Relaxed) < self.core.settings.connections
    }

    fn keep_links(&mut self, now: Instant) {
        let node = self.node;
        if self.core.stop_by.get().is_some() {
            return;
        }
        if node.breaker.probe_at().is_some_and(|due| now >= due) {
            // Those there are have failed, or stand beside those that have.
            node.drop_links(self.core);
            if let Ok(link) = node.breaker.probe(|| self.connect()) {
                node.add_link(link);
            }
        }
        while self.wants_links() && self.connecting.is_over() {
            match self.connect() {
                Ok(link) => node.add_link(link),
                Err(_) => break,
            }
        }
    }

    fn connect(&mut self) -> Result<Link, Failure> {
        let connected = connect(self.core, &self.node.server);
        match &connected {
            Ok(_) => self.connecting.succeeded(),
            Err(_) => {
                self.connecting.failed();
                // Another may have its slots by now.
                self.core.nodes.outdated();
            }
        }
        connected
    }

    /// Sends one batch, and takes its answers. True if it did.
    fn exchange(&mut self) -> bool {
        let (core, queues) = (self.core, &self.node.queues);
        if queues.is_idle() && queues.questions.is_empty() {
            return false;
        }
        if !self.writing.is_over() {
            core.give_up_questions(queues);
            return false;
        }
        if self.writer.as_mut().is_some_and(|link| !link.is_quiet()) {
            Tallies::add(&core.tallies.connections_dropped);
            self.writer = None;
        }
        let Some(mut link) = self.writer.take() else {
            if self.connecting.is_over() {
                self.writer = self.connect().ok();
            }
            if self.writer.is_none() {
                core.give_up_questions(queues);
            }
            return self.writer.is_some();
        };
        let queued = queues.writes.len() + queues.removals.len();
        if queued < BATCH && queues.questions.is_empty() && core.stop_by.get().is_none() {
            thread::sleep(GATHER);
        }
        // Before anything is taken from the queues.
        core.in_flight.fetch_add(1, Ordering::AcqRel);
        let batch = Batch::take(core, queues);
        let until = core.until(core.settings.write_timeout);
        let (done, redirected) = batch.exchange(core, &self.node.server, &mut link, until);
        match done {
            Ok(()) => {
                self.writer = Some(link);
                self.writing.succeeded();
            }
            Err(failure) => self.failed(&failure),
        }
        if redirected.is_empty() {
            self.elsewhere.clear();
        } else {
            self.follow(redirected);
        }
        core.in_flight.fetch_sub(1, Ordering::AcqRel);
        true
    }

    fn failed(&mut self, failure: &Failure) {
        self.writing.failed();
        Tallies::add(&self.core.tallies.connections_dropped);
        self.core.note(&format!("writing: {failure}"));
    }

    /// Sends on what other servers have.
    fn follow(&mut self, mut redirected: Redirected) {
        for _ in 1..HOPS {
            if redirected.iter().any(|(redirect, _)| !redirect.once) {
                self.core.nodes.outdated();
            }
            let mut next = Vec::new();
            while let Some((first, _)) = redirected.first() {
                let to = first.to.clone();
                let (there, others) = redirected
                    .into_iter()
                    .partition(|(redirect, _)| redirect.to == to);
                next.extend(self.send_on(&to, there));
                redirected = others;
            }
            redirected = next;
        }
        if !redirected.is_empty() {
            self.writing.failed();
        }
        for (_, one) in redirected {
            one.give_up(self.core);
        }
    }

    /// What is sent on once more.
    fn send_on(&mut self, to: &Address, all: Redirected) -> Redirected {
        let core = self.core;
        let server = self.node.server.at(to);
        let known = self.elsewhere.iter().position(|(address, _)| address == to);
        let mut known = known.map(|at| self.elsewhere.swap_remove(at).1);
        drop(known.take_if(|link| !link.is_quiet()));
        let Some(mut link) = known.or_else(|| connect(core, &server).ok()) else {
            self.writing.failed();
            all.into_iter().for_each(|(_, one)| one.give_up(core));
            return Vec::new();
        };
        let (mut batch, now) = (Batch::default(), core.now());
        for (redirect, one) in all {
            batch.add(one, redirect.once, now);
        }
        let until = core.until(core.settings.write_timeout);
        let (done, redirected) = batch.exchange(core, &server, &mut link, until);
        match done {
            Ok(()) => self.elsewhere.push((to.clone(), link)),
            Err(failure) => self.failed(&failure),
        }
        redirected
    }
}

fn connect(core: &Core, server: &Server) -> Result<Link, Failure> {
    let connected = server.connect(core.until(core.settings.connect_timeout));
    match &connected {
        Ok(_) => Tallies::add(&core.tallies.connections),
        Err(failure) => {
            Tallies::add(&core.tallies.connections_failed);
            core.note(&format!("connecting: {failure}"));
        }
    }
    connected
}
