//! A server that forks after its context was made, and before its first handshake. One thread, hence no test harness.

mod support;

use sessionwheel_openssl::Options;
use sessionwheel_stacks::fork::{Id, before_first_use};
use support::{Client, Server, VERSIONS};

fn main() {
    let server = Server::new(Options::default());
    before_first_use(|| serve(&server));
}

/// In a child; some of the ids that it has made.
fn serve(server: &Server) -> Vec<Id> {
    for version in VERSIONS {
        let client = Client::new(version);
        let mut session = client.session(&server.context);
        for _ in 0..10 {
            assert!(client.resumes(&server.context, &session));
            session = client.sessions().pop().unwrap_or(session);
        }
    }
    let guard = server.cache.pin();
    let kept = server.cache.iter(&guard).take(5);
    let ids = kept.map(|kept| kept.key().id().as_bytes().try_into().expect("32 bytes"));
    let ids = ids.collect();
    drop(guard);
    assert_eq!(server.cache.flush().removed, 0);
    ids
}
