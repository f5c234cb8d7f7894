//! A server that forks after its context was made, and before its first handshake. One thread, hence no test harness.

mod support;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use sessionwheel_openssl::Options;
use support::{Client, Server, VERSIONS};

const CHILDREN: usize = 3;

fn main() {
    let server = Server::new(Options::default());
    let (mut reader, mut writer) = UnixStream::pair().unwrap();
    let mut children = Vec::new();
    for _ in 0..CHILDREN {
        // SAFETY: this process has one thread, so that the child has all that it may wait for.
        match unsafe { libc::fork() } {
            -1 => panic!("cannot fork"),
            0 => {
                serve(&server, &mut writer);
                // SAFETY: it ends this process at once, as a child should that shares its parent's exit handlers.
                unsafe { libc::_exit(0) }
            }
            child => children.push(child),
        }
    }
    drop(writer);
    let mut ids = Vec::new();
    reader.read_to_end(&mut ids).unwrap();
    for child in children {
        let mut status = 0;
        // SAFETY: the child is ours, and waited for once; the status is written to a variable that lives.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "{status:#x}"
        );
    }
    let ids: Vec<_> = ids.chunks(32).collect();
    let different: HashSet<_> = ids.iter().collect();
    assert_eq!(ids.len(), CHILDREN * 5);
    assert_eq!(different.len(), ids.len(), "children make different ids");
    println!(
        "{CHILDREN} children resumed 20 times each, and made {} ids",
        ids.len()
    );
}

/// In a child: a panic ends it with a signal or a code.
fn serve(server: &Server, ids: &mut UnixStream) {
    for version in VERSIONS {
        let client = Client::new(version);
        let mut session = client.session(&server.context);
        for _ in 0..10 {
            assert!(client.resumes(&server.context, &session));
            session = client.sessions().pop().unwrap_or(session);
        }
    }
    let guard = server.cache.pin();
    for kept in server.cache.iter(&guard).take(5) {
        ids.write_all(kept.key().id().as_bytes()).unwrap();
    }
    drop(guard);
    assert!(server.cache.flush().removed == 0);
}
