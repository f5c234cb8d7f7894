//! Handshakes in memory, and what OpenSSL calls in them, without stateless tickets. TLS 1.2 with a key that both ends
//! have beforehand, and no certificates; TLS 1.3 with a certificate, for there such a key counts as a resumption.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::slice;
use std::sync::LazyLock;

use foreign_types::ForeignTypeRef;
use libc::{c_int, c_long, c_uchar, c_uint};
use openssl::asn1::Asn1Time;
use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::sha::sha256;
use openssl::ssl::{
    ErrorCode, ShutdownState, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslRef,
    SslStream, SslVersion,
};
use openssl::x509::{X509, X509Name};
use openssl_sys::{SSL, SSL_CTX, SSL_SESSION};
use sessionwheel::Role;
use sessionwheel_openssl::ffi::SSL_CTX_set_generate_session_id;

use crate::ffi::{Cache, Session, TLS_1_2, TLS_1_3};

/// More than any handshake takes.
const ROUNDS: usize = 10;

/// A version of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// TLS 1.2: a full handshake makes one session, a resumed one none.
    Tls12,
    /// TLS 1.3 with stateful tickets (`SSL_OP_NO_TICKET`): a full handshake makes so many sessions, a resumed one
    /// makes another.
    Tls13(usize),
}

impl Version {
    /// Whether it is TLS 1.3.
    #[must_use]
    pub fn is_13(self) -> bool {
        self != Self::Tls12
    }

    fn of_openssl(self) -> SslVersion {
        match self {
            Self::Tls12 => SslVersion::TLS1_2,
            Self::Tls13(_) => SslVersion::TLS1_3,
        }
    }
}

/// The bytes of an id.
pub(crate) fn bytes(id: usize) -> [u8; 32] {
    [u8::try_from(id).expect("a small number"); 32]
}

/// What OpenSSL calls the session of that id at one end: in TLS 1.3 a client by the hash of its ticket, which is the id.
fn name(version: Version, role: Role, id: usize) -> [u8; 32] {
    if version.is_13() && role == Role::Client {
        sha256(&bytes(id))
    } else {
        bytes(id)
    }
}

/// The id of what OpenSSL calls so.
pub(crate) fn id_of(name: &[u8]) -> usize {
    static HASHED: LazyLock<BTreeMap<[u8; 32], usize>> =
        LazyLock::new(|| (0..=255).map(|id| (sha256(&bytes(id)), id)).collect());
    match HASHED.get(name) {
        Some(&id) => id,
        None => name[0].into(),
    }
}

/// A session of that id, in no cache, to find one by that OpenSSL has at this end.
#[must_use]
pub fn like(version: Version, role: Role, id: usize) -> Session {
    let number = if version.is_13() { TLS_1_3 } else { TLS_1_2 };
    Session::of_version(&name(version, role, id), number)
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
    /// Of the next session of a server. The one after that has the next id.
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
    let next = DESK.with_borrow_mut(|desk| {
        desk.id += 1;
        desk.id - 1
    });
    let new = bytes(next);
    // SAFETY: there is room for as much as `length` says, which stays as it is.
    unsafe {
        assert_eq!(*length as usize, new.len());
        ptr::copy_nonoverlapping(new.as_ptr(), id, new.len());
    }
    1
}

/// A certificate that nobody looks into, and its key.
static IDENTITY: LazyLock<(X509, PKey<Private>)> =
    LazyLock::new(|| identity().expect("a certificate"));

fn identity() -> Result<(X509, PKey<Private>), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, "a server")?;
    let name = name.build();
    let mut made = X509::builder()?;
    made.set_version(2)?;
    made.set_subject_name(&name)?;
    made.set_issuer_name(&name)?;
    made.set_pubkey(&key)?;
    let (today, soon) = (Asn1Time::days_from_now(0)?, Asn1Time::days_from_now(2)?);
    made.set_not_before(&today)?;
    made.set_not_after(&soon)?;
    made.sign(&key, MessageDigest::sha256())?;
    Ok((made.build(), key))
}

fn builder(version: Version, role: Role) -> Result<SslContextBuilder, ErrorStack> {
    let method = match role {
        Role::Server => SslMethod::tls_server(),
        Role::Client => SslMethod::tls_client(),
    };
    let mut builder = SslContext::builder(method)?;
    builder.set_min_proto_version(Some(version.of_openssl()))?;
    builder.set_max_proto_version(Some(version.of_openssl()))?;
    builder.set_options(SslOptions::NO_TICKET);
    match version {
        Version::Tls12 => with_key(&mut builder, role)?,
        Version::Tls13(tickets) => {
            builder.set_num_tickets(tickets)?;
            if role == Role::Server {
                builder.set_certificate(&IDENTITY.0)?;
                builder.set_private_key(&IDENTITY.1)?;
            }
        }
    }
    Ok(builder)
}

/// Both ends have it beforehand.
fn with_key(builder: &mut SslContextBuilder, role: Role) -> Result<(), ErrorStack> {
    builder.set_cipher_list("PSK-AES128-GCM-SHA256")?;
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
    Ok(())
}

/// One end's context, as `SSL_CTX_set_session_cache_mode(3)` and `SSL_CTX_sess_set_cache_size(3)` set it up, with
/// all callbacks; with that of what lies outside if `fetches`.
///
/// # Panics
/// If OpenSSL fails.
#[must_use]
pub fn context(version: Version, role: Role, mode: c_long, fetches: bool) -> SslContext {
    // What others left unread, because they failed.
    DESK.with_borrow_mut(|desk| desk.calls[at(role == Role::Server)] = Calls::default());
    let context = builder(version, role).expect("a context").build();
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
    /// The session, as the client has it: of several new ones the last.
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

/// A handshake between the two, in which the client offers a session. If it comes to a new one, that has this id (to
/// several: this and the next ones), and the new-session callbacks say whether it is kept.
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
    // The tickets of TLS 1.3 come after the handshake, before anything else that there would be to read.
    match client.ssl_read(&mut [0]) {
        Err(error) if error.code() == ErrorCode::WANT_READ => {}
        read => return Err(format!("nobody has sent anything: {read:?}")),
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
