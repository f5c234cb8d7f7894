//! The value of the cache: bytes that are wiped when they are dropped.

use std::fmt;

use zeroize::Zeroizing;

/// One serialised server session, as rustls handed it over.
///
/// The bytes contain the secret from which the session's keys are derived. They are overwritten
/// with zeros when the value is dropped; `Debug` prints their number only. There is deliberately
/// no `Clone`.
pub struct StoredSession(Zeroizing<Box<[u8]>>);

impl StoredSession {
    /// Copies `bytes` into a buffer of exactly their length, so that no later reallocation can
    /// leave a copy behind. Wiping the source is up to the caller.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The serialised session.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for StoredSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredSession({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::StoredSession;

    #[test]
    fn debug_shows_the_length_only() {
        let session = StoredSession::copy_from(&[0xAB; 84]);
        assert_eq!(format!("{session:?}"), "StoredSession(84 bytes)");
        assert_eq!(session.as_bytes(), [0xAB; 84]);
    }
}
