//! Tables, or JSON.

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use sessionwheel_bench::beside::{Destructors, Mode, Report, Timeline};

use crate::Case;

/// Quantiles that are shown; the maximum comes last.
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// In µs; not numbers if there is nothing.
fn quantiles(of: &Histogram<u64>) -> [f64; 4] {
    if of.is_empty() {
        return [f64::NAN; 4];
    }
    let [p50, p99, p999] = QUANTILES.map(|q| of.value_at_quantile(q));
    [p50, p99, p999, of.max()].map(|ns| ns as f64 / 1e3)
}

pub(crate) fn heading(case: &Case<'_>) {
    if case.arguments.json {
        return;
    }
    println!();
    println!(
        "{} % of {} sessions flushed beside lookups and inserts; µs",
        case.share, case.sessions
    );
    println!(
        "{:<30} {:<9} {:>9} {:>10} {:^35} {:^35} {:^23} {:^25}",
        "", "", "flushes", "operations", "lookups", "inserts", "waits over 1 ms", "control"
    );
    let header = |first: &str| format!("{first:>7} {:>7} {:>8} {:>10}", "p99", "p99.9", "max");
    println!(
        "{:<30} {:<9} {:>9} {:>10} {} {} {:>7} {:>7} {:>7} {:>8} {:>8} {:>7}",
        "peer",
        "mode",
        "ms each",
        "",
        header("p50"),
        header("p50"),
        "all",
        "no core",
        "unseen",
        "p99.9",
        "max",
        "> 1 ms"
    );
}

pub(crate) fn not_applicable(json: bool, peer: &str, why: &str) {
    if json {
        println!("{}", json!({ "peer": peer, "n/a": why }));
    } else {
        println!("{peer:<30} n/a: {why}");
    }
}

pub(crate) fn report(case: &Case<'_>, peer: &str, mode: Mode, report: &Report) {
    let each = report.window.as_secs_f64() * 1e3 / report.windows as f64;
    let [lookups, inserts, control] =
        [&report.lookups, &report.inserts, &report.control].map(quantiles);
    if case.arguments.json {
        let spread = |[p50, p99, p999, max]: [f64; 4]| -> Value {
            json!({ "p50": p50, "p99": p99, "p99.9": p999, "max": max })
        };
        let line = json!({
            "sessions": case.sessions,
            "share": case.share,
            "peer": peer,
            "mode": mode.name(),
            "windows": report.windows,
            "ms_each": each,
            "removed": report.removed,
            "operations": report.operations(),
            "unit": "us",
            "lookups": spread(lookups),
            "inserts": spread(inserts),
            "control": spread(control),
            "waits": report.waits.len(),
            "waits_without_core": report.preempted,
            "waits_unseen": report.unseen,
            "control_steps": report.control.len(),
            "control_pauses": report.pauses.len(),
        });
        println!("{line}");
        return;
    }
    let spread =
        |[p50, p99, p999, max]: [f64; 4]| format!("{p50:>7.2} {p99:>7.2} {p999:>8.2} {max:>10.1}");
    let line = format!(
        "{:<30} {:<9} {:>9} {:>10} {} {} {:>7} {:>7} {:>7} {:>8.2} {:>8.1} {:>7}",
        peer,
        mode.name(),
        format!("{}×{each:.1}", report.windows),
        report.operations(),
        spread(lookups),
        spread(inserts),
        report.waits.len(),
        report.preempted,
        report.unseen,
        control[2],
        control[3],
        report.pauses.len(),
    );
    println!("{}", line.replace("NaN", "  -"));
}

pub(crate) fn destructors(case: &Case<'_>, seen: &Destructors) {
    if case.arguments.json {
        let line = json!({
            "sessions": case.sessions,
            "share": case.share,
            "peer": "sessionwheel",
            "swept": seen.swept,
            "destructors": {
                "flusher": seen.flusher,
                "worker": seen.worker,
                "background": seen.background,
                "reclaim": seen.reclaimed,
            },
            "garbage": {
                "at_once": seen.garbage_at_once,
                "later": seen.garbage_later,
                "after_reclaim": seen.garbage_at_rest,
            },
            "operations": seen.operations,
        });
        println!("{line}");
        return;
    }
    println!(
        "sessionwheel: of {} swept, destructors ran on the flusher {}, on the worker {}, elsewhere {}, \
         in reclaim {}",
        seen.swept, seen.flusher, seen.worker, seen.background, seen.reclaimed
    );
    println!(
        "sessionwheel: garbage {} when the flush returned, {} later beside traffic ({} operations), \
         {} after reclaim",
        seen.garbage_at_once, seen.garbage_later, seen.operations, seen.garbage_at_rest
    );
}

/// One object: samples are [ms since the flush began, µs, µs of those without a core].
pub(crate) fn timeline(peer: &str, timeline: &Timeline) {
    let samples: Vec<[f64; 3]> = timeline
        .samples
        .iter()
        .map(|sample| [sample.at, sample.took, sample.off])
        .collect();
    let line = json!({
        "peer": peer,
        "flush_ms": timeline.flush,
        "removed": timeline.removed,
        "samples": samples,
    });
    println!("{line}");
}
