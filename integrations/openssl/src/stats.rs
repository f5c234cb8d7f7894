//! What was refused.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What an [`Attachment`](crate::Attachment) refused, and what it heard of closes, since it was made.
        ///
        /// Hits, misses and sessions are counted by the cache: its
        /// [`counters`](sessionwheel::SessionCache::counters) and [`stats`](sessionwheel::SessionCache::stats). What is
        /// found there and refused here counts as a hit.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct AttachmentStats {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        /// The live counters.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> AttachmentStats {
                AttachmentStats { $($name: self.$name.0.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

counters! {
    /// Ids that were offered and that we did not make: a miss without a lookup.
    foreign_ids,
    /// Ids that were made here and not looked up: four others of the same connection had been.
    too_many_ids,
    /// Sessions that were not kept because they are larger than the limit, and such from the external tier that were not
    /// used; their handshakes went on.
    oversized,
    /// Sessions that were not kept because the cache said no: its mode, its new-session callback, its maximum; and those of
    /// TLS 1.3 with [`Tickets::Tls12`](crate::Tickets::Tls12), which OpenSSL would never look up.
    not_stored,
    /// Sessions that were found, and not used because the client asks for another server than it did then.
    other_names,
    /// Sessions that were found, and not used because a client certificate is required here and they have none.
    unauthenticated,
    /// Sessions that could not be duplicated or decoded, or that had another id than they were kept under.
    unusable,
    /// Connections that allow early data and resumed a session from the external tier, or one that the tier could not
    /// decide about, whose early data would be refused.
    early_data_refused,
    /// Handshakes that were put off because the external tier was still being asked; each time counts.
    put_off,
    /// Removal notices of OpenSSL that were followed.
    removals_followed,
    /// Removal notices of OpenSSL that were not: unclean closes, by default.
    removals_ignored,
    /// Panics in callbacks of this crate, all contained; but for those in making an id, of which OpenSSL doesn't say for
    /// which context: these end the handshake.
    panics,
}

/// Never touched by a hit.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
