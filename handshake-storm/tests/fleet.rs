//! `--tier`: two processes on a real Redis.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handshake-storm"))
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// A server on a unix socket. `None`, said aloud, if there is no redis-server here.
struct Redis {
    child: Child,
    directory: PathBuf,
}

impl Redis {
    fn start() -> Option<Self> {
        let name = format!("handshake-storm-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a directory");
        let started = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(directory.join("socket"))
            .current_dir(&directory)
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            let _ = std::fs::remove_dir_all(&directory);
            let _ = writeln!(std::io::stderr(), "SKIPPED: redis-server not found");
            return None;
        };
        let redis = Self { child, directory };
        let begun = Instant::now();
        while !redis.directory.join("socket").exists() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(redis)
    }

    fn address(&self) -> String {
        format!("unix://{}", self.directory.join("socket").display())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn two_processes_resume_each_other_s_sessions() {
    let Some(redis) = Redis::start() else {
        return;
    };
    let numbers = ["--full", "40", "--resumptions", "200"];
    let output = run(&[&["--tier", &redis.address()][..], &numbers].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    for version in ["TLS 1.2", "TLS 1.3"] {
        let expected =
            format!("{version}: 40 full handshakes, 200 of 200 resumed by the other process");
        assert!(text.contains(&expected), "{text}");
    }
    let _ = writeln!(
        std::io::stdout(),
        "ci: {}",
        text.trim_end().replace('\n', "\nci: ")
    );
}

#[test]
fn no_redis_is_an_error_with_a_message() {
    let output = run(&["--tier", "unix:///nonexistent/sessionwheel"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("Redis"), "{errors}");
    for bad in ["nowhere", "rediss://localhost/"] {
        assert_eq!(run(&["--tier", bad]).status.code(), Some(1));
    }
}
