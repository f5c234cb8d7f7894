//! Ids that say who made them: 24 random bytes, and 8 that only who has the key can compute from them.
//!
//! Each client of TLS 1.3 offers 32 random bytes for a TLS 1.2 session id, for compatibility (RFC 8446, 4.1.2),
//! and strangers offer what they like, up to thousands of tickets in one ClientHello. With a tag they are
//! told from our own without a lookup, and without a question to whatever lies outside of the cache.
//!
//! The tag is SipHash-2-4 (Aumasson and Bernstein, 2012), a keyed function made for short inputs. Who guesses
//! one, once in 2^64, gains a lookup.

use std::fmt;
use std::sync::{Mutex, OnceLock, PoisonError};

use libc::{c_int, c_uchar, c_uint};
use openssl::error::ErrorStack;
use openssl::rand::rand_bytes;
use openssl_sys::SSL;
use siphasher::sip::SipHasher24;

use crate::contain::contain;
use crate::ffi::GEN_SESSION_CB;

const LEN: usize = 32;
const RANDOM: usize = 24;

/// The key of the tags in session ids.
///
/// Hosts that share sessions by an [external tier](sessionwheel::ExternalTier) need the same one, or each takes
/// the others' ids for foreign. It protects against useless lookups, and nothing else: an id is found
/// by the cache or it isn't.
///
/// ```
/// use sessionwheel_openssl::TagKey;
///
/// let key = TagKey::new([7; 16]);
/// assert!(!key.made(&[0; 32]));
/// assert_eq!(format!("{key:?}"), "TagKey(..)");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TagKey([u8; 16]);

impl TagKey {
    /// This key, which should be random.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self(key)
    }

    /// The key that this process has drawn, the same at each call.
    pub(crate) fn of_process() -> Result<Self, ErrorStack> {
        static DRAWN: OnceLock<TagKey> = OnceLock::new();
        if let Some(key) = DRAWN.get() {
            return Ok(key.clone());
        }
        let mut key = [0; 16];
        rand_bytes(&mut key)?;
        Ok(DRAWN.get_or_init(|| Self(key)).clone())
    }

    /// Whether this id was made with this key.
    #[must_use]
    pub fn made(&self, id: &[u8]) -> bool {
        id.len() == LEN && self.tag(&id[..RANDOM]).as_slice() == &id[RANDOM..]
    }

    fn tag(&self, random: &[u8]) -> [u8; LEN - RANDOM] {
        let hash = SipHasher24::new_with_key(&self.0).hash(random);
        hash.to_le_bytes()
    }

    pub(crate) fn make(&self) -> Result<[u8; LEN], ErrorStack> {
        #[cfg(test)]
        crate::planted::here("make");
        let mut id = [0; LEN];
        rand_bytes(&mut id[..RANDOM])?;
        let tag = self.tag(&id[..RANDOM]);
        id[RANDOM..].copy_from_slice(&tag);
        Ok(id)
    }
}

impl fmt::Debug for TagKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TagKey(..)")
    }
}

/// So many different keys may be in use in a process.
///
/// OpenSSL's callback gets nothing but the connection, which after a switch by server name shows another
/// context than the one whose callback it is. So each key has a function of its own.
pub const MOST_TAG_KEYS: usize = 8;

static KEYS: [OnceLock<TagKey>; MOST_TAG_KEYS] = [const { OnceLock::new() }; MOST_TAG_KEYS];

static GENERATORS: [GEN_SESSION_CB; MOST_TAG_KEYS] = [
    generate::<0>,
    generate::<1>,
    generate::<2>,
    generate::<3>,
    generate::<4>,
    generate::<5>,
    generate::<6>,
    generate::<7>,
];

/// The function that makes ids with this key; none if there are too many keys.
pub(crate) fn generator(key: &TagKey) -> Option<GEN_SESSION_CB> {
    static FILLING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FILLING.lock().unwrap_or_else(PoisonError::into_inner);
    let slot = KEYS
        .iter()
        .position(|slot| slot.get_or_init(|| key.clone()) == key)?;
    Some(GENERATORS[slot])
}

/// `SSL_CTX_set_generate_session_id(3)`, for TLS 1.2 and the stateful tickets of TLS 1.3.
unsafe extern "C" fn generate<const SLOT: usize>(
    _: *mut SSL,
    id: *mut c_uchar,
    length: *mut c_uint,
) -> c_int {
    let made = contain(|| KEYS[SLOT].get().and_then(|key| key.make().ok()));
    // SAFETY: OpenSSL passes the length of the buffer at `id`, 32 bytes in all versions of TLS, by a pointer that
    // is valid for this call; nobody else reads or writes either meanwhile.
    unsafe {
        match made.flatten() {
            Some(made) if *length as usize == LEN => {
                id.copy_from_nonoverlapping(made.as_ptr(), LEN);
                1
            }
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;
    use crate::planted::Planted;
    use crate::support::{Client, NAME, Server, VERSIONS};
    use std::collections::HashSet;

    #[test]
    fn an_id_is_known_by_its_key_alone() {
        let keys = [0, 1].map(|n| TagKey::new([n; 16]));
        let mut ids = HashSet::new();
        for _ in 0..1_000 {
            let id = keys[0].make().unwrap();
            assert!(keys[0].made(&id) && !keys[1].made(&id));
            for bit in 0..8 * LEN {
                let mut other = id;
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(!keys[0].made(&other), "bit {bit}");
            }
            assert!(!keys[0].made(&id[..31]) && !keys[0].made(b""));
            let longer = [&id[..], &[0]].concat();
            assert!(!keys[0].made(&longer) && !keys[0].made(&vec![0; 65_536]));
            ids.insert(id);
        }
        assert_eq!(ids.len(), 1_000);
    }

    #[test]
    fn each_key_has_a_function_until_they_are_used_up() {
        // One of them for the other tests in this process.
        let key = |n: usize| match n {
            0 => TagKey::of_process().unwrap(),
            n => TagKey::new([100 + n as u8; 16]),
        };
        let mut made = HashSet::new();
        for n in 0..MOST_TAG_KEYS {
            let generate = generator(&key(n)).unwrap();
            let again = generator(&key(n)).unwrap();
            let mut ids = [[0; LEN]; 2];
            for (id, f) in ids.iter_mut().zip([generate, again]) {
                let mut length = LEN as c_uint;
                // SAFETY: the buffer has the length that is said; the connection is not looked at.
                let done = unsafe { f(std::ptr::null_mut(), id.as_mut_ptr(), &raw mut length) };
                assert_eq!(done, 1);
                assert!(key(n).made(id));
                assert!(made.insert(*id));
            }
        }
        assert!(generator(&key(MOST_TAG_KEYS)).is_none());
        assert!(generator(&key(0)).is_some());
    }

    /// Without an id there is no session, and no handshake.
    #[test]
    fn a_panic_ends_the_handshake_and_nothing_else() {
        for version in VERSIONS {
            let server = Server::new(Options::default());
            let client = Client::new(version);
            let planted = Planted::at("make");
            let mut connection = client.begin(&server.context, None, Some(NAME));
            connection.finish().expect_err("there is no id");
            drop(planted);
            let session = client.session(&server.context);
            assert!(client.resumes(&server.context, &session));
        }
    }

    #[test]
    fn a_buffer_of_another_length_is_left_alone() {
        let f = GENERATORS[0];
        let mut id = [0; LEN];
        let mut length = 31;
        // SAFETY: the buffer is longer than is said.
        let done = unsafe { f(std::ptr::null_mut(), id.as_mut_ptr(), &raw mut length) };
        assert_eq!((done, id), (0, [0; LEN]));
    }
}
