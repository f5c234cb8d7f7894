//! The thread of one server: it connects, probes, and writes behind.
//!
//! # Ground rules
//!
//! - It alone connects, so that no handshake waits for that, and it alone takes from the queues of its server.
//! - What another server of a Cluster has to be asked for is asked there before anything else is sent, so that
//!   commands for one id stay in their order.
//! - It never waits longer than a timeout for any answer, and not beyond the time at which it has to end. The system's
//!   resolver alone has no timeout.

use std::collections::BTreeSet;
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

/// So many others are asked for one batch at most: two while a slot moves, and a few more if many do.
const ELSEWHERE: usize = 16;

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
        if !node.is_tried() {
            // What nobody waits for at the beginning doesn't wait for this one either.
            if self.writer.is_none() && self.connecting.is_over() {
                self.writer = self.connect().ok();
            }
            node.has_tried();
        }
    }

    fn connect(&mut self) -> Result<Link, Failure> {
        let timeout = self.core.until(self.core.settings.connect_timeout);
        let connected = connect(self.core, &self.node.server, timeout);
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
            self.give_up_questions();
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
                self.give_up_questions();
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
        let here = (&self.node.server, Some(self.node));
        let (done, redirected) = batch.exchange(core, here, &mut link, until);
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

    fn give_up_questions(&self) {
        if self.core.give_up_questions(&self.node.queues) {
            self.node.failed(self.core);
        }
    }

    fn failed(&mut self, failure: &Failure) {
        self.writing.failed();
        Tallies::add(&self.core.tallies.connections_dropped);
        self.core.note(&format!("writing: {failure}"));
    }

    /// Sends on what other servers have, all of it within one timeout.
    fn follow(&mut self, mut redirected: Redirected) {
        let until = self.core.until(self.core.settings.write_timeout);
        // What this batch has no use for is closed.
        let mut before = std::mem::take(&mut self.elsewhere);
        let mut asked = BTreeSet::new();
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
                redirected = others;
                if asked.len() == ELSEWHERE && !asked.contains(&to) {
                    self.give_up(there);
                    continue;
                }
                asked.insert(to.clone());
                let known = take_link(&mut self.elsewhere, &to);
                let known = known.or_else(|| take_link(&mut before, &to));
                next.extend(self.send_on(&to, known, there, until));
            }
            redirected = next;
        }
        self.give_up(redirected);
    }

    fn give_up(&mut self, all: Redirected) {
        if !all.is_empty() {
            self.writing.failed();
        }
        for (_, one) in all {
            one.give_up(self.core);
        }
    }

    /// What is sent on once more.
    fn send_on(
        &mut self,
        to: &Address,
        known: Option<Link>,
        all: Redirected,
        until: Instant,
    ) -> Redirected {
        let core = self.core;
        let server = self.node.server.at(to);
        let by = until.min(core.until(core.settings.connect_timeout));
        let Some(mut link) = known.or_else(|| connect(core, &server, by).ok()) else {
            self.give_up(all);
            return Vec::new();
        };
        let (mut batch, now) = (Batch::default(), core.now());
        for (redirect, one) in all {
            batch.add(one, redirect.once, now);
        }
        let node = core.nodes.at(to);
        let there = (&server, node.as_deref());
        let (done, redirected) = batch.exchange(core, there, &mut link, until);
        match done {
            Ok(()) => self.elsewhere.push((to.clone(), link)),
            Err(failure) => self.failed(&failure),
        }
        redirected
    }
}

/// The link to there, if it is good for anything.
fn take_link(links: &mut Vec<(Address, Link)>, to: &Address) -> Option<Link> {
    let at = links.iter().position(|(address, _)| address == to)?;
    let mut link = links.swap_remove(at).1;
    link.is_quiet().then_some(link)
}

fn connect(core: &Core, server: &Server, until: Instant) -> Result<Link, Failure> {
    let connected = server.connect(until);
    match &connected {
        Ok(_) => Tallies::add(&core.tallies.connections),
        Err(failure) => {
            Tallies::add(&core.tallies.connections_failed);
            core.note(&format!("connecting: {failure}"));
        }
    }
    connected
}
