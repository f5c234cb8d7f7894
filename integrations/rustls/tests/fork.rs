//! A server that forks after its configuration was made, and before its first handshake. One thread, hence no test
//! harness.

mod support;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{HandshakeKind, ServerConfig};
use sessionwheel::SessionCache;
use sessionwheel_rustls::{RustlsStore, StoredSession};
use sessionwheel_stacks::fork::{Id, before_first_use};
use support::{Identity, VERSIONS, cache_with_clock, handshake};

fn main() {
    let (cache, _hand) = cache_with_clock();
    let identity = Identity::new();
    let server = identity.server(Arc::new(RustlsStore::new(&cache).unwrap()));
    before_first_use(|| serve(&cache, &identity, &server));
}

/// In a child; the ids that it has made.
fn serve(
    cache: &SessionCache<StoredSession>,
    identity: &Identity,
    server: &Arc<ServerConfig>,
) -> Vec<Id> {
    for version in VERSIONS {
        let client = identity.client(version, Resumption::in_memory_sessions(32));
        assert_eq!(handshake(&client, server), HandshakeKind::Full);
        for _ in 0..10 {
            assert_eq!(handshake(&client, server), HandshakeKind::Resumed);
        }
    }
    let guard = cache.pin();
    let kept = cache.iter(&guard);
    let ids = kept.map(|kept| kept.key().id().as_bytes().try_into().expect("32 bytes"));
    let ids = ids.collect();
    drop(guard);
    assert_eq!(cache.flush().removed, 0);
    ids
}
