//! An HTTP server to forward to, for who has none at hand.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// Nobody keeps the thread for longer without a sound.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest request.
const MOST: usize = 16 * 1024;
/// In this header a server is told how the client's connection began.
pub const BEGAN: &str = "X-TLS";

/// Answers requests one by one with what `answer` makes of their heads, in a thread, until the process ends.
pub fn serve(listener: TcpListener, answer: impl Fn(&str) -> String + Send + 'static) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever misbehaves is disconnected.
            let _ = reply(stream, &answer);
        }
    });
}

fn reply(mut stream: TcpStream, answer: impl Fn(&str) -> String) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut buffer = [0; 4096];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < MOST {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => head.extend_from_slice(&buffer[..n]),
        }
    }
    stream.write_all(answer(&String::from_utf8_lossy(&head)).as_bytes())
}

/// Says to the client what the header says.
pub fn tell(head: &str) -> String {
    let header = head
        .lines()
        .find_map(|line| line.split_once(": ").filter(|(name, _)| *name == BEGAN));
    response(header.map_or("no TLS", |(_, began)| began))
}

/// One line of text.
pub fn response(line: &str) -> String {
    let length = line.len() + 1;
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{line}\n"
    )
}
