//! How latency goes while a flush passes.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use super::worker::{Span, Step};
use super::{Cache, LEAD, Note, Population, Window, beside};

/// Operations that start within the same 0.25 ms make one sample.
const BIN: u64 = 250_000;

/// The operation that took longest of those that started in a bin.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it started, in ms since the flush began; negative: before.
    pub at: f64,
    /// How long it took, in µs.
    pub took: f64,
    /// How long of that, in µs, the thread was ready to run and was given no core.
    pub off: f64,
}

/// Latency over time around a flush.
#[derive(Debug)]
pub struct Timeline {
    /// How long the flush took, in ms.
    pub flush: f64,
    /// How many sessions it removed.
    pub removed: usize,
    /// One for each bin in which an operation started, in the order of time.
    pub samples: Vec<Sample>,
}

#[derive(Default)]
struct Bins(BTreeMap<u64, Span>);

impl Note for Bins {
    fn note(&mut self, span: Span, _: &Window) {
        if span.step == Step::Control {
            return;
        }
        let worst = self.0.entry(span.start / BIN).or_insert(span);
        if span.took() > worst.took() {
            *worst = span;
        }
    }
}

/// Records operations from `margin` before a flush to `margin` after it, in a fresh cache.
#[must_use]
pub fn timeline<C: Cache>(population: &Population, margin: Duration) -> Timeline {
    let cache: C = population.filled();
    let before = cache.count();
    let seen = beside(
        (&cache, population),
        LEAD + margin,
        || cache.flush(),
        || thread::sleep(margin),
        Bins::default(),
    );
    let since = |at: u64| (at as f64 - seen.begun as f64) / 1e6;
    let flush = since(seen.ended);
    let edge = margin.as_secs_f64() * 1e3;
    let samples = seen.note.0.values().map(|worst| Sample {
        at: since(worst.start),
        took: worst.took() as f64 / 1e3,
        off: worst.off as f64 / 1e3,
    });
    Timeline {
        flush,
        removed: before + seen.done.inserted - cache.count(),
        samples: samples
            .filter(|sample| sample.at >= -edge && sample.at <= flush + edge)
            .collect(),
    }
}
