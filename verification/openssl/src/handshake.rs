//! Handshakes in memory, and what OpenSSL calls in them. TLS 1.2 with a key that both ends have beforehand: no
//! certificates, and no tickets.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_long, c_uchar, c_uint};
use openssl::error::ErrorStack;
use openssl::ssl::{
    ErrorCode, ShutdownState, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef,
    SslStream, SslVersion,
};
use openssl_sys::{SSL, SSL_CTX, SSL_SESSION};
use sessionwheel::Role;
use sessionwheel_openssl::ffi::SSL_CTX_set_generate_session_id;

use crate::ffi::{Cache, Session};

/// More than any handshake takes.
const ROUNDS: usize = 10;

/// The bytes of an id.
pub(crate) fn bytes(id: usize) -> [u8; 32] {
    [u8::try_from(id).expect("a small number"); 32]
}

fn id_of(bytes: &[u8]) -> usize {
    bytes[0].into()
}

/// What OpenSSL has asked for and told, by id, since it was last read.
#[derive(Default, Debug)]
pub struct Calls {
    /// By the new-session callback.
    pub new: Vec<usize>,
    /// By the get callback.
    pub fetched: Vec<usize>,
    /// By the removal callback.
    pub gone: Vec<usize>,
}

/// What the callbacks of this thread go by.
#[derive(Default)]
struct Desk {
    /// Of clients, then of servers.
    calls: [Calls; 2],
    /// What the new-session callback says.
    keeps: bool,
    /// Of the next session of a server.
    id: usize,
    outside: BTreeMap<usize, Session>,
}

thread_local! {
    static DESK: RefCell<Desk> = RefCell::default();
}

/// Which of the two.
fn at(server: bool) -> usize {
    usize::from(server)
}

/// The calls at one end since this was last called.
#[must_use]
pub fn calls(role: Role) -> Calls {
    DESK.with_borrow_mut(|desk| mem::take(&mut desk.calls[at(role == Role::Server)]))
}

/// What lies outside from now on.
pub fn set_outside(sessions: BTreeMap<usize, Session>) {
    // Dropped when nobody looks at the desk.
    drop(DESK.with_borrow_mut(|desk| mem::replace(&mut desk.outside, sessions)));
}

/// What the id of a session is.
///
/// # Safety
/// It is alive.
unsafe fn id(session: *mut SSL_SESSION) -> usize {
    let session = NonNull::new(session).expect("a session");
    // SAFETY: it is alive, and its id was set before anybody was called with it.
    let session = unsafe { Session::share(session) };
    id_of(session.view().id())
}

unsafe extern "C" fn on_new<const SERVER: bool>(_: *mut SSL, session: *mut SSL_SESSION) -> c_int {
    // SAFETY: OpenSSL lends it for the length of this call.
    let id = unsafe { id(session) };
    let keeps = DESK.with_borrow_mut(|desk| {
        desk.calls[at(SERVER)].new.push(id);
        desk.keeps
    });
    if keeps {
        // SAFETY: who says 1 has got a reference, which is not needed any more.
        unsafe { openssl_sys::SSL_SESSION_free(session) };
    }
    keeps.into()
}

unsafe extern "C" fn on_remove<const SERVER: bool>(_: *mut SSL_CTX, session: *mut SSL_SESSION) {
    // SAFETY: as above.
    let id = unsafe { id(session) };
    DESK.with_borrow_mut(|desk| desk.calls[at(SERVER)].gone.push(id));
}

unsafe extern "C" fn on_get(
    _: *mut SSL,
    id: *const c_uchar,
    length: c_int,
    copy: *mut c_int,
) -> *mut SSL_SESSION {
    // SAFETY: the id is as long as is said, for the length of this call.
    let id = id_of(unsafe { slice::from_raw_parts(id, length as usize) });
    let found = DESK.with_borrow_mut(|desk| {
        desk.calls[at(true)].fetched.push(id);
        desk.outside.get(&id).map(Session::duplicate)
    });
    // SAFETY: it points to a number of OpenSSL's; 0 gives it the reference.
    unsafe { *copy = 0 };
    found.map_or(ptr::null_mut(), Session::into_raw)
}

unsafe extern "C" fn generate(_: *mut SSL, id: *mut c_uchar, length: *mut c_uint) -> c_int {
    let new = bytes(DESK.with_borrow(|desk| desk.id));
    // SAFETY: there is room for as much as `length` says, which stays as it is.
    unsafe {
        assert_eq!(*length as usize, new.len());
        ptr::copy_nonoverlapping(new.as_ptr(), id, new.len());
    }
    1
}

fn builder(role: Role) -> Result<SslContextBuilder, ErrorStack> {
    let method = match role {
        Role::Server => SslMethod::tls_server(),
        Role::Client => SslMethod::tls_client(),
    };
    let mut builder = SslContext::builder(method)?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_max_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list("PSK-AES128-GCM-SHA256")?;
    builder.set_options(SslOptions::NO_TICKET);
    let fill = |key: &mut [u8]| {
        key[..16].fill(7);
        Ok(16)
    };
    match role {
        Role::Server => builder.set_psk_server_callback(move |_, _, key| fill(key)),
        Role::Client => builder.set_psk_client_callback(move |_, _, identity, key| {
            identity[..2].copy_from_slice(b"7\0");
            fill(key)
        }),
    }
    Ok(builder)
}

/// One end's context, as `SSL_CTX_set_session_cache_mode(3)` and `SSL_CTX_sess_set_cache_size(3)` set it up, with
/// all callbacks; with that of what lies outside if `fetches`.
///
/// # Panics
/// If OpenSSL fails.
#[must_use]
pub fn context(role: Role, mode: c_long, fetches: bool) -> SslContext {
    // What others left unread, because they failed.
    DESK.with_borrow_mut(|desk| desk.calls[at(role == Role::Server)] = Calls::default());
    let context = builder(role).expect("a context").build();
    let raw = context.as_ptr();
    let (new, remove): (unsafe extern "C" fn(_, _) -> _, unsafe extern "C" fn(_, _)) = match role {
        Role::Server => (on_new::<true>, on_remove::<true>),
        Role::Client => (on_new::<false>, on_remove::<false>),
    };
    // SAFETY: the context is alive and nobody else has it yet. The callbacks are those that each function asks for.
    unsafe {
        openssl_sys::SSL_CTX_set_session_cache_mode(raw, mode);
        openssl_sys::SSL_CTX_sess_set_new_cb(raw, Some(new));
        openssl_sys::SSL_CTX_sess_set_remove_cb(raw, Some(remove));
        if fetches {
            openssl_sys::SSL_CTX_sess_set_get_cb(raw, Some(on_get));
        }
        SSL_CTX_set_generate_session_id(raw, generate);
    }
    context
}

/// The cache of a context.
#[must_use]
pub fn cache(context: &SslContext) -> Cache {
    let raw = NonNull::new(context.as_ptr()).expect("a context");
    // SAFETY: the context is alive, and gets another reference. Its callbacks know of this thread only.
    unsafe {
        openssl_sys::SSL_CTX_up_ref(raw.as_ptr());
        Cache::over(raw)
    }
}

/// One direction.
type Pipe = Rc<RefCell<VecDeque<u8>>>;

/// One end of a connection.
#[derive(Debug)]
struct Wire {
    from: Pipe,
    to: Pipe,
}

impl Read for Wire {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.from.borrow_mut().read(into)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            read => Ok(read),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.to.borrow_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How a handshake went.
#[derive(Debug)]
pub struct Done {
    /// Whether it resumed what was offered.
    pub resumed: bool,
    /// The session, as the client has it.
    pub client: Session,
    /// As the server has it.
    pub server: Session,
}

fn session(ssl: &SslRef) -> Session {
    // SAFETY: the connection is alive, and so is its session, if it has one.
    let session = unsafe { openssl_sys::SSL_get_session(ssl.as_ptr()) };
    let session = NonNull::new(session).expect("the handshake is over");
    // SAFETY: as above; the handshake that has set the id is over.
    unsafe { Session::share(session) }
}

/// Goes on with one end; whether it is done.
fn go_on(
    stream: &mut SslStream<Wire>,
    step: impl FnOnce(&mut SslStream<Wire>) -> Result<(), openssl::ssl::Error>,
) -> Result<bool, String> {
    match step(stream) {
        Ok(()) => Ok(true),
        Err(error) if error.code() == ErrorCode::WANT_READ => Ok(false),
        Err(error) => Err(format!("a handshake failed: {error}")),
    }
}

/// A handshake between the two, in which the client offers a session. If it comes to a new one, that has this id, and
/// the new-session callbacks say whether it is kept.
///
/// # Errors
/// If it fails.
pub fn shake(
    client: &SslContext,
    server: &SslContext,
    offer: Option<&Session>,
    id: usize,
    keeps: bool,
) -> Result<Done, String> {
    DESK.with_borrow_mut(|desk| (desk.id, desk.keeps) = (id, keeps));
    let (there, back) = (Pipe::default(), Pipe::default());
    let stream = |context, from: &Pipe, to: &Pipe| {
        let wire = Wire {
            from: from.clone(),
            to: to.clone(),
        };
        let ssl = Ssl::new(context)?;
        SslStream::new(ssl, wire)
    };
    let failed = |error: ErrorStack| format!("no connection: {error}");
    let mut server = stream(server, &there, &back).map_err(failed)?;
    let mut client = stream(client, &back, &there).map_err(failed)?;
    if let Some(offer) = offer {
        let offered = offer.duplicate().into_raw();
        // SAFETY: both are alive, and the connection takes a reference of its own, so that ours is given back.
        unsafe {
            openssl_sys::SSL_set_session(client.ssl().as_ptr(), offered);
            openssl_sys::SSL_SESSION_free(offered);
        }
    }
    let (mut connected, mut accepted) = (false, false);
    for _ in 0..ROUNDS {
        connected = connected || go_on(&mut client, SslStream::connect)?;
        accepted = accepted || go_on(&mut server, SslStream::accept)?;
    }
    if !(connected && accepted) {
        return Err("a handshake does not end".into());
    }
    for stream in [&mut client, &mut server] {
        // Or OpenSSL would take what follows for an unclean close, and remove the session.
        stream.set_shutdown(ShutdownState::SENT | ShutdownState::RECEIVED);
    }
    Ok(Done {
        resumed: server.ssl().session_reused(),
        client: session(client.ssl()),
        server: session(server.ssl()),
    })
}
