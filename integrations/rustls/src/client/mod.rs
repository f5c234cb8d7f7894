//! `ClientSessionStore` over two `ExpiringMap`s.
//!
//! # Ground rules
//!
//! - Of each server there is one entry with its hint and its tickets, and whoever writes to it renews it
//!   first: then it outlives what is written. TLS 1.2 sessions are in a map of their own, where a set is
//!   an insert and a get a look-up.
//! - Only who makes the entry of a server takes a lock, one of many, and for that long. Otherwise two who
//!   made it at once would replace each other's.

mod builder;
mod ring;
mod stats;

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use equivalent::Equivalent;
use rustls::NamedGroup;
use rustls::client::{ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use sessionwheel::{Clock, ExpiringMap, Timestamp};

pub use builder::RustlsClientStoreBuilder;
use ring::Ring;
pub use stats::ClientStoreStats;
use stats::Counters;

/// So many servers can be met for the first time at once, if they are lucky, without waiting.
const LOCKS: usize = 64;

/// How many expired servers leave when a new one comes.
const BUDGET: usize = 16;

/// No hint: all groups are below.
const NO_HINT: u32 = u32::MAX;

struct Ticket {
    value: Tls13ClientSessionValue,
    deadline: Timestamp,
}

/// What is known of a server.
struct Server {
    hint: AtomicU32,
    tickets: Ring<Ticket>,
}

/// A name as it is looked up: the map's keys live for ever.
struct Name<'n>(&'n ServerName<'n>);

impl Hash for Name<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Equivalent<ServerName<'static>> for Name<'_> {
    fn equivalent(&self, key: &ServerName<'static>) -> bool {
        self.0 == key
    }
}

/// A client's session store for rustls: TLS 1.2 sessions, single-use TLS 1.3 tickets and key-exchange
/// hints by server name, in memory only.
///
/// - **Each ticket is handed out once**, the newest of its server first. What is handed out is the ticket
///   itself, not a copy.
/// - **Bounded**: in servers, in tickets for each of them, and in time.
/// - **Lookups take no lock**, nor do writes for a server that is known. Only threads that meet the same new
///   server at the same time (or one of 64 others) wait for each other, for the length of an insertion.
/// - **A store may lose a ticket, never duplicate it.** One is lost when its server is evicted or expires just
///   while it is stored.
///
/// One store may be shared by several `ClientConfig`s, as rustls checks that a session was made with the same
/// verifier and client credentials; but a ticket that it then refuses is used up. Better one store for
/// each.
///
/// Secrets are wiped by rustls when a ticket or session is dropped: when it is used, when it gives way, and
/// after its server has left, when no thread can be reading it any more; [`reclaim`](Self::reclaim)
/// drives that forward. There is no way to save one: rustls cannot serialise them.
///
/// ```
/// use std::sync::Arc;
/// use rustls::client::Resumption;
/// use sessionwheel_rustls::RustlsClientStore;
///
/// fn resuming(config: &mut rustls::ClientConfig) -> Result<(), Box<dyn std::error::Error>> {
///     let store = RustlsClientStore::builder().build()?;
///     config.resumption = Resumption::store(Arc::new(store));
///     Ok(())
/// }
/// # let _ = resuming;
/// ```
pub struct RustlsClientStore {
    servers: ExpiringMap<ServerName<'static>, Server>,
    tls12: ExpiringMap<ServerName<'static>, Tls12ClientSessionValue>,
    making: Box<[Mutex<()>]>,
    chooser: RandomState,
    tickets: u8,
    timeout: Duration,
    clock: Clock,
    counters: Counters,
}

impl RustlsClientStore {
    /// A builder with the defaults: 1,024 servers, 8 tickets for each, 24 hours, [`Clock::monotonic`].
    pub fn builder() -> RustlsClientStoreBuilder {
        RustlsClientStoreBuilder::new()
    }

    fn of(
        servers: ExpiringMap<ServerName<'static>, Server>,
        tls12: ExpiringMap<ServerName<'static>, Tls12ClientSessionValue>,
        tickets: u8,
        timeout: Duration,
        clock: Clock,
    ) -> Self {
        Self {
            servers,
            tls12,
            making: (0..LOCKS).map(|_| Mutex::new(())).collect(),
            chooser: RandomState::new(),
            tickets,
            timeout,
            clock,
            counters: Counters::default(),
        }
    }

    /// What the store holds, and has met.
    #[must_use]
    pub fn stats(&self) -> ClientStoreStats {
        let counters = &self.counters;
        ClientStoreStats {
            servers: self.servers.len(),
            tls12_sessions: self.tls12.len(),
            stored: counters.stored.get(),
            taken: counters.taken.get(),
            displaced: counters.displaced.get(),
            expired: counters.expired.get(),
            evicted: self.servers.stats().evicted + self.tls12.stats().evicted,
            not_stored: counters.not_stored.get(),
        }
    }

    /// Removes all servers of which everything has expired, and says how many, of both versions.
    ///
    /// Nobody waits for it, and nothing goes wrong without it: what has expired is not handed out, and for each new
    /// server up to 16 such leave. It waits itself, as do [`clear`](Self::clear) and [`reclaim`](Self::reclaim): for each version as
    /// [`ExpiringMap::flush`](sessionwheel::ExpiringMap::flush) does.
    pub fn flush(&self) -> usize {
        let now = self.clock.now();
        self.servers.flush(now).removed + self.tls12.flush(now).removed
    }

    /// Forgets all that is known of one server.
    pub fn forget(&self, server: &ServerName<'_>) {
        let name = Name(server);
        self.servers.remove(&name);
        self.tls12.remove(&name);
    }

    /// Forgets everything, for example because the network has changed, and nobody is to know that this is
    /// still the same client.
    pub fn clear(&self) {
        self.servers.clear();
        self.tls12.clear();
    }

    /// Drops what was forgotten, as far as no other thread may still be reading it, and says how much is left
    /// to drop.
    pub fn reclaim(&self) -> usize {
        self.servers.reclaim() + self.tls12.reclaim()
    }

    fn deadline(&self, now: Timestamp) -> Timestamp {
        now.saturating_add(self.timeout)
    }

    /// Does something to the entry of `name`, which is renewed, or made.
    fn write(&self, name: ServerName<'static>, act: impl FnOnce(&Server)) {
        let now = self.clock.now();
        let deadline = self.deadline(now);
        let guard = self.servers.pin();
        let renewed = || {
            let lives = self.servers.retime(&name, deadline, now);
            lives.then(|| self.servers.get(&name, now, &guard))?
        };
        if let Some(server) = renewed() {
            return act(server);
        }
        let lock = self.chooser.hash_one(&name) as usize % LOCKS;
        let making = self.making[lock].lock();
        // Nothing is behind the lock that a panic could have left half done.
        let making = making.unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = renewed() {
            return act(server);
        }
        let server = Server {
            hint: AtomicU32::new(NO_HINT),
            tickets: Ring::new(self.tickets.into()),
        };
        act(&server);
        if self.servers.insert(name, server, deadline, now).is_err() {
            self.counters.not_stored.add_one();
        }
        drop(making);
        self.servers.flush_within(now, BUDGET);
    }
}

impl ClientSessionStore for RustlsClientStore {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        let hint = u32::from(u16::from(group));
        self.write(server_name, |server| {
            server.hint.store(hint, Ordering::Relaxed);
        });
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        let hint_of = |server: &Server| server.hint.load(Ordering::Relaxed);
        let hint = self
            .servers
            .get_with(&Name(server_name), self.clock.now(), hint_of)?;
        u16::try_from(hint).ok().map(NamedGroup::from)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        let now = self.clock.now();
        let inserted = self
            .tls12
            .insert(server_name, value, self.deadline(now), now);
        if inserted.is_err() {
            self.counters.not_stored.add_one();
        }
        self.tls12.flush_within(now, BUDGET);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.tls12.get_cloned(&Name(server_name), self.clock.now())
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.tls12.remove(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        self.counters.stored.add_one();
        let deadline = self.deadline(self.clock.now());
        self.write(server_name, |server| {
            if server.tickets.push(Ticket { value, deadline }).is_some() {
                self.counters.displaced.add_one();
            }
        });
    }

    /// The newest ticket of a server that has not expired; the ones that have are dropped on the way.
    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        let now = self.clock.now();
        let guard = self.servers.pin();
        let server = self.servers.get(server_name, now, &guard)?;
        loop {
            let ticket = server.tickets.pop()?;
            if now <= ticket.deadline {
                self.counters.taken.add_one();
                return Some(ticket.value);
            }
            self.counters.expired.add_one();
        }
    }
}

impl fmt::Debug for RustlsClientStore {
    /// Shows counts only: names tell where somebody has been.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RustlsClientStore")
            .field("stats", &self.stats())
            .field("tickets", &self.tickets)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
