//! Two hosts that share sessions by something outside of both.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use openssl::ssl::{ErrorCode, SniError, SslContext, SslContextBuilder, SslVersion};
use sessionwheel::{Claim, ExternalTier, Fetched, Reason, SessionCache, SessionKey, TierSession};
use sessionwheel_openssl::{
    Attachment, EarlyData, Options, Session, SingleUse, Storage, TagKey, Tags, attach, suspend,
};
use support::{Client, Identity, NAME, Server, VERSIONS, server_context};

/// So often the tier says that it is still asking.
const PATIENCE: usize = 3;

/// As bytes, as a server for all hosts would keep them; and how often each was asked for ahead.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<Kept>>, Arc<Mutex<HashMap<SessionKey, usize>>>);

type Kept = HashMap<SessionKey, TierSession<Box<[u8]>>>;

impl ExternalTier<Session> for Outside {
    fn store(&self, session: TierSession<&Session>) {
        let bytes = session.value.to_bytes().unwrap();
        let key = session.key;
        self.0
            .lock()
            .unwrap()
            .insert(key, session.map(|_| bytes.as_ref().into()));
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<Session> {
        let Some(kept) = self.0.lock().unwrap().get(key).cloned() else {
            return Fetched::Miss;
        };
        match Session::from_bytes(&kept.value, Storage::Objects) {
            Ok(session) => Fetched::Hit(kept.map(|_| session)),
            Err(_) => Fetched::Miss,
        }
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        self.0.lock().unwrap().remove(key).is_some().into()
    }

    fn prepare(&self, key: &SessionKey) -> bool {
        let mut asked = self.1.lock().unwrap();
        let times = asked.entry(*key).or_default();
        *times += 1;
        *times > PATIENCE
    }

    fn remove(&self, key: &SessionKey, _: Reason) {
        self.0.lock().unwrap().remove(key);
    }
}

fn options() -> Options {
    Options::default().tags(Tags::With(TagKey::new([9; 16])))
}

fn host(outside: &Outside, options: &Options) -> (SessionCache<Session>, SslContext, Attachment) {
    host_with(outside, options, |_| ())
}

fn host_with(
    outside: &(impl ExternalTier<Session> + Clone),
    options: &Options,
    set: impl FnOnce(&mut SslContextBuilder),
) -> (SessionCache<Session>, SslContext, Attachment) {
    let cache = SessionCache::builder()
        .external(outside.clone())
        .build()
        .unwrap();
    let (context, attachment) = Server::on(&cache, options.clone(), set);
    (cache, context, attachment)
}

fn allow_early_data(context: &mut SslContextBuilder) {
    context.set_max_early_data(1 << 14).unwrap();
}

#[test]
fn what_one_host_has_made_the_other_resumes() {
    let options = options();
    for version in VERSIONS {
        let outside = Outside::default();
        let (_, one, _) = host(&outside, &options);
        let (cache, other, attachment) = host(&outside, &options);
        let client = Client::new(version);
        let session = client.session(&one);
        for _ in 0..3 {
            assert!(client.resumes(&other, &session));
        }
        let counters = cache.counters();
        assert_eq!(
            (counters.hits, counters.cb_hits),
            (3, 1),
            "it is inside then"
        );
        assert_eq!(attachment.stats().foreign_ids, 0);
    }
}

#[test]
fn a_ticket_for_one_use_is_good_on_one_host() {
    let options = options().single_use(SingleUse::Tls13);
    let outside = Outside::default();
    let (one_cache, one, _) = host(&outside, &options);
    let (_, other, _) = host(&outside, &options);
    let client = Client::new(SslVersion::TLS1_3);
    let session = client.session(&one);
    assert!(client.resumes(&other, &session));
    assert!(
        !client.resumes(&one, &session),
        "although it still has it inside"
    );
    assert_eq!(one_cache.counters().unclaimed, 1);
    assert!(!client.resumes(&other, &session));
}

#[test]
fn what_another_host_has_kept_and_is_too_large_here_is_not_used() {
    for version in VERSIONS {
        let outside = Outside::default();
        let (_, one, there) = host(&outside, &options());
        let (_, other, here) = host(&outside, &options().largest_session(64));
        let client = Client::new(version);
        let session = client.session(&one);
        assert!(!client.resumes(&other, &session));
        let oversized = [there, here].map(|attachment| attachment.stats().oversized);
        // It, and what the full handshake has made.
        assert!(oversized[0] == 0 && oversized[1] >= 2, "{oversized:?}");
        assert!(client.resumes(&one, &session));
    }
}

/// What is dropped with the last context of a cache.
#[derive(Clone)]
struct Panics(Arc<Mutex<usize>>);

impl Drop for Panics {
    fn drop(&mut self) {
        *self.0.lock().unwrap() += 1;
        panic!("a destructor that fails");
    }
}

/// One that came to C would end the process.
#[test]
fn a_panic_in_a_destructor_does_not_come_to_c() {
    let drops = Arc::new(Mutex::new(0));
    let panics = Panics(drops.clone());
    let cache = SessionCache::builder().on_new(move |_, _| panics.0.lock().is_ok());
    let cache = cache.build().unwrap();
    let (context, attachment) = Server::on(&cache, options(), |_| ());
    let client = Client::new(SslVersion::TLS1_3);
    client.session(&context);
    drop((attachment, cache));
    assert_eq!(*drops.lock().unwrap(), 0);
    drop(context);
    assert_eq!(*drops.lock().unwrap(), 1);
}

/// OpenSSL asks for the server's name after it has looked the session up.
fn allow_early_data_late(context: &mut SslContextBuilder) {
    context.set_servername_callback(|ssl, _| {
        ssl.set_max_early_data(1 << 14)
            .map_err(|_| SniError::ALERT_FATAL)
    });
}

#[test]
fn early_data_of_a_session_from_outside_is_refused_unless_asked_for() {
    let allow: [fn(&mut SslContextBuilder); 2] = [allow_early_data, allow_early_data_late];
    let ways = allow.map(|allow| [(allow, EarlyData::Own), (allow, EarlyData::All)]);
    for (allow, early_data) in ways.into_iter().flatten() {
        let options = options().early_data(early_data);
        let outside = Outside::default();
        let (_, one, _) = host_with(&outside, &options, allow);
        let (_, other, attachment) = host_with(&outside, &options, allow);
        let client = Client::new(SslVersion::TLS1_3);
        let session = client.session(&one);
        assert_eq!(session.max_early_data(), 1 << 14);
        let own = early_data == EarlyData::Own;
        let (got, connection) = client.early(&other, &session);
        assert!(connection.resumed());
        assert_eq!(got, if own { &b""[..] } else { b"early" });
        assert_eq!(attachment.stats().early_data_refused, u64::from(own));
        connection.close();
        // What that has minted is the other's own, and still inside.
        let (got, connection) = client.early(&other, &client.sessions().pop().unwrap());
        assert!(connection.resumed());
        assert_eq!(got, b"early");
        connection.close();
        assert_eq!(attachment.stats().early_data_refused, u64::from(own));
    }
}

/// The same, but nobody can be asked who may use a session.
#[derive(Clone, Default)]
struct Undecided(Outside);

impl ExternalTier<Session> for Undecided {
    fn store(&self, session: TierSession<&Session>) {
        self.0.store(session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<Session> {
        self.0.fetch(key)
    }

    fn claim(&self, _: &SessionKey) -> Claim {
        Claim::Local
    }

    fn remove(&self, key: &SessionKey, reason: Reason) {
        self.0.remove(key, reason);
    }
}

#[test]
fn early_data_of_a_session_that_nobody_decides_about_is_refused() {
    for early_data in [EarlyData::Own, EarlyData::All] {
        let options = options().early_data(early_data);
        let outside = Undecided::default();
        let (cache, one, attachment) = host_with(&outside, &options, allow_early_data);
        let client = Client::new(SslVersion::TLS1_3);
        let session = client.session(&one);
        let (got, connection) = client.early(&one, &session);
        assert!(connection.resumed(), "as one of the host's own");
        assert_eq!(got, b"");
        connection.close();
        assert_eq!(attachment.stats().early_data_refused, 1);
        // It lies outside still.
        let (got, connection) = client.early(&one, &session);
        assert!(!connection.resumed());
        assert_eq!(got, b"");
        connection.close();
        assert_eq!(cache.counters().unclaimed, 1);
        // Where it is decided, its early data comes.
        let (_, one, attachment) = host_with(&Outside::default(), &options, allow_early_data);
        let session = client.session(&one);
        let (got, connection) = client.early(&one, &session);
        assert!(connection.resumed());
        assert_eq!(got, b"early");
        connection.close();
        assert_eq!(attachment.stats().early_data_refused, 0);
    }
}

/// The server's handshake until it is done; how often it was put off.
fn accept(connection: &mut support::Connection) -> usize {
    let mut put_off = 0;
    for _ in 0..20 {
        let _ = connection.client.do_handshake();
        match connection.server.do_handshake() {
            Ok(()) => {
                connection.finish().unwrap();
                connection.exchange();
                return put_off;
            }
            Err(error) if error.code() == ErrorCode::WANT_CLIENT_HELLO_CB => put_off += 1,
            Err(error) => assert_eq!(error.code(), ErrorCode::WANT_READ),
        }
    }
    panic!("the handshake does not end");
}

#[test]
fn a_handshake_is_put_off_while_the_tier_is_asked() {
    for version in VERSIONS {
        let outside = Outside::default();
        let suspended = || {
            let cache = SessionCache::builder().external(outside.clone());
            let cache = cache.build().unwrap();
            let mut context = server_context(&Identity::new(NAME));
            let attachment = attach(&mut context, &cache, options()).unwrap();
            suspend(&mut context, &attachment);
            (context.build(), attachment)
        };
        let ((one, _), (other, attachment)) = (suspended(), suspended());
        let client = Client::new(version);
        let begin = |server: &SslContext, session| client.begin(server, session, Some(NAME));
        let mut first = begin(&one, None);
        assert_eq!(accept(&mut first), 0, "nothing was offered");
        first.close();
        let sessions = client.sessions();
        assert!(outside.1.lock().unwrap().is_empty());

        let mut second = begin(&other, sessions.last());
        assert_eq!(accept(&mut second), PATIENCE);
        assert!(second.resumed());
        second.close();
        assert_eq!(attachment.stats().put_off, PATIENCE as u64);
        // From inside there is nothing to wait for.
        let mut third = begin(&other, sessions.last());
        assert_eq!(accept(&mut third), 0);
        assert!(third.resumed());
        third.close();

        // What somebody else has made is not asked for.
        let (_, stranger, _) = host(&Outside::default(), &Options::default());
        let foreign = client.session(&stranger);
        let asked = outside.1.lock().unwrap().len();
        let mut fourth = begin(&other, Some(&foreign));
        assert_eq!(accept(&mut fourth), 0);
        assert!(!fourth.resumed());
        assert_eq!(outside.1.lock().unwrap().len(), asked);
        assert_eq!(attachment.stats().foreign_ids, 1);
    }
}
