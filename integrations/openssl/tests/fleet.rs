//! Two servers on one Redis: a client that shakes hands with one resumes with the other.

#[path = "../../redis/tests/support/mod.rs"]
mod redises;
mod support;

use std::time::Duration;

use openssl::ssl::{ErrorCode, SslContext, SslVersion};
use redises::server::Server as Redis;
use redises::{PATIENCE, eventually, keys, number, show};
use sessionwheel::SessionCache;
use sessionwheel_openssl::{
    Attachment, Options, Session, SingleUse, Storage, TagKey, Tags, attach, suspend,
};
use sessionwheel_redis::{Codec, RedisTier, RedisTierBuilder};
use support::{Client, Identity, NAME, VERSIONS, server_context};

struct Host {
    context: SslContext,
    cache: SessionCache<Session>,
    tier: RedisTier<Session>,
    attachment: Attachment,
}

fn builder(address: &str) -> RedisTierBuilder<Session> {
    let codec = Codec::new(
        *b"ssl1",
        |session: &Session, bytes: &mut Vec<u8>| {
            // Without memory there are none, and nothing that opens.
            if let Ok(encoded) = session.to_bytes() {
                bytes.extend_from_slice(&encoded);
            }
        },
        |bytes: &[u8]| Session::from_bytes(bytes, Storage::Objects).ok(),
    );
    let builder = RedisTier::builder(address, keys(), codec).unwrap();
    builder.deadline(PATIENCE)
}

impl Host {
    fn new(builder: RedisTierBuilder<Session>, options: Options) -> Self {
        let tier = builder.build().unwrap();
        let cache = SessionCache::builder().external(tier.clone());
        let cache = cache.build().unwrap();
        let mut context = server_context(&Identity::new(NAME));
        let options = options.tags(Tags::With(TagKey::new([7; 16])));
        let attachment = attach(&mut context, &cache, options).unwrap();
        suspend(&mut context, &attachment);
        tier.share(attachment.context(), NAME).unwrap();
        Self {
            context: context.build(),
            cache,
            tier,
            attachment,
        }
    }

    fn written(&self) {
        assert!(self.tier.flush_writes(PATIENCE));
    }
}

/// A whole handshake, whose server is asked again and again; whether it was resumed.
fn resumes(client: &Client, host: &Host, session: &openssl::ssl::SslSession) -> bool {
    let mut connection = client.begin(&host.context, Some(session), Some(NAME));
    eventually("the handshake ends", || {
        let ends = [
            connection.client.do_handshake(),
            connection.server.do_handshake(),
        ];
        ends.into_iter().all(|end| match end {
            Ok(()) => true,
            Err(error) => {
                let waits = [ErrorCode::WANT_READ, ErrorCode::WANT_CLIENT_HELLO_CB];
                assert!(waits.contains(&error.code()), "{error}");
                false
            }
        })
    });
    connection.exchange();
    let resumed = connection.resumed();
    connection.close();
    resumed
}

#[test]
fn a_client_of_one_resumes_with_the_other() {
    for version in VERSIONS {
        let Some(redis) = Redis::start(&[]) else {
            return;
        };
        let [a, b] = [(); 2].map(|()| Host::new(builder(&redis.address()), Options::default()));
        let client = Client::new(version);
        for round in 0..20 {
            // In turn.
            let (one, other) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
            let session = client.session(&one.context);
            one.written();
            for _ in 0..3 {
                assert!(resumes(&client, other, &session), "{version:?} {round}");
            }
            client.sessions();
        }
        let counters = b.tier.health().counters;
        assert_eq!((counters.hits, b.cache.counters().cb_hits), (10, 10));
        // Nobody waited in a callback.
        assert_eq!(b.tier.health().latency.count(), 0);
        show(&format!(
            "ci: {}: 20 clients of OpenSSL, 60 handshakes resumed at the other host, put off {} times at one",
            support::name(version),
            b.attachment.stats().put_off
        ));
    }
}

/// Raced `SESSIONWHEEL_RACES` times, 50 if not set.
#[test]
fn a_ticket_is_good_at_one_of_them() {
    let Some(redis) = Redis::start(&[]) else {
        return;
    };
    let options = Options::default().single_use(SingleUse::Tls13);
    let [a, b] = [(); 2].map(|()| Host::new(builder(&redis.address()), options.clone()));
    let mut wins = [0; 2];
    let races = number("SESSIONWHEEL_RACES").unwrap_or(50);
    for round in 0..races {
        let client = Client::new(SslVersion::TLS1_3);
        let session = client.session(&a.context);
        a.written();
        let start = std::sync::Barrier::new(2);
        let won = std::thread::scope(|scope| {
            let racer = |host| {
                let client = Client::new(SslVersion::TLS1_3);
                start.wait();
                resumes(&client, host, &session)
            };
            let racers = [&a, &b].map(|host| scope.spawn(move || racer(host)));
            racers.map(|racer| racer.join().unwrap())
        });
        assert_eq!(
            won.iter().filter(|won| **won).count(),
            1,
            "round {round}: {won:?}"
        );
        wins[usize::from(won[1])] += 1;
        assert!(!resumes(&client, &a, &session) && !resumes(&client, &b, &session));
    }
    show(&format!(
        "ci: OpenSSL: {races} tickets raced, {} won here, {} there",
        wins[0], wins[1]
    ));
}

#[test]
fn what_was_made_elsewhere_is_not_sent_out() {
    for version in VERSIONS {
        let Some(redis) = Redis::start(&[]) else {
            return;
        };
        let host = Host::new(builder(&redis.address()), Options::default());
        let client = Client::new(version);
        let (stranger, _) = support::Server::on(
            &SessionCache::builder().build().unwrap(),
            Options::default(),
            |_| (),
        );
        for _ in 0..10 {
            let foreign = client.session(&stranger);
            assert!(!resumes(&client, &host, &foreign));
        }
        host.written();
        assert_eq!(host.attachment.stats().foreign_ids, 10);
        let said: String = redis::cmd("INFO")
            .arg("commandstats")
            .query(&mut redis.connection())
            .unwrap();
        assert!(said.contains("cmdstat_set:"), "{said}");
        assert!(
            !said.contains("cmdstat_get:") && !said.contains("cmdstat_getdel:"),
            "{said}"
        );
    }
}

#[test]
fn with_redis_frozen_a_handshake_is_put_off_for_a_while_and_is_a_full_one() {
    for version in VERSIONS {
        let Some(redis) = Redis::start(&[]) else {
            return;
        };
        let patience = Duration::from_millis(500);
        let short = builder(&redis.address())
            .pending(patience)
            .stop_timeout(patience);
        let [a, b] = [builder(&redis.address()), short].map(|b| Host::new(b, Options::default()));
        let client = Client::new(version);
        let sessions = [(); 2].map(|()| client.session(&a.context));
        a.written();
        assert!(resumes(&client, &b, &sessions[0]));
        redis.signal("-STOP");
        let before = b.attachment.stats().put_off;
        assert!(!resumes(&client, &b, &sessions[1]));
        assert!(b.attachment.stats().put_off > before);
        assert_eq!(b.tier.health().counters.timeouts, 1);
        redis.signal("-CONT");
    }
}
