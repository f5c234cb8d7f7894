//! Building a map.

use std::fmt;

use super::core::{Core, Listener};
use super::parallel::Helpers;
use super::permits::{self, UNLIMITED};
use super::types::{BuildError, Reason};
use super::{DefaultHashBuilder, ExpiringMap};
use crate::slab::Moment;
use crate::sync::thread;
use crate::time::Timestamp;

/// 2^30 ns, about a second.
const DEFAULT_TICK_BITS: u32 = 30;
const MAX_TICK_BITS: u32 = 62;

/// Shards for each processor, and at least: enough that threads seldom meet on one.
const SHARDS_PER_CORE: usize = 4;
const MIN_SHARDS: usize = 16;
pub(super) const MAX_SHARDS: usize = 1 << 16;

/// Up to this maximum there is one shard, so that the victim of an eviction is exact.
const EXACT_MAXIMUM: usize = 64;

/// Builds an [`ExpiringMap`].
///
/// ```
/// use sessionwheel::{ExpiringMap, Reason, Timestamp};
///
/// let map: ExpiringMap<u64, &str> = ExpiringMap::builder()
///     .maximum(Some(1_000))
///     .listener(|key, value, reason| {
///         if reason == Reason::Expired {
///             println!("{key} ({value}) has expired");
///         }
///     })
///     .build()?;
/// assert_eq!(map.maximum(), Some(1_000));
/// # Ok::<(), sessionwheel::BuildError>(())
/// ```
#[must_use = "a builder builds nothing until `build` is called"]
pub struct MapBuilder<K, V, S = DefaultHashBuilder> {
    maximum: Option<usize>,
    shards: Option<usize>,
    tick_bits: u32,
    now: Timestamp,
    listener: Option<Listener<K, V>>,
    helpers: Option<Helpers>,
    hasher: S,
}

impl<K, V> MapBuilder<K, V> {
    pub(super) fn new() -> Self {
        Self {
            maximum: None,
            shards: None,
            tick_bits: DEFAULT_TICK_BITS,
            now: Timestamp::ZERO,
            listener: None,
            helpers: None,
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<K: Send + Sync + 'static, V: Send + Sync + 'static, S> MapBuilder<K, V, S> {
    /// How many entries the map holds at the most: `None` (the default) for no limit, `Some(0)` for
    /// a map that keeps nothing. Must be below 2^32 - 1.
    ///
    /// At its maximum, an insert evicts the entry that expires first of all in the key's shard (in
    /// the next one, if that is empty), in a number of steps that hardly depends on how many there
    /// are: a few dozen, and one for each 65,536 entries in the shard. Entries that never expire come
    /// last, and take turns.
    ///
    /// An insert that finds no free slot in its shard is refused as
    /// [`Exhausted`](crate::InsertError::Exhausted) though the map is not full. Keys that spread evenly
    /// never cause that: a shard has slots for several times its part. A hasher that sends most keys
    /// to one shard does, since the entries that would have to leave are in the others.
    pub fn maximum(mut self, maximum: Option<usize>) -> Self {
        self.maximum = maximum;
        self
    }

    /// Into how many parts the map is divided: a power of two. By default the smallest that is at
    /// least four times the number of processors and at least 16, but 1 if the maximum is 64 or
    /// less, so that small maps evict exactly.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// The length of a tick: `2^bits` nanoseconds, 2^30 (about a second) by default.
    ///
    /// Expiry is exact whatever the tick. A flush looks at entries that expire within the current
    /// tick each time it is called, so who flushes much more often than once a tick may want
    /// shorter ones; who keeps few entries over very long lifetimes, longer ones.
    pub fn tick_bits(mut self, bits: u32) -> Self {
        self.tick_bits = bits;
        self
    }

    /// Where the caller's clock stands, zero by default. Only a starting point: a map told nothing,
    /// or wrong, works the same once the first flush has come by.
    pub fn now(mut self, now: Timestamp) -> Self {
        self.now = now;
        self
    }

    /// The hasher. The default is keyed at random; another should be as well if strangers choose
    /// the keys that are looked up. Of its hashes the lower 32 bits are used and, for `n` shards, the `log2(n)` bits from bit 48
    /// on. One that favours few values there
    /// makes lookups slow, and may have inserts refused, see [`maximum`](Self::maximum).
    pub fn hasher<S2>(self, hasher: S2) -> MapBuilder<K, V, S2> {
        MapBuilder {
            maximum: self.maximum,
            shards: self.shards,
            tick_bits: self.tick_bits,
            now: self.now,
            listener: self.listener,
            helpers: self.helpers,
            hasher,
        }
    }

    /// Called once for each entry that leaves, with the reason.
    ///
    /// It runs after the entry has become invisible and before the removing call returns, on the
    /// thread that removed (for a flush that may be a helper's), under no lock. It may call into
    /// the map: what it removes is reported by the outermost call of the thread, and what it
    /// inserts evicts nothing ([`InsertError::Full`](crate::InsertError::Full)). A panic in it is
    /// caught and counted in [`Stats::listener_panics`](crate::Stats::listener_panics).
    ///
    /// Entries still in the map when it is dropped are not reported.
    pub fn listener(mut self, listener: impl Fn(&K, &V, Reason) + Send + Sync + 'static) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// Who helps a flush with its shards: up to `threads` tasks are given to `spawn`, which has to
    /// run each on some other thread, soon or late or never. By default that is rayon's global pool
    /// (feature `rayon`), or nobody; with zero threads it is nobody.
    ///
    /// A child that a process forks off does without rayon's threads, which it has not; unless that process had rayon's pool
    /// already and no map yet: nobody can tell then, so build a map before you fork, or give zero threads. What a `spawn` given here
    /// does there is for its author to think of: if the task is dropped, the flush does everything itself.
    ///
    /// ```
    /// use sessionwheel::ExpiringMap;
    ///
    /// let map: ExpiringMap<u64, u64> = ExpiringMap::builder()
    ///     .helpers(2, |task| {
    ///         std::thread::spawn(task);
    ///     })
    ///     .build()?;
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn helpers(
        mut self,
        threads: usize,
        spawn: impl Fn(Box<dyn FnOnce() + Send>) + Send + Sync + 'static,
    ) -> Self {
        self.helpers = Some(Helpers::custom(threads, spawn));
        self
    }

    /// Builds the map.
    ///
    /// # Errors
    /// If a number given is out of its range.
    pub fn build(self) -> Result<ExpiringMap<K, V, S>, BuildError> {
        if let Some(maximum) = self.maximum {
            if maximum as u64 >= UNLIMITED {
                return Err(BuildError::Maximum(maximum));
            }
        }
        if self.tick_bits > MAX_TICK_BITS {
            return Err(BuildError::TickBits(self.tick_bits));
        }
        let shards = match self.shards {
            Some(n) if n.is_power_of_two() && n <= MAX_SHARDS => n,
            Some(n) => return Err(BuildError::Shards(n)),
            None => {
                let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
                default_shards(self.maximum, cores)
            }
        };
        let maximum = permits::number(self.maximum);
        if maximum != UNLIMITED && !permits::has_slots_for(maximum, shards) {
            return Err(BuildError::TooFewShards(shards));
        }
        let core = Core::new(
            shards,
            maximum,
            self.tick_bits,
            Moment::new(self.now),
            self.listener,
            self.helpers.unwrap_or_else(default_helpers),
        );
        Ok(ExpiringMap::from_parts(core, self.hasher))
    }
}

fn default_shards(maximum: Option<usize>, cores: usize) -> usize {
    if maximum.is_some_and(|n| n <= EXACT_MAXIMUM) {
        return 1;
    }
    let mut shards = (cores * SHARDS_PER_CORE)
        .next_power_of_two()
        .clamp(MIN_SHARDS, MAX_SHARDS);
    let maximum = permits::number(maximum);
    while maximum != UNLIMITED && !permits::has_slots_for(maximum, shards) {
        shards *= 2;
    }
    shards
}

fn default_helpers() -> Helpers {
    #[cfg(all(feature = "rayon", not(loom)))]
    return Helpers::global();
    #[cfg(not(all(feature = "rayon", not(loom))))]
    return Helpers::none();
}

impl<K, V, S> fmt::Debug for MapBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapBuilder")
            .field("maximum", &self.maximum)
            .field("shards", &self.shards)
            .field("tick_bits", &self.tick_bits)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn builder() -> MapBuilder<u64, u64> {
        MapBuilder::new()
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(
            builder().shards(3).build().err(),
            Some(BuildError::Shards(3))
        );
        assert_eq!(
            builder().shards(0).build().err(),
            Some(BuildError::Shards(0))
        );
        assert_eq!(
            builder().tick_bits(63).build().err(),
            Some(BuildError::TickBits(63))
        );
        assert!(builder().maximum(Some(u32::MAX as usize)).build().is_err());
        let small = builder().maximum(Some(1 << 24));
        assert_eq!(
            small.shards(2).build().err(),
            Some(BuildError::TooFewShards(2))
        );
    }

    #[test]
    fn small_maxima_have_one_shard() {
        assert_eq!(default_shards(Some(64), 100), 1);
        assert_eq!(default_shards(Some(65), 1), MIN_SHARDS);
        let most = default_shards(Some(u32::MAX as usize - 1), 1);
        assert!((1024..=MAX_SHARDS).contains(&most), "{most}");
    }

    #[test]
    fn many_processors_have_many_shards() {
        let shards = |cores| default_shards(None, cores);
        assert_eq!(shards(1), MIN_SHARDS);
        assert_eq!(shards(64), 64 * SHARDS_PER_CORE);
        assert_eq!(shards(65), 128 * SHARDS_PER_CORE);
        assert_eq!(shards(1 << 20), MAX_SHARDS);
    }
}
