//! What the map stores for a key: the caller's value and what TLS adds to it.

use std::time::Duration;

use super::context::{Context, Contexts, LAST_GENERATION};
use super::options::SessionOptions;
use crate::Timestamp;
use crate::sync::atomic::{AtomicU32, Ordering};

/// A cached session. The deadline isn't here: it is the map's.
///
/// The value comes first, because the map fetches ahead what the first word leads to; then the marks, which
/// each lookup reads too.
#[repr(C)]
pub(super) struct Session<V> {
    value: V,
    marks: Marks,
    /// Of one that came from outside, see [`fetched`](Self::fetched).
    span: Span,
    /// When the peer was first fully authenticated.
    authenticated_at: Timestamp,
}

impl<V> Session<V> {
    /// A session inserted at `now` into a context of `generation`, of a cache whose timeout is `timeout`.
    pub(super) fn new(
        value: V,
        options: &SessionOptions,
        timeout: Duration,
        generation: u32,
        now: Timestamp,
    ) -> Self {
        Self {
            authenticated_at: options.authenticated_at.map_or(now, |at| at.min(now)),
            marks: Marks::new(options, generation),
            span: Span::new(options.timeout.unwrap_or(timeout)),
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

    /// It came from outside, where sessions like it had been removed so often before it was asked for.
    pub(super) fn fetched(self, removals: u32) -> Self {
        Self {
            marks: self.marks.and(Marks::FETCHED),
            span: Span(AtomicU32::new(removals)),
            ..self
        }
    }

    /// How often sessions like it had been removed, if it came from outside.
    #[inline]
    pub(super) fn removals(&self) -> Option<u32> {
        self.marks.has(Marks::FETCHED).then(|| self.span.word())
    }

    /// How long it lives after it was inserted, and after each use that renews it, if that is known here.
    pub(super) fn timeout(&self) -> Option<Duration> {
        (!self.marks.has(Marks::FETCHED)).then(|| self.span.get())
    }

    /// Lets it live so long after each use that renews it from now on, if that is known here.
    pub(super) fn set_timeout(&self, timeout: Duration) {
        if !self.marks.has(Marks::FETCHED) {
            self.span.set(timeout);
        }
    }

    /// Of generation 0, and not marked in any way that a lookup has to heed: nearly every session.
    #[inline]
    pub(super) fn is_plain(&self) -> bool {
        self.marks.0 & !Marks::OF_NO_MATTER == 0
    }

    /// Whether `context`, the one in the session's key, still has the
    /// generation that the session was inserted with. If not, the session is
    /// invisible.
    #[inline]
    pub(super) fn is_current(&self, context: Context, contexts: &Contexts) -> bool {
        self.marks.generation() == contexts.generation(context)
    }

    #[inline]
    pub(super) fn is_single_use(&self) -> bool {
        self.marks.has(Marks::SINGLE_USE)
    }

    pub(super) fn is_on_probation(&self) -> bool {
        self.marks.has(Marks::PROBATION)
    }

    pub(super) fn is_tls13(&self) -> bool {
        self.marks.has(Marks::TLS13)
    }
}

/// The generation of the key's context when the session was inserted, and what is true of the session
/// or not.
#[derive(Clone, Copy)]
struct Marks(u32);

impl Marks {
    const SINGLE_USE: u32 = 1;
    const PROBATION: u32 = 1 << 1;
    const TLS13: u32 = 1 << 2;
    const FETCHED: u32 = 1 << 3;
    /// What no lookup goes by.
    const OF_NO_MATTER: u32 = Self::PROBATION | Self::TLS13;
    /// Where the generation begins.
    const SHIFT: u32 = LAST_GENERATION.leading_zeros();

    fn new(options: &SessionOptions, generation: u32) -> Self {
        debug_assert!(generation <= LAST_GENERATION);
        let marks = [
            (options.single_use, Self::SINGLE_USE),
            (options.probation, Self::PROBATION),
            (options.tls13, Self::TLS13),
        ];
        let set = marks.into_iter().filter(|&(set, _)| set);
        Self(set.fold(generation << Self::SHIFT, |all, (_, mark)| all | mark))
    }

    fn and(self, mark: u32) -> Self {
        Self(self.0 | mark)
    }

    #[inline]
    fn has(self, mark: u32) -> bool {
        self.0 & mark != 0
    }

    #[inline]
    fn generation(self) -> u32 {
        self.0 >> Self::SHIFT
    }
}

/// A timeout in milliseconds, or if it is longer than 24 days in seconds, rounded up. What doesn't fit, 68 years, is for
/// ever.
///
/// Relaxed: whoever renews beside a re-timing does it by one timeout or the other, as if he had come before or after.
struct Span(AtomicU32);

impl Span {
    fn new(timeout: Duration) -> Self {
        Self(AtomicU32::new(Self::of(timeout)))
    }

    /// Set in a word that counts seconds.
    const SECONDS: u32 = 1 << 31;

    fn of(timeout: Duration) -> u32 {
        // In 64 bits, for each insertion comes here: what does not fit there does not fit here.
        let parts = u64::from(timeout.subsec_nanos().div_ceil(1_000_000));
        let millis = timeout
            .as_secs()
            .saturating_mul(1_000)
            .saturating_add(parts);
        match u32::try_from(millis) {
            Ok(millis) if millis < Self::SECONDS => millis,
            _ => Self::of_long(timeout),
        }
    }

    #[cold]
    fn of_long(timeout: Duration) -> u32 {
        let seconds = timeout
            .as_secs()
            .saturating_add(u64::from(timeout.subsec_nanos() != 0));
        match u32::try_from(seconds) {
            Ok(seconds) if seconds < Self::SECONDS - 1 => Self::SECONDS | seconds,
            _ => u32::MAX,
        }
    }

    #[inline]
    fn word(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    fn get(&self) -> Duration {
        match self.word() {
            u32::MAX => Duration::MAX,
            word if word < Self::SECONDS => Duration::from_millis(word.into()),
            word => Duration::from_secs((word & !Self::SECONDS).into()),
        }
    }

    fn set(&self, timeout: Duration) {
        self.0.store(Self::of(timeout), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(7);
    const TIMEOUT: Duration = Duration::from_secs(300);

    #[test]
    fn marks_and_generation_are_independent() {
        for bits in 0..8 {
            let set = |bit: u32| bits & bit != 0;
            let options = SessionOptions::default()
                .single_use(set(1))
                .probation(set(2))
                .tls13(set(4));
            for generation in [0, 1, LAST_GENERATION] {
                let session = Session::new((), &options, TIMEOUT, generation, NOW);
                assert_eq!(
                    (session.removals(), session.timeout()),
                    (None, Some(TIMEOUT))
                );
                assert_eq!(session.is_plain(), generation == 0 && !set(1));
                let shorter = Duration::from_millis(7);
                session.set_timeout(shorter);
                assert_eq!(session.timeout(), Some(shorter));
                let session = session.fetched(u32::MAX);
                session.set_timeout(shorter);
                assert_eq!(
                    (session.removals(), session.timeout()),
                    (Some(u32::MAX), None)
                );
                assert_eq!(session.is_single_use(), set(1));
                assert!(!session.is_plain());
                assert_eq!(session.is_on_probation(), set(2));
                assert_eq!(session.is_tls13(), set(4));
                assert_eq!(session.marks.generation(), generation);
            }
        }
    }

    #[test]
    fn timeouts_are_rounded_up_to_milliseconds_and_long_ones_to_seconds() {
        let of = |timeout| {
            Session::new((), &SessionOptions::default(), timeout, 0, NOW)
                .timeout()
                .unwrap()
        };
        let [millis, seconds] = [Duration::from_millis, Duration::from_secs];
        let nano = Duration::from_nanos(1);
        let longest = (1 << 31) - 2;
        for exact in [0, 1, 300_000, (1 << 31) - 1].map(millis) {
            assert_eq!(of(exact), exact);
            let above = if exact < millis((1 << 31) - 1) {
                exact + millis(1)
            } else {
                seconds(2_147_484)
            };
            assert_eq!(of(exact + nano), above);
        }
        for exact in [2_147_484, 50 * 86_400, longest].map(seconds) {
            assert_eq!(of(exact), exact);
            assert_eq!(of(exact - nano), exact);
        }
        for endless in [seconds(longest) + nano, seconds(longest + 1), Duration::MAX] {
            assert_eq!(of(endless), Duration::MAX);
        }
    }

    #[test]
    fn authentication_is_now_unless_inherited() {
        let options = SessionOptions::default();
        let first = Session::new((), &options, TIMEOUT, 0, NOW);
        assert_eq!(first.authenticated_at(), NOW);
        let inherited = options.authenticated_at(Timestamp::from_secs(3));
        let second = Session::new((), &inherited, TIMEOUT, 0, NOW);
        assert_eq!(second.authenticated_at(), Timestamp::from_secs(3));
    }

    #[test]
    fn a_pointer_sized_value_costs_16_bytes_more() {
        assert!(size_of::<Session<usize>>() <= size_of::<usize>() + 16);
    }
}
