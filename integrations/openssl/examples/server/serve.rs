//! A blocking HTTP server that says how each connection began.

use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};

/// So many connections are open at once; more wait in the kernel's queue.
const THREADS: usize = 16;
/// Nobody keeps a thread for longer without a sound.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest request.
const MOST: usize = 16 * 1024;

/// Serves in threads of its own, until the process ends. Unclean: connections end without close_notify, as those of
/// many servers do.
pub fn serve(listener: TcpListener, context: SslContext, unclean: bool) {
    let shared = Arc::new((listener, context));
    for _ in 0..THREADS {
        let shared = shared.clone();
        thread::spawn(move || {
            let (listener, context) = &*shared;
            loop {
                let Ok((stream, _)) = listener.accept() else {
                    continue;
                };
                // Whoever misbehaves is disconnected; OpenSSL's errors were taken off its queue.
                let _ = answer(stream, context, unclean);
            }
        });
    }
}

fn answer(stream: TcpStream, context: &SslContext, unclean: bool) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut tls = accept(stream, context)?;
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    if context.max_early_data() > 0 {
        loop {
            match tls.read_early_data(&mut buffer).map_err(io::Error::other)? {
                0 => break,
                n => request.extend_from_slice(&buffer[..n]),
            }
        }
    }
    let early = request.len();
    tls.do_handshake().map_err(io::Error::other)?;
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MOST {
        match tls.ssl_read(&mut buffer) {
            Ok(n) => request.extend_from_slice(&buffer[..n]),
            // A client that has nothing to say.
            Err(error) if error.code() == ErrorCode::ZERO_RETURN => break,
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    let body = how_it_began(&tls, early);
    write!(
        tls,
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    if !unclean {
        // The client may be gone already.
        let _ = tls.shutdown();
    }
    Ok(())
}

fn accept(stream: TcpStream, context: &SslContext) -> Result<SslStream<TcpStream>, ErrorStack> {
    let mut ssl = Ssl::new(context)?;
    ssl.set_accept_state();
    SslStream::new(ssl, stream)
}

/// `TLSv1.3 resumed`, `TLSv1.2 handshake`, and whether there was early data or a client certificate.
fn how_it_began(tls: &SslStream<TcpStream>, early: usize) -> String {
    let ssl = tls.ssl();
    let began = if ssl.session_reused() {
        "resumed"
    } else {
        "handshake"
    };
    let mut body = format!("{} {began}", ssl.version_str());
    if early > 0 {
        body += &format!(", {early} bytes of early data");
    }
    if ssl.peer_certificate().is_some() {
        body += ", known client";
    }
    body + "\n"
}
