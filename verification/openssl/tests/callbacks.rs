//! How often a handshake comes to each callback, wherever sessions are kept: with OpenSSL's own cache, and with ours
//! when a stack does the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use libc::c_long;
use openssl::ssl::SslContext;
use sessionwheel::{
    Claim, Context, ExternalTier, Fetched, Mode, Reason, Role, SessionCache, SessionId, SessionKey,
    SessionOptions, TierSession,
};
use sessionwheel_openssl_contract::ffi::{Session, name};
use sessionwheel_openssl_contract::handshake::{self, Version, calls, like, shake};

/// Where sessions are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    Inside,
    Outside,
    Both,
}

/// New sessions, questions to what is outside, removals.
type Counts = [usize; 3];

/// OpenSSL's end.
fn context(version: Version, role: Role, kept: Kept) -> SslContext {
    let end: c_long = match role {
        Role::Server => openssl_sys::SSL_SESS_CACHE_SERVER,
        Role::Client => openssl_sys::SSL_SESS_CACHE_CLIENT,
    };
    let none_inside = match kept {
        Kept::Outside => openssl_sys::SSL_SESS_CACHE_NO_INTERNAL,
        Kept::Inside | Kept::Both => 0,
    };
    let asks = role == Role::Server && kept != Kept::Inside;
    handshake::context(version, role, end | none_inside, asks)
}

/// What OpenSSL has called at one end since the last time.
fn called(role: Role) -> Counts {
    let calls = calls(role);
    [calls.new.len(), calls.fetched.len(), calls.gone.len()]
}

/// How often ours has called each.
#[derive(Clone, Default)]
struct Told(Arc<[AtomicUsize; 3]>);

impl Told {
    fn one_more(&self, which: usize) {
        self.0[which].fetch_add(1, Relaxed);
    }
}

/// It has all that was ever stored there.
struct Outside(Told);

impl ExternalTier<()> for Outside {
    fn store(&self, _: TierSession<&()>) {}

    fn fetch(&self, key: &SessionKey) -> Fetched<()> {
        self.0.one_more(1);
        let remaining = std::time::Duration::from_secs(60);
        Fetched::Hit(TierSession::new(*key, (), remaining))
    }

    fn claim(&self, _: &SessionKey) -> Claim {
        Claim::Won
    }

    fn remove(&self, _: &SessionKey, _: Reason) {
        self.0.one_more(2);
    }
}

/// Our end.
struct Ours {
    version: Version,
    role: Role,
    cache: SessionCache<()>,
    told: Told,
}

fn key(id: usize) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([id as u8; 32]))
}

impl Ours {
    fn new(version: Version, role: Role, kept: Kept) -> Self {
        let told = Told::default();
        let inside = kept != Kept::Outside;
        let (new, gone) = (told.clone(), told.clone());
        let mut builder = SessionCache::builder()
            .mode(match role {
                Role::Server => Mode::Server,
                Role::Client => Mode::Client,
            })
            .internal_lookup(inside)
            .internal_store(inside)
            .on_new(move |_, ()| {
                new.one_more(0);
                true
            });
        // What is outside hears of removals as OpenSSL's callback does, without one also of what was not inside.
        builder = match kept {
            Kept::Inside => builder.on_remove(move |_, (), _| gone.one_more(2)),
            Kept::Outside | Kept::Both => builder.external(Outside(told.clone())),
        };
        Self {
            version,
            role,
            cache: builder.build().unwrap(),
            told,
        }
    }

    /// What a stack does in a handshake; whether it resumes.
    fn handshake(&self, offer: Option<usize>, resumed: bool, id: usize) -> bool {
        let (endpoint, resumed) = match self.role {
            Role::Server => {
                let server = self.cache.server();
                let found = offer.and_then(|offer| server.resume(&key(offer)).hit());
                (server, found.is_some())
            }
            Role::Client => (self.cache.client(), resumed),
        };
        if let (Role::Client, true, true, Some(offer)) =
            (self.role, self.version.is_13(), resumed, offer)
        {
            // A client uses a ticket once.
            self.cache.remove(&key(offer));
        }
        for id in id..id + made(self.version, resumed) {
            let options = SessionOptions::default();
            endpoint.established(key(id), (), options).unwrap();
        }
        resumed
    }

    fn called(&self) -> Counts {
        self.told.0.each_ref().map(|count| count.swap(0, Relaxed))
    }
}

/// So many sessions are made.
fn made(version: Version, resumed: bool) -> usize {
    match (version, resumed) {
        (Version::Tls12, resumed) => usize::from(!resumed),
        (Version::Tls13(tickets), false) => tickets,
        (Version::Tls13(_), true) => 1,
    }
}

/// Both ends, with OpenSSL's caches and with ours.
struct Ends {
    client: SslContext,
    server: SslContext,
    ours: [Ours; 2],
}

impl Ends {
    /// A handshake, in which each cache has to call what is said, of the server and of the client.
    fn handshake(
        &self,
        offer: Option<(usize, &Session)>,
        id: usize,
        resumes: bool,
        [server, client]: [Counts; 2],
        what: &str,
    ) -> handshake::Done {
        let session = offer.map(|(_, session)| session);
        let done = shake(&self.client, &self.server, session, id, true).unwrap();
        assert_eq!(done.resumed, resumes, "{what}");
        let offer = offer.map(|(offer, _)| offer);
        for (ours, counts) in self.ours.iter().zip([server, client]) {
            assert_eq!(ours.handshake(offer, resumes, id), resumes, "{what}");
            assert_eq!(called(ours.role), counts, "{what}: {:?}", ours.role);
            assert_eq!(ours.called(), counts, "{what}: ours, {:?}", ours.role);
        }
        done
    }
}

#[test]
fn c08_inside_outside_or_both_each_callback_is_called_as_often_in_both_versions() {
    let mut handshakes = 0;
    for version in [Version::Tls12, Version::Tls13(2)] {
        for kept in [Kept::Inside, Kept::Outside, Kept::Both] {
            let what = format!("{version:?}, {kept:?}");
            let ends = Ends {
                client: context(version, Role::Client, kept),
                server: context(version, Role::Server, kept),
                ours: [Role::Server, Role::Client].map(|role| Ours::new(version, role, kept)),
            };
            let (full, more) = (made(version, false), made(version, true));

            // One new session, or one for each ticket.
            let counts = [[full, 0, 0]; 2];
            let first = ends.handshake(None, 10, false, counts, &what);
            let last = 10 + full - 1;
            if kept != Kept::Outside {
                assert_eq!(ends.ours.each_ref().map(|ours| ours.cache.len()), [full; 2]);
            }
            handshake::set_outside(BTreeMap::from([(last, first.server.duplicate())]));

            // A client of TLS 1.3 is done with the ticket that it has resumed, and gets another.
            let asked = usize::from(kept == Kept::Outside);
            let counts = [[more, asked, 0], [more, 0, more]];
            ends.handshake(Some((last, &first.client)), 20, true, counts, &what);

            // What is removed inside is asked for outside, and is nowhere if there is nothing.
            let mut cache = handshake::cache(&ends.server);
            assert_eq!(
                cache.remove(&like(version, Role::Server, last)),
                kept != Kept::Outside
            );
            assert_eq!(ends.ours[0].cache.remove(&key(last)), kept != Kept::Outside);
            assert_eq!(called(Role::Server), [0, 0, 1], "{what}");
            assert_eq!(ends.ours[0].called(), [0, 0, 1], "{what}: ours");
            let resumes = kept != Kept::Inside;
            let counts = if resumes {
                [[more, 1, 0], [more, 0, more]]
            } else {
                [[full, 0, 0]; 2]
            };
            ends.handshake(Some((last, &first.client)), 30, resumes, counts, &what);
            handshakes += 3;
        }
    }
    println!(
        "openssl: {}, {handshakes} handshakes, each callback counted",
        name()
    );
}
