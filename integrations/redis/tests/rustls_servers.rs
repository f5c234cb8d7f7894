//! Two rustls servers on one Redis: a client that shakes hands with one resumes with the other.

#[path = "support/stack.rs"]
mod stack;
mod support;

use std::sync::Barrier;

use rustls::HandshakeKind;
use rustls::client::Resumption;
use rustls::version::{TLS12, TLS13};
use stack::tls::{Identity, answer, client_hello, handshake};
use stack::{Host, builder};
use support::server::Server;
use support::{number, show};

#[test]
fn a_client_of_one_resumes_with_the_other() {
    for version in [&TLS12, &TLS13] {
        let Some(server) = Server::start(&[]) else {
            return;
        };
        let identity = Identity::new();
        let a = Host::new(builder(&server.address()), &identity);
        let b = Host::new(builder(&server.address()), &identity);
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

/// Raced `SESSIONWHEEL_RACES` times, 50 if not set.
#[test]
fn a_ticket_is_good_at_one_of_them() {
    let Some(server) = Server::start(&[]) else {
        return;
    };
    let identity = Identity::new();
    let a = Host::new(builder(&server.address()), &identity);
    let b = Host::new(builder(&server.address()), &identity);
    let races = number("SESSIONWHEEL_RACES").unwrap_or(50);
    let mut at_b = 0;
    for round in 0..races {
        let client = identity.client(&TLS13, Resumption::in_memory_sessions(32));
        handshake(&client, &a.config);
        a.written();
        let hello = client_hello(&client);
        let start = Barrier::new(2);
        let race = |host: &Host| {
            start.wait();
            answer(&hello, &host.config)
        };
        let kinds = std::thread::scope(|scope| {
            let at_a = scope.spawn(|| race(&a));
            [race(&b), at_a.join().unwrap()]
        });
        let resumed = kinds.iter().filter(|kind| **kind == HandshakeKind::Resumed);
        assert_eq!(resumed.count(), 1, "round {round}: {kinds:?}");
        at_b += u64::from(kinds[0] == HandshakeKind::Resumed);
    }
    show(&format!(
        "ci: rustls: {races} tickets raced at two servers, one resumed each time: {} here, {at_b} there",
        races - at_b
    ));
}
