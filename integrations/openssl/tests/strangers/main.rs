//! Other people's clients against the server of `examples/server`, over TCP.
//!
//! The server runs in this process, on a cache whose clock stands still unless it is moved. A test whose program is not
//! installed prints SKIPPED and passes.

#![cfg(unix)]

mod c_clients;
mod example;
mod program;
mod proxies;
mod python;
#[path = "../../examples/server/serve.rs"]
mod serve;
#[path = "../support/mod.rs"]
mod support;

use std::net::TcpListener;
use std::time::Duration;

use openssl::ssl::{SslContext, SslContextBuilder, SslVersion};
use sessionwheel_openssl::Options;

use serve::{End, serve};
use support::{Server, name};

/// With this a client asks.
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";
const ENDS: [End; 2] = [End::Clean, End::Unclean];

/// A server that listens, and another context of its cache that does so elsewhere.
struct Listening {
    server: Server,
    address: String,
    elsewhere: String,
}

impl Listening {
    fn new(options: Options, end: End) -> Self {
        Self::with(options, end, |_| ())
    }

    fn with(options: Options, end: End, set: impl FnOnce(&mut SslContextBuilder)) -> Self {
        let server = Server::with(options.clone(), set);
        let (other, _) = Server::on(&server.cache, options, |_| ());
        let address = listen(server.context.clone(), end);
        let elsewhere = listen(other, end);
        Self {
            server,
            address,
            elsewhere,
        }
    }
}

fn listen(context: SslContext, end: End) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    serve(listener, context, end);
    address
}

/// Whether the server says that the connection was resumed.
fn resumed(answer: &str, version: SslVersion) -> bool {
    let name = name(version);
    let says = |what: &str| answer.contains(&format!("{name} {what}"));
    assert_ne!(says("resumed"), says("handshake"), "{answer}");
    says("resumed")
}

/// What a client gets that keeps its last session, and offers it at each connection. Where it can be told where to
/// connect to, it is told.
fn from_begin_to_end(
    who: &str,
    listening: &Listening,
    version: SslVersion,
    mut connect: impl FnMut(&str) -> Option<String>,
    goes_elsewhere: bool,
) {
    let Some(first) = connect(&listening.address) else {
        return;
    };
    let cache = &listening.server.cache;
    let mut count = (0, 0);
    let mut expect = |what: &str, expected: bool, address: &str| {
        let answer = connect(address).expect("it was there before");
        let seen = resumed(&answer, version);
        assert_eq!(seen, expected, "{who}, {version:?}, {what}: {answer}");
        count = (count.0 + u32::from(seen), count.1 + u32::from(!seen));
    };
    let here = &listening.address;
    assert!(!resumed(&first, version), "{who}, {version:?}");
    for _ in 0..4 {
        expect("again", true, here);
    }
    listening
        .server
        .hand
        .advance(cache.timeout() + Duration::from_nanos(1));
    expect("after its time", false, here);
    expect("afterwards", true, here);
    cache.purge(listening.server.attachment.context());
    expect("after a purge", false, here);
    expect("afterwards", true, here);
    let guard = cache.pin();
    let keys: Vec<_> = cache.iter(&guard).map(|s| *s.key()).collect();
    assert!(
        keys.iter()
            .filter_map(|key| cache.take(key, &guard))
            .count()
            > 0
    );
    drop(guard);
    expect("after a take", false, here);
    expect("afterwards", true, here);
    if goes_elsewhere {
        expect("in another context", false, &listening.elsewhere);
        expect("there", true, &listening.elsewhere);
        expect("back here", false, here);
    }
    println!(
        "{who}, {}: {} resumed, {} not",
        name(version),
        count.0,
        count.1 + 1
    );
}
