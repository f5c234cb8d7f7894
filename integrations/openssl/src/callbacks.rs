//! What OpenSSL calls.
//!
//! # Ground rules
//!
//! - Whatever a callback does is contained: a panic costs a miss, or a session that is not kept, and is counted.
//! - The session that a connection has is never kept, and what is kept is never given to a connection: one that
//!   closes uncleanly marks its session as not resumable, and would mark that of all others.
//! - Nothing is left in the thread's error queue.

use std::ptr;
use std::sync::OnceLock;
use std::time::SystemTime;

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_long, c_void};
use openssl::error::ErrorStack;
use openssl::ex_data::Index;
use openssl::ssl::{NameType, Ssl, SslRef, SslSession, SslSessionRef, SslVerifyMode, SslVersion};
use sessionwheel::{
    Context, Established, SessionCache, SessionId, SessionKey, SessionOptions, SessionRef,
    Timestamp,
};

use crate::contain::contain;
use crate::ffi;
use crate::options::{EarlyData, Options, Removals, ServerNames, SingleUse, Tickets};
use crate::server_name;
use crate::session::{Session, Storage, encoded_len};
use crate::stats::Counters;
use crate::tag::TagKey;

/// So many ids that were made here are looked up for one connection. Each may cost a question to the external tier, and a
/// client can collect as many expired tickets as it likes; honest ones offer one or two. (A hello that has to be said again
/// counts again, and so do a renegotiation and what else is done with an `SSL` that is used again.)
pub(crate) const MOST_LOOKUPS: u32 = 4;

/// What the callbacks of a context share.
pub(crate) struct Shared {
    pub(crate) cache: SessionCache<Session>,
    pub(crate) context: Context,
    pub(crate) indices: Indices,
    pub(crate) key: Option<TagKey>,
    pub(crate) refused: Counters,
    pub(crate) options: Options,
}

/// What a connection keeps for its callbacks.
#[derive(Clone, Copy)]
pub(crate) struct Indices {
    /// When the peer of the session that it resumes was authenticated.
    authenticated_at: Index<Ssl, Timestamp>,
    /// How many lookups there were for it.
    lookups: Index<Ssl, u32>,
}

impl Indices {
    /// The same for all: a connection resumes from one cache.
    pub(crate) fn get() -> Result<Self, ErrorStack> {
        static INDICES: OnceLock<Indices> = OnceLock::new();
        if let Some(indices) = INDICES.get() {
            return Ok(*indices);
        }
        let new = Self {
            authenticated_at: Ssl::new_ex_index()?,
            lookups: Ssl::new_ex_index()?,
        };
        Ok(*INDICES.get_or_init(|| new))
    }
}

impl Shared {
    /// A handshake has made a session, or a ticket of TLS 1.3 was made: `SSL_CTX_sess_set_new_cb(3)`.
    pub(crate) fn established(&self, ssl: &mut SslRef, session: &SslSessionRef) {
        self.contained(|| self.keep(ssl, session));
    }

    /// A client offers an id: `SSL_CTX_sess_set_get_cb(3)`.
    pub(crate) fn resume(&self, ssl: &mut SslRef, id: &[u8]) -> Option<SslSession> {
        self.contained(|| self.find(ssl, id)).flatten()
    }

    /// Something has happened after which OpenSSL would not resume a session:
    /// `SSL_CTX_sess_set_remove_cb(3)`.
    pub(crate) fn removed(&self, session: &SslSessionRef) {
        self.contained(|| self.forget(session));
    }

    pub(crate) fn contained<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let done = contain(f);
        if done.is_none() {
            self.refused.panics.add_one();
        }
        done
    }

    fn keep(&self, ssl: &mut SslRef, session: &SslSessionRef) {
        #[cfg(test)]
        crate::planted::here("keep");
        let Some(key) = self.session_key(session.id()) else {
            return;
        };
        let tls13 = session.protocol_version() == SslVersion::TLS1_3;
        // Which `attach` refuses, but the versions may have been changed since.
        if tls13 && self.options.tickets == Tickets::Tls12 {
            self.refused.not_stored.add_one();
            return;
        }
        if self
            .size(ssl, session)
            .is_none_or(|size| size > self.options.largest_session)
        {
            self.refused.oversized.add_one();
            return;
        }
        let name = ssl.servername_raw(NameType::HOST_NAME);
        let Some(value) = Session::keep(session, name, self.options.storage) else {
            self.refused.unusable.add_one();
            return;
        };
        let once = self.options.single_use == SingleUse::Tls13 || session.max_early_data() > 0;
        let mut options = SessionOptions::default()
            .tls13(tls13)
            .single_use(tls13 && once);
        options.timeout = self.options.timeout;
        if ssl.session_reused() {
            options.authenticated_at = ssl.ex_data(self.indices.authenticated_at).copied();
        }
        match self.cache.server().established(key, value, options) {
            Ok(Established::Declined(_)) | Err(_) => self.refused.not_stored.add_one(),
            Ok(_) => {}
        }
    }

    /// The cache's key of an id that may have been made here.
    pub(crate) fn own_key(&self, id: &[u8]) -> Option<SessionKey> {
        let made = |key: &TagKey| key.made(id);
        self.session_key(id)
            .filter(|_| self.key.as_ref().is_none_or(made))
    }

    fn find(&self, ssl: &mut SslRef, id: &[u8]) -> Option<SslSession> {
        #[cfg(test)]
        crate::planted::here("find");
        let Some(key) = self.own_key(id) else {
            self.refused.foreign_ids.add_one();
            return None;
        };
        let lookups = ssl.ex_data(self.indices.lookups).copied().unwrap_or(0);
        if lookups >= MOST_LOOKUPS {
            self.refused.too_many_ids.add_one();
            return None;
        }
        ssl.set_ex_data(self.indices.lookups, lookups + 1);
        let tls13 = ssl.version2() == Some(SslVersion::TLS1_3);
        let once = self.options.single_use == SingleUse::Tls13 || ssl.max_early_data() > 0;
        let judge = |found: SessionRef<'_, Session>| {
            let session = self.judge(ssl, id, found.value())?;
            // What was kept here was looked at then.
            if found.is_from_outside() && self.is_too_large(&session) {
                self.refused.oversized.add_one();
                return None;
            }
            let replayable = self.options.early_data == EarlyData::Own && found.is_from_outside();
            let replayable = replayable || !found.is_arbitrated();
            Some((session, found.authenticated_at(), replayable))
        };
        let server = self.cache.server();
        let found = if tls13 && once {
            server.take_entry(&key, judge)
        } else {
            server.resume_entry(&key, judge)
        };
        let (session, authenticated_at, replayable) = found.hit()??;
        ssl.set_ex_data(self.indices.authenticated_at, authenticated_at);
        // Also of a connection that takes none yet: a callback that comes later may change that.
        if tls13 && replayable {
            refuse_early_data(ssl);
            if session.max_early_data() > 0 {
                self.refused.early_data_refused.add_one();
            }
        }
        Some(session)
    }

    fn is_too_large(&self, session: &SslSessionRef) -> bool {
        encoded_len(session).is_none_or(|size| size > self.options.largest_session)
    }

    /// Whether this connection may resume this session, and a duplicate of it if so.
    fn judge(&self, ssl: &mut SslRef, id: &[u8], session: &Session) -> Option<SslSession> {
        if self.options.server_names == ServerNames::MustMatch
            && !server_name::same(server_name::offered(ssl), session.server_name())
        {
            self.refused.other_names.add_one();
            return None;
        }
        let Some(session) = session.hand_out().filter(|session| session.id() == id) else {
            self.refused.unusable.add_one();
            return None;
        };
        // OpenSSL asks no client for a certificate that resumes.
        let required = SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT;
        if ssl.verify_mode().contains(required) && !has_peer(&session) {
            self.refused.unauthenticated.add_one();
            return None;
        }
        if session.protocol_version() != SslVersion::TLS1_3 {
            start_anew(&session);
        }
        Some(session)
    }

    fn forget(&self, session: &SslSessionRef) {
        #[cfg(test)]
        crate::planted::here("forget");
        let follow = match self.options.removals {
            Removals::All => true,
            Removals::Ignored => false,
            Removals::FatalAlerts => after_fatal_alert(),
        };
        if !follow {
            self.refused.removals_ignored.add_one();
        } else if let Some(key) = self.session_key(session.id()) {
            self.cache.remove(&key);
            self.refused.removals_followed.add_one();
        }
    }

    /// The cache's key of an id that OpenSSL may have; that has 1 to 32 bytes.
    fn session_key(&self, id: &[u8]) -> Option<SessionKey> {
        let id = SessionId::new(id).ok().filter(|id| !id.is_empty())?;
        Some(SessionKey::new(self.context, id))
    }

    /// The size of a session with all that it keeps alive, in bytes of DER.
    fn size(&self, ssl: &SslRef, session: &SslSessionRef) -> Option<usize> {
        let mut size = encoded_len(session)?;
        if self.options.storage == Storage::Objects {
            for certificate in ssl.peer_cert_chain().into_iter().flatten() {
                // SAFETY: the connection keeps the certificate alive; without a buffer nothing is written.
                let len = unsafe { openssl_sys::i2d_X509(certificate.as_ptr(), ptr::null_mut()) };
                size = size.checked_add(usize::try_from(len).ok()?)?;
            }
        }
        Some(size)
    }
}

/// For this connection, on which no early data was accepted yet: OpenSSL decides when it has read all of the ClientHello.
fn refuse_early_data(ssl: &mut SslRef) {
    unsafe extern "C" fn refuse(_: *mut openssl_sys::SSL, _: *mut c_void) -> c_int {
        0
    }
    // SAFETY: the connection is alive and ours alone for the length of a callback; the function is static, and looks
    // at nothing that it is given.
    unsafe { ffi::SSL_set_allow_early_data_cb(ssl.as_ptr(), refuse, ptr::null_mut()) };
}

fn has_peer(session: &SslSession) -> bool {
    // SAFETY: the session is ours alone, and only read.
    unsafe { !ffi::SSL_SESSION_get0_peer(session.as_ptr()).is_null() }
}

/// OpenSSL judges the age of a session by the wall clock; the cache has judged it by its own. In TLS 1.2 nothing
/// else depends on it, in TLS 1.3 the freshness of early data does.
fn start_anew(session: &SslSession) {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seconds = since.map_or(0, |since| since.as_secs());
    // SAFETY: the session is ours alone, and in no cache of OpenSSL's.
    unsafe {
        ffi::SSL_SESSION_set_time(
            session.as_ptr(),
            c_long::try_from(seconds).unwrap_or(c_long::MAX),
        )
    };
}

/// Whether what this thread's last error says is that a fatal alert was sent or received.
///
/// In OpenSSL, `ossl_statem_fatal` and the reading of an alert put an error of libssl on the queue, and only then is
/// the session removed; `SSL_free` and its like put none. An end of file without close_notify is an error that
/// comes the same way, and is none of these.
fn after_fatal_alert() -> bool {
    // SAFETY: it takes nothing, and looks at the queue of this thread.
    let error = unsafe { openssl_sys::ERR_peek_last_error() };
    // `ERR_GET_LIB`, `ERR_GET_REASON` and `ERR_SYSTEM_ERROR` of OpenSSL 3.
    let (library, reason) = (error >> 23 & 0xff, error & 0x7f_ffff);
    error & 1 << 31 == 0
        && library == ffi::ERR_LIB_SSL as libc::c_ulong
        && reason != ffi::SSL_R_UNEXPECTED_EOF_WHILE_READING as libc::c_ulong
}

#[cfg(test)]
mod tests {
    use crate::Options;
    use crate::planted::Planted;
    use crate::support::{Client, Server, VERSIONS};
    use openssl::ssl::SslVersion;

    /// One that came to C would end the process.
    #[test]
    fn a_panic_costs_a_session_or_a_miss_and_is_counted() {
        for version in VERSIONS {
            let server = Server::new(Options::default());
            let client = Client::new(version);
            let panics = || server.attachment.stats().panics;

            let planted = Planted::at("keep");
            let lost = client.session(&server.context);
            drop(planted);
            let tickets = if version == SslVersion::TLS1_3 { 2 } else { 1 };
            assert_eq!((panics(), server.cache.len()), (tickets, 0), "{version:?}");
            assert!(!client.resumes(&server.context, &lost));

            let session = client.session(&server.context);
            let planted = Planted::at("find");
            assert!(!client.resumes(&server.context, &session), "{version:?}");
            drop(planted);
            assert_eq!(panics(), tickets + 1);
            assert!(client.resumes(&server.context, &session), "{version:?}");

            let planted = Planted::at("forget");
            let connection = client.connect(&server.context, Some(&session));
            assert!(connection.resumed());
            drop(connection); // uncleanly
            drop(planted);
            assert_eq!(panics(), tickets + 2);
            assert!(client.resumes(&server.context, &session), "{version:?}");
        }
    }
}
