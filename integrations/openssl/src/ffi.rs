//! What `openssl-sys` does not declare of libssl's session interface.
//!
//! Names, arguments and meaning are those of the manual pages. All are there from OpenSSL 1.1.1 on; from 3.4 on
//! those that take a `long` for a time are deprecated, and still there.
//!
//! # Examples
//!
//! OpenSSL's own cache, counted and flushed:
//!
//! ```
//! use openssl::ssl::{SslContext, SslMethod};
//! use sessionwheel_openssl::ffi;
//!
//! let context = SslContext::builder(SslMethod::tls_server())?.build();
//! ffi::flush_sessions(&context, 0);
//! assert_eq!(ffi::sess_number(&context), 0);
//! # Ok::<(), openssl::error::ErrorStack>(())
//! ```

use std::ptr;

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_long, c_uchar, c_uint, c_ulong, c_void};
use openssl::ssl::SslContextRef;
use openssl_sys::{SSL, SSL_CTX, SSL_SESSION, X509};

/// `GEN_SESSION_CB`: fills in an id, of at most the length that it finds; 0 fails the handshake.
#[allow(non_camel_case_types)]
pub type GEN_SESSION_CB =
    unsafe extern "C" fn(ssl: *mut SSL, id: *mut c_uchar, length: *mut c_uint) -> c_int;

/// `SSL_allow_early_data_cb_fn`: 1 lets early data in that would be accepted, 0 refuses it.
#[allow(non_camel_case_types)]
pub type ALLOW_EARLY_DATA_CB = unsafe extern "C" fn(ssl: *mut SSL, argument: *mut c_void) -> c_int;

#[allow(missing_docs)] // See the manual pages.
unsafe extern "C" {
    pub fn SSL_SESSION_new() -> *mut SSL_SESSION;
    pub fn SSL_SESSION_dup(session: *const SSL_SESSION) -> *mut SSL_SESSION;
    pub fn SSL_SESSION_is_resumable(session: *const SSL_SESSION) -> c_int;
    pub fn SSL_SESSION_get0_peer(session: *mut SSL_SESSION) -> *mut X509;
    pub fn SSL_SESSION_get_ticket_lifetime_hint(session: *const SSL_SESSION) -> c_ulong;
    pub fn SSL_SESSION_set_time(session: *mut SSL_SESSION, seconds: c_long) -> c_long;
    pub fn SSL_SESSION_set_timeout(session: *mut SSL_SESSION, seconds: c_long) -> c_long;
    pub fn SSL_SESSION_set_protocol_version(session: *mut SSL_SESSION, version: c_int) -> c_int;
    pub fn SSL_SESSION_set1_id(
        session: *mut SSL_SESSION,
        id: *const c_uchar,
        length: c_uint,
    ) -> c_int;
    pub fn SSL_SESSION_get0_id_context(
        session: *const SSL_SESSION,
        length: *mut c_uint,
    ) -> *const c_uchar;
    pub fn SSL_has_matching_session_id(
        ssl: *const SSL,
        id: *const c_uchar,
        length: c_uint,
    ) -> c_int;
    pub fn SSL_set_allow_early_data_cb(
        ssl: *mut SSL,
        callback: ALLOW_EARLY_DATA_CB,
        argument: *mut c_void,
    );
    pub fn SSL_CTX_set_generate_session_id(ctx: *mut SSL_CTX, callback: GEN_SESSION_CB) -> c_int;
    pub fn SSL_CTX_flush_sessions(ctx: *mut SSL_CTX, at: c_long);
    pub fn SSL_CTX_set_timeout(ctx: *mut SSL_CTX, seconds: c_long) -> c_long;
    pub fn SSL_CTX_get_timeout(ctx: *const SSL_CTX) -> c_long;
}

/// `SSL_OP_NO_ANTI_REPLAY`.
pub const SSL_OP_NO_ANTI_REPLAY: u64 = 1 << 24;
/// `SSL_CTRL_SESS_NUMBER`.
pub const SSL_CTRL_SESS_NUMBER: c_int = 20;
/// `SSL_CTRL_SESS_CACHE_FULL`.
pub const SSL_CTRL_SESS_CACHE_FULL: c_int = 31;
/// `SSL_SESS_CACHE_UPDATE_TIME`.
pub const SSL_SESS_CACHE_UPDATE_TIME: c_long = 0x400;
/// `ERR_LIB_SSL`.
pub const ERR_LIB_SSL: c_int = 20;
/// `SSL_R_UNEXPECTED_EOF_WHILE_READING`, of OpenSSL 3.0 and newer.
pub const SSL_R_UNEXPECTED_EOF_WHILE_READING: c_int = 294;

/// `SSL_CTX_sess_number(3)`: how many sessions OpenSSL's own cache of this context holds. None, once
/// [`attach`](crate::attach) was called.
#[must_use]
pub fn sess_number(context: &SslContextRef) -> usize {
    // SAFETY: the reference keeps the context alive; this control reads no argument and changes nothing.
    let number = unsafe {
        openssl_sys::SSL_CTX_ctrl(context.as_ptr(), SSL_CTRL_SESS_NUMBER, 0, ptr::null_mut())
    };
    usize::try_from(number).unwrap_or(0)
}

/// `SSL_CTX_flush_sessions(3)`: removes from OpenSSL's own cache of this context what had expired before `at`,
/// in seconds since 1970; 0 is for all. It holds the context's lock meanwhile.
pub fn flush_sessions(context: &SslContextRef, at: i64) {
    let at = c_long::try_from(at).unwrap_or(if at < 0 { c_long::MIN } else { c_long::MAX });
    // SAFETY: the reference keeps the context alive; OpenSSL locks its cache itself.
    unsafe { SSL_CTX_flush_sessions(context.as_ptr(), at) }
}
