//! What the map stores for a key: the caller's value and what TLS adds to it.

use super::context::{Context, Contexts};
use super::options::SessionOptions;
use crate::Timestamp;

/// A cached session. The deadline isn't here: it is the map's.
///
/// The value comes first, because the map fetches ahead what the first word leads to.
#[repr(C)]
pub(super) struct Session<V> {
    value: V,
    /// When the peer was first fully authenticated.
    authenticated_at: Timestamp,
    /// The generation of the key's context when the session was inserted.
    generation: u32,
    flags: Flags,
}

impl<V> Session<V> {
    /// A session inserted at `now` into a context of `generation`.
    pub(super) fn new(value: V, options: &SessionOptions, generation: u32, now: Timestamp) -> Self {
        Self {
            authenticated_at: options.authenticated_at.unwrap_or(now),
            generation,
            flags: Flags::new(options),
            value,
        }
    }

    #[inline]
    pub(super) fn value(&self) -> &V {
        &self.value
    }

    pub(super) fn into_value(self) -> V {
        self.value
    }

    pub(super) fn authenticated_at(&self) -> Timestamp {
        self.authenticated_at
    }

    /// Whether `context`, the one in the session's key, still has the
    /// generation that the session was inserted with. If not, the session is
    /// invisible.
    #[inline]
    pub(super) fn is_current(&self, context: Context, contexts: &Contexts) -> bool {
        self.generation == contexts.generation(context)
    }

    #[inline]
    pub(super) fn is_single_use(&self) -> bool {
        self.flags.has(Flags::SINGLE_USE)
    }

    pub(super) fn is_on_probation(&self) -> bool {
        self.flags.has(Flags::PROBATION)
    }
}

/// A set of yes-or-no properties.
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    const SINGLE_USE: Self = Self(1);
    const PROBATION: Self = Self(1 << 1);

    fn new(options: &SessionOptions) -> Self {
        let mut flags = 0;
        if options.single_use {
            flags |= Self::SINGLE_USE.0;
        }
        if options.probation {
            flags |= Self::PROBATION.0;
        }
        Self(flags)
    }

    #[inline]
    fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(7);

    #[test]
    fn flags_are_independent() {
        for (single_use, probation) in [(false, false), (false, true), (true, false), (true, true)]
        {
            let options = SessionOptions::default()
                .single_use(single_use)
                .probation(probation);
            let session = Session::new((), &options, 0, NOW);
            assert_eq!(session.is_single_use(), single_use);
            assert_eq!(session.is_on_probation(), probation);
        }
    }

    #[test]
    fn authentication_is_now_unless_inherited() {
        let options = SessionOptions::default();
        let first = Session::new((), &options, 0, NOW);
        assert_eq!(first.authenticated_at(), NOW);
        let inherited = options.authenticated_at(Timestamp::from_secs(3));
        let second = Session::new((), &inherited, 0, NOW);
        assert_eq!(second.authenticated_at(), Timestamp::from_secs(3));
    }

    #[test]
    fn a_pointer_sized_value_costs_16_bytes_more() {
        assert!(size_of::<Session<usize>>() <= size_of::<usize>() + 16);
    }
}
