//! What metrics and traces tell of a cache, and that they tell no id and no value.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::atomics::AtomicU64;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use sessionwheel::{
    Clock, Context, SessionCache, SessionId, SessionKey, SessionOptions, Timestamp,
};
use tracing::field::{Field, Visit};
use tracing::span;

/// The crate's counters and gauges, and how often each histogram was recorded, by name and labels.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

impl Recorded {
    fn cell(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key.labels().map(|l| format!("{}={}", l.key(), l.value()));
        let name = [key.name().to_owned()].into_iter().chain(labels);
        let name = name.collect::<Vec<_>>().join(" ");
        self.0.lock().unwrap().entry(name).or_default().clone()
    }

    fn get(&self, name: &str) -> u64 {
        self.0.lock().unwrap()[name].load(Relaxed)
    }
}

struct Times(Arc<AtomicU64>);

impl HistogramFn for Times {
    fn record(&self, seconds: f64) {
        assert!((0.0..3_600.0).contains(&seconds));
        self.0.fetch_add(1, Relaxed);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }
    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Times(self.cell(key))))
    }
}

/// What events say, a line for each.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Lines {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0 += &format!(" {}={value:?}", field.name());
            }
        }
        let mut line = Line(event.metadata().target().to_owned());
        event.record(&mut line);
        self.0.lock().unwrap().push(line.0);
    }
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

fn key(n: u8) -> SessionKey {
    SessionKey::new(Context::DEFAULT, SessionId::from([n; 32]))
}

#[test]
fn flushes_and_counters_are_told_and_nothing_secret_is() {
    let (recorded, lines) = (Recorded::default(), Lines::default());
    let (clock, hand) = Clock::manual(Timestamp::from_secs(1 << 33));
    let cache = SessionCache::builder()
        .clock(clock)
        .name("web")
        .build()
        .unwrap();
    let server = cache.server();
    metrics::with_local_recorder(&recorded, || {
        tracing::subscriber::with_default(lines.clone(), || {
            for n in 0..10 {
                let options = SessionOptions::default();
                server.established(key(n), "secret", options).unwrap();
            }
            assert!(server.resume(&key(1)).hit().is_some());
            assert!(server.resume(&key(77)).hit().is_none());
            assert!(cache.remove(&key(0)));
            hand.advance(Duration::from_secs(400));
            cache.record_metrics();
            assert!(f64::from_bits(recorded.get("sessionwheel_due_seconds cache=web")) >= 99.9);
            assert!(cache.flush_within(4).remaining);
            cache.flush();
            // Of these the first is a flush by its name.
            assert_eq!(cache.flush_sessions(0), 0);
            assert_eq!(cache.clear(), 0);
            cache.record_metrics();
        });
    });

    for (name, value) in [
        ("hits_total cache=web", 1),
        ("misses_total cache=web", 1),
        ("flushes_total cache=web", 3),
        ("flush_seconds cache=web", 3),
        ("removed_total cache=web reason=expired", 9),
        ("removed_total cache=web reason=removed", 1),
        ("sessions cache=web", 0),
        ("due_seconds cache=web", 0),
    ] {
        assert_eq!(
            recorded.get(&format!("sessionwheel_{name}")),
            value,
            "{name}"
        );
    }
    let lines = lines.0.lock().unwrap().clone();
    assert_eq!(lines.len(), 3, "{lines:?}");
    for (line, remaining) in lines.iter().zip([true, false, false]) {
        assert!(
            line.starts_with("sessionwheel message=flush cache=\"web\""),
            "{line}"
        );
        assert!(line.contains(&format!("remaining={remaining}")), "{line}");
    }
    let all = format!("{lines:?} {:?}", recorded.0.lock().unwrap().keys());
    // As a list or in hexadecimal; a single number may be one of the times.
    for secret in ["secret", "77, 77", "4d4d4d", "1, 1, 1", "010101"] {
        assert!(!all.contains(secret), "{all}");
    }
}
