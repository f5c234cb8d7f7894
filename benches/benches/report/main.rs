//! Draws the pictures of BENCHMARKS.md from measurements made now, and fills in its tables.
//!
//! ```text
//! cargo bench --bench report --features openssl                     # the pictures
//! cargo bench --bench report -- --only lookup                       # one of them
//! cargo bench --bench report -- --only none --ratios ratios.json    # the table of the ratios
//! ```
//!
//! `ci/benchmarks.sh` runs all that the page consists of.
#![forbid(unsafe_code)]

mod draw;
mod measure;
mod page;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use draw::{Picture, Series};
use measure::Sizes;
use plotters::chart::SeriesLabelPosition;

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
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A path as the user means it: benches run in the folder of their package.
fn from_root(path: &Path) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn pictures(sizes: Sizes, wanted: impl Fn(Part) -> bool) -> Vec<Picture> {
    let mut pictures = Vec::new();
    if wanted(Part::Timeline) {
        pictures.push(Picture {
            file: "timeline.svg",
            title: format!(
                "Waiting beside a flush of half of {} sessions",
                draw::thousands(sizes.flushed() as f64)
            ),
            x: "ms since the flush began",
            y: "longest operation in each 0.25 ms, µs",
            logarithmic: false,
            legend: SeriesLabelPosition::UpperRight,
            series: measure::timelines(sizes),
        });
    }
    if wanted(Part::Lookup) {
        pictures.push(Picture {
            file: "lookup.svg",
            title: "What a hit costs (one call, state cloned out)".into(),
            x: "sessions in the cache",
            y: "ns per lookup",
            logarithmic: true,
            legend: SeriesLabelPosition::UpperLeft,
            series: measure::lookups(sizes),
        });
    }
    if wanted(Part::Flush) {
        pictures.push(Picture {
            file: "flush.svg",
            title: format!(
                "What a flush takes, of {} sessions",
                draw::thousands(sizes.flushed() as f64)
            ),
            x: "per cent of them that have expired",
            y: "ms until the last destructor has run",
            logarithmic: true,
            legend: SeriesLabelPosition::LowerRight,
            series: measure::flushes(sizes),
        });
    }
    if wanted(Part::Insert) {
        pictures.push(Picture {
            file: "insert.svg",
            title: "What one more session costs".into(),
            x: "sessions in the cache",
            y: "ns per insert",
            logarithmic: true,
            legend: SeriesLabelPosition::UpperLeft,
            series: measure::inserts(sizes),
        });
    }
    pictures
}

fn run() -> Result<()> {
    let arguments = Arguments::parse();
    // Without `--bench` it is a test target of `cargo test --benches`.
    let sizes = Sizes::new(arguments.bench);
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let drawn = pictures(sizes, wanted);
    let folder = from_root(&arguments.plots);
    for picture in &drawn {
        let points: usize = picture.series.iter().map(Series::len).sum();
        let svg = picture.svg().context(picture.file)?;
        println!(
            "{}: {} series, {points} points, {} bytes",
            picture.file,
            picture.series.len(),
            svg.len()
        );
        if arguments.bench {
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join(picture.file), svg)?;
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
        println!("table {name}: {} lines", table.lines().count());
        std::fs::write(&page_file, page::filled_in(&text, name, &table)?)?;
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
