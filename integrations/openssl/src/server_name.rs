//! The name in a ClientHello, before OpenSSL has looked at it.

use openssl::ssl::SslRef;

use crate::client_hello;

/// The number of the extension `server_name` (RFC 6066, 3), and of the type of names that it knows.
const SERVER_NAME: u32 = 0;
const HOST_NAME: u8 = 0;

/// The name of the server that the client is asking for, while its ClientHello is being processed.
pub(crate) fn offered(ssl: &mut SslRef) -> Option<&[u8]> {
    parse(client_hello::extension(ssl, SERVER_NAME)?)
}

/// The host name of a `ServerNameList`, which OpenSSL takes only if it is the first and only one.
fn parse(extension: &[u8]) -> Option<&[u8]> {
    let (len, list) = extension.split_first_chunk()?;
    let (&kind, entry) = list.split_first()?;
    let (name_len, name) = entry.split_first_chunk()?;
    let exact = usize::from(u16::from_be_bytes(*len)) == list.len()
        && usize::from(u16::from_be_bytes(*name_len)) == name.len();
    (exact && kind == HOST_NAME && !name.is_empty()).then_some(name)
}

/// Whether two connections asked for the same server.
pub(crate) fn same(one: Option<&[u8]>, other: Option<&[u8]>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_one_host_name_is_read() {
        let extension = b"\x00\x0e\x00\x00\x0bexample.org";
        assert_eq!(parse(extension), Some(&b"example.org"[..]));
        for len in 0..extension.len() {
            assert_eq!(parse(&extension[..len]), None, "cut off at {len}");
        }
        assert_eq!(parse(b"\x00\x0f\x00\x00\x0bexample.org\x00"), None);
        assert_eq!(parse(b"\x00\x0e\x01\x00\x0bexample.org"), None);
        assert_eq!(parse(b"\x00\x03\x00\x00\x00"), None);
    }

    #[test]
    fn case_does_not_count_and_absence_does() {
        assert!(same(Some(b"example.ORG"), Some(b"Example.org")));
        assert!(same(None, None));
        assert!(!same(Some(b"a.example"), Some(b"b.example")));
        assert!(!same(Some(b"a.example"), None) && !same(None, Some(b"a.example")));
    }
}
