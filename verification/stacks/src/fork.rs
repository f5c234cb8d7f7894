//! Servers that fork after their configuration was made, and before their first handshake.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::program::PATIENCE;

const CHILDREN: usize = 3;

/// A session id.
pub type Id = [u8; 32];

/// Lets children do what `serve` does, and holds them to make different ids: those that it returns.
///
/// # Panics
/// If a child does; if this process has a second thread, since a child would wait for what that one holds.
pub fn before_first_use(serve: impl Fn() -> Vec<Id>) {
    let threads = std::fs::read_dir("/proc/self/task").map(Iterator::count);
    assert!(matches!(threads, Ok(1) | Err(_)), "a second thread");
    let children: Vec<_> = (0..CHILDREN).map(|_| Child::fork(&serve)).collect();
    let said: Vec<_> = children.into_iter().map(Child::wait).collect();
    let ids: Vec<_> = said.iter().flatten().collect();
    let different: HashSet<_> = ids.iter().collect();
    assert!(said.iter().all(|ids| !ids.is_empty()));
    assert_eq!(different.len(), ids.len(), "children make different ids");
    println!("{CHILDREN} children served, and made {} ids", ids.len());
}

/// A process that is killed if nobody has waited for it.
struct Child {
    process: libc::pid_t,
    says: UnixStream,
}

impl Child {
    fn fork(serve: impl Fn() -> Vec<Id>) -> Self {
        let (says, mut writer) = UnixStream::pair().expect("a pair");
        // SAFETY: this process has one thread, so that the child has all that it may wait for.
        match unsafe { libc::fork() } {
            -1 => panic!("cannot fork"),
            0 => {
                // Not into the frames of the parent.
                let code = match catch_unwind(AssertUnwindSafe(serve)) {
                    Ok(ids) => i32::from(writer.write_all(ids.as_flattened()).is_err()),
                    Err(_) => 1,
                };
                // SAFETY: it ends this process at once, as a child should that shares its parent's exit handlers.
                unsafe { libc::_exit(code) }
            }
            process => Self { process, says },
        }
    }

    /// What it has made; it has ended well.
    fn wait(mut self) -> Vec<Id> {
        self.says
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        let mut said = Vec::new();
        self.says.read_to_end(&mut said).expect("it ends");
        assert_eq!(self.status(), 0, "how a child ended");
        let ids = said.chunks_exact(size_of::<Id>());
        assert!(ids.remainder().is_empty());
        ids.map(|id| id.try_into().expect("as long")).collect()
    }

    /// Waits for its end.
    fn status(&mut self) -> i32 {
        let mut status = 0;
        // SAFETY: the child is ours, and waited for once, since it is forgotten then; the status is written to a
        // variable that lives.
        let ended = unsafe { libc::waitpid(self.process, &raw mut status, 0) };
        assert_eq!(ended, std::mem::replace(&mut self.process, 0));
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.process != 0 {
            // SAFETY: a child that nobody has waited for keeps its number.
            unsafe { libc::kill(self.process, libc::SIGKILL) };
            self.status();
        }
    }
}
