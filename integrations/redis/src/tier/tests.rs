use super::*;
use crate::core::Started;
use sessionwheel::{Context, SessionCache, SessionId, SessionOptions};

#[test]
fn a_child_of_a_process_that_has_used_it_has_no_tier() {
    let codec = Codec::new(*b"unit", |(): &(), _| (), |_| Some(()));
    let nowhere = "unix:///nonexistent/sessionwheel";
    let tier = RedisTier::builder(nowhere, Keyring::new(1, [1; 32]), codec);
    let tier = tier.unwrap().build().unwrap();
    let cache = SessionCache::builder()
        .external(tier.clone())
        .build()
        .unwrap();
    // What a child finds in its memory: somebody else's thread, and his sessions.
    let parent = Started::by(std::process::id().wrapping_add(1));
    assert!(tier.core().started.set(parent).is_ok());
    let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    let names = tier.names(&key).unwrap();
    let never = sessionwheel::Timestamp::NEVER;
    let entry = Entry::new(key, names.key, Vec::new(), never, State::Queued);
    tier.core().put_mark(&Arc::new(entry));

    let once = SessionOptions::default().single_use(true);
    cache.server().established(key, (), once).unwrap();
    assert!(cache.server().resume(&key).hit().is_none());
    assert!(cache.server().resume(&key).hit().is_none());
    cache.remove(&key);
    let counters = tier.health().counters;
    assert_eq!((counters.undecided, counters.stores), (1, 0));
    assert_eq!((counters.claimed_here, counters.forked), (0, 4));
    // And nobody waits for a thread that isn't there.
    drop((cache, tier));
}
