//! What a client offers, before rustls has seen it.

use std::error::Error;
use std::fmt;

use crate::hellos::MOST;
use crate::store::KEY_LEN;

/// The types of the record, of the message, and of the two extensions (RFC 8446, 5.1, 4 and 4.2).
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const PRE_SHARED_KEY: u16 = 41;
const SUPPORTED_VERSIONS: u16 = 43;

/// As two bytes each record and each hello say it.
const TLS13: u16 = 0x0304;

/// The longest message of a handshake that rustls takes, and the longest record of one (RFC 8446, 5.1).
const LONGEST_MESSAGE: usize = 0xffff;
const LONGEST_RECORD: usize = 1 << 14;

/// The ids of sessions that a client offers, from [`offered`]; those that no store of this crate can have are left out.
///
/// `Debug` shows none.
#[derive(Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offered {
    /// The session id, which is one of TLS 1.2. Clients that speak TLS 1.3 make one up.
    pub session_id: Option<[u8; KEY_LEN]>,
    /// The first four tickets of TLS 1.3.
    pub tickets: Vec<[u8; KEY_LEN]>,
    /// Whether the client speaks TLS 1.3: a server that does too does not look the session id up.
    pub tls13: bool,
}

impl Offered {
    /// As a server sees it that speaks TLS 1.2 only.
    #[must_use]
    pub fn in_tls12(self) -> Self {
        Self {
            session_id: self.session_id,
            ..Self::default()
        }
    }

    /// What a server looks up.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &[u8; KEY_LEN]> {
        let id = self.session_id.iter().filter(|_| !self.tls13);
        self.tickets.iter().chain(id)
    }
}

impl fmt::Debug for Offered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offered")
            .field("session_id", &self.session_id.is_some())
            .field("tickets", &self.tickets.len())
            .field("tls13", &self.tls13)
            .finish()
    }
}

/// More bytes have to come before it can be said what a client offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Incomplete;

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the hello is not all there")
    }
}

impl Error for Incomplete {}

/// What the client offers whose first bytes these are, for [`RustlsStore::prepare`](crate::RustlsStore::prepare).
///
/// Bytes that no hello begins with offer nothing: rustls will say what is wrong with them. So does a hello of more than 64 KB.
/// The work is in proportion to the bytes, and no more than to 64 KB of a message; of its tickets the first four of 32
/// bytes are taken.
///
/// # Errors
/// [`Incomplete`]: look again when there are more. If there is no room for more (a hello may have 64 KB, most have less than
/// two) go on without.
///
/// # Examples
/// Without taking them from the socket:
///
/// ```no_run
/// use std::net::TcpStream;
/// use sessionwheel_rustls::{Offered, offered};
///
/// # fn f(socket: TcpStream) -> std::io::Result<()> {
/// let mut bytes = [0; 16_384];
/// let seen = socket.peek(&mut bytes)?;
/// let offered: Offered = offered(&bytes[..seen]).unwrap_or_default();
/// # Ok(())
/// # }
/// ```
pub fn offered(bytes: &[u8]) -> Result<Offered, Incomplete> {
    let hello = message(bytes)?;
    Ok(hello.and_then(|hello| parse(&hello)).unwrap_or_default())
}

/// The body of the hello in these records; `None` if there is none, and will be none.
fn message(mut records: &[u8]) -> Result<Option<Vec<u8>>, Incomplete> {
    let mut message = Vec::new();
    loop {
        let Some((header, rest)) = records.split_first_chunk::<5>() else {
            let other = records.first().is_some_and(|kind| *kind != HANDSHAKE);
            return if other { Ok(None) } else { Err(Incomplete) };
        };
        let len = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[0] != HANDSHAKE || header[1] != 3 || !(1..=LONGEST_RECORD).contains(&len) {
            return Ok(None);
        }
        let (fragment, rest) = rest.split_at(len.min(rest.len()));
        message.extend_from_slice(fragment);
        if let Some((&[kind, a, b, c], body)) = message.split_first_chunk() {
            let whole = u32::from_be_bytes([0, a, b, c]) as usize;
            if kind != CLIENT_HELLO || whole > LONGEST_MESSAGE {
                return Ok(None);
            }
            if let Some(body) = body.get(..whole) {
                return Ok(Some(body.to_vec()));
            }
        }
        if fragment.len() < len {
            return Err(Incomplete);
        }
        records = rest;
    }
}

/// What such a body says (RFC 8446, 4.1.2). Nothing if it is not to the last byte what it should be.
fn parse(mut body: &[u8]) -> Option<Offered> {
    let rest = &mut body;
    cut(rest, 2 + 32)?; // version and random
    let session_id = cut_vector::<1>(rest)?.try_into().ok();
    cut_vector::<2>(rest)?; // suites
    cut_vector::<1>(rest)?; // compression
    let mut offered = Offered {
        session_id,
        ..Offered::default()
    };
    if rest.is_empty() {
        return Some(offered); // as very old clients have it
    }
    let mut extensions = cut_vector::<2>(rest)?;
    while !extensions.is_empty() {
        let kind = cut_number(&mut extensions)?;
        let mut extension = cut_vector::<2>(&mut extensions)?;
        match kind {
            SUPPORTED_VERSIONS => {
                let versions = cut_vector::<1>(&mut extension)?;
                let speaks = |version: &[u8]| version == TLS13.to_be_bytes();
                offered.tls13 = versions.chunks_exact(2).any(speaks);
            }
            PRE_SHARED_KEY => offered.tickets = tickets(cut_vector::<2>(&mut extension)?)?,
            _ => {}
        }
    }
    if !offered.tls13 {
        offered.tickets.clear();
    }
    rest.is_empty().then_some(offered)
}

/// The first of a list of identities that may be a store's. Each is followed by an age.
fn tickets(mut identities: &[u8]) -> Option<Vec<[u8; KEY_LEN]>> {
    let mut tickets = Vec::new();
    while !identities.is_empty() && tickets.len() < MOST as usize {
        let identity = cut_vector::<2>(&mut identities)?;
        cut(&mut identities, 4)?;
        tickets.extend(<[u8; KEY_LEN]>::try_from(identity));
    }
    Some(tickets)
}

fn cut<'b>(from: &mut &'b [u8], len: usize) -> Option<&'b [u8]> {
    let (first, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(first)
}

fn cut_number(from: &mut &[u8]) -> Option<u16> {
    let bytes = cut(from, 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

/// A vector whose length stands in front of it, in so many bytes.
fn cut_vector<'b, const WIDTH: usize>(from: &mut &'b [u8]) -> Option<&'b [u8]> {
    let len = cut(from, WIDTH)?;
    let len = len.iter().fold(0, |n, byte| n << 8 | usize::from(*byte));
    cut(from, len)
}
