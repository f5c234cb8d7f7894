//! More keys than a process can have. Alone in its process, since it uses them up.

mod support;

use openssl::ssl::SslVersion;
use sessionwheel::SessionCache;
use sessionwheel_openssl::{AttachError, MOST_TAG_KEYS, Options, TagKey, Tags, attach};
use support::{Client, Identity, NAME, Server, server_context};

#[test]
fn one_key_too_many_is_refused_and_the_others_go_on() {
    let cache = SessionCache::builder().build().unwrap();
    let with_key = |n: usize| Options::default().tags(Tags::With(TagKey::new([n as u8; 16])));
    let contexts: Vec<_> = (0..MOST_TAG_KEYS)
        .map(|n| Server::on(&cache, with_key(n), |_| ()).0)
        .collect();
    let mut context = server_context(&Identity::new(NAME));
    let error = attach(&mut context, &cache, with_key(MOST_TAG_KEYS)).unwrap_err();
    assert!(matches!(error, AttachError::TagKeys), "{error}");
    attach(&mut context, &cache, with_key(0)).unwrap();
    for context in &contexts {
        let client = Client::new(SslVersion::TLS1_3);
        let session = client.session(context);
        assert!(client.resumes(context, &session));
    }
}
