//! What a ClientHello offers, before OpenSSL has looked at it.

use std::ptr;
use std::slice;

use foreign_types::ForeignTypeRef;
use openssl::ssl::SslRef;

/// The number of the extension `pre_shared_key` (RFC 8446, 4.2.11).
const PRE_SHARED_KEY: u32 = 41;

/// An extension's bytes, while the connection's ClientHello is being processed.
pub(crate) fn extension(ssl: &mut SslRef, number: u32) -> Option<&[u8]> {
    let (mut data, mut len) = (ptr::null(), 0);
    // SAFETY: the connection is alive and ours alone for the length of a callback. What is written is a pointer into
    // its ClientHello, which lives until the callback has returned.
    let found = unsafe {
        openssl_sys::SSL_client_hello_get0_ext(ssl.as_ptr(), number, &raw mut data, &raw mut len)
    };
    if found != 1 || data.is_null() {
        return None;
    }
    // SAFETY: see above: it is as long as is said, and borrowed for as long as the connection is.
    Some(unsafe { slice::from_raw_parts(data, len) })
}

/// What `known` makes of the ids that the client offers: of the session id of TLS 1.2, and of the first `most` tickets of
/// TLS 1.3 of which it makes anything.
pub(crate) fn offered<T>(
    ssl: &mut SslRef,
    most: usize,
    known: impl Fn(&[u8]) -> Option<T>,
) -> Vec<T> {
    let id = ssl.client_hello_session_id().and_then(&known);
    let mut all: Vec<T> = id.into_iter().collect();
    if let Some(psk) = extension(ssl, PRE_SHARED_KEY) {
        all.extend(identities(psk).filter_map(known).take(most));
    }
    all
}

/// The identities of an `OfferedPsks`, as far as they are whole. Each is followed by an age of four bytes.
fn identities(extension: &[u8]) -> impl Iterator<Item = &[u8]> {
    let list = split(extension).map_or(&[][..], |(list, _)| list);
    let mut rest = list;
    std::iter::from_fn(move || {
        let (identity, after) = split(rest)?;
        rest = after.get(4..)?;
        Some(identity)
    })
}

/// What has its length in two bytes in front, and what comes after it.
fn split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_read_as_far_as_they_are_whole() {
        // Two of them, and a binder.
        let extension =
            b"\x00\x10\x00\x01a\x00\x00\x00\x00\x00\x03bcd\x01\x02\x03\x04\x00\x02\x01x";
        let read = |bytes| identities(bytes).collect::<Vec<_>>();
        assert_eq!(read(extension), [&b"a"[..], b"bcd"]);
        for len in 0..18 {
            assert!(
                read(&extension[..len]).is_empty(),
                "the list is cut off at {len}"
            );
        }
        let mut longer = *extension;
        longer[10] = 9;
        assert_eq!(read(&longer), [b"a"]);
        assert!(read(b"\x00\x00").is_empty());
    }
}
