//! What the map's operations return.

use std::fmt;

use crate::slab::{Deadline, Slot};
use crate::time::Timestamp;

/// Why an entry left the map. (The callback of `SSL_CTX_sess_set_remove_cb(3)` is told no reason.)
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// Its deadline has passed: found by a flush, or by an insert of the same key or one that
    /// needed the room.
    Expired,
    /// It had to make room: the map was at its maximum, or the maximum was lowered.
    Evicted,
    /// [`remove`](crate::ExpiringMap::remove), or [`remove_where`](crate::ExpiringMap::remove_where); of a session
    /// cache also a [`purge`](crate::SessionCache::purge), with the flush that comes by.
    Removed,
    /// [`take`](crate::ExpiringMap::take); of a session cache also a lookup, if the session was for a single use.
    Taken,
    /// Another entry was inserted under its key.
    Replaced,
    /// [`clear`](crate::ExpiringMap::clear).
    Cleared,
}

impl Reason {
    /// How many reasons there are.
    pub(crate) const COUNT: usize = 6;
}

/// What an insert did besides inserting.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Inserted {
    /// An entry of the same key was there, live or expired, and has left.
    pub replaced: bool,
    /// So many entries had to make room: one at most, unless the maximum has been lowered.
    pub evicted: usize,
}

/// Why an insert was refused. Hands the key and the value back; an old entry of the same key is
/// still there, and nothing has changed (but that entries which a lowered maximum has made surplus
/// may have left).
///
/// `Debug` and `Display` show neither key nor value.
#[non_exhaustive]
pub enum InsertError<K, V> {
    /// The deadline has already passed. (Of a session cache also: its lineage has ended, or its context was
    /// [purged](crate::SessionCache::purge) after its peer had been authenticated.)
    Expired(K, V),
    /// The maximum is zero: the map keeps nothing.
    Zero(K, V),
    /// The map is at its maximum and nobody could be evicted: the insert was made from inside the
    /// removal listener, which evicts nothing, or other threads were faster every time, or the maximum is so small that
    /// all of it is in the hands of threads which are just inserting or removing.
    Full(K, V),
    /// All slots are in use or wait for a guard that is still held.
    ///
    /// Each shard keeps some slots in reserve for entries that have been removed but may still be
    /// read. A guard held for a very long time, while a great many entries come and go, uses them
    /// up. A listener counts as a guard for as long as it takes. So does, in the end, a value whose
    /// destructor inserts another each time.
    Exhausted(K, V),
}

impl<K, V> InsertError<K, V> {
    /// The key and the value.
    pub fn into_parts(self) -> (K, V) {
        match self {
            Self::Expired(key, value)
            | Self::Zero(key, value)
            | Self::Full(key, value)
            | Self::Exhausted(key, value) => (key, value),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Expired(..) => "Expired",
            Self::Zero(..) => "Zero",
            Self::Full(..) => "Full",
            Self::Exhausted(..) => "Exhausted",
        }
    }
}

impl<K, V> fmt::Debug for InsertError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(self.name()).finish_non_exhaustive()
    }
}

impl<K, V> fmt::Display for InsertError<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Expired(..) => "the deadline has already passed",
            Self::Zero(..) => "the maximum is zero",
            Self::Full(..) => "the map is at its maximum and nothing could be evicted",
            Self::Exhausted(..) => "all slots are in use or held back by a guard",
        })
    }
}

impl<K, V> std::error::Error for InsertError<K, V> {}

/// What a flush did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Entries this call removed: of a flush those whose time was over and those that had been
    /// [purged](crate::SessionCache::purge), of a removal in parts those that were unwanted. (What was evicted for a
    /// maximum that had been lowered is not among them.)
    pub removed: usize,
    /// Slots this call looked at, and parts of ticks it opened (of some dozen slots, or pages of bits): what its budget counts.
    pub visited: usize,
    /// The budget was used up first: call again to go on. Always `false` for a flush without one.
    pub remaining: bool,
}

impl Swept {
    pub(crate) fn add(&mut self, other: Self) {
        self.removed += other.removed;
        self.visited += other.visited;
        self.remaining |= other.remaining;
    }
}

/// An entry, readable as long as the guard and the map it was taken under.
///
/// Two words, so that lookups hand it over in registers.
pub struct Entry<'g, K, V> {
    slot: &'g Slot<K, V>,
    deadline: Deadline,
}

impl<'g, K, V> Entry<'g, K, V> {
    /// # Safety
    /// As for [`Slot::key`]: all of `'g`.
    #[inline]
    pub(super) unsafe fn new(slot: &'g Slot<K, V>, deadline: Deadline) -> Self {
        Self { slot, deadline }
    }

    /// The key as it was inserted.
    #[inline]
    pub fn key(&self) -> &'g K {
        // SAFETY: as said to `new`.
        unsafe { self.slot.key() }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &'g V {
        // SAFETY: as said to `new`.
        unsafe { self.slot.value() }
    }

    /// The last moment at which the entry is valid, as it was when the entry was read.
    #[inline]
    pub fn deadline(&self) -> Timestamp {
        self.deadline.timestamp()
    }
}

impl<K, V> Clone for Entry<'_, K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Entry<'_, K, V> {}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", self.key())
            .field("value", self.value())
            .field("deadline", &self.deadline())
            .finish()
    }
}

/// A map could not be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// The number of shards must be a power of two, and at most 65,536.
    Shards(usize),
    /// A tick must be between 1 and 2^62 nanoseconds long.
    TickBits(u32),
    /// The maximum must be below 2^32 - 1.
    Maximum(usize),
    /// So many shards cannot hold the maximum: each has fewer than 2^23 slots, some of them for
    /// removed entries that are still read.
    TooFewShards(usize),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shards(n) => write!(
                f,
                "{n} shards: the number must be a power of two, at most 65536"
            ),
            Self::TickBits(bits) => write!(f, "a tick of 2^{bits} ns: at most 2^62"),
            Self::Maximum(n) => write!(f, "a maximum of {n}: it must be below 2^32 - 1"),
            Self::TooFewShards(n) => write!(
                f,
                "{n} shards for this maximum: each has fewer than 2^23 slots"
            ),
        }
    }
}

impl std::error::Error for BuildError {}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_is_wrong_and_give_back_what_came() {
        for (error, says, name) in [
            (InsertError::Expired(1, 2), "already passed", "Expired(..)"),
            (InsertError::Zero(1, 2), "is zero", "Zero(..)"),
            (InsertError::Full(1, 2), "at its maximum", "Full(..)"),
            (InsertError::Exhausted(1, 2), "all slots", "Exhausted(..)"),
        ] {
            assert!(error.to_string().contains(says), "{error}");
            assert_eq!(format!("{error:?}"), name, "without key and value");
            assert_eq!(error.into_parts(), (1, 2));
        }
        for (error, says) in [
            (BuildError::Shards(3), "3 shards"),
            (BuildError::TickBits(63), "2^63 ns"),
            (BuildError::Maximum(7), "maximum of 7"),
            (BuildError::TooFewShards(2), "2 shards for this maximum"),
        ] {
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
