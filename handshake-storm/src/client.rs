//! One client thread's TLS clients: a TCP connection and a handshake at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, Stream};

use crate::flushes::Interval;
use crate::offers::Offers;
use crate::tls::{Identity, Version, server_name};
use crate::wire::{Deadlined, MOST, REQUEST, resumed};

/// A handshake takes well under a millisecond; nobody should wait for a lost one for ever.
const LIMIT: Duration = Duration::from_secs(30);

/// Clients of both versions, with sessions of their own for a range of server names.
pub(crate) struct Client {
    server: SocketAddr,
    names: Vec<ServerName<'static>>,
    /// By [`Version::index`].
    ends: [End; 2],
}

struct End {
    config: Arc<ClientConfig>,
    offers: Arc<Offers>,
}

/// One completed handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    pub(crate) version: Version,
    pub(crate) offered: bool,
    pub(crate) resumed: bool,
    /// From the client's first message to the end of the handshake as the client sees it.
    pub(crate) time: Interval,
}

impl Client {
    pub(crate) fn new(
        identity: &Identity,
        server: SocketAddr,
        numbers: impl Iterator<Item = usize>,
    ) -> Result<Self> {
        let names = numbers.map(server_name).collect::<Result<Vec<_>>>()?;
        let end = |version| -> Result<End> {
            let offers = Arc::new(Offers::for_names(names.len()));
            let config = identity.client(version, offers.clone())?;
            Ok(End { config, offers })
        };
        let ends = [end(Version::Tls12)?, end(Version::Tls13)?];
        Ok(Self {
            server,
            names,
            ends,
        })
    }

    /// How many server names, and so sessions for each version, this client has.
    pub(crate) fn names(&self) -> usize {
        self.names.len()
    }

    /// Connects, shakes hands, asks the server how the session began, and compares.
    pub(crate) fn handshake(&self, version: Version, name: usize) -> Result<Handshake> {
        self.handshake_with(self.server, version, name)
    }

    /// The same with another server, who has the same certificate.
    pub(crate) fn handshake_with(
        &self,
        server: SocketAddr,
        version: Version,
        name: usize,
    ) -> Result<Handshake> {
        let end = &self.ends[version.index()];
        let name = self.names[name % self.names.len()].clone();
        let socket = TcpStream::connect(server).context("connect")?;
        let mut timed = Deadlined::new(&socket, LIMIT)?;

        let start = Instant::now();
        let mut connection = ClientConnection::new(end.config.clone(), name)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut timed).context("handshake")?;
        }
        let time = Interval {
            start,
            end: Instant::now(),
        };

        let kind = connection.handshake_kind().context("no handshake kind")?;
        let here = kind == HandshakeKind::Resumed;
        let there = self.ask(&mut Stream::new(&mut connection, &mut timed))?;
        if here != there {
            bail!("the ends disagree: resumed for the client {here}, for the server {there}");
        }
        Ok(Handshake {
            version,
            offered: end.offers.was_offered(),
            resumed: here,
            time,
        })
    }

    /// Whether the server says that it resumed. Reading the answer reads the tickets before it.
    fn ask(&self, stream: &mut (impl Read + Write)) -> Result<bool> {
        stream.write_all(REQUEST).context("request")?;
        let mut answer = Vec::new();
        match stream.take(MOST as u64).read_to_end(&mut answer) {
            Err(e) if e.kind() != ErrorKind::ConnectionReset => Err(e).context("answer"),
            _ => resumed(&answer).context("an answer that says neither full nor resumed"),
        }
    }
}
