//! The keyed hash.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::SeedableRandomState;

use super::builder::MAX_SHARDS;

/// What is above tells a shard: as many bits as the most shards need.
const SHARD_SHIFT: u32 = u64::BITS - MAX_SHARDS.trailing_zeros();

/// The default hasher of a map: fast, and keyed at random for each map.
///
/// Ids that clients offer are chosen by strangers, so which of them share a bucket must not be
/// theirs to choose. The seed comes from the operating system, by way of the standard library's
/// [`RandomState`](std::hash::RandomState).
#[derive(Clone)]
pub struct DefaultHashBuilder(SeedableRandomState);

impl Default for DefaultHashBuilder {
    /// The models' is always the same: loom has to meet the same buckets each time.
    #[cfg(loom)]
    fn default() -> Self {
        let shared = foldhash::SharedSeed::global_fixed();
        Self(SeedableRandomState::with_seed(0, shared))
    }

    #[cfg(not(loom))]
    fn default() -> Self {
        let random = || std::hash::RandomState::new().build_hasher().finish();
        let shared = foldhash::SharedSeed::global_random();
        Self(SeedableRandomState::with_seed(random(), shared))
    }
}

impl BuildHasher for DefaultHashBuilder {
    type Hasher = DefaultHasher;

    #[inline]
    fn build_hasher(&self) -> DefaultHasher {
        DefaultHasher(self.0.build_hasher())
    }
}

impl fmt::Debug for DefaultHashBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The seed is a secret.
        f.debug_struct("DefaultHashBuilder").finish_non_exhaustive()
    }
}

/// What [`DefaultHashBuilder`] builds.
#[derive(Clone)]
pub struct DefaultHasher(foldhash::quality::FoldHasher<'static>);

impl fmt::Debug for DefaultHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultHasher").finish_non_exhaustive()
    }
}

macro_rules! forward {
    ($($name:ident: $int:ty),*) => {$(
        #[inline]
        fn $name(&mut self, i: $int) {
            self.0.$name(i);
        }
    )*};
}

impl Hasher for DefaultHasher {
    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        // A session id, which nearly every key is: two short writes become part of the caller, a
        // longer one is a call with a loop.
        if let Ok(id) = <&[u8; 32]>::try_from(bytes) {
            let (first, second) = id.split_at(16);
            self.0.write(first);
            self.0.write(second);
        } else {
            self.0.write(bytes);
        }
    }

    forward!(
        write_u8: u8, write_u16: u16, write_u32: u32, write_u64: u64, write_u128: u128,
        write_usize: usize
    );
}

/// Where a hash leads: bits from `SHARD_SHIFT` on name one of the shards, whose number is a power of
/// two; the lower half is what the table looks by.
#[inline]
pub(super) fn split(hash: u64, shards: usize) -> (usize, u32) {
    let shard = (hash >> SHARD_SHIFT) as usize & (shards - 1);
    (shard, hash as u32)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn one_seed_per_builder() {
        let a = DefaultHashBuilder::default();
        let b = DefaultHashBuilder::default();
        assert_eq!(a.hash_one(7), a.clone().hash_one(7));
        assert_ne!(a.hash_one(7), b.hash_one(7));
    }

    #[test]
    fn every_shard_can_be_named() {
        assert_eq!(split(u64::MAX, 1).0, 0);
        assert_eq!(split(u64::MAX, 16).0, 15);
        assert_eq!(split(1 << SHARD_SHIFT, 16).0, 1);
        assert_eq!(split(u64::MAX, MAX_SHARDS).0, MAX_SHARDS - 1);
        // By none of the bits that tables look by.
        assert_eq!(split(u64::from(u32::MAX), MAX_SHARDS).0, 0);
    }

    #[test]
    fn every_byte_counts() {
        let builder = DefaultHashBuilder::default();
        for len in [1, 31, 32, 33] {
            let plain = vec![0_u8; len];
            for at in 0..len {
                let mut other = plain.clone();
                other[at] = 1;
                let [a, b] = [&plain, &other].map(|bytes| builder.hash_one(bytes.as_slice()));
                assert_ne!(a, b, "byte {at} of {len}");
            }
        }
    }
}
