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
use libc::{c_char, c_int, c_long, c_uchar, c_uint, c_ulong, c_void, size_t};
use openssl::ssl::SslContextRef;
use openssl_sys::{CRYPTO_EX_dup, CRYPTO_EX_free, CRYPTO_EX_new, SSL, SSL_CTX, SSL_SESSION, X509};

/// `GEN_SESSION_CB`: fills in an id, of at most the length that it finds; 0 fails the handshake.
#[allow(non_camel_case_types)]
pub type GEN_SESSION_CB =
    unsafe extern "C" fn(ssl: *mut SSL, id: *mut c_uchar, length: *mut c_uint) -> c_int;

/// `SSL_allow_early_data_cb_fn`: 1 lets early data in that would be accepted, 0 refuses it.
#[allow(non_camel_case_types)]
pub type ALLOW_EARLY_DATA_CB = unsafe extern "C" fn(ssl: *mut SSL, argument: *mut c_void) -> c_int;

/// What `SSL_CTX_sess_set_new_cb` sets: 1 keeps the reference to the session that it is given.
#[allow(non_camel_case_types)]
pub type NEW_SESSION_CB = unsafe extern "C" fn(ssl: *mut SSL, session: *mut SSL_SESSION) -> c_int;

/// What `SSL_CTX_sess_set_remove_cb` sets.
#[allow(non_camel_case_types)]
pub type REMOVE_SESSION_CB = unsafe extern "C" fn(ctx: *mut SSL_CTX, session: *mut SSL_SESSION);

/// What `SSL_CTX_sess_set_get_cb` sets: a session, or null; `copy` is 1 at first, and stays so if OpenSSL is to make a
/// reference of its own.
#[allow(non_camel_case_types)]
pub type GET_SESSION_CB = unsafe extern "C" fn(
    ssl: *mut SSL,
    id: *const c_uchar,
    length: c_int,
    copy: *mut c_int,
) -> *mut SSL_SESSION;

/// `SSL_CTX_generate_session_ticket_fn`: before a ticket is made, whose application data it may set; 0 ends the handshake.
#[allow(non_camel_case_types)]
pub type GENERATE_TICKET_CB = unsafe extern "C" fn(ssl: *mut SSL, argument: *mut c_void) -> c_int;

/// `SSL_CTX_decrypt_session_ticket_fn`: what is to become of a ticket that a client offers, by its status.
#[allow(non_camel_case_types)]
pub type DECRYPT_TICKET_CB = unsafe extern "C" fn(
    ssl: *mut SSL,
    session: *mut SSL_SESSION,
    key_name: *const c_uchar,
    key_name_length: size_t,
    status: SSL_TICKET_STATUS,
    argument: *mut c_void,
) -> SSL_TICKET_RETURN;

/// `SSL_TICKET_STATUS`, an `int`: what a ticket was found to be.
#[allow(non_camel_case_types)]
pub type SSL_TICKET_STATUS = c_int;
/// `SSL_TICKET_RETURN`, an `int`: what is to become of it.
#[allow(non_camel_case_types)]
pub type SSL_TICKET_RETURN = c_int;

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
    pub fn SSL_SESSION_get0_hostname(session: *const SSL_SESSION) -> *const c_char;
    pub fn SSL_SESSION_set_ex_data(
        session: *mut SSL_SESSION,
        index: c_int,
        data: *mut c_void,
    ) -> c_int;
    pub fn SSL_SESSION_get_ex_data(session: *const SSL_SESSION, index: c_int) -> *mut c_void;
    pub fn SSL_SESSION_set1_ticket_appdata(
        session: *mut SSL_SESSION,
        data: *const c_void,
        length: size_t,
    ) -> c_int;
    pub fn SSL_SESSION_get0_ticket_appdata(
        session: *mut SSL_SESSION,
        data: *mut *mut c_void,
        length: *mut size_t,
    ) -> c_int;
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
    pub fn SSL_CTX_set_allow_early_data_cb(
        ctx: *mut SSL_CTX,
        callback: Option<ALLOW_EARLY_DATA_CB>,
        argument: *mut c_void,
    );
    pub fn SSL_CTX_set_session_ticket_cb(
        ctx: *mut SSL_CTX,
        generate: Option<GENERATE_TICKET_CB>,
        decrypt: Option<DECRYPT_TICKET_CB>,
        argument: *mut c_void,
    ) -> c_int;
    pub fn SSL_CTX_sess_get_new_cb(ctx: *mut SSL_CTX) -> Option<NEW_SESSION_CB>;
    pub fn SSL_CTX_sess_get_remove_cb(ctx: *mut SSL_CTX) -> Option<REMOVE_SESSION_CB>;
    pub fn SSL_CTX_sess_get_get_cb(ctx: *mut SSL_CTX) -> Option<GET_SESSION_CB>;
    pub fn SSL_CTX_set_generate_session_id(ctx: *mut SSL_CTX, callback: GEN_SESSION_CB) -> c_int;
    pub fn SSL_CTX_flush_sessions(ctx: *mut SSL_CTX, at: c_long);
    pub fn SSL_CTX_set_timeout(ctx: *mut SSL_CTX, seconds: c_long) -> c_long;
    pub fn SSL_CTX_get_timeout(ctx: *const SSL_CTX) -> c_long;
}

/// `CRYPTO_EX_INDEX_SSL_SESSION`.
pub const CRYPTO_EX_INDEX_SSL_SESSION: c_int = 2;
/// `SSL_TICKET_FATAL_ERR_MALLOC`.
pub const SSL_TICKET_FATAL_ERR_MALLOC: SSL_TICKET_STATUS = 0;
/// `SSL_TICKET_FATAL_ERR_OTHER`.
pub const SSL_TICKET_FATAL_ERR_OTHER: SSL_TICKET_STATUS = 1;
/// `SSL_TICKET_NONE`.
pub const SSL_TICKET_NONE: SSL_TICKET_STATUS = 2;
/// `SSL_TICKET_EMPTY`.
pub const SSL_TICKET_EMPTY: SSL_TICKET_STATUS = 3;
/// `SSL_TICKET_NO_DECRYPT`.
pub const SSL_TICKET_NO_DECRYPT: SSL_TICKET_STATUS = 4;
/// `SSL_TICKET_SUCCESS`.
pub const SSL_TICKET_SUCCESS: SSL_TICKET_STATUS = 5;
/// `SSL_TICKET_SUCCESS_RENEW`.
pub const SSL_TICKET_SUCCESS_RENEW: SSL_TICKET_STATUS = 6;
/// `SSL_TICKET_RETURN_ABORT`.
pub const SSL_TICKET_RETURN_ABORT: SSL_TICKET_RETURN = 0;
/// `SSL_TICKET_RETURN_IGNORE`.
pub const SSL_TICKET_RETURN_IGNORE: SSL_TICKET_RETURN = 1;
/// `SSL_TICKET_RETURN_IGNORE_RENEW`.
pub const SSL_TICKET_RETURN_IGNORE_RENEW: SSL_TICKET_RETURN = 2;
/// `SSL_TICKET_RETURN_USE`.
pub const SSL_TICKET_RETURN_USE: SSL_TICKET_RETURN = 3;
/// `SSL_TICKET_RETURN_USE_RENEW`.
pub const SSL_TICKET_RETURN_USE_RENEW: SSL_TICKET_RETURN = 4;
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

/// `SSL_SESSION_get_ex_new_index(3)`, a macro in C: an index for what else a session is to carry; -1 if there is no memory.
///
/// # Safety
/// The functions are called with what is set under the index, on any thread, for as long as the process lives.
#[allow(non_snake_case)]
pub unsafe fn SSL_SESSION_get_ex_new_index(
    number: c_long,
    pointer: *mut c_void,
    new: Option<CRYPTO_EX_new>,
    duplicate: Option<CRYPTO_EX_dup>,
    free: Option<CRYPTO_EX_free>,
) -> c_int {
    // SAFETY: the caller answers for the functions.
    unsafe {
        openssl_sys::CRYPTO_get_ex_new_index(
            CRYPTO_EX_INDEX_SSL_SESSION,
            number,
            pointer,
            new,
            duplicate,
            free,
        )
    }
}

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
