//! Flushes that come by themselves, with the insertions.
//!
//! # Ground rules
//!
//! - All insertions of a cache that succeed are counted, whatever connection or configuration they are for:
//!   every [`EVERY`]th begins a flush. Threads count apart and bring [`STEP`] at a time together, so that
//!   insertions don't contend for one word. So what a thread has counted since is not yet among the 255: at the most
//!   14 for each.
//! - Each part of it is bounded, and belongs to one insertion. As long as something is left every insertion
//!   does a part; whoever finds nothing left ends it.
//! - Nobody has to come back for it to go on: a thread that is stopped in a part holds up nothing.

use super::endpoint::Tallies;
use crate::Swept;
use crate::sync::Padded;
use crate::sync::atomic::{AtomicU64, Ordering};

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

/// When a cache flushes by itself.
pub(super) struct Automatic {
    /// How much one insertion looks at; nothing if there are no such flushes.
    budget: usize,
    state: Padded<State>,
}

struct State {
    /// Steps that were counted together.
    steps: AtomicU64,
    /// 1 while a flush is under way.
    going_on: AtomicU64,
}

impl Automatic {
    pub(super) fn new(budget: Option<usize>) -> Self {
        Self {
            budget: budget.unwrap_or(0),
            state: Padded(State {
                steps: AtomicU64::new(0),
                going_on: AtomicU64::new(0),
            }),
        }
    }

    /// How much one insertion looks at, if there are such flushes.
    pub(super) fn budget(&self) -> Option<usize> {
        (self.budget != 0).then_some(self.budget)
    }

    /// Counts an insertion, and calls `part` with the budget if it has to do a part of a flush.
    #[inline]
    pub(super) fn inserted(&self, tallies: &Tallies, part: impl FnOnce(usize) -> Swept) {
        let Some(budget) = self.budget() else {
            return;
        };
        // Relaxed, all of them: they say when to flush, not what there is. Two who end and begin
        // at once may disagree; then a flush is a part longer, or comes 255 insertions later.
        let begins = ends_step(tallies)
            && (self.state.steps.fetch_add(1, Ordering::Relaxed) + 1) % STEPS == 0;
        if begins || self.state.going_on.load(Ordering::Relaxed) != 0 {
            let left = part(budget).remaining;
            self.state.going_on.store(left.into(), Ordering::Relaxed);
        }
    }
}

/// Counts an insertion of this thread, and says whether it has a step together.
#[cfg(not(loom))]
#[inline]
fn ends_step(tallies: &Tallies) -> bool {
    tallies.count(super::endpoint::Count::Insertion) % STEP == 0
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
        assert_eq!(cache.counters().flushes, THREADS * EACH / EVERY);
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
        assert_eq!(
            cache.inner.automatic.state.going_on.load(Ordering::Relaxed),
            0
        );
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
