//! Clients with certificates, and servers that want one.

mod support;

use openssl::ssl::{NameType, SniError, SslContext, SslContextBuilder, SslVersion};
use sessionwheel_openssl::{Attachment, Options, ServerNames, Storage};
use support::{Client, Identity, Server, VERSIONS, require, server_context};

#[test]
fn a_resumed_client_is_still_the_one_that_was_verified() {
    for storage in [Storage::Objects, Storage::Der] {
        for version in VERSIONS {
            let identity = Identity::new("client");
            // No session-id context is set by hand.
            let options = Options::default().storage(storage);
            let server = Server::with(options, |context| require(context, &identity));
            let client = Client::with(version, Some(&identity));
            let mut session = client.session(&server.context);
            for _ in 0..3 {
                let connection = client.connect(&server.context, Some(&session));
                assert!(connection.resumed());
                let peer = connection
                    .server
                    .ssl()
                    .peer_certificate()
                    .expect("a certificate");
                assert_eq!(
                    peer.to_der().unwrap(),
                    identity.certificate.to_der().unwrap()
                );
                assert_eq!(
                    connection.server.ssl().verify_result(),
                    openssl::x509::X509VerifyResult::OK
                );
                session = client.sessions().pop().unwrap_or(session);
            }
        }
    }
}

#[test]
fn a_stricter_context_resumes_nothing_of_a_lenient_one() {
    let identity = Identity::new("client");
    for version in VERSIONS {
        let lenient = Server::new(Options::default());
        let nobody = Client::new(version);
        let session = nobody.session(&lenient.context);

        // Another context of the same cache.
        let strict = |options| {
            Server::on(&lenient.cache, options, |context| {
                require(context, &identity)
            })
        };
        let (context, attachment) = strict(Options::default());
        assert!(is_refused(&nobody, &context, &session, None));
        assert_eq!(
            attachment.stats().unauthenticated,
            0,
            "it did not come so far"
        );

        // By mistake the same.
        let same = Options::default().context(lenient.attachment.context());
        let (context, attachment) = strict(same);
        assert!(is_refused(&nobody, &context, &session, None));
        assert_eq!(attachment.stats().unauthenticated, 1);

        assert!(
            nobody.resumes(&lenient.context, &session),
            "it is good where it was made"
        );
    }
}

fn is_refused(
    client: &Client,
    server: &SslContext,
    session: &openssl::ssl::SslSession,
    name: Option<&str>,
) -> bool {
    let name = name.or(Some(support::NAME));
    // In TLS 1.3 a client is done before it learns that its certificate is missed.
    let mut connection = client.begin(server, Some(session), name);
    let refused = connection.finish().is_err();
    assert!(refused || connection.resumed());
    refused
}

/// A server for two names: under `inside` clients have to show their certificate.
fn two_names(options: &Options, inside: &Identity) -> (Server, SslContext, Attachment) {
    let plain = Server::new(options.clone());
    let shared = options.clone().context(plain.attachment.context());
    let (strict, _) = Server::on(&plain.cache, shared.clone(), |context| {
        require(context, inside)
    });
    let (front, attachment) = front(&plain, shared, strict, |_| ());
    (plain, front, attachment)
}

/// The name `inside` leads to that context, and all others nowhere else.
fn front(
    server: &Server,
    options: Options,
    inside: SslContext,
    set: impl FnOnce(&mut SslContextBuilder),
) -> (SslContext, Attachment) {
    Server::on(&server.cache, options, |context| {
        set(context);
        context.set_servername_callback(move |ssl, _| match ssl.servername(NameType::HOST_NAME) {
            Some("inside") => {
                // Which OpenSSL does not take from the context.
                ssl.set_verify(inside.verify_mode());
                ssl.set_ssl_context(&inside)
                    .map_err(|_| SniError::ALERT_FATAL)
            }
            Some(_) => Ok(()),
            None => Err(SniError::NOACK),
        });
    })
}

#[test]
fn one_cache_serves_all_names_and_no_session_changes_its_name() {
    for version in VERSIONS {
        let identity = Identity::new("client");
        let (server, front, attachment) = two_names(&Options::default(), &identity);
        let nobody = Client::new(version);
        let known = Client::with(version, Some(&identity));
        let outside = nobody.session(&front);

        let connection = known.connect_to(&front, None, Some("inside")).unwrap();
        assert!(!connection.resumed());
        connection.close();
        let mut inside = known.sessions().pop().unwrap();
        assert!(server.cache.len() >= 2, "both are in the cache");
        for name in ["inside"; 3] {
            let connection = known.connect_to(&front, Some(&inside), Some(name)).unwrap();
            assert!(connection.resumed(), "{version:?}");
            assert!(connection.server.ssl().peer_certificate().is_some());
            inside = known.sessions().pop().unwrap_or(inside);
        }

        assert_eq!(attachment.stats().other_names, 0);
        assert!(is_refused(&nobody, &front, &outside, Some("inside")));
        assert_eq!(attachment.stats().other_names, 1);
        assert!(!known.resumes(&front, &inside), "nor the other way");
        let none = nobody.connect_to(&front, Some(&outside), None).unwrap();
        assert!(!none.resumed(), "nor without a name");
        none.close();
        assert_eq!(attachment.stats().other_names, 3);
        assert!(nobody.resumes(&front, &outside));
    }
}

/// What the comparison of names is for.
#[test]
fn without_names_a_session_gets_in_where_its_client_does_not() {
    let identity = Identity::new("client");
    let options = Options::default().server_names(ServerNames::Any);
    let (_server, front, _) = two_names(&options, &identity);
    let nobody = Client::new(SslVersion::TLS1_3);
    let outside = nobody.session(&front);
    let connection = nobody
        .connect_to(&front, Some(&outside), Some("inside"))
        .unwrap();
    assert!(connection.resumed());
}

/// Of two contexts, and of two names of one.
#[test]
fn a_client_of_one_authority_does_not_get_in_at_another_s() {
    for version in VERSIONS {
        let [a, b] = ["a", "b"].map(Identity::new);
        let known_to_a = Client::with(version, Some(&a));

        let here = Server::with(Options::default(), |context| require(context, &a));
        let on = |options| Server::on(&here.cache, options, |context| require(context, &b));
        let (there, _) = on(Options::default());
        let session = known_to_a.session(&here.context);
        assert!(is_refused(&known_to_a, &there, &session, None));
        assert!(known_to_a.resumes(&here.context, &session));

        // What that is for; and would it be noticed?
        let (mistaken, _) = on(Options::default().context(here.attachment.context()));
        let connection = known_to_a.connect(&mistaken, Some(&session));
        assert!(connection.resumed(), "by mistake the same");
        connection.close();

        let mut inside = server_context(&Identity::new("inside"));
        require(&mut inside, &b);
        let (front, attachment) = front(&here, Options::default(), inside.build(), |context| {
            require(context, &a);
        });
        let outside = known_to_a.session(&front);
        assert!(known_to_a.resumes(&front, &outside));
        assert!(is_refused(&known_to_a, &front, &outside, Some("inside")));
        assert_eq!(attachment.stats().other_names, 1);
    }
}

/// The context that a name leads to need not be attached.
#[test]
fn a_context_that_a_name_leads_to_needs_the_same_session_id_context() {
    let id_context = Options::default().session_id_context;
    for (own, retried, resumes) in [
        (true, false, true),
        (true, true, true),
        (false, false, true),
        // The second hello is looked at with the session-id context of the context that the first one has led to.
        (false, true, false),
    ] {
        for version in VERSIONS {
            if retried && version == SslVersion::TLS1_2 {
                continue; // It retries nothing.
            }
            let identity = Identity::new("client");
            let server = Server::new(Options::default());
            let mut inside = server_context(&Identity::new("inside"));
            require(&mut inside, &identity);
            if own {
                inside.set_session_id_context(&id_context).unwrap();
            }
            let (front, attachment) =
                front(&server, Options::default(), inside.build(), |context| {
                    if retried {
                        context.set_groups_list("P-384").unwrap();
                    }
                });
            let client = Client::with(version, Some(&identity));
            let connect = |session: Option<&_>| {
                let connection = client.connect_to(&front, session, Some("inside")).unwrap();
                assert!(connection.server.ssl().peer_certificate().is_some());
                let resumed = connection.resumed();
                connection.close();
                resumed
            };
            assert!(!connect(None));
            let session = client.sessions().pop();
            let what = format!("{version:?}, own {own}, retried {retried}");
            assert_eq!(connect(session.as_ref()), resumes, "{what}");
            assert_eq!(attachment.stats().panics, 0, "{what}");
        }
    }
}
