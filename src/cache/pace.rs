//! Flushes that leave the processor to others.
//!
//! No handshake waits for a flush, but where all processors are busy it may wait for a processor that a
//! flush has: the operating system lets a thread have it for some milliseconds before another one's turn
//! comes. A flush that works for half a millisecond and rests for longer than that has used up no such
//! turn, and gives it back at once.

use std::time::{Duration, Instant};

use super::endpoint::Count;
use super::handle::{Inner, SessionCache};
use super::observe;
use crate::map::{Debris, REST, Then};
use crate::sync::thread;
use crate::{Swept, Timestamp};

/// So long a flush works before it rests. Less than the turn of a thread, so that nobody waits for the end of one; and
/// enough that most of the time is not spent on going to sleep and on what is no longer in the processor's caches.
const STRETCH: Duration = Duration::from_micros(500);

/// After so many looks, or destructors, it asks how long it has been working.
const LOOKS: usize = 32;

/// Where it has no rests: so that it can be stopped, and who stops it does not wait for many calls of a slow listener.
const PART: usize = 512;

/// What part of one processor a flush takes: see [`SessionCache::flush_at_pace`].
///
/// ```
/// use sessionwheel::Pace;
///
/// assert_eq!(Pace::percent(100), Pace::FULL);
/// assert!(Pace::percent(20) < Pace::FULL);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pace {
    percent: u8,
}

impl Pace {
    /// All of it: the flush never rests, but for threads that hold it back.
    pub const FULL: Self = Self { percent: 100 };

    /// So many hundredths of it, from 1 to 100; what is outside stands for the nearest of these.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        Self {
            percent: match percent {
                0 => 1,
                101.. => 100,
                within => within,
            },
        }
    }

    /// How much is done between two looks at the clock.
    fn part(self) -> usize {
        if self == Self::FULL { PART } else { LOOKS }
    }

    /// How long to rest after having worked so long.
    fn rest(self, worked: Duration) -> Duration {
        if self == Self::FULL {
            return Duration::ZERO;
        }
        let percent = u32::from(self.percent);
        (worked * (100 - percent) / percent).max(REST)
    }
}

impl Default for Pace {
    /// [`Pace::FULL`].
    fn default() -> Self {
        Self::FULL
    }
}

impl<V: Send + Sync + 'static> SessionCache<V> {
    /// Like [`flush`](Self::flush), but slowly: this thread works for about half a millisecond at a time, and sleeps in between
    /// for so long that it takes the given part of one processor.
    ///
    /// For machines on which all processors are busy with handshakes, and a cache whose flushes take more
    /// than some milliseconds. (At 20 percent a flush takes about five times as long; sessions that have expired
    /// are not resumed meanwhile, whether they have been removed or not.)
    ///
    /// What it promises is what `flush` promises, at the time at which it is called: what expires later stays. A
    /// [listener](super::SessionCacheBuilder::on_remove) or a destructor that takes long is not interrupted, but rested for
    /// all the longer. If other bounded flushes keep it from coming to an end, it does what is left at once. Values that are
    /// waiting for other reasons than a flush are destroyed as well.
    ///
    /// It doesn't use a pool of threads. Don't call it with a [`Guard`](crate::Guard) in hand: that would hold
    /// back the destruction of everything for all that time.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, Pace, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).build()?;
    /// for n in 0..100 {
    ///     let key = SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    ///     cache.insert(key, n).unwrap();
    /// }
    ///
    /// hand.advance(Duration::from_secs(301));
    /// assert_eq!(cache.flush_at_pace(Pace::percent(20)).removed, 100);
    /// assert!(cache.is_empty());
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn flush_at_pace(&self, pace: Pace) -> Swept {
        if pace == Pace::FULL {
            return self.flush();
        }
        let mut flush = Paced::new(&self.inner, self.now(), pace);
        while let Some(rest) = flush.stretch(&self.inner) {
            thread::sleep(rest);
        }
        flush.swept
    }
}

/// A flush that is under way.
pub(super) struct Paced {
    pace: Pace,
    at: Timestamp,
    begun: Instant,
    swept: Swept,
    /// After so many looks the rest is removed at once.
    most: usize,
    /// What is to be dropped, when all is removed.
    debris: Option<Debris>,
    /// When it began to wait for who holds that back.
    waits: Option<Instant>,
}

impl Paced {
    /// Of all that has expired at `at`.
    pub(super) fn new<V: Send + Sync + 'static>(
        inner: &Inner<V>,
        at: Timestamp,
        pace: Pace,
    ) -> Self {
        inner.tallies.count(Count::Flush);
        Self {
            pace,
            at,
            begun: Instant::now(),
            swept: Swept::default(),
            most: inner.map.len().saturating_mul(8).saturating_add(PART),
            debris: None,
            waits: None,
        }
    }

    /// Works for a while; how long to rest then, unless all is done.
    fn stretch<V: Send + Sync + 'static>(&mut self, inner: &Inner<V>) -> Option<Duration> {
        self.stretch_while(inner, || true)
    }

    /// The same, but ends with the part in which that has become false.
    pub(super) fn stretch_while<V: Send + Sync + 'static>(
        &mut self,
        inner: &Inner<V>,
        wanted: impl Fn() -> bool,
    ) -> Option<Duration> {
        let begun = Instant::now();
        if let (Some(debris), Some(waits)) = (&mut self.debris, self.waits.take()) {
            debris.waited(waits.elapsed());
        }
        loop {
            let then = match &mut self.debris {
                None => {
                    self.remove(inner);
                    Then::GoOn
                }
                Some(debris) => inner.map.drop_debris(debris, self.pace.part() as u64),
            };
            match then {
                Then::End => {
                    observe::tell(&inner.name, self.begun.elapsed(), self.swept);
                    return None;
                }
                Then::GoOn => (),
                Then::Wait(time) => {
                    self.waits = Some(Instant::now());
                    return Some(time.max(REST));
                }
            }
            let worked = begun.elapsed();
            if worked >= STRETCH || !wanted() {
                return Some(self.pace.rest(worked));
            }
        }
    }

    /// Removes a part of what has expired.
    fn remove<V: Send + Sync + 'static>(&mut self, inner: &Inner<V>) {
        let swept = if self.swept.visited < self.most {
            inner.sweep_within(self.at, self.pace.part())
        } else {
            // Never with help: who drops the flusher from a listener waits for this thread, which would wait for
            // the helper.
            inner.remove(self.at, true)
        };
        self.swept.removed += swept.removed;
        self.swept.visited += swept.visited;
        if !swept.remaining {
            self.debris = Some(inner.map.debris());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Clock, Context, SessionId, SessionKey};
    use crate::reclaim::tests::Held;
    use crate::sync::Arc;
    use crate::sync::atomic::{AtomicU64, Ordering};

    fn key(n: u64) -> SessionKey {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&n.to_le_bytes());
        SessionKey::new(Context::DEFAULT, SessionId::from(id))
    }

    struct Dropped(Arc<AtomicU64>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    const SESSIONS: u64 = if cfg!(miri) { 200 } else { 20_000 };

    /// A cache in which all sessions but one have expired, and how many have been dropped.
    fn expired() -> (SessionCache<Dropped>, Arc<AtomicU64>) {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
        let builder = SessionCache::builder().clock(clock).maximum(None);
        let cache = builder.automatic_flush(None).build().unwrap();
        let dropped = Arc::new(AtomicU64::new(0));
        for n in 0..SESSIONS {
            cache.insert(key(n), Dropped(dropped.clone())).unwrap();
        }
        hand.advance(Duration::from_secs(301));
        cache
            .insert(key(SESSIONS), Dropped(dropped.clone()))
            .unwrap();
        (cache, dropped)
    }

    #[test]
    fn rests_are_long_enough() {
        let worked = Duration::from_micros(200);
        for (percent, rest) in [
            (1, 19_800),
            (20, 800),
            (50, 200),
            (80, 100),
            (99, 100),
            (100, 0),
        ] {
            let rest = Duration::from_micros(rest);
            assert_eq!(Pace::percent(percent).rest(worked), rest, "{percent}");
        }
        assert_eq!(Pace::percent(0), Pace::percent(1));
        assert_eq!(Pace::percent(255), Pace::FULL);
        assert_eq!(Pace::default(), Pace::FULL);
    }

    #[test]
    fn all_is_removed_when_it_returns() {
        for pace in [Pace::percent(50), Pace::percent(99), Pace::FULL] {
            let (cache, _dropped) = expired();
            let swept = cache.flush_at_pace(pace);
            assert_eq!((swept.removed as u64, swept.remaining), (SESSIONS, false));
            assert!(swept.visited as u64 >= SESSIONS);
            assert!(cache.contains(&key(SESSIONS)));
            assert_eq!(cache.counters().flushes, 1);
        }
    }

    #[test]
    fn it_works_in_short_stretches() {
        let (cache, _dropped) = expired();
        let mut flush = Paced::new(&cache.inner, cache.now(), Pace::percent(20));
        let (mut stretches, mut most, mut before) = (0u64, 0, cache.stats().visited);
        let begun = Instant::now();
        let mut rested = Duration::ZERO;
        while let Some(rest) = flush.stretch(&cache.inner) {
            stretches += 1;
            rested += rest;
            let visited = cache.stats().visited;
            most = most.max(visited - before);
            before = visited;
        }
        let worked = begun.elapsed();
        println!(
            "{stretches} stretches, {most} looks in the longest, worked {worked:?}, to rest {rested:?}"
        );
        assert!(stretches > 1 && most < SESSIONS);
        assert!(rested >= worked.saturating_sub(STRETCH) * 3);
    }

    #[test]
    fn who_is_kept_from_coming_to_an_end_does_the_rest_at_once() {
        let (cache, _dropped) = expired();
        let mut flush = Paced::new(&cache.inner, cache.now(), Pace::percent(1));
        flush.most = 0;
        flush.stretch(&cache.inner);
        assert_eq!(flush.swept.removed as u64, SESSIONS);
    }

    #[test]
    fn nobody_is_asked_for_help() {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
        let asked = Arc::new(AtomicU64::new(0));
        let count = asked.clone();
        let builder = SessionCache::builder().clock(clock).shards(4);
        let builder = builder.helpers(3, move |help| {
            count.fetch_add(1, Ordering::Relaxed);
            help();
        });
        let cache = builder.automatic_flush(None).build().unwrap();
        let fill = || {
            for n in 0..100 {
                cache.insert(key(n), ()).unwrap();
            }
            hand.advance(Duration::from_secs(301));
        };
        for pace in [Pace::percent(1), Pace::FULL] {
            fill();
            let mut flush = Paced::new(&cache.inner, cache.now(), pace);
            // As if others had kept it from coming to an end.
            flush.most = 0;
            while flush.stretch(&cache.inner).is_some() {}
            assert_eq!(flush.swept.removed, 100);
            assert_eq!(asked.load(Ordering::Relaxed), 0, "{pace:?}");
        }
        fill();
        assert_eq!(cache.flush().removed, 100);
        assert_eq!(asked.load(Ordering::Relaxed), 3, "a flush as usual does");
    }

    #[test]
    fn what_expires_meanwhile_stays() {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
        let cache = SessionCache::builder().clock(clock).build().unwrap();
        cache.insert(key(1), 1).unwrap();
        hand.advance(Duration::from_secs(1));
        cache.insert(key(2), 2).unwrap();
        hand.advance(Duration::from_secs(300));
        let mut flush = Paced::new(&cache.inner, cache.now(), Pace::percent(20));
        hand.advance(Duration::from_secs(1));
        while flush.stretch(&cache.inner).is_some() {}
        assert_eq!((flush.swept.removed, cache.len()), (1, 1));
    }

    #[test]
    fn what_was_purged_goes_as_well() {
        let cache = SessionCache::builder().build().unwrap();
        for n in 0..100 {
            cache.insert(key(n), ()).unwrap();
        }
        cache.purge(Context::DEFAULT);
        assert_eq!(cache.flush_at_pace(Pace::percent(50)).removed, 100);
        assert!(cache.is_empty());
    }

    #[test]
    fn a_guard_in_hand_keeps_it_from_dropping_and_not_from_returning() {
        let (cache, dropped) = expired();
        let guard = cache.pin();
        assert_eq!(
            cache.flush_at_pace(Pace::percent(99)).removed as u64,
            SESSIONS
        );
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        drop(guard);
    }

    #[test]
    fn somebody_elses_guard_keeps_it_for_a_while_and_not_for_ever() {
        let (cache, dropped) = expired();
        let other = Held::new();
        let swept = cache.flush_at_pace(Pace::percent(99));
        assert_eq!(swept.removed as u64, SESSIONS);
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
        other.let_go();
    }
}
