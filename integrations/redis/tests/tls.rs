//! Hosts that speak TLS with their Redis.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use sessionwheel_redis::{RedisTierBuilder, TierError};
use support::cluster::Cluster;
use support::node::{Directory, Node, free_port};
use support::*;

const SHORT: Duration = Duration::from_millis(50);

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key.
struct Identity {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new() -> Self {
        let mut params = named("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    fn sign(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = named(name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity { certificate, key }
    }

    /// Of a host that trusts this one, and shows a certificate or none.
    fn client(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots);
        let config = match identity {
            None => Ok(config.with_no_client_auth()),
            Some(Identity { certificate, key }) => {
                let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(chain, key)
            }
        };
        Arc::new(config.unwrap())
    }
}

/// A server that speaks TLS on one port; on another, without, the test itself has a word with it.
struct Secure {
    node: Node,
    _files: Directory,
}

/// What makes a server speak TLS, and where that lies.
fn settings(authority: &Authority, identity: &Identity) -> (String, Directory) {
    let files = Directory::new();
    let path = |name: &str| files.0.join(name).display().to_string();
    let write = |name: &str, text: String| std::fs::write(path(name), text).unwrap();
    write("ca", authority.0.pem());
    write("certificate", identity.certificate.pem());
    write("key", identity.key.serialize_pem());
    let settings = format!(
        "tls-ca-cert-file {}\ntls-cert-file {}\ntls-key-file {}\n",
        path("ca"),
        path("certificate"),
        path("key")
    );
    (settings, files)
}

impl Secure {
    fn start(authority: &Authority, identity: &Identity, more: &str) -> Option<Self> {
        let (settings, files) = settings(authority, identity);
        let file = format!("{settings}tls-port {}\n{more}\n", free_port());
        let node = Node::start(free_port(), &[], &file)?;
        let _files = files;
        Some(Self { node, _files })
    }

    fn builder(&self, host: &str, config: &Arc<ClientConfig>) -> RedisTierBuilder<Vec<u8>> {
        let address = format!("rediss://{host}:{}/", self.node.tls_port.unwrap());
        builder(&address).tls(config.clone()).stop_timeout(SHORT)
    }
}

/// Whoever has the issuer's name is taken for one that has signed itself.
fn named(name: &str) -> CertificateParams {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let common = format!("{name} {number}");
    params.distinguished_name.push(DnType::CommonName, common);
    params
}

#[test]
fn two_hosts_share_sessions_by_tls() {
    let authority = Authority::new();
    let identity = authority.sign("127.0.0.1");
    let Some(server) = Secure::start(&authority, &identity, "tls-auth-clients yes") else {
        return;
    };
    let config = authority.client(Some(&authority.sign("host")));
    let (a, tier_a) = host(server.builder("127.0.0.1", &config).stop_timeout(PATIENCE));
    let (b, tier_b) = host(server.builder("127.0.0.1", &config));
    tier_a.check(PATIENCE).unwrap();
    // More than one record, out and in.
    let long = |n: u8| vec![n; 65_000];
    for n in 0..20 {
        let options = sessionwheel::SessionOptions::default();
        let kept = a
            .server()
            .established(key(1_000 + u32::from(n)), long(n), options);
        assert!(kept.unwrap().is_kept());
    }
    (0..200).for_each(|n| establish(&a, n));
    (200..250).for_each(|n| establish_once(&a, n));
    written(&tier_a);
    for n in 0..20 {
        let found = b.server().resume(&key(1_000 + u32::from(n))).hit();
        assert_eq!(found, Some(long(n)));
    }
    assert!((0..250).all(|n| resumes(&b, n)));
    assert!((200..250).all(|n| !resumes(&a, n)));
    let counters = tier_b.health().counters;
    assert_eq!((counters.hits, counters.claimed), (270, 50));
    // Tickets that come unasked are no reason to hang up.
    assert_eq!((counters.connections_dropped, counters.errors), (0, 0));
    show("ci: TLS: 270 sessions of one host resumed at the other");
}

#[test]
fn who_is_not_trusted_gets_nothing() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let identity = theirs.sign("127.0.0.1");
    let Some(server) = Secure::start(&theirs, &identity, "tls-auth-clients yes") else {
        return;
    };
    let shown = theirs.sign("host");
    for (what, at, config, why) in [
        (
            "another authority",
            "127.0.0.1",
            ours.client(Some(&shown)),
            "UnknownIssuer",
        ),
        (
            "another name",
            "localhost",
            theirs.client(Some(&shown)),
            "not valid for name",
        ),
        (
            "no certificate of ours",
            "127.0.0.1",
            theirs.client(None),
            "",
        ),
    ] {
        let (cache, tier) = host(server.builder(at, &config).deadline(SHORT));
        let Err(TierError::Server(said)) = tier.check(PATIENCE) else {
            panic!("{what} is trusted")
        };
        assert!(said.contains(why), "{what}: {said}");
        establish(&cache, 1);
        assert!(!resumes(&cache, 2));
        eventually("it says why", || tier.health().last_error.is_some());
        let health = tier.health();
        assert_eq!(
            (health.connections, health.counters.connections),
            (0, 0),
            "{what}"
        );
        assert_eq!(server.node.ask::<u32>(&["DBSIZE"]), 0, "{what}");
    }
    // Nor does anything go out in the clear because the other end doesn't speak TLS.
    let address = server.node.address().replace("redis:", "rediss:");
    let plain = builder(&address)
        .tls(theirs.client(None))
        .stop_timeout(SHORT);
    let tier = host(plain).1;
    // It waits for the end of a line.
    assert!(matches!(tier.check(SHORT), Err(TierError::Server(_))));
    let unsaid = builder(&address).build();
    assert!(matches!(unsaid, Err(TierError::Address(_))));
}

#[test]
fn frozen_and_killed_behind_tls() {
    let authority = Authority::new();
    let identity = authority.sign("localhost");
    let Some(mut server) = Secure::start(&authority, &identity, "tls-auth-clients no") else {
        return;
    };
    let config = authority.client(None);
    let (a, tier_a) = host(server.builder("localhost", &config).stop_timeout(PATIENCE));
    (0..200).for_each(|n| establish(&a, n));
    written(&tier_a);
    let (b, tier) = host(
        server
            .builder("localhost", &config)
            .deadline(SHORT)
            .breaker(3, SHORT),
    );
    eventually("a connection", || resumes(&b, 0));
    let missed = |c: &sessionwheel_redis::TierCounters| {
        c.timeouts + c.starved + c.errors + c.skipped + c.misses
    };
    let before = tier.health().counters;
    server.node.signal("-STOP");
    assert!((1..50).all(|n| !resumes(&b, n)));
    let after = tier.health().counters;
    assert_eq!(missed(&after) - missed(&before), 49);
    let timeouts = after.timeouts - before.timeouts;
    assert!(timeouts > 0 && after.connections_dropped - before.connections_dropped >= timeouts);
    server.node.signal("-CONT");
    let mut next = 50..200;
    eventually("it is asked again", || {
        resumes(&b, next.next().expect("one more"))
    });

    server.node.kill();
    let before = tier.health().counters;
    assert!((1_000..1_050).all(|n| !resumes(&b, n)));
    assert_eq!(missed(&tier.health().counters) - missed(&before), 50);
    establish(&b, 2_000);
    assert!(server.node.launch());
    written(&tier);
    let (c, _) = host(server.builder("localhost", &config));
    assert!(resumes(&c, 2_000));
    assert_eq!(tier.health().counters.unopened, 0);
    show("ci: TLS: frozen and killed, 99 lookups, 99 misses; then as before");
}

#[test]
fn a_cluster_by_tls() {
    let authority = Authority::new();
    let identity = authority.sign("127.0.0.1");
    let (settings, _files) = settings(&authority, &identity);
    let more = format!("{settings}tls-cluster yes\ntls-auth-clients no\n");
    let Some(cluster) = Cluster::start_with(15_000, &more) else {
        return;
    };
    let ports = cluster
        .masters
        .iter()
        .map(|master| master.tls_port.unwrap());
    let addresses: Vec<_> = ports
        .map(|port| format!("rediss://127.0.0.1:{port}/"))
        .collect();
    let on = |first: usize, config: Arc<ClientConfig>| {
        let builder = builder(&addresses[first]).timeouts(PATIENCE, PATIENCE);
        host(builder.cluster(&[]).unwrap().tls(config))
    };
    let (a, tier_a) = on(0, authority.client(None));
    let (b, tier_b) = on(1, authority.client(None));
    tier_a.check(PATIENCE).unwrap();
    (0..200).for_each(|n| establish(&a, n));
    written(&tier_a);
    let sizes = cluster.sizes();
    assert!(sizes.iter().all(|size| *size > 20), "{sizes:?}");
    eventually("the map is there", || resumes(&b, 0));
    assert!((0..200).all(|n| resumes(&b, n)));
    let told: Vec<_> = tier_b
        .health()
        .nodes
        .into_iter()
        .map(|node| node.address)
        .collect();
    let known = |address: &String| told.iter().any(|told| address.contains(told));
    assert!(addresses.iter().all(known), "{told:?}");
    show(&format!(
        "ci: TLS: 200 sessions at three masters of a Cluster, {sizes:?}, all resumed"
    ));
}

#[test]
fn a_master_that_a_sentinel_names_by_tls() {
    let authority = Authority::new();
    let identity = authority.sign("127.0.0.1");
    let common = "tls-auth-clients no\ntls-replication yes\n";
    let Some(server) = Secure::start(&authority, &identity, common) else {
        return;
    };
    let (settings, _files) = settings(&authority, &identity);
    let port = free_port();
    let file = format!(
        "{settings}{common}tls-port {port}\nsentinel monitor fleet 127.0.0.1 {} 1\n",
        server.node.tls_port.unwrap()
    );
    let _sentinel = Node::start(free_port(), &["--sentinel"], &file).expect("a Sentinel");
    let sentinel = format!("rediss://127.0.0.1:{port}/");
    let tier = |config: Arc<ClientConfig>| {
        let builder = builder("rediss://of-no-matter/").stop_timeout(PATIENCE);
        host(
            builder
                .sentinels(&[&sentinel], "fleet")
                .unwrap()
                .tls(config),
        )
    };
    let (a, tier_a) = tier(authority.client(None));
    let (b, tier_b) = tier(authority.client(None));
    tier_a.check(PATIENCE).unwrap();
    (0..50).for_each(|n| establish(&a, n));
    (50..60).for_each(|n| establish_once(&a, n));
    written(&tier_a);
    assert!((0..60).all(|n| resumes(&b, n)));
    assert!((50..60).all(|n| !resumes(&a, n)));
    assert_eq!(tier_b.health().counters.hits, 60);
    // Nobody is believed of whom the authority doesn't speak.
    let stranger = tier(Authority::new().client(None)).1.check(PATIENCE);
    let why = stranger.unwrap_err().to_string();
    assert!(why.contains("UnknownIssuer"), "{why}");
    show("ci: TLS: 60 sessions resumed by a master that a Sentinel has named");
}

/// What a server sends of a handshake, byte for byte or not at all.
#[test]
fn what_is_no_tls_is_survived() {
    let config = Authority::new().client(None);
    for answer in [
        Vec::new(),
        b"+PONG\r\n".repeat(100),
        vec![0x16; 20_000],
        vec![0x15, 3, 3, 0, 2, 2, 40],
        vec![0; 1_000],
    ] {
        let liar = support::proxy::Liar::new(move |_| answer.clone());
        let address = liar.address().replace("redis:", "rediss:");
        let builder = builder(&address).tls(config.clone()).stop_timeout(SHORT);
        let (cache, tier) = host(builder.deadline(SHORT).timeouts(SHORT, SHORT));
        assert!(!resumes(&cache, 1));
        eventually("connecting fails", || {
            tier.health().counters.connections_failed > 0
        });
        assert_eq!(tier.health().counters.connections, 0);
    }
}
