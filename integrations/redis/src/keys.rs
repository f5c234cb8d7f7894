//! The keys that seal sessions, and how one follows another.

use std::error::Error;
use std::fmt;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use orion::hazardous::aead::xchacha20poly1305::SecretKey;

/// The keys of a tier: one that seals, and any number of others that open too.
///
/// A key is 32 random bytes, the same on all hosts, and has a number that stands in front of what it
/// has sealed. To replace one on a running fleet, [`accept`](crate::RedisTier::accept) the new one on every
/// host first, then [`rotate`](crate::RedisTier::rotate) to it on every host. A host that starts meanwhile has both in its
/// ring; once the last one has rotated, the old one for [a while](Self::and_for), or until it is
/// [forgotten](crate::RedisTier::forget).
///
/// ```
/// use sessionwheel_redis::Keyring;
///
/// let keys = Keyring::new(2, [0x22; 32]).and(1, [0x11; 32])?;
/// assert_eq!(keys.sealing(), 2);
/// assert!(keys.and(2, [0x33; 32]).is_err());
/// # Ok::<(), sessionwheel_redis::KeyIdTaken>(())
/// ```
pub struct Keyring {
    current: Key,
    others: Vec<Key>,
}

struct Key {
    id: u32,
    secret: SecretKey,
    /// Opens nothing after that.
    until: Option<Instant>,
}

impl Key {
    fn new(id: u32, key: &[u8; 32]) -> Self {
        Self {
            id,
            secret: SecretKey::from(*key),
            until: None,
        }
    }

    fn opens(&self, id: u32, now: Instant) -> bool {
        self.id == id && self.until.is_none_or(|until| now <= until)
    }
}

/// There is another key of this number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct KeyIdTaken {
    /// The number.
    pub id: u32,
}

impl fmt::Display for KeyIdTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is another key with the number {}", self.id)
    }
}

impl Error for KeyIdTaken {}

impl Keyring {
    /// A ring of one key, which seals and opens.
    #[must_use]
    pub fn new(id: u32, key: [u8; 32]) -> Self {
        Self {
            current: Key::new(id, &key),
            others: Vec::new(),
        }
    }

    /// The same with another key that only opens, for as long as it isn't [forgotten](crate::RedisTier::forget) or rotated
    /// away from.
    ///
    /// # Errors
    ///
    /// [`KeyIdTaken`] if one of the ring has this number.
    pub fn and(mut self, id: u32, key: [u8; 32]) -> Result<Self, KeyIdTaken> {
        self.add(id, &key)?.until = None;
        Ok(self)
    }

    /// The same with another key that only opens, for `grace` from now on: the one before the one that seals, on a host that
    /// is started while what that has sealed may still be there.
    ///
    /// # Errors
    ///
    /// [`KeyIdTaken`] if one of the ring has this number.
    pub fn and_for(mut self, id: u32, key: [u8; 32], grace: Duration) -> Result<Self, KeyIdTaken> {
        self.add(id, &key)?.until = Instant::now().checked_add(grace);
        Ok(self)
    }

    /// The number of the key that seals.
    #[must_use]
    pub fn sealing(&self) -> u32 {
        self.current.id
    }

    fn add(&mut self, id: u32, key: &[u8; 32]) -> Result<&mut Key, KeyIdTaken> {
        self.tidy();
        if self.current.id == id || self.others.iter().any(|other| other.id == id) {
            return Err(KeyIdTaken { id });
        }
        self.others.push(Key::new(id, key));
        self.others.last_mut().ok_or(KeyIdTaken { id })
    }

    /// `id` seals from now on. What it takes over from opens for `grace` still; if that is nothing, no other one opens.
    fn rotate(&mut self, id: u32, grace: Duration) -> bool {
        if self.current.id != id {
            let Some(at) = self.others.iter().position(|other| other.id == id) else {
                return false;
            };
            let mut next = self.others.swap_remove(at);
            next.until = None;
            let mut old = std::mem::replace(&mut self.current, next);
            old.until = Instant::now().checked_add(grace);
            self.others.push(old);
        }
        if grace.is_zero() {
            self.others.clear();
        }
        true
    }

    /// Whether it was there, and doesn't seal.
    fn forget(&mut self, id: u32) -> bool {
        let before = self.others.len();
        self.others.retain(|key| key.id != id);
        self.others.len() < before
    }

    /// Drops, and so wipes, the keys whose grace is over.
    fn tidy(&mut self) {
        let now = Instant::now();
        self.others
            .retain(|key| key.until.is_none_or(|until| now <= until));
    }
}

impl fmt::Debug for Keyring {
    /// Numbers only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<u32> = self.others.iter().map(|key| key.id).collect();
        f.debug_struct("Keyring")
            .field("sealing", &self.current.id)
            .field("opening", &others)
            .finish()
    }
}

/// A ring in use.
pub(crate) struct Keys(RwLock<Keyring>);

impl Keys {
    pub(crate) fn new(ring: Keyring) -> Self {
        Self(RwLock::new(ring))
    }

    /// Calls `f` with the key that seals, and its number.
    pub(crate) fn sealing<R>(&self, f: impl FnOnce(u32, &SecretKey) -> R) -> R {
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        f(ring.current.id, &ring.current.secret)
    }

    /// Calls `f` with the key of this number, if there is one whose grace is not over.
    pub(crate) fn opening<R>(&self, id: u32, f: impl FnOnce(&SecretKey) -> R) -> Option<R> {
        let now = Instant::now();
        let ring = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::iter::once(&ring.current).chain(&ring.others);
        all.find(|key| key.opens(id, now)).map(|key| f(&key.secret))
    }

    pub(crate) fn accept(&self, id: u32, key: &[u8; 32]) -> Result<(), KeyIdTaken> {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ring.add(id, key).map(drop)
    }

    pub(crate) fn rotate(&self, id: u32, grace: Duration) -> bool {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ring.rotate(id, grace)
    }

    pub(crate) fn forget(&self, id: u32) -> bool {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ring.forget(id)
    }

    pub(crate) fn tidy(&self) {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ring.tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opens(keys: &Keys, id: u32) -> bool {
        keys.opening(id, |_| ()).is_some()
    }

    #[test]
    fn an_old_key_opens_until_its_grace_is_over() {
        let keys = Keys::new(Keyring::new(1, [1; 32]));
        keys.accept(2, &[2; 32]).unwrap();
        assert!(opens(&keys, 1) && opens(&keys, 2) && !opens(&keys, 3));
        assert!(!keys.rotate(3, Duration::MAX));
        assert!(keys.rotate(2, Duration::from_secs(1_000)));
        assert_eq!(keys.sealing(|id, _| id), 2);
        assert!(opens(&keys, 1));

        keys.accept(3, &[3; 32]).unwrap();
        assert!(keys.rotate(3, Duration::from_nanos(1)));
        let begun = Instant::now();
        while Instant::now() <= begun + Duration::from_nanos(1) {}
        assert!(!opens(&keys, 2) && opens(&keys, 1) && opens(&keys, 3));
        // Its number is free again.
        keys.accept(2, &[4; 32]).unwrap();
        assert_eq!(keys.accept(1, &[4; 32]), Err(KeyIdTaken { id: 1 }));
        // Without any grace no other opens, whenever it was accepted.
        assert!(keys.rotate(2, Duration::ZERO));
        assert!(opens(&keys, 2) && !opens(&keys, 1) && !opens(&keys, 3));
        keys.accept(1, &[1; 32]).unwrap();
        assert!(keys.rotate(2, Duration::ZERO));
        assert!(opens(&keys, 2) && !opens(&keys, 1));
    }

    #[test]
    fn a_key_of_the_ring_opens_until_it_is_forgotten_or_its_time_is_over() {
        let ring = Keyring::new(4, [4; 32]).and(1, [1; 32]).unwrap();
        let ring = ring.and_for(2, [2; 32], Duration::from_nanos(1)).unwrap();
        let keys = Keys::new(ring.and_for(3, [3; 32], Duration::MAX).unwrap());
        let begun = Instant::now();
        while Instant::now() <= begun + Duration::from_nanos(1) {}
        assert!(opens(&keys, 1) && !opens(&keys, 2) && opens(&keys, 3));
        // The one that seals is kept.
        assert!(!keys.forget(4) && !keys.forget(5));
        assert!(keys.forget(1) && !keys.forget(1) && keys.forget(3));
        assert!(opens(&keys, 4) && !opens(&keys, 1) && !opens(&keys, 3));
        // Whoever is rotated to has no end.
        let ring = Keyring::new(1, [1; 32]).and_for(2, [2; 32], Duration::from_secs(1_000));
        let keys = Keys::new(ring.unwrap());
        assert!(keys.rotate(2, Duration::from_secs(1_000)));
        assert!(!keys.forget(2) && keys.forget(1));
        assert!(opens(&keys, 2) && !opens(&keys, 1));
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", Keyring::new(7, [0xAB; 32]));
        assert_eq!(shown, "Keyring { sealing: 7, opening: [] }");
    }
}
