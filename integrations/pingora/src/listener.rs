//! The TLS listener and the cache: all that an application of its own has to take from here.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use pingora::listeners::TlsAccept;
use pingora::listeners::tls::TlsSettings;
use pingora::protocols::tls::TlsRef;
use sessionwheel::SessionCache;
use sessionwheel_openssl::{Attachment, Options, Session, attach};

/// The settings of a listener that resumes from `cache`, without a certificate yet.
///
/// `TlsSettings` is an `SslContextBuilder` by dereference, and Pingora sets none of what [`attach`] sets, neither before
/// nor when it builds the acceptor.
///
/// # Errors
/// Those of Pingora and of [`attach`].
pub fn listener(
    cache: &SessionCache<Session>,
    options: Options,
) -> Result<(TlsSettings, Attachment), Box<dyn Error>> {
    let mut settings = TlsSettings::with_callbacks(Box::new(Watcher))?;
    let attachment = attach(&mut settings, cache, options)?;
    Ok((settings, attachment))
}

/// How a connection began. Pingora keeps it in the connection's digest, where each of its requests finds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Began {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// Whether there was a session to resume.
    pub resumed: bool,
    /// Whether the client has shown a certificate, now or when its session was made. It was verified if the listener verifies
    /// any.
    pub known: bool,
}

impl fmt::Display for Began {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.resumed { "resumed" } else { "handshake" };
        write!(f, "{} {how}", self.version)?;
        f.write_str(if self.known { ", known client" } else { "" })
    }
}

/// Pingora's digest of a connection does not say whether it was resumed, but has room for what this sees.
struct Watcher;

#[async_trait]
impl TlsAccept for Watcher {
    async fn handshake_complete_callback(
        &self,
        ssl: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        Some(Arc::new(Began {
            version: ssl.version_str(),
            resumed: ssl.session_reused(),
            known: ssl.peer_certificate().is_some(),
        }))
    }
}
