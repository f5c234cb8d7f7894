//! Lines whose bar is held against our figure and not against a ratio, and lines without a bar.

use crate::rows::Line;
use sessionwheel_bench::contest::{Bar, Plan, outcome};

/// What a line is about.
pub(crate) struct Figure<'n> {
    pub(crate) row: u8,
    pub(crate) name: &'n str,
    pub(crate) unit: &'static str,
    /// Who else is shown.
    pub(crate) peer: &'n str,
    /// What ours may be at the most; a line without a bar is reported and nothing else.
    pub(crate) bar: Option<f64>,
}

impl Figure<'_> {
    /// The line: medians of ours and of the peer's, and the ratio of the two.
    pub(crate) fn line(&self, pairs: &[(f64, f64)]) -> Line {
        let outcome = outcome(pairs, Bar::TimeAtMost(f64::NAN));
        Line {
            row: self.row,
            name: self.name.into(),
            ours: outcome.ours,
            unit: self.unit,
            best_peer: self.peer.into(),
            peer: outcome.theirs,
            ratio: outcome.ratio,
            interval: outcome.interval,
            pairs: pairs.len(),
            bar: self.bar.unwrap_or(f64::NAN),
            ok: self.bar.is_none_or(|bar| outcome.ours <= bar),
            unsure: false,
        }
    }

    /// The line of something that is counted, and for which there is no peer.
    pub(crate) fn counted(&self, ours: usize) -> Line {
        self.line(&[(ours as f64, f64::NAN)])
    }
}

/// Whether a run is to see that the bench works, no more.
pub(crate) fn is_smoke(plan: Plan) -> bool {
    plan.divisor > 1
}
