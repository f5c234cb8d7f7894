//! Draws the pictures of BENCHMARKS.md from measurements made now, and fills in its tables.
//!
//! ```text
//! cargo bench --bench report --features openssl -- --write                  # the pictures
//! cargo bench --bench report -- --write --only lookup                       # one of them
//! cargo bench --bench report -- --write --only none --ratios ratios.json    # the table of the ratios
//! ```
//!
//! `ci/benchmarks.sh` runs all that the page consists of. Without `--write` sizes are small, and it is only
//! shown that everything can be drawn: so `cargo bench` leaves the page as it is.
#![forbid(unsafe_code)]

mod draw;
mod measure;
mod page;
mod panels;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use draw::{Series, Words};
use measure::Sizes;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Latency over time during a flush.
    Timeline,
    /// What a hit costs, against the population.
    Lookup,
    /// What a flush costs, against the share that has expired.
    Flush,
    /// What an insert costs, against the population.
    Insert,
    /// No picture.
    None,
}

#[derive(Debug, Parser)]
#[command(about = "Pictures and tables of BENCHMARKS.md")]
struct Arguments {
    /// Only this picture; may be given again.
    #[arg(long)]
    only: Vec<Part>,
    /// Measure in earnest, and write the pictures and the tables.
    #[arg(long)]
    write: bool,
    /// Where the pictures go.
    #[arg(long, default_value = "docs/plots")]
    plots: PathBuf,
    /// The page whose tables are filled in.
    #[arg(long, default_value = "BENCHMARKS.md")]
    page: PathBuf,
    /// What `--bench ratios -- --json` has printed: the page's first table.
    #[arg(long)]
    ratios: Option<PathBuf>,
    /// What `--bench stall -- --json` has printed: the page's second table.
    #[arg(long)]
    stall: Option<PathBuf>,
    /// What a quick run of all benches says. Without `--write` this is one.
    #[arg(long, hide = true, conflicts_with = "write")]
    quick: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A path as the user means it: benches run in the folder of their package.
fn from_root(path: &Path) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// A picture, and how many points there are in it.
struct Picture {
    file: &'static str,
    points: usize,
    svg: String,
}

impl Picture {
    fn of_lines(
        file: &'static str,
        words: &Words,
        x_label: impl Fn(f64) -> String,
        series: &[Series],
    ) -> Result<Self> {
        Ok(Self {
            file,
            points: series.iter().map(Series::len).sum(),
            svg: draw::lines(words, x_label, series).context(file)?,
        })
    }
}

fn timeline(sizes: Sizes) -> Result<Picture> {
    let words = Words {
        title: format!(
            "How long lookups and inserts wait while another thread flushes half of {} sessions",
            draw::thousands(sizes.flushed() as f64)
        ),
        below: &[
            "TLS session caches, and maps used as such. One thread looks up sessions that stay and inserts new ones; from 0 on another one",
            "removes those that have expired (grey: until it is done). Each dot is the slowest operation of a quarter of a millisecond, where",
            "it began, without the time in which the system had no processor for the thread; what took longer than a millisecond is a bar as",
            "long as it took. Lower is better. Two processors; of three runs each the one with the second longest wait. Those marked (scan)",
            "know no expiry, and look at all that is there.",
        ],
        x: "ms since the flush began",
        y: "slowest",
    };
    let panels = measure::timelines(sizes);
    Ok(Picture {
        file: "timeline.svg",
        points: panels.iter().map(|panel| panel.series.len()).sum(),
        svg: panels::panels(&words, &panels)?,
    })
}

fn lookup(sizes: Sizes) -> Result<Picture> {
    let words = Words {
        title: "Time to find a session, by the number of sessions in the cache".into(),
        below: &[
            "TLS session caches, and maps used as such. A hit on a random id, on one thread; the state that is found is a reference-counted",
            "pointer, which is cloned and dropped again. The best of three runs of a million lookups. Lower is better. OpenSSL is not measured",
            "above 1 M sessions, for want of memory.",
        ],
        x: "sessions in the cache",
        y: "time of one lookup",
    };
    Picture::of_lines(
        "lookup.svg",
        &words,
        draw::thousands,
        &measure::lookups(sizes),
    )
}

fn flush(sizes: Sizes) -> Result<Picture> {
    let words = Words {
        title: format!(
            "Time to remove the expired of {} sessions, by how many have expired",
            draw::thousands(sizes.flushed() as f64)
        ),
        below: &[
            "TLS session caches, and maps used as such. Until the last one of them is freed, on one thread, with nobody else there. The best of",
            "three runs. Lower is better. Those marked (scan) have to look at all sessions, however few have expired; OpenSSL and sessionwheel",
            "don't. moka can't be flushed on request.",
        ],
        x: "share of the sessions that has expired",
        y: "time of the flush",
    };
    let percent = |share: f64| format!("{share} %");
    Picture::of_lines("flush.svg", &words, percent, &measure::flushes(sizes))
}

fn insert(sizes: Sizes) -> Result<Picture> {
    let words = Words {
        title: "Time to insert one more session, by the number of sessions in the cache".into(),
        below: &[
            "TLS session caches, and maps used as such. On one thread, nothing expires or is evicted. Lifetimes are equal, or random up to two",
            "hours: OpenSSL keeps a list sorted by expiry, and walks it. dashmap and papaya keep no order of expiry. The best of three runs of up",
            "to 2,000 inserts. Lower is better.",
        ],
        x: "sessions in the cache",
        y: "time of one insert",
    };
    Picture::of_lines(
        "insert.svg",
        &words,
        draw::thousands,
        &measure::inserts(sizes),
    )
}

type Draw = fn(Sizes) -> Result<Picture>;

const PICTURES: [(Part, Draw); 4] = [
    (Part::Timeline, timeline),
    (Part::Lookup, lookup),
    (Part::Flush, flush),
    (Part::Insert, insert),
];

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    // Without `--bench` it is a test target of `cargo test --benches`.
    let write = arguments.bench && arguments.write;
    let sizes = Sizes::new(write);
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(part);
    let folder = from_root(&arguments.plots);
    for (_, draw) in PICTURES.iter().filter(|(part, _)| wanted(part)) {
        let Picture { file, points, svg } = draw(sizes)?;
        let kept = if write { "" } else { ", small and not written" };
        println!("{file}: {points} points, {} bytes{kept}", svg.len());
        if write {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(file), svg)?;
        }
    }
    let tables = [
        ("ratios", &arguments.ratios, page::ratios as fn(&str) -> _),
        ("stall", &arguments.stall, page::stall as fn(&str) -> _),
    ];
    let page_file = from_root(&arguments.page);
    for (name, file, table) in tables {
        let Some(file) = file else { continue };
        let json = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let text = std::fs::read_to_string(&page_file)?;
        let table: String = table(&json)?;
        let page = page::filled_in(&text, name, &table)?;
        println!("table {name}: {} lines", table.lines().count());
        if write {
            std::fs::write(&page_file, page)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
