//! The proxy, and the server behind it.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use async_trait::async_trait;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::http_proxy_service;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use sessionwheel::{Clock, SessionCache, Timestamp};
use sessionwheel_openssl::{Attachment, Options, Session};
use sessionwheel_pingora::{Forward, listener, upstream};
use sessionwheel_stacks::program::until;
use sessionwheel_stacks::{End, Site};
use socket2::{Domain, Socket, Type};

use crate::support::{Identity, NAME};

/// Runs until the process ends, with one thread for all connections, which so share OpenSSL's error queue.
pub(crate) struct Proxy {
    pub(crate) site: Site<Session>,
    pub(crate) attachment: Attachment,
}

impl Proxy {
    pub(crate) fn new(end: End) -> Self {
        Self::with(end, |_| ())
    }

    /// With these settings of both listeners.
    pub(crate) fn with(end: End, set: impl Fn(&mut TlsSettings)) -> Self {
        Self::with_each(end, &set, &set)
    }

    /// With other settings of the listener elsewhere.
    pub(crate) fn with_each(
        end: End,
        set: impl Fn(&mut TlsSettings),
        set_elsewhere: impl Fn(&mut TlsSettings),
    ) -> Self {
        let (clock, hand) = Clock::manual(Timestamp::from_secs(1_000_000));
        let cache = SessionCache::builder().clock(clock).build().unwrap();
        let (here, elsewhere) = (Port::new(), Port::new());
        let (tls, attachment) = identified(&cache, set);
        let (other, _) = identified(&cache, set_elsewhere);

        let mut server = Server::new_with_opt_and_conf(None, ServerConf::default());
        server.bootstrap();
        // If the server behind breaks off, Pingora drops the client's connection as it is.
        let upstream = behind(match end {
            End::Clean => upstream::tell,
            End::Unclean => {
                |head| upstream::tell(head).replace("Content-Length: ", "Content-Length: 9")
            }
        });
        let mut service = http_proxy_service(&server.configuration, Forward { upstream });
        service.add_tls_with_settings(&here.address.to_string(), None, tls);
        service.add_tls_with_settings(&elsewhere.address.to_string(), None, other);
        server.add_service(service);
        let shutdown_signal = Box::new(Never);
        thread::spawn(move || server.run(RunArgs { shutdown_signal }));
        let site = Site {
            context: attachment.context(),
            here: here.listens(),
            elsewhere: elsewhere.listens(),
            cache,
            hand,
        };
        Self { site, attachment }
    }
}

fn identified(
    cache: &SessionCache<Session>,
    set: impl Fn(&mut TlsSettings),
) -> (TlsSettings, Attachment) {
    let identity = Identity::new(NAME);
    let (mut tls, attachment) = listener(cache, Options::default()).unwrap();
    tls.set_certificate(&identity.certificate).unwrap();
    tls.set_private_key(&identity.key).unwrap();
    set(&mut tls);
    (tls, attachment)
}

/// A server to forward to.
pub(crate) fn behind(answer: fn(&str) -> String) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    upstream::serve(listener, answer);
    address
}

/// Leaves the process its signals.
struct Never;

#[async_trait]
impl ShutdownSignalWatch for Never {
    async fn recv(&self) -> ShutdownSignal {
        std::future::pending().await
    }
}

/// A port that nobody else gets: a socket is bound to it that does not listen, beside which Pingora can bind and listen,
/// since both have `SO_REUSEADDR`. (It has no way to say which port it was given.)
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _held: Socket,
}

impl Port {
    pub(crate) fn new() -> Self {
        let held = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        held.set_reuse_address(true).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        held.bind(&any.into()).unwrap();
        let address = held.local_addr().unwrap().as_socket().unwrap();
        Self {
            address,
            _held: held,
        }
    }

    /// Waits until somebody does, and has the port.
    pub(crate) fn listens(self) -> SocketAddr {
        until("somebody listens", || {
            TcpStream::connect(self.address).is_ok()
        });
        self.address
    }
}
