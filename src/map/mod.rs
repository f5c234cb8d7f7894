//! The map: shards, capacity, eviction, flush, iteration. Knows no TLS.
//!
//! The public type is thin: it hashes, pins and documents. The work is in [`core`] and the files
//! named after what they do.

pub(crate) mod audit;
mod batch;
mod builder;
mod core;
mod debris;
mod evict;
mod flush;
mod hash;
mod insert;
mod iter;
mod notify;
pub(crate) mod parallel;
pub(crate) mod permits;
mod purge;
mod read;
mod shard;
mod stats;
mod types;

pub use builder::MapBuilder;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use debris::{Debris, REST, Then};
pub use hash::{DefaultHashBuilder, DefaultHasher};
pub use iter::Iter;
pub use purge::Cursor;
pub use stats::Stats;
pub use types::{BuildError, Entry, InsertError, Inserted, Reason, Swept};

use std::fmt;
use std::hash::{BuildHasher, Hash};

use equivalent::Equivalent;

use self::core::Core;
use crate::reclaim::{self, Guard};
#[cfg(not(any(loom, shuttle)))]
use crate::slab::Origin;
use crate::sync::Padded;
use crate::time::Timestamp;

/// A concurrent map whose entries expire exactly, whose reads take no lock, and whose flush blocks
/// nobody.
///
/// Time is the caller's: every operation that depends on it takes `now`. An entry is valid while
/// `now <= deadline`; a [`flush`](Self::flush) at time `at` removes it if `at > deadline`. Expired
/// entries are a miss whether or not a flush has come by.
///
/// ```
/// use sessionwheel::{ExpiringMap, Timestamp};
///
/// let map: ExpiringMap<String, u32> = ExpiringMap::builder().maximum(Some(10_000)).build()?;
/// let at = Timestamp::from_secs;
///
/// map.insert("a".into(), 1, at(300), at(0))?;
/// map.insert("b".into(), 2, at(600), at(0))?;
/// assert_eq!(map.get_cloned("a", at(300)), Some(1)); // valid at its deadline
/// assert_eq!(map.get_cloned("a", at(301)), None); // and not after
/// assert_eq!(map.flush(at(301)).removed, 1);
/// assert_eq!(map.take_cloned("b", at(301)), Some(2)); // one taker gets it
/// assert_eq!(map.take_cloned("b", at(301)), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Concurrency
///
/// All operations take `&self` and may run at once. Lookups write nothing shared. Inserts, takes,
/// removals and re-timings are lock-free: none waits for another thread, and none waits for a
/// flush. Each operation on one key is atomic: it takes effect at one instant between its call and
/// its return. A flush, a clear and an iteration are not atomic over keys.
///
/// What one thread did before it inserted happens before what another does after it got, took or
/// removed that entry.
pub struct ExpiringMap<K: Send + Sync + 'static, V: Send + Sync + 'static, S = DefaultHashBuilder> {
    // Padded, so that nothing a neighbour writes shares a line with what every operation reads: a map
    // may lie on the stack of a thread that flushes it with others' help.
    core: Padded<Core<K, V>>,
    hasher: S,
}

// A panic in a caller's code (`Hash`, `Eq`, a closure) comes between whole steps (the entry is not in,
// though one may have been evicted for it), and panics in listeners and destructors are caught, so a
// map is never seen half-changed.
impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> std::panic::RefUnwindSafe
    for ExpiringMap<K, V, S>
{
}
impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> std::panic::UnwindSafe
    for ExpiringMap<K, V, S>
{
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static> ExpiringMap<K, V> {
    /// Starts building a map.
    pub fn builder() -> MapBuilder<K, V> {
        MapBuilder::new()
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> ExpiringMap<K, V, S> {
    fn from_parts(core: Core<K, V>, hasher: S) -> Self {
        let core = Padded(core);
        Self { core, hasher }
    }

    /// Removes every entry that has expired at `at`: those with `at > deadline`, strictly. Mirrors
    /// `SSL_CTX_flush_sessions(3)`, but for its 0, which here is just a time.
    ///
    /// It is the caller's word that time has reached `at`. Any number of flushes may run at once,
    /// at different times. When one returns, every entry that had expired at its `at`, and whose
    /// insert and last re-timing had returned before it began, is removed, whatever the other flushes are doing or not
    /// doing; its values are dropped too, unless a guard may still read them or another thread is just
    /// dropping them. (One that an insert of
    /// another thread is evicting just then counts in [`len`](Self::len) until that insert has made
    /// use of its place.)
    ///
    /// Before it drops the last values it waits for threads that are in the middle of an operation, or hold a guard: for
    /// some 20 ms at the most. If that was in vain the next ones only offer their turns to others, until one of them has
    /// dropped everything. (And it doesn't wait where this thread holds a guard, is inside a listener or a
    /// destructor, or is being torn down.) Where 20 ms are too long, in an event loop, call
    /// [`flush_within`](Self::flush_within), which waits for nobody.
    ///
    /// It looks at no more slots than it removes entries, plus a constant per shard, plus survivors
    /// once per wheel level in their life and once per flush within the tick in which they expire, plus
    /// what left early or was re-timed, once in the tick in which it would have expired.
    /// If flushes were given times ahead of the caller's clock, then up to the latest of these every
    /// tick counts as that tick.
    /// Shards are swept in parallel if helpers come, see [`MapBuilder::helpers`].
    pub fn flush(&self, at: Timestamp) -> Swept {
        let swept = self.remove_expired(at, false);
        self.drop_flushed();
        swept
    }

    /// The same without waiting, and without helpers if it has to be alone: what is not ripe yet it leaves.
    pub(crate) fn remove_expired(&self, at: Timestamp, alone: bool) -> Swept {
        self.core.remove_expired(at, alone)
    }

    /// Drops what was left.
    pub(crate) fn drop_flushed(&self) {
        self.core.drop_flushed();
    }

    /// Like [`flush`](Self::flush), on this thread only, but stops after looking at `budget` slots
    /// and says so in [`Swept::remaining`]; the next call goes on. It also drops no more than `budget`
    /// of the values that flushes have removed; those left over are for the next flush, of either
    /// kind, or for [`reclaim`](Self::reclaim).
    ///
    /// A loop until nothing remains ends if this is the only bounded flush at work and `at` does not
    /// move; otherwise it may go round for as long as more entries than the budget expire later in
    /// the current tick. So bound the number of turns, or use [`flush`](Self::flush).
    ///
    /// ```
    /// # use sessionwheel::{ExpiringMap, Timestamp};
    /// # let map: ExpiringMap<u64, u64> = ExpiringMap::builder().build()?;
    /// # let at = Timestamp::from_secs;
    /// for i in 0..1_000 {
    ///     map.insert(i, i, at(10), at(0))?;
    /// }
    /// while map.flush_within(at(11), 64).remaining {
    ///     // do something else in between
    /// }
    /// assert!(map.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush_within(&self, at: Timestamp, budget: usize) -> Swept {
        self.pay(at);
        self.flush_part(at, budget, &mut (budget as u64))
    }

    /// Removes some of what a lowered maximum has made surplus, as far as one call does.
    pub(crate) fn pay(&self, at: Timestamp) {
        self.core.pay(at);
    }

    /// What is left of that. It takes off `drops` how many entries it drops.
    pub(crate) fn flush_part(&self, at: Timestamp, budget: usize, drops: &mut u64) -> Swept {
        self.core.flush_within(at, budget, drops)
    }

    /// Removes every entry whose insert had returned. How many were removed; what is inserted
    /// meanwhile may stay. Before it drops them it waits as a [flush](Self::flush) does.
    pub fn clear(&self) -> usize {
        let swept = self.remove_all(Reason::Cleared, |_, _| true);
        self.drop_flushed();
        swept.removed
    }

    /// Removes all entries that `unwanted` says yes to, expired or not, and says how many.
    ///
    /// One that is there all the while, its insert having returned, is asked about once, and gone afterwards if
    /// it is unwanted; one that is inserted, replaced or removed meanwhile may be asked about or not.
    /// Lookups and inserts go on. It looks at all slots, one after the other, and before it drops what it has removed it
    /// waits as a [flush](Self::flush) does; in parts, and without waiting:
    /// [`remove_where_within`](Self::remove_where_within).
    ///
    /// # Panics
    /// If `unwanted` does; what it had said yes to before is gone then.
    ///
    /// ```
    /// # use sessionwheel::{ExpiringMap, Timestamp};
    /// let map: ExpiringMap<u64, &str> = ExpiringMap::builder().build()?;
    /// for (id, tenant) in [(1, "a"), (2, "b"), (3, "a")] {
    ///     map.insert(id, tenant, Timestamp::NEVER, Timestamp::ZERO).unwrap();
    /// }
    /// assert_eq!(map.remove_where(|_, tenant| *tenant == "a"), 2);
    /// assert_eq!(map.len(), 1);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn remove_where(&self, unwanted: impl FnMut(&K, &V) -> bool) -> usize {
        let swept = self.remove_all(Reason::Removed, unwanted);
        self.drop_flushed();
        swept.removed
    }

    /// The same for any reason and without waiting: what is not ripe yet it leaves.
    pub(crate) fn remove_all(&self, reason: Reason, unwanted: impl FnMut(&K, &V) -> bool) -> Swept {
        self.core.remove_all(reason, unwanted)
    }

    /// The same in parts: looks at no more than `budget` slots, from where the cursor stands, and moves it.
    ///
    /// [`Swept::remaining`] says that there are more; if there are not, the cursor is back where it was at the
    /// beginning. What [`remove_where`](Self::remove_where) promises holds for what was there from
    /// the first part to the last. No more than `budget` entries are dropped.
    ///
    /// # Panics
    /// As for [`remove_where`](Self::remove_where).
    ///
    /// ```
    /// # use sessionwheel::{Cursor, ExpiringMap, Timestamp};
    /// let map: ExpiringMap<u64, u64> = ExpiringMap::builder().build()?;
    /// for id in 0..100 {
    ///     map.insert(id, id, Timestamp::NEVER, Timestamp::ZERO).unwrap();
    /// }
    /// let mut cursor = Cursor::default();
    /// while map.remove_where_within(&mut cursor, 10, |id, _| id % 2 == 0).remaining {
    ///     // handshakes ...
    /// }
    /// assert_eq!(map.len(), 50);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn remove_where_within(
        &self,
        cursor: &mut Cursor,
        budget: usize,
        unwanted: impl FnMut(&K, &V) -> bool,
    ) -> Swept {
        self.remove_part(cursor, budget, &mut (budget as u64), unwanted)
    }

    /// The same. It takes off `drops` how many entries it drops.
    pub(crate) fn remove_part(
        &self,
        cursor: &mut Cursor,
        budget: usize,
        drops: &mut u64,
        unwanted: impl FnMut(&K, &V) -> bool,
    ) -> Swept {
        self.core.remove_within(cursor, budget, drops, unwanted)
    }

    /// The earliest time at which a [`flush`](Self::flush) may have something to do: never later
    /// than one nanosecond after the earliest deadline of all entries whose insert and last re-timing
    /// had returned, but perhaps earlier. `None` if none of them expires. If a bounded flush has left something
    /// to go on with: zero, or one nanosecond after the earliest deadline that is left.
    ///
    /// A thread that sleeps until then, flushes, and asks again, never sleeps past a deadline known
    /// when it asked, and never spins: each such flush makes progress. Some of them remove nothing: the
    /// shards hand a minute's hints down at different times, once each.
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.core.next_expiry()
    }

    /// The same, but not zero if a bounded flush has left something: then when that may have expired at the earliest.
    pub(crate) fn due_since(&self) -> Option<Timestamp> {
        self.core.due_since()
    }

    /// How many entries are in the map, expired ones that no flush has met included. Never above
    /// the maximum, unless that has just been lowered. Takes no lock; while other threads are at
    /// work it is a moment's estimate, and if one of them was stopped in the midst of changing the
    /// maximum, an upper bound.
    pub fn len(&self) -> usize {
        self.core.len() as usize
    }

    /// Whether [`len`](Self::len) is zero.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The maximum; `None` if there is no limit.
    pub fn maximum(&self) -> Option<usize> {
        permits::maximum(self.core.permits.maximum())
    }

    /// Changes the maximum while the map is in use.
    ///
    /// A larger one is there at once and pauses nobody. With a smaller one no insert that begins after
    /// this returns goes beyond it; the surplus leaves in steps of at most 64 entries for each
    /// call that inserts or flushes. Until it returns, an insert beside it may evict although there
    /// is room. The first maximum of a map that had none goes through all entries once. A number of
    /// 2^32 - 1 or more means no limit. The shards stay as many as they are, and each has fewer than
    /// 2^23 slots: beyond that inserts are refused as
    /// [`Exhausted`](crate::InsertError::Exhausted).
    pub fn set_maximum(&self, maximum: Option<usize>) {
        self.replace_maximum(maximum);
    }

    /// The same; what it was before.
    pub(crate) fn replace_maximum(&self, maximum: Option<usize>) -> Option<usize> {
        permits::maximum(self.core.set_maximum(permits::number(maximum)))
    }

    /// Slots that have been in use at some time.
    pub(crate) fn slots(&self) -> usize {
        self.core.slots() as usize
    }

    /// Iterates over the entries, expired ones that no flush has met included.
    ///
    /// Weakly consistent: an entry that is in the map all the while, its insert having returned, is met
    /// once; one that is
    /// inserted, replaced or removed meanwhile may be met or not, and a replaced key may be met
    /// with both its values. Never blocks.
    pub fn iter<'g>(&'g self, guard: &'g Guard) -> Iter<'g, K, V> {
        Iter::new(&self.core, guard)
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Pins the current thread; the same as [`pin`](crate::pin).
    pub fn pin(&self) -> Guard {
        reclaim::pin()
    }

    /// Drops and wipes what has been removed, as far as no guard may still read it, and says how
    /// many entries are left to drop: zero means that nothing removed before this call is in memory
    /// any more, but for what another thread has just unlinked, in an operation still under way.
    ///
    /// Flushes and inserts do this as they go; call it when the map falls idle, or when secrets
    /// have to be gone. While this thread or another holds a guard it can do little, and so it can
    /// from the destructor of a thread-local: call it earlier. It waits as a [flush](Self::flush) does.
    pub fn reclaim(&self) -> usize {
        self.core.reclaim() as usize
    }

    /// What has been removed so far and not been dropped, for [`drop_debris`](Self::drop_debris).
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn debris(&self) -> Debris {
        self.core.debris(&[Origin::Single, Origin::Flushed])
    }

    /// Drops as much of it as has become ripe, `most` at the most, and says what to do then.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn drop_debris(&self, debris: &mut Debris, most: u64) -> Then {
        self.core.drop_debris(debris, most)
    }
}

impl<K, V, S> ExpiringMap<K, V, S>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    S: BuildHasher,
{
    #[inline]
    fn hash<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Inserts an entry that is valid until `deadline` ([`Timestamp::NEVER`]: until it is removed
    /// or evicted). Constant time whatever the mix of lifetimes.
    ///
    /// An entry of the same key is replaced in one step: a lookup sees the old one or the new one.
    /// At the maximum the entry that expires first makes room, see [`MapBuilder::maximum`].
    ///
    /// # Errors
    /// Hands key and value back if the deadline has passed, the maximum is zero, or there is no
    /// room: see [`InsertError`]. Nothing has changed then.
    ///
    /// # Panics
    /// If `K`'s `Hash` or `Eq` does; the entry is dropped then, and at the maximum another may have
    /// been evicted for it.
    pub fn insert(
        &self,
        key: K,
        value: V,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Inserted, InsertError<K, V>> {
        let hash = self.hash(&key);
        self.core.insert(hash, key, value, deadline, now)
    }

    /// The value under a key, for as long as the guard is held. A lookup writes nothing shared.
    #[inline]
    pub fn get<'g, Q>(&'g self, key: &Q, now: Timestamp, guard: &'g Guard) -> Option<&'g V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let same = |k: &K| key.equivalent(k);
        self.core.get(self.hash(key), same, now, guard)
    }

    /// The same with the stored key and the deadline.
    #[inline]
    pub fn get_entry<'g, Q>(
        &'g self,
        key: &Q,
        now: Timestamp,
        guard: &'g Guard,
    ) -> Option<Entry<'g, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let same = |k: &K| key.equivalent(k);
        self.core.get_entry(self.hash(key), same, now, guard)
    }

    /// Calls `f` with the value under a key, and returns what it returns.
    #[inline]
    pub fn get_with<Q, R>(&self, key: &Q, now: Timestamp, f: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let guard = reclaim::pin();
        self.get(key, now, &guard).map(f)
    }

    /// A clone of the value under a key.
    #[inline]
    pub fn get_cloned<Q>(&self, key: &Q, now: Timestamp) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.get_with(key, now, V::clone)
    }

    /// Whether there is a live entry under a key.
    #[inline]
    pub fn contains<Q>(&self, key: &Q, now: Timestamp) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.get_with(key, now, |_| ()).is_some()
    }

    /// Removes the live entry under a key and returns its value, readable in place for as long as
    /// the guard is held. Of any number of threads exactly one gets it.
    pub fn take<'g, Q>(&'g self, key: &Q, now: Timestamp, guard: &'g Guard) -> Option<&'g V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.take_if(key, |_| true, now, guard)
            .map(|entry| entry.value())
    }

    /// Takes the live entry under a key, unless `wanted` says no to its value: then it stays.
    pub(crate) fn take_if<'g, Q>(
        &'g self,
        key: &Q,
        wanted: impl Fn(&V) -> bool,
        now: Timestamp,
        guard: &'g Guard,
    ) -> Option<Entry<'g, K, V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.core
            .take(self.hash(key), |k| key.equivalent(k), wanted, now, guard)
    }

    /// Removes the live entry under a key and returns a clone of its value.
    pub fn take_cloned<Q>(&self, key: &Q, now: Timestamp) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let guard = reclaim::pin();
        self.take(key, now, &guard).cloned()
    }

    /// Removes the entry under a key, expired or not. Whether this call removed one.
    pub fn remove<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let guard = reclaim::pin();
        self.core
            .remove(self.hash(key), |k| key.equivalent(k), &guard)
    }

    /// Gives the live entry under a key another deadline, earlier or later.
    ///
    /// `true` only if the entry then lives until that: a flush or an eviction that had decided on
    /// the old deadline has failed. `false` if there is no live entry, or the new deadline has
    /// passed already; nothing has changed then.
    pub fn retime<Q>(&self, key: &Q, deadline: Timestamp, now: Timestamp) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.retime_with(key, |_| Some(deadline), now)
    }

    /// Like [`retime`](Self::retime), with the deadline that `deadline_of` gives for the value; `None`
    /// leaves the entry as it is.
    ///
    /// It is this value whose deadline changes, or none: `deadline_of` is called again if the entry
    /// was replaced meanwhile.
    ///
    /// ```
    /// use sessionwheel::{ExpiringMap, Timestamp};
    ///
    /// let map = ExpiringMap::<u32, Timestamp>::builder().build()?;
    /// let at = Timestamp::from_secs;
    /// map.insert(7, at(500), at(100), at(0)).unwrap();
    ///
    /// // As long again, but not beyond what the value allows.
    /// let longer = |limit: &Timestamp| Some(at(550).min(*limit));
    /// assert!(map.retime_with(&7, longer, at(50)));
    /// assert_eq!(map.get_entry(&7, at(50), &map.pin()).unwrap().deadline(), at(500));
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn retime_with<Q>(
        &self,
        key: &Q,
        deadline_of: impl Fn(&V) -> Option<Timestamp>,
        now: Timestamp,
    ) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.retime_from(key, |value, _| deadline_of(value), now)
    }

    /// The same for who wants to know the deadline that is changed.
    pub(crate) fn retime_from<Q>(
        &self,
        key: &Q,
        deadline_of: impl Fn(&V, Timestamp) -> Option<Timestamp>,
        now: Timestamp,
    ) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let guard = reclaim::pin();
        let same = |k: &K| key.equivalent(k);
        self.core
            .retime(self.hash(key), same, deadline_of, now, &guard)
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> fmt::Debug for ExpiringMap<K, V, S> {
    /// Shows sizes and counters, no key and no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpiringMap")
            .field("len", &self.len())
            .field("maximum", &self.maximum())
            .field("shards", &self.core.shards.len())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
