//! OpenSSL's session cache by its C interface, so far as it can be used without a handshake.

use std::cell::RefCell;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;

use libc::{c_int, c_long, c_uint, c_void};
use openssl_sys::{SSL, SSL_CTX, SSL_SESSION};
use sessionwheel_openssl::ffi::{
    SSL_CTRL_SESS_CACHE_FULL, SSL_CTRL_SESS_NUMBER, SSL_CTX_flush_sessions, SSL_CTX_get_timeout,
    SSL_CTX_set_timeout, SSL_SESS_CACHE_UPDATE_TIME, SSL_SESSION_dup, SSL_SESSION_is_resumable,
    SSL_SESSION_new, SSL_SESSION_set_protocol_version, SSL_SESSION_set_time,
    SSL_SESSION_set_timeout, SSL_SESSION_set1_id, SSL_has_matching_session_id,
};

/// `LHASH_OF(SSL_SESSION)`, the table of a context's sessions.
#[repr(C)]
struct Lhash {
    _opaque: [u8; 0],
}

// What neither openssl-sys nor sessionwheel-openssl declares.
unsafe extern "C" {
    fn SSL_CTX_sessions(ctx: *mut SSL_CTX) -> *mut Lhash;
    fn OPENSSL_LH_doall_arg(
        table: *mut Lhash,
        each: unsafe extern "C" fn(*mut c_void, *mut c_void),
        argument: *mut c_void,
    );
}

/// The version that a server's `SSL` starts with; a part of the cache's keys.
pub const TLS_1_3: i32 = 0x0304;
/// Another one.
pub const TLS_1_2: i32 = 0x0303;

/// The version of the library that is loaded: major, minor, patch.
#[must_use]
pub fn version() -> (u32, u32, u32) {
    // SAFETY: it takes nothing, and may be called at any time.
    let number = unsafe { openssl_sys::OpenSSL_version_num() };
    // From 3.0 on 0xMNN00PP0.
    let part = |shift: u32, mask: u32| (number >> shift) as u32 & mask;
    (part(28, 0xf), part(20, 0xff), part(4, 0xff))
}

/// How it calls itself.
#[must_use]
pub fn name() -> String {
    // SAFETY: 0 is OPENSSL_VERSION; what comes back is a string that lives as long as the library.
    let name = unsafe { CStr::from_ptr(openssl_sys::OpenSSL_version(0)) };
    name.to_string_lossy().into_owned()
}

thread_local! {
    /// What the callback was called for on this thread, in order.
    static REPORTED: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// The ids that the removal callback was called with since this was last called, in order.
#[must_use]
pub fn reported() -> Vec<Box<[u8]>> {
    REPORTED.take()
}

unsafe extern "C" fn on_remove(_: *mut SSL_CTX, session: *mut SSL_SESSION) {
    let session = NonNull::new(session).expect("a session");
    // SAFETY: OpenSSL holds a reference to the session for the length of this call.
    let session = unsafe { View::new(session) };
    REPORTED.with_borrow_mut(|reported| reported.push(session.id().into()));
}

unsafe extern "C" fn collect(session: *mut c_void, found: *mut c_void) {
    // SAFETY: `Cache::each` passes its vector, which nobody else touches meanwhile.
    let found = unsafe { &mut *found.cast::<Vec<NonNull<SSL_SESSION>>>() };
    found.extend(NonNull::new(session.cast()));
}

/// A session that somebody holds a reference to for as long.
#[derive(Clone, Copy, Debug)]
pub struct View<'s> {
    session: NonNull<SSL_SESSION>,
    held: PhantomData<&'s SSL_SESSION>,
}

impl<'s> View<'s> {
    /// # Safety
    /// For `'s` the session is alive, and nobody changes its id.
    unsafe fn new(session: NonNull<SSL_SESSION>) -> Self {
        let held = PhantomData;
        Self { session, held }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &'s [u8] {
        let mut length: c_uint = 0;
        // SAFETY: the session is alive for 's (see `new`); its id is an array inside it that nobody changes.
        unsafe {
            let id = openssl_sys::SSL_SESSION_get_id(self.session.as_ptr(), &raw mut length);
            slice::from_raw_parts(id, length as usize)
        }
    }

    /// When it was made, in seconds since 1970.
    #[must_use]
    pub fn time(&self) -> i64 {
        // SAFETY: the session is alive (see `new`).
        unsafe { openssl_sys::SSL_SESSION_get_time(self.session.as_ptr()) as i64 }
    }

    /// For how many seconds it lives.
    #[must_use]
    pub fn timeout(&self) -> i64 {
        // SAFETY: the session is alive (see `new`).
        unsafe { openssl_sys::SSL_SESSION_get_timeout(self.session.as_ptr()) as i64 }
    }

    /// Whether it may still be resumed, so far as its own mark says.
    #[must_use]
    pub fn is_resumable(&self) -> bool {
        // SAFETY: the session is alive (see `new`).
        unsafe { SSL_SESSION_is_resumable(self.session.as_ptr()) == 1 }
    }
}

/// A reference to an `SSL_SESSION`.
#[derive(Debug)]
pub struct Session(NonNull<SSL_SESSION>);

impl Session {
    /// # Safety
    /// A session that is alive, of whose id what `View::new` says holds as long as anybody has a reference.
    pub(crate) unsafe fn share(session: NonNull<SSL_SESSION>) -> Self {
        // SAFETY: the session is alive, and gets another reference.
        unsafe { openssl_sys::SSL_SESSION_up_ref(session.as_ptr()) };
        Self(session)
    }

    /// The same session, in no cache.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        // SAFETY: the session is alive, and only read; the reference to the new one is ours.
        Self(NonNull::new(unsafe { SSL_SESSION_dup(self.0.as_ptr()) }).expect("memory"))
    }

    /// Gives the reference away.
    #[must_use]
    pub(crate) fn into_raw(self) -> *mut SSL_SESSION {
        std::mem::ManuallyDrop::new(self).0.as_ptr()
    }

    /// In no cache, for TLS 1.3.
    #[must_use]
    pub fn new(id: &[u8]) -> Self {
        Self::of_version(id, TLS_1_3)
    }

    /// In no cache, for this version of the protocol.
    #[must_use]
    pub fn of_version(id: &[u8], version: i32) -> Self {
        // SAFETY: it takes nothing.
        let new = Self(NonNull::new(unsafe { SSL_SESSION_new() }).expect("memory"));
        // SAFETY: the session is alive, ours alone and in no cache; the id is copied, and as long as is said.
        let set = unsafe {
            SSL_SESSION_set_protocol_version(new.0.as_ptr(), version)
                & SSL_SESSION_set1_id(new.0.as_ptr(), id.as_ptr(), id.len() as c_uint)
        };
        assert_eq!(set, 1, "an id of at most 32 bytes");
        new
    }

    /// The same id, time and timeout as this one, in no cache, and resumable.
    #[must_use]
    pub fn again(&self) -> Self {
        let new = Self::new(self.view().id());
        new.set_time(self.view().time());
        assert!(new.set_timeout(self.view().timeout()));
        new
    }

    /// What can be read of it.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        // SAFETY: `self` holds a reference, and ids are set by `of_version` alone, or in handshakes that are over.
        unsafe { View::new(self.0) }
    }

    /// Whether this is that object.
    #[must_use]
    pub fn is(&self, other: View<'_>) -> bool {
        self.0 == other.session
    }

    /// A cache that it is in sorts it anew.
    pub fn set_time(&self, seconds: i64) {
        // SAFETY: the session is alive. If it is in a cache, that is alive too: the cache takes its sessions
        // out when it goes.
        unsafe { SSL_SESSION_set_time(self.0.as_ptr(), seconds as c_long) };
    }

    /// The same; refused if negative.
    #[must_use]
    pub fn set_timeout(&self, seconds: i64) -> bool {
        // SAFETY: as for the time.
        unsafe { SSL_SESSION_set_timeout(self.0.as_ptr(), seconds as c_long) == 1 }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: whoever made this got the reference, and it is given up once.
        unsafe { openssl_sys::SSL_SESSION_free(self.0.as_ptr()) }
    }
}

/// An `SSL_CTX`, for its session cache. It belongs to its thread, and reports there.
#[derive(Debug)]
pub struct Cache {
    ctx: NonNull<SSL_CTX>,
    /// Lookups go through one; this one is in no handshake.
    ssl: NonNull<SSL>,
}

impl Drop for Cache {
    /// Reports all that is there.
    fn drop(&mut self) {
        // SAFETY: both came from `new`, are freed once, and nobody else has a reference.
        unsafe {
            openssl_sys::SSL_free(self.ssl.as_ptr());
            openssl_sys::SSL_CTX_free(self.ctx.as_ptr());
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self::new()
    }
}

impl Cache {
    /// With OpenSSL's defaults, and the removal callback set.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: methods are static; the context and the connection are checked before they are used, and
        // are handed to `Drop`.
        unsafe {
            let ctx = openssl_sys::SSL_CTX_new(openssl_sys::TLS_server_method());
            let ctx = NonNull::new(ctx).expect("a context");
            openssl_sys::SSL_CTX_sess_set_remove_cb(ctx.as_ptr(), Some(on_remove));
            Self::over(ctx)
        }
    }

    /// # Safety
    /// A reference to a context, which is given away. What the context is told, it is told on this thread.
    pub(crate) unsafe fn over(ctx: NonNull<SSL_CTX>) -> Self {
        // SAFETY: the context is alive; the connection is checked before it is used. Both are handed to `Drop`.
        let ssl = unsafe { openssl_sys::SSL_new(ctx.as_ptr()) };
        let ssl = NonNull::new(ssl).expect("a connection");
        Self { ctx, ssl }
    }

    /// One of the counters of `SSL_CTX_sess_number(3)`.
    pub(crate) fn control(&self, what: c_int) -> usize {
        // SAFETY: the context is alive; the controls of this module read no argument.
        let n =
            unsafe { openssl_sys::SSL_CTX_ctrl(self.ctx.as_ptr(), what, 0, std::ptr::null_mut()) };
        usize::try_from(n).expect("a count")
    }

    /// `SSL_CTX_sess_number`.
    #[must_use]
    pub fn number(&self) -> usize {
        self.control(SSL_CTRL_SESS_NUMBER)
    }

    /// `SSL_CTX_sess_cache_full`.
    #[must_use]
    pub fn cache_full(&self) -> usize {
        self.control(SSL_CTRL_SESS_CACHE_FULL)
    }

    /// `SSL_CTX_sess_get_cache_size`.
    #[must_use]
    pub fn size(&self) -> i64 {
        // SAFETY: the context is alive.
        unsafe { openssl_sys::SSL_CTX_sess_get_cache_size(self.ctx.as_ptr()) as i64 }
    }

    /// `SSL_CTX_sess_set_cache_size`: what it was.
    pub fn set_size(&mut self, size: i64) -> i64 {
        // SAFETY: the context is alive.
        unsafe {
            openssl_sys::SSL_CTX_sess_set_cache_size(self.ctx.as_ptr(), size as c_long) as i64
        }
    }

    /// Adds `SSL_SESS_CACHE_UPDATE_TIME` to the mode of a server.
    pub fn update_time(&mut self) {
        let mode = openssl_sys::SSL_SESS_CACHE_SERVER | SSL_SESS_CACHE_UPDATE_TIME;
        // SAFETY: the context is alive.
        unsafe { openssl_sys::SSL_CTX_set_session_cache_mode(self.ctx.as_ptr(), mode) };
    }

    /// `SSL_CTX_get_timeout`.
    #[must_use]
    pub fn timeout(&self) -> i64 {
        // SAFETY: the context is alive.
        unsafe { SSL_CTX_get_timeout(self.ctx.as_ptr()) as i64 }
    }

    /// `SSL_CTX_set_timeout`: what it was.
    pub fn set_timeout(&mut self, seconds: i64) -> i64 {
        // SAFETY: the context is alive.
        unsafe { SSL_CTX_set_timeout(self.ctx.as_ptr(), seconds as c_long) as i64 }
    }

    /// `SSL_CTX_add_session`.
    ///
    /// # Safety
    /// The session is in no other cache: it has links for one list only.
    pub unsafe fn add(&mut self, session: &Session) -> bool {
        // SAFETY: both are alive, the session is in no other list. The cache takes a reference of its own.
        unsafe { openssl_sys::SSL_CTX_add_session(self.ctx.as_ptr(), session.0.as_ptr()) == 1 }
    }

    /// `SSL_CTX_remove_session`, which finds by the session's version and id.
    pub fn remove(&mut self, session: &Session) -> bool {
        // SAFETY: both are alive.
        unsafe { openssl_sys::SSL_CTX_remove_session(self.ctx.as_ptr(), session.0.as_ptr()) == 1 }
    }

    /// `SSL_CTX_flush_sessions`.
    pub fn flush(&mut self, at: i64) {
        // SAFETY: the context is alive.
        unsafe { SSL_CTX_flush_sessions(self.ctx.as_ptr(), at as c_long) }
    }

    /// `SSL_has_matching_session_id`, of TLS 1.3.
    #[must_use]
    pub fn has(&self, id: &[u8]) -> bool {
        // SAFETY: the connection is alive, and only read; the id is as long as is said.
        unsafe {
            SSL_has_matching_session_id(self.ssl.as_ptr(), id.as_ptr(), id.len() as c_uint) == 1
        }
    }

    /// References to all sessions.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let mut all = Vec::new();
        // SAFETY: whoever sees a session of the cache sees one that is alive, and whose id stays.
        self.each(|view| all.push(unsafe { Session::share(view.session) }));
        all
    }

    /// Calls this for each session, by a walk over `SSL_CTX_sessions`.
    pub fn each(&self, mut look: impl FnMut(View<'_>)) {
        let mut found: Vec<NonNull<SSL_SESSION>> = Vec::new();
        // SAFETY: the context is alive, and so is its table, which nobody changes meanwhile: `self` belongs
        // to this thread, and changes take it exclusively. `collect` gets the vector it expects.
        unsafe {
            let table = SSL_CTX_sessions(self.ctx.as_ptr());
            OPENSSL_LH_doall_arg(table, collect, (&raw mut found).cast());
        }
        for session in found {
            // SAFETY: the cache holds a reference to each, and is borrowed until this function returns.
            look(unsafe { View::new(session) });
        }
    }
}
