//! [`SessionCache`]: what concerns all sessions at once.

use std::time::Duration;

use super::clock::Clock;
use super::endpoint::Count;
use super::handle::{Inner, SessionCache};
use super::observe::observed;
use super::view::Sessions;
use crate::{Guard, Reason, Stats, Swept, Timestamp};

impl<V: Send + Sync + 'static> SessionCache<V> {
    /// Removes all sessions that have expired by now.
    ///
    /// When it returns, every session that had expired by the time it began,
    /// and whose insertion had returned, is gone, whatever other threads are
    /// doing. Lookups, insertions and takes go on meanwhile and wait for
    /// nothing. (Before it destroys the last values the flush waits for those that are under way, some 20 ms at the most: see
    /// [`ExpiringMap::flush`](crate::ExpiringMap::flush). [`flush_within`](Self::flush_within) does not wait.)
    ///
    /// The manual page of OpenSSL's `SSL_CTX_flush_sessions` makes the same
    /// promise for the time it is given; for a time other than now, see
    /// [`flush_at`](Self::flush_at) and [`flush_sessions`](Self::flush_sessions).
    ///
    /// Sessions that were [purged](Self::purge) before it began go as well, and count as removed.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).build()?;
    /// for n in 0..10 {
    ///     let key = SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    ///     cache.insert(key, n).unwrap();
    /// }
    ///
    /// hand.advance(Duration::from_secs(301));
    /// assert_eq!(cache.len(), 10);
    /// assert_eq!(cache.flush().removed, 10);
    /// assert_eq!(cache.len(), 0);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn flush(&self) -> Swept {
        self.flush_at(self.now())
    }

    /// Like [`flush`](Self::flush), but looks at no more than about `budget`
    /// sessions, and drops no more than that.
    ///
    /// [`Swept::remaining`] says whether something is left; the next call goes
    /// on where this one ended. Of what was [purged](Self::purge) a quarter of the budget takes care, and what
    /// is not needed for sessions that have expired. (A budget of 1 is for those first.)
    /// `SSL_CTX_flush_sessions(3)` has no such bound.
    ///
    /// A loop until nothing remains ends if this is the only bounded flush at work
    /// ([automatic ones](super::SessionCacheBuilder::automatic_flush) are such, too) and the clock stands still;
    /// otherwise it may go round for as long as more sessions than the budget expire later in the current tick. So bound
    /// the number of turns, or use [`flush`](Self::flush).
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).automatic_flush(None).build()?;
    /// for n in 0..100 {
    ///     let key = SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    ///     cache.insert(key, n).unwrap();
    /// }
    /// hand.advance(Duration::from_secs(301));
    ///
    /// // An event loop does a part of it each time round.
    /// let mut removed = 0;
    /// loop {
    ///     let swept = cache.flush_within(16);
    ///     removed += swept.removed;
    ///     if !swept.remaining {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(removed, 100);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn flush_within(&self, budget: usize) -> Swept {
        let inner = &*self.inner;
        inner.tallies.count(Count::Flush);
        observed(&inner.name, || inner.sweep_within(self.now(), budget))
    }

    /// Removes all sessions whose deadline lies before `at`, strictly: one
    /// whose deadline is `at` stays.
    ///
    /// It is the caller's word that time has come so far: a point in the
    /// future removes sessions that could still be resumed, a point in the
    /// past leaves some that have expired. [`Timestamp::NEVER`] removes all
    /// but those that never expire; [`clear`](Self::clear) removes these too. It waits as [`flush`](Self::flush) does.
    ///
    /// `SSL_CTX_flush_sessions(3)` by the time of this cache; by wall time it is
    /// [`flush_sessions`](Self::flush_sessions).
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    /// use std::time::Duration;
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, ()).unwrap();
    ///
    /// assert_eq!(cache.flush_at(cache.now()).removed, 0);
    /// let in_ten_minutes = cache.now().saturating_add(Duration::from_secs(600));
    /// assert_eq!(cache.flush_at(in_ten_minutes).removed, 1);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn flush_at(&self, at: Timestamp) -> Swept {
        let inner = &*self.inner;
        inner.tallies.count(Count::Flush);
        observed(&inner.name, || inner.sweep(at))
    }

    /// Removes all sessions, expired or not, and says how many.
    ///
    /// A session that is inserted while this runs may stay. It waits as [`flush`](Self::flush) does. It is not counted among the
    /// [flushes](crate::Counters::flushes); [`flush_sessions(0)`](Self::flush_sessions) is the same, and is. So is
    /// `SSL_CTX_flush_sessions(3)` with 0, which says nothing of how many.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
    /// use std::time::Duration;
    ///
    /// let cache = SessionCache::builder().lineage(None).build()?;
    /// let for_ever = SessionOptions::default().timeout(Duration::MAX);
    /// for n in 0..10 {
    ///     let key = SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    ///     cache.insert_with(key, n, for_ever).unwrap();
    /// }
    /// assert_eq!(cache.flush().removed, 0);
    /// assert_eq!(cache.clear(), 10);
    /// assert!(cache.is_empty());
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn clear(&self) -> usize {
        self.inner.clear().removed
    }

    /// A time before which no flush has anything to remove, or `None` if no
    /// cached session ever expires.
    ///
    /// It is never late: when a flush first has something to remove, this time
    /// has come. It may be early. A thread that flushes can sleep until then;
    /// an insertion or a re-timing may bring it forward. Zero while sessions that were
    /// [purged](Self::purge) have still to be removed. OpenSSL tells no such time.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).build()?;
    /// assert_eq!(cache.next_expiry(), None);
    /// cache.insert(SessionKey::new(Context::DEFAULT, SessionId::from([1; 32])), ()).unwrap();
    ///
    /// // As a timer would. What it is told may be too early, so it sleeps for a moment at least.
    /// while let Some(next) = cache.next_expiry() {
    ///     let pause = next.saturating_since(cache.now()).max(Duration::from_millis(10));
    ///     hand.advance(pause);
    ///     cache.flush();
    /// }
    /// assert!(cache.is_empty());
    /// assert!(cache.now() > Timestamp::from_secs(1_300));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn next_expiry(&self) -> Option<Timestamp> {
        if self.inner.purges.pending().is_some() {
            return Some(Timestamp::ZERO);
        }
        self.inner.map.next_expiry()
    }

    /// For how long, at the most, an expired session has been waiting to be flushed; zero if none is.
    ///
    /// It may be too long by the time by which [`next_expiry`](Self::next_expiry) is early, never too short. While
    /// a flush in parts is under way it counts from when what is left of it may have expired at the earliest: that
    /// is not before the last flush that was complete. OpenSSL has nothing like it.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, ()).unwrap();
    /// assert_eq!(cache.due_for(), Duration::ZERO);
    ///
    /// hand.advance(Duration::from_secs(310));
    /// assert!(cache.due_for() >= Duration::from_secs(10));
    /// cache.flush();
    /// assert_eq!(cache.due_for(), Duration::ZERO);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn due_for(&self) -> Duration {
        let since = self.inner.map.due_since();
        since.map_or(Duration::ZERO, |at| self.now().saturating_since(at))
    }

    /// The name that was given to [`SessionCacheBuilder::name`](super::SessionCacheBuilder::name).
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// How many sessions are cached. Expired ones count until they are
    /// removed. `SSL_CTX_sess_number(3)`.
    pub fn len(&self) -> usize {
        self.inner.map.len()
    }

    /// Whether [`len`](Self::len) is 0.
    pub fn is_empty(&self) -> bool {
        self.inner.map.is_empty()
    }

    /// How many sessions may be cached at once; `None` is unlimited. `SSL_CTX_sess_get_cache_size(3)`, whose 0 is
    /// `None` here.
    pub fn maximum(&self) -> Option<usize> {
        self.inner.map.maximum()
    }

    /// Changes how many sessions may be cached at once.
    ///
    /// Raising it pauses nobody. After it was lowered no insertion goes beyond
    /// the new maximum; what is there beyond it leaves in small steps, with
    /// the calls that insert or flush.
    ///
    /// `SSL_CTX_sess_set_cache_size(3)`, whose 0 is `None` here; there the next insertion removes all that is too much.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().maximum(Some(50)).build()?;
    /// for n in 0..50 {
    ///     cache.insert(SessionKey::new(Context::DEFAULT, SessionId::from([n; 32])), n).unwrap();
    /// }
    /// cache.set_maximum(Some(20));
    /// assert_eq!(cache.len(), 50);
    /// cache.flush();
    /// assert_eq!(cache.len(), 20);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn set_maximum(&self, maximum: Option<usize>) {
        self.inner.map.set_maximum(maximum);
    }

    /// How long a session lives that was inserted without a timeout of its
    /// own. `SSL_CTX_get_timeout(3)`.
    pub fn timeout(&self) -> Duration {
        self.inner.timeout
    }

    /// How long after the full authentication of its peer a session may be
    /// resumed; `None` is without end. See
    /// [`SessionCacheBuilder::lineage`](super::SessionCacheBuilder::lineage).
    pub fn lineage(&self) -> Option<Duration> {
        self.inner.lineage.cap()
    }

    /// How many sessions an insertion looks at that takes part in a flush; `None` if the cache
    /// doesn't flush by itself. See [`SessionCacheBuilder::automatic_flush`](super::SessionCacheBuilder::automatic_flush).
    pub fn automatic_flush(&self) -> Option<usize> {
        self.inner.automatic.budget()
    }

    /// The cache's clock, for example to show a deadline as wall time with
    /// [`Clock::to_wall`].
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// The time now, by the cache's clock.
    #[inline]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// All cached sessions, in no order.
    ///
    /// The iteration never waits and never makes others wait. A session whose
    /// insert had returned when it began, and that is there to its end, is
    /// seen exactly once; one that
    /// comes or goes meanwhile may be seen or not. Sessions that have expired
    /// and are still there may be among them: compare
    /// [`SessionRef::deadline`](super::SessionRef::deadline) with
    /// [`now`](Self::now). Sessions for a single use are shown and not used
    /// up; don't resume from here.
    ///
    /// OpenSSL has `SSL_CTX_sessions(3)`, a table which nobody else may change meanwhile.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let tenant = cache.context().unwrap();
    /// for (n, context) in [(1, Context::DEFAULT), (2, tenant), (3, tenant)] {
    ///     cache.insert(SessionKey::new(context, SessionId::from([n; 32])), n).unwrap();
    /// }
    ///
    /// let (guard, now) = (cache.pin(), cache.now());
    /// let theirs = cache.iter(&guard).filter(|s| s.context() == tenant && s.deadline() >= now);
    /// assert_eq!(theirs.count(), 2);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn iter<'g>(&'g self, guard: &'g Guard) -> Sessions<'g, V> {
        Sessions::new(&self.inner, guard)
    }

    /// Holds back the destruction of what leaves, until the guard is dropped,
    /// so that references to it stay valid.
    ///
    /// The same as [`crate::pin`]: one guard serves all caches and maps, and
    /// several calls.
    #[inline]
    pub fn pin(&self) -> Guard {
        self.inner.map.pin()
    }

    /// What the cache has done so far: who has left it, for which [reason](crate::Reason), and what that has cost.
    ///
    /// Of this `SSL_CTX_sess_number(3)` has how many are there, and how many were evicted. What handshakes have met is in
    /// [`counters`](Self::counters).
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    /// use std::time::Duration;
    ///
    /// let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).maximum(Some(4)).shards(1).build()?;
    /// let key = |n| SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    /// for n in [1, 2, 3, 4, 4, 5] {
    ///     cache.insert(key(n), n).unwrap(); // 4 replaces itself, 5 evicts somebody
    ///     hand.advance(Duration::from_secs(1));
    /// }
    /// assert!(cache.remove(&key(2)));
    /// assert!(cache.take_cloned(&key(3)).is_some());
    /// hand.advance(Duration::from_secs(299));
    /// cache.flush();
    /// cache.clear();
    ///
    /// let stats = cache.stats();
    /// assert_eq!((stats.live, stats.replaced, stats.evicted), (0, 1, 1));
    /// assert_eq!((stats.removed, stats.taken), (1, 1));
    /// assert_eq!((stats.expired, stats.cleared), (1, 1));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn stats(&self) -> Stats {
        self.inner.map.stats()
    }

    /// Destroys values of sessions that have left, and says how many are still
    /// waiting for a guard to be dropped; 0 means that all are gone.
    ///
    /// Nobody needs to call this to keep the cache going; it is for those who
    /// want to know that secrets have been wiped. It waits as [`flush`](Self::flush) does. (OpenSSL frees a session with
    /// its last reference.)
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, "a secret").unwrap();
    ///
    /// let guard = cache.pin();
    /// cache.remove(&key);
    /// assert_eq!((cache.reclaim(), cache.stats().garbage), (1, 1), "somebody may be reading it");
    /// drop(guard);
    /// while cache.reclaim() > 0 {
    ///     std::thread::yield_now(); // other threads' guards
    /// }
    /// assert_eq!(cache.stats().garbage, 0);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn reclaim(&self) -> usize {
        self.inner.map.reclaim()
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    pub(super) fn clear(&self) -> Swept {
        let swept = self.map.remove_all(Reason::Cleared, |_, _| true);
        self.map.drop_flushed();
        swept
    }

    /// A flush that nobody counts.
    pub(super) fn sweep(&self, at: Timestamp) -> Swept {
        let swept = self.remove(at, false);
        self.map.drop_flushed();
        swept
    }

    /// Removes what has expired and what was purged, and waits for nobody who is pinned. Alone: nobody else calls a
    /// listener or a destructor for it.
    pub(super) fn remove(&self, at: Timestamp, alone: bool) -> Swept {
        let mut swept = self.map.remove_expired(at, alone);
        swept.add(self.remove_purged());
        swept
    }

    /// A part of one.
    pub(super) fn sweep_within(&self, at: Timestamp, budget: usize) -> Swept {
        self.map.pay(at);
        let (mut expired, purged) = self.sweep_both(at, budget);
        expired.add(purged);
        expired
    }

    /// The same for who has paid for a lowered maximum: of what has expired, and of what was purged.
    pub(super) fn sweep_both(&self, at: Timestamp, budget: usize) -> (Swept, Swept) {
        let mut drops = budget as u64;
        // While the clock goes on there may always be something that has just expired.
        let share = match self.purges.pending() {
            Some(_) => (budget / 4).max(1).min(budget.saturating_sub(1)),
            None => 0,
        };
        let expired = self.map.flush_part(at, budget - share, &mut drops);
        let purged = self.remove_purged_within(budget - expired.visited, &mut drops);
        (expired, purged)
    }
}

#[cfg(test)]
mod tests;
