//! TLS below a link: rustls, whose connections do no I/O of their own, over a socket that doesn't block.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};

use crate::link::Failure;

/// So many times what comes unasked is looked at, to see whether it is but a ticket.
const TICKETS: usize = 16;

pub(crate) struct TlsStream {
    pub(crate) tcp: TcpStream,
    session: ClientConnection,
}

impl TlsStream {
    pub(crate) fn new(
        tcp: TcpStream,
        host: &str,
        config: &Arc<ClientConfig>,
    ) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(config.clone(), name).map_err(io::Error::other)?;
        // A batch is as long as it is, and gone before the next.
        session.set_buffer_limit(None);
        Ok(Self { tcp, session })
    }

    /// Takes what is to be sent. It is sent by [`flush`](Self::flush).
    pub(crate) fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.session.writer().write_all(bytes)
    }

    /// Sends what there is, also of a handshake. `WouldBlock` if the socket takes no more.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            if self.session.write_tls(&mut self.tcp)? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        Ok(())
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.session.is_handshaking()
    }

    /// What has been decrypted. `WouldBlock` if that is nothing, 0 at the end.
    pub(crate) fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        self.session.reader().read(chunk)
    }

    /// Takes in what the socket has. `WouldBlock` if that is nothing, `UnexpectedEof` at the end.
    pub(crate) fn take_in(&mut self) -> io::Result<()> {
        if self.session.read_tls(&mut self.tcp)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let done = self.session.process_new_packets();
        done.map(drop).map_err(io::Error::other)
    }

    /// Whether what has come unasked is nothing that anybody could take for an answer: tickets, for one.
    pub(crate) fn is_quiet(&mut self) -> bool {
        for _ in 0..TICKETS {
            let taken = self.take_in();
            let nothing = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
            if taken.as_ref().is_err_and(nothing) {
                return self.read(&mut [0]).as_ref().is_err_and(nothing) && self.flush().is_ok();
            }
            if taken.is_err() || !self.read(&mut [0]).as_ref().is_err_and(nothing) {
                return false;
            }
        }
        false
    }
}
