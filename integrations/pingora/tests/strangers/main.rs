//! Other people's clients against the proxy, and an HTTP server behind it, which says how their connections began.
//!
//! The proxy runs in this process, on a cache whose clock stands still unless it is moved; the example in one of its own.
//! A test whose program is not installed prints SKIPPED and passes.

#![cfg(unix)]

mod example;
mod proxy;
#[path = "../../../openssl/tests/support/mod.rs"]
mod support;
mod vanish;

use std::cell::RefCell;

use pingora::listeners::tls::TlsSettings;
use sessionwheel_openssl::Session;
use sessionwheel_stacks::{End, Site, curl, gnutls, proxies, python, s_client};

use proxy::Proxy;
use support::{Identity, require};

fn site(end: End) -> Site<Session> {
    Proxy::new(end).site
}

#[test]
fn s_client_reconnects_five_times_with_a_tls12_session_id() {
    s_client::reconnects_five_times(site);
}

#[test]
fn s_client_resumes_from_a_file() {
    let proxies = RefCell::new(Vec::new());
    s_client::resumes_from_a_file(|end| {
        let proxy = Proxy::new(end);
        proxies.borrow_mut().push((end, proxy.attachment));
        proxy.site
    });
    for (end, attachment) in proxies.take() {
        if attachment.cache().counters().hits > 0 {
            let unclean = attachment.stats().removals_ignored;
            assert_eq!(unclean > 0, end == End::Unclean, "{unclean} unclean closes");
        }
    }
}

#[test]
fn s_client_resumes_where_handshakes_have_threads_of_their_own() {
    let pool = |end| Proxy::with(end, |tls| tls.set_offload_threadpool(1, 2));
    s_client::resumes_from_a_file(|end| pool(end).site);
}

#[test]
fn s_client_stays_the_client_that_was_verified() {
    let identity = Identity::new("client");
    let certificate = identity.certificate.to_der().unwrap();
    let key = identity.key.private_key_to_pkcs8().unwrap();
    let strict = |tls: &mut TlsSettings| require(tls, &identity);
    let proxy = Proxy::with_each(End::Unclean, strict, |_| ());
    s_client::stays_the_client_that_was_verified(&proxy.site, &certificate, &key);
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
