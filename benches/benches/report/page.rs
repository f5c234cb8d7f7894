//! Tables of the page, from what the other benches print as JSON.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::Value;

/// The page with the text between a table's two marks replaced.
pub(crate) fn filled_in(page: &str, name: &str, table: &str) -> Result<String> {
    let mark = |what: &str| format!("<!-- {name} {what} -->");
    let (begin, end) = (mark("begin"), mark("end"));
    let (before, rest) = page
        .split_once(&begin)
        .with_context(|| format!("no {begin}"))?;
    let (_, behind) = rest.split_once(&end).with_context(|| format!("no {end}"))?;
    Ok(format!("{before}{begin}\n\n{table}\n{end}{behind}"))
}

/// Three digits that count.
fn number(value: &Value) -> String {
    match value.as_f64() {
        None => "–".into(),
        Some(n) if n >= 1e6 => format!("{:.2} M", n / 1e6),
        Some(n) if n >= 100.0 => format!("{n:.0}"),
        Some(n) if n >= 10.0 => format!("{n:.1}"),
        Some(n) => format!("{n:.2}"),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

fn objects(json: &str) -> impl Iterator<Item = Result<Value>> {
    let lines = json.lines().filter(|line| line.starts_with('{'));
    lines.map(|line| serde_json::from_str(line).context("not JSON"))
}

/// All rows of the ratios.
pub(crate) fn ratios(json: &str) -> Result<String> {
    let mut table = String::from(
        "| row | work | ours | against | theirs | ratio | 95 % | bar | |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for line in objects(json) {
        let line = line?;
        let unit = text(&line["unit"]);
        let state = match (line["bar"].is_null(), &line["unsure"], &line["ok"]) {
            (true, ..) => "",
            (_, Value::Bool(true), _) => "~",
            (_, _, Value::Bool(true)) => "met",
            _ => "**not met**",
        };
        writeln!(
            table,
            "| {} | {} | {} {unit} | {} | {} | {} | {}–{} | {} | {state} |",
            line["row"],
            text(&line["name"]),
            number(&line["ours"]),
            text(&line["best_peer"]),
            number(&line["peer"]),
            number(&line["ratio"]),
            number(&line["interval"][0]),
            number(&line["interval"][1]),
            number(&line["bar"]),
        )?;
    }
    Ok(table)
}

/// What a flush does to those beside it: times in µs.
pub(crate) fn stall(json: &str) -> Result<String> {
    let mut table = String::from(
        "| sessions | due | peer | the flusher | ms each | lookups p50 | p99 | p99.9 | max | inserts p99.9 | max | waits over 1 ms, unseen by the control |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for line in objects(json) {
        let line = line?;
        let Some(mode) = line["mode"].as_str() else {
            continue; // destructors, or not applicable
        };
        let does = match mode {
            "idle" => "sleeps",
            "unrelated" => "flushes another cache",
            _ => "flushes this cache",
        };
        let (lookups, inserts) = (&line["lookups"], &line["inserts"]);
        writeln!(
            table,
            "| {} | {} % | {} | {does} | {} | {} | {} | {} | {} | {} | {} | {} |",
            line["sessions"],
            line["share"],
            text(&line["peer"]),
            number(&line["ms_each"]),
            number(&lookups["p50"]),
            number(&lookups["p99"]),
            number(&lookups["p99.9"]),
            number(&lookups["max"]),
            number(&inserts["p99.9"]),
            number(&inserts["max"]),
            line["waits_unseen"],
        )?;
    }
    Ok(table)
}
