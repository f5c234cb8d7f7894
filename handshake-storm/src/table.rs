//! The report as a table.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use crate::latency::Summary;
use crate::report::{Report, StoreReport, VersionReport};

type Row = (&'static str, fn(&StoreReport) -> String);

const ROWS: [Row; 16] = [
    ("TLS 1.2 full handshakes", |s| s.tls12.full.to_string()),
    ("TLS 1.2 resumed", |s| s.tls12.resumed.to_string()),
    ("TLS 1.2 live sessions resumed", |s| rate(&s.tls12)),
    ("TLS 1.3 full handshakes", |s| s.tls13.full.to_string()),
    ("TLS 1.3 resumed", |s| s.tls13.resumed.to_string()),
    ("TLS 1.3 live sessions resumed", |s| rate(&s.tls13)),
    ("expired sessions offered", |s| number(s.expired_offered)),
    ("expired sessions resumed", |s| expired_rate(s)),
    ("resumption, quiet: p50 / p99 / p99.9 / max", |s| {
        times(Some(&s.quiet_us))
    }),
    ("  resting on handshakes", |s| s.quiet_us.n.to_string()),
    ("resumption during a flush: p50 / p99 / p99.9 / max", |s| {
        times(s.during_flush_us.as_ref())
    }),
    ("  resting on handshakes", |s| {
        number(s.during_flush_us.map(|t| t.n))
    }),
    ("background sessions expired", |s| {
        number(s.background_expired)
    }),
    ("background sessions flushed", |s| number(s.flushed)),
    ("flushes: number, mean / longest", |s| flush_times(s)),
    ("memory of the population", |s| memory(s.population_bytes)),
];

pub(crate) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Disabled);
    let names = report.stores.iter().map(|s| s.name);
    table.set_header(std::iter::once("").chain(names));
    for (label, cell) in ROWS {
        let cells = report.stores.iter().map(cell);
        table.add_row(std::iter::once(label.to_owned()).chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// What a cell says where a store has no such thing.
const NONE: &str = "none";

fn number(value: Option<u64>) -> String {
    value.map_or(NONE.to_owned(), |n| n.to_string())
}

fn percent(part: f64) -> String {
    format!("{:.2} %", part * 100.0)
}

fn rate(version: &VersionReport) -> String {
    version.live_rate.map_or(NONE.to_owned(), percent)
}

fn expired_rate(store: &StoreReport) -> String {
    match (store.expired_offered, store.expired_resumed) {
        (Some(offered), Some(resumed)) if offered > 0 => {
            format!("{resumed} ({})", percent(resumed as f64 / offered as f64))
        }
        _ => NONE.to_owned(),
    }
}

fn times(summary: Option<&Summary>) -> String {
    summary.map_or(NONE.to_owned(), |s| {
        format!(
            "{:.0} / {:.0} / {:.0} / {:.0} µs",
            s.p50, s.p99, s.p999, s.max
        )
    })
}

fn flush_times(store: &StoreReport) -> String {
    match (store.flushes, store.flush_ms, store.longest_flush_ms) {
        (Some(count), Some(total), Some(longest)) if count > 0 => {
            let mean = total / count as f64;
            format!("{count}, {mean:.1} / {longest:.1} ms")
        }
        _ => NONE.to_owned(),
    }
}

fn memory(bytes: Option<u64>) -> String {
    bytes.map_or("not known here".to_owned(), |b| {
        format!("{:.1} MB", b as f64 / 1e6)
    })
}
