//! What both ends share: a socket with a deadline, the request, the answer.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// What the storm's clients ask.
pub(crate) const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// Longest request a server reads, and longest answer a client reads.
pub(crate) const MOST: usize = 8 * 1024;

const FULL: &str = "full handshake";
const RESUMED: &str = "resumed";

/// The server's answer: an HTTP response that says how the session began.
pub(crate) fn answer(resumed: bool) -> String {
    let body = if resumed { RESUMED } else { FULL };
    format!(
        "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}\n",
        body.len() + 1
    )
}

/// Whether an answer says "resumed"; nothing if it says neither.
pub(crate) fn resumed(answer: &[u8]) -> Option<bool> {
    let body = std::str::from_utf8(answer).ok()?.lines().last()?;
    match body {
        RESUMED => Some(true),
        FULL => Some(false),
        _ => None,
    }
}

/// True when a request is complete: an empty line has come.
pub(crate) fn complete(request: &[u8]) -> bool {
    request.windows(2).any(|w| w == b"\n\n") || request.windows(3).any(|w| w == b"\n\r\n")
}

/// A socket whose reads and writes fail once a moment has passed, however many they are.
pub(crate) struct Deadlined<'a> {
    socket: &'a TcpStream,
    until: Instant,
}

impl<'a> Deadlined<'a> {
    pub(crate) fn new(socket: &'a TcpStream, limit: Duration) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        // Answers are small: a peer that does not read holds a write up no longer than this.
        socket.set_write_timeout(Some(limit))?;
        Ok(Self {
            socket,
            until: Instant::now() + limit,
        })
    }
}

impl Read for Deadlined<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.read(buffer)
    }
}

impl Write for Deadlined<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.socket.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::{REQUEST, answer, complete, resumed};

    #[test]
    fn an_answer_is_read_back() {
        for how in [false, true] {
            assert_eq!(resumed(answer(how).as_bytes()), Some(how));
        }
        assert_eq!(resumed(b"HTTP/1.0 500\r\n\r\n"), None);
        assert_eq!(resumed(b"\xFF"), None);
        assert_eq!(resumed(b""), None);
    }

    #[test]
    fn a_request_ends_with_an_empty_line() {
        assert!(complete(REQUEST));
        assert!(complete(b"GET /\nHost: x\n\n"));
        assert!(!complete(b"GET / HTTP/1.0\r\n"));
        assert!(!complete(b""));
    }
}
