//! Two rustls servers on one Redis: a client that shakes hands with one resumes with the other.

mod support;
#[path = "../../rustls/tests/support/mod.rs"]
mod tls;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ServerConfig};
use sessionwheel::SessionCache;
use sessionwheel_redis::{Codec, RedisTier};
use sessionwheel_rustls::{RustlsStore, StoredSession};
use support::server::Server;
use support::{PATIENCE, keys, show};
use tls::{Identity, answer, client_hello, handshake};

struct Host {
    config: Arc<ServerConfig>,
    tier: RedisTier<StoredSession>,
}

impl Host {
    fn new(address: &str, identity: &Identity) -> Self {
        let codec = Codec::new(
            *b"rls1",
            |session: &StoredSession, bytes: &mut Vec<u8>| {
                bytes.extend_from_slice(session.as_bytes());
            },
            |bytes: &[u8]| Some(StoredSession::copy_from(bytes)),
        );
        let tier = RedisTier::builder(address, keys(), codec).unwrap();
        let tier = tier.deadline(PATIENCE).build().unwrap();
        let cache = SessionCache::builder().external(tier.clone());
        let store = RustlsStore::new(&cache.build().unwrap()).unwrap();
        tier.share(store.context(), "localhost").unwrap();
        Self {
            config: identity.server(Arc::new(store)),
            tier,
        }
    }

    fn written(&self) {
        assert!(self.tier.flush_writes(PATIENCE));
    }
}

#[test]
fn a_client_of_one_resumes_with_the_other() {
    for version in [&TLS12, &TLS13] {
        let Some(server) = Server::start(&[]) else {
            return;
        };
        let identity = Identity::new();
        let a = Host::new(&server.address(), &identity);
        let b = Host::new(&server.address(), &identity);
        for client in 0..20 {
            let client_config = identity.client(version, Resumption::in_memory_sessions(32));
            assert_eq!(handshake(&client_config, &a.config), HandshakeKind::Full);
            for round in 0..4 {
                a.written();
                b.written();
                let next = if round % 2 == 0 { &b } else { &a };
                let kind = handshake(&client_config, &next.config);
                assert_eq!(kind, HandshakeKind::Resumed, "{version:?} {client} {round}");
            }
        }
        show(&format!(
            "ci: {version:?}: 20 clients, 80 handshakes resumed at the other host, by {} answers of Redis",
            b.tier.health().latency.count()
        ));
    }
}

#[test]
fn a_ticket_is_good_at_one_of_them() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let identity = Identity::new();
    let a = Host::new(&server.address(), &identity);
    let b = Host::new(&server.address(), &identity);
    for round in 0..50 {
        let client = identity.client(&TLS13, Resumption::in_memory_sessions(32));
        handshake(&client, &a.config);
        a.written();
        let hello = client_hello(&client);
        let kinds = std::thread::scope(|scope| {
            let at_a = scope.spawn(|| answer(&hello, &a.config));
            [answer(&hello, &b.config), at_a.join().unwrap()]
        });
        let resumed = kinds.iter().filter(|kind| **kind == HandshakeKind::Resumed);
        assert_eq!(resumed.count(), 1, "round {round}: {kinds:?}");
    }
}
