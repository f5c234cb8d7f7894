//! [`attach`]: an `SSL_CTX` and a cache.

use std::error::Error;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use libc::c_long;
use openssl::error::ErrorStack;
use openssl::ssl::{SslContextBuilder, SslOptions, SslSessionCacheMode, SslVersion};
use sessionwheel::{Context, ContextsExhausted, SessionCache};

use crate::callbacks::{Indices, Shared};
use crate::contain::contain;
use crate::ffi;
use crate::options::{Options, Tags, Tickets};
use crate::session::Session;
use crate::stats::{AttachmentStats, Counters};
use crate::tag::{self, MOST_TAG_KEYS, TagKey};

/// The oldest OpenSSL whose error codes this crate can read: 3.0.0.
const OLDEST: i64 = 0x3000_0000;

/// What a ticket's lifetime is in TLS 1.3 at the most (RFC 8446, 4.6.1), in seconds.
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Lets the server connections of a context keep their sessions in `cache`, and resume from there.
///
/// Sets the context's
/// - session cache mode, to `SERVER`, `NO_INTERNAL` and `NO_AUTO_CLEAR`: its own cache stays empty;
/// - callbacks for new sessions, lookups, removals and, with [tags](Options::tags), new ids;
/// - options `NO_TICKET`, by [default](Tickets), and `NO_ANTI_REPLAY`, since OpenSSL's protection against
///   replays knows its own cache only: this crate's is that sessions with early data are for a single use;
/// - [session-id context](Options::session_id_context), without which OpenSSL keeps no session of a client that
///   it verifies;
/// - timeout, to that of the sessions, or to the cap on their [lineage](sessionwheel::SessionCacheBuilder::lineage) if that is
///   shorter, so that clients are told the truth. (One that has resumed is told the same, although less may be left of its
///   lineage.)
///
/// All of it may be changed afterwards by the caller, who then answers for it; max_early_data, verification and
/// versions may be set before or after, but for TLS 1.3 with [`Tickets::Tls12`]: its sessions are not kept then.
///
/// Connections that [`Ssl::set_ssl_context`](openssl::ssl::SslRef::set_ssl_context) moves to another context, for
/// example by their server name, go on with the cache of the context that they began with: attach
/// that one. Contexts that share `cache` are kept apart unless they are told the same
/// [`Options::context`].
///
/// The cache lives as long as one of its handles, the context, or a connection of it.
///
/// # Errors
/// [`AttachError`]; the context is as it was then.
///
/// # Examples
///
/// ```
/// use openssl::ssl::{SslContext, SslMethod};
/// use sessionwheel::SessionCache;
/// use sessionwheel_openssl::{Options, attach};
///
/// let cache = SessionCache::builder().maximum(Some(100_000)).build()?;
/// let mut context = SslContext::builder(SslMethod::tls_server())?;
/// let attachment = attach(&mut context, &cache, Options::default())?;
/// let context = context.build();
/// # drop(context);
/// assert_eq!(attachment.stats().foreign_ids, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn attach(
    context: &mut SslContextBuilder,
    cache: &SessionCache<Session>,
    options: Options,
) -> Result<Attachment, AttachError> {
    if openssl::version::number() < OLDEST {
        return Err(AttachError::TooOld);
    }
    if !(1..=32).contains(&options.session_id_context.len()) {
        let len = options.session_id_context.len();
        return Err(AttachError::SessionIdContext { len });
    }
    if options.tickets == Tickets::Tls12 {
        let newest = context.max_proto_version();
        if newest.is_none_or(|newest| newest == SslVersion::TLS1_3) {
            return Err(AttachError::TicketsWithTls13);
        }
    }
    let key = match &options.tags {
        Tags::OfProcess => Some(TagKey::of_process()?),
        Tags::With(key) => Some(key.clone()),
        Tags::Off => None,
    };
    let indices = Indices::get()?;
    let session_context = match options.context {
        Some(context) => context,
        None => cache.context()?,
    };
    // Last, for a place that is taken is never given back.
    let generator = match &key {
        Some(key) => Some(tag::generator(key).ok_or(AttachError::TagKeys)?),
        None => None,
    };
    let shared = Arc::new(Shared {
        context: session_context,
        cache: cache.clone(),
        indices,
        key,
        refused: Counters::default(),
        options,
    });
    let options = &shared.options;

    // Of the right length, so that from here on nothing fails.
    context.set_session_id_context(&options.session_id_context)?;
    context.set_options(SslOptions::from_bits_retain(ffi::SSL_OP_NO_ANTI_REPLAY));
    if options.tickets == Tickets::Never {
        context.set_options(SslOptions::NO_TICKET);
    }
    context.set_session_cache_mode(
        SslSessionCacheMode::SERVER
            | SslSessionCacheMode::NO_INTERNAL
            | SslSessionCacheMode::NO_AUTO_CLEAR,
    );
    let timeout = options.timeout.unwrap_or(cache.timeout());
    let seconds = seconds(timeout.min(cache.lineage().unwrap_or(Duration::MAX)));
    // SAFETY: the builder keeps the context alive, and has it alone.
    unsafe { ffi::SSL_CTX_set_timeout(context.as_ptr(), seconds) };
    if let Some(generator) = generator {
        // SAFETY: as above; the function is static, and contains its panics.
        unsafe { ffi::SSL_CTX_set_generate_session_id(context.as_ptr(), generator) };
    }
    let with = Held::new(&shared);
    context.set_new_session_callback(move |ssl, session| with.established(ssl, &session));
    let with = Held::new(&shared);
    context.set_remove_session_callback(move |_, session| with.removed(session));
    let with = Held::new(&shared);
    // SAFETY: what is handed out is a duplicate that belongs to no context.
    unsafe { context.set_get_session_callback(move |ssl, id| with.resume(ssl, id)) };
    Ok(Attachment(shared))
}

/// What a callback holds. OpenSSL drops it with its context, which may be the last to hold the cache: whatever panics then
/// must not come to C.
struct Held(Option<Arc<Shared>>);

impl Held {
    fn new(shared: &Arc<Shared>) -> Self {
        Self(Some(shared.clone()))
    }
}

impl Deref for Held {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        self.0
            .as_deref()
            .expect("it is there until this is dropped")
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Nobody is left to be told of a panic.
        let _ = contain(|| self.0 = None);
    }
}

/// For OpenSSL, which must not think that a session has expired before the cache does.
fn seconds(timeout: Duration) -> c_long {
    let whole = timeout.min(WEEK).as_nanos().div_ceil(1_000_000_000).max(1);
    c_long::try_from(whole).unwrap_or(c_long::MAX)
}

/// What [`attach`] has made: to ask what it has refused. It may be dropped.
#[derive(Clone)]
pub struct Attachment(pub(crate) Arc<Shared>);

impl Attachment {
    /// What was refused so far.
    #[must_use]
    pub fn stats(&self) -> AttachmentStats {
        self.0.refused.snapshot()
    }

    /// The cache's context that the sessions are in, for example to
    /// [purge](sessionwheel::SessionCache::purge) it.
    #[must_use]
    pub fn context(&self) -> Context {
        self.0.context
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &SessionCache<Session> {
        &self.0.cache
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attachment")
            .field("cache", &self.0.cache)
            .field("context", &self.0.context)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Why a context could not be [attached](attach).
#[derive(Debug)]
#[non_exhaustive]
pub enum AttachError {
    /// The library that is loaded is older than OpenSSL 3.0.
    TooOld,
    /// [`Tickets::Tls12`] with a context that speaks TLS 1.3: set its newest version to TLS 1.2 first.
    TicketsWithTls13,
    /// The session-id context is empty or longer than 32 bytes.
    SessionIdContext {
        /// Its length in bytes.
        len: usize,
    },
    /// There are more than [`MOST_TAG_KEYS`] keys in this process.
    TagKeys,
    /// The cache has no more contexts.
    Contexts(ContextsExhausted),
    /// OpenSSL has no memory, or no random numbers.
    OpenSsl(ErrorStack),
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooOld => write!(f, "{} is not OpenSSL 3.0 or newer", openssl::version::version()),
            Self::TicketsWithTls13 => f.write_str(
                "with tickets OpenSSL never looks up a TLS 1.3 session: set the newest version to TLS 1.2, or use no tickets",
            ),
            Self::SessionIdContext { len } => {
                write!(f, "a session-id context has 1 to 32 bytes, not {len}")
            }
            Self::TagKeys => write!(f, "more than {MOST_TAG_KEYS} tag keys in one process"),
            Self::Contexts(error) => error.fmt(f),
            Self::OpenSsl(error) => error.fmt(f),
        }
    }
}

impl Error for AttachError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Contexts(error) => Some(error),
            Self::OpenSsl(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ContextsExhausted> for AttachError {
    fn from(error: ContextsExhausted) -> Self {
        Self::Contexts(error)
    }
}

impl From<ErrorStack> for AttachError {
    fn from(error: ErrorStack) -> Self {
        Self::OpenSsl(error)
    }
}
