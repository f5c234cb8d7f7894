//! Programs that may or may not be installed.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longer than anything takes that doesn't hang.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for it, but not for ever.
pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(1));
    }
}

/// Starts a program with pipes for input and output. Nothing if there is no such program.
pub fn start(program: &str, arguments: &[&str]) -> Option<Child> {
    // Servers are not in everybody's path.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
    let child = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    match child {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            // Not println: the test harness would swallow it.
            let _ = writeln!(std::io::stderr(), "SKIPPED: {program} not found");
            None
        }
        child => Some(child.expect("the program starts")),
    }
}

/// Runs a program until it ends, and returns what it printed. Its standard input is closed at once if there is no `input`;
/// else it stays open.
pub fn output(program: &str, arguments: &[&str], input: Option<&[u8]>) -> Option<String> {
    let mut child = start(program, arguments)?;
    let mut stdin = child.stdin.take().expect("a pipe");
    // It may have ended already.
    let _ = stdin.write_all(input.unwrap_or_default());
    let open = input.map(|_| stdin);
    let printed = child.wait_with_output().expect("the program ends").stdout;
    drop(open);
    Some(String::from_utf8_lossy(&printed).into_owned())
}

/// A program that runs until this is dropped.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that is removed at the end.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn make() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("strangers-{}-{number}", std::process::id());
        // Not in the target directory: the path of a Unix socket has about a hundred bytes at the most.
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a directory");
        Self(path)
    }

    pub fn file(&self, name: &str) -> String {
        let path: &Path = &self.0;
        path.join(name).to_str().expect("UTF-8").to_owned()
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.file(name);
        fs::write(&path, contents).expect("a file");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One request to a server behind a Unix socket, which may still be starting.
pub fn ask(socket: &str) -> String {
    let mut stream = None;
    until(socket, || {
        stream = UnixStream::connect(socket).ok();
        stream.is_some()
    });
    let mut stream = stream.expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
