//! A blocking TLS server: a fixed number of threads, each of which accepts and serves.
//!
//! The number of threads bounds the connections that are open at once; more wait in the kernel's
//! queue. Each connection ends within a fixed time, so nobody holds a thread for good.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::tls::Version;
use crate::wire::{MOST, complete};

pub(crate) const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
pub(crate) const CONNECTION_LIMIT: Duration = Duration::from_secs(60);
const STACK: usize = 512 * 1024;

/// A TLS library, set up as a server.
pub(crate) trait Stack: Send + Sync {
    /// Shakes hands, notes in `seen` how, answers one request, if one comes, and closes.
    fn serve(&self, socket: &TcpStream, seen: &Seen) -> io::Result<()>;
}

/// What a server has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    full: [AtomicU64; 2],
    resumed: [AtomicU64; 2],
    /// Connections that ended in an error, and calls of `accept` that failed.
    failed: AtomicU64,
}

impl Seen {
    /// Full handshakes and resumptions of a version.
    pub(crate) fn handshakes(&self, version: Version) -> (u64, u64) {
        let read = |counts: &[AtomicU64; 2]| counts[version.index()].load(Ordering::Relaxed);
        (read(&self.full), read(&self.resumed))
    }

    /// Connections that failed, from one that could not be accepted to one that was lost.
    pub(crate) fn failures(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// A handshake has come to its end.
    pub(crate) fn count(&self, version: Option<Version>, resumed: bool) {
        let counts = if resumed { &self.resumed } else { &self.full };
        if let Some(version) = version {
            counts[version.index()].fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A running server.
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    listener: TcpListener,
    stack: Arc<dyn Stack>,
    seen: Seen,
    stopping: AtomicBool,
}

impl Server {
    pub(crate) fn start(
        address: SocketAddr,
        stack: Arc<dyn Stack>,
        threads: usize,
    ) -> Result<Self> {
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            listener,
            stack,
            seen: Seen::default(),
            stopping: AtomicBool::new(false),
        });
        let start = |number| {
            let shared = shared.clone();
            thread::Builder::new()
                .name(format!("server-{number}"))
                .stack_size(STACK)
                .spawn(move || shared.accept_and_serve())
        };
        let threads = (0..threads)
            .map(start)
            .collect::<io::Result<_>>()
            .context("cannot start a server thread")?;
        Ok(Self {
            address,
            shared,
            threads,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.shared.seen
    }

    /// Stops accepting, and waits for connections that are still open.
    pub(crate) fn stop(self) {
        self.shared.stopping.store(true, Ordering::Release);
        for _ in &self.threads {
            // Wakes one thread that waits in accept. If it fails, the thread is not waiting.
            let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
        }
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn accept_and_serve(&self) {
        while !self.stopping.load(Ordering::Acquire) {
            match self.listener.accept() {
                Ok(_) if self.stopping.load(Ordering::Acquire) => return,
                Ok((socket, _)) => {
                    if self.stack.serve(&socket, &self.seen).is_err() {
                        self.seen.failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Err(_) => {
                    // Out of descriptors, or a peer that has gone already: wait and go on.
                    self.seen.failed.fetch_add(1, Ordering::Relaxed);
                    thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

/// Whether an error only says that the client has gone. Many close without close_notify, or
/// without waiting for ours.
pub(crate) fn left(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::NotConnected
    )
}

/// Reads until a request is complete (true) or the client has closed (false).
pub(crate) fn request_comes(stream: &mut impl Read) -> io::Result<bool> {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while request.len() < MOST {
        match stream.read(&mut buffer)? {
            0 => return Ok(false),
            n => request.extend_from_slice(&buffer[..n]),
        }
        if complete(&request) {
            return Ok(true);
        }
    }
    Err(ErrorKind::InvalidData.into())
}
