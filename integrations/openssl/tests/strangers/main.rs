//! Other people's clients against the server of `examples/server`, over TCP.
//!
//! The server runs in this process, on a cache whose clock stands still unless it is moved. A test whose program is not
//! installed prints SKIPPED and passes.

#![cfg(unix)]

#[path = "../../examples/server/serve.rs"]
mod serve;
#[path = "../support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener};

use openssl::ssl::{SslContext, SslContextBuilder};
use sessionwheel_openssl::{Options, Session, SingleUse, Storage};
use sessionwheel_stacks::{End, Site, curl, example, gnutls, proxies, python, s_client};

use serve::serve;
use support::{Identity, Server, require};

fn site(end: End) -> Site<Session> {
    with(Options::default(), end, |_| ())
}

fn with(options: Options, end: End, set: impl FnOnce(&mut SslContextBuilder)) -> Site<Session> {
    let server = Server::with(options.clone(), set);
    let (other, _) = Server::on(&server.cache, options, |_| ());
    Site {
        context: server.attachment.context(),
        here: listen(server.context, end),
        elsewhere: listen(other, end),
        cache: server.cache,
        hand: server.hand,
    }
}

fn listen(context: SslContext, end: End) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    serve(listener, context, end == End::Unclean);
    address
}

#[test]
fn s_client_reconnects_five_times_with_a_tls12_session_id() {
    for storage in [Storage::Objects, Storage::Der] {
        let options = Options::default().storage(storage);
        s_client::reconnects_five_times(|end| with(options.clone(), end, |_| ()));
    }
}

#[test]
fn s_client_resumes_from_a_file() {
    s_client::resumes_from_a_file(site);
}

#[test]
fn s_client_resumes_a_ticket_for_one_use_once() {
    let options = Options::default().single_use(SingleUse::Tls13);
    let site = with(options, End::Unclean, |_| ());
    s_client::resumes_a_ticket_once(&site.here.to_string());
}

#[test]
fn s_client_brings_early_data_once() {
    let site = with(Options::default(), End::Clean, |context| {
        context.set_max_early_data(1 << 14).unwrap();
    });
    s_client::brings_early_data_once(&site.here.to_string());
}

#[test]
fn s_client_stays_the_client_that_was_verified() {
    let identity = Identity::new("client");
    let certificate = identity.certificate.to_der().unwrap();
    let key = identity.key.private_key_to_pkcs8().unwrap();
    let strict = with(Options::default(), End::Unclean, |c| require(c, &identity));
    s_client::stays_the_client_that_was_verified(&strict, &certificate, &key);
}

#[test]
fn gnutls_resumes() {
    gnutls::resumes(site);
}

#[test]
fn curl_resumes() {
    curl::resumes(site);
}

#[test]
fn python_resumes() {
    python::resumes(site);
}

#[test]
fn haproxy_resumes() {
    proxies::haproxy_resumes(site);
}

#[test]
fn nginx_resumes() {
    proxies::nginx_resumes(site);
}

#[test]
fn the_readmes_command_starts_a_server_that_curl_resumes_from() {
    example::resumes_by_the_command_in(
        include_str!("../../README.md"),
        "cargo run --release --package sessionwheel-openssl --features openssl --example server",
    );
}
