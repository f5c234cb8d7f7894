//! How a context uses a cache.

use std::time::Duration;

use sessionwheel::Context;

use crate::session::Storage;
use crate::tag::TagKey;

/// How a context is [attached](crate::attach) to a cache.
///
/// ```
/// use sessionwheel_openssl::{Options, SingleUse, Storage};
///
/// let options = Options::default()
///     .storage(Storage::Der)
///     .single_use(SingleUse::Tls13)
///     .session_id_context(b"shop");
/// assert_eq!(options.largest_session, 65_536);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// The cache's context that sessions are kept in; `None` is for a new one, which is right for each
    /// configuration. Whoever shares one can resume each other's sessions, with the client identity that was
    /// verified when they were made.
    pub context: Option<Context>,
    /// OpenSSL's session-id context, 1 to 32 bytes, `sessionwheel` by default. It is a part of each
    /// session; hosts that share sessions need the same one. What keeps sessions apart is
    /// [`context`](Self::context).
    pub session_id_context: Box<[u8]>,
    /// How long sessions live; `None` is for the cache's timeout.
    pub timeout: Option<Duration>,
    /// In which form sessions are kept.
    pub storage: Storage,
    /// How many bytes a session may have in DER, with the client's certificates; 65,536 by default. A larger one
    /// is not kept.
    pub largest_session: usize,
    /// Which sessions are for one resumption.
    pub single_use: SingleUse,
    /// Whose early data is accepted, where a context allows any.
    pub early_data: EarlyData,
    /// What OpenSSL's removal notices do.
    pub removals: Removals,
    /// Whether a session is good only for the server name that it was made for.
    pub server_names: ServerNames,
    /// Whether ids say who made them.
    pub tags: Tags,
    /// Who serves the clients that can do without a cache.
    pub tickets: Tickets,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context: None,
            session_id_context: (*b"sessionwheel").into(),
            timeout: None,
            storage: Storage::default(),
            largest_session: 64 * 1024,
            single_use: SingleUse::default(),
            early_data: EarlyData::default(),
            removals: Removals::default(),
            server_names: ServerNames::default(),
            tags: Tags::default(),
            tickets: Tickets::default(),
        }
    }
}

macro_rules! setters {
    ($($name:ident: $type:ty,)+) => {
        impl Options {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                #[must_use]
                pub fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name.into();
                    self
                }
            )+
        }
    };
}

setters! {
    context: Context,
    session_id_context: &[u8],
    timeout: Duration,
    storage: Storage,
    largest_session: usize,
    single_use: SingleUse,
    early_data: EarlyData,
    removals: Removals,
    server_names: ServerNames,
    tags: Tags,
    tickets: Tickets,
}

/// Which sessions are taken out of the cache by their first resumption.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum SingleUse {
    /// Those of TLS 1.3 where early data is allowed: else it could be replayed (RFC 8446, 8). That can't be
    /// switched off.
    #[default]
    EarlyData,
    /// All of TLS 1.3, so that nobody who watches can tell that two connections are of one client (RFC 8446,
    /// C.4). A client that offers a ticket twice makes a full handshake.
    Tls13,
}

/// Whose early data (0-RTT) is accepted, where the context allows any at all.
///
/// A ticket brings its early data once because it is taken out by its first use. For one that comes from an
/// [external tier](sessionwheel::ExternalTier) that holds as long as nobody puts back there what was used. Of one that the
/// tier could not decide about, so that another host may use it too
/// ([`Claim::Local`](sessionwheel::Claim::Local)), early data is refused in any case.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum EarlyData {
    /// That of sessions which were established with this cache. Those that come from the external tier are resumed, and
    /// their early data is refused: the client sends it again after the handshake.
    #[default]
    Own,
    /// That of all sessions: for a tier that nobody else can write to.
    All,
}

/// What is done when OpenSSL says that it has removed a session (`SSL_CTX_sess_set_remove_cb(3)`).
///
/// It says so for a fatal alert, and also when a connection ends without `SSL_shutdown`, or is closed by its
/// peer without close_notify, which is how most HTTP connections end; and it does not say why. What
/// tells them apart is the thread's error queue, where a fatal alert, sent or received, is always the
/// last entry, by whoever has emptied it before, as `SSL_get_error(3)` asks.
///
/// It names the session that the connection has by then. In TLS 1.3 that is the one of the last ticket that was sent: those of
/// other tickets, and the one that was resumed, are not named, and stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Removals {
    /// A fatal alert ends the session, as RFC 5246 (7.2.2) has it; an unclean close doesn't (7.2.1). (RFC 8446, 6.2, has the
    /// tickets of a connection that failed be discarded if possible.)
    #[default]
    FatalAlerts,
    /// All end the session.
    All,
    /// None does.
    Ignored,
}

/// Whether the server name (SNI) of a session counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum ServerNames {
    /// A session made for one name is not resumed for another, or for none: RFC 6066 (3) forbids it. OpenSSL
    /// resumes before it looks at the name, so that without this a session made where clients are not verified would
    /// be good where the name leads to a context that verifies them.
    #[default]
    MustMatch,
    /// Names don't count.
    Any,
}

/// Whether session ids carry a tag, by which those that were made elsewhere are refused without a lookup.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Tags {
    /// With a key that the process draws.
    #[default]
    OfProcess,
    /// With this key, which other hosts have too.
    With(TagKey),
    /// None: ids are made by OpenSSL, or by what the application has set.
    Off,
}

/// Whether OpenSSL may issue stateless tickets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Tickets {
    /// No: `SSL_OP_NO_TICKET` is set.
    #[default]
    Never,
    /// To clients of TLS 1.2 that can use them; the others use the cache. With TLS 1.3 that is refused, since
    /// OpenSSL would fill the cache with sessions that it never looks up.
    Tls12,
}
