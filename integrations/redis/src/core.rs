//! What handshakes and the worker share; knows bytes, and no values.
//!
//! # Ground rules
//!
//! - A handshake pushes into bounded queues, and waits for a link or an answer until its deadline; for
//!   nothing else.
//! - A [mark](crate::marks) is put before what it stands for is queued, so that whoever comes later finds it. One that is
//!   lost costs misses.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use redis::{Cmd, Value};
use sessionwheel::{Clock, ExpiringMap, SessionKey, Timestamp};

use crate::backoff::after;
use crate::breaker::BreakerState;
use crate::builder::Settings;
use crate::contexts::Contexts;
use crate::entry::{Entry, State};
use crate::flights::Flights;
use crate::health::{Health, Histogram, NodeHealth, Tallies};
use crate::keys::Keys;
use crate::link::Failure;
use crate::marks::Marks;
use crate::node::Queues;
use crate::nodes::Nodes;
use crate::questions::{KEPT, Question};
use crate::redirect::HOPS;
use crate::weight::Sum;
use crate::{keeper, worker};

/// Between two flushes of the marks.
pub(crate) const TIDY: Duration = Duration::from_millis(250);

/// A session to be removed from Redis.
pub(crate) struct Removal {
    pub(crate) key: SessionKey,
    pub(crate) name: Box<[u8]>,
    /// What stands for it until then. Another mark means that another session has come.
    pub(crate) mark: Option<Arc<Entry>>,
}

pub(crate) struct Core {
    pub(crate) nodes: Nodes,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) contexts: Contexts,
    pub(crate) flights: Flights,
    pub(crate) breaker_openings: AtomicU64,
    pub(crate) tallies: Arc<Tallies>,
    pub(crate) latency: Histogram,
    pub(crate) marks: Marks,
    /// Questions that nobody waits for.
    asked: ExpiringMap<SessionKey, Arc<Question>>,
    /// What they were answered, and nobody has fetched.
    answers: Sum,
    clock: Clock,
    /// What was taken from a queue and is not done yet: batches.
    pub(crate) in_flight: AtomicUsize,
    pub(crate) started: OnceLock<Started>,
    /// When the worker has to have ended.
    pub(crate) stop_by: OnceLock<Instant>,
    pub(crate) last_error: Mutex<Option<String>>,
}

/// Who has used the tier first.
pub(crate) struct Started {
    pid: u32,
    /// Else there could be no thread: the tier is down.
    has_thread: bool,
    /// Closed when all threads have ended.
    pub(crate) ended: Receiver<()>,
}

impl Core {
    pub(crate) fn new(
        nodes: Nodes,
        settings: Settings,
        keys: Keys,
    ) -> Result<Self, sessionwheel::BuildError> {
        let clock = Clock::monotonic();
        let tallies = Arc::<Tallies>::default();
        let marks = Marks::new(settings.marks, clock.now(), &tallies)?;
        let asked = ExpiringMap::builder()
            .maximum(Some(settings.queue))
            .now(clock.now())
            .build()?;
        Ok(Self {
            nodes,
            keys,
            contexts: Contexts::new(),
            flights: Flights::new(),
            breaker_openings: AtomicU64::new(0),
            tallies,
            latency: Histogram::default(),
            asked,
            answers: Sum::default(),
            marks,
            clock,
            in_flight: AtomicUsize::new(0),
            started: OnceLock::new(),
            stop_by: OnceLock::new(),
            last_error: Mutex::new(None),
            settings,
        })
    }

    /// Starts the threads if nobody has. Whether the tier may be used by this process.
    pub(crate) fn is_up(self: &Arc<Self>) -> bool {
        let started = self.started.get_or_init(|| {
            let (end, ended) = crossbeam_channel::bounded(0);
            let thread = if self.nodes.is_cluster() {
                let core = self.clone();
                let run = move || keeper::run(&core, &end);
                let thread = worker::thread().spawn(run).ok();
                thread.map(|handle| _ = self.nodes.keeper.set(handle.thread().clone()))
            } else {
                let all = self.nodes.all();
                all.first().and_then(|node| worker::spawn(self, node, end))
            };
            Started {
                pid: std::process::id(),
                has_thread: thread.is_some(),
                ended,
            }
        });
        if !started.is_ours() {
            Tallies::add(&self.tallies.forked);
            return false;
        }
        started.has_thread
    }

    pub(crate) fn wake(&self) {
        self.nodes.wake();
    }

    /// Whether the threads have to end.
    pub(crate) fn is_over(&self) -> bool {
        let by = self.stop_by.get();
        by.is_some_and(|by| self.is_idle() || Instant::now() >= *by)
    }

    /// At the end each thread looks again and again whether the others are done.
    pub(crate) fn shorter_at_the_end(&self, nap: Duration) -> Duration {
        let shortest = Duration::from_millis(1);
        match self.stop_by.get() {
            Some(_) => shortest,
            None => nap.max(shortest),
        }
    }

    /// When something that may take so long has to be done.
    pub(crate) fn until(&self, timeout: Duration) -> Instant {
        let until = after(Instant::now(), timeout);
        self.stop_by.get().map_or(until, |by| until.min(*by))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The key in Redis.
    pub(crate) fn name(&self, stack: [u8; 4], context: &[u8], key: &SessionKey) -> Box<[u8]> {
        let id = key.id().as_bytes();
        let prefix = &self.settings.prefix;
        let mut name = Vec::with_capacity(prefix.len() + 5 + context.len() + id.len());
        name.extend_from_slice(prefix);
        name.extend_from_slice(&stack);
        // Of 255 bytes at most.
        name.push(context.len() as u8);
        name.extend_from_slice(context);
        name.extend_from_slice(id);
        name.into_boxed_slice()
    }

    // What is on its way.

    pub(crate) fn mark(&self, key: &SessionKey) -> Option<Arc<Entry>> {
        self.marks.get(key, self.now())
    }

    /// Puts a mark in place of what there was. Whether it is there now.
    pub(crate) fn put_mark(&self, entry: &Arc<Entry>) -> bool {
        self.marks.put(entry, self.now())
    }

    /// The mark says nothing that Redis wouldn't say.
    pub(crate) fn settle(&self, entry: &Arc<Entry>) {
        self.marks.settle(entry, self.now());
    }

    /// Queues a session to be written; what is pushed out for it never leaves this host.
    pub(crate) fn enqueue(&self, entry: Arc<Entry>) {
        if !self.put_mark(&entry) {
            // Nothing would know what became of it.
            Tallies::add(&self.tallies.dropped_writes);
            return;
        }
        self.queue_write(entry);
    }

    /// Queues it, marked as it is.
    pub(crate) fn queue_write(&self, entry: Arc<Entry>) {
        let (queued, most) = (entry.clone(), self.settings.queue_bytes);
        self.nodes.push(&entry.name, |queues| {
            queued.count_in(&queues.bytes);
            let drop_write = |oldest: Arc<Entry>| {
                if oldest.step(State::Queued, State::Unshared) {
                    Tallies::add(&self.tallies.dropped_writes);
                }
            };
            queues.writes.force_push(queued).map(drop_write);
            while queues.bytes.get() > most
                && let Some(oldest) = queues.writes.pop()
            {
                drop_write(oldest);
            }
        });
    }

    pub(crate) fn enqueue_removal(&self, removal: Removal) {
        let name = removal.name.clone();
        let pushed_out = self
            .nodes
            .push(&name, |queues| queues.removals.force_push(removal));
        self.drop_removal(pushed_out);
    }

    /// A removal of what Redis will remove by itself.
    pub(crate) fn enqueue_expired(&self, removal: Removal) {
        let name = removal.name.clone();
        let unless_half_full = |queues: &Queues| {
            let half = queues.removals.capacity() / 2;
            let room = queues.removals.len() < half;
            room.then(|| queues.removals.force_push(removal))
        };
        match self.nodes.push(&name, unless_half_full) {
            Some(pushed_out) => self.drop_removal(pushed_out),
            None => Tallies::add(&self.tallies.left_to_expiry),
        }
    }

    /// A removal that could not be sent. If the queue is full, what it has is newer.
    pub(crate) fn put_back_removal(&self, removal: Removal) {
        let name = removal.name.clone();
        let put = self
            .nodes
            .push(&name, |queues| queues.removals.push(removal));
        self.drop_removal(put.err());
    }

    fn drop_removal(&self, pushed_out: Option<Removal>) {
        if let Some(removal) = pushed_out {
            Tallies::add(&self.tallies.dropped_removals);
            self.lose_removal(&removal);
        }
    }

    /// It will not be carried out, and nothing that long ago is taken from Redis here.
    pub(crate) fn lose_removal(&self, removal: &Removal) {
        if let Some(mark) = &removal.mark
            && mark.state() == State::Gone
        {
            self.marks.watermark.raise();
            self.settle(mark);
        }
    }

    // What is asked, and not waited for.

    /// What is being asked about this session, or was a moment ago.
    pub(crate) fn asked(&self, key: &SessionKey) -> Option<Arc<Question>> {
        self.asked.get_cloned(key, self.now())
    }

    /// The same; if it is nothing, it is asked now. `None` if nobody is asked now.
    pub(crate) fn question(&self, key: &SessionKey, name: &[u8]) -> Option<Arc<Question>> {
        if let Some(asked) = self.asked(key) {
            return Some(asked);
        }
        let node = self.nodes.of(name);
        if node.is_some_and(|node| node.breaker.is_open()) {
            Tallies::add(&self.tallies.skipped);
            return None;
        }
        let question = Arc::new(Question::new(name.into()));
        let now = self.now();
        let until = now.saturating_add(KEPT);
        let put = self.asked.insert(*key, question.clone(), until, now);
        if put.is_err() {
            Tallies::add(&self.tallies.starved);
            return None;
        }
        self.queue_question(question.clone());
        Some(question)
    }

    pub(crate) fn queue_question(&self, question: Arc<Question>) {
        let queued = question.clone();
        let pushed_out = self
            .nodes
            .push(&question.name, |queues| queues.questions.force_push(queued));
        if let Some(oldest) = pushed_out {
            Tallies::add(&self.tallies.starved);
            oldest.answer(None);
        }
    }

    /// Redis has the session. If there is no room for it, it is nobody's.
    pub(crate) fn answer_question(&self, question: &Question, sealed: Vec<u8>) {
        let len = sealed.len();
        if self.answers.get() + len > self.settings.queue_bytes {
            Tallies::add(&self.tallies.starved);
            return question.answer(None);
        }
        question.answer_with(sealed.into(), self.answers.add(len));
    }

    /// Nobody waits any longer for what was asked about what is called so.
    pub(crate) fn late(&self, name: &[u8]) {
        Tallies::add(&self.tallies.timeouts);
        if let Some(node) = self.nodes.of(name).filter(|node| node.is_tried()) {
            node.failed(self);
        }
    }

    /// Whoever asks for this session asks anew.
    pub(crate) fn forget_question(&self, key: &SessionKey) {
        self.asked.remove(key);
    }

    /// Nobody can be asked. Whether there was a question.
    pub(crate) fn give_up_questions(&self, queues: &Queues) -> bool {
        let mut any = false;
        while let Some(question) = queues.questions.pop() {
            Tallies::add(&self.tallies.errors);
            question.answer(None);
            any = true;
        }
        any
    }

    /// Throws out what says nothing any more.
    pub(crate) fn tidy(&self) {
        let now = self.now();
        // Whoever has asked something waits for this thread, so it waits for nobody.
        self.marks.flush(now);
        self.asked.flush_within(now, usize::MAX);
        self.keys.tidy();
    }

    // What is asked, and waited for.

    /// Asks one question about what is called so, and asks again wherever it is sent. Every failure is counted.
    pub(crate) fn ask(&self, command: &Cmd, name: &[u8], until: Instant) -> Result<Value, Failure> {
        let command = command.get_packed_command();
        let (mut node, mut asking) = (self.nodes.of(name), false);
        for _ in 0..HOPS {
            let Some(asked) = node else { break };
            match asked.ask(self, &command, asking, until)? {
                Ok(value) => return Ok(value),
                Err(redirect) => {
                    Tallies::add(&self.tallies.redirected);
                    if !redirect.once {
                        self.nodes.outdated();
                    }
                    (node, asking) = (self.nodes.at(&redirect.to), redirect.once);
                }
            }
        }
        Tallies::add(&self.tallies.unrouted);
        self.nodes.outdated();
        Err(Failure::Timeout)
    }

    pub(crate) fn note(&self, error: &str) {
        let mut last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.as_deref() != Some(error) {
            *last = Some(error.to_owned());
        }
    }

    /// Whether all that was queued is out and answered.
    pub(crate) fn is_idle(&self) -> bool {
        self.nodes.is_idle() && self.in_flight.load(Ordering::Acquire) == 0
    }

    pub(crate) fn health(&self) -> Health {
        let last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let nodes: Vec<_> = self.nodes.all().iter().map(|node| node.health()).collect();
        let sum = |number: fn(&NodeHealth) -> usize| nodes.iter().map(number).sum::<usize>();
        let waiting = &self.nodes.waiting;
        let worst = nodes.iter().map(|node| node.breaker).max();
        Health {
            breaker: worst.unwrap_or(BreakerState::Closed),
            breaker_openings: self.breaker_openings.load(Ordering::Relaxed),
            connections: sum(|node| node.connections),
            queued_writes: waiting.writes.len() + sum(|node| node.queued_writes),
            queued_removals: waiting.removals.len() + sum(|node| node.queued_removals),
            queued_bytes: waiting.bytes.get() + sum(|node| node.queued_bytes),
            marks: self.marks.len(),
            last_error: last.clone(),
            counters: self.tallies.snapshot(),
            latency: self.latency.snapshot(),
            nodes,
        }
    }
}

impl Started {
    #[cfg(test)]
    pub(crate) fn by(pid: u32) -> Self {
        Self {
            pid,
            has_thread: true,
            ended: crossbeam_channel::never(),
        }
    }

    /// A child has the parent's memory and none of its threads, and must not touch its connections.
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == std::process::id()
    }
}
