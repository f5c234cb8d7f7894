//! Two hosts with one store outside, which is kept in step: what one has established the other resumes, what one
//! removes nobody fetches any more, and a ticket for a single use is good once.
//!
//! ```text
//! cargo run --example external_tier
//! ```
//!
//! The store is a map behind a lock here. `sessionwheel-redis` is one for a fleet.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use sessionwheel::{
    Claim, Context, ExternalTier, Fetched, Reason, SessionCache, SessionId, SessionKey,
    SessionOptions, TierSession,
};

type Sessions = HashMap<SessionId, (Instant, TierSession<String>)>;

/// All hosts have a handle of it.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Sessions>>);

impl Store {
    fn with<R>(&self, f: impl FnOnce(&mut Sessions) -> R) -> R {
        f(&mut self.0.lock().expect("nobody panics here"))
    }
}

impl ExternalTier<String> for Store {
    fn store(&self, session: TierSession<&String>) {
        let (id, now) = (*session.key.id(), Instant::now());
        self.with(|all| all.insert(id, (now, session.map(String::clone))));
    }

    /// Spans are those of now: they go on outside.
    fn fetch(&self, key: &SessionKey) -> Fetched<String> {
        let Some((since, mut session)) = self.with(|all| all.get(key.id()).cloned()) else {
            return Fetched::Miss;
        };
        let Some(remaining) = session.remaining.checked_sub(since.elapsed()) else {
            return Fetched::Miss;
        };
        session.remaining = remaining;
        session.authenticated_for += since.elapsed();
        Fetched::Hit(session)
    }

    /// In one step, so that one of all hosts gets it.
    fn claim(&self, key: &SessionKey) -> Claim {
        self.with(|all| all.remove(key.id())).is_some().into()
    }

    /// One host may have no more room for a session that others still have.
    fn remove(&self, key: &SessionKey, reason: Reason) {
        if reason != Reason::Evicted {
            self.with(|all| all.remove(key.id()));
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let store = Store::default();
    let host = |name: &str| {
        SessionCache::builder()
            .name(name)
            .external(store.clone())
            .build()
    };
    let (a, b) = (host("a")?, host("b")?);
    let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));

    let options = SessionOptions::default();
    a.server().established(key(1), "Ada's".into(), options)?;
    println!(
        "a has established a session; b resumes {:?}",
        b.server().resume(&key(1)).hit()
    );

    println!(
        "a removes it: {}; outside there are {}",
        a.remove(&key(1)),
        store.with(|all| all.len())
    );
    println!("a resumes {:?}", a.server().resume(&key(1)).hit());
    // With `internal_store(false)` it would have none, and ask outside each time.
    println!(
        "b still has its copy, until that expires: {}",
        b.contains(&key(1))
    );

    a.server()
        .established(key(2), "a ticket".into(), options.single_use(true))?;
    let winners: Vec<_> = thread::scope(|scope| {
        let offer = |host| move || SessionCache::server(host).resume(&key(2)).hit().is_some();
        let both = [&a, &b].map(|host| (host.name(), scope.spawn(offer(host))));
        let won = both
            .into_iter()
            .filter_map(|(name, thread)| thread.join().unwrap().then_some(name));
        won.collect()
    });
    println!("both hosts are offered one ticket; it is good on {winners:?}");
    assert_eq!(winners.len(), 1);

    for host in [&a, &b] {
        let counters = host.counters();
        let shown = counters.iter().filter(|(_, n)| *n != 0);
        println!("{}: {:?}", host.name(), shown.collect::<Vec<_>>());
    }
    Ok(())
}
