//! The value of the cache: a session that no connection has.

use std::error::Error;
use std::fmt;
use std::ptr;

use foreign_types::{ForeignType, ForeignTypeRef};
use libc::c_long;
use openssl::error::ErrorStack;
use openssl::ssl::{SslSession, SslSessionRef};
use zeroize::Zeroizing;

use crate::ffi;

/// In which form sessions are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Storage {
    /// As OpenSSL's objects: quick, and about 1 KB for each session, 3 to 6 KB with a client certificate.
    #[default]
    Objects,
    /// In DER: about 150 bytes for each session, 500 and more with a client certificate. A resumption has to parse
    /// it, certificate and all; and the client's chain is lost, but for its own certificate.
    Der,
}

/// One session of a server.
///
/// It is a duplicate that no connection has ever had, so that no connection can spoil it, and each
/// [resumption](crate::attach) gets a duplicate of its own. `Debug` shows no secret; when it is dropped, OpenSSL
/// cleanses the object, and bytes are overwritten with zeros.
pub struct Session(Form);

enum Form {
    /// Nobody else has a reference to the object.
    Object {
        session: SslSession,
        server_name: Option<Box<[u8]>>,
    },
    /// The same as a frame: see `frame`.
    Bytes(Zeroizing<Box<[u8]>>),
}

/// Bytes that are no [`Session`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct BadSession;

impl fmt::Display for BadSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a session, or one of another version of this crate or of OpenSSL")
    }
}

impl Error for BadSession {}

/// The first byte of a frame.
const FORMAT: u8 = 1;

impl Session {
    /// A duplicate of a connection's session. Nothing if there is no memory, or the name is too long.
    pub(crate) fn keep(
        session: &SslSessionRef,
        server_name: Option<&[u8]>,
        storage: Storage,
    ) -> Option<Self> {
        let server_name = server_name.filter(|name| !name.is_empty());
        match storage {
            Storage::Objects => Some(Self(Form::Object {
                session: duplicate(session)?,
                server_name: server_name.map(Into::into),
            })),
            Storage::Der => Some(Self(Form::Bytes(frame(session, server_name)?))),
        }
    }

    /// For one resumption: a duplicate of its own.
    pub(crate) fn hand_out(&self) -> Option<SslSession> {
        match &self.0 {
            Form::Object { session, .. } => duplicate(session),
            Form::Bytes(bytes) => decode(parts(bytes)?.1),
        }
    }

    /// The name of the server that the client had asked for.
    #[must_use]
    pub fn server_name(&self) -> Option<&[u8]> {
        match &self.0 {
            Form::Object { server_name, .. } => server_name.as_deref(),
            Form::Bytes(bytes) => parts(bytes)?.0,
        }
    }

    /// In which form it is kept.
    #[must_use]
    pub fn storage(&self) -> Storage {
        match self.0 {
            Form::Object { .. } => Storage::Objects,
            Form::Bytes(_) => Storage::Der,
        }
    }

    /// The session as bytes, for an [external tier](sessionwheel::ExternalTier). They contain its secrets: whoever
    /// gets them can decrypt what is resumed with it without forward secrecy.
    ///
    /// # Errors
    /// [`BadSession`] if OpenSSL can't encode it, for want of memory.
    pub fn to_bytes(&self) -> Result<Zeroizing<Box<[u8]>>, BadSession> {
        match &self.0 {
            Form::Object {
                session,
                server_name,
            } => frame(session, server_name.as_deref()).ok_or(BadSession),
            Form::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    /// What [`to_bytes`](Self::to_bytes) has made, to be kept in this form.
    ///
    /// # Errors
    /// [`BadSession`] if it isn't that, to the last byte. (Who can change the bytes on their way can forge
    /// sessions: they have to be authenticated by whoever carries them.)
    pub fn from_bytes(bytes: &[u8], storage: Storage) -> Result<Self, BadSession> {
        let (server_name, der) = parts(bytes).ok_or(BadSession)?;
        let session = decode(der).ok_or(BadSession)?;
        Ok(Self(match storage {
            Storage::Objects => Form::Object {
                session,
                server_name: server_name.map(Into::into),
            },
            Storage::Der => Form::Bytes(Zeroizing::new(bytes.into())),
        }))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("storage", &self.storage())
            .finish_non_exhaustive()
    }
}

/// `SSL_SESSION_dup(3)`: the same, and resumable, whatever becomes of the other.
fn duplicate(session: &SslSessionRef) -> Option<SslSession> {
    // SAFETY: the reference keeps the session alive, and nobody changes it: it is either one that this module keeps
    // and shows nobody, or one of a connection whose thread is in a callback, here.
    let copy = unsafe { ffi::SSL_SESSION_dup(session.as_ptr()) };
    own(copy)
}

fn own(session: *mut openssl_sys::SSL_SESSION) -> Option<SslSession> {
    if session.is_null() {
        // Left where they are, they would be taken for those of the connection.
        drop(ErrorStack::get());
        return None;
    }
    // SAFETY: it isn't null, and the caller has just been given the one reference to it.
    Some(unsafe { SslSession::from_ptr(session) })
}

/// How long the session is in DER.
pub(crate) fn encoded_len(session: &SslSessionRef) -> Option<usize> {
    // SAFETY: the reference keeps the session alive; without a buffer nothing is written.
    let len = unsafe { openssl_sys::i2d_SSL_SESSION(session.as_ptr(), ptr::null_mut()) };
    usize::try_from(len).ok().filter(|&len| len > 0)
}

/// Version, length of the name, name, DER. No other copy of the secrets is made.
fn frame(session: &SslSessionRef, name: Option<&[u8]>) -> Option<Zeroizing<Box<[u8]>>> {
    let name = name.unwrap_or_default();
    let (len, der_len) = (u8::try_from(name.len()).ok()?, encoded_len(session)?);
    let mut bytes = Zeroizing::new(vec![0; 2 + name.len() + der_len].into_boxed_slice());
    bytes[..2].copy_from_slice(&[FORMAT, len]);
    let (before, der) = bytes.split_at_mut(2 + name.len());
    before[2..].copy_from_slice(name);
    let mut end = der.as_mut_ptr();
    // SAFETY: the reference keeps the session alive, and it is not changed (see `duplicate`), so that there is room for
    // the length that was asked for.
    let written = unsafe { openssl_sys::i2d_SSL_SESSION(session.as_ptr(), &raw mut end) };
    (usize::try_from(written) == Ok(der_len)).then_some(bytes)
}

/// The name and the DER of a frame.
fn parts(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (&format, bytes) = bytes.split_first()?;
    let (&len, bytes) = bytes.split_first()?;
    let (name, der) = bytes.split_at_checked(len.into())?;
    (format == FORMAT).then_some(((len > 0).then_some(name), der))
}

/// The session that these bytes are, all of them.
fn decode(der: &[u8]) -> Option<SslSession> {
    let len = c_long::try_from(der.len()).ok()?;
    let mut end = der.as_ptr();
    // SAFETY: the bytes are as many as is said, and only read.
    let session = own(unsafe { openssl_sys::d2i_SSL_SESSION(ptr::null_mut(), &raw mut end, len) })?;
    (end == der.as_ptr_range().end).then_some(session)
}
