//! A redis-server on a port, for what sockets can't do: Sentinels, Clusters, TLS.

use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::eventually;

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A directory that goes with whoever has it.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sessionwheel-node-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// One process, in a directory of its own, with what `file` says.
pub struct Node {
    child: Option<Child>,
    pub port: u16,
    /// On which it speaks TLS, if it does.
    pub tls_port: Option<u16>,
    arguments: Vec<String>,
    directory: Directory,
}

impl Node {
    /// `None`, said aloud, if there is no redis-server here.
    pub fn start(port: u16, arguments: &[&str], file: &str) -> Option<Self> {
        let directory = Directory::new();
        let common = format!("port {port}\nbind 127.0.0.1\nsave \"\"\n{file}");
        std::fs::write(directory.0.join("conf"), common).expect("a file");
        let tls_port = file.lines().find_map(|line| line.strip_prefix("tls-port "));
        let mut node = Self {
            child: None,
            port,
            tls_port: tls_port.map(|port| port.parse().expect("a port")),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            directory,
        };
        node.launch().then_some(node)
    }

    /// Starts it, or starts it again: empty.
    pub fn launch(&mut self) -> bool {
        assert!(self.child.is_none());
        let started = Command::new("redis-server")
            .arg("conf")
            .args(&self.arguments)
            .current_dir(&self.directory.0)
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            let _ = writeln!(std::io::stderr(), "SKIPPED: no redis-server");
            return false;
        };
        self.child = Some(child);
        eventually("it answers", || self.connection().is_some());
        true
    }

    pub fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub fn connection(&self) -> Option<redis::Connection> {
        let client = redis::Client::open(self.address()).ok()?;
        client.get_connection().ok()
    }

    /// The answer to a command, which is given.
    pub fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.connection().expect("a connection");
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| _ = command.arg(word));
        command.query(&mut connection).expect("an answer")
    }

    /// Kills it, without a farewell.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([name, &id]).status();
        assert!(sent.expect("kill").success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
