//! Early data is accepted once.

mod support;

use openssl::ssl::SslVersion;
use sessionwheel_openssl::Options;
use support::{Client, Server};

fn server() -> Server {
    Server::with(Options::default(), |context| {
        context.set_max_early_data(1 << 14).unwrap();
    })
}

#[test]
fn a_ticket_brings_its_early_data_once_and_is_not_resumed_again() {
    let server = server();
    let client = Client::new(SslVersion::TLS1_3);
    let session = client.session(&server.context);
    assert_eq!(session.max_early_data(), 1 << 14);
    for round in 0..50 {
        let (got, connection) = client.early(&server.context, &session);
        assert_eq!(connection.resumed(), round == 0, "round {round}");
        assert_eq!(got, if round == 0 { &b"early"[..] } else { b"" });
        drop(connection); // uncleanly
    }
    let (got, connection) = client.early(&server.context, &client.sessions().pop().unwrap());
    assert!(connection.resumed(), "what it has minted is resumed");
    assert_eq!(got, b"early");
}

#[test]
fn of_two_that_race_with_one_ticket_one_resumes() {
    const ROUNDS: usize = 200;
    let server = server();
    let client = Client::new(SslVersion::TLS1_3);
    let mut rounds = [0; 3];
    for _ in 0..ROUNDS {
        let session = client.session(&server.context);
        let start = std::sync::Barrier::new(2);
        let resumed: usize = std::thread::scope(|scope| {
            let racer = || {
                let client = Client::new(SslVersion::TLS1_3);
                start.wait();
                usize::from(client.connect(&server.context, Some(&session)).resumed())
            };
            let racers = [scope.spawn(racer), scope.spawn(racer)];
            racers.map(|racer| racer.join().unwrap()).iter().sum()
        });
        rounds[resumed] += 1;
    }
    println!("neither, one, both resumed: {rounds:?}");
    assert_eq!(rounds, [0, ROUNDS, 0]);
}

/// The server may change its mind about early data between the making of a ticket and its use.
#[test]
fn early_data_then_or_now_makes_a_ticket_single_use() {
    let with = server();
    let shared = Options::default().context(with.attachment.context());
    let (without, _) = Server::on(&with.cache, shared, |_| ());
    for (made_by, used_by) in [(&with.context, &without), (&without, &with.context)] {
        let client = Client::new(SslVersion::TLS1_3);
        let session = client.session(made_by);
        assert!(client.resumes(used_by, &session));
        assert!(!client.resumes(used_by, &session));
    }
    let client = Client::new(SslVersion::TLS1_3);
    let session = client.session(&without);
    assert!(client.resumes(&without, &session));
    assert!(client.resumes(&without, &session), "neither then nor now");
}
