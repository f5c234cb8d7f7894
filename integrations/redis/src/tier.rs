//! [`RedisTier`]: the external tier, call by call.

mod claims;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use redis::Value;
use sessionwheel::{Claim, ExternalTier, Fetched, Reason, SessionKey, TierSession};

use crate::backoff::after;
use crate::builder::{RedisTierBuilder, TierError};
use crate::codec::Codec;
use crate::contexts::Named;
use crate::core::{Core, Removal};
use crate::entry::{Entry, State};
use crate::flights::{Answer, Joined};
use crate::health::{Health, Tallies};
use crate::keys::Keyring;
use crate::questions::{Prefetch, Question};
use crate::seal::{For, NotOpened, open, seal};

/// So long is what was removed here not asked for, if its removal can't be sent; then all that is older isn't taken. Longer
/// than most sessions live, so that of too many marks theirs go first: that costs less.
const LONGEST_REMOVAL: Duration = Duration::from_secs(24 * 3_600);

/// Redis, or Valkey, as the external tier of a [`SessionCache`](sessionwheel::SessionCache).
///
/// A handle; clones share everything. Give one to the cache, and keep one to [share](Self::share) contexts and to
/// look at its [health](Self::health). When the last one is dropped, what is queued is still written, within the
/// [stop timeout](RedisTierBuilder::stop_timeout).
///
/// The first use starts one thread, and with a Cluster one more for each master. **A process that was forked after that
/// has no tier**: every lookup is a miss, nothing is written, and claims are as when Redis is down. Fork first.
///
/// # Examples
///
/// ```
/// use sessionwheel::SessionCache;
/// use sessionwheel_redis::{Codec, Keyring, RedisTier};
///
/// let codec = Codec::new(
///     *b"text",
///     |text: &String, bytes: &mut Vec<u8>| bytes.extend_from_slice(text.as_bytes()),
///     |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok(),
/// );
/// // From wherever the fleet keeps its secrets.
/// let keys = Keyring::new(1, [0x5A; 32]);
/// let tier = RedisTier::builder("redis://127.0.0.1:6379/", keys, codec)?.build()?;
/// let cache = SessionCache::builder().external(tier.clone()).build()?;
/// # assert_eq!(cache.len(), 0);
/// assert_eq!(tier.health().counters.stores, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RedisTier<V: Send + Sync + 'static>(Arc<Handle<V>>);

struct Handle<V> {
    core: Arc<Core>,
    codec: Codec<V>,
}

impl<V: Send + Sync + 'static> RedisTier<V> {
    /// A builder for a tier in the Redis at `address`: `redis://[[user]:password@]host[:port][/db]`, or
    /// `unix:///path[?db=1&user=name&pass=word]`.
    ///
    /// Redis 6.2 or newer, for `GETDEL`.
    ///
    /// # Errors
    ///
    /// [`TierError::Address`] if it is none. `rediss://` is one with the feature `tls` only.
    pub fn builder(
        address: &str,
        keys: Keyring,
        codec: Codec<V>,
    ) -> Result<RedisTierBuilder<V>, TierError> {
        RedisTierBuilder::new(address, keys, codec)
    }

    pub(crate) fn new(core: Core, codec: Codec<V>) -> Self {
        Self(Arc::new(Handle {
            core: Arc::new(core),
            codec,
        }))
    }

    /// Connects, logs in, tries `GETDEL` and hangs up again: for a start-up that is to fail if the address or the
    /// password is wrong, or the server too old. With a Cluster, on each master, and each slot has to have one.
    ///
    /// # Errors
    ///
    /// [`TierError::Server`] says what is wrong.
    pub fn check(&self, within: Duration) -> Result<(), TierError> {
        let until = after(Instant::now(), within);
        let checked = crate::check::check(self.core(), until);
        checked.map_err(|failure| TierError::Server(failure.to_string()))
    }

    /// Asks Redis for the session under `key` and waits for nothing: its lookup within the next second finds
    /// the answer here.
    ///
    /// For servers that see a client's offer before the handshake needs it: a rustls server that peeks at the
    /// `ClientHello`, on an async runtime.
    ///
    /// ```
    /// # use sessionwheel_redis::RedisTier;
    /// use sessionwheel::SessionKey;
    ///
    /// async fn before_the_handshake(tier: &RedisTier<String>, offered: &[SessionKey]) {
    ///     let asked: Vec<_> = offered.iter().map(|key| tier.prefetch(key)).collect();
    ///     for answer in asked {
    ///         answer.await;
    ///     }
    /// }
    /// ```
    pub fn prefetch(&self, key: &SessionKey) -> Prefetch {
        let names = self.shared(key).filter(|_| self.core().is_up());
        Prefetch(names.and_then(|names| self.ask_ahead(&names, key)))
    }

    /// What Redis is being asked, or was; `None` if it needn't be, or can't.
    fn ask_ahead(&self, names: &Names, key: &SessionKey) -> Option<Arc<Question>> {
        let asks = self.has_to_ask(key);
        asks.then(|| self.core().question(key, &names.key))
            .flatten()
    }

    /// Whether Redis alone knows.
    fn has_to_ask(&self, key: &SessionKey) -> bool {
        let core = self.core();
        let state = core.mark(key).map(|mark| mark.state());
        matches!(state, None | Some(State::Written | State::Unknown)) && self.may_ask(key)
    }

    fn may_ask(&self, key: &SessionKey) -> bool {
        let settings = &self.core().settings;
        settings.reads && settings.ours.as_ref().is_none_or(|ours| ours(key.id()))
    }

    /// Waits until all that was queued before has been sent and answered. False if it took longer.
    pub fn flush_writes(&self, within: Duration) -> bool {
        let until = after(Instant::now(), within);
        while !self.core().is_idle() {
            if Instant::now() >= until {
                return false;
            }
            self.core().wake();
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }

    /// How the tier is doing.
    #[must_use]
    pub fn health(&self) -> Health {
        self.core().health()
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.0.core
    }

    fn until(&self) -> Instant {
        after(Instant::now(), self.core().settings.deadline)
    }

    /// What its context is called and what it is called in Redis; nothing for what never was shared.
    fn names(&self, key: &SessionKey) -> Option<Names> {
        let Named { name, is_shared } = self.core().contexts.name(key.context())?;
        let key = self.core().name(self.0.codec.stack(), &name, key);
        Some(Names {
            context: name,
            key,
            is_shared,
        })
    }

    /// The same, but nothing for what isn't shared any more.
    fn shared(&self, key: &SessionKey) -> Option<Names> {
        self.names(key).filter(|names| names.is_shared)
    }

    /// Opens what came from Redis for a session that isn't here.
    fn open_new(&self, names: &Names, key: &SessionKey, sealed: &[u8]) -> Option<TierSession<V>> {
        let watermark = self.core().marks.watermark.get();
        self.open(names, key, sealed, watermark)
    }

    fn open(
        &self,
        names: &Names,
        key: &SessionKey,
        sealed: &[u8],
        watermark: u64,
    ) -> Option<TierSession<V>> {
        let tallies = &self.core().tallies;
        let whom = For {
            context: &names.context,
            key,
        };
        let keys = &self.core().keys;
        let now = SystemTime::now();
        match open(keys, &self.0.codec, whom, sealed, now, watermark) {
            Ok(session) => return Some(session),
            Err(NotOpened::Foreign) => Tallies::add(&tallies.unopened),
            Err(NotOpened::Expired) => Tallies::add(&tallies.expired),
            Err(NotOpened::Withheld) => Tallies::add(&tallies.withheld),
        }
        None
    }

    /// What is known here; `None` if Redis has to be asked.
    fn here(&self, names: &Names, key: &SessionKey) -> Option<Fetched<V>> {
        let core = self.core();
        if let Some(mark) = core.mark(key) {
            // First: with the state that is read then, they have not been emptied.
            let sealed = mark.sealed();
            match mark.state() {
                State::Queued | State::Sent => {
                    let session = self.open(names, key, &sealed, 0);
                    if session.is_some() {
                        Tallies::add(&core.tallies.hits_on_the_way);
                    }
                    return Some(session.map_or(Fetched::Miss, Fetched::Hit));
                }
                State::Unshared | State::Gone | State::Removed => {
                    Tallies::add(&core.tallies.not_asked);
                    return Some(Fetched::Miss);
                }
                State::Written | State::Unknown => {}
            }
        }
        if !self.may_ask(key) {
            Tallies::add(&core.tallies.not_asked);
            return Some(Fetched::Miss);
        }
        None
    }

    /// What Redis has said or says, for who waits or doesn't; `None`: not yet.
    fn there(&self, names: &Names, key: &SessionKey) -> Option<Answer> {
        let core = self.core();
        let patience = core.settings.pending;
        let question = match patience {
            Some(_) => core.question(key, &names.key),
            // It may have been asked before.
            None => core.asked(key),
        };
        if let Some(question) = question {
            if let Some(answer) = question.answered() {
                core.forget_question(key);
                return Some(answer);
            }
            if let Some(patience) = patience {
                if question.asked.elapsed() < patience {
                    return None;
                }
                core.late(&names.key);
                return Some(None);
            }
        } else if patience.is_some() {
            return Some(None);
        }
        Some(self.wait(names, key))
    }

    fn wait(&self, names: &Names, key: &SessionKey) -> Answer {
        let core = self.core();
        let until = self.until();
        let ask = || self.get(&names.key, until);
        match core.flights.join(key, until, ask) {
            Joined::Led(answer) => answer,
            Joined::Followed(Some(answer)) => {
                Tallies::add(&core.tallies.shared);
                answer
            }
            Joined::Followed(None) => {
                Tallies::add(&core.tallies.timeouts);
                None
            }
        }
    }

    fn get(&self, name: &[u8], until: Instant) -> Answer {
        let asked = self.core().ask(redis::cmd("GET").arg(name), name, until);
        match asked {
            Ok(Value::BulkString(sealed)) => Some(sealed.into()),
            Ok(_) => {
                Tallies::add(&self.core().tallies.misses);
                None
            }
            Err(_) => None,
        }
    }

    /// Here it has expired, by its time or by the word of who flushed.
    fn expired(&self, key: SessionKey, name: Box<[u8]>, mark: Option<Arc<Entry>>) {
        let core = self.core();
        if let Some(mark) = &mark
            && mark.step(State::Queued, State::Gone)
        {
            Tallies::add(&core.tallies.cancelled_writes);
            core.settle(mark);
        }
        core.enqueue_expired(Removal { key, name, mark });
    }

    /// From now on it is a miss here, and from Redis it is removed as soon as that can be.
    fn let_go(&self, key: SessionKey, name: Box<[u8]>) {
        let core = self.core();
        let until = core.now().saturating_add(LONGEST_REMOVAL);
        let gone = Arc::new(Entry::new(key, name, Vec::new(), until, State::Gone));
        if !core.put_mark(&gone) {
            core.marks.watermark.raise();
        }
        core.enqueue_removal(removal_of(&gone));
    }
}

/// What two hosts call the same.
struct Names {
    context: Arc<[u8]>,
    /// In Redis.
    key: Box<[u8]>,
    /// Else it can only have been shared.
    is_shared: bool,
}

fn removal_of(mark: &Arc<Entry>) -> Removal {
    Removal {
        key: mark.key,
        name: mark.name.clone(),
        mark: Some(mark.clone()),
    }
}

impl<V: Send + Sync + 'static> ExternalTier<V> for RedisTier<V> {
    /// Seals the session and queues it. Waits for nothing.
    fn store(&self, session: TierSession<&V>) {
        let core = self.core();
        let key = session.key;
        let Some(names) = self.names(&key) else {
            return;
        };
        if !core.is_up() {
            return;
        }
        let until = core.now().saturating_add(session.remaining);
        if !names.is_shared {
            // Whoever claims it has to know that it was never outside.
            let entry = Entry::new(key, names.key, Vec::new(), until, State::Unshared);
            core.put_mark(&Arc::new(entry));
            return;
        }
        Tallies::add(&core.tallies.stores);
        let whom = For {
            context: &names.context,
            key: &key,
        };
        match seal(&core.keys, &self.0.codec, whom, &session, SystemTime::now()) {
            Ok(sealed) => {
                let entry = Entry::new(key, names.key, sealed, until, State::Queued);
                core.enqueue(Arc::new(entry));
            }
            Err(_) => {
                Tallies::add(&core.tallies.unsealed);
                let entry = Entry::new(key, names.key, Vec::new(), until, State::Unshared);
                core.put_mark(&Arc::new(entry));
            }
        }
    }

    /// Asks Redis, for the deadline at most; or says that it is being asked.
    fn fetch(&self, key: &SessionKey) -> Fetched<V> {
        let core = self.core();
        let Some(names) = self.shared(key) else {
            Tallies::add(&core.tallies.not_asked);
            return Fetched::Miss;
        };
        // A child's copies of the marks are of its parent's sessions.
        if !core.is_up() {
            return Fetched::Miss;
        }
        if let Some(fetched) = self.here(&names, key) {
            return fetched;
        }
        let Some(answer) = self.there(&names, key) else {
            return Fetched::Pending;
        };
        match answer.and_then(|sealed| self.open_new(&names, key, &sealed)) {
            Some(session) => {
                Tallies::add(&core.tallies.hits);
                Fetched::Hit(session)
            }
            None => Fetched::Miss,
        }
    }

    /// Asks Redis who may use it, for the deadline at most.
    fn claim(&self, key: &SessionKey) -> Claim {
        self.claimed(key)
    }

    /// One question instead of two, if Redis has to be asked and it is waited for.
    fn take(&self, key: &SessionKey) -> Option<Fetched<V>> {
        let core = self.core();
        let names = self.shared(key)?;
        let waits = core.settings.pending.is_none() && core.asked(key).is_none();
        if !waits || !core.is_up() || !self.has_to_ask(key) {
            return None;
        }
        let command = redis::cmd("GETDEL").arg(&*names.key).take();
        let session = match core.ask(&command, &names.key, self.until()) {
            Ok(Value::BulkString(sealed)) => self.open_new(&names, key, &sealed),
            Ok(_) => {
                Tallies::add(&core.tallies.misses);
                None
            }
            Err(_) => None,
        };
        if session.is_some() {
            Tallies::add(&core.tallies.hits);
            Tallies::add(&core.tallies.claimed);
        }
        Some(session.map_or(Fetched::Miss, Fetched::Hit))
    }

    fn prepare(&self, key: &SessionKey) -> bool {
        let core = self.core();
        let Some(names) = self.shared(key).filter(|_| core.is_up()) else {
            return true;
        };
        let Some(question) = self.ask_ahead(&names, key) else {
            return true;
        };
        let patience = core.settings.pending.unwrap_or(core.settings.deadline);
        question.answered().is_some() || question.asked.elapsed() >= patience
    }

    /// Queues the removal, unless the session only had to make room here. Waits for nothing.
    fn remove(&self, key: &SessionKey, reason: Reason) {
        let core = self.core();
        let Some(names) = self.names(key) else {
            return;
        };
        if !core.is_up() {
            return;
        }
        if matches!(reason, Reason::Evicted | Reason::Expired) {
            let mark = core.mark(key);
            if let Some(mark) = &mark
                && mark.state() == State::Unshared
            {
                // It was nowhere else.
                core.settle(mark);
            } else if reason == Reason::Expired {
                self.expired(*key, names.key, mark);
            }
            return;
        }
        self.let_go(*key, names.key);
    }
}

impl<V> Drop for Handle<V> {
    fn drop(&mut self) {
        let Some(started) = self.core.started.get() else {
            return;
        };
        if !started.is_ours() {
            return;
        }
        let by = after(Instant::now(), self.core.settings.stop_timeout);
        // Nobody else sets it.
        let _ = self.core.stop_by.set(by);
        self.core.wake();
        // It is closed, never sent to.
        let _ = started.ended.recv_deadline(by);
    }
}

impl<V: Send + Sync + 'static> Clone for RedisTier<V> {
    /// Another handle of the same tier.
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<V: Send + Sync + 'static> fmt::Debug for RedisTier<V> {
    /// Shows no address: it has the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("codec", &self.0.codec)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
