//! Which sessions are resumed, in both versions, and which are not.

mod support;

use std::time::Duration;

use foreign_types::ForeignType;
use openssl::ssl::{SslContext, SslSession, SslVersion};
use sessionwheel::SessionCache;
use sessionwheel_openssl::{Options, Session, SingleUse, Storage, ffi};
use support::{Client, NAME, Server, VERSIONS};

const STORAGES: [Storage; 2] = [Storage::Objects, Storage::Der];

fn timeout() -> Duration {
    Duration::from_secs(300)
}

/// For each version and form of storage: a server, a client, and a session that the server has made.
fn each(options: &Options, test: impl Fn(&Server, &Client, SslSession)) {
    for storage in STORAGES {
        for version in VERSIONS {
            let server = Server::new(options.clone().storage(storage));
            let client = Client::new(version);
            let session = client.session(&server.context);
            test(&server, &client, session);
            assert_eq!(server.attachment.stats().panics, 0);
            assert_eq!(
                ffi::sess_number(&server.context),
                0,
                "OpenSSL keeps nothing itself"
            );
        }
    }
}

#[test]
fn sessions_are_resumed_in_both_versions_from_both_forms() {
    each(&Options::default(), |server, client, mut session| {
        let version = session.protocol_version();
        let tickets = if version == SslVersion::TLS1_3 { 2 } else { 1 };
        assert_eq!(server.cache.len(), tickets);
        for _ in 0..5 {
            assert!(client.resumes(&server.context, &session));
            // In TLS 1.2 it stays the same.
            session = client.sessions().pop().unwrap_or(session);
        }
        let counters = server.cache.counters();
        assert_eq!((counters.hits, counters.misses), (5, 0));
        let minted = if version == SslVersion::TLS1_3 { 5 } else { 0 };
        assert_eq!(server.cache.len(), tickets + minted);
        let stats = server.attachment.stats();
        assert_eq!(stats.unusable + stats.oversized + stats.not_stored, 0);
    });
}

#[test]
fn clients_are_told_how_long_sessions_live() {
    const HOUR: u64 = 3_600;
    const WEEK: u64 = 7 * 24 * HOUR;
    let seconds = |n| Duration::from_secs(n);
    for (timeout, lineage, told) in [
        (1, Some(WEEK), 1),
        (24 * HOUR, Some(24 * HOUR), 24 * HOUR),
        (48 * HOUR, Some(24 * HOUR), 24 * HOUR),
        (48 * HOUR, Some(HOUR), HOUR),
        (1 << 40, Some(1 << 39), WEEK),
        (1 << 40, None, WEEK),
    ] {
        let cache = SessionCache::builder().lineage(lineage.map(seconds));
        let cache = cache.build().unwrap();
        let options = Options::default().timeout(seconds(timeout));
        let (context, _) = Server::on(&cache, options, |_| ());
        let session = Client::new(SslVersion::TLS1_3).session(&context);
        // SAFETY: the session is ours, and only read.
        let hint = unsafe { ffi::SSL_SESSION_get_ticket_lifetime_hint(session.as_ptr()) };
        assert_eq!(hint as u64, told, "{timeout}, {lineage:?}");
        let guard = cache.pin();
        let lives = cache.iter(&guard).map(|session| session.deadline());
        let most = lives.max().unwrap().saturating_since(cache.now());
        assert!(most <= seconds(told), "{most:?} and no longer");
    }
}

/// Days go by on OpenSSL's clock, and not on the cache's.
#[test]
fn in_tls12_the_cache_alone_judges_the_age_of_a_session() {
    each(&Options::default(), |server, client, session| {
        let guard = server.cache.pin();
        let keys: Vec<_> = server.cache.iter(&guard).map(|s| *s.key()).collect();
        for key in keys {
            let kept = server.cache.get(&key, &guard).unwrap();
            let bytes = kept.to_bytes().unwrap();
            let (name, der) = bytes.split_at(2 + NAME.len());
            let old = SslSession::from_der(der).unwrap();
            // SAFETY: it is ours, and in no cache of OpenSSL's.
            unsafe { ffi::SSL_SESSION_set_time(old.as_ptr(), old.time() - 3 * 86_400) };
            let bytes = [name, &old.to_der().unwrap()].concat();
            let old = Session::from_bytes(&bytes, kept.storage()).unwrap();
            server.cache.insert(key, old).unwrap();
        }
        drop(guard);
        let tls12 = session.protocol_version() == SslVersion::TLS1_2;
        assert_eq!(client.resumes(&server.context, &session), tls12);
    });
}

#[test]
fn nothing_is_resumed_after_its_time() {
    each(&Options::default(), |server, client, session| {
        server.hand.advance(timeout());
        assert!(client.resumes(&server.context, &session));
        server.hand.advance(Duration::from_nanos(1));
        assert!(!client.resumes(&server.context, &session));
        assert_eq!(server.cache.counters().timeouts, 1);
    });
}

#[test]
fn nothing_is_resumed_after_a_purge() {
    each(&Options::default(), |server, client, session| {
        assert!(client.resumes(&server.context, &session));
        server.cache.purge(server.attachment.context());
        assert!(!client.resumes(&server.context, &session));
        let session = client.sessions().pop().unwrap();
        assert!(client.resumes(&server.context, &session), "new ones are");
    });
}

#[test]
fn nothing_is_resumed_after_a_take() {
    each(&Options::default(), |server, client, session| {
        assert!(client.resumes(&server.context, &session));
        let guard = server.cache.pin();
        let keys: Vec<_> = server.cache.iter(&guard).map(|s| *s.key()).collect();
        assert!(!keys.is_empty());
        for key in &keys {
            assert!(server.cache.take(key, &guard).is_some());
        }
        drop(guard);
        assert!(!client.resumes(&server.context, &session));
    });
}

#[test]
fn nothing_is_resumed_in_another_context() {
    each(&Options::default(), |server, client, session| {
        let (other, attachment) = Server::on(&server.cache, Options::default(), |_| ());
        assert!(!client.resumes(&other, &session));
        assert!(
            client.resumes(&server.context, &session),
            "it is where it was"
        );
        assert_eq!(attachment.stats().foreign_ids, 0, "the process is the same");
        let shared = Options::default().context(server.attachment.context());
        let (same, _) = Server::on(&server.cache, shared, |_| ());
        assert!(client.resumes(&same, &session));
    });
}

#[test]
fn single_use_is_for_tls13() {
    each(
        &Options::default().single_use(SingleUse::Tls13),
        |server, client, session| {
            assert!(client.resumes(&server.context, &session));
            let again = client.resumes(&server.context, &session);
            assert_eq!(again, session.protocol_version() == SslVersion::TLS1_2);
        },
    );
}

/// The server wants another key share, and OpenSSL looks the ticket up twice.
#[test]
fn a_second_client_hello_finds_a_ticket_unless_it_is_for_one_use() {
    for (uses, resumes) in [(SingleUse::EarlyData, true), (SingleUse::Tls13, false)] {
        let options = Options::default().single_use(uses);
        let server = Server::with(options, |context| {
            context.set_groups_list("P-384").unwrap();
        });
        let client = Client::new(SslVersion::TLS1_3);
        let session = client.session(&server.context);
        assert_eq!(client.resumes(&server.context, &session), resumes);
        let counters = server.cache.counters();
        let expected = if resumes { (2, 0) } else { (1, 1) };
        assert_eq!((counters.hits, counters.misses), expected);
    }
}

#[test]
fn a_lineage_ends_although_each_resumption_mints_a_session() {
    let hours = |n: u64| Duration::from_secs(n * 3_600);
    each(
        &Options::default().timeout(hours(10)),
        |server, client, mut session| {
            if session.protocol_version() == SslVersion::TLS1_2 {
                return; // One session, which lives for its ten hours.
            }
            for _ in 0..2 {
                server.hand.advance(hours(9));
                assert!(client.resumes(&server.context, &session));
                session = client.sessions().pop().unwrap();
            }
            server.hand.advance(hours(9));
            assert!(
                !client.resumes(&server.context, &session),
                "27 hours after its authentication"
            );
        },
    );
}

#[test]
fn a_handshake_that_is_stopped_over_a_purge_gets_nothing_that_resumes() {
    let server = Server::new(Options::default());
    let client = Client::new(SslVersion::TLS1_3);
    let session = client.session(&server.context);
    for (purge, resumes) in [(false, true), (true, false)] {
        let mut connection = client.begin(&server.context, Some(&session), Some(NAME));
        assert!(
            connection.client.do_handshake().is_err(),
            "it has said its hello"
        );
        assert!(
            connection.server.do_handshake().is_err(),
            "and was answered"
        );
        server.hand.advance(Duration::from_secs(10));
        if purge {
            server.cache.purge(server.attachment.context());
        }
        server.hand.advance(Duration::from_secs(10));
        client.sessions();
        connection.finish().unwrap();
        connection.exchange();
        assert!(connection.resumed());
        let minted = client.sessions().pop().expect("a ticket");
        assert_eq!(client.resumes(&server.context, &minted), resumes);
        assert_eq!(server.attachment.stats().not_stored, u64::from(purge));
    }
}

#[test]
fn a_connection_outlives_context_and_cache() {
    for version in VERSIONS {
        let server = Server::new(Options::default());
        let client = Client::new(version);
        let session = client.session(&server.context);
        let mut connections: Vec<_> = (0..3)
            .map(|_| client.connect(&server.context, Some(&session)))
            .collect();
        let half_way = client.begin(&server.context, None, None);
        drop(server);
        for connection in &mut connections {
            assert!(connection.resumed());
            connection.exchange();
        }
        let mut half_way = half_way;
        half_way.finish().unwrap();
        half_way.exchange();
        half_way.close();
        // Its session went to the cache that the connections still have.
        drop(connections);
    }
}

#[test]
fn one_cache_serves_several_threads_and_contexts() {
    let server = Server::new(Options::default());
    let shared = Options::default().context(server.attachment.context());
    let contexts: Vec<SslContext> = (0..4)
        .map(|_| Server::on(&server.cache, shared.clone(), |_| ()).0)
        .collect();
    std::thread::scope(|scope| {
        for number in 0..4 {
            let contexts = &contexts;
            scope.spawn(move || {
                let client = Client::new(VERSIONS[number % 2]);
                let mut session = client.session(&contexts[number]);
                for turn in 0..25 {
                    assert!(client.resumes(&contexts[(number + turn) % 4], &session));
                    session = client.sessions().pop().unwrap_or(session);
                }
            });
        }
    });
    assert_eq!(server.cache.counters().hits, 100);
}
