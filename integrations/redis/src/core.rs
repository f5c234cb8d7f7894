//! What handshakes and the worker share; knows bytes, and no values.
//!
//! # Ground rules
//!
//! - A handshake pushes into bounded queues, and waits for a link or an answer until its deadline; for
//!   nothing else.
//! - *Marks* say what is not as Redis has it: sessions on their way there, those that never came there, those
//!   that are to be removed. No mark means: ask Redis. A mark that is lost costs misses.
//! - A mark is put before what it stands for is queued, so that whoever comes later finds it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use crossbeam_queue::ArrayQueue;
use redis::{Cmd, Value};
use sessionwheel::{Clock, ExpiringMap, SessionKey, Timestamp};

use crate::breaker::Breaker;
use crate::builder::Settings;
use crate::contexts::Contexts;
use crate::entry::{Entry, State};
use crate::flights::Flights;
use crate::health::{Health, Histogram, Tallies};
use crate::keys::Keys;
use crate::link::{Failure, Link, told};
use crate::questions::{KEPT, Question};
use crate::server::Server;

/// Sent together at most.
pub(crate) const BATCH: usize = 128;

/// So long a mark that says nothing any more is still there: longer than any lookup that began before.
const LINGER: Duration = Duration::from_secs(1);

/// A session to be removed from Redis.
pub(crate) struct Removal {
    pub(crate) key: SessionKey,
    pub(crate) name: Box<[u8]>,
    /// What stands for it until then. Another mark means that another session has come.
    pub(crate) mark: Option<Arc<Entry>>,
}

pub(crate) struct Core {
    pub(crate) server: Server,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) contexts: Contexts,
    pub(crate) flights: Flights,
    pub(crate) breaker: Breaker,
    pub(crate) tallies: Tallies,
    pub(crate) latency: Histogram,
    pub(crate) writes: ArrayQueue<Arc<Entry>>,
    pub(crate) removals: ArrayQueue<Removal>,
    pub(crate) marks: ExpiringMap<SessionKey, Arc<Entry>>,
    /// Questions that nobody waits for: to be asked, and asked.
    pub(crate) questions: ArrayQueue<Arc<Question>>,
    asked: ExpiringMap<SessionKey, Arc<Question>>,
    clock: Clock,
    /// Links that nobody uses.
    ready: (Sender<Link>, Receiver<Link>),
    /// Links for lookups, used or not.
    pub(crate) links: AtomicUsize,
    /// Commands that were sent and not answered yet: batches of the worker.
    pub(crate) in_flight: AtomicUsize,
    pub(crate) started: OnceLock<Started>,
    /// When the worker has to have ended.
    pub(crate) stop_by: OnceLock<Instant>,
    pub(crate) last_error: Mutex<Option<String>>,
}

/// Who has used the tier first.
pub(crate) struct Started {
    pid: u32,
    /// `None` if there could be no thread: the tier is down.
    worker: Option<Thread>,
    /// Closed when the worker has ended.
    pub(crate) ended: Receiver<()>,
}

impl Core {
    pub(crate) fn new(
        server: Server,
        settings: Settings,
        keys: Keys,
    ) -> Result<Self, sessionwheel::BuildError> {
        let clock = Clock::monotonic();
        let marks = ExpiringMap::builder()
            .maximum(Some(settings.marks))
            .now(clock.now())
            .build()?;
        let asked = ExpiringMap::builder()
            .maximum(Some(settings.queue))
            .now(clock.now())
            .build()?;
        Ok(Self {
            server,
            keys,
            contexts: Contexts::new(),
            flights: Flights::new(),
            breaker: Breaker::new(settings.breaker.0, settings.breaker.1),
            tallies: Tallies::default(),
            latency: Histogram::default(),
            writes: ArrayQueue::new(settings.queue),
            removals: ArrayQueue::new(settings.queue),
            questions: ArrayQueue::new(settings.queue),
            asked,
            marks,
            clock,
            ready: crossbeam_channel::bounded(settings.connections),
            links: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            started: OnceLock::new(),
            stop_by: OnceLock::new(),
            last_error: Mutex::new(None),
            settings,
        })
    }

    /// Starts the worker if nobody has. Whether the tier may be used by this process.
    pub(crate) fn is_up(self: &Arc<Self>) -> bool {
        let started = self.started.get_or_init(|| {
            let (end, ended) = crossbeam_channel::bounded(0);
            let core = self.clone();
            let thread = std::thread::Builder::new().name("sessionwheel-redis".into());
            let thread = thread.spawn(move || crate::worker::run(&core, end));
            Started {
                pid: std::process::id(),
                worker: thread.ok().map(|handle| handle.thread().clone()),
                ended,
            }
        });
        if !started.is_ours() {
            Tallies::add(&self.tallies.forked);
            return false;
        }
        started.worker.is_some()
    }

    pub(crate) fn wake(&self) {
        if let Some(worker) = self.started.get().and_then(|s| s.worker.as_ref()) {
            worker.unpark();
        }
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
        self.marks.get_cloned(key, self.now())
    }

    /// Puts a mark in place of what there was. Whether it is there now.
    pub(crate) fn put_mark(&self, entry: &Arc<Entry>) -> bool {
        let now = self.now();
        if let Some(before) = self.marks.get_cloned(&entry.key, now)
            && before.step(State::Queued, State::Gone)
        {
            Tallies::add(&self.tallies.cancelled_writes);
        }
        let put = self
            .marks
            .insert(entry.key, entry.clone(), entry.until, now);
        put.is_ok()
    }

    /// The mark says nothing that Redis wouldn't say.
    pub(crate) fn settle(&self, entry: &Arc<Entry>) {
        entry.forget_sealed();
        let now = self.now();
        let soon = now.saturating_add(LINGER).min(entry.until);
        self.marks.retime_with(
            &entry.key,
            |mark| Arc::ptr_eq(mark, entry).then_some(soon),
            now,
        );
    }

    /// Queues a session to be written; what is pushed out for it never leaves this host.
    pub(crate) fn enqueue(&self, entry: Arc<Entry>) {
        if !self.put_mark(&entry) {
            // Nothing would know what became of it.
            Tallies::add(&self.tallies.dropped_writes);
            return;
        }
        if let Some(oldest) = self.writes.force_push(entry)
            && oldest.step(State::Queued, State::Unshared)
        {
            oldest.forget_sealed();
            Tallies::add(&self.tallies.dropped_writes);
        }
        self.wake();
    }

    pub(crate) fn enqueue_removal(&self, removal: Removal) {
        if self.removals.force_push(removal).is_some() {
            Tallies::add(&self.tallies.dropped_removals);
        }
        self.wake();
    }

    /// A removal of what Redis will remove by itself.
    pub(crate) fn enqueue_expired(&self, removal: Removal) {
        if self.removals.len() >= self.removals.capacity() / 2 {
            Tallies::add(&self.tallies.left_to_expiry);
        } else {
            self.enqueue_removal(removal);
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
        if self.breaker.is_open() {
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
        if let Some(oldest) = self.questions.force_push(question.clone()) {
            Tallies::add(&self.tallies.starved);
            oldest.answer(None);
        }
        self.wake();
        Some(question)
    }

    /// Whoever asks for this session asks anew.
    pub(crate) fn forget_question(&self, key: &SessionKey) {
        self.asked.remove(key);
    }

    /// Nobody can be asked.
    pub(crate) fn give_up_questions(&self) {
        while let Some(question) = self.questions.pop() {
            Tallies::add(&self.tallies.errors);
            question.answer(None);
        }
    }

    /// Throws out what says nothing any more.
    pub(crate) fn tidy(&self) {
        let now = self.now();
        self.marks.flush(now);
        self.asked.flush(now);
        self.keys.forget();
    }

    // What is asked, and waited for.

    /// Asks one question. Every failure is counted.
    pub(crate) fn ask(&self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        if self.breaker.is_open() {
            Tallies::add(&self.tallies.skipped);
            return Err(Failure::Timeout);
        }
        loop {
            let Ok(link) = self.ready.1.recv_deadline(until) else {
                Tallies::add(&self.tallies.starved);
                // Busy is not broken.
                if self.links.load(Ordering::Relaxed) == 0 {
                    self.failed();
                }
                return Err(Failure::Timeout);
            };
            let mut borrowed = Borrowed {
                core: self,
                link: Some(link),
            };
            if !borrowed.is_quiet() {
                continue;
            }
            let begun = Instant::now();
            let value = borrowed.ask(&command.get_packed_command(), until);
            return match value {
                Ok(value) => {
                    if let Value::ServerError(error) = value {
                        // A master that is none any more: wherever the master is now, it isn't there.
                        if error.code() != "READONLY" {
                            borrowed.give_back();
                        }
                        Tallies::add(&self.tallies.errors);
                        self.failed();
                        let why = told(&error);
                        self.note(&why);
                        return Err(Failure::Refused(why));
                    }
                    borrowed.give_back();
                    self.latency.add(begun.elapsed());
                    self.breaker.succeeded();
                    Ok(value)
                }
                Err(failure) => {
                    drop(borrowed);
                    Tallies::add(match failure {
                        Failure::Timeout => &self.tallies.timeouts,
                        _ => &self.tallies.errors,
                    });
                    self.failed();
                    Err(failure)
                }
            };
        }
    }

    fn failed(&self) {
        self.breaker.failed(Instant::now());
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
    pub(crate) fn drop_links(&self) {
        while let Ok(link) = self.ready.1.try_recv() {
            drop(Borrowed {
                core: self,
                link: Some(link),
            });
        }
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
        self.writes.is_empty()
            && self.removals.is_empty()
            && self.in_flight.load(Ordering::Acquire) == 0
    }

    pub(crate) fn health(&self) -> Health {
        let last = self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Health {
            breaker: self.breaker.state(),
            breaker_openings: self.breaker.openings.load(Ordering::Relaxed),
            connections: self.links.load(Ordering::Relaxed),
            queued_writes: self.writes.len(),
            queued_removals: self.removals.len(),
            marks: self.marks.len(),
            last_error: last.clone(),
            counters: self.tallies.snapshot(),
            latency: self.latency.snapshot(),
        }
    }
}

impl Started {
    #[cfg(test)]
    pub(crate) fn by(pid: u32) -> Self {
        Self {
            pid,
            worker: None,
            ended: crossbeam_channel::never(),
        }
    }

    /// A child has the parent's memory and none of its threads, and must not touch its connections.
    pub(crate) fn is_ours(&self) -> bool {
        self.pid == std::process::id()
    }
}

/// A link in use. It is dropped with this, unless it is given back.
struct Borrowed<'a> {
    core: &'a Core,
    link: Option<Link>,
}

impl Borrowed<'_> {
    fn is_quiet(&self) -> bool {
        self.link.as_ref().is_some_and(Link::is_quiet)
    }

    fn ask(&mut self, command: &[u8], until: Instant) -> Result<Value, Failure> {
        let link = self.link.as_mut().ok_or(Failure::Closed)?;
        link.send(command, until)?;
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
            && let Err(error) = self.core.ready.0.try_send(link)
        {
            self.link = Some(error.into_inner());
        }
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        if self.link.take().is_some() {
            self.core.links.fetch_sub(1, Ordering::Relaxed);
            Tallies::add(&self.core.tallies.connections_dropped);
            self.core.wake();
        }
    }
}
