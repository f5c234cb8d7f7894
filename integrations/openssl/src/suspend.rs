//! Handshakes that wait for the external tier, and no thread with them.

use openssl::ssl::{ClientHelloResponse, SslContextBuilder, SslRef};

use crate::attach::Attachment;
use crate::callbacks::{MOST_LOOKUPS, Shared};
use crate::client_hello::offered;

/// Puts a handshake off as long as the external tier is being asked for what its client offers.
///
/// [`SslStream::accept`](openssl::ssl::SslStream::accept) and its like then fail with
/// [`WANT_CLIENT_HELLO_CB`](openssl::ssl::ErrorCode::WANT_CLIENT_HELLO_CB), as they do with `WANT_READ` when there is nothing
/// to be read; call them again a little later, as often as they do. The thread is free meanwhile. The tier says how long
/// that may take ([`ExternalTier::prepare`](sessionwheel::ExternalTier::prepare)): `sessionwheel-redis` its deadline, or its
/// `pending`.
///
/// Then a lookup finds the answer, if there is one in time. To make sure that it never waits, let the tier answer
/// `Pending`, which is a miss here. What is for a single use has to be claimed still, and that waits, for the tier's deadline.
///
/// Without [tags](crate::Tags) also the id is asked for that clients of TLS 1.3 make up for compatibility, and their handshakes
/// are put off for nothing.
///
/// Sets the context's client-hello callback, `SSL_CTX_set_client_hello_cb(3)`. `attachment` has to be this context's.
///
/// # Examples
///
/// ```
/// use openssl::ssl::{SslContext, SslMethod};
/// use sessionwheel::SessionCache;
/// use sessionwheel_openssl::{Options, attach, suspend};
///
/// let cache = SessionCache::builder().build()?; // with `.external(tier)`
/// let mut context = SslContext::builder(SslMethod::tls_server())?;
/// let attachment = attach(&mut context, &cache, Options::default())?;
/// suspend(&mut context, &attachment);
/// # drop(context.build());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn suspend(context: &mut SslContextBuilder, attachment: &Attachment) {
    let shared = attachment.0.clone();
    context.set_client_hello_callback(move |ssl, _| {
        let ready = shared.contained(|| shared.is_ready(ssl)).unwrap_or(true);
        if ready {
            return Ok(ClientHelloResponse::SUCCESS);
        }
        shared.refused.put_off.add_one();
        Ok(ClientHelloResponse::RETRY)
    });
}

impl Shared {
    /// Whether a lookup of what the client offers would wait for nothing. All are asked for at once: OpenSSL looks up one
    /// ticket after the other until one is good, nearly always the first, and `find` no more than these.
    fn is_ready(&self, ssl: &mut SslRef) -> bool {
        #[cfg(test)]
        crate::planted::here("is_ready");
        let own = offered(ssl, MOST_LOOKUPS as usize, |id| self.own_key(id));
        own.iter()
            .fold(true, |ready, key| self.cache.server().prepare(key) & ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planted::Planted;
    use crate::support::{Client, Identity, NAME, VERSIONS, server_context};
    use crate::{Options, attach};
    use sessionwheel::SessionCache;

    #[test]
    fn a_panic_puts_no_handshake_off() {
        for version in VERSIONS {
            let cache = SessionCache::builder().build().unwrap();
            let mut context = server_context(&Identity::new(NAME));
            let attachment = attach(&mut context, &cache, Options::default()).unwrap();
            suspend(&mut context, &attachment);
            let context = context.build();
            let client = Client::new(version);
            let session = client.session(&context);
            let planted = Planted::at("is_ready");
            assert!(client.resumes(&context, &session));
            drop(planted);
            let stats = attachment.stats();
            assert_eq!((stats.panics, stats.put_off), (1, 0));
        }
    }
}
