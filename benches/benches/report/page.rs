//! Tables of the page, from what the other benches print as JSON.

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

/// A line of a table.
fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
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
        let [low, high] = [0, 1].map(|end| &line["interval"][end]);
        let interval = match low.is_null() || high.is_null() {
            true => "–".into(),
            false => format!("{}–{}", number(low), number(high)),
        };
        let state = match (line["bar"].is_null(), &line["unsure"], &line["ok"]) {
            (true, ..) => "",
            (_, Value::Bool(true), _) => "~",
            (_, _, Value::Bool(true)) => "met",
            _ => "**not met**",
        };
        let cells = [
            line["row"].to_string(),
            text(&line["name"]).to_owned(),
            format!("{} {unit}", number(&line["ours"])),
            text(&line["best_peer"]).to_owned(),
            number(&line["peer"]),
            number(&line["ratio"]),
            interval,
            number(&line["bar"]),
            state.to_owned(),
        ];
        table += &row(&cells);
    }
    Ok(table)
}

/// What a flush does to those beside it: times in µs. For each peer what there was beside the flush of its
/// cache, and for comparison the 99.9th percentile of lookups beside the other two modes; and where ours ran
/// its destructors.
pub(crate) fn stall(json: &str) -> Result<String> {
    let mut table = String::from(
        "| sessions | due | peer | flush, ms | operations beside each | lookups p50, µs | p99 | p99.9 | max | no flush: p99.9 \
         | another's: p99.9 | inserts p99.9, µs | max | waits over 1 ms, unseen by the control, in so many flushes |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut swept = String::from(
        "| sessions | due | swept | destructors on the flusher | on the worker | elsewhere | in `reclaim()` | waiting when \
         the flush returned | 1 s later | after `reclaim()` |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let mut others = [Value::Null, Value::Null];
    for line in objects(json) {
        let line = line?;
        let (lookups, inserts) = (&line["lookups"], &line["inserts"]);
        match line["mode"].as_str() {
            Some("idle") => others[0] = lookups["p99.9"].clone(),
            Some("unrelated") => others[1] = lookups["p99.9"].clone(),
            Some(_) => {
                let windows = line["windows"].as_f64().unwrap_or(1.0);
                let operations = line["operations"].as_f64().unwrap_or(0.0) / windows;
                let cells = [
                    line["sessions"].to_string(),
                    format!("{} %", line["share"]),
                    text(&line["peer"]).to_owned(),
                    number(&line["ms_each"]),
                    format!("{operations:.0}"),
                    number(&lookups["p50"]),
                    number(&lookups["p99"]),
                    number(&lookups["p99.9"]),
                    number(&lookups["max"]),
                    number(&others[0]),
                    number(&others[1]),
                    number(&inserts["p99.9"]),
                    number(&inserts["max"]),
                    format!("{} in {windows}", line["waits_unseen"]),
                ];
                table += &row(&cells);
            }
            None if line["destructors"].is_object() => {
                let (ran, garbage) = (&line["destructors"], &line["garbage"]);
                let counts = [
                    &line["swept"],
                    &ran["flusher"],
                    &ran["worker"],
                    &ran["background"],
                    &ran["reclaim"],
                    &garbage["at_once"],
                    &garbage["later"],
                    &garbage["after_reclaim"],
                ];
                let of = [line["sessions"].to_string(), format!("{} %", line["share"])];
                swept += &row(&[&of[..], &counts.map(Value::to_string)].concat());
            }
            None => {} // not applicable
        }
    }
    Ok(format!(
        "{table}\nWhere the destructors of the sessions that ours swept ran (a run of its own):\n\n{swept}"
    ))
}
