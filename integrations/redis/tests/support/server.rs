//! redis-server, started for one test.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use redis::Commands;

use super::eventually;

/// A server of its own, on a unix socket, that keeps nothing on disk.
pub struct Server {
    child: Option<Child>,
    directory: PathBuf,
    arguments: Vec<String>,
}

impl Server {
    /// `None`, said aloud, if there is no redis-server here.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sessionwheel-redis-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let mut server = Self {
            child: None,
            directory,
            arguments: arguments.iter().map(ToString::to_string).collect(),
        };
        server.launch().then_some(server)
    }

    /// Starts it, or starts it again: empty.
    pub fn launch(&mut self) -> bool {
        assert!(self.child.is_none());
        let child = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--enable-debug-command", "yes", "--unixsocket"])
            .arg(self.socket())
            .args(&self.arguments)
            .current_dir(&self.directory)
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn();
        match child {
            Ok(child) => self.child = Some(child),
            Err(error) => {
                let thread = std::thread::current();
                let test = thread.name().unwrap_or("a test").to_owned();
                let line = format!("SKIPPED: {test}: no redis-server: {error}");
                let _ = writeln!(std::io::stderr(), "{line}");
                return false;
            }
        }
        eventually("the server answers", || self.answers());
        true
    }

    fn answers(&self) -> bool {
        let Ok(client) = redis::Client::open(self.address()) else {
            return false;
        };
        match client.get_connection() {
            Ok(_) => true,
            // It wants a password.
            Err(error) => error.kind() == redis::ErrorKind::AuthenticationFailed,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// The same, for who logs in.
    pub fn address_of(&self, user: &str, password: &str) -> String {
        format!("{}?user={user}&pass={password}", self.address())
    }

    /// A connection that has nothing to do with what is tested.
    pub fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.address()).expect("an address");
        client.get_connection().expect("a connection")
    }

    pub fn keys(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> = self.connection().keys("*").expect("keys");
        keys.sort();
        keys
    }

    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let sent = Command::new("kill").args([name, &id]).status();
        assert!(sent.expect("kill").success());
    }

    /// Kills it, without a farewell.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("kill");
        child.wait().expect("it ends");
        let _ = std::fs::remove_file(self.socket());
    }

    /// Stops it the way an administrator does.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("it ends");
        let _ = std::fs::remove_file(self.socket());
    }
}

impl Server {
    /// Leaves nothing of it.
    pub fn discard(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.discard();
    }
}
