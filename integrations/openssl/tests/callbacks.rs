//! How often handshakes come to each callback of the cache and to its external tier, wherever sessions are kept.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use openssl::ssl::SslVersion;
use sessionwheel::{Claim, ExternalTier, Fetched, Reason, SessionCache, SessionKey, TierSession};
use sessionwheel_openssl::{Options, Session, Storage};
use support::{Client, Server, VERSIONS};

/// What was called.
#[derive(Default)]
struct Desk {
    /// For a new session, to store one outside, to ask for one there, to say there that one is to be resumed no more, and
    /// for one that has left.
    calls: [usize; 5],
    /// All that were ever new.
    keys: Vec<SessionKey>,
    outside: HashMap<SessionKey, TierSession<Box<[u8]>>>,
}

type Shared = Arc<Mutex<Desk>>;

/// Forgets nothing: other hosts may need it.
struct Outside(Shared);

impl ExternalTier<Session> for Outside {
    fn store(&self, session: TierSession<&Session>) {
        let bytes = session.value.to_bytes().unwrap();
        let mut desk = self.0.lock().unwrap();
        desk.calls[1] += 1;
        let key = session.key;
        desk.outside
            .insert(key, session.map(|_| bytes.as_ref().into()));
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<Session> {
        let mut desk = self.0.lock().unwrap();
        desk.calls[2] += 1;
        let Some(kept) = desk.outside.get(key).cloned() else {
            return Fetched::Miss;
        };
        let session = Session::from_bytes(&kept.value, Storage::Objects).unwrap();
        Fetched::Hit(kept.map(|_| session))
    }

    fn claim(&self, _: &SessionKey) -> Claim {
        unreachable!("nothing is for one use")
    }

    fn remove(&self, _: &SessionKey, _: Reason) {
        self.0.lock().unwrap().calls[3] += 1;
    }
}

#[test]
fn c08_inside_outside_or_both_each_callback_is_called_as_often() {
    let mut handshakes = 0;
    for version in VERSIONS {
        // Of a full handshake, and of one that resumes.
        let (full, more) = match version {
            SslVersion::TLS1_3 => (2, 1),
            _ => (1, 0),
        };
        for (inside, outside) in [(true, false), (false, true), (true, true)] {
            let desk = Shared::default();
            let (new, gone) = (Arc::clone(&desk), Arc::clone(&desk));
            let mut builder = SessionCache::builder()
                .internal_lookup(inside)
                .internal_store(inside)
                .on_new(move |key, _| {
                    let mut desk = new.lock().unwrap();
                    desk.calls[0] += 1;
                    desk.keys.push(*key);
                    true
                })
                .on_remove(move |_, _, _| gone.lock().unwrap().calls[4] += 1);
            if outside {
                builder = builder.external(Outside(Arc::clone(&desk)));
            }
            let cache = builder.build().unwrap();
            let (server, attachment) = Server::on(&cache, Options::default(), |_| ());
            let called = || std::mem::take(&mut desk.lock().unwrap().calls);
            let client = Client::new(version);
            let stored = usize::from(outside);

            let session = client.session(&server);
            assert_eq!(called(), [full, full * stored, 0, 0, 0]);
            assert!(client.resumes(&server, &session));
            let asked = usize::from(!inside);
            assert_eq!(called(), [more, more * stored, asked, 0, 0]);
            // What is removed inside is asked for outside, where it is still to be had.
            let keys: Vec<_> = desk.lock().unwrap().keys.drain(..).take(full).collect();
            assert!(keys.iter().all(|key| cache.remove(key) == inside));
            assert_eq!(
                called(),
                [0, 0, 0, full * stored, full * usize::from(inside)]
            );
            assert_eq!(client.resumes(&server, &session), outside);
            let made = if outside { more } else { full };
            assert_eq!(called(), [made, made * stored, stored, 0, 0]);
            assert_eq!(attachment.stats().panics, 0);
            handshakes += 3;
        }
    }
    println!("{handshakes} handshakes, each callback counted");
}
