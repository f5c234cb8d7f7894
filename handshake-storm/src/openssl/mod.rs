//! OpenSSL as the server: our cache, by `sessionwheel-openssl`, and the one in each `SSL_CTX`.

mod own;
mod server;
mod template;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use openssl::ssl::SslContextBuilder;
use sessionwheel::{Context, SessionCache, SessionId, SessionKey, SessionOptions};
use sessionwheel_openssl::{Options, Session, Storage, attach};

pub(crate) use own::own;
pub(crate) use template::Template;

use crate::args::Plan;
use crate::backend::{Backend, CLIENTS, LASTING, Manual, PASSING};
use crate::population::Population;
use crate::tls::Identity;
use server::OpenSsl;

/// What the output says about the population.
pub(crate) fn note(sessions: usize) -> String {
    format!(
        "Background population: {sessions} sessions under random ids, copies of one that a real \
         TLS 1.2 handshake has made. All handshakes are real: {} as the server, rustls as the \
         client, TCP on loopback. Time that lets sessions expire is a manual clock; OpenSSL's own \
         cache is told a later time to flush at.",
        openssl::version::version()
    )
}

/// Sessionwheel under OpenSSL.
pub(crate) fn sessionwheel(
    plan: &Plan,
    identity: &Identity,
    template: &Template,
) -> Result<Backend> {
    let manual = Manual::new(plan)?;
    let mut context = server::context(identity)?;
    let attached = attached(&mut context, &manual.cache)?;
    let put = |timeout| {
        Box::new(Copies {
            cache: manual.cache.clone(),
            context: attached,
            template: template.clone(),
            timeout,
        })
    };
    Ok(Backend {
        name: "sessionwheel",
        stack: Arc::new(OpenSsl(context.build())),
        passing: put(PASSING),
        lasting: put(LASTING),
        expiry: Some(Box::new(manual)),
    })
}

fn attached(context: &mut SslContextBuilder, cache: &SessionCache<Session>) -> Result<Context> {
    let options = Options::default().timeout(CLIENTS);
    Ok(attach(context, cache, options)?.context())
}

/// Copies of a session, as objects, like those of clients.
struct Copies {
    cache: SessionCache<Session>,
    context: Context,
    template: Template,
    timeout: Duration,
}

impl Population for Copies {
    fn put(&self, random: &mut Rng) -> bool {
        let (id, bytes) = self.template.copy(random);
        let Ok(session) = Session::from_bytes(&bytes, Storage::Objects) else {
            return false;
        };
        let key = SessionKey::new(self.context, SessionId::from(id));
        let options = SessionOptions::default().timeout(self.timeout);
        self.cache.insert_with(key, session, options).is_ok()
    }
}
