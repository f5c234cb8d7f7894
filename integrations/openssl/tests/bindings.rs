//! That what `ffi` declares is what libssl has.

mod support;

use std::ffi::{CStr, c_int, c_uchar, c_void};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use foreign_types::{ForeignType, ForeignTypeRef};
use openssl::ssl::{SniError, SslContextBuilder, SslSession, SslVersion};
use openssl_sys::{SSL, SSL_SESSION};
use sessionwheel_openssl::{Options, Storage, attach, ffi};
use support::{Client, Identity, NAME, Server, VERSIONS, server_context};

#[test]
fn attach_sets_the_three_callbacks_of_the_session_cache() {
    let cache = sessionwheel::SessionCache::builder().build().unwrap();
    let mut context = server_context(&Identity::new(NAME));
    let set = |context: &SslContextBuilder| {
        let context = context.as_ptr();
        // SAFETY: the builder keeps the context alive, which is only read.
        unsafe {
            [
                ffi::SSL_CTX_sess_get_new_cb(context).is_some(),
                ffi::SSL_CTX_sess_get_remove_cb(context).is_some(),
                ffi::SSL_CTX_sess_get_get_cb(context).is_some(),
            ]
        }
    };
    assert_eq!(set(&context), [false; 3]);
    attach(&mut context, &cache, Options::default()).unwrap();
    assert_eq!(set(&context), [true; 3]);
}

fn hostname(session: &SslSession) -> Option<&CStr> {
    // SAFETY: the session is alive, and so is its name, which ends with a zero.
    unsafe {
        let name = ffi::SSL_SESSION_get0_hostname(session.as_ptr());
        (!name.is_null()).then(|| CStr::from_ptr(name))
    }
}

#[test]
fn a_session_has_the_name_that_the_server_has_acknowledged() {
    for version in VERSIONS {
        for acknowledges in [true, false] {
            let server = Server::with(Options::default(), |context| {
                context.set_servername_callback(move |_, _| match acknowledges {
                    true => Ok(()),
                    false => Err(SniError::NOACK),
                });
            });
            let session = Client::new(version).session(&server.context);
            let expected = acknowledges.then_some(c"localhost");
            assert_eq!(hostname(&session), expected, "{version:?}");
        }
    }
}

#[test]
fn a_session_carries_what_is_set_under_an_index() {
    static CARRIED: u8 = 7;
    let server = Server::new(Options::default());
    let client = Client::new(SslVersion::TLS1_3);
    let sessions = [(); 2].map(|()| client.session(&server.context));
    // SAFETY: there are no functions to be called.
    let index = unsafe { ffi::SSL_SESSION_get_ex_new_index(0, ptr::null_mut(), None, None, None) };
    assert!(index > 0, "0 is for the application's data");
    let carried = ptr::from_ref(&CARRIED).cast_mut().cast::<c_void>();
    // SAFETY: the sessions are ours; what is set is static, and not looked at by OpenSSL.
    unsafe {
        let [one, other] = sessions.each_ref().map(|session| session.as_ptr());
        assert_eq!(ffi::SSL_SESSION_set_ex_data(one, index, carried), 1);
        assert_eq!(ffi::SSL_SESSION_get_ex_data(one, index), carried);
        assert!(ffi::SSL_SESSION_get_ex_data(other, index).is_null());
    }
}

/// How often a callback was called with this for its argument.
unsafe fn count(argument: *mut c_void) {
    // SAFETY: the caller has passed a counter that lives.
    unsafe { &*argument.cast::<AtomicUsize>() }.fetch_add(1, Relaxed);
}

fn argument(counter: &'static AtomicUsize) -> *mut c_void {
    ptr::from_ref(counter).cast_mut().cast()
}

#[test]
fn a_context_can_refuse_early_data() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn refuse(_: *mut SSL, argument: *mut c_void) -> c_int {
        // SAFETY: it was set with this one.
        unsafe { count(argument) };
        0
    }
    let server = Server::with(Options::default(), |context| {
        context.set_max_early_data(1 << 14).unwrap();
        // SAFETY: the builder has the context alone; function and argument are static.
        unsafe {
            ffi::SSL_CTX_set_allow_early_data_cb(context.as_ptr(), Some(refuse), argument(&ASKED));
        }
    });
    let client = Client::new(SslVersion::TLS1_3);
    let session = client.session(&server.context);
    let (got, connection) = client.early(&server.context, &session);
    assert!(connection.resumed());
    assert_eq!((&got[..], ASKED.load(Relaxed)), (&b""[..], 1));
}

const SAID: &[u8] = b"of the application";

/// Gives the ticket something to carry.
unsafe extern "C" fn say(ssl: *mut SSL, argument: *mut c_void) -> c_int {
    // SAFETY: it was set with a counter, and is called with a connection that has a session; the data are copied.
    unsafe {
        count(argument);
        let session = openssl_sys::SSL_get_session(ssl);
        ffi::SSL_SESSION_set1_ticket_appdata(session, SAID.as_ptr().cast(), SAID.len())
    }
}

unsafe fn said(session: *mut SSL_SESSION) -> Vec<u8> {
    let (mut data, mut length) = (ptr::null_mut::<c_void>(), 0);
    // SAFETY: the caller's session lives, and keeps what is pointed at.
    unsafe {
        let got = ffi::SSL_SESSION_get0_ticket_appdata(session, &raw mut data, &raw mut length);
        assert_eq!(got, 1);
        if length == 0 {
            return Vec::new();
        }
        std::slice::from_raw_parts(data.cast::<u8>(), length).to_vec()
    }
}

/// It is kept with the session.
#[test]
fn what_a_ticket_carries_is_there_when_it_is_resumed() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    for storage in [Storage::Objects, Storage::Der] {
        let before = MADE.load(Relaxed);
        let server = Server::with(Options::default().storage(storage), |context| {
            // SAFETY: the builder has the context alone; function and argument are static.
            let set = unsafe {
                let argument = argument(&MADE);
                ffi::SSL_CTX_set_session_ticket_cb(context.as_ptr(), Some(say), None, argument)
            };
            assert_eq!(set, 1);
        });
        let client = Client::new(SslVersion::TLS1_3);
        let session = client.session(&server.context);
        assert_eq!(MADE.load(Relaxed) - before, 2);
        let connection = client.connect(&server.context, Some(&session));
        assert!(connection.resumed());
        let resumed = connection.server.ssl().session().unwrap().as_ptr();
        // SAFETY: it is the connection's, which lives.
        assert_eq!(unsafe { said(resumed) }, SAID);
        assert_eq!(MADE.load(Relaxed) - before, 3);
    }
}

/// OpenSSL's own tickets, without a cache.
#[test]
fn who_decrypts_a_ticket_sees_what_it_carries() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C" fn hear(
        _: *mut SSL,
        session: *mut SSL_SESSION,
        _: *const c_uchar,
        _: usize,
        status: ffi::SSL_TICKET_STATUS,
        argument: *mut c_void,
    ) -> ffi::SSL_TICKET_RETURN {
        match status {
            ffi::SSL_TICKET_SUCCESS | ffi::SSL_TICKET_SUCCESS_RENEW => {
                // SAFETY: there is a session with these statuses.
                assert_eq!(unsafe { said(session) }, SAID);
                // SAFETY: it was set with a counter.
                unsafe { count(argument) };
                ffi::SSL_TICKET_RETURN_USE
            }
            _ => ffi::SSL_TICKET_RETURN_IGNORE,
        }
    }
    let mut context = server_context(&Identity::new(NAME));
    // SAFETY: the builder has the context alone; functions and argument are static.
    let set = unsafe {
        let (context, argument) = (context.as_ptr(), argument(&MADE));
        ffi::SSL_CTX_set_session_ticket_cb(context, Some(say), Some(hear), argument)
    };
    assert_eq!(set, 1);
    context.set_session_id_context(b"without a cache").unwrap();
    let context = context.build();
    let client = Client::new(SslVersion::TLS1_3);
    let session = client.session(&context);
    assert_eq!(MADE.load(Relaxed), 2, "made");
    assert!(client.resumes(&context, &session));
    assert_eq!(MADE.load(Relaxed), 3, "decrypted, and not renewed");
}
