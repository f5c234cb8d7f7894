//! A client's session store that tells whether a session was handed out, and so offered.

use std::sync::atomic::{AtomicBool, Ordering};

use rustls::NamedGroup;
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;

/// rustls keeps up to this many TLS 1.3 tickets for a server name and sizes its store in tickets.
const TICKETS_PER_NAME: usize = 8;

/// rustls' own client store, with a note of what it handed out last. Serves one thread.
#[derive(Debug)]
pub(crate) struct Offers {
    inner: ClientSessionMemoryCache,
    offered: AtomicBool,
}

impl Offers {
    pub(crate) fn for_names(names: usize) -> Self {
        Self {
            // One name more, because releases of rustls differ in whether the last one fits.
            inner: ClientSessionMemoryCache::new((names + 1) * TICKETS_PER_NAME),
            offered: AtomicBool::new(false),
        }
    }

    /// Whether a session was handed out since the last call.
    pub(crate) fn was_offered(&self) -> bool {
        self.offered.swap(false, Ordering::Relaxed)
    }

    fn note<T>(&self, session: Option<T>) -> Option<T> {
        if session.is_some() {
            self.offered.store(true, Ordering::Relaxed);
        }
        session
    }
}

impl ClientSessionStore for Offers {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.inner.set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.inner.kx_hint(name)
    }

    fn set_tls12_session(&self, name: ServerName<'static>, session: Tls12ClientSessionValue) {
        self.inner.set_tls12_session(name, session);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.note(self.inner.tls12_session(name))
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.inner.remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.inner.insert_tls13_ticket(name, ticket);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.note(self.inner.take_tls13_ticket(name))
    }
}
