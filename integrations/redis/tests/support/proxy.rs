//! What stands between a host and its server, and is no friend of either.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use super::server::Server;

/// Relays TCP to a server's socket. When told to, it cuts or holds what the server answers, or holds what is written.
pub struct Proxy {
    port: u16,
    orders: Arc<Orders>,
}

#[derive(Default)]
struct Orders {
    /// So many answers more are cut in half, and their connections with them.
    cuts: AtomicU32,
    /// Answers wait here as long as it is true, but for as many as are let pass.
    held: Mutex<bool>,
    passes: AtomicU32,
    /// What has a `SET` in it waits here.
    held_writes: Mutex<bool>,
    writes: AtomicU32,
    released: Condvar,
    ended: AtomicBool,
}

impl Proxy {
    pub fn new(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let orders = Arc::new(Orders::default());
        let (socket, told) = (server.socket(), orders.clone());
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if told.ended.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let Ok(server) = UnixStream::connect(&socket) else {
                    continue;
                };
                let (mut up, mut down) = (client.try_clone().expect("a handle"), client);
                let mut to_server = server.try_clone().expect("a handle");
                let holds = told.clone();
                std::thread::spawn(move || holds.pass(&mut up, &mut to_server));
                let (told, mut server) = (told.clone(), server);
                std::thread::spawn(move || told.relay(&mut server, &mut down));
            }
        });
        Self { port, orders }
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// The same, for who logs in.
    pub fn address_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}/", self.port)
    }

    pub fn cut(&self, answers: u32) {
        self.orders.cuts.store(answers, Ordering::Relaxed);
    }

    pub fn cuts_left(&self) -> u32 {
        self.orders.cuts.load(Ordering::Relaxed)
    }

    pub fn hold_writes(&self, hold: bool) {
        *self.orders.held_writes.lock().unwrap() = hold;
        self.orders.released.notify_all();
    }

    /// How often a `SET` has come.
    pub fn writes(&self) -> u32 {
        self.orders.writes.load(Ordering::Relaxed)
    }

    pub fn hold(&self, hold: bool) {
        *self.orders.held.lock().unwrap() = hold;
        self.orders.released.notify_all();
    }

    /// Of the answers that are held, or will be, one passes.
    pub fn let_one_pass(&self) {
        self.orders.passes.fetch_add(1, Ordering::Relaxed);
        self.orders.released.notify_all();
    }
}

impl Orders {
    fn pass(&self, client: &mut TcpStream, server: &mut UnixStream) {
        let mut chunk = [0; 4_096];
        while let Ok(read @ 1..) = client.read(&mut chunk) {
            if chunk[..read].windows(3).any(|word| word == b"SET") {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.wait(&self.held_writes, || false);
            }
            if server.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
    }

    fn wait(&self, held: &Mutex<bool>, may_pass: impl Fn() -> bool) {
        let mut held = held.lock().unwrap();
        while *held && !may_pass() && !self.ended.load(Ordering::Relaxed) {
            let woken = self.released.wait_timeout(held, Duration::from_millis(20));
            held = woken.unwrap().0;
        }
    }

    fn relay(&self, server: &mut UnixStream, client: &mut TcpStream) {
        let mut chunk = [0; 4_096];
        while let Ok(read @ 1..) = server.read(&mut chunk) {
            self.wait(&self.held, || one_less(&self.passes));
            if one_less(&self.cuts) {
                let _ = client.write_all(&chunk[..read / 2]);
                break;
            }
            if client.write_all(&chunk[..read]).is_err() {
                break;
            }
        }
        let _ = client.shutdown(Shutdown::Both);
        let _ = server.shutdown(Shutdown::Both);
    }
}

/// Whether there was one.
fn one_less(left: &AtomicU32) -> bool {
    let less = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    less.is_ok()
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.ended.store(true, Ordering::Relaxed);
        self.hold(false);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Who says it is a Redis, and answers every lookup and claim with what `answer` makes of the command.
pub struct Liar {
    at: At,
    ended: Arc<AtomicBool>,
}

enum At {
    Port(u16),
    Socket(PathBuf),
}

impl Liar {
    pub fn new(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let accept = move || Ok(listener.accept()?.0);
        Self::listen(At::Port(port), accept, answer)
    }

    /// Where a server was that was killed.
    pub fn in_place_of(
        server: &Server,
        answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let socket = server.socket();
        let listener = UnixListener::bind(&socket).expect("nobody has it");
        let accept = move || Ok(listener.accept()?.0);
        Self::listen(At::Socket(socket), accept, answer)
    }

    fn listen<C: Read + Write + Send + 'static>(
        at: At,
        accept: impl Fn() -> io::Result<C> + Send + 'static,
        answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let (end, answer) = (ended.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            loop {
                let client = accept();
                if end.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(client) = client else { continue };
                let (end, answer) = (end.clone(), answer.clone());
                std::thread::spawn(move || lie(client, &end, &*answer));
            }
        });
        Self { at, ended }
    }

    pub fn address(&self) -> String {
        match &self.at {
            At::Port(port) => format!("redis://127.0.0.1:{port}/"),
            At::Socket(socket) => format!("unix://{}", socket.display()),
        }
    }
}

/// Answers one client, until it goes or all has ended.
fn lie(mut client: impl Read + Write, ended: &AtomicBool, answer: &dyn Fn(&[u8]) -> Vec<u8>) {
    let mut chunk = [0; 65_536];
    while let Ok(read @ 1..) = client.read(&mut chunk) {
        let command = &chunk[..read];
        let is = |name: &[u8]| command.windows(name.len()).any(|w| w == name);
        let reply = if is(b"PING") {
            b"+PONG\r\n".to_vec()
        } else if is(b"\r\nAUTH\r\n") {
            b"+OK\r\n".to_vec()
        } else {
            answer(command)
        };
        if ended.load(Ordering::Relaxed) || client.write_all(&reply).is_err() {
            break;
        }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        match &self.at {
            At::Port(port) => _ = TcpStream::connect(("127.0.0.1", *port)),
            At::Socket(socket) => {
                _ = UnixStream::connect(socket);
                let _ = std::fs::remove_file(socket);
            }
        }
    }
}
