//! Settings of a [`RedisTier`].

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use sessionwheel::{BuildError, SessionId};

use crate::codec::Codec;
use crate::core::Core;
use crate::keys::{Keyring, Keys};
use crate::node::Node;
use crate::nodes::Nodes;
use crate::place::{Place, TlsConfig};
use crate::questions::LONGEST_PATIENCE;
use crate::seal::MAX_SEALED_LEN;
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
    pub(crate) queue_bytes: usize,
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
    /// More of a Cluster than the server, if it is of one.
    seeds: Vec<Server>,
    tls: Option<TlsConfig>,
    keys: Keyring,
    codec: Codec<V>,
    settings: Settings,
    value: PhantomData<V>,
}

/// Why there is no tier.
#[derive(Debug)]
#[non_exhaustive]
pub enum TierError {
    /// The address is none, or asks for what isn't there: TLS without the feature `tls`, for one.
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

impl<V: Send + Sync + 'static> RedisTierBuilder<V> {
    pub(crate) fn new(address: &str, keys: Keyring, codec: Codec<V>) -> Result<Self, TierError> {
        Ok(Self {
            server: Server::new(Place::parse(address)?),
            seeds: Vec::new(),
            tls: None,
            keys,
            codec,
            settings: Settings {
                deadline: Duration::from_millis(2),
                connect_timeout: Duration::from_millis(500),
                write_timeout: Duration::from_secs(1),
                stop_timeout: Duration::from_secs(1),
                connections: 4,
                queue: 16_384,
                queue_bytes: 64 << 20,
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
    /// [`TierError::Address`] if one of them is none, or this is a [Cluster](Self::cluster), or some are to be spoken to by
    /// TLS and others not.
    pub fn sentinels(mut self, addresses: &[&str], master: &str) -> Result<Self, TierError> {
        let parsed = addresses.iter().map(|address| Place::parse(address));
        self.server.sentinels = parsed.collect::<Result<_, _>>()?;
        self.server.master = master.to_owned();
        self.check_nodes()?;
        Ok(self)
    }

    /// The tier's address is of one node of a Cluster, and these are of some others: one of them that answers is asked
    /// who has which slots, at first and whenever that has changed. All nodes take the login of the tier's address.
    ///
    /// # Errors
    ///
    /// [`TierError::Address`] if one of them is none, or a socket, or has a database: a Cluster has only one. Likewise if
    /// there are Sentinels, which a Cluster does without, or if some are to be spoken to by TLS and others not: all nodes
    /// are spoken to as the tier's address says.
    pub fn cluster(mut self, others: &[&str]) -> Result<Self, TierError> {
        let mut seeds = vec![self.server.clone()];
        for other in others {
            seeds.push(Server::new(Place::parse(other)?));
        }
        self.seeds = seeds;
        self.check_nodes()?;
        // The login is that of the tier.
        self.server.in_cluster = true;
        let addresses = self.seeds.iter().filter_map(Server::address);
        self.seeds = addresses.map(|address| self.server.at(&address)).collect();
        Ok(self)
    }

    fn check_nodes(&self) -> Result<(), TierError> {
        let is_node =
            |seed: &Server| seed.address().is_some() && seed.place.info.redis_settings().db() == 0;
        let secure = self.server.place.secure;
        let seeds = self.seeds.iter().map(|seed| &seed.place);
        if seeds
            .chain(&self.server.sentinels)
            .any(|place| place.secure != secure)
        {
            let what = "all addresses begin with rediss://, or none does";
            return Err(TierError::Address(what.into()));
        }
        let no_sentinels = self.seeds.is_empty() || self.server.sentinels.is_empty();
        if no_sentinels && self.seeds.iter().all(is_node) {
            return Ok(());
        }
        let what = "a Cluster's node has a host, a port, no database, and no Sentinels";
        Err(TierError::Address(what.into()))
    }

    /// How to speak TLS with those whose address begins with `rediss://` (or `valkeys://`): which certificates are
    /// trusted, and which one is shown, if the servers ask for one. The certificate has to be good for the host in the
    /// address; with Sentinels and with a Cluster, for what they call the server, often an IP address.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use sessionwheel_redis::rustls::{ClientConfig, RootCertStore};
    /// # use sessionwheel_redis::{Codec, Keyring, RedisTier};
    ///
    /// # let codec = Codec::new(*b"text", |_: &String, _: &mut Vec<u8>| (), |_: &[u8]| None);
    /// # let keys = Keyring::new(1, [0x5A; 32]);
    /// let roots = RootCertStore::empty(); // with the one that has signed the servers' certificates
    /// let config = ClientConfig::builder()
    ///     .with_root_certificates(roots)
    ///     .with_no_client_auth();
    /// let tier = RedisTier::builder("rediss://10.0.0.7:6380/", keys, codec)?
    ///     .tls(Arc::new(config))
    ///     .build()?;
    /// # drop(tier);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: std::sync::Arc<rustls::ClientConfig>) -> Self {
        self.tls = Some(config);
        self
    }

    /// How long a handshake waits for Redis at most, per question: 2 ms if not set. A lookup that finds a
    /// session for a single use asks twice.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = deadline;
        self
    }

    /// How many connections there are for lookups, one at least: 4 if not set. There is one more for writes. With a
    /// Cluster, to each master.
    pub fn connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections.max(1);
        self
    }

    /// How many sessions may wait to be written, and how many removals to be sent, one at least: 16,384 of each
    /// if not set. The oldest is dropped for one more. With a Cluster, for each master.
    pub fn queue(mut self, length: usize) -> Self {
        self.settings.queue = length.max(1);
        self
    }

    /// How many bytes the sessions may have, sealed, that wait to be written, or are being written; and so many those that
    /// [`pending`](Self::pending) and [`prefetch`](RedisTier::prefetch) have found and nobody has fetched. One of the longest at
    /// least: 64 MB (67,108,864) if not set, which those of most servers never come to. The oldest is dropped for one more;
    /// what is found beyond is a miss. With a Cluster, the former for each master.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.settings.queue_bytes = bytes.max(MAX_SEALED_LEN);
        self
    }

    /// Of how many sessions it is kept in mind what became of their writing: 65,536 if not set. They are those
    /// that wait, and those that have never left this host; what is forgotten of the latter is a miss
    /// when it is claimed, and what waits and is forgotten is not written. Likewise of how many removals.
    pub fn marks(mut self, marks: usize) -> Self {
        self.settings.marks = marks;
        self
    }

    /// After so many failures in a row (5 if not set) nothing is asked for `cooldown` (a second if not
    /// set); then it is tried, on a thread that no handshake waits for. Lookups that come before anything is connected are
    /// none, as long as connecting hasn't failed.
    pub fn breaker(mut self, failures: u32, cooldown: Duration) -> Self {
        self.settings.breaker = (failures, cooldown);
        self
    }

    /// How long connecting may take (500 ms if not set), and a batch of writes (1 s if not set). No
    /// handshake waits for either. Resolving a host's name comes on top, as long as the system takes for it.
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

    /// Whether a session for a single use that is here may be used when Redis doesn't say who may: no, if not
    /// set. That is so when Redis is down, and also when it is up and doesn't answer within the [deadline](Self::deadline),
    /// or no connection is free, or the session's own write was not answered yet.
    ///
    /// With yes, **each host that has established the session, or gets it from Redis meanwhile, may use it once**: a ticket
    /// can be replayed across hosts. What was used like that is removed from Redis as soon as that can be asked, and not
    /// given to anybody from then on.
    ///
    /// Such a use is a [`Claim::Local`](sessionwheel::Claim::Local): `sessionwheel-openssl` refuses its early data (0-RTT),
    /// and a store of `sessionwheel-rustls` that is for a configuration which takes early data refuses the session.
    /// Others ask [`SessionRef::is_arbitrated`](sessionwheel::SessionRef::is_arbitrated).
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
    /// and at most a second: no, if not set; they wait then. Who comes back later than a second after that asks anew.
    ///
    /// For stacks that can suspend a handshake without blocking a thread: `OpenSSL` by a retry in its
    /// client-hello callback, `BoringSSL` by a pending session. Those ask again, and the answer is there. Claims wait, for
    /// the [deadline](Self::deadline), with it or without.
    pub fn pending(mut self, patience: Duration) -> Self {
        self.settings.pending = Some(patience.min(LONGEST_PATIENCE));
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
    /// [`TierError::Build`] if [`marks`](Self::marks) is too high, [`TierError::Address`] if TLS is to be spoken and nobody
    /// has said how.
    pub fn build(mut self) -> Result<RedisTier<V>, TierError> {
        for server in self.seeds.iter_mut().chain([&mut self.server]) {
            for place in server.sentinels.iter_mut().chain([&mut server.place]) {
                place.set_tls(self.tls.as_ref())?;
            }
        }
        let nodes = if self.seeds.is_empty() {
            Nodes::one(Node::new(self.server, &self.settings))
        } else {
            Nodes::cluster(self.seeds, self.settings.queue)
        };
        let core = Core::new(nodes, self.settings, Keys::new(self.keys));
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
            "rediss://:sesame@x:port/",
            "redis://:sesame@x:port/",
        ] {
            let Err(error) = Place::parse(bad) else {
                panic!("{bad} is an address")
            };
            assert!(matches!(error, TierError::Address(_)));
            assert!(!format!("{error} {error:?}").contains("sesame"), "{bad}");
        }
        for good in [
            "redis://localhost",
            "redis://u:p@10.0.0.1:7000/3",
            "unix:///run/redis.sock?db=2",
            "valkey://x/",
        ] {
            assert!(!Place::parse(good).unwrap().secure);
        }
        // Never in the clear.
        for secret in ["rediss://:sesame@x:1/", "valkeys://:sesame@x:1/"] {
            let tls = Place::parse(secret);
            assert_eq!(tls.is_ok_and(|place| place.secure), cfg!(feature = "tls"));
            let codec = Codec::new(*b"unit", |(): &(), _| (), |_| Some(()));
            let made = RedisTierBuilder::new(secret, Keyring::new(1, [0; 32]), codec);
            assert!(made.and_then(RedisTierBuilder::build).is_err());
        }
        let builder = builder("redis://u:sesame@x/");
        assert!(!format!("{builder:?}").contains("sesame"));
    }

    fn builder(address: &str) -> RedisTierBuilder<()> {
        let codec = Codec::new(*b"unit", |(): &(), _| (), |_| Some(()));
        RedisTierBuilder::new(address, Keyring::new(1, [0; 32]), codec).unwrap()
    }

    #[cfg(feature = "tls")]
    #[test]
    fn nobody_is_spoken_to_in_the_clear_beside_tls() {
        for (address, other) in [("redis://a/", "rediss://b/"), ("rediss://a/", "redis://b/")] {
            let cluster = builder(address).cluster(&[other]);
            let sentinels = builder(address).sentinels(&[other], "m");
            for made in [cluster, sentinels] {
                let error = made.expect_err("mixed").to_string();
                assert!(error.contains("begin with rediss://, or none"), "{error}");
            }
        }
        let all = builder("rediss://a/").sentinels(&["rediss://b/", "valkeys://c/"], "m");
        assert!(all.is_ok());
    }

    #[test]
    fn a_cluster_has_hosts_and_one_login() {
        for (address, other) in [
            ("redis://a/1", "redis://b/"),
            ("redis://a/", "redis://b/1"),
            ("unix:///a", "redis://b/"),
            ("redis://a/", "unix:///b"),
            ("redis://a/", "b"),
        ] {
            let refused = builder(address).cluster(&[other]);
            assert!(
                matches!(refused, Err(TierError::Address(_))),
                "{address} {other}"
            );
        }
        let sentinels = builder("redis://a/").sentinels(&["redis://s/"], "m");
        assert!(sentinels.unwrap().cluster(&[]).is_err());
        let cluster = builder("redis://a/").cluster(&[]).unwrap();
        assert!(cluster.sentinels(&["redis://s/"], "m").is_err());
        let made = builder("redis://u:p@a:7000/").cluster(&["redis://b:7001/"]);
        let seeds = made.unwrap().seeds;
        let shown: Vec<_> = seeds
            .iter()
            .map(|seed| seed.place.info.addr().to_string())
            .collect();
        assert_eq!(shown, ["a:7000", "b:7001"]);
        for seed in seeds {
            assert_eq!(seed.place.info.redis_settings().password(), Some("p"));
            assert!(seed.in_cluster);
        }
    }
}
