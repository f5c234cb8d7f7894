//! [`SessionCache`]: sessions that are to be resumed no more, by context or by what they are.
//!
//! A purge raises a number, and lookups compare it. What it has made invisible is still cached: whoever
//! flushes afterwards takes it out, all of it or within a budget. What comes from outside afterwards is judged by
//! the time of the purge.
//!
//! # Ground rules
//!
//! - A purge raises the generation of its context, *then* counts itself as asked for. Who reads that count
//!   sees the generation.
//! - A *pass* goes through all slots once. It is for the purges asked for when it began, and when it is
//!   through, those are done. Passes within a budget are one pass, whoever carries it on: the
//!   place in it moves on from where a part began only after that part.

use std::time::{Duration, SystemTime};

use super::context::Context;
use super::endpoint::Count;
use super::handle::{Inner, SessionCache};
use super::id::SessionKey;
use super::observe::observed;
use super::session::Session;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::{Cursor, Reason, Swept};

/// A pass in parts: in which slot it is, and the lower bits of its number above that.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place(u64);

impl Place {
    const NUMBER: u64 = u64::MAX << Cursor::BITS;

    fn new(pass: u64, cursor: Cursor) -> Self {
        Self(pass << Cursor::BITS | cursor.raw())
    }

    fn cursor(self) -> Cursor {
        Cursor::from_raw(self.0 & !Self::NUMBER)
    }

    /// The number of its pass, the last one that is not after `asked`: passes are never so far behind that
    /// the lower bits have gone round.
    fn pass(self, asked: u64) -> u64 {
        let lower = u64::MAX >> Cursor::BITS;
        asked - (asked.wrapping_sub(self.0 >> Cursor::BITS) & lower)
    }
}

/// The purges of one cache whose sessions may still be there.
#[derive(Default)]
pub(crate) struct Purges {
    /// So many were asked for.
    asked: AtomicU64,
    /// Those up to this one are done.
    done: AtomicU64,
    /// Where a pass in parts is.
    place: AtomicU64,
}

impl Purges {
    pub(crate) fn ask(&self) {
        // Release: partner of the Acquire in `pending`; whoever makes a pass for this sees the
        // generation that was raised.
        self.asked.fetch_add(1, Ordering::Release);
    }

    /// Up to which purge a pass has to be made, if there are any to be done.
    #[inline]
    pub(crate) fn pending(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Acquire);
        // Acquire: partner of the Release in `finish`; who skips the pass sees what it has taken out. (Who misses
        // that they are done makes one for nothing.)
        (self.done.load(Ordering::Acquire) < asked).then_some(asked)
    }

    fn finish(&self, pass: u64) {
        // Release: partner of the Acquire in `pending`.
        self.done.fetch_max(pass, Ordering::Release);
    }

    /// A part of the pass that is under way, or the first of one: what `part` does from the cursor on.
    pub(crate) fn go_on(&self, part: impl FnOnce(&mut Cursor) -> Swept) -> Swept {
        // Acquire, here and in `step`: partner of the Release there. Who goes on with a pass sees what it is
        // for, and that it was asked for.
        let mut before = Place(self.place.load(Ordering::Acquire));
        let Some(asked) = self.pending() else {
            return Swept::default();
        };
        let mut pass = before.pass(asked);
        if pass <= self.done.load(Ordering::Relaxed) {
            // Nobody is under way.
            let begin = Place::new(asked, Cursor::default());
            before = self.step(before, begin).map_or_else(Place, |_| begin);
            pass = before.pass(self.asked.load(Ordering::Relaxed));
        }
        let mut cursor = before.cursor();
        let swept = part(&mut cursor);
        if swept.remaining {
            // If somebody else has moved it, it is at least as far.
            let _ = self.step(before, Place::new(pass, cursor));
            return swept;
        }
        self.finish(pass);
        Swept {
            remaining: self.pending().is_some(),
            ..swept
        }
    }

    fn step(&self, from: Place, to: Place) -> Result<u64, u64> {
        self.place
            .compare_exchange(from.0, to.0, Ordering::Release, Ordering::Acquire)
    }
}

impl<V: Send + Sync + 'static> Inner<V> {
    fn is_stale(&self, key: &SessionKey, session: &Session<V>) -> bool {
        !session.is_current(key.context(), &self.contexts)
    }

    /// Removes all that was purged before this call.
    pub(super) fn remove_purged(&self) -> Swept {
        let Some(asked) = self.purges.pending() else {
            return Swept::default();
        };
        let stale = |key: &SessionKey, session: &Session<V>| self.is_stale(key, session);
        let swept = self.map.remove_all(Reason::Removed, stale);
        self.purges.finish(asked);
        swept
    }

    /// A part of that. It takes off `drops` how many sessions it drops.
    pub(super) fn remove_purged_within(&self, budget: usize, drops: &mut u64) -> Swept {
        self.purges.go_on(|cursor| {
            let stale = |key: &SessionKey, session: &Session<V>| self.is_stale(key, session);
            self.map.remove_part(cursor, budget, drops, stale)
        })
    }
}

impl<V: Send + Sync + 'static> SessionCache<V> {
    /// Makes all sessions of `context` unusable at once, for example because its configuration has
    /// changed or its ticket keys may be known to others.
    ///
    /// Whatever lookup, take or re-timing begins after this returns finds none of the sessions whose
    /// insertion had returned before it was called, however many those are: it costs two atomic operations, and an allocation now and then.
    /// Later insertions into the context are as ever; one that is under way may be purged or not. But what is said to be
    /// of a peer that was [authenticated](super::SessionOptions::authenticated_at) before is refused: so a client that
    /// resumes, stops in the middle of its handshake and goes on after the purge gets no session out of it.
    ///
    /// The sessions are still counted by [`len`](Self::len), and leave with the next
    /// [`flush`](Self::flush), or step by step with [`flush_within`](Self::flush_within), as
    /// [`Removed`](crate::Reason::Removed). One whose insertion was under way may leave only when it
    /// expires.
    ///
    /// # With something outside
    ///
    /// What an [external tier](crate::ExternalTier) has is not asked about, but judged when it comes: a session whose
    /// peer was [authenticated](crate::TierSession::authenticated_for) at the time of this purge or before is refused. So
    /// is one that another host has minted by resuming such a session, as long as it inherits that time. (The
    /// time is kept to 34 ms, in favour of the purge.) What was inside is removed outside too when it leaves. A
    /// [get callback](crate::SessionCacheBuilder::on_get) that doesn't say that time brings sessions back.
    ///
    /// **A purge is this host's, and lasts as long as the process.** Other hosts go on with what they have, and with
    /// what is outside, until they purge too; a process that is started anew has purged nothing. And the time at which
    /// a session was authenticated elsewhere is known here as well as the hosts' clocks agree. To invalidate for a whole
    /// fleet, or beyond a restart, do it outside: with `sessionwheel-redis`, rotate the sealing key without a grace on all
    /// hosts, or go on with another context, shared under another name.
    ///
    /// OpenSSL has nothing like it: `SSL_CTX_set_session_id_context` given another context leaves the
    /// old sessions where they are.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// let tenant = cache.context().unwrap();
    /// let theirs = SessionKey::new(tenant, SessionId::from([1; 32]));
    /// let other = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(theirs, ()).unwrap();
    /// cache.insert(other, ()).unwrap();
    ///
    /// cache.purge(tenant);
    /// assert!(!cache.contains(&theirs));
    /// assert!(cache.contains(&other));
    ///
    /// assert_eq!(cache.flush().removed, 1);
    /// assert_eq!(cache.len(), 1);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn purge(&self, context: Context) {
        let inner = &*self.inner;
        // Read after the insertions that have returned, so that it is not before any of them.
        if inner.contexts.raise(context, inner.clock.now()) {
            inner.purges.ask();
        } else {
            // Its generations are used up, after 16 million purges: now they go one by one.
            let theirs = |key: &SessionKey, _: &Session<V>| key.context() == context;
            inner.map.remove_all(Reason::Removed, theirs);
        }
    }

    /// Removes all sessions that `unwanted` says yes to, expired or not, and says how many.
    ///
    /// A session that is cached all the while is asked about once, unless it was purged; one that
    /// is inserted meanwhile may be asked about or not. Lookups and insertions go on. It waits as
    /// [`flush`](Self::flush) does.
    ///
    /// OpenSSL's way to do this is to lock the context and to walk over `SSL_CTX_sessions`.
    ///
    /// # Panics
    ///
    /// If `unwanted` does; what it had said yes to before is gone then.
    ///
    /// ```
    /// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// for (n, user) in [(1, "alice"), (2, "bob")] {
    ///     let key = SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    ///     cache.insert(key, user).unwrap();
    /// }
    /// assert_eq!(cache.purge_where(|_, user| *user == "bob"), 1);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn purge_where(&self, mut unwanted: impl FnMut(&SessionKey, &V) -> bool) -> usize {
        let inner = &*self.inner;
        inner.map.remove_where(|key, session| {
            inner.admits(key, session) && unwanted(key, session.value())
        })
    }

    /// The same in parts (`SSL_CTX_sessions(3)` and a walk can't be interrupted): looks at no more than `budget` places for sessions, from where the cursor stands,
    /// and moves it. [`Swept::remaining`] says that there are more.
    ///
    /// # Panics
    ///
    /// As for [`purge_where`](Self::purge_where).
    ///
    /// ```
    /// use sessionwheel::{Context, Cursor, SessionCache, SessionId, SessionKey};
    ///
    /// let cache = SessionCache::builder().build()?;
    /// for n in 0..100 {
    ///     let key = SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]));
    ///     cache.insert(key, n).unwrap();
    /// }
    /// let mut cursor = Cursor::default();
    /// while cache.purge_where_within(&mut cursor, 10, |_, n| n % 2 == 0).remaining {
    ///     // handshakes ...
    /// }
    /// assert_eq!(cache.len(), 50);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn purge_where_within(
        &self,
        cursor: &mut Cursor,
        budget: usize,
        mut unwanted: impl FnMut(&SessionKey, &V) -> bool,
    ) -> Swept {
        let inner = &*self.inner;
        let unwanted = |key: &SessionKey, session: &Session<V>| {
            inner.admits(key, session) && unwanted(key, session.value())
        };
        inner.map.remove_where_within(cursor, budget, unwanted)
    }

    /// OpenSSL's `SSL_CTX_flush_sessions(ctx, tm)`, as its manual page has it: 0 removes all sessions,
    /// another `tm` those that have expired at that time, in seconds since 1970, strictly: one whose
    /// time is up at `tm` exactly stays. How many were removed, what was [purged](Self::purge) before
    /// included.
    ///
    /// A negative `tm` removes nothing. (So it is in OpenSSL up to 3.1; from 3.2 on it removes everything,
    /// since the time is taken for an unsigned one.)
    ///
    /// Sessions live by the cache's own clock, which nobody sets. `tm` is translated by
    /// [`Clock::from_wall`](super::Clock::from_wall) when this is called.
    ///
    /// ```
    /// use sessionwheel::{Clock, Context, SessionCache, SessionId, SessionKey, Timestamp};
    ///
    /// let (clock, _hand) = Clock::manual(Timestamp::from_secs(1_000));
    /// let cache = SessionCache::builder().clock(clock).build()?;
    /// let key = SessionKey::new(Context::DEFAULT, SessionId::from([1; 32]));
    /// cache.insert(key, ()).unwrap();
    ///
    /// assert_eq!(cache.flush_sessions(1_300), 0);
    /// assert_eq!(cache.flush_sessions(1_301), 1);
    ///
    /// cache.insert(key, ()).unwrap();
    /// assert_eq!(cache.flush_sessions(-1), 0);
    /// assert_eq!(cache.flush_sessions(0), 1);
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn flush_sessions(&self, tm: i64) -> usize {
        match u64::try_from(tm) {
            Err(_) => 0,
            Ok(0) => {
                let inner = &*self.inner;
                inner.tallies.count(Count::Flush);
                observed(&inner.name, || inner.clear()).removed
            }
            Ok(seconds) => {
                let wall = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
                let at = wall.map_or(crate::Timestamp::NEVER, |wall| self.clock().from_wall(wall));
                self.flush_at(at).removed
            }
        }
    }
}

#[cfg(test)]
mod tests;
