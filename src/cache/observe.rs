//! What a flush was like, for those who watch: metrics and traces. Ids and values appear in neither.
//!
//! Without the features `metrics` and `tracing` there is nothing here, and no clock is read.

use crate::Swept;

/// Runs a flush of the cache called `name`, and tells what it was like.
#[inline]
pub(super) fn observed(name: &str, flush: impl FnOnce() -> Swept) -> Swept {
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    let begun = std::time::Instant::now();
    let swept = flush();
    #[cfg(any(feature = "metrics", feature = "tracing"))]
    tell(name, begun.elapsed(), swept);
    #[cfg(not(any(feature = "metrics", feature = "tracing")))]
    let _ = name;
    swept
}

/// Tells what a flush was like.
#[cfg(not(any(feature = "metrics", feature = "tracing", loom, shuttle)))]
pub(super) fn tell(_name: &str, _took: std::time::Duration, _swept: Swept) {}

/// Tells what a flush was like.
#[cfg(any(feature = "metrics", feature = "tracing"))]
pub(super) fn tell(name: &str, took: std::time::Duration, swept: Swept) {
    // Other people's code: a recorder that panics is not to be felt in a handshake.
    crate::contain::contain(|| {
        #[cfg(feature = "metrics")]
        metrics::histogram!("sessionwheel_flush_seconds", "cache" => name.to_owned()).record(took);
        #[cfg(feature = "tracing")]
        tracing::debug!(
            target: "sessionwheel",
            cache = name,
            removed = swept.removed,
            visited = swept.visited,
            remaining = swept.remaining,
            nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            "flush"
        );
    });
}

#[cfg(feature = "metrics")]
impl<V: Send + Sync + 'static> crate::SessionCache<V> {
    /// Hands what the cache has counted to the recorder of the crate [`metrics`], with the cache's
    /// [name](crate::SessionCacheBuilder::name) as label `cache`. (Feature `metrics`.)
    ///
    /// To be called from time to time, for example before each scrape; nothing else does. Gauges are
    /// `sessionwheel_sessions`, `sessionwheel_garbage` (sessions removed that some guard may
    /// still read) and `sessionwheel_due_seconds` (for how long the oldest expired session may have been
    /// waiting for a flush). Counters are the fields of [`Counters`](crate::Counters) as
    /// `sessionwheel_hits_total` and so on, `sessionwheel_removed_total` with a label `reason`, and
    /// `sessionwheel_visited_total`, looks of flushes at sessions. Each
    /// flush besides records its time in the histogram `sessionwheel_flush_seconds`, an
    /// [automatic](crate::SessionCacheBuilder::automatic_flush) one that of each part: how long an insertion had to do with it.
    ///
    /// ```
    /// use sessionwheel::SessionCache;
    ///
    /// // Once in the program: `metrics::set_global_recorder`, or what an exporter has for it.
    /// # let recorder = metrics::NoopRecorder;
    /// # metrics::with_local_recorder(&recorder, || {
    /// let cache = SessionCache::<Vec<u8>>::builder().name("web").build()?;
    ///
    /// // Before each scrape.
    /// cache.record_metrics();
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// # })?;
    /// # Ok::<(), sessionwheel::BuildError>(())
    /// ```
    pub fn record_metrics(&self) {
        let (counters, stats) = (self.counters(), self.stats());
        let label = || metrics::Label::new("cache", self.name().to_owned());
        let gauge = |name: &'static str, value: f64| {
            metrics::gauge!(name, vec![label()]).set(value);
        };
        gauge("sessionwheel_sessions", counters.number as f64);
        gauge("sessionwheel_garbage", stats.garbage as f64);
        gauge("sessionwheel_due_seconds", self.due_for().as_secs_f64());

        let counter = |name: String, value| metrics::counter!(name, vec![label()]).absolute(value);
        // The first is a gauge.
        for (name, value) in counters.iter().skip(1) {
            counter(format!("sessionwheel_{name}_total"), value);
        }
        counter("sessionwheel_visited_total".to_owned(), stats.visited);
        for (reason, value) in [
            ("expired", stats.expired),
            ("evicted", stats.evicted),
            ("removed", stats.removed),
            ("taken", stats.taken),
            ("replaced", stats.replaced),
            ("cleared", stats.cleared),
        ] {
            let labels = vec![label(), metrics::Label::new("reason", reason)];
            metrics::counter!("sessionwheel_removed_total", labels).absolute(value);
        }
    }
}
