//! The server.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};

use anyhow::Result;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslContextBuilder, SslMethod, SslStream, SslVersion};
use openssl::x509::X509;

use crate::server::{CONNECTION_LIMIT, HANDSHAKE_LIMIT, Seen, Stack, left, request_comes};
use crate::tls::{Identity, Version};
use crate::wire::{Deadlined, answer};

/// For both versions, without a cache.
pub(super) fn context(identity: &Identity) -> Result<SslContextBuilder> {
    let (certificate, key) = identity.der();
    let mut context = SslContext::builder(SslMethod::tls_server())?;
    let certificate = X509::from_der(certificate)?;
    let key = PKey::private_key_from_pkcs8(key)?;
    context.set_certificate(&certificate)?;
    context.set_private_key(&key)?;
    Ok(context)
}

pub(super) struct OpenSsl(pub(super) SslContext);

impl Stack for OpenSsl {
    fn serve(&self, socket: &TcpStream, seen: &Seen) -> io::Result<()> {
        let mut ssl = Ssl::new(&self.0)?;
        ssl.set_accept_state();
        let mut tls = SslStream::new(ssl, Deadlined::new(socket, HANDSHAKE_LIMIT)?)?;
        tls.do_handshake().map_err(io::Error::other)?;
        let resumed = tls.ssl().session_reused();
        let version = match tls.ssl().version2() {
            Some(SslVersion::TLS1_2) => Some(Version::Tls12),
            Some(SslVersion::TLS1_3) => Some(Version::Tls13),
            _ => None,
        };
        seen.count(version, resumed);

        *tls.get_mut() = Deadlined::new(socket, CONNECTION_LIMIT)?;
        match talk(socket, &mut tls, resumed) {
            Err(error) if left(error.kind()) => Ok(()),
            done => done,
        }
    }
}

/// Answers one request, if one comes, and closes.
fn talk(socket: &TcpStream, tls: &mut SslStream<Deadlined<'_>>, resumed: bool) -> io::Result<()> {
    if request_comes(tls)? {
        tls.write_all(answer(resumed).as_bytes())?;
    }
    // A client that has gone does not hear it.
    let _ = tls.shutdown();
    socket.shutdown(Shutdown::Write)
}
