//! Who has what: one server everything, or the masters of a Cluster their slots.
//!
//! # Ground rules
//!
//! - The [keeper](crate::keeper) alone changes the map of a Cluster.
//! - Whoever pushes to a node's queue holds the map's lock for reading. So nothing comes to the queues of a node
//!   that has left the map.
//! - What no node has waits apart, until one does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::Thread;

use crate::node::{Node, Queues};
use crate::redirect::{Address, slot};
use crate::server::Server;

/// The number of a node that isn't there: there are fewer, by far.
pub(crate) const NOBODY: u16 = u16::MAX;

pub(crate) struct Nodes {
    map: RwLock<Map>,
    /// Whom to ask for the map of a Cluster; nobody if it is none.
    pub(crate) seeds: Vec<Server>,
    /// What no node has.
    pub(crate) waiting: Queues,
    pub(crate) keeper: OnceLock<Thread>,
    outdated: AtomicBool,
}

#[derive(Default)]
struct Map {
    all: Vec<Arc<Node>>,
    /// For each slot the number of its node. Empty: the first one has everything.
    slots: Vec<u16>,
}

impl Map {
    fn of(&self, name: &[u8]) -> Option<&Arc<Node>> {
        let number = if self.slots.is_empty() {
            0
        } else {
            self.slots[usize::from(slot(name))]
        };
        self.all.get(usize::from(number))
    }
}

impl Nodes {
    pub(crate) fn one(node: Node) -> Self {
        let map = Map {
            all: vec![Arc::new(node)],
            slots: Vec::new(),
        };
        // Of no use: somebody has everything.
        Self::new(map, Vec::new(), Queues::new(1))
    }

    pub(crate) fn cluster(seeds: Vec<Server>, queue: usize) -> Self {
        Self::new(Map::default(), seeds, Queues::new(queue))
    }

    fn new(map: Map, seeds: Vec<Server>, waiting: Queues) -> Self {
        Self {
            map: RwLock::new(map),
            outdated: AtomicBool::new(!seeds.is_empty()),
            seeds,
            waiting,
            keeper: OnceLock::new(),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        !self.seeds.is_empty()
    }

    /// Who has what is called so.
    pub(crate) fn of(&self, name: &[u8]) -> Option<Arc<Node>> {
        self.read().of(name).cloned()
    }

    pub(crate) fn at(&self, address: &Address) -> Option<Arc<Node>> {
        let map = self.read();
        let mut all = map.all.iter();
        all.find(|node| node.server.address().as_ref() == Some(address))
            .cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Node>> {
        self.read().all.clone()
    }

    /// Pushes into the queue where what is called so has to go.
    pub(crate) fn push<R>(&self, name: &[u8], push: impl FnOnce(&Queues) -> R) -> R {
        let map = self.read();
        if let Some(node) = map.of(name) {
            let pushed = push(&node.queues);
            node.wake();
            pushed
        } else {
            self.outdated();
            push(&self.waiting)
        }
    }

    /// Somebody has seen that the map is not what it should be.
    pub(crate) fn outdated(&self) {
        if self.is_cluster() && !self.outdated.swap(true, Ordering::Relaxed) {
            self.wake_keeper();
        }
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    /// The map is being asked for.
    pub(crate) fn updating(&self) {
        self.outdated.store(false, Ordering::Relaxed);
    }

    pub(crate) fn replace(&self, all: Vec<Arc<Node>>, slots: Vec<u16>) {
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Map { all, slots };
    }

    pub(crate) fn is_idle(&self) -> bool {
        let map = self.read();
        self.waiting.is_idle() && map.all.iter().all(|node| node.queues.is_idle())
    }

    pub(crate) fn wake(&self) {
        self.wake_keeper();
        self.read().all.iter().for_each(|node| node.wake());
    }

    fn wake_keeper(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Map> {
        self.map.read().unwrap_or_else(PoisonError::into_inner)
    }
}
