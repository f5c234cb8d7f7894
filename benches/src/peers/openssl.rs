//! OpenSSL's own session cache, the one in each `SSL_CTX`.

use std::ptr::NonNull;

use libc::{c_int, c_long, c_uint, c_void};
use openssl_sys::{SSL, SSL_CTX, SSL_SESSION};
use sessionwheel_openssl::ffi::{
    SSL_CTRL_SESS_NUMBER, SSL_CTX_flush_sessions, SSL_SESSION_new,
    SSL_SESSION_set_protocol_version, SSL_SESSION_set_time, SSL_SESSION_set_timeout,
    SSL_SESSION_set1_id, SSL_has_matching_session_id,
};

use super::{Expiry, Peer, Seconds, Session, stand_in};
use crate::{Id, NOW, Payload};

/// A part of the cache's keys: the version that a server's `SSL` starts with.
const VERSION: c_int = 0x0304;

/// OpenSSL's session cache.
///
/// - An insert is `SSL_CTX_add_session`. A handshake makes the `SSL_SESSION` whether it is cached or
///   not, so it is made by [`Peer::prepare`]. The session's state is that object: the payload is
///   dropped there.
/// - A lookup is `SSL_has_matching_session_id`: one lookup under the read lock. The function that
///   hands sessions out is for handshakes only, so a payload of the thread's own is handed out. It
///   does not look at the time.
/// - A take is `SSL_CTX_remove_session`, which finds by key, and so needs a session with that key:
///   each thread keeps one and gives it the id.
/// - A flush is `SSL_CTX_flush_sessions`. It removes if `at > time + timeout`, as everybody here.
#[derive(Debug)]
pub struct OpenSsl {
    ctx: NonNull<SSL_CTX>,
    /// Lookups go through one; this one is in no handshake, and only read.
    ssl: NonNull<SSL>,
}

// SAFETY: an `SSL_CTX` may be shared by threads: its cache has a lock, and what else it holds is not
// changed after `new`. The `SSL` is given to `SSL_has_matching_session_id` alone, which takes it as
// const and reads the version and the context; nobody changes it between `new` and `drop`.
unsafe impl Send for OpenSsl {}
// SAFETY: as above.
unsafe impl Sync for OpenSsl {}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        // SAFETY: both came from `new`, are freed once, and nobody else has a reference: `drop` is
        // exclusive.
        unsafe {
            openssl_sys::SSL_free(self.ssl.as_ptr());
            openssl_sys::SSL_CTX_free(self.ctx.as_ptr());
        }
    }
}

/// One reference to an `SSL_SESSION`.
#[derive(Debug)]
pub struct Made(NonNull<SSL_SESSION>);

// SAFETY: the references of an `SSL_SESSION` are counted atomically, and any thread may give one up.
// Its fields are written by `Made`'s owner only while nobody else has a reference.
unsafe impl Send for Made {}

impl Made {
    /// With this id, not in any cache.
    fn new(id: &Id) -> Self {
        // SAFETY: it takes nothing.
        let made = Self(NonNull::new(unsafe { SSL_SESSION_new() }).expect("memory"));
        // SAFETY: the session is alive, and ours alone.
        let set = unsafe { SSL_SESSION_set_protocol_version(made.0.as_ptr(), VERSION) };
        assert_eq!(set, 1);
        made.set_id(id);
        made
    }

    #[inline]
    fn set_id(&self, id: &Id) {
        // SAFETY: the session is alive, and in no cache: only `Peer::add` puts one there, and keeps
        // none. The id is copied, and as long as is said.
        let set = unsafe { SSL_SESSION_set1_id(self.0.as_ptr(), id.as_ptr(), id.len() as c_uint) };
        debug_assert_eq!(set, 1);
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // SAFETY: `new` got the reference, and it is given up once.
        unsafe { openssl_sys::SSL_SESSION_free(self.0.as_ptr()) }
    }
}

fn seconds(seconds: Seconds) -> c_long {
    c_long::try_from(seconds).expect("seconds on a small clock")
}

impl Peer for OpenSsl {
    type Prepared = Made;

    const EXPIRY: Expiry = Expiry::Deadlines;
    const BOUNDED: bool = true;

    fn name() -> String {
        "OpenSSL".into()
    }

    fn new(maximum: Option<usize>) -> Self {
        // Zero is no limit. With a limit of 2 or more it holds one less since 3.0.6 (until then
        // this one holds one more than asked for).
        let limit = maximum.map_or(0, |n| c_long::try_from(n + 1).expect("a small number"));
        // SAFETY: methods are static; the context and the connection are checked before they are
        // used, and are handed to `Drop`.
        unsafe {
            let ctx = openssl_sys::SSL_CTX_new(openssl_sys::TLS_server_method());
            let ctx = NonNull::new(ctx).expect("a context");
            openssl_sys::SSL_CTX_sess_set_cache_size(ctx.as_ptr(), limit);
            let ssl = NonNull::new(openssl_sys::SSL_new(ctx.as_ptr())).expect("a connection");
            Self { ctx, ssl }
        }
    }

    fn prepare(id: Id, session: Session) -> Made {
        let made = Made::new(&id);
        let timeout = seconds(session.deadline.saturating_sub(NOW));
        // SAFETY: the session is alive, and ours alone.
        unsafe {
            SSL_SESSION_set_time(made.0.as_ptr(), seconds(NOW));
            SSL_SESSION_set_timeout(made.0.as_ptr(), timeout);
        }
        made
    }

    #[inline]
    fn add(&self, made: Made, _: Seconds) {
        // SAFETY: both are alive. The cache takes a reference of its own.
        let added = unsafe { openssl_sys::SSL_CTX_add_session(self.ctx.as_ptr(), made.0.as_ptr()) };
        assert_eq!(added, 1, "refused");
    }

    fn fill(&self, sessions: impl Iterator<Item = (Id, Session)>, now: Seconds) {
        // Its list is sorted by expiry; what comes in that order is appended, anything else walks. But they are
        // made in the order in which they come, as handshakes make them: where each lies in memory is part
        // of what a flush costs.
        let made = |(id, session): (Id, Session)| (session.deadline, Self::prepare(id, session));
        let mut sessions: Vec<_> = sessions.map(made).collect();
        sessions.sort_by_key(|&(deadline, _)| deadline);
        for (_, made) in sessions {
            self.add(made, now);
        }
    }

    #[inline]
    fn get(&self, id: &Id, _: Seconds) -> Option<Payload> {
        let length = id.len() as c_uint;
        // SAFETY: the connection is alive, and only read (see `Sync`); the id is as long as is said.
        let found = unsafe { SSL_has_matching_session_id(self.ssl.as_ptr(), id.as_ptr(), length) };
        (found == 1).then(stand_in)
    }

    #[inline]
    fn take(&self, id: &Id, _: Seconds) -> Option<Payload> {
        thread_local! {
            static KEY: Made = Made::new(&[0; 32]);
        }
        let removed = KEY.with(|key| {
            key.set_id(id);
            // SAFETY: both are alive; the key is the thread's own and in no cache.
            unsafe { openssl_sys::SSL_CTX_remove_session(self.ctx.as_ptr(), key.0.as_ptr()) }
        });
        (removed == 1).then(stand_in)
    }

    fn flush(&self, at: Seconds) -> usize {
        // To OpenSSL, zero means everything.
        assert!(at > 0);
        let before = self.number();
        // SAFETY: the context is alive.
        unsafe { SSL_CTX_flush_sessions(self.ctx.as_ptr(), seconds(at)) };
        // Wrong if others insert or take meanwhile; who counts what was removed lets nobody.
        before.saturating_sub(self.number())
    }

    fn count(&self) -> Option<usize> {
        Some(self.number())
    }
}

impl OpenSsl {
    /// `SSL_CTX_sess_number`, a macro.
    fn number(&self) -> usize {
        let nothing = std::ptr::null_mut::<c_void>();
        // SAFETY: the context is alive; this control reads no argument.
        let n = unsafe {
            openssl_sys::SSL_CTX_ctrl(self.ctx.as_ptr(), SSL_CTRL_SESS_NUMBER, 0, nothing)
        };
        usize::try_from(n).expect("a count")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ids, payload};

    fn session(deadline: Seconds) -> Session {
        let payload = payload();
        Session { deadline, payload }
    }

    #[test]
    fn finds_what_was_added_and_one_taker_gets_it() {
        let (cache, ids) = (OpenSsl::new(None), Ids::new(1).many(1_000));
        for id in &ids {
            assert!(cache.get(id, NOW).is_none());
            cache.insert(*id, session(300), NOW);
        }
        assert_eq!(cache.count(), Some(1_000));
        assert!(ids.iter().all(|id| cache.get(id, NOW).is_some()));
        assert!(ids.iter().all(|id| cache.take(id, NOW).is_some()));
        assert!(ids.iter().all(|id| cache.take(id, NOW).is_none()));
        assert_eq!(cache.count(), Some(0));
    }

    #[test]
    fn a_flush_keeps_what_expires_at_its_time() {
        let (cache, mut ids) = (OpenSsl::new(None), Ids::new(2));
        let lifetimes = [NOW, 9, 10, 11, 12, 12];
        cache.fill(lifetimes.into_iter().map(|d| (ids.id(), session(d))), NOW);
        let left = [(10, 4), (11, 3), (12, 2), (13, 0)].map(|(at, left)| {
            cache.flush(at);
            (cache.count(), Some(left))
        });
        assert!(left.iter().all(|(is, should)| is == should), "{left:?}");
    }

    #[test]
    fn holds_its_maximum_and_drops_who_expires_first() {
        let (cache, ids) = (OpenSsl::new(Some(100)), Ids::new(3).many(300));
        for (i, id) in ids.iter().enumerate() {
            cache.insert(*id, session(300 + i as u64), NOW);
        }
        let held = cache.count().expect("it tells");
        assert!((100..=101).contains(&held), "{held}");
        assert!(ids[200..].iter().all(|id| cache.get(id, NOW).is_some()));
    }

    #[test]
    fn threads_share_it() {
        let cache = OpenSsl::new(None);
        let taken: usize = std::thread::scope(|scope| {
            let run = |_| {
                scope.spawn(|| {
                    let ids = Ids::new(4).many(500);
                    for id in &ids {
                        cache.insert(*id, session(300), NOW);
                    }
                    ids.iter()
                        .filter(|id| cache.take(id, NOW).is_some())
                        .count()
                })
            };
            let threads: Vec<_> = (0..4).map(run).collect();
            threads
                .into_iter()
                .map(|t| t.join().expect("no panic"))
                .sum()
        });
        println!("4 threads inserted 500 ids each, and took {taken}");
        assert!((500..=2_000).contains(&taken));
        assert_eq!(cache.count(), Some(0));
    }
}
