//! OpenSSL's own cache.
//!
//! Its sessions lie in a list that is sorted by expiry, and one that expires neither first nor last is put in by a walk
//! under the lock. So the population comes in the order that spares it the walk: the lasting half, all at the same
//! time; the passing half, each a second before the last one; clients' own sessions expire last of all.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use fastrand::Rng;
use foreign_types::ForeignType;
use openssl::ssl::{SslContext, SslOptions, SslSession, SslSessionCacheMode};
use openssl_sys::{SSL_CTX, SSL_SESSION};
use sessionwheel_openssl::ffi;

use super::server::{OpenSsl, context};
use super::template::Template;
use crate::backend::{Backend, Expiry};
use crate::population::Population;
use crate::tls::Identity;

const DAY: i64 = 86_400;
/// When sessions expire, counted from the beginning of the run. The passing half may be 20,000,000 / 2, in as many
/// seconds, all of them behind now.
const PASSING: i64 = 200 * DAY;
const LASTING: i64 = 300 * DAY;
const CLIENTS: i64 = 400 * DAY;

/// Without a limit to its size and without flushes of its own.
pub(crate) fn own(identity: &Identity, template: &Template) -> Result<Backend> {
    let mut context = context(identity)?;
    context.set_options(SslOptions::NO_TICKET);
    context.set_session_id_context(b"storm")?;
    context
        .set_session_cache_mode(SslSessionCacheMode::SERVER | SslSessionCacheMode::NO_AUTO_CLEAR);
    context.set_session_cache_size(0);
    // SAFETY: the builder keeps the context alive, and has it alone.
    unsafe {
        ffi::SSL_CTX_set_timeout(context.as_ptr(), CLIENTS);
        openssl_sys::SSL_CTX_sess_set_remove_cb(context.as_ptr(), Some(count));
    }
    let context = context.build();
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() as i64;
    let shared = Arc::new(Shared {
        context: context.clone(),
        template: template.clone(),
        begun,
        next: AtomicI64::new(PASSING),
    });
    Ok(Backend {
        name: "openssl",
        stack: Arc::new(OpenSsl(context)),
        passing: Box::new(Passing(shared.clone())),
        lasting: Box::new(Lasting(shared.clone())),
        expiry: Some(Box::new(Flush(shared))),
    })
}

/// Sessions that have left. There is one such cache in the process.
static REMOVED: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn count(_: *mut SSL_CTX, _: *mut SSL_SESSION) {
    REMOVED.fetch_add(1, Ordering::Relaxed);
}

struct Shared {
    context: SslContext,
    template: Template,
    begun: i64,
    /// When the next one of the passing half expires.
    next: AtomicI64,
}

impl Shared {
    fn put(&self, random: &mut Rng, expires: i64) -> bool {
        let Ok(session) = SslSession::from_der(&self.template.copy_der(random)) else {
            return false;
        };
        // SAFETY: the session is ours alone and in no cache yet; this context is the only one whose cache it comes
        // into, and OpenSSL locks that itself.
        unsafe {
            ffi::SSL_SESSION_set_time(session.as_ptr(), self.begun);
            ffi::SSL_SESSION_set_timeout(session.as_ptr(), expires) == 1
                && self.context.add_session(&session)
        }
    }
}

struct Passing(Arc<Shared>);
struct Lasting(Arc<Shared>);
struct Flush(Arc<Shared>);

impl Population for Passing {
    fn put(&self, random: &mut Rng) -> bool {
        let expires = self.0.next.fetch_sub(1, Ordering::Relaxed);
        self.0.put(random, expires)
    }
}

impl Population for Lasting {
    fn put(&self, random: &mut Rng) -> bool {
        self.0.put(random, LASTING)
    }
}

impl Expiry for Flush {
    fn pass(&self) {
        self.0.next.store(PASSING, Ordering::Relaxed);
    }

    /// It goes by the wall clock.
    fn pass_clients(&self) -> bool {
        false
    }

    fn flush(&self) -> usize {
        // Handshakes add meanwhile, so that it is not the difference of two numbers.
        let before = REMOVED.load(Ordering::Relaxed);
        ffi::flush_sessions(&self.0.context, self.0.begun + PASSING + 1);
        REMOVED.load(Ordering::Relaxed) - before
    }
}
