//! Other people's clients against the server of `examples/rustls-server`, over TCP.
//!
//! The server runs in this process, on a cache whose clock stands still unless it is moved. A test whose program is not
//! installed prints SKIPPED and passes.

#![cfg(unix)]

#[path = "../../examples/rustls-server/serve.rs"]
mod serve;
#[path = "../support/mod.rs"]
mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sessionwheel_rustls::{RustlsStore, StoredSession};
use sessionwheel_stacks::{End, Site, curl, example, gnutls, proxies, python, s_client};

use serve::serve;
use support::{Identity, cache_with_clock, provider};

fn site(end: End) -> Site<StoredSession> {
    with(end, WebPkiClientVerifier::no_client_auth(), |_| ())
}

/// Clients of the server here have to get past the verifier.
fn with(
    end: End,
    verifier: Arc<dyn ClientCertVerifier>,
    set: impl FnOnce(&mut ServerConfig),
) -> Site<StoredSession> {
    let (cache, hand) = cache_with_clock();
    let identity = Identity::new();
    let [ours, other] = [(); 2].map(|()| RustlsStore::new(&cache).unwrap());
    let context = ours.context();
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier);
    let mut config = identity.answering(builder, Arc::new(ours));
    set(&mut config);
    Site {
        cache,
        hand,
        context,
        here: listen(Arc::new(config), end),
        elsewhere: listen(identity.server(Arc::new(other)), end),
    }
}

fn listen(config: Arc<ServerConfig>, end: End) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    serve(listener, config, end == End::Unclean);
    address
}

#[test]
fn s_client_reconnects_five_times_with_a_tls12_session_id() {
    s_client::reconnects_five_times(site);
}

#[test]
fn s_client_resumes_from_a_file() {
    s_client::resumes_from_a_file(site);
}

#[test]
fn s_client_resumes_a_ticket_once() {
    s_client::resumes_a_ticket_once(&site(End::Unclean).here.to_string());
}

#[test]
fn s_client_brings_early_data_once() {
    let anybody = WebPkiClientVerifier::no_client_auth();
    let site = with(End::Clean, anybody, |config| {
        config.max_early_data_size = 1 << 14;
    });
    s_client::brings_early_data_once(&site.here.to_string());
}

#[test]
fn s_client_stays_the_client_that_was_verified() {
    let client = Identity::new();
    let roots = Arc::new(client.roots());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let strict = with(End::Unclean, verifier.build().unwrap(), |_| ());
    let [certificate, key] = client.der();
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
#[ignore = "builds the package by itself; ci/full does it"]
fn the_readmes_command_starts_a_server_that_curl_resumes_from() {
    example::resumes_by_the_command_in(
        include_str!("../../README.md"),
        "cargo run --release --package sessionwheel-rustls --example rustls-server",
    );
}
