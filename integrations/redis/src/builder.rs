//! Settings of a [`RedisTier`].

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use sessionwheel::{BuildError, SessionId};

use crate::codec::Codec;
use crate::core::Core;
use crate::keys::{Keyring, Keys};
use crate::server::Server;
use crate::tier::RedisTier;

type Ours = Box<dyn Fn(&SessionId) -> bool + Send + Sync>;

pub(crate) struct Settings {
    pub(crate) deadline: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) stop_timeout: Duration,
    pub(crate) connections: usize,
    pub(crate) queue: usize,
    pub(crate) marks: usize,
    pub(crate) breaker: (u32, Duration),
    pub(crate) local_when_down: bool,
    pub(crate) reads: bool,
    pub(crate) pending: Option<Duration>,
    pub(crate) ours: Option<Ours>,
    pub(crate) prefix: Box<[u8]>,
}

/// Settings of a [`RedisTier`], from [`RedisTier::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisTierBuilder<V> {
    server: Server,
    keys: Keyring,
    codec: Codec<V>,
    settings: Settings,
    value: PhantomData<V>,
}

/// Why there is no tier.
#[derive(Debug)]
#[non_exhaustive]
pub enum TierError {
    /// The address is none, or asks for what isn't there: TLS, for one.
    Address(String),
    /// A number that is too high for the bookkeeping of writes.
    Build(BuildError),
    /// Redis was asked and didn't answer, or said no.
    Server(String),
}

impl fmt::Display for TierError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(why) => write!(f, "the address is of no use: {why}"),
            Self::Build(error) => write!(f, "{error}"),
            Self::Server(why) => write!(f, "{why}"),
        }
    }
}

impl Error for TierError {}

/// `redis://[[user]:password@]host[:port][/db]` or `unix:///path[?db=…&user=…&pass=…]`.
fn parse(address: &str) -> Result<ConnectionInfo, TierError> {
    let server = address
        .into_connection_info()
        // The error may quote the password.
        .map_err(|_| TierError::Address("neither redis://host:port nor unix:///path".into()))?;
    match server.addr() {
        ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(..) => Ok(server),
        _ => Err(TierError::Address(
            "TLS is not spoken here; use a unix socket or a tunnel".into(),
        )),
    }
}

impl<V: Send + Sync + 'static> RedisTierBuilder<V> {
    pub(crate) fn new(address: &str, keys: Keyring, codec: Codec<V>) -> Result<Self, TierError> {
        Ok(Self {
            server: Server {
                info: parse(address)?,
                sentinels: Vec::new(),
                master: String::new(),
            },
            keys,
            codec,
            settings: Settings {
                deadline: Duration::from_millis(2),
                connect_timeout: Duration::from_millis(500),
                write_timeout: Duration::from_secs(1),
                stop_timeout: Duration::from_secs(1),
                connections: 4,
                queue: 16_384,
                marks: 65_536,
                breaker: (5, Duration::from_secs(1)),
                local_when_down: false,
                reads: true,
                pending: None,
                ours: None,
                prefix: Box::from(*b"sw:"),
            },
            value: PhantomData,
        })
    }

    /// Asks these Sentinels, in this order, where the master of the name `master` is, each time that it connects.
    /// Host and port of the tier's own address are of no matter then; user, password and database are. The
    /// Sentinels' addresses have passwords of their own.
    ///
    /// # Errors
    ///
    /// [`TierError::Address`] if one of them is none.
    pub fn sentinels(mut self, addresses: &[&str], master: &str) -> Result<Self, TierError> {
        let parsed = addresses.iter().map(|address| parse(address));
        self.server.sentinels = parsed.collect::<Result<_, _>>()?;
        self.server.master = master.to_owned();
        Ok(self)
    }

    /// How long a handshake waits for Redis at most, per question: 2 ms if not set. A lookup that finds a
    /// session for a single use asks twice.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How many connections there are for lookups, one at least: 4 if not set. There is one more for writes.
    pub fn connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections.max(1);
        self
    }

    /// How many sessions may wait to be written, and how many removals to be sent, one at least: 16,384 of each
    /// if not set. The oldest is dropped for one more.
    pub fn queue(mut self, length: usize) -> Self {
        self.settings.queue = length.max(1);
        self
    }

    /// Of how many sessions it is kept in mind what became of their writing: 65,536 if not set. They are those
    /// that wait, and those that have never left this host; what is forgotten of the latter is a miss
    /// when it is claimed.
    pub fn marks(mut self, marks: usize) -> Self {
        self.settings.marks = marks;
        self
    }

    /// After so many failures in a row (5 if not set) nothing is asked for `cooldown` (a second if not
    /// set); then it is tried, on a thread that no handshake waits for.
    pub fn breaker(mut self, failures: u32, cooldown: Duration) -> Self {
        self.settings.breaker = (failures, cooldown);
        self
    }

    /// How long connecting may take (500 ms if not set), and a batch of writes (1 s if not set). No
    /// handshake waits for either.
    pub fn timeouts(mut self, connecting: Duration, writing: Duration) -> Self {
        self.settings.connect_timeout = connecting;
        self.settings.write_timeout = writing;
        self
    }

    /// How long the drop of the last handle waits for what is queued to be written: 1 s if not set.
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.settings.stop_timeout = timeout;
        self
    }

    /// Whether a session for a single use that is here may be used when Redis can't be asked: no, if not
    /// set.
    ///
    /// With yes, **each host that has the session here may use it once**, and so may one that gets it from
    /// Redis later: a ticket can be replayed across hosts while Redis is down. Refuse 0-RTT then.
    pub fn local_when_down(mut self, local: bool) -> Self {
        self.settings.local_when_down = local;
        self
    }

    /// Whether lookups that find nothing here go to Redis: yes, if not set. Without them a host still writes,
    /// removes, and asks who may use a session for a single use.
    pub fn reads(mut self, reads: bool) -> Self {
        self.settings.reads = reads;
        self
    }

    /// Whether lookups answer [`Pending`](sessionwheel::Resumed::Pending) while Redis is asked, for `patience` at most
    /// and at most a second: no, if not set; they wait then.
    ///
    /// For stacks that can suspend a handshake without blocking a thread: `OpenSSL` by a retry in its
    /// client-hello callback, `BoringSSL` by a pending session. Those ask again, and the answer is there. Claims wait, for
    /// the [deadline](Self::deadline), with it or without.
    pub fn pending(mut self, patience: Duration) -> Self {
        self.settings.pending = Some(patience);
        self
    }

    /// Which ids are worth a question: all, if not set. For stacks whose ids the server makes and can
    /// tell, so that those that clients make up don't go out. Called on the threads of handshakes.
    pub fn ours(mut self, ours: impl Fn(&SessionId) -> bool + Send + Sync + 'static) -> Self {
        self.settings.ours = Some(Box::new(ours));
        self
    }

    /// What all keys in Redis begin with: `sw:` if not set. For an access list, or several fleets on one Redis.
    pub fn prefix(mut self, prefix: &[u8]) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// Makes the tier. Nothing is connected and no thread started before its first use.
    ///
    /// # Errors
    ///
    /// [`TierError::Build`] if [`marks`](Self::marks) is too high.
    pub fn build(self) -> Result<RedisTier<V>, TierError> {
        let core = Core::new(self.server, self.settings, Keys::new(self.keys));
        Ok(RedisTier::new(core.map_err(TierError::Build)?, self.codec))
    }
}

impl<V> fmt::Debug for RedisTierBuilder<V> {
    /// Shows no address: it has the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTierBuilder")
            .field("keys", &self.keys)
            .field("codec", &self.codec)
            .field("deadline", &self.settings.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_and_no_password_is_shown() {
        for bad in [
            "",
            "http://x/",
            "redis//x",
            "rediss://:sesame@x:1/",
            "redis://:sesame@x:port/",
        ] {
            let error = parse(bad).unwrap_err();
            assert!(matches!(error, TierError::Address(_)));
            assert!(!format!("{error} {error:?}").contains("sesame"), "{bad}");
        }
        for good in [
            "redis://localhost",
            "redis://u:p@10.0.0.1:7000/3",
            "unix:///run/redis.sock?db=2",
            "valkey://x/",
        ] {
            parse(good).unwrap();
        }
        let codec = Codec::new(*b"unit", |(): &(), _| (), |_| Some(()));
        let builder = RedisTierBuilder::new("redis://u:sesame@x/", Keyring::new(1, [0; 32]), codec);
        assert!(!format!("{:?}", builder.unwrap()).contains("sesame"));
    }
}
