//! A server that peeks at a hello, and has what it offers asked for outside before rustls does.

mod support;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use sessionwheel::{Claim, ExternalTier, Fetched, Reason, SessionCache, SessionKey, TierSession};
use sessionwheel_rustls::{Offered, RustlsStore, StoredSession, offered};
use support::hello::Hello;
use support::{Identity, VERSIONS, client_hello};

/// So often the tier says that it is still asking.
const PATIENCE: usize = 3;

/// A store outside of two hosts, which fails the test if it has to be waited for.
#[derive(Clone, Default)]
struct Outside(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    sessions: HashMap<SessionKey, TierSession<Vec<u8>>>,
    ahead: HashMap<SessionKey, usize>,
    fetched: usize,
}

impl ExternalTier<StoredSession> for Outside {
    fn store(&self, session: TierSession<&StoredSession>) {
        let key = session.key;
        let session = session.map(|value| value.as_bytes().to_vec());
        self.0.lock().unwrap().sessions.insert(key, session);
    }

    fn fetch(&self, key: &SessionKey) -> Fetched<StoredSession> {
        let mut kept = self.0.lock().unwrap();
        kept.fetched += 1;
        assert!(kept.ahead.get(key).is_some_and(|times| *times > PATIENCE));
        match kept.sessions.get(key).cloned() {
            Some(session) => Fetched::Hit(session.map(|bytes| StoredSession::copy_from(&bytes))),
            None => Fetched::Miss,
        }
    }

    fn claim(&self, key: &SessionKey) -> Claim {
        self.0.lock().unwrap().sessions.remove(key).is_some().into()
    }

    fn prepare(&self, key: &SessionKey) -> bool {
        let mut kept = self.0.lock().unwrap();
        let times = kept.ahead.entry(*key).or_default();
        *times += 1;
        *times > PATIENCE
    }

    fn remove(&self, key: &SessionKey, _: Reason) {
        self.0.lock().unwrap().sessions.remove(key);
    }
}

struct Host {
    config: Arc<ServerConfig>,
    store: Arc<RustlsStore>,
    listener: TcpListener,
}

impl Host {
    fn new(identity: &Identity, outside: &Outside) -> Self {
        let cache = SessionCache::builder().external(outside.clone());
        let store = RustlsStore::new(&cache.build().unwrap()).unwrap();
        let mut config = identity.server_config(Arc::new(NoServerSessionStorage {}));
        let store = store.install(&mut config);
        Self {
            config: Arc::new(config),
            store,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
        }
    }

    /// One connection; how often it was put off.
    fn serve(&self) -> usize {
        let (mut socket, _) = self.listener.accept().unwrap();
        let mut bytes = [0; 16_384];
        let offered = loop {
            let seen = socket.peek(&mut bytes).unwrap();
            assert_ne!(seen, 0, "it says something");
            if let Ok(offered) = offered(&bytes[..seen]) {
                break offered;
            }
        };
        let mut put_off = 0;
        while !self.store.prepare(&offered) {
            put_off += 1;
        }
        let mut connection = ServerConnection::new(self.config.clone()).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut socket);
        tls.write_all(b"hello").unwrap();
        tls.flush().unwrap();
        tls.conn.send_close_notify();
        tls.conn.complete_io(tls.sock).unwrap();
        put_off
    }
}

fn visit(client: &Arc<ClientConfig>, host: &Host) -> (HandshakeKind, usize) {
    let address = host.listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        let served = scope.spawn(|| host.serve());
        let mut socket = TcpStream::connect(address).unwrap();
        let name = ServerName::try_from(support::SERVER).unwrap();
        let mut connection = ClientConnection::new(client.clone(), name).unwrap();
        let mut tls = rustls::Stream::new(&mut connection, &mut socket);
        let mut said = Vec::new();
        tls.read_to_end(&mut said).unwrap();
        assert_eq!(said, b"hello");
        let kind = connection.handshake_kind().unwrap();
        (kind, served.join().unwrap())
    })
}

#[test]
fn what_was_peeked_at_is_there_when_rustls_asks() {
    for version in VERSIONS {
        let identity = Identity::new();
        let outside = Outside::default();
        // Contexts of both have the same number.
        let hosts = [(); 2].map(|()| Host::new(&identity, &outside));
        let client = identity.client(version, Resumption::in_memory_sessions(32));
        assert_eq!(visit(&client, &hosts[0]), (HandshakeKind::Full, 0));
        for round in 1..=10 {
            let (kind, put_off) = visit(&client, &hosts[round % 2]);
            assert_eq!(kind, HandshakeKind::Resumed, "{version:?}, {round}");
            // At its first visit in TLS 1.2, at each in TLS 1.3, it comes with what only the other has inside.
            let there = version == &TLS12 && round > 1;
            assert_eq!(put_off, if there { 0 } else { PATIENCE });
        }
        let fetched = outside.0.lock().unwrap().fetched;
        println!("{version:?}: 10 resumed, {fetched} fetched, none before it was there");
        assert_eq!(fetched, if version == &TLS12 { 1 } else { 10 });
    }
}

/// A hello that offers so many tickets, and what is to be seen in it.
fn hello(version: &'static rustls::SupportedProtocolVersion, tickets: u8) -> (Hello, Offered) {
    let client = Identity::new().client(version, Resumption::disabled());
    let hello = Hello::parse(&client_hello(&client)).with_session_id(&[9; 32]);
    let tickets: Vec<_> = (0..tickets).map(|n| vec![n; 32]).collect();
    let mut seen = Offered::default();
    seen.session_id = Some([9; 32]);
    seen.tls13 = version == &TLS13;
    if tickets.is_empty() {
        return (hello, seen);
    }
    if seen.tls13 {
        let first = tickets.iter().take(4);
        seen.tickets = first.map(|t| t[..].try_into().unwrap()).collect();
    }
    // Those of other lengths are no store's.
    let odd = [31, 33, 1_000].map(|len| vec![7; len]);
    (hello.with_tickets(&[&odd[..], &tickets].concat()), seen)
}

#[test]
fn all_that_a_server_may_look_up_is_seen() {
    for (version, tickets) in [
        (&TLS12, 0),
        (&TLS12, 3),
        (&TLS13, 0),
        (&TLS13, 3),
        (&TLS13, 200),
    ] {
        let (hello, seen) = hello(version, tickets);
        let bytes = hello.records();
        assert_eq!(offered(&bytes).unwrap(), seen, "{version:?}, {tickets}");
        // What comes behind it is not looked at.
        assert_eq!(offered(&[&bytes[..], b"more"].concat()).unwrap(), seen);
        for len in 0..bytes.len() {
            assert!(offered(&bytes[..len]).is_err(), "cut off at {len}");
        }
        let tls12 = seen.clone().in_tls12();
        assert_eq!(
            (tls12.session_id, tls12.tickets.len()),
            (seen.session_id, 0)
        );
        assert!(!format!("{seen:?}").contains('9'));
    }
    let session_id = |len| {
        let (hello, _) = hello(&TLS12, 0);
        offered(&hello.with_session_id(&vec![9; len]).records()).unwrap()
    };
    for len in [0, 1, 31, 33, 255] {
        assert_eq!(session_id(len).session_id, None, "{len}");
    }
}

#[test]
fn what_is_no_hello_offers_nothing() {
    for bytes in [
        &b"GET / HTTP/1.0\r\n\r\n"[..],
        b"G",
        &[21, 3, 3, 0, 2, 1, 0],
        &[22, 3, 1, 0, 0, 0],
        &[22, 3, 1, 0x40, 1, 1],
        &[22, 2, 1, 0, 4, 1],
        &[22, 3, 1, 0, 4, 2, 0, 0, 0],
        // Of 65,536 bytes.
        &[22, 3, 1, 0, 4, 1, 1, 0, 0],
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
    ] {
        assert_eq!(offered(bytes), Ok(Offered::default()), "{bytes:?}");
    }
    offered(b"").unwrap_err();
}

/// Of fragments of any size the same is read; of changed ones never too much.
#[test]
fn hellos_in_any_pieces_and_spoilt_ones() {
    let number = |name: &str, or: u64| {
        let given = std::env::var(name).ok();
        given.map_or(or, |given| given.parse().expect("a number"))
    };
    let seed = number("SESSIONWHEEL_SEED", u64::from(std::process::id()));
    println!("seed {seed}");
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    // Xorshift (Marsaglia, 2003).
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as usize % n
    };
    let (mut whole, mut spoilt, mut other) = (0, 0, HashSet::new());
    for (version, tickets) in [(&TLS12, 0), (&TLS13, 1), (&TLS13, 20)] {
        let (hello, seen) = hello(version, tickets);
        let records = hello.records();
        let message = &records[5..];
        for _ in 0..300 {
            let mut rest = message;
            let mut pieces = Vec::new();
            while !rest.is_empty() {
                let most = [1, 7, 300, 5_000][below(4)];
                let (piece, after) = rest.split_at(rest.len().min(1 + below(most)));
                pieces.extend([22, 3, 1]);
                pieces.extend((piece.len() as u16).to_be_bytes());
                pieces.extend(piece);
                rest = after;
            }
            assert_eq!(offered(&pieces).unwrap(), seen);
            offered(&pieces[..pieces.len() - 1]).unwrap_err();
            whole += 1;

            for _ in 0..=below(3) {
                let place = below(pieces.len());
                pieces[place] = below(256) as u8;
            }
            pieces.truncate(pieces.len() - below(2) * below(pieces.len()));
            if let Ok(read) = offered(&pieces) {
                assert!(read.tickets.len() <= 4);
                other.insert(format!("{read:?}"));
            }
            spoilt += 1;
        }
    }
    println!(
        "{whole} in pieces, {spoilt} spoilt ones, of which {} kinds were read",
        other.len()
    );
    assert!(other.len() > 3, "some are still read: {other:?}");
}
