//! Contexts: sessions that may resume each other's connections.
//!
//! Whether a session may be resumed depends on more than its id: a client that
//! was verified against one set of authorities must not get in where another
//! set is asked for. OpenSSL calls the thing that keeps such sessions apart a
//! session-id context; here it is a [`Context`], a number that the cache hands
//! out and that is part of every key.
//!
//! Each context has a *generation*, and each session carries the one that its
//! context had when it was inserted. A session of an older generation is
//! invisible to lookups, so that raising one number is enough to invalidate
//! all sessions of a context. Beside it stands the time at which it was raised
//! last, for the sessions that come from outside: generations are this host's,
//! and say nothing of theirs.
//!
//! # Ground rules
//!
//! - Handing out a context is one atomic read-modify-write and allocates
//!   nothing.
//! - Reading a generation never waits. It is one load as long as no context's was
//!   ever raised, three after that. A context whose generation was never raised
//!   may have no cell at all; its generation is 0.
//! - A generation and the time of its purge are one word: who sees the one sees
//!   the other.
//! - Cells live in segments that double in size and never move once installed.

use std::error::Error;
use std::fmt;

use crate::Timestamp;
use crate::segments::Segments;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// A set of sessions that may be resumed by the same configuration.
///
/// [`SessionCache::context`](super::SessionCache::context) hands contexts out;
/// [`Context::DEFAULT`] is there from the start. Use one for each server
/// configuration whose sessions must not be resumed under another, for
/// example for each tenant, or each set of client authorities.
///
/// It is what `SSL_CTX_set_session_id_context(3)` is for. There a session of another context is found, and
/// refused; here the context is a part of the key, and the same id in two contexts is two sessions.
///
/// A context means something only to the cache that handed it out (and the
/// clones of that handle). Another cache can't tell it from its own context of
/// the same number.
///
/// ```
/// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
///
/// let cache = SessionCache::builder().build()?;
/// let (shop, bank) = (cache.context().unwrap(), cache.context().unwrap());
/// let id = SessionId::from([1; 32]);
/// cache.insert(SessionKey::new(shop, id), "a shopper").unwrap();
///
/// assert_eq!(cache.get_cloned(&SessionKey::new(bank, id)), None);
/// assert_eq!(cache.get_cloned(&SessionKey::new(shop, id)), Some("a shopper"));
/// # assert_ne!(shop, Context::DEFAULT);
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Context(u32);

impl Context {
    /// The context that every cache has from the start.
    pub const DEFAULT: Self = Self(0);

    /// Of a number: there are 2^24 contexts.
    pub(super) const BYTES: usize = 3;

    pub(super) const fn number(self) -> u32 {
        self.0
    }

    pub(super) const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// The cache has handed out all of its 16,777,216 contexts.
///
/// Numbers are never used twice, since sessions of a context that was given up
/// may still be cached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct ContextsExhausted;

impl fmt::Display for ContextsExhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the cache has handed out all {COUNT} contexts")
    }
}

impl Error for ContextsExhausted {}

/// The first segment has 64 cells; each later one twice as many.
const FIRST_BITS: u32 = 6;

/// How many contexts there are.
const COUNT: u32 = 1 << (8 * Context::BYTES as u32);

/// A session has 24 bits for its generation, beside its flags.
pub(super) const LAST_GENERATION: u32 = (1 << 24) - 1;

/// Enough segments for all contexts: 2^25 − 64 cells.
const SEGMENTS: usize = 25;

/// A context's generation, and above it when it was raised last, in units of 2^24 ns (17 ms). All zero: never.
#[derive(Clone, Copy)]
struct Purge(u64);

impl Purge {
    /// Of the generation; what is left holds every unit of a timestamp.
    const BITS: u32 = 24;
    const LAST_UNIT: u64 = u64::MAX >> Self::BITS;

    fn generation(self) -> u32 {
        self.0 as u32 & LAST_GENERATION
    }

    fn unit(self) -> u64 {
        self.0 >> Self::BITS
    }

    /// Once more, at `now`. The generation stays at its last one.
    fn again(self, now: Timestamp) -> Self {
        let generation = (self.generation() + 1).min(LAST_GENERATION);
        // One unit more than is shown: a reading of the clock may be late by a tick, 10 ms, and what is compared
        // with it rests on the clocks of others too.
        let unit = (unit_of(now) + 1).min(Self::LAST_UNIT);
        Self(self.unit().max(unit) << Self::BITS | u64::from(generation))
    }

    /// Whether it was for what there was at `at`.
    fn covers(self, at: Timestamp) -> bool {
        self.generation() != 0 && unit_of(at) <= self.unit()
    }
}

fn unit_of(at: Timestamp) -> u64 {
    at.as_nanos() >> Purge::BITS
}

/// The contexts of one cache and their generations.
pub(super) struct Contexts {
    /// The number handed out next; `COUNT` once there are no more.
    next: AtomicU32,
    /// Not 0 once any generation was raised.
    raised: AtomicU32,
    /// A [`Purge`] each. A segment is allocated when the generation of one of its
    /// contexts is first raised.
    generations: Segments<AtomicU64, FIRST_BITS, SEGMENTS>,
}

impl Contexts {
    pub(super) fn new() -> Self {
        Self {
            next: AtomicU32::new(Context::DEFAULT.0 + 1),
            raised: AtomicU32::new(0),
            generations: Segments::new(),
        }
    }

    /// A context that was never handed out before.
    pub(super) fn hand_out(&self) -> Result<Context, ContextsExhausted> {
        // Relaxed: only uniqueness matters, and that is the RMW's own.
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                (next < COUNT).then_some(next + 1)
            })
            .map(Context)
            .map_err(|_| ContextsExhausted)
    }

    /// How many contexts there are, `Context::DEFAULT` included.
    pub(super) fn count(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// The generation that sessions of `context` are inserted with now.
    ///
    /// Relaxed is enough, for the mark and for the cell. The inserter read both before it
    /// published the session; who finds the session has synchronised with that, and so reads
    /// the same generation here or a later one, but no earlier one: no session
    /// is ever ahead of the generation that its reader sees.
    #[inline]
    pub(super) fn generation(&self, context: Context) -> u32 {
        if self.any_was_raised() {
            self.last_purge(context).generation()
        } else {
            0
        }
    }

    /// Whether `context` was purged at `at` or later. In favour of the purge within
    /// 34 ms: what came so shortly after it may be said to have been before.
    ///
    /// Relaxed is enough here too: who begins once a purge has returned sees it,
    /// and its time, for that is in the same word.
    pub(super) fn was_purged_since(&self, context: Context, at: Timestamp) -> bool {
        self.any_was_raised() && self.last_purge(context).covers(at)
    }

    fn last_purge(&self, context: Context) -> Purge {
        let cell = self.generations.get(context.0);
        Purge(cell.map_or(0, |cell| cell.load(Ordering::Relaxed)))
    }

    /// Whether any context's generation was ever raised.
    #[inline]
    pub(super) fn any_was_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed) != 0
    }

    /// Makes all sessions of `context` that are cached now invisible, at `now`. `false`
    /// if it was at its last generation: going round would bring back sessions
    /// of the first.
    pub(super) fn raise(&self, context: Context, now: Timestamp) -> bool {
        // Before the cell is raised or after it: who begins once this has returned sees both.
        self.raised.store(1, Ordering::Relaxed);
        let cell = self.generations.get_or_alloc(context.0);
        cell.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |purge| {
            Some(Purge(purge).again(now).0)
        })
        .is_ok_and(|before| Purge(before).generation() < LAST_GENERATION)
    }

    #[cfg(test)]
    pub(super) fn set_generation(&self, context: Context, generation: u32) {
        self.raised.store(1, Ordering::Relaxed);
        let cell = self.generations.get_or_alloc(context.0);
        cell.store(generation.into(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_secs(1_000);

    #[test]
    fn contexts_are_distinct_and_never_the_default() {
        let contexts = Contexts::new();
        assert_eq!(contexts.count(), 1);
        let a = contexts.hand_out().unwrap();
        let b = contexts.hand_out().unwrap();
        assert_ne!(a, Context::DEFAULT);
        assert_ne!(b, Context::DEFAULT);
        assert_ne!(a, b);
        assert_eq!(contexts.count(), 3);
    }

    #[test]
    fn the_last_context_is_handed_out_once_and_then_refused_for_good() {
        let contexts = Contexts::new();
        contexts.next.store(COUNT - 1, Ordering::Relaxed);
        assert_eq!(contexts.hand_out(), Ok(Context(COUNT - 1)));
        for _ in 0..3 {
            assert_eq!(contexts.hand_out(), Err(ContextsExhausted));
        }
        assert_eq!(contexts.count(), COUNT);
    }

    #[test]
    fn the_last_generation_is_not_raised() {
        let contexts = Contexts::new();
        assert!(contexts.raise(Context::DEFAULT, NOW));
        contexts.set_generation(Context::DEFAULT, LAST_GENERATION - 1);
        assert!(contexts.raise(Context::DEFAULT, NOW));
        let later = NOW.saturating_add(Duration::from_secs(1));
        assert!(!contexts.was_purged_since(Context::DEFAULT, later));
        assert!(!contexts.raise(Context::DEFAULT, later));
        assert_eq!(contexts.generation(Context::DEFAULT), LAST_GENERATION);
        assert!(contexts.was_purged_since(Context::DEFAULT, later));
    }

    #[test]
    fn the_time_of_the_last_purge_stands_beside_its_generation() {
        let contexts = Contexts::new();
        let (purged, other) = (Context(64), Context(65));
        let since = |at| contexts.was_purged_since(purged, at);
        assert!(
            ![Timestamp::ZERO, NOW, Timestamp::NEVER]
                .into_iter()
                .any(since)
        );
        assert!(contexts.raise(purged, NOW));
        assert!(since(Timestamp::ZERO) && since(NOW));
        // Two units of 2^24 ns at the most.
        assert!(!since(NOW.saturating_add(Duration::from_nanos(2 << 24))));
        assert!(!contexts.was_purged_since(other, Timestamp::ZERO));
        // By one whose clock was read before.
        assert!(contexts.raise(purged, Timestamp::ZERO));
        assert!(since(NOW));
        assert_eq!(contexts.generation(purged), 2);
        // At either end of the clock.
        assert!(contexts.raise(other, Timestamp::ZERO));
        assert!(contexts.was_purged_since(other, Timestamp::ZERO));
        assert!(contexts.raise(other, Timestamp::NEVER));
        assert!(contexts.was_purged_since(other, Timestamp::NEVER));
        assert_eq!(contexts.generation(other), 2);
    }

    #[test]
    fn raising_one_generation_leaves_all_others() {
        let contexts = Contexts::new();
        for number in [0, 63, 64, 191, 192, 9_999] {
            assert!(contexts.raise(Context(number), NOW));
        }
        assert!(contexts.raise(Context(64), NOW));
        for number in 0..10_000 {
            let expected = match number {
                64 => 2,
                0 | 63 | 191 | 192 | 9_999 => 1,
                _ => 0,
            };
            assert_eq!(contexts.generation(Context(number)), expected, "{number}");
        }
        assert_eq!(contexts.generation(Context(COUNT - 1)), 0);
    }
}
