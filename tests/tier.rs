//! What an external tier hears when several threads remove at once: of each session that leaves, once.
//!
//! `SESSIONWHEEL_STRESS` multiplies the number of rounds, `SESSIONWHEEL_SEED` sets the seed.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use common::ledger::REASONS;
use common::{Random, scale, scope, seed};
use sessionwheel::{
    Claim, Clock, Context, ExternalTier, Fetched, ManualClock, Reason, SessionCache, SessionId,
    SessionKey, SessionOptions, TierSession, Timestamp,
};

/// Sessions of one round; there is room for fewer.
const IDS: usize = 64;
const MAXIMUM: usize = 56;

/// Something counted for each id of a round.
type Each = [AtomicUsize; IDS];

fn none() -> Each {
    std::array::from_fn(|_| AtomicUsize::new(0))
}

/// What became of each id, as everybody tells it.
struct Books {
    /// What the tier heard, by reason.
    told: [Each; 6],
    /// How often it was asked whether a session is the caller's.
    claimed: Each,
    /// What the listener heard, by reason.
    left: [Each; 6],
    /// What was put in, by the caller.
    put: Each,
    /// What `remove` has removed, and how often it found nothing.
    removed: Each,
    absent: Each,
    /// What was taken.
    taken: Each,
}

impl Books {
    fn new() -> Self {
        Self {
            told: REASONS.map(|_| none()),
            claimed: none(),
            left: REASONS.map(|_| none()),
            put: none(),
            removed: none(),
            absent: none(),
            taken: none(),
        }
    }

    /// Reads all that was counted of one id, and begins anew; panics if the accounts differ.
    fn close(&self, id: usize) -> [usize; 6] {
        let read = |each: &Each| each[id].swap(0, Relaxed);
        let (mut told, left) = (
            self.told.each_ref().map(read),
            self.left.each_ref().map(read),
        );
        let [expired, evicted, removed, taken, replaced, cleared] = left;
        let put = read(&self.put);
        assert_eq!(left.iter().sum::<usize>(), put, "{id} left {left:?}");
        // It also hears of removals of what is not inside: it may be there.
        told[2] -= read(&self.absent);
        let mut expected = [expired, evicted, removed, 0, 0, cleared];
        if put > 1 {
            // Not of one that expired or was evicted, and in whose place another lived by then.
            (0..2).for_each(|by_time| expected[by_time] = expected[by_time].min(told[by_time]));
        }
        assert_eq!(
            told, expected,
            "the tier was told of {id}, and {left:?} left"
        );
        assert_eq!(read(&self.claimed), taken, "claims of {id}");
        assert_eq!(read(&self.taken), taken, "takes of {id}");
        let by_hand = read(&self.removed);
        assert!(
            by_hand == removed || is_tenants(id) && by_hand < removed,
            "{id}"
        );
        [expired, evicted, removed, taken, replaced, cleared]
    }
}

fn one_more(each: &Each, key: &SessionKey) {
    each[number(key)].fetch_add(1, Relaxed);
}

fn reason(reason: Reason) -> usize {
    let found = REASONS.iter().position(|&r| r == reason);
    found.expect("a reason that is known")
}

/// Of which a purge makes all sessions invisible.
fn is_tenants(id: usize) -> bool {
    id % 8 == 3
}

fn is_single_use(id: usize) -> bool {
    id % 8 == 4
}

fn number(key: &SessionKey) -> usize {
    key.id().as_bytes()[0].into()
}

struct Listens(Arc<Books>);

impl ExternalTier<u64> for Listens {
    fn store(&self, _: TierSession<&u64>) {}

    fn fetch(&self, _: &SessionKey) -> Fetched<u64> {
        Fetched::Miss
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        one_more(&self.0.claimed, key);
        Claim::Won
    }

    fn remove(&self, key: &SessionKey, why: Reason) {
        one_more(&self.0.told[reason(why)], key);
    }
}

/// A cache with its tier, and its two contexts.
struct World {
    cache: SessionCache<u64>,
    hand: ManualClock,
    books: Arc<Books>,
    tenant: Context,
}

impl World {
    fn new() -> Self {
        let books = Arc::new(Books::new());
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
        let log = Arc::clone(&books);
        let cache = SessionCache::builder()
            .clock(clock)
            .shards(2)
            .maximum(Some(MAXIMUM))
            .external(Listens(Arc::clone(&books)))
            .on_remove(move |key, _, why| one_more(&log.left[reason(why)], key))
            .build()
            .unwrap();
        let tenant = cache.context().unwrap();
        Self {
            cache,
            hand,
            books,
            tenant,
        }
    }

    fn key(&self, id: usize) -> SessionKey {
        let context = if is_tenants(id) {
            self.tenant
        } else {
            Context::DEFAULT
        };
        SessionKey::new(context, SessionId::new(&[id as u8]).unwrap())
    }

    fn put(&self, id: usize) {
        let seconds = if id % 8 == 1 { 1 } else { 100 };
        let options = SessionOptions::default()
            .timeout(Duration::from_secs(seconds))
            .single_use(is_single_use(id));
        let kept = self.cache.server().established(self.key(id), 0, options);
        assert!(kept.unwrap().is_kept());
        one_more(&self.books.put, &self.key(id));
    }

    fn remove(&self, id: usize) {
        let removed = self.cache.remove(&self.key(id));
        let each = if removed {
            &self.books.removed
        } else {
            &self.books.absent
        };
        one_more(each, &self.key(id));
    }

    fn take(&self, id: usize, by_endpoint: bool) {
        let key = self.key(id);
        let taken = if by_endpoint {
            self.cache.server().take_with(&key, |_| ()).hit().is_some()
        } else if is_single_use(id) {
            self.cache.get_cloned(&key).is_some()
        } else {
            self.cache.take_cloned(&key).is_some()
        };
        if taken {
            one_more(&self.books.taken, &key);
        }
    }

    /// What one of the threads does with each id.
    fn act(&self, thread: usize, id: usize) {
        match thread {
            0 if id % 3 == 0 => self.put(id),
            // Some are left to those who take.
            1 if id % 8 < 4 => self.remove(id),
            2 => self.take(id, false),
            3 => self.take(id, true),
            4 if is_tenants(id) => {
                self.cache.purge(self.tenant);
                self.cache.flush();
            }
            5 if id % 16 == 1 => {
                self.hand.advance(Duration::from_secs(1));
                // Others flush too, so that something may remain each time.
                for _ in 0..8 {
                    self.cache.flush_within(8);
                }
            }
            6 if id == 7 => _ = self.cache.clear(),
            _ => {}
        }
    }
}

#[test]
fn under_threads_the_tier_hears_of_each_removal_once() {
    const THREADS: usize = 7;
    let (rounds, seed) = (150 * scale(), seed());
    println!("seed {seed}");
    let world = World::new();
    let mut all = [0; 6];
    for round in 0..rounds {
        // The last ones again, which replaces them.
        (0..IDS).chain(IDS - 8..IDS).for_each(|id| world.put(id));
        let begin = Barrier::new(THREADS);
        scope(|scope| {
            for thread in 0..THREADS {
                let (world, begin) = (&world, &begin);
                scope.spawn(move || {
                    // All in the same order, so that they come to the same sessions at about the same time.
                    let mut random = Random::new(seed.wrapping_add(round as u64));
                    let mut order: Vec<usize> = (0..IDS).collect();
                    for n in 1..IDS {
                        order.swap(n, random.below(n as u64 + 1) as usize);
                    }
                    begin.wait();
                    // Each second round goes without the one who takes all.
                    if thread != 6 || round % 2 == 0 {
                        order.iter().for_each(|&id| world.act(thread, id));
                    }
                });
            }
        });
        world.hand.advance(Duration::from_secs(1_000));
        world.cache.flush();
        assert!(world.cache.is_empty());
        for id in 0..IDS {
            let left = world.books.close(id);
            all.iter_mut().zip(left).for_each(|(all, n)| *all += n);
        }
    }
    let sessions: usize = all.iter().sum();
    println!("{sessions} sessions in {rounds} rounds left, for each of {REASONS:?}: {all:?}");
    assert!(all.iter().all(|&n| n > 0), "a reason that was never met");
    assert_eq!(world.cache.counters().panics, 0);
}
