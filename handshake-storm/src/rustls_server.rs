//! rustls as the server.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use rustls::{HandshakeKind, ServerConfig, ServerConnection, Stream};

use crate::server::{CONNECTION_LIMIT, HANDSHAKE_LIMIT, Seen, Stack, left, request_comes};
use crate::tls::Version;
use crate::wire::{Deadlined, answer};

/// A server configuration, with its store.
pub(crate) struct Rustls(pub(crate) Arc<ServerConfig>);

impl Stack for Rustls {
    fn serve(&self, socket: &TcpStream, seen: &Seen) -> io::Result<()> {
        let mut connection = ServerConnection::new(self.0.clone()).map_err(io::Error::other)?;
        let mut timed = Deadlined::new(socket, HANDSHAKE_LIMIT)?;
        // Writes the TLS 1.3 tickets as well: they stand behind the server's last message.
        while connection.is_handshaking() || connection.wants_write() {
            connection.complete_io(&mut timed)?;
        }
        let kind = connection
            .handshake_kind()
            .ok_or_else(|| io::Error::other("a handshake of no kind"))?;
        let version = connection.protocol_version().and_then(Version::of);
        let resumed = kind == HandshakeKind::Resumed;
        seen.count(version, resumed);

        match talk(socket, &mut connection, resumed) {
            Err(error) if left(error.kind()) => Ok(()),
            done => done,
        }
    }
}

/// Answers one request, if one comes, and closes.
fn talk(socket: &TcpStream, connection: &mut ServerConnection, resumed: bool) -> io::Result<()> {
    let mut timed = Deadlined::new(socket, CONNECTION_LIMIT)?;
    let mut stream = Stream::new(connection, &mut timed);
    if request_comes(&mut stream)? {
        stream.write_all(answer(resumed).as_bytes())?;
    }
    connection.send_close_notify();
    while connection.wants_write() {
        connection.write_tls(&mut timed)?;
    }
    socket.shutdown(Shutdown::Write)
}
