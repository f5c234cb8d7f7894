//! What is refused before, or in spite of, a lookup; and what becomes of the handshake.

mod support;

use foreign_types::ForeignType;
use openssl::ssl::{ErrorCode, SslSession, SslVersion};
use sessionwheel::{Fetched, SessionCache};
use sessionwheel_openssl::{
    AttachError, Options, Session, Storage, TagKey, Tags, Tickets, attach, ffi,
};
use support::{Client, Identity, NAME, Server, VERSIONS, server_context};

fn with_key(n: u8) -> Options {
    Options::default().tags(Tags::With(TagKey::new([n; 16])))
}

#[test]
fn ids_made_elsewhere_are_refused_without_a_lookup() {
    for version in VERSIONS {
        let (here, elsewhere) = (Server::new(with_key(1)), Server::new(with_key(2)));
        let client = Client::new(version);
        let session = client.session(&elsewhere.context);
        for n in 1..=10 {
            assert!(!client.resumes(&here.context, &session));
            assert_eq!(here.attachment.stats().foreign_ids, n);
        }
        let counters = here.cache.counters();
        assert_eq!(
            (counters.hits, counters.misses),
            (0, 0),
            "nothing was looked up"
        );

        let same_key = Server::new(with_key(2));
        assert!(!client.resumes(&same_key.context, &session));
        assert_eq!(same_key.attachment.stats().foreign_ids, 0);
        assert_eq!(same_key.cache.counters().misses, 1);
    }
}

#[test]
fn the_random_ids_of_tls13_clients_are_refused_without_a_lookup() {
    let server = Server::with(Options::default(), |context| {
        context
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
    });
    let mut client =
        openssl::ssl::SslContext::builder(openssl::ssl::SslMethod::tls_client()).unwrap();
    client.set_verify(openssl::ssl::SslVerifyMode::NONE);
    let client = Client::of(client);
    client.connect(&server.context, None).close();
    assert_eq!(server.attachment.stats().foreign_ids, 1);
    assert_eq!(server.cache.counters().misses, 0);
}

#[test]
fn without_tags_foreign_ids_are_looked_up() {
    let server = Server::new(Options::default().tags(Tags::Off));
    let elsewhere = Server::new(Options::default());
    for version in VERSIONS {
        let client = Client::new(version);
        let session = client.session(&elsewhere.context);
        assert!(!client.resumes(&server.context, &session));
        let session = client.sessions().pop().unwrap();
        assert!(client.resumes(&server.context, &session));
    }
    assert_eq!(server.attachment.stats().foreign_ids, 0);
    assert_eq!(server.cache.counters().misses, 2);
}

#[test]
fn ids_of_odd_lengths_are_foreign() {
    let server = Server::new(Options::default());
    let client = Client::new(SslVersion::TLS1_2);
    for (n, len) in [1, 8, 31].into_iter().enumerate() {
        let session = client.session(&server.context);
        let id = session.id()[..len].to_vec();
        // SAFETY: the session is ours, in no cache of OpenSSL's; the id is as long as is said.
        unsafe { ffi::SSL_SESSION_set1_id(session.as_ptr(), id.as_ptr(), len as u32) };
        assert!(!client.resumes(&server.context, &session));
        assert_eq!(server.attachment.stats().foreign_ids, n as u64 + 1);
    }
    assert_eq!(server.cache.counters().misses, 0);
}

/// How the server answers a client that offers these tickets, each with a binder that fits none.
fn offer(server: &Server, client: &Client, tickets: &[Vec<u8>]) -> ErrorCode {
    let mut connection = client.begin(&server.context, None, None);
    connection.change_hello(|hello| hello.with_tickets(tickets));
    connection.server.do_handshake().unwrap_err().code()
}

#[test]
fn a_hundred_tickets_in_one_client_hello_cost_a_hundred_hashes() {
    let server = Server::new(Options::default());
    let client = Client::new(SslVersion::TLS1_3);
    // The last one is about as many as a hello has room for, beside the key shares of new clients.
    for count in [1, 100, 880] {
        let tickets: Vec<_> = (0..count as u32)
            .map(|n| n.to_le_bytes().repeat(8))
            .collect();
        let before = server.attachment.stats().foreign_ids;
        let answer = offer(&server, &client, &tickets);
        assert_eq!(answer, ErrorCode::WANT_READ, "it has answered");
        assert_eq!(server.attachment.stats().foreign_ids - before, count);
    }
    let counters = server.cache.counters();
    assert_eq!(
        (counters.hits, counters.misses, server.cache.len()),
        (0, 0, 0)
    );
}

#[test]
fn tickets_of_odd_lengths_do_not_come_so_far() {
    let server = Server::new(Options::default());
    let client = Client::new(SslVersion::TLS1_3);
    let offer = |len| offer(&server, &client, &[vec![7; len]]);
    for len in [1, 31, 33, 16_384, 63_000] {
        assert_eq!(offer(len), ErrorCode::WANT_READ, "it has answered: {len}");
    }
    assert_eq!(offer(0), ErrorCode::SSL, "that is against the rules");
    assert_eq!(server.attachment.stats().foreign_ids, 0);
    let session = client.session(&server.context);
    assert!(client.resumes(&server.context, &session));
}

#[test]
fn session_ids_of_any_length_are_a_miss_or_no_hello() {
    let server = Server::new(Options::default());
    let client = Client::new(SslVersion::TLS1_2);
    let offer = |len| {
        let mut connection = client.begin(&server.context, None, None);
        connection.change_hello(|hello| hello.with_session_id(&vec![7; len]));
        connection.server.do_handshake().unwrap_err().code()
    };
    for (len, foreign) in [(0, 0), (1, 1), (31, 2), (32, 3)] {
        assert_eq!(offer(len), ErrorCode::WANT_READ, "it has answered: {len}");
        assert_eq!(server.attachment.stats().foreign_ids, foreign, "{len}");
    }
    for len in [33, 255] {
        assert_eq!(offer(len), ErrorCode::SSL, "that is no ClientHello: {len}");
    }
    assert_eq!(server.attachment.stats().foreign_ids, 3);
    assert_eq!(server.cache.counters().misses, 0);
    let session = client.session(&server.context);
    assert!(client.resumes(&server.context, &session));
}

#[test]
fn a_session_over_the_limit_is_not_kept_and_its_handshake_goes_on() {
    for storage in [Storage::Objects, Storage::Der] {
        for version in VERSIONS {
            let options = Options::default().storage(storage);
            let server = Server::new(options.clone().largest_session(100));
            let client = Client::new(version);
            let session = client.session(&server.context);
            assert!(!client.resumes(&server.context, &session));
            let each = if version == SslVersion::TLS1_3 { 2 } else { 1 };
            assert_eq!(server.attachment.stats().oversized, 2 * each);
            assert_eq!(server.cache.len(), 0);

            // The client's certificate counts.
            let large = Identity::of_size("client", 20_000);
            let size = large.certificate.to_der().unwrap().len();
            for (limit, kept) in [(size, false), (size + 1_000, true)] {
                let options = options.clone().largest_session(limit);
                let server = Server::with(options, |context| support::require(context, &large));
                let client = Client::with(version, Some(&large));
                let session = client.session(&server.context);
                assert_eq!(client.resumes(&server.context, &session), kept, "{limit}");
                assert_eq!(server.attachment.stats().oversized > 0, !kept);
            }
        }
    }
}

/// As an object a session keeps the whole chain, in DER the client's own certificate alone.
#[test]
fn the_chain_counts_where_it_is_kept() {
    let leaf = Identity::new("client");
    let large = Identity::of_size("authority", 20_000);
    for (storage, kept) in [(Storage::Objects, false), (Storage::Der, true)] {
        for version in VERSIONS {
            let options = Options::default().storage(storage).largest_session(8_000);
            let server = Server::with(options, |context| support::require(context, &leaf));
            let client = Client::with_chain(version, &leaf, &large);
            let session = client.session(&server.context);
            assert_eq!(client.resumes(&server.context, &session), kept);
            assert_eq!(server.attachment.stats().oversized > 0, !kept);
        }
    }
}

#[test]
fn what_the_cache_refuses_is_counted_and_the_handshake_goes_on() {
    for version in VERSIONS {
        let cache = SessionCache::builder().maximum(Some(0)).build().unwrap();
        let (context, attachment) = Server::on(&cache, Options::default(), |_| ());
        let client = Client::new(version);
        let session = client.session(&context);
        assert!(!client.resumes(&context, &session));
        let each = if version == SslVersion::TLS1_3 { 2 } else { 1 };
        assert_eq!(attachment.stats().not_stored, 2 * each);
    }
}

#[test]
fn callbacks_that_panic_cost_a_session_and_stop_nobody() {
    for version in VERSIONS {
        let new = SessionCache::builder().on_new(|_, _| panic!("planted: on_new"));
        let removed = SessionCache::builder().on_remove(|_, _, _| panic!("planted: on_remove"));
        let get = SessionCache::<Session>::builder()
            .on_get(|_| -> Fetched<Session> { panic!("planted: on_get") })
            .internal_lookup(false);
        for (builder, resumes) in [(new, false), (removed, true), (get, false)] {
            let cache = builder.build().unwrap();
            let (context, attachment) = Server::on(&cache, Options::default(), |_| ());
            let client = Client::new(version);
            let session = client.session(&context);
            assert_eq!(client.resumes(&context, &session), resumes);
            cache.clear();
            assert!(!client.resumes(&context, &session));
            assert!(cache.counters().panics > 0);
            assert_eq!(attachment.stats().panics, 0, "they did not come so far");
        }
    }
}

#[test]
fn what_is_kept_under_another_id_is_not_used() {
    for version in VERSIONS {
        let server = Server::new(Options::default());
        let client = Client::new(version);
        let (one, other) = (
            client.session(&server.context),
            client.session(&server.context),
        );
        let id = |s: &SslSession| sessionwheel::SessionId::new(s.id()).unwrap();
        let context = server.attachment.context();
        let guard = server.cache.pin();
        // The stateful ticket of TLS 1.3 is the id on the server's side.
        let keys: Vec<_> = server.cache.iter(&guard).map(|s| *s.key()).collect();
        let wrong = |key: &sessionwheel::SessionKey| *keys.iter().find(|k| *k != key).unwrap();
        for key in &keys {
            let bytes = server
                .cache
                .get(&wrong(key), &guard)
                .unwrap()
                .to_bytes()
                .unwrap();
            let session = Session::from_bytes(&bytes, Storage::Objects).unwrap();
            let swapped = SessionCache::builder().build().unwrap();
            let options = Options::default().context(context);
            let (context, attachment) = Server::on(&swapped, options, |_| ());
            swapped.insert(*key, session).unwrap();
            for session in [&one, &other] {
                assert!(!client.resumes(&context, session));
            }
            let seen = swapped.counters();
            assert_eq!(attachment.stats().unusable, seen.hits);
            if version == SslVersion::TLS1_2 {
                assert!([&one, &other].iter().any(|s| id(s) == *key.id()));
                assert_eq!(seen.hits, 1);
            }
        }
    }
}

#[test]
fn bytes_that_are_no_session_are_refused() {
    for version in VERSIONS {
        let server = Server::new(Options::default());
        Client::new(version).session(&server.context);
        let guard = server.cache.pin();
        let kept = server.cache.iter(&guard).next().unwrap();
        let bytes = kept.value().to_bytes().unwrap();
        for storage in [Storage::Objects, Storage::Der] {
            let same = Session::from_bytes(&bytes, storage).unwrap();
            assert_eq!(
                (same.to_bytes().unwrap(), same.storage()),
                (bytes.clone(), storage)
            );
            assert_eq!(same.server_name(), Some(NAME.as_bytes()));
            assert!(!format!("{same:?}").contains("local"));
            for len in 0..bytes.len() {
                Session::from_bytes(&bytes[..len], storage).unwrap_err();
            }
            Session::from_bytes(&[&bytes[..], &[0]].concat(), storage).unwrap_err();
            Session::from_bytes(&[&[2], &bytes[1..]].concat(), storage).unwrap_err();
        }
        assert_eq!(
            openssl::error::ErrorStack::get().errors().len(),
            0,
            "nothing is left"
        );
    }
}

#[test]
fn a_context_that_cannot_be_attached_says_why_and_stays_as_it_was() {
    let cache = SessionCache::builder().build().unwrap();
    let mut context = server_context(&Identity::new(NAME));
    let before = context.options();
    let mut refused = |options| {
        let error = attach(&mut context, &cache, options).unwrap_err();
        assert_eq!(context.options(), before);
        error
    };
    let error = refused(Options::default().tickets(Tickets::Tls12));
    assert!(matches!(error, AttachError::TicketsWithTls13), "{error}");
    for len in [0, 33] {
        let error = refused(Options::default().session_id_context(&vec![0; len]));
        assert!(
            error.to_string().ends_with(&format!("not {len}")),
            "{error}"
        );
    }
}

#[test]
fn with_tickets_in_tls12_those_who_can_do_without_the_cache_do() {
    let cache = SessionCache::builder().build().unwrap();
    let options = Options::default().tickets(Tickets::Tls12);
    let (context, _) = Server::on(&cache, options, |context| {
        context
            .set_max_proto_version(Some(SslVersion::TLS1_2))
            .unwrap();
    });
    let client = Client::new(SslVersion::TLS1_2); // asks for none
    let session = client.session(&context);
    assert!(client.resumes(&context, &session));
    assert_eq!((cache.len(), cache.counters().hits), (1, 1));

    let mut asks =
        openssl::ssl::SslContext::builder(openssl::ssl::SslMethod::tls_client()).unwrap();
    asks.set_verify(openssl::ssl::SslVerifyMode::NONE);
    let client = Client::of(asks);
    let session = client.session(&context);
    assert!(client.resumes(&context, &session));
    assert_eq!((cache.len(), cache.counters().hits), (1, 1), "by a ticket");
}

/// The newest version was TLS 1.2 when it was attached.
#[test]
fn with_tickets_in_tls12_nothing_of_tls13_is_kept_whatever_is_set_later() {
    let cache = SessionCache::builder().build().unwrap();
    let mut context = server_context(&Identity::new(NAME));
    let newest = Some(SslVersion::TLS1_2);
    context.set_max_proto_version(newest).unwrap();
    let options = Options::default().tickets(Tickets::Tls12);
    let attachment = attach(&mut context, &cache, options).unwrap();
    context.set_max_proto_version(None).unwrap();
    let context = context.build();
    let client = Client::new(SslVersion::TLS1_3);
    let session = client.session(&context);
    assert!(client.resumes(&context, &session), "by a ticket");
    assert!(cache.is_empty(), "OpenSSL would not look it up");
    assert!(attachment.stats().not_stored > 0);
}
