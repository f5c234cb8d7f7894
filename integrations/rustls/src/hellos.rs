//! How many tickets of one hello are looked up.
//!
//! rustls doesn't tell a store for which connection it asks. But for each hello it asks the configuration for a certificate,
//! and then, on the same thread and without anything between, for one ticket of that hello after the other. So a
//! resolver of certificates can say where a hello begins.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// So many: each may cost a question to the external tier. Clients offer one or two.
pub(crate) const MOST: u32 = 4;

thread_local! {
    /// Of the hello that this thread is in: the number of its store, and how many tickets were looked up. 0 is no store's.
    static HELLO: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
}

/// The hellos of one store's configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hellos {
    number: u64,
}

impl Hellos {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: nothing but the number counts.
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number }
    }

    /// A hello has come to this thread.
    fn begins(self) {
        HELLO.set((self.number, 0));
    }

    /// What this thread does for the store next is for no hello that is known to have begun.
    pub(crate) fn end() {
        HELLO.set((0, 0));
    }

    /// Whether one more ticket of this thread's hello may be looked up. Always, if nobody says where one begins.
    pub(crate) fn admits_one_more(self) -> bool {
        let (number, taken) = HELLO.get();
        if number != self.number {
            return true;
        }
        let admits = taken < MOST;
        if admits {
            HELLO.set((number, taken + 1));
        }
        admits
    }

    /// The same certificates, and a word for each hello.
    pub(crate) fn told_by(
        self,
        resolver: Arc<dyn ResolvesServerCert>,
    ) -> Arc<dyn ResolvesServerCert> {
        Arc::new(Telling {
            resolver,
            hellos: self,
        })
    }
}

#[derive(Debug)]
struct Telling {
    resolver: Arc<dyn ResolvesServerCert>,
    hellos: Hellos,
}

impl ResolvesServerCert for Telling {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let key = self.resolver.resolve(hello);
        // After that, which may do what it likes; for example tell of another store, if this one was installed later.
        self.hellos.begins();
        key
    }

    fn only_raw_public_keys(&self) -> bool {
        self.resolver.only_raw_public_keys()
    }
}
