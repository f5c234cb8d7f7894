//! 0-RTT is accepted once: the first flight of a connection, seen on the wire and sent again from elsewhere,
//! is never accepted a second time.
//!
//! rustls hands each ticket out once and lets nobody clone it, so who replays is who could: somebody on the
//! way who copies datagrams, to a second server with the same store. (The server that has the original
//! takes the copy for more of the same connection while that lives; afterwards it is asked too.)

mod support;

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rustls::server::StoresServerSessions;
use sessionwheel::{SessionCache, SessionId, SessionKey};
use sessionwheel_rustls::{RustlsStore, StoredSession};
use support::relay::{Copying, Relay};
use support::{Site, until};

/// `SESSIONWHEEL_REPLAYS`, or 100.
fn rounds() -> u64 {
    let rounds = std::env::var("SESSIONWHEEL_REPLAYS");
    rounds.map_or(100, |rounds| rounds.parse().expect("a number of rounds"))
}

#[derive(Clone, Copy, Debug)]
enum When {
    Afterwards,
    AtOnce,
}

/// What the rounds of one game came to.
#[derive(Default, PartialEq, Eq, Debug)]
struct Outcome {
    rounds: u64,
    /// Rounds in which early data was accepted once, of two who offered the ticket.
    once: u64,
    /// Rounds in which it was accepted from both.
    twice: u64,
    /// Of those that accepted once, where it was the original and where the copy that came too late.
    originals: u64,
    copies: u64,
}

impl Outcome {
    fn print(&self, what: &str) {
        println!(
            "replays {what}: {} rounds, {} accepted once (original {}, copy {}), {} accepted twice, \
             {} refused",
            self.rounds, self.once, self.originals, self.copies, self.twice, self.once
        );
    }
}

fn asked(cache: &SessionCache<StoredSession>) -> (u64, u64) {
    let counters = cache.counters();
    let refused = counters.misses + counters.timeouts;
    (counters.hits, refused)
}

/// In each round a client connects with early data, and a copy of all it sends goes to the other server.
async fn play(
    rounds: u64,
    when: When,
    cache: &SessionCache<StoredSession>,
    store: Arc<dyn StoresServerSessions>,
) -> Outcome {
    let site = Site::new(store);
    let [server, other] = site.addresses();
    let (first_visit, none) = site.visit(server, b"").await;
    assert_eq!(none, None, "no ticket yet");
    first_visit.close(0u32.into(), b"");

    let mut outcome = Outcome::default();
    for round in 0..rounds {
        let message = format!("round {round}").into_bytes();
        let copying = Copying {
            to: other,
            first: round % 2 == 0,
        };
        let before = asked(cache);
        let relay = Relay::new(server, matches!(when, When::AtOnce).then_some(copying)).await;
        let (connection, original) = site.visit(relay.address, &message).await;
        let original = original.expect("a ticket from the visit before");
        if matches!(when, When::Afterwards) {
            assert!(original, "round {round}: nobody was there before");
            assert!(relay.replay(other).await > 0);
        }
        // Both have offered the ticket, and been answered, when the store was asked twice.
        until("two lookups", || {
            let now = asked(cache);
            now.0 + now.1 == before.0 + before.1 + 2
        })
        .await;
        let accepted = asked(cache).0 - before.0;
        until("the early data", || site.early.count(&message) == accepted).await;
        connection.close(0u32.into(), b"");

        outcome.rounds += 1;
        match accepted {
            1 if original => {
                (outcome.once, outcome.originals) = (outcome.once + 1, outcome.originals + 1)
            }
            1 => (outcome.once, outcome.copies) = (outcome.once + 1, outcome.copies + 1),
            2 => outcome.twice += 1,
            _ => panic!("round {round}: accepted {accepted} times"),
        }
    }
    for server in &site.servers {
        server.close(0u32.into(), b"");
        server.wait_idle().await;
    }
    assert_eq!(
        site.early.total(),
        outcome.once + 2 * outcome.twice,
        "nothing came later"
    );
    outcome
}

fn cache() -> SessionCache<StoredSession> {
    // However long the rounds take.
    let hour = Duration::from_secs(3_600);
    let builder = SessionCache::builder().maximum(None).timeout(hour);
    builder.build().unwrap()
}

async fn never_twice(when: When) {
    let cache = cache();
    let store = Arc::new(RustlsStore::new(&cache).unwrap());
    let outcome = play(rounds(), when, &cache, store).await;
    outcome.print(&format!("{when:?}"));
    assert_eq!(outcome.twice, 0, "a replay got through");
    assert_eq!(outcome.once, rounds());
    // Two tickets for each visit; one used in each round.
    assert_eq!(cache.len() as u64, 2 + rounds());
}

#[tokio::test]
async fn a_replay_afterwards_is_refused() {
    never_twice(When::Afterwards).await;
}

#[tokio::test]
async fn of_two_that_arrive_at_once_one_is_refused() {
    never_twice(When::AtOnce).await;
}

#[tokio::test]
async fn the_server_that_accepted_it_refuses_it_later_too() {
    let cache = cache();
    let site = Site::new(Arc::new(RustlsStore::new(&cache).unwrap()));
    let [server, _] = site.addresses();
    site.visit(server, b"").await.0.close(0u32.into(), b"");

    let relay = Relay::new(server, None).await;
    let (connection, accepted) = site.visit(relay.address, b"original").await;
    assert_eq!(accepted, Some(true));
    until("the early data", || site.early.count(b"original") == 1).await;
    connection.close(0u32.into(), b"");
    // While it remembers the connection, a copy is only more of the same.
    until("forgotten", || site.servers[0].open_connections() == 0).await;

    assert_eq!(asked(&cache), (1, 0));
    relay.replay(server).await;
    until("the replay", || asked(&cache) == (1, 1)).await;
    site.servers[0].close(0u32.into(), b"");
    site.servers[0].wait_idle().await;
    assert_eq!(site.early.total(), 1);
}

/// A store that forgets to delete what is taken: the bug that all this is about.
#[derive(Debug)]
struct Keeps(RustlsStore);

/// A store that looks first and deletes then: who looks at the same time gets it too.
#[derive(Debug)]
struct LooksFirst {
    store: RustlsStore,
    looked: Mutex<u64>,
    both: Condvar,
}

impl LooksFirst {
    /// Waits for the other one of a pair, but not for ever.
    fn meet(&self) {
        let mut looked = self.looked.lock().unwrap();
        *looked += 1;
        self.both.notify_all();
        let pair = looked.next_multiple_of(2);
        let limit = Duration::from_secs(10);
        drop(self.both.wait_timeout_while(looked, limit, |n| *n < pair));
    }
}

macro_rules! but_for_take {
    ($store:tt) => {
        fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
            self.$store.put(key, value)
        }
        fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.$store.get(key)
        }
        fn can_cache(&self) -> bool {
            self.$store.can_cache()
        }
    };
}

impl StoresServerSessions for Keeps {
    but_for_take!(0);

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.get(key)
    }
}

impl StoresServerSessions for LooksFirst {
    but_for_take!(store);

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.get(key);
        self.meet();
        let id = SessionId::new(key).ok()?;
        let key = SessionKey::new(self.store.context(), id);
        self.store.cache().remove(&key);
        found
    }
}

/// Would these tests notice? With a store that keeps what is taken, each replay gets through.
#[tokio::test]
async fn a_store_that_keeps_what_is_taken_is_found_out() {
    for when in [When::Afterwards, When::AtOnce] {
        let cache = cache();
        let store = Arc::new(Keeps(RustlsStore::new(&cache).unwrap()));
        let outcome = play(10, when, &cache, store).await;
        outcome.print(&format!("{when:?}, store keeps what is taken"));
        assert_eq!((outcome.rounds, outcome.twice), (10, 10));
    }
}

/// And with one whose look and deletion are two steps those that come at once.
#[tokio::test]
async fn a_store_that_looks_before_it_deletes_is_found_out() {
    let cache = cache();
    let store = Arc::new(LooksFirst {
        store: RustlsStore::new(&cache).unwrap(),
        looked: Mutex::new(0),
        both: Condvar::new(),
    });
    let outcome = play(10, When::AtOnce, &cache, store).await;
    outcome.print("AtOnce, store looks before it deletes");
    assert_eq!((outcome.rounds, outcome.twice), (10, 10));
}
