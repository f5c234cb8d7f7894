//! One connection: bytes out, replies in, and a deadline for each.
//!
//! # Ground rules
//!
//! - A link belongs to one thread at a time. It never blocks: who waits, waits in poll(2), whose
//!   timeout is exact where that of a socket is rounded to the kernel's tick.
//! - **Whoever meets a failure drops the link.** A reply that comes late goes with its connection, and so is
//!   nobody else's.
//! - Nothing may be there to be read when a request is sent ([`Link::is_quiet`]).
//! - What a server sends is bounded before it is parsed: in length, and to the four kinds that are ever
//!   asked for, or arrays of them.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use redis::{Cmd, ConnectionAddr, ServerError, Value};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::place::Place;
use crate::seal::MAX_SEALED_LEN;
#[cfg(feature = "tls")]
use crate::tls::TlsStream;

/// Error messages are shorter.
const MAX_LINE_LEN: usize = 1_024;

/// Of an answer that is an array: more than the map of any Cluster has, in parts, in bytes, and in those of a part.
const MAX_PARTS: usize = 1 << 19;
const MAX_NESTED_LEN: usize = 16 << 20;
const MAX_PART_LEN: usize = 1_024;
const MAX_DEPTH: u8 = 6;

/// When nothing has come for so long it is tried whether the other end is there still, at what distance, and how often.
/// Half a minute after it has gone without a word [`Link::is_quiet`] says so, and nobody is late because of it.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(5), 3);

const OKAY: &[u8] = b"+OK\r\n";

/// Read at a time.
const CHUNK: usize = 4_096;

/// Why a request has no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Not in time.
    Timeout,
    /// The server hung up.
    Closed,
    /// What it sent was no answer.
    Garbage,
    /// It said no.
    Refused(String),
    Io(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the connection was closed"),
            Self::Garbage => f.write_str("the answer is not what a Redis says"),
            Self::Refused(why) => write!(f, "refused: {why}"),
            Self::Io(error) => write!(f, "{error}"),
        }
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream>),
}

impl Stream {
    /// Some of it, perhaps. With TLS all of it, though not necessarily on its way.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.write(bytes),
            Self::Unix(unix) => unix.write(bytes),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.put(bytes).map(|()| bytes.len()),
        }
    }

    /// Sends what `write` has not.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.flush(),
            _ => Ok(()),
        }
    }

    fn read(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.read(chunk),
            Self::Unix(unix) => unix.read(chunk),
            #[cfg(feature = "tls")]
            Self::Tls(tls) => {
                tls.take_in()?;
                tls.read(chunk)
            }
        }
    }

    /// What is here, and needs no waiting for.
    fn read_decrypted(&mut self, chunk: &mut [u8]) -> io::Result<usize> {
        match self {
            #[cfg(feature = "tls")]
            Self::Tls(tls) => tls.read(chunk),
            _ => {
                let _ = chunk;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}

/// What a nested answer may still have.
struct Left {
    parts: usize,
    bytes: usize,
}

impl Left {
    fn take(&mut self, parts: usize, bytes: usize) -> Result<(), Failure> {
        let less = |left: usize, taken| left.checked_sub(taken).ok_or(Failure::Garbage);
        self.parts = less(self.parts, parts)?;
        self.bytes = less(self.bytes, bytes)?;
        Ok(())
    }
}

pub(crate) struct Link {
    stream: Stream,
    inbox: Inbox,
}

/// What has come and was not taken yet.
#[derive(Default)]
struct Inbox {
    bytes: Vec<u8>,
    /// So many of them were. All of them: there are none.
    taken: usize,
}

impl Inbox {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn take(&mut self, len: usize) {
        self.taken += len;
        if self.is_empty() {
            self.bytes.clear();
            self.taken = 0;
        }
    }

    /// What was taken goes first, so that it grows no longer than what is waited for.
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }
}

impl Link {
    /// A link that has logged in, chosen its database and been answered.
    pub(crate) fn connect(to: &Place, until: Instant) -> Result<Self, Failure> {
        let stream = match to.info.addr() {
            ConnectionAddr::Tcp(host, port) => {
                let tcp = tcp(host, *port, until)?;
                match &to.tls {
                    // What would have to be said is not said in the clear.
                    None if to.secure => {
                        return Err(Failure::Io(io::ErrorKind::Unsupported.into()));
                    }
                    None => Stream::Tcp(tcp),
                    #[cfg(feature = "tls")]
                    Some(config) => Stream::Tls(TlsStream::new(tcp, host, config)?.into()),
                    #[cfg(not(feature = "tls"))]
                    Some(never) => match *never {},
                }
            }
            ConnectionAddr::Unix(path) => Stream::Unix(unix(path)?),
            _ => return Err(Failure::Io(io::ErrorKind::Unsupported.into())),
        };
        let mut link = Self {
            stream,
            inbox: Inbox::default(),
        };
        let settings = to.info.redis_settings();
        if let Some(password) = settings.password() {
            let mut auth = redis::cmd("AUTH");
            if let Some(name) = settings.username() {
                auth.arg(name);
            }
            auth.arg(password);
            link.log_in(&auth, until)?;
        }
        if settings.db() != 0 {
            let select = redis::cmd("SELECT").arg(settings.db()).take();
            match link.ask(&select, until)? {
                Value::Okay => {}
                _ => return Err(Failure::Garbage),
            }
        }
        match link.ask(&redis::cmd("PING"), until)? {
            Value::SimpleString(pong) if pong == "PONG" => Ok(link),
            _ => Err(Failure::Garbage),
        }
    }

    /// What the server says of it may have the password in it, so its error's name alone is told.
    fn log_in(&mut self, auth: &Cmd, until: Instant) -> Result<(), Failure> {
        self.send(&auth.get_packed_command(), until)?;
        match self.reply(until)? {
            Value::Okay => Ok(()),
            Value::ServerError(error) => {
                let name = plain(error.code());
                Err(Failure::Refused(format!("the password ({name})")))
            }
            _ => Err(Failure::Garbage),
        }
    }

    /// Sends one command and waits for its answer; an error that the server gives is
    /// [`Failure::Refused`].
    pub(crate) fn ask(&mut self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        self.send(&command.get_packed_command(), until)?;
        match self.reply(until)? {
            Value::ServerError(error) => Err(Failure::Refused(told(&error))),
            value => Ok(value),
        }
    }

    /// The same for an answer that may be an array, or arrays of arrays: what Sentinels and Clusters say.
    pub(crate) fn ask_nested(&mut self, command: &Cmd, until: Instant) -> Result<Value, Failure> {
        self.send(&command.get_packed_command(), until)?;
        let mut left = Left {
            parts: MAX_PARTS,
            bytes: MAX_NESTED_LEN,
        };
        match self.nested(until, MAX_DEPTH, &mut left)? {
            Value::ServerError(error) => Err(Failure::Refused(told(&error))),
            value => Ok(value),
        }
    }

    fn nested(&mut self, until: Instant, depth: u8, left: &mut Left) -> Result<Value, Failure> {
        while self.inbox.is_empty() {
            self.receive(until)?;
        }
        if self.inbox.rest()[0] != b'*' {
            let (value, len) = self.part(until, MAX_PART_LEN)?;
            left.take(0, len)?;
            return Ok(value);
        }
        let end = loop {
            match line_end(self.inbox.rest())? {
                Some(end) => break end,
                None => self.receive(until)?,
            }
        };
        let len = announced(&self.inbox.rest()[1..end])?;
        self.inbox.take(end + 2);
        left.take(len.unwrap_or(0), end + 2)?;
        let Some(len) = len else {
            return Ok(Value::Nil);
        };
        let depth = depth.checked_sub(1).ok_or(Failure::Garbage)?;
        let all = (0..len).map(|_| self.nested(until, depth, left));
        all.collect::<Result<_, _>>().map(Value::Array)
    }

    /// Sends all of `bytes`. With a failure some of it may be sent.
    pub(crate) fn send(&mut self, mut bytes: &[u8], until: Instant) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(Failure::Closed),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) => self.again(error, PollFlags::OUT, until)?,
            }
        }
        self.flush(until)
    }

    fn flush(&mut self, until: Instant) -> Result<(), Failure> {
        #[cfg(feature = "tls")]
        while matches!(&self.stream, Stream::Tls(tls) if tls.is_handshaking()) {
            self.shake_hands(until)?;
        }
        while let Err(error) = self.stream.flush() {
            self.again(error, PollFlags::OUT, until)?;
        }
        Ok(())
    }

    /// One step of it: what there is to send, and then what has come.
    #[cfg(feature = "tls")]
    fn shake_hands(&mut self, until: Instant) -> Result<(), Failure> {
        while let Err(error) = self.stream.flush() {
            self.again(error, PollFlags::OUT, until)?;
        }
        if let Stream::Tls(tls) = &mut self.stream
            && tls.is_handshaking()
        {
            wait(tls.tcp.as_fd(), PollFlags::IN, until)?;
            if let Err(error) = tls.take_in() {
                self.again(error, PollFlags::IN, until)?;
            }
        }
        Ok(())
    }

    /// Waits until it is worth another try, if the error is of that kind.
    fn again(&self, error: io::Error, flags: PollFlags, until: Instant) -> Result<(), Failure> {
        match error.kind() {
            io::ErrorKind::Interrupted => Ok(()),
            io::ErrorKind::WouldBlock => self.wait(flags, until),
            io::ErrorKind::UnexpectedEof => Err(Failure::Closed),
            _ => Err(error.into()),
        }
    }

    /// The next reply.
    pub(crate) fn reply(&mut self, until: Instant) -> Result<Value, Failure> {
        self.part(until, MAX_SEALED_LEN).map(|(value, _)| value)
    }

    /// A reply of no more than `longest` bytes, or such a part of one, and how many bytes it took.
    fn part(&mut self, until: Instant, longest: usize) -> Result<(Value, usize), Failure> {
        loop {
            // What is answered most: a session has been written.
            if self.inbox.rest().starts_with(OKAY) {
                self.inbox.take(OKAY.len());
                return Ok((Value::Okay, OKAY.len()));
            }
            if let Some(len) = reply_len(self.inbox.rest(), longest)? {
                let value = redis::parse_redis_value(&self.inbox.rest()[..len]);
                self.inbox.take(len);
                return value
                    .map(|value| (value, len))
                    .map_err(|_| Failure::Garbage);
            }
            self.receive(until)?;
        }
    }

    /// Waits for more, and takes it in.
    fn receive(&mut self, until: Instant) -> Result<(), Failure> {
        let mut chunk = [0; CHUNK];
        let mut read = self.stream.read_decrypted(&mut chunk);
        loop {
            match read {
                Ok(0) => return Err(Failure::Closed),
                Ok(read) => {
                    self.inbox.add(&chunk[..read]);
                    return Ok(());
                }
                // A read without waiting would find nothing nearly always.
                Err(error) => self.again(error, PollFlags::IN, until)?,
            }
            read = self.stream.read(&mut chunk);
        }
    }

    /// Whether nothing has come unasked, not even an end. Else the link is good for nothing.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if !self.is_drained() {
            return false;
        }
        #[cfg(feature = "tls")]
        if let Stream::Tls(tls) = &mut self.stream {
            return tls.is_quiet();
        }
        let mut fds = [PollFd::from_borrowed_fd(self.fd(), PollFlags::IN)];
        let none = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(rustix::event::poll(&mut fds, Some(&none)), Ok(0))
    }

    /// Whether all that has come was taken.
    pub(crate) fn is_drained(&self) -> bool {
        self.inbox.is_empty()
    }

    fn wait(&self, flags: PollFlags, until: Instant) -> Result<(), Failure> {
        wait(self.fd(), flags, until)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.stream {
            Stream::Tcp(tcp) => tcp.as_fd(),
            Stream::Unix(unix) => unix.as_fd(),
            #[cfg(feature = "tls")]
            Stream::Tls(tls) => tls.tcp.as_fd(),
        }
    }
}

/// The server's words, without what could fill a log, or be taken for more than a part of a line of it.
pub(crate) fn told(error: &ServerError) -> String {
    plain(&error.to_string())
}

fn plain(words: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.into()
        }
    };
    words.chars().take(200).map(escape).collect()
}

/// After `until` nothing is worth another try, whatever there is: a server that never stops sending is late, too.
fn wait(fd: BorrowedFd<'_>, flags: PollFlags, until: Instant) -> Result<(), Failure> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::Timeout);
        }
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::from_borrowed_fd(fd, flags)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(Failure::Io(error.into())),
        }
    }
}

fn tcp(host: &str, port: u16, until: Instant) -> Result<TcpStream, Failure> {
    let mut failure = Failure::Io(io::ErrorKind::NotFound.into());
    for address in (host, port).to_socket_addrs()? {
        let left = until.saturating_duration_since(Instant::now());
        // Zero is an error to it.
        match TcpStream::connect_timeout(&address, left.max(Duration::from_millis(1))) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                keep_alive(&stream).map_err(io::Error::from)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => failure = Failure::Timeout,
            Err(error) => failure = error.into(),
        }
    }
    Err(failure)
}

fn keep_alive(tcp: &TcpStream) -> Result<(), rustix::io::Errno> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(tcp, true)?;
    // OpenBSD has the times for all sockets together.
    #[cfg(not(target_os = "openbsd"))]
    {
        sockopt::set_tcp_keepidle(tcp, KEEPALIVE.0)?;
        sockopt::set_tcp_keepintvl(tcp, KEEPALIVE.1)?;
        sockopt::set_tcp_keepcnt(tcp, KEEPALIVE.2)?;
    }
    Ok(())
}

/// A blocking connect(2) would wait for a server that accepts nothing, without a timeout.
fn unix(path: &Path) -> Result<UnixStream, Failure> {
    let error = |errno: rustix::io::Errno| Failure::Io(errno.into());
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(error)?;
    let address = SocketAddrUnix::new(path).map_err(error)?;
    rustix::net::connect(&socket, &address).map_err(error)?;
    Ok(UnixStream::from(socket))
}

/// How long the first reply in `bytes` is; `None` if there is more to come.
fn reply_len(bytes: &[u8], longest: usize) -> Result<Option<usize>, Failure> {
    let Some(kind) = bytes.first() else {
        return Ok(None);
    };
    // No arrays here, nor what RESP3 has: those are never asked for.
    if !matches!(kind, b'+' | b'-' | b':' | b'$') {
        return Err(Failure::Garbage);
    }
    let Some(line) = line_end(bytes)? else {
        return Ok(None);
    };
    let after = line + 2;
    if *kind != b'$' {
        return Ok(Some(after));
    }
    let Some(len) = announced(&bytes[1..line])? else {
        return Ok(Some(after));
    };
    if len > longest {
        return Err(Failure::Garbage);
    }
    let all = after + len + 2;
    if bytes.len() < all {
        return Ok(None);
    }
    if bytes[all - 2..all] != *b"\r\n" {
        return Err(Failure::Garbage);
    }
    Ok(Some(all))
}

/// Where the first line ends; `None` if there is more to come.
fn line_end(bytes: &[u8]) -> Result<Option<usize>, Failure> {
    let mut ends = bytes.windows(2).take(MAX_LINE_LEN);
    match ends.position(|end| end == b"\r\n") {
        None if bytes.len() > MAX_LINE_LEN => Err(Failure::Garbage),
        line => Ok(line),
    }
}

/// A length; `None` is nil.
fn announced(digits: &[u8]) -> Result<Option<usize>, Failure> {
    if digits == b"-1" {
        return Ok(None);
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Failure::Garbage)?;
    digits.parse().map(Some).map_err(|_| Failure::Garbage)
}

#[cfg(test)]
mod tests;
