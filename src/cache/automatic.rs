//! Flushes that come by themselves, with the insertions.
//!
//! # Ground rules
//!
//! - All insertions of a cache that succeed are counted, whatever connection or configuration they are for:
//!   every [`EVERY`]th begins a flush. Threads count apart and bring [`STEP`] at a time together, so that
//!   insertions don't contend for one word. So what a thread has counted since is not yet among the 255: at the most
//!   14 for each.
//! - A flush is of what had expired when it began, however many insertions have a part in it and however far
//!   the clock has gone on meanwhile. So it is one pass; with a time that moved on it would be at those who
//!   expire next for ever.
//! - Each part of it is bounded, and belongs to one insertion. As long as something is left every insertion
//!   does a part; whoever finds nothing left ends it. Then those insertions that follow go on with what was
//!   purged, if anything was: the next flush does not wait for that.
//! - It has an end even if sessions come all the time that expire at once, and no pass is ever complete: after so
//!   many looks the rest is left to the next one.
//! - Nobody has to come back for it to go on: a thread that is stopped in a part holds up nothing.

use super::endpoint::{Count, Tallies};
use super::handle::Inner;
use super::observe::observed;
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Swept, Timestamp};

/// As the manual page of OpenSSL's `SSL_CTX_flush_sessions` has it. (OpenSSL's code does it at every 256th
/// handshake, resumed ones included.)
#[cfg(not(loom))]
const EVERY: u64 = 255;
#[cfg(loom)]
const EVERY: u64 = 2;

/// Divides [`EVERY`], so that one thread alone flushes at exactly every 255th.
#[cfg(not(loom))]
const STEP: u64 = 15;
#[cfg(loom)]
const STEP: u64 = 1;
const STEPS: u64 = EVERY / STEP;

/// No flush is under way. (Other numbers are the time at which it began, plus one.)
const IDLE: u64 = 0;

/// Nothing is left of what had expired, but of what was purged.
const PURGING: u64 = u64::MAX;

/// In nanoseconds: no insertion takes so long after it has read the clock, or it does no harm that it is taken for one
/// after the clock was set back.
const LATE: u64 = 1_000_000_000;

/// When a cache flushes by itself.
pub(crate) struct Automatic {
    /// How much one insertion looks at; nothing if there are no such flushes.
    budget: usize,
    state: Padded<State>,
}

struct State {
    /// Steps that were counted together.
    steps: AtomicU64,
    /// What is under way.
    stage: AtomicU64,
    /// How many looks the flush that is under way has left.
    looks: AtomicU64,
}

/// A part of a flush that an insertion does.
pub(crate) struct Turn {
    /// It is the first.
    pub(crate) begins: bool,
    /// Of what had expired at that time, and of what was purged; of the latter alone if there is no time.
    pub(crate) at: Option<Timestamp>,
    /// How much to look at.
    pub(crate) budget: usize,
}

/// What is left after a part.
#[derive(Default)]
pub(crate) struct Left {
    /// Something that had expired.
    pub(crate) expired: bool,
    /// Something that was purged.
    pub(crate) purged: bool,
    /// So many looks that takes off.
    pub(crate) looks: u64,
}

impl Automatic {
    pub(crate) fn new(budget: Option<usize>) -> Self {
        Self {
            budget: budget.unwrap_or(0),
            state: Padded(State {
                steps: AtomicU64::new(0),
                stage: AtomicU64::new(IDLE),
                looks: AtomicU64::new(0),
            }),
        }
    }

    /// How much one insertion looks at, if there are such flushes.
    pub(super) fn budget(&self) -> Option<usize> {
        (self.budget != 0).then_some(self.budget)
    }

    /// After an insertion at `now` that may have ended a step: calls `part` if it has to do a part of a flush. One
    /// that begins may take `most` looks.
    #[inline]
    pub(crate) fn inserted(
        &self,
        ends_step: impl FnOnce() -> bool,
        now: Timestamp,
        most: impl Fn() -> u64,
        part: impl FnOnce(Turn) -> Left,
    ) {
        if self.budget == 0 {
            return;
        }
        // Relaxed, all but two: they say when to flush, not what there is.
        let begins =
            ends_step() && (self.state.steps.fetch_add(1, Ordering::Relaxed) + 1) % STEPS == 0;
        // Acquire: partner of the Release in `begin`. Without it who has a part in a flush could find that the
        // looks of the one before are used up, and end this one.
        let stage = self.state.stage.load(Ordering::Acquire);
        if begins || stage != IDLE {
            self.take_part(stage, begins, now, most, part);
        }
    }

    #[cold]
    #[inline(never)]
    fn take_part(
        &self,
        mut stage: u64,
        mut begins: bool,
        now: Timestamp,
        most: impl Fn() -> u64,
        part: impl FnOnce(Turn) -> Left,
    ) {
        if begins {
            (stage, begins) = self.begin(stage, now, most);
        }
        if stage != PURGING && stage > stage_at(now) {
            // This one's time was read before the flush began: it knows nothing about its end. Or the clock
            // was set back: then the next one that begins takes its place.
            return;
        }
        let at = (stage != PURGING).then(|| Timestamp::from_nanos(stage - 1));
        let left = part(Turn {
            begins,
            at,
            budget: self.budget,
        });
        let next = if left.expired && self.spend(left.looks) {
            stage
        } else if left.purged {
            PURGING
        } else {
            IDLE
        };
        if next != stage {
            // No store: the next flush may have begun since, and this one says nothing about it.
            let _ = self.state.stage.compare_exchange(
                stage,
                next,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Begins a flush unless one is under way: what is under way then, and whether this call began it.
    fn begin(&self, mut stage: u64, now: Timestamp, most: impl Fn() -> u64) -> (u64, bool) {
        let first = stage_at(now);
        let set_back = |stage: u64| stage.saturating_sub(first) > LATE;
        while matches!(stage, IDLE | PURGING) || set_back(stage) {
            self.state.looks.store(most(), Ordering::Relaxed);
            // Release: partner of the Acquire in `inserted`; who finds the flush finds how many looks it has. (Who
            // fails here has stored as many.)
            match self.state.stage.compare_exchange(
                stage,
                first,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => return (first, true),
                Err(other) => stage = other,
            }
        }
        (stage, false)
    }

    /// Takes looks off those that are left. Whether there are more. (Of two who do that at once one may be
    /// forgotten; and who is late takes them off the next flush, which may end a part earlier.)
    fn spend(&self, looks: u64) -> bool {
        let left = self.state.looks.load(Ordering::Relaxed);
        let left = left.saturating_sub(looks);
        self.state.looks.store(left, Ordering::Relaxed);
        left != 0
    }
}

/// A flush that began at `now`.
fn stage_at(now: Timestamp) -> u64 {
    now.as_nanos().saturating_add(1).min(PURGING - 1)
}

impl<V: Send + Sync + 'static> Inner<V> {
    /// Counts an insertion at `now`, and does a part of a flush if it is time.
    #[inline]
    pub(super) fn inserted(&self, now: Timestamp) {
        // A pass looks at each slot once, and opens fewer ticks than there are.
        let most = || 2 * self.map.slots() as u64 + EVERY;
        let part = |turn| self.flush_in_turn(&turn);
        self.automatic
            .inserted(|| ends_step(&self.tallies), now, most, part);
    }

    fn flush_in_turn(&self, turn: &Turn) -> Left {
        if turn.begins {
            self.tallies.count(Count::Flush);
        }
        let mut left = Left::default();
        observed(&self.name, || {
            // For a lowered maximum the insertion has paid.
            let (mut expired, purged) = match turn.at {
                Some(at) => self.sweep_both(at, turn.budget),
                None => {
                    let mut drops = turn.budget as u64;
                    let purged = self.remove_purged_within(turn.budget, &mut drops);
                    (Swept::default(), purged)
                }
            };
            left = Left {
                expired: expired.remaining,
                purged: purged.remaining,
                looks: expired.visited as u64,
            };
            expired.add(purged);
            expired
        });
        left
    }
}

/// Counts an insertion of this thread, and says whether it has a step together.
#[cfg(not(loom))]
#[inline]
fn ends_step(tallies: &Tallies) -> bool {
    tallies.count(Count::Insertion) % STEP == 0
}

/// With steps of one there is nothing to count. (Loom 0.7 fails on its own account, by an assertion in its
/// `match_rmw_to_stores`, where several threads count in one stripe.)
#[cfg(loom)]
fn ends_step(_: &Tallies) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Context, ManualClock, SessionId, SessionKey};
    use crate::sync::thread;
    use crate::{Clock, SessionCache, SessionCacheBuilder, Timestamp};
    use std::time::Duration;

    fn builder() -> (SessionCacheBuilder<u64>, ManualClock) {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
        let builder = SessionCache::builder().clock(clock).maximum(None);
        (builder, hand)
    }

    fn insert(cache: &SessionCache<u64>, numbers: std::ops::Range<u64>) {
        for n in numbers {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&n.to_le_bytes());
            let key = SessionKey::new(Context::DEFAULT, SessionId::from(id));
            cache.insert(key, n).unwrap();
        }
    }

    #[test]
    fn every_255th_insertion_flushes_and_no_other() {
        let (builder, hand) = builder();
        let cache = builder.automatic_flush(Some(1_000)).build().unwrap();
        insert(&cache, 0..100);
        hand.advance(Duration::from_secs(301));
        insert(&cache, 100..254);
        assert_eq!((cache.len(), cache.stats().expired), (254, 0));
        insert(&cache, 254..255);
        assert_eq!((cache.len(), cache.stats().expired), (155, 100));
        hand.advance(Duration::from_secs(301));
        insert(&cache, 255..509);
        assert_eq!(cache.stats().expired, 100);
        insert(&cache, 509..510);
        assert_eq!((cache.len(), cache.stats().expired), (255, 255));
    }

    #[test]
    fn threads_count_apart_and_none_of_their_insertions_is_lost() {
        const THREADS: u64 = 4;
        const EACH: u64 = if cfg!(miri) { 2 * STEP } else { 10 * EVERY };
        let (builder, _hand) = builder();
        let cache = builder.build().unwrap();
        let threads = (0..THREADS).map(|t| {
            let cache = cache.clone();
            thread::spawn(move || insert(&cache, t * EACH..(t + 1) * EACH))
        });
        for thread in threads.collect::<Vec<_>>() {
            thread.join().unwrap();
        }
        let steps = &cache.inner.automatic.state.steps;
        assert_eq!(steps.load(Ordering::Relaxed) * STEP, THREADS * EACH);
        let flushes = cache.counters().flushes;
        println!("{flushes} flushes");
        assert!((1..=THREADS * EACH / EVERY).contains(&flushes));
    }

    #[test]
    fn no_insertion_looks_at_more_than_its_budget_and_those_that_follow_go_on() {
        const BUDGET: u64 = 64;
        let (builder, hand) = builder();
        let cache = builder.build().unwrap();
        assert_eq!(cache.automatic_flush(), Some(BUDGET as usize), "by default");
        insert(&cache, 0..2_550);
        hand.advance(Duration::from_secs(301));
        let (mut worst, mut parts) = (0, 0);
        let mut before = cache.stats();
        for n in 2_550..2_550 + 254 + 2_550 / BUDGET + 60 {
            insert(&cache, n..n + 1);
            let after = cache.stats();
            let visited = after.visited - before.visited;
            worst = worst.max(visited);
            parts += u64::from(visited != 0);
            before = after;
        }
        assert!(worst <= BUDGET, "{worst} looks in one insertion");
        assert!(parts >= 2_550 / BUDGET, "{parts} insertions took part");
        assert_eq!(before.expired, 2_550);
        let stage = &cache.inner.automatic.state.stage;
        assert_eq!(stage.load(Ordering::Relaxed), IDLE);
        assert_eq!(cache.counters().flushes, 11, "each counted once");
    }

    /// What some insertions cost, each a while after the one before it.
    #[derive(Default, Debug)]
    struct Cost {
        flushes: u64,
        parts: u64,
        looks: u64,
        expired: u64,
    }

    fn cost(
        cache: &SessionCache<u64>,
        hand: &ManualClock,
        pause: Duration,
        numbers: std::ops::Range<u64>,
    ) -> Cost {
        let (begun, many) = (cache.counters().flushes, numbers.end - numbers.start);
        let first = cache.stats();
        let (mut before, mut parts) = (first.visited, 0);
        for n in numbers {
            insert(cache, n..n + 1);
            hand.advance(pause);
            let visited = cache.stats().visited;
            assert!(visited - before <= 64, "more than the budget");
            parts += u64::from(visited != before);
            before = visited;
        }
        let last = cache.stats();
        let cost = Cost {
            flushes: cache.counters().flushes - begun,
            parts,
            looks: last.visited - first.visited,
            expired: last.expired - first.expired,
        };
        println!("{many} insertions, one in {pause:?}: {cost:?}");
        cost
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours there, and has one thread")]
    fn while_the_clock_goes_on_a_flush_ends() {
        // For so many seconds, until as many expire as come.
        const SECONDS: u64 = 304;
        for (per_second, most_looks, most_parts) in [(1_000, 8, 0.15), (3_000, 16, 0.3)] {
            let (builder, hand) = builder();
            let cache = builder.shards(16).build().unwrap();
            let pause = Duration::from_secs(1) / per_second as u32;
            let early = SECONDS * per_second / EVERY * EVERY;
            for n in 0..early {
                insert(&cache, n..n + 1);
                hand.advance(pause);
            }
            let last = 60 * EVERY;
            let cost = cost(&cache, &hand, pause, early..early + last);
            // One may still be under way when the next would begin.
            assert!(
                (last / EVERY).abs_diff(cost.flushes) <= 3,
                "{} flushes",
                cost.flushes
            );
            assert!(cost.expired.abs_diff(last) <= 2 * EVERY);
            // When they are handed down, when their tick has come, and with each flush of that second.
            assert!(
                cost.looks <= most_looks * cost.expired,
                "{most_looks} for each"
            );
            let parts = cost.parts as f64 / last as f64;
            assert!(parts <= most_parts, "{parts} of the insertions have a part");
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours there, and has one thread")]
    fn it_ends_although_sessions_come_that_expire_at_once() {
        const INSERTIONS: u64 = 60 * EVERY;
        let (builder, hand) = builder();
        let builder = builder.timeout(Duration::from_millis(500));
        let cache = builder.shards(1).build().unwrap();
        let cost = cost(&cache, &hand, Duration::from_millis(1), 0..INSERTIONS);
        assert!(cache.len() <= 500 + 3 * EVERY as usize, "{}", cache.len());
        // However many slots there are: as long as another test's thread is stopped while it is pinned, none is used again.
        let most = 2 * cache.stats().slots + EVERY;
        assert!(cost.parts <= cost.flushes * (most / 64 + 1), "of {most}");
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes hours there, and has one thread")]
    fn what_was_purged_goes_while_sessions_expire() {
        const PURGED: u64 = 1_000;
        let (builder, hand) = builder();
        let cache = builder.shards(4).build().unwrap();
        let tenant = cache.context().unwrap();
        let options = crate::SessionOptions::default().timeout(Duration::from_secs(86_000));
        for n in 0..PURGED as u32 {
            let key = SessionKey::new(tenant, SessionId::new(&n.to_le_bytes()).unwrap());
            cache.insert_with(key, 0, options).unwrap();
        }
        // A steady state, in which there are always some that have just expired.
        for n in 0..310_000 {
            insert(&cache, n..n + 1);
            hand.advance(Duration::from_millis(1));
        }
        cache.purge(tenant);
        let slots = cache.inner.map.slots() as u64;
        let mut insertions = 0;
        while cache.stats().removed < PURGED {
            let n = 310_000 + insertions;
            insert(&cache, n..n + 1);
            hand.advance(Duration::from_millis(1));
            insertions += 1;
            assert!(insertions <= EVERY + slots / 32, "purged, and still there");
        }
        println!("{PURGED} purged, gone from {slots} slots after {insertions} insertions");
        let expired = cache.stats().expired;
        assert!(expired >= 10_000 + insertions - 2 * EVERY, "{expired}");
    }

    #[test]
    fn a_clock_that_is_set_back_stops_a_flush() {
        let (builder, hand) = builder();
        let builder = builder.automatic_flush(Some(1)).shards(1);
        let cache = builder.timeout(Duration::from_secs(10)).build().unwrap();
        insert(&cache, 0..250);
        let now = hand.now();
        hand.advance(Duration::from_secs(1_000));
        insert(&cache, 250..256);
        let stage = || cache.inner.automatic.state.stage.load(Ordering::Relaxed);
        let later = stage();
        assert!(later > stage_at(now), "it has to be under way");
        let before = cache.stats().expired;
        hand.set(now);
        // By this time none of them has expired.
        insert(&cache, 256..509);
        assert_eq!((stage(), cache.stats().expired), (later, before));
        // Nor does it keep the next one from beginning.
        insert(&cache, 509..510);
        assert!(stage() <= stage_at(now));
        assert_eq!(cache.stats().expired, before);
    }

    #[test]
    fn it_can_be_switched_off() {
        for off in [None, Some(0)] {
            let (builder, hand) = builder();
            let cache = builder.automatic_flush(off).build().unwrap();
            assert_eq!(cache.automatic_flush(), None);
            insert(&cache, 0..254);
            hand.advance(Duration::from_secs(301));
            insert(&cache, 254..1_000);
            assert_eq!((cache.len(), cache.stats().expired), (1_000, 0));
        }
    }
}
