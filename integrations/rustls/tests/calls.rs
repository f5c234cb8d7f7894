//! What rustls calls when: the tables of the README.

mod support;

use std::sync::{Arc, Mutex};

use rustls::client::{
    ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls12Resumption,
    Tls13ClientSessionValue,
};
use rustls::pki_types::ServerName;
use rustls::server::StoresServerSessions;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, SupportedProtocolVersion};
use sessionwheel_rustls::{RustlsClientStore, RustlsStore};
use support::{Identity, cache_with_clock, handshake, provider, ticketer};

/// A store and what it was called with, in short.
#[derive(Debug)]
struct Recorded<S> {
    store: S,
    calls: Mutex<Vec<String>>,
}

impl<S> Recorded<S> {
    fn new(store: S) -> Arc<Self> {
        let calls = Mutex::default();
        Arc::new(Self { store, calls })
    }

    fn call(&self, name: &str) -> &S {
        self.calls.lock().unwrap().push(name.to_owned());
        &self.store
    }

    fn found<T>(&self, name: &str, found: Option<T>) -> Option<T> {
        let sign = if found.is_some() { '+' } else { '-' };
        self.call(&format!("{name}{sign}"));
        found
    }

    /// The calls since the last time.
    fn calls(&self) -> String {
        std::mem::take(&mut *self.calls.lock().unwrap()).join(" ")
    }
}

impl StoresServerSessions for Recorded<RustlsStore> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.call("put").put(key, value)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.found("get", self.store.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.found("take", self.store.take(key))
    }

    fn can_cache(&self) -> bool {
        self.call("can_cache").can_cache()
    }
}

impl ClientSessionStore for Recorded<RustlsClientStore> {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.call("set_hint").set_kx_hint(name, group);
    }

    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.found("hint", self.store.kx_hint(name))
    }

    fn set_tls12_session(&self, name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.call("set12").set_tls12_session(name, value);
    }

    fn tls12_session(&self, name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.found("get12", self.store.tls12_session(name))
    }

    fn remove_tls12_session(&self, name: &ServerName<'static>) {
        self.call("remove12").remove_tls12_session(name);
    }

    fn insert_tls13_ticket(&self, name: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.call("insert13").insert_tls13_ticket(name, value);
    }

    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.found("take13", self.store.take_tls13_ticket(name))
    }
}

/// What is called in a full handshake, and in the resumed one after it.
struct Expected {
    version: &'static SupportedProtocolVersion,
    ticketer: bool,
    tickets: bool,
    server: [&'static str; 2],
    client: [&'static str; 2],
}

const FULL13: &str = "take13- get12- hint- set_hint remove12 insert13 insert13";
const RESUMED13: &str = "take13+ hint+ set_hint remove12 insert13 insert13";
const FULL12: &str = "take13- get12- set12";
const RESUMED12: &str = "take13- get12+ set12";

const EXPECTED: [Expected; 5] = [
    Expected {
        version: &TLS12,
        ticketer: false,
        tickets: false,
        server: ["can_cache put", "get+"],
        client: [FULL12, RESUMED12],
    },
    Expected {
        version: &TLS13,
        ticketer: false,
        tickets: false,
        server: ["put put", "take+ put put"],
        client: [FULL13, RESUMED13],
    },
    Expected {
        version: &TLS13,
        ticketer: true,
        tickets: false,
        server: ["", ""],
        client: [FULL13, RESUMED13],
    },
    Expected {
        version: &TLS12,
        ticketer: true,
        tickets: true,
        server: ["can_cache put", ""],
        client: [FULL12, RESUMED12],
    },
    Expected {
        version: &TLS12,
        ticketer: true,
        tickets: false,
        server: ["can_cache put", "get+"],
        client: [FULL12, RESUMED12],
    },
];

#[test]
fn rustls_calls_what_the_tables_say() {
    for expected in EXPECTED {
        let (cache, _hand) = cache_with_clock();
        let on_server = Recorded::new(RustlsStore::new(&cache).unwrap());
        let on_client = Recorded::new(RustlsClientStore::builder().build().unwrap());
        let identity = Identity::new();
        let mut server = identity.server_config(on_server.clone());
        if expected.ticketer {
            server.ticketer = ticketer();
        }
        let server = Arc::new(server);
        let mut client = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[expected.version])
            .unwrap()
            .with_root_certificates(identity.roots())
            .with_no_client_auth();
        client.resumption = Resumption::store(on_client.clone());
        if !expected.tickets {
            client.resumption = client
                .resumption
                .tls12_resumption(Tls12Resumption::SessionIdOnly);
        }
        let client = Arc::new(client);

        let kinds = [HandshakeKind::Full, HandshakeKind::Resumed];
        for (n, kind) in kinds.into_iter().enumerate() {
            assert_eq!(handshake(&client, &server), kind);
            let case = (expected.version, expected.ticketer, expected.tickets, kind);
            assert_eq!(on_server.calls(), expected.server[n], "server, {case:?}");
            assert_eq!(on_client.calls(), expected.client[n], "client, {case:?}");
        }
    }
}

#[test]
fn a_client_of_tls13_makes_a_server_of_tls12_look_in_vain() {
    let (cache, _hand) = cache_with_clock();
    let store = Recorded::new(RustlsStore::new(&cache).unwrap());
    let identity = Identity::new();
    let server = identity.server_of(&[&TLS12], store.clone());
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS12, &TLS13])
        .unwrap()
        .with_root_certificates(identity.roots())
        .with_no_client_auth();
    client.resumption = Resumption::disabled();
    // It sends an id of its own making, for the sake of middle boxes (RFC 8446, D.4).
    assert_eq!(handshake(&Arc::new(client), &server), HandshakeKind::Full);
    assert_eq!(store.calls(), "get- can_cache put");
}
