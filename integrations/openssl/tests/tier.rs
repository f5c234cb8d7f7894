//! Two hosts that share sessions by something outside of both.

mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use openssl::ssl::{SslContext, SslVersion};
use sessionwheel::{ExternalTier, Fetched, Reason, SessionCache, SessionKey, TierSession};
use sessionwheel_openssl::{Attachment, Options, Session, SingleUse, Storage, TagKey, Tags};
use support::{Client, Server, VERSIONS};

/// As bytes, as a server for all hosts would keep them.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<Kept>>);

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

    fn claim(&self, key: &SessionKey) -> bool {
        self.0.lock().unwrap().remove(key).is_some()
    }

    fn remove(&self, key: &SessionKey, _: Reason) {
        self.0.lock().unwrap().remove(key);
    }
}

fn host(outside: &Outside, options: &Options) -> (SessionCache<Session>, SslContext, Attachment) {
    let cache = SessionCache::builder()
        .external(outside.clone())
        .build()
        .unwrap();
    let (context, attachment) = Server::on(&cache, options.clone(), |_| ());
    (cache, context, attachment)
}

#[test]
fn what_one_host_has_made_the_other_resumes() {
    let options = Options::default().tags(Tags::With(TagKey::new([9; 16])));
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
    let options = Options::default()
        .tags(Tags::With(TagKey::new([9; 16])))
        .single_use(SingleUse::Tls13);
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
