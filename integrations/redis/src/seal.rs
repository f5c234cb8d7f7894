//! The sealed format: what lies in Redis.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this format: 2 |
//! | 4 | the stack's name |
//! | 4 | number of the key, big-endian |
//! | 24 | nonce, random |
//! | the rest | XChaCha20-Poly1305 of the plaintext, with its tag of 16 bytes at the end |
//!
//! Associated data: the first 9 bytes, the context's name and the id, each after its length. The plaintext:
//! flags (1 byte: single use, probation, TLS 1.3), when it was sealed in milliseconds of Unix time (8), how long
//! it then lived and how long ago its peer had been authenticated, in milliseconds (8 and 8), the value.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use orion::hazardous::aead::xchacha20poly1305::{self, Nonce};
use sessionwheel::{SessionKey, TierSession};
use zeroize::Zeroizing;

use crate::codec::Codec;
use crate::keys::Keys;

/// The longest value that is sealed: 64 KB (65,536 bytes).
pub const MAX_VALUE_LEN: usize = 64 * 1024;

const VERSION: u8 = 2;
/// What is in the clear and authenticated: version, stack, key.
const HEADER: usize = 1 + 4 + 4;
const NONCE: usize = 24;
const TAG: usize = 16;
const FIXED: usize = 1 + 8 + 8 + 8;

/// The longest that is ever read.
pub(crate) const MAX_SEALED_LEN: usize = HEADER + NONCE + FIXED + MAX_VALUE_LEN + TAG;

/// So far may the clock of the host that has sealed be ahead of ours.
pub(crate) const SKEW: Duration = Duration::from_secs(60);

/// Whom a sealed session is for: it opens for nobody else.
#[derive(Clone, Copy)]
pub(crate) struct For<'a> {
    pub(crate) context: &'a [u8],
    pub(crate) key: &'a SessionKey,
}

impl For<'_> {
    fn associated(&self, header: &[u8]) -> Vec<u8> {
        let id = self.key.id().as_bytes();
        let mut data = Vec::with_capacity(HEADER + 2 + self.context.len() + id.len());
        data.extend_from_slice(header);
        for part in [self.context, id] {
            // Names have at most 255 bytes, ids 32.
            data.push(part.len() as u8);
            data.extend_from_slice(part);
        }
        data
    }
}

/// Why a session was not sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotSealed {
    Oversized,
    /// The cipher refused, or there was no randomness.
    Cipher,
}

/// Seals a session for the time `now`.
pub(crate) fn seal<V>(
    keys: &Keys,
    codec: &Codec<V>,
    whom: For<'_>,
    session: &TierSession<&V>,
    now: SystemTime,
) -> Result<Vec<u8>, NotSealed> {
    // One allocation for nearly all sessions: growing leaves copies behind.
    let mut body = Zeroizing::new(Vec::with_capacity(2_048));
    let flags = [session.single_use, session.probation, session.tls13];
    let flags = (0..).zip(flags).map(|(bit, set)| u8::from(set) << bit);
    body.push(flags.sum());
    body.extend_from_slice(&since_epoch(now).to_be_bytes());
    body.extend_from_slice(&millis(session.remaining).to_be_bytes());
    // Rounded up: nothing becomes younger.
    let authenticated_for = session
        .authenticated_for
        .saturating_add(Duration::from_nanos(999_999));
    body.extend_from_slice(&millis(authenticated_for).to_be_bytes());
    codec.encode(session.value, &mut body);
    if body.len() - FIXED > MAX_VALUE_LEN {
        return Err(NotSealed::Oversized);
    }
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|_| NotSealed::Cipher)?;
    keys.sealing(|id, secret| {
        let mut sealed = Vec::with_capacity(HEADER + NONCE + body.len() + TAG);
        sealed.push(VERSION);
        sealed.extend_from_slice(&codec.stack());
        sealed.extend_from_slice(&id.to_be_bytes());
        let associated = whom.associated(&sealed);
        sealed.extend_from_slice(&nonce);
        sealed.resize(HEADER + NONCE + body.len() + TAG, 0);
        let room = &mut sealed[HEADER + NONCE..];
        xchacha20poly1305::seal(secret, &Nonce::from(nonce), &body, Some(&associated), room)
            .map_err(|_| NotSealed::Cipher)?;
        Ok(sealed)
    })
}

/// What was found instead of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotOpened {
    /// Not sealed by one of our keys for this id and context, or not bytes that the codec takes.
    Foreign,
    /// It was, and its time is over.
    Expired,
    /// It was, too long ago to be known not to have been removed.
    Withheld,
}

/// Opens what [`seal`] has sealed for the same, if it still lives at `now` and was sealed after `watermark`.
pub(crate) fn open<V>(
    keys: &Keys,
    codec: &Codec<V>,
    whom: For<'_>,
    sealed: &[u8],
    now: SystemTime,
    watermark: u64,
) -> Result<TierSession<V>, NotOpened> {
    let (header, rest) = sealed.split_at_checked(HEADER).ok_or(NotOpened::Foreign)?;
    let (nonce, body) = rest
        .split_first_chunk::<NONCE>()
        .ok_or(NotOpened::Foreign)?;
    if header[0] != VERSION || header[1..5] != codec.stack() || sealed.len() > MAX_SEALED_LEN {
        return Err(NotOpened::Foreign);
    }
    let id = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
    let len = body.len().checked_sub(TAG).ok_or(NotOpened::Foreign)?;
    let (nonce, associated) = (Nonce::from(*nonce), whom.associated(header));
    let (sealed, mut body) = (body, Zeroizing::new(vec![0; len]));
    keys.opening(id, |secret| {
        xchacha20poly1305::open(secret, &nonce, sealed, Some(&associated), &mut body)
    })
    .and_then(Result::ok)
    .ok_or(NotOpened::Foreign)?;

    let mut fields = Fields(&body);
    let flags = fields.byte()?;
    let millis = fields.number::<8>()?;
    let sealed_at = UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    let remaining = Duration::from_millis(fields.number::<8>()?);
    let authenticated_for = Duration::from_millis(fields.number::<8>()?);
    let sealed_at = sealed_at.ok_or(NotOpened::Foreign)?;
    let age = match now.duration_since(sealed_at) {
        Ok(age) => age,
        Err(ahead) if ahead.duration() <= SKEW => Duration::ZERO,
        Err(_) => return Err(NotOpened::Foreign),
    };
    let remaining = remaining.checked_sub(age).ok_or(NotOpened::Expired)?;
    if millis <= watermark {
        return Err(NotOpened::Withheld);
    }
    let value = codec.decode(fields.0).ok_or(NotOpened::Foreign)?;
    let mut session = TierSession::new(*whom.key, value, remaining);
    session.authenticated_for = authenticated_for.saturating_add(age);
    session.single_use = flags & 1 != 0;
    session.probation = flags & 2 != 0;
    session.tls13 = flags & 4 != 0;
    Ok(session)
}

/// What is left of a plaintext.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn byte(&mut self) -> Result<u8, NotOpened> {
        self.number::<1>().map(|byte| byte as u8)
    }

    /// `N` bytes, 8 at most.
    fn number<const N: usize>(&mut self) -> Result<u64, NotOpened> {
        let (bytes, rest) = self.0.split_first_chunk::<N>().ok_or(NotOpened::Foreign)?;
        self.0 = rest;
        let join = |number, byte: &u8| number << 8 | u64::from(*byte);
        Ok(bytes.iter().fold(0, join))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn since_epoch(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, millis)
}

#[cfg(test)]
mod tests;
