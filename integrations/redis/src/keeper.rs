//! The thread that keeps the map of a Cluster: it asks who has which slots, starts a worker for each new master,
//! and ends those of masters that are none any more.
//!
//! # Ground rules
//!
//! - It asks when somebody has seen that the map is wrong, and seldom enough to be no burden: nobody waits for it.
//! - What waited for a node that has gone is queued anew, at whoever has its slot now.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::backoff::Backoff;
use crate::core::{Core, TIDY};
use crate::health::Tallies;
use crate::link::Failure;
use crate::node::{Node, Queues};
use crate::nodes::NOBODY;
use crate::redirect::{Address, Range, SLOTS};
use crate::server::in_turn;
use crate::worker;

/// So many masters are asked for the map before the seeds are.
const ASKED: usize = 3;

/// Until the tier is dropped. `end` closes with it, and with the workers.
pub(crate) fn run(core: &Arc<Core>, end: &Sender<()>) {
    let mut keeper = Keeper {
        core,
        end,
        asking: Backoff::new(),
    };
    let mut tidy_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= tidy_at {
            tidy_at = now + TIDY;
            core.tidy();
        }
        if core.nodes.is_outdated() && keeper.asking.is_over() {
            keeper.update();
        }
        if core.is_over() {
            core.give_up_questions(&core.nodes.waiting);
            core.nodes.wake();
            return;
        }
        let mut until = tidy_at;
        if core.nodes.is_outdated() {
            until = until.min(keeper.asking.at);
        }
        let nap = until.saturating_duration_since(Instant::now());
        thread::park_timeout(core.shorter_at_the_end(nap));
    }
}

struct Keeper<'a> {
    core: &'a Arc<Core>,
    end: &'a Sender<()>,
    asking: Backoff,
}

impl Keeper<'_> {
    fn update(&mut self) {
        let core = self.core;
        // Before it is asked: what is seen from now on may be newer.
        core.nodes.updating();
        let until = core.until(core.settings.connect_timeout);
        match ask(core, until) {
            Ok(map) => self.adopt(&map),
            Err(failure) => {
                core.nodes.outdated();
                core.note(&format!("asking for the slots: {failure}"));
            }
        }
        // Nobody can answer them.
        core.give_up_questions(&core.nodes.waiting);
        self.asking.done();
    }

    fn adopt(&self, map: &[Range]) {
        let nodes = &self.core.nodes;
        let before = nodes.all();
        let at = |all: &[Arc<Node>], address: &Address| {
            all.iter()
                .position(|node| node.server.address().as_ref() == Some(address))
        };
        let mut all: Vec<Arc<Node>> = Vec::new();
        let mut slots = vec![NOBODY; SLOTS];
        for range in map {
            let number = at(&all, &range.master).or_else(|| {
                let known = at(&before, &range.master).map(|number| before[number].clone());
                all.push(known.or_else(|| self.start(&range.master))?);
                Some(all.len() - 1)
            });
            if let Some(number) = number.and_then(|number| u16::try_from(number).ok()) {
                slots[usize::from(range.first)..=usize::from(range.last)].fill(number);
            }
        }
        let gone = |node: &&Arc<Node>| !all.iter().any(|other| Arc::ptr_eq(node, other));
        let gone: Vec<_> = before.iter().filter(gone).cloned().collect();
        // Something is on its way from one queue to another.
        self.core.in_flight.fetch_add(1, Ordering::AcqRel);
        nodes.replace(all, slots);
        for node in gone {
            node.retire();
            node.drop_links(self.core);
            self.distribute(&node.queues);
        }
        self.distribute(&nodes.waiting);
        self.core.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whatever waits there, to whoever has it now.
    fn distribute(&self, from: &Queues) {
        let core = self.core;
        for _ in 0..from.writes.len() {
            if let Some(entry) = from.writes.pop() {
                core.queue_write(entry);
            }
        }
        for _ in 0..from.removals.len() {
            if let Some(removal) = from.removals.pop() {
                core.enqueue_removal(removal);
            }
        }
        for _ in 0..from.questions.len() {
            if let Some(question) = from.questions.pop() {
                core.queue_question(question);
            }
        }
    }

    /// `None` if there can be no thread: what it has waits until there can.
    fn start(&self, address: &Address) -> Option<Arc<Node>> {
        let core = self.core;
        let server = core.nodes.seeds.first()?.at(address);
        let node = Arc::new(Node::new(server, &core.settings));
        let worker = worker::spawn(core, &node, self.end.clone());
        if worker.is_none() {
            core.nodes.outdated();
        }
        worker.map(|()| node)
    }
}

/// Who has which slots, by the word of the first who answers.
pub(crate) fn ask(core: &Core, until: Instant) -> Result<Vec<Range>, Failure> {
    let known = core.nodes.all().into_iter();
    let up = known.filter(|node| !node.breaker.is_open()).take(ASKED);
    let mut all: Vec<_> = up.map(|node| node.server.clone()).collect();
    all.extend(core.nodes.seeds.iter().cloned());
    let map = in_turn(&all, until, |server, part| server.map(part));
    if map.is_ok() {
        Tallies::add(&core.tallies.maps);
    }
    map
}
