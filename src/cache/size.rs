//! [`SessionCache`]: how many sessions there may be, as OpenSSL says it.

use std::error::Error;
use std::fmt;

use super::handle::SessionCache;

/// A cache can't have room for less than nothing: see [`SessionCache::sess_set_cache_size`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NegativeSize(
    /// The size that was asked for.
    pub i64,
);

impl fmt::Display for NegativeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a cache size of {}: it must not be negative", self.0)
    }
}

impl Error for NegativeSize {}

/// No limit, as OpenSSL has it.
const UNLIMITED: i64 = 0;

fn maximum(size: i64) -> Result<Option<usize>, NegativeSize> {
    match u64::try_from(size) {
        Err(_) => Err(NegativeSize(size)),
        Ok(0) => Ok(None),
        // What is more than there are addresses is no limit either.
        Ok(size) => Ok(usize::try_from(size).ok()),
    }
}

/// At the most 2^32, since that is no limit.
fn size(maximum: Option<usize>) -> i64 {
    maximum.map_or(UNLIMITED, |maximum| maximum as i64)
}

impl<V: Send + Sync + 'static> SessionCache<V> {
    /// OpenSSL's `SSL_CTX_sess_set_cache_size(ctx, t)`: from now on so many sessions may be cached at once, and any
    /// number if `size` is 0. What the size was before.
    ///
    /// It is [`set_maximum`](Self::set_maximum) in other terms (which has `None` for OpenSSL's 0, and `Some(0)` for
    /// a cache that keeps nothing; OpenSSL can't say that, and its size reads as 0 here, too). A size of `n` holds
    /// `n` sessions; OpenSSL's code, from 3.0.6 on, holds one less. 2^32 - 1 or more means no limit. After
    /// the size was lowered, the surplus leaves with the calls that insert or flush, 64 at a time; in OpenSSL with
    /// the next one that is added.
    ///
    /// # Errors
    ///
    /// [`NegativeSize`], and nothing has changed. OpenSSL changes nothing either, and returns 0, as if the
    /// cache had been unlimited.
    ///
    /// ```
    /// use sessionwheel::{NegativeSize, SessionCache};
    ///
    /// let cache = SessionCache::<Vec<u8>>::builder().build()?;
    /// assert_eq!(cache.sess_set_cache_size(50)?, 20_480);
    /// assert_eq!(cache.maximum(), Some(50));
    ///
    /// assert_eq!(cache.sess_set_cache_size(0)?, 50);
    /// assert_eq!((cache.maximum(), cache.sess_get_cache_size()), (None, 0));
    ///
    /// assert_eq!(cache.sess_set_cache_size(-1), Err(NegativeSize(-1)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn sess_set_cache_size(&self, size: i64) -> Result<i64, NegativeSize> {
        let before = self.inner.map.replace_maximum(maximum(size)?);
        Ok(self::size(before))
    }

    /// OpenSSL's `SSL_CTX_sess_get_cache_size`: how many sessions may be cached at once, 0 if there is no limit.
    ///
    /// See [`sess_set_cache_size`](Self::sess_set_cache_size).
    pub fn sess_get_cache_size(&self) -> i64 {
        size(self.maximum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Context, SessionId, SessionKey};

    fn cache(maximum: Option<usize>) -> SessionCache<u16> {
        let builder = SessionCache::builder().maximum(maximum).shards(1);
        builder.build().unwrap()
    }

    fn insert(cache: &SessionCache<u16>, n: u16) {
        let id = SessionId::new(&n.to_le_bytes()).unwrap();
        let key = SessionKey::new(Context::DEFAULT, id);
        cache.insert(key, n).unwrap();
    }

    #[test]
    fn a_size_is_the_maximum_and_zero_is_none() {
        let cache = cache(Some(7));
        let mut before = 7;
        let large = i64::from(u32::MAX);
        for (size, maximum, reads) in [
            (1, Some(1), 1),
            (0, None, 0),
            (20_480, Some(20_480), 20_480),
            (large - 1, Some(u32::MAX as usize - 1), large - 1),
            (large, None, 0),
            (i64::MAX, None, 0),
            (3, Some(3), 3),
        ] {
            assert_eq!(cache.sess_set_cache_size(size), Ok(before), "{size}");
            assert_eq!(cache.maximum(), maximum, "{size}");
            assert_eq!(cache.sess_get_cache_size(), reads, "{size}");
            before = reads;
        }
    }

    #[test]
    fn a_negative_size_is_refused_and_changes_nothing() {
        let cache = cache(Some(7));
        for size in [-1, -7, i64::MIN] {
            let refused = cache.sess_set_cache_size(size).unwrap_err();
            assert_eq!(refused, NegativeSize(size));
            assert!(refused.to_string().contains(&size.to_string()));
            assert_eq!(cache.sess_get_cache_size(), 7);
        }
    }

    #[test]
    fn a_size_of_n_holds_n_and_without_a_limit_all_stay() {
        let cache = cache(Some(2));
        cache.sess_set_cache_size(5).unwrap();
        (0..20).for_each(|n| insert(&cache, n));
        assert_eq!((cache.len(), cache.stats().evicted), (5, 15));
        cache.sess_set_cache_size(0).unwrap();
        (20..200).for_each(|n| insert(&cache, n));
        assert_eq!((cache.len(), cache.stats().evicted), (185, 15));
    }

    #[test]
    fn who_keeps_nothing_has_no_size() {
        let cache = cache(Some(0));
        assert_eq!(cache.sess_get_cache_size(), 0);
        assert_eq!(cache.sess_set_cache_size(1), Ok(0));
        insert(&cache, 1);
        assert_eq!(cache.len(), 1);
    }
}
