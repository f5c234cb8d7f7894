//! *Marks* say what is not as Redis has it: sessions on their way there, those that never came there, those
//! that are to be removed. No mark means: ask Redis.
//!
//! # Ground rules
//!
//! - They are bounded, and one that goes is heard of ([`gone`]). A write that nothing knows of any more is never sent: who
//!   removes the session would find nothing to cancel.
//! - A removal that is lost, or whose mark is, raises the [`Watermark`] before anything else forgets it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use sessionwheel::{BuildError, ExpiringMap, Reason, SessionKey, Timestamp};

use crate::entry::{Entry, State};
use crate::health::Tallies;
use crate::seal::{SKEW, since_epoch};

/// So long a mark that says nothing any more is still there: longer than any lookup that began before.
const LINGER: Duration = Duration::from_secs(1);

/// What was sealed until then is not taken from Redis: it may be what was removed here, and is still there. In
/// milliseconds of Unix time; 0 if nothing is refused.
#[derive(Default)]
pub(crate) struct Watermark(AtomicU64);

impl Watermark {
    /// To all that may have been sealed by now, by the clock of any host.
    pub(crate) fn raise(&self) {
        let now = since_epoch(SystemTime::now() + SKEW);
        self.0.fetch_max(now, Ordering::AcqRel);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

pub(crate) struct Marks {
    map: ExpiringMap<SessionKey, Arc<Entry>>,
    pub(crate) watermark: Arc<Watermark>,
    tallies: Arc<Tallies>,
}

impl Marks {
    pub(crate) fn new(
        maximum: usize,
        now: Timestamp,
        tallies: &Arc<Tallies>,
    ) -> Result<Self, BuildError> {
        let watermark = Arc::<Watermark>::default();
        let (raised, counted) = (watermark.clone(), tallies.clone());
        let map = ExpiringMap::builder()
            .maximum(Some(maximum))
            .now(now)
            .listener(move |_, mark: &Arc<Entry>, why| gone(mark, why, &raised, &counted))
            .build()?;
        Ok(Self {
            map,
            watermark,
            tallies: tallies.clone(),
        })
    }

    pub(crate) fn get(&self, key: &SessionKey, now: Timestamp) -> Option<Arc<Entry>> {
        self.map.get_cloned(key, now)
    }

    /// Puts a mark in place of what there was. Whether it is there now.
    pub(crate) fn put(&self, entry: &Arc<Entry>, now: Timestamp) -> bool {
        // Also if there is no room for this one.
        if let Some(before) = self.get(&entry.key, now) {
            cancel(&before, &self.tallies);
        }
        let put = self.map.insert(entry.key, entry.clone(), entry.until, now);
        put.is_ok()
    }

    /// The mark says nothing that Redis wouldn't say.
    pub(crate) fn settle(&self, entry: &Arc<Entry>, now: Timestamp) {
        entry.step(State::Gone, State::Removed);
        let soon = now.saturating_add(LINGER).min(entry.until);
        self.map.retime_with(
            &entry.key,
            |mark| Arc::ptr_eq(mark, entry).then_some(soon),
            now,
        );
    }

    /// Waits for nobody.
    pub(crate) fn flush(&self, now: Timestamp) {
        self.map.flush_within(now, usize::MAX);
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}

/// Nobody will find this mark any more.
fn gone(mark: &Entry, why: Reason, watermark: &Watermark, tallies: &Tallies) {
    if why == Reason::Replaced {
        cancel(mark, tallies);
    } else if mark.step(State::Queued, State::Unshared) {
        Tallies::add(&tallies.dropped_writes);
    } else if mark.state() == State::Gone {
        watermark.raise();
    }
}

/// Another one has come in its place.
fn cancel(mark: &Entry, tallies: &Tallies) {
    if mark.step(State::Queued, State::Gone) {
        Tallies::add(&tallies.cancelled_writes);
    }
}
