//! What a session is found by: [`SessionId`] and [`SessionKey`].
//!
//! Ids are stored inline, padded with zeros to the 32 bytes that TLS allows,
//! so that a key is copied rather than allocated and is compared and hashed
//! over a fixed number of bytes. An id longer than that can't exist in any
//! TLS version; it is refused before anything is hashed, so that a peer can't
//! make the cache hash data of its own size.
//!
//! An id can be enough to look a session up, so `Debug` never prints one.

use std::error::Error;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::context::Context;

/// A TLS session id: 0 to 32 bytes, stored inline.
///
/// The same type serves the session id of TLS 1.2 and the identity of a
/// stateful TLS 1.3 ticket. Two ids are equal if they have the same length
/// and the same bytes. The empty id is legal and is an id like any other.
/// (`SSL_SESSION_get_id(3)`; in OpenSSL the version of the protocol is a part of the key as well.)
///
/// # Examples
///
/// ```
/// use sessionwheel::SessionId;
///
/// let id = SessionId::new(b"an id the server made up")?;
/// assert_eq!(id.as_bytes(), b"an id the server made up");
/// assert_eq!(format!("{id:?}"), "SessionId(24 bytes)");
///
/// let refused = SessionId::new(&[0; 33]).unwrap_err();
/// assert_eq!(refused.len, 33);
/// # Ok::<(), sessionwheel::SessionIdTooLong>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SessionId {
    /// Zero from `len` on, so that comparing and hashing the whole array is
    /// comparing and hashing the bytes in use.
    bytes: [u8; Self::MAX_LEN],
    len: u8,
}

impl SessionId {
    /// The longest id that TLS allows, in bytes.
    pub const MAX_LEN: usize = 32;

    /// Copies `id`.
    ///
    /// # Errors
    ///
    /// [`SessionIdTooLong`] if `id` is longer than [`SessionId::MAX_LEN`]. In
    /// that case only its length was looked at.
    pub fn new(id: &[u8]) -> Result<Self, SessionIdTooLong> {
        if id.len() > Self::MAX_LEN {
            return Err(SessionIdTooLong { len: id.len() });
        }
        let mut bytes = [0; Self::MAX_LEN];
        bytes[..id.len()].copy_from_slice(id);
        Ok(Self {
            bytes,
            len: id.len() as u8,
        })
    }

    /// The bytes of the id.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len()]
    }

    /// The length of the id in bytes, at most [`SessionId::MAX_LEN`].
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether this is the empty id.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(self.len);
        state.write(&self.bytes);
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({} bytes)", self.len)
    }
}

impl AsRef<[u8]> for SessionId {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl TryFrom<&[u8]> for SessionId {
    type Error = SessionIdTooLong;

    fn try_from(id: &[u8]) -> Result<Self, SessionIdTooLong> {
        Self::new(id)
    }
}

impl From<[u8; Self::MAX_LEN]> for SessionId {
    /// An id of full length, which can't be too long.
    fn from(bytes: [u8; Self::MAX_LEN]) -> Self {
        Self {
            bytes,
            len: Self::MAX_LEN as u8,
        }
    }
}

/// An id was longer than [`SessionId::MAX_LEN`]; no session can have it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct SessionIdTooLong {
    /// The length of the refused id in bytes.
    pub len: usize,
}

impl fmt::Display for SessionIdTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a session id has at most {} bytes, not {}",
            SessionId::MAX_LEN,
            self.len
        )
    }
}

impl Error for SessionIdTooLong {}

/// The key of a cached session: its [`Context`] and its [`SessionId`].
///
/// The context is part of equality and of the hash: the same id in two
/// contexts names two sessions, and a lookup under the wrong context is a miss
/// that leaves the session where it is. (In OpenSSL that is found out after the lookup:
/// `SSL_CTX_set_session_id_context(3)`.)
///
/// # Examples
///
/// ```
/// use sessionwheel::{Context, SessionCache, SessionId, SessionKey};
///
/// let cache = SessionCache::<&str>::builder().build()?;
/// let tenant = cache.context()?;
/// let id = SessionId::from([7; 32]);
///
/// cache.insert(SessionKey::new(tenant, id), "of the tenant").unwrap();
///
/// assert!(cache.contains(&SessionKey::new(tenant, id)));
/// assert!(!cache.contains(&SessionKey::new(Context::DEFAULT, id)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It takes 36 bytes and goes anywhere: so what a lookup reads of a session is 60 bytes, in one piece.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SessionKey {
    id: SessionId,
    context: [u8; Context::BYTES],
}

const _: () = assert!(size_of::<SessionKey>() == 36 && align_of::<SessionKey>() == 1);

impl SessionKey {
    /// The key of session `id` in `context`.
    #[must_use]
    pub const fn new(context: Context, id: SessionId) -> Self {
        let [first, second, third, _] = context.number().to_le_bytes();
        let context = [first, second, third];
        Self { id, context }
    }

    /// The context that the session belongs to.
    #[must_use]
    pub const fn context(&self) -> Context {
        let [first, second, third] = self.context;
        Context::from_number(u32::from_le_bytes([first, second, third, 0]))
    }

    /// The session's id.
    #[must_use]
    pub const fn id(&self) -> &SessionId {
        &self.id
    }
}

impl Hash for SessionKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Context and length share a word: two calls for the whole key.
        let [first, second, third] = self.context;
        state.write_u32(u32::from_le_bytes([self.id.len, first, second, third]));
        state.write(&self.id.bytes);
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionKey")
            .field("context", &self.context())
            .field("id", &self.id)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::hash::{BuildHasher, RandomState};

    fn id(bytes: &[u8]) -> SessionId {
        SessionId::new(bytes).unwrap()
    }

    #[test]
    fn lengths_up_to_32_are_kept_as_they_are() {
        let bytes: Vec<u8> = (1..=32).collect();
        for len in 0..=32 {
            let id = id(&bytes[..len]);
            assert_eq!(id.as_bytes(), &bytes[..len]);
            assert_eq!(id.len(), len);
            assert_eq!(id.is_empty(), len == 0);
        }
    }

    #[test]
    fn longer_ids_are_refused_by_their_length() {
        for len in [33, 64 * 1024] {
            let bytes = vec![0; len];
            let error = SessionId::new(&bytes).unwrap_err();
            assert_eq!(error, SessionIdTooLong { len });
            assert!(error.to_string().contains(&len.to_string()));
            assert_eq!(SessionId::try_from(&bytes[..]), Err(error));
        }
    }

    #[test]
    fn trailing_zeros_count() {
        let ids = [id(b""), id(b"\0"), id(b"\0\0"), id(&[0; 32])];
        for (i, a) in ids.iter().enumerate() {
            for (j, b) in ids.iter().enumerate() {
                assert_eq!(a == b, i == j);
            }
        }
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
    }

    #[test]
    fn every_byte_and_the_context_count_in_equality_and_hash() {
        let hasher = RandomState::new();
        let base = SessionKey::new(Context::DEFAULT, SessionId::from([0; 32]));
        let mut others = vec![
            SessionKey::new(Context::from_number(1), SessionId::from([0; 32])),
            SessionKey::new(Context::DEFAULT, id(&[0; 31])),
        ];
        for i in 0..32 {
            let mut bytes = [0; 32];
            bytes[i] = 1;
            others.push(SessionKey::new(Context::DEFAULT, SessionId::from(bytes)));
        }
        for other in others {
            assert_ne!(base, other);
            // Equal by chance once in 2^64.
            assert_ne!(hasher.hash_one(base), hasher.hash_one(other));
        }
        let same = SessionKey::new(Context::DEFAULT, id(&[0; 32]));
        assert_eq!(hasher.hash_one(base), hasher.hash_one(same));
    }

    #[test]
    fn context_and_length_do_not_mix_in_the_hash() {
        let hasher = RandomState::new();
        let a = SessionKey::new(Context::from_number(1), id(b""));
        let b = SessionKey::new(Context::DEFAULT, id(&[0; 1]));
        assert_ne!(hasher.hash_one(a), hasher.hash_one(b));
    }

    #[test]
    fn debug_prints_no_id() {
        let key = SessionKey::new(Context::DEFAULT, id(b"top secret"));
        for text in [format!("{key:?}"), format!("{key:#?}")] {
            assert!(text.contains("10 bytes"), "{text}");
            assert!(!text.contains("secret"), "{text}");
            assert!(!text.contains("116"), "{text}");
        }
    }

    #[test]
    fn a_key_fits_in_40_bytes() {
        assert!(size_of::<SessionKey>() <= 40);
    }
}
