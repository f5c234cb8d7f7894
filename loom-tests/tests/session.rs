//! The session cache: what it adds to the map.
#![cfg(loom)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use loom::sync::atomic::{AtomicU64, Ordering::Relaxed};
use loom::thread;
use sessionwheel::internals::Automatic;
use sessionwheel::{
    Claim, Clock, Context, ExternalTier, Fetched, ManualClock, Reason, SessionCache,
    SessionCacheBuilder, SessionId, SessionKey, SessionOptions, TierSession, Timestamp,
};
use sessionwheel_loom_tests::{TICK_BITS, after, check, long, tick};

type Cache = SessionCache<u64>;

fn builder(now: u64) -> (SessionCacheBuilder<u64>, ManualClock) {
    let (clock, hand) = Clock::manual(tick(now));
    let builder = SessionCache::builder().clock(clock).tick_bits(TICK_BITS);
    let builder = builder.shards(1).automatic_flush(None).lineage(None);
    (builder, hand)
}

fn key(n: u8) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
}

fn ticks(n: u64) -> Duration {
    Duration::from_nanos(n << TICK_BITS)
}

fn beside<R: 'static>(
    cache: &Cache,
    f: impl FnOnce(&Cache) -> R + 'static,
) -> thread::JoinHandle<R> {
    let cache = cache.clone();
    thread::spawn(move || f(&cache))
}

/// A tier that orders nothing by itself, and has a session, or has it no more, under any id.
#[derive(Clone)]
struct Outside {
    there: Arc<AtomicU64>,
    session: TierSession<u64>,
}

impl Outside {
    fn new(session: TierSession<u64>) -> Self {
        let there = Arc::new(AtomicU64::new(1));
        Self { there, session }
    }
}

impl ExternalTier<u64> for Outside {
    fn store(&self, _: TierSession<&u64>) {
        self.there.store(1, Relaxed);
    }

    fn fetch(&self, _: &SessionKey) -> Fetched<u64> {
        if self.there.load(Relaxed) == 1 {
            Fetched::Hit(self.session)
        } else {
            Fetched::Miss
        }
    }

    fn claim(&self, _: &SessionKey) -> Claim {
        (self.there.swap(0, Relaxed) == 1).into()
    }

    fn remove(&self, _: &SessionKey, _: Reason) {
        self.there.store(0, Relaxed);
    }
}

/// At stake: two insertions at once, one of which has to flush. If neither did, what has expired would stay.
#[test]
fn automatic_flush_against_insert() {
    check("automatic_flush_against_insert", 1, || {
        let left = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&left);
        let (builder, hand) = builder(0);
        let builder = builder.automatic_flush(Some(64)).timeout(ticks(0));
        let builder = builder.on_remove(move |&k, _, reason| log.lock().unwrap().push((k, reason)));
        let cache = builder.build().unwrap();
        cache.insert(key(0), 0).unwrap();
        hand.set(tick(1));
        let other = beside(&cache, |cache| {
            cache.insert(key(1), 1).unwrap();
        });
        cache.insert(key(2), 2).unwrap();
        other.join().unwrap();
        assert_eq!(*left.lock().unwrap(), [(key(0), Reason::Expired)]);
        assert_eq!(cache.len(), 2);
    });
}

/// Sessions with the nanoseconds in which they expire, and flushes that take out one with each part.
struct Parts {
    automatic: Automatic,
    deadlines: [u64; 4],
    gone: [AtomicU64; 4],
    /// The time of the latest flush.
    begun: AtomicU64,
}

impl Parts {
    fn is_left(&self, at: u64) -> bool {
        let mut all = self.deadlines.iter().zip(&self.gone);
        all.any(|(&deadline, gone)| deadline < at && gone.load(Relaxed) == 0)
    }

    /// Whether an insertion at that time has a part in a flush.
    fn insert(&self, now: u64) -> bool {
        let mut took_part = false;
        self.automatic.inserted(Timestamp::from_nanos(now), |at| {
            took_part = true;
            let at = at.as_nanos();
            self.begun.fetch_max(at, Relaxed);
            let mut all = self.deadlines.iter().zip(&self.gone);
            all.find(|(deadline, gone)| **deadline < at && gone.swap(1, Relaxed) == 0);
            self.is_left(at)
        });
        took_part
    }
}

/// Three insertions on two threads, of which two begin a flush, or would. What is left must then go with those that
/// follow, one with each.
fn parts(name: &str, deadlines: [u64; 4]) {
    check(name, 3, move || {
        let parts = Arc::new(Parts {
            automatic: Automatic::new(1),
            deadlines,
            gone: Default::default(),
            begun: AtomicU64::new(0),
        });
        parts.insert(1);
        let other = thread::spawn({
            let parts = Arc::clone(&parts);
            move || {
                parts.insert(2);
                parts.insert(2);
            }
        });
        parts.insert(1);
        other.join().unwrap();
        let begun = parts.begun.load(Relaxed);
        assert_ne!(begun, 0, "the second should have begun one, or the fourth");
        let mut more = 0;
        while parts.is_left(begun) {
            assert!(parts.insert(2), "something is left, and nobody goes on");
            more += 1;
        }
        assert!(more <= 3, "one less with each");
    });
}

/// At stake: a flush that is under way is ended while something is left, by an insertion that has a part in it.
#[test]
fn parts_of_a_flush_against_insert() {
    parts("parts_of_a_flush_against_insert", [0, 0, 0, 1]);
}

/// At stake: the same by one that is through with the flush before it.
#[test]
fn end_of_a_flush_against_the_next() {
    parts("end_of_a_flush_against_the_next", [0, 1, 1, 1]);
}

/// At stake: a session that was removed, inside and outside, comes back by a fetch that was under way.
#[test]
fn fetch_against_remove() {
    check("fetch_against_remove", 3, || {
        let outside = Outside::new(TierSession::new(key(1), 7, ticks(2)));
        let cache = builder(0).0.external(outside).build().unwrap();
        let other = beside(&cache, |cache| cache.server().resume(&key(1)).hit());
        cache.remove(&key(1));
        assert!(!cache.contains(&key(1)), "removed, and found");
        other.join().unwrap();
        assert!(!cache.contains(&key(1)), "removed, and found later");
        assert!(cache.server().resume(&key(1)).hit().is_none());
    });
}

/// The same with a take: of what one has taken nothing is left for others. (What was fetched before is
/// another's.)
#[test]
fn fetch_against_take() {
    check("fetch_against_take", long(2, 3), || {
        let outside = Outside::new(TierSession::new(key(1), 7, ticks(2)));
        let cache = builder(0).0.external(outside).build().unwrap();
        cache.insert(key(1), 7).unwrap();
        let other = beside(&cache, |cache| cache.server().resume(&key(1)).hit());
        assert_eq!(cache.take_cloned(&key(1)), Some(7));
        assert!(!cache.contains(&key(1)), "taken, and found");
        other.join().unwrap();
        assert!(!cache.contains(&key(1)), "taken, and found later");
    });
}

/// At stake: a session that was purged comes back by a fetch that was under way, or is fetched again.
#[test]
fn fetch_against_purge() {
    check("fetch_against_purge", 3, || {
        let outside = Outside::new(TierSession::new(key(1), 7, ticks(2)));
        let cache = builder(0).0.external(outside).build().unwrap();
        let other = beside(&cache, |cache| cache.server().resume(&key(1)).hit());
        cache.purge(Context::DEFAULT);
        assert!(!cache.contains(&key(1)), "purged, and found");
        other.join().unwrap();
        assert!(!cache.contains(&key(1)), "purged, and found later");
        assert!(cache.server().resume(&key(1)).hit().is_none());
    });
}

/// At stake: single use. Two clients at the host that has the ticket inside, and one at a host that finds it
/// outside.
#[test]
fn one_ticket_on_two_hosts() {
    check("one_ticket_on_two_hosts", 2, || {
        let mut ticket = TierSession::new(key(1), 7, ticks(2));
        ticket.single_use = true;
        let outside = Outside::new(ticket);
        let host = || builder(0).0.external(outside.clone()).build().unwrap();
        let (a, b) = (host(), host());
        let once = SessionOptions::default().single_use(true);
        a.server().established(key(1), 7, once).unwrap();
        let resume = |cache: &Cache| usize::from(cache.server().resume(&key(1)).hit().is_some());
        let others = [&a, &b].map(|host| beside(host, resume));
        let mine = resume(&a);
        let theirs = others.map(|other| other.join().unwrap());
        assert_eq!(mine + theirs[0] + theirs[1], 1);
        assert_eq!((resume(&a), resume(&b)), (0, 0));
        assert_eq!((a.len(), b.len()), (0, 0));
    });
}

/// At stake: a renewal that says yes is undone by a flush that judged by the old deadline, or goes beyond the
/// cap on the lineage.
#[test]
fn renewal_against_flush() {
    check("renewal_against_flush", 3, || {
        let (builder, _hand) = builder(0);
        let cache = builder.lineage(Some(ticks(3))).timeout(ticks(0));
        let cache = cache.build().unwrap();
        cache.insert(key(1), 7).unwrap();
        let other = beside(&cache, |cache| cache.retime(&key(1), ticks(9)));
        let removed = cache.flush_at(after(0)).removed;
        if other.join().unwrap() {
            assert_eq!((removed, cache.len()), (0, 1));
            assert_eq!(cache.flush_at(tick(3)).removed, 0, "before its end");
            assert_eq!(cache.flush_at(after(3)).removed, 1, "beyond the cap");
        } else {
            assert_eq!((removed, cache.len()), (1, 0));
        }
    });
}

/// At stake: a session that comes in place of the one that is renewed gets the other's cap.
#[test]
fn renewal_against_replacement() {
    check("renewal_against_replacement", long(2, 3), || {
        let (builder, _hand) = builder(4);
        let cache = builder.lineage(Some(ticks(8))).timeout(ticks(1));
        let cache = cache.build().unwrap();
        cache.insert(key(1), 7).unwrap();
        let other = beside(&cache, |cache| {
            let older = SessionOptions::default().authenticated_at(tick(0));
            cache.insert_with(key(1), 8, older).unwrap().replaced
        });
        cache.retime(&key(1), ticks(11));
        assert!(other.join().unwrap());
        let guard = cache.pin();
        let entry = cache.get_entry(&key(1), &guard).unwrap();
        assert_eq!(*entry.value(), 8);
        assert!(entry.deadline() <= tick(8), "beyond the cap");
    });
}
