//! The binary, started with `--listen`.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A listening server that ends with the value.
pub struct Listening {
    pub address: String,
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Listening {
    pub fn start(timeout: u64) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_handshake-storm"))
            .args(["--listen", "127.0.0.1:0", "--timeout", &timeout.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line");
        let address = line
            .trim()
            .strip_prefix("listening on ")
            .expect("the address comes first")
            .to_owned();
        Self {
            address,
            child,
            stdout,
        }
    }

    /// Ends the server as Ctrl-C does, and returns what it printed since its address.
    #[cfg(unix)]
    pub fn interrupt(mut self) -> String {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status();
        assert!(sent.expect("kill").success());
        let mut printed = String::new();
        self.stdout.read_to_string(&mut printed).expect("text");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        printed
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
