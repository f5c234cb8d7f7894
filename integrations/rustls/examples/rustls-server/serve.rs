//! A blocking HTTP server that says how each connection began.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::{HandshakeKind, ProtocolVersion, ServerConfig, ServerConnection, Stream};

/// So many connections are open at once; more wait in the kernel's queue.
const THREADS: usize = 16;
/// Nobody keeps a thread for longer without a sound.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest request.
const MOST: usize = 16 * 1024;

/// Serves in threads of its own, until the process ends. Unclean: connections end without close_notify, as those of
/// many servers do.
pub fn serve(listener: TcpListener, config: Arc<ServerConfig>, unclean: bool) {
    let shared = Arc::new((listener, config));
    for _ in 0..THREADS {
        let shared = shared.clone();
        thread::spawn(move || {
            let (listener, config) = &*shared;
            loop {
                let Ok((socket, _)) = listener.accept() else {
                    continue;
                };
                // Whoever misbehaves is disconnected.
                let _ = answer(socket, config, unclean);
            }
        });
    }
}

fn answer(mut socket: TcpStream, config: &Arc<ServerConfig>, unclean: bool) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let mut tls = ServerConnection::new(config.clone()).map_err(io::Error::other)?;
    // The tickets of TLS 1.3 stand behind the server's last message.
    while tls.is_handshaking() || tls.wants_write() {
        tls.complete_io(&mut socket)?;
    }
    let mut request = Vec::new();
    if let Some(mut data) = tls.early_data() {
        data.read_to_end(&mut request)?;
    }
    let early = request.len();
    let mut stream = Stream::new(&mut tls, &mut socket);
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MOST {
        match stream.read(&mut buffer)? {
            // A client that has nothing to say.
            0 => break,
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    let body = how_it_began(&tls, early);
    write!(
        tls.writer(),
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    if !unclean {
        tls.send_close_notify();
    }
    while tls.wants_write() {
        tls.write_tls(&mut socket)?;
    }
    Ok(())
}

/// `TLSv1.3 resumed`, `TLSv1.2 handshake`, and whether there was early data or a client certificate.
fn how_it_began(tls: &ServerConnection, early: usize) -> String {
    let version = match tls.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
        _ => "TLSv1.2",
    };
    let began = match tls.handshake_kind() {
        Some(HandshakeKind::Resumed) => "resumed",
        _ => "handshake",
    };
    let mut body = format!("{version} {began}");
    if early > 0 {
        body += &format!(", {early} bytes of early data");
    }
    if tls.peer_certificates().is_some() {
        body += ", known client";
    }
    body + "\n"
}
