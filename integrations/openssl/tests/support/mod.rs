//! Both ends of a connection in one thread, over pipes in memory.
#![allow(dead_code)] // Each test file uses a part of it.

#[path = "../../../rustls/tests/support/hello.rs"]
pub mod hello;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{
    Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSession, SslSessionCacheMode,
    SslStream, SslVerifyMode, SslVersion,
};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use sessionwheel::{Clock, ManualClock, SessionCache, Timestamp};
use sessionwheel_openssl::{Attachment, Options, Session, attach};

use hello::Hello;

pub const VERSIONS: [SslVersion; 2] = [SslVersion::TLS1_2, SslVersion::TLS1_3];
pub const NAME: &str = "localhost";

pub fn name(version: SslVersion) -> &'static str {
    match version {
        SslVersion::TLS1_2 => "TLSv1.2",
        SslVersion::TLS1_3 => "TLSv1.3",
        _ => unreachable!("no other is tested"),
    }
}

/// A certificate signed by itself, and its key.
pub struct Identity {
    pub certificate: X509,
    pub key: PKey<Private>,
}

impl Identity {
    pub fn new(name: &str) -> Self {
        Self::of_size(name, 0)
    }

    /// With so many names in its certificate that it has about so many bytes.
    pub fn of_size(name: &str, bytes: usize) -> Self {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut subject = X509Name::builder().unwrap();
        subject.append_entry_by_nid(Nid::COMMONNAME, name).unwrap();
        let subject = subject.build();
        let mut made = X509::builder().unwrap();
        made.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        made.set_serial_number(&serial).unwrap();
        made.set_subject_name(&subject).unwrap();
        made.set_issuer_name(&subject).unwrap();
        made.set_pubkey(&key).unwrap();
        made.set_not_before(&Asn1Time::days_from_now(0).unwrap())
            .unwrap();
        made.set_not_after(&Asn1Time::days_from_now(2).unwrap())
            .unwrap();
        let constraints = BasicConstraints::new().critical().ca().build().unwrap();
        made.append_extension(constraints).unwrap();
        let mut names = SubjectAlternativeName::new();
        names.dns(name);
        for n in 0..bytes / 64 {
            names.dns(&format!("{n:0>58}.net"));
        }
        let names = names.build(&made.x509v3_context(None, None)).unwrap();
        made.append_extension(names).unwrap();
        made.sign(&key, MessageDigest::sha256()).unwrap();
        Self {
            certificate: made.build(),
            key,
        }
    }

    fn put_into(&self, context: &mut SslContextBuilder) {
        context.set_certificate(&self.certificate).unwrap();
        context.set_private_key(&self.key).unwrap();
    }
}

/// A server's context for these versions, not yet attached.
pub fn server_context(identity: &Identity) -> SslContextBuilder {
    let mut context = SslContext::builder(SslMethod::tls_server()).unwrap();
    identity.put_into(&mut context);
    context
}

/// Verifies clients that present this certificate.
pub fn require(context: &mut SslContextBuilder, client: &Identity) {
    context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
    context
        .cert_store_mut()
        .add_cert(client.certificate.clone())
        .unwrap();
}

/// A cache and the context of a server on it.
pub struct Server {
    pub context: SslContext,
    pub cache: SessionCache<Session>,
    pub hand: ManualClock,
    pub attachment: Attachment,
}

impl Server {
    pub fn new(options: Options) -> Self {
        Self::with(options, |_| ())
    }

    pub fn with(options: Options, set: impl FnOnce(&mut SslContextBuilder)) -> Self {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
        let cache = SessionCache::builder().clock(clock).build().unwrap();
        let (context, attachment) = Self::on(&cache, options, set);
        Self {
            context,
            cache,
            hand,
            attachment,
        }
    }

    pub fn on(
        cache: &SessionCache<Session>,
        options: Options,
        set: impl FnOnce(&mut SslContextBuilder),
    ) -> (SslContext, Attachment) {
        let mut context = server_context(&Identity::new(NAME));
        set(&mut context);
        let attachment = attach(&mut context, cache, options).unwrap();
        (context.build(), attachment)
    }
}

/// A client that keeps all sessions that it is given.
pub struct Client {
    context: SslContext,
    kept: Arc<Mutex<Vec<SslSession>>>,
}

impl Client {
    pub fn new(version: SslVersion) -> Self {
        Self::with(version, None)
    }

    pub fn with(version: SslVersion, identity: Option<&Identity>) -> Self {
        Self::of(Self::context(version, identity))
    }

    /// One that sends another certificate along.
    pub fn with_chain(version: SslVersion, identity: &Identity, other: &Identity) -> Self {
        let mut context = Self::context(version, Some(identity));
        context
            .add_extra_chain_cert(other.certificate.clone())
            .unwrap();
        Self::of(context)
    }

    fn context(version: SslVersion, identity: Option<&Identity>) -> SslContextBuilder {
        let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
        context.set_min_proto_version(Some(version)).unwrap();
        context.set_max_proto_version(Some(version)).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        if version == SslVersion::TLS1_2 {
            context.set_options(SslOptions::NO_TICKET);
        }
        if let Some(identity) = identity {
            identity.put_into(&mut context);
        }
        context
    }

    pub fn of(mut context: SslContextBuilder) -> Self {
        let kept: Arc<Mutex<Vec<SslSession>>> = Arc::default();
        let keep = kept.clone();
        context
            .set_session_cache_mode(SslSessionCacheMode::CLIENT | SslSessionCacheMode::NO_INTERNAL);
        context.set_new_session_callback(move |_, session| keep.lock().unwrap().push(session));
        Self {
            context: context.build(),
            kept,
        }
    }

    /// The sessions that came since this was last called. A duplicate of each, since connections spoil theirs.
    pub fn sessions(&self) -> Vec<SslSession> {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap());
        let copy = |s: SslSession| SslSession::from_der(&s.to_der().unwrap()).unwrap();
        kept.into_iter().map(copy).collect()
    }

    /// A full handshake that ends cleanly; the last session that came of it.
    pub fn session(&self, server: &SslContext) -> SslSession {
        let connection = self.connect(server, None);
        assert!(!connection.resumed());
        connection.close();
        self.sessions().pop().expect("a session")
    }

    /// Whether this session is resumed. The connection ends cleanly.
    pub fn resumes(&self, server: &SslContext, session: &SslSession) -> bool {
        let connection = self.connect(server, Some(session));
        let resumed = connection.resumed();
        connection.close();
        resumed
    }

    pub fn connect(&self, server: &SslContext, session: Option<&SslSession>) -> Connection {
        self.connect_to(server, session, Some(NAME))
            .expect("a handshake")
    }

    pub fn connect_to(
        &self,
        server: &SslContext,
        session: Option<&SslSession>,
        name: Option<&str>,
    ) -> Result<Connection, openssl::ssl::Error> {
        let mut connection = self.begin(server, session, name);
        connection.finish()?;
        connection.exchange();
        Ok(connection)
    }

    /// Offers the session with early data: what the server got of it, and the connection.
    pub fn early(&self, server: &SslContext, session: &SslSession) -> (Vec<u8>, Connection) {
        let mut connection = self.begin(server, Some(session), Some(NAME));
        let sent = connection.client.write_early_data(b"early").unwrap();
        assert_eq!(sent, 5);
        let mut got = vec![0; 16];
        // The end of it comes with the client's next flight.
        let n = connection.server.read_early_data(&mut got).unwrap_or(0);
        got.truncate(n);
        while connection.client.do_handshake().is_err() {
            let _ = connection.server.read_early_data(&mut [0; 16]);
            let _ = connection.server.do_handshake();
        }
        while connection
            .server
            .read_early_data(&mut [0; 16])
            .is_ok_and(|n| n > 0)
        {}
        connection.finish().unwrap();
        connection.exchange();
        (got, connection)
    }

    /// A connection over another stream, without a name or a session.
    pub fn stream<S: Read + Write>(&self, stream: S) -> SslStream<S> {
        let mut ssl = Ssl::new(&self.context).unwrap();
        ssl.set_connect_state();
        SslStream::new(ssl, stream).unwrap()
    }

    pub fn begin(
        &self,
        server: &SslContext,
        session: Option<&SslSession>,
        name: Option<&str>,
    ) -> Connection {
        let (here, there) = Pipe::pair();
        let mut ssl = Ssl::new(&self.context).unwrap();
        ssl.set_connect_state();
        if let Some(name) = name {
            ssl.set_hostname(name).unwrap();
        }
        if let Some(session) = session {
            let copy = SslSession::from_der(&session.to_der().unwrap()).unwrap();
            // SAFETY: it belongs to no other context.
            unsafe { ssl.set_session(&copy) }.unwrap();
        }
        let mut accept = Ssl::new(server).unwrap();
        accept.set_accept_state();
        Connection {
            client: SslStream::new(ssl, here).unwrap(),
            server: SslStream::new(accept, there).unwrap(),
        }
    }
}

/// Dropped, it ends uncleanly.
pub struct Connection {
    pub client: SslStream<Pipe>,
    pub server: SslStream<Pipe>,
}

impl Connection {
    pub fn finish(&mut self) -> Result<(), openssl::ssl::Error> {
        for _ in 0..20 {
            let ends = [self.client.do_handshake(), self.server.do_handshake()];
            let mut open = false;
            for end in ends {
                match end {
                    Err(error) if error.code() == openssl::ssl::ErrorCode::WANT_READ => open = true,
                    Err(error) => return Err(error),
                    Ok(()) => {}
                }
            }
            if !open {
                return Ok(());
            }
        }
        panic!("the handshake does not end");
    }

    /// The client has said its hello, and the server reads another one, made of it.
    pub fn change_hello(&mut self, change: impl FnOnce(Hello) -> Hello) {
        let error = self.client.do_handshake().unwrap_err();
        assert_eq!(error.code(), openssl::ssl::ErrorCode::WANT_READ, "{error}");
        let mut incoming = self.server.get_ref().incoming();
        let hello: Vec<u8> = incoming.drain(..).collect();
        incoming.extend(change(Hello::parse(&hello)).records());
    }

    /// A message each way; the client reads its tickets with it.
    pub fn exchange(&mut self) {
        let mut buffer = [0; 16];
        self.server.write_all(b"hello").unwrap();
        assert_eq!(self.client.read(&mut buffer).unwrap(), 5);
        self.client.write_all(b"hi").unwrap();
        assert_eq!(self.server.read(&mut buffer).unwrap(), 2);
    }

    /// Both ends agree.
    pub fn resumed(&self) -> bool {
        let resumed = self.server.ssl().session_reused();
        assert_eq!(self.client.ssl().session_reused(), resumed);
        resumed
    }

    pub fn close(mut self) {
        self.server.shutdown().unwrap();
        self.client.shutdown().unwrap();
    }
}

#[derive(Default)]
struct Bytes {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// One end of a pipe that blocks nobody.
pub struct Pipe {
    from: Rc<RefCell<Bytes>>,
    to: Rc<RefCell<Bytes>>,
}

impl Pipe {
    fn pair() -> (Self, Self) {
        let (one, other) = (
            Rc::<RefCell<Bytes>>::default(),
            Rc::<RefCell<Bytes>>::default(),
        );
        let there = Self {
            from: other.clone(),
            to: one.clone(),
        };
        (
            Self {
                from: one,
                to: other,
            },
            there,
        )
    }

    /// What was written to this end and not read yet, to be looked at and changed.
    pub fn incoming(&self) -> std::cell::RefMut<'_, VecDeque<u8>> {
        std::cell::RefMut::map(self.from.borrow_mut(), |from| &mut from.bytes)
    }
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut from = self.from.borrow_mut();
        match from.bytes.read(buffer)? {
            0 if !from.ended => Err(ErrorKind::WouldBlock.into()),
            n => Ok(n),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.to.borrow_mut().bytes.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.to.borrow_mut().ended = true;
    }
}
