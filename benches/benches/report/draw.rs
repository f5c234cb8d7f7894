//! Pictures, as SVG: lines over logarithmic axes.
//!
//! Who sees one should need nothing else, so each says what was done, on how many threads, and which way is
//! better; a library looks the same in all of them.

use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;

const OURS: &str = "sessionwheel";

/// One line of a picture: of a library, whose name it begins with.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    /// The second coordinate is a time in nanoseconds.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    pub(crate) fn new(name: String, points: Vec<(f64, f64)>) -> Self {
        Self { name, points }
    }

    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }

    fn last(&self) -> f64 {
        self.points.last().map_or(0.0, |point| point.1)
    }

    fn is_ours(&self) -> bool {
        self.name.starts_with(OURS)
    }

    /// As it is said to who knows none of them.
    pub(crate) fn caption(&self) -> String {
        self.name.replace(OURS, "sessionwheel (ours)")
    }
}

/// What is said above a picture.
#[derive(Debug)]
pub(crate) struct Words {
    pub(crate) title: String,
    pub(crate) below: &'static [&'static str],
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
}

pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Told apart also by those who see few colours (Okabe and Ito).
pub(crate) fn colour(name: &str) -> RGBColor {
    const COLOURS: [(&str, RGBColor); 9] = [
        (OURS, RGBColor(0, 0, 0)),
        ("dashmap", RGBColor(230, 159, 0)),
        ("papaya", RGBColor(86, 180, 233)),
        ("scc", RGBColor(0, 158, 115)),
        ("quick_cache", RGBColor(204, 121, 167)),
        ("RwLock", RGBColor(213, 94, 0)),
        ("16 × Mutex<LruCache>", RGBColor(150, 110, 60)),
        ("OpenSSL", RGBColor(0, 114, 178)),
        ("moka", RGBColor(140, 140, 140)),
    ];
    let known = COLOURS
        .iter()
        .find(|(library, _)| name.starts_with(library));
    known.map_or(RED, |(_, colour)| *colour)
}

pub(crate) fn thousands(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{} M", n / 1e6),
        n if n >= 1e3 => format!("{} k", n / 1e3),
        n => format!("{n}"),
    }
}

/// Nanoseconds, in the unit that fits.
pub(crate) fn time(nanoseconds: f64) -> String {
    let (number, unit) = match nanoseconds {
        n if n >= 1e9 => (n / 1e9, "s"),
        n if n >= 1e6 => (n / 1e6, "ms"),
        n if n >= 1e3 => (n / 1e3, "µs"),
        n => (n, "ns"),
    };
    let digits = (2.0 - number.max(1.0).log10().floor()).max(0.0) as i32;
    let rounded = (number * 10_f64.powi(digits)).round() / 10_f64.powi(digits);
    format!("{rounded} {unit}")
}

/// The smallest and the largest of a coordinate.
pub(crate) fn range<'a>(
    series: impl IntoIterator<Item = &'a Series>,
    of: impl Fn(&(f64, f64)) -> f64,
) -> (f64, f64) {
    let all = series.into_iter().flat_map(|series| &series.points);
    all.map(of).fold((f64::MAX, f64::MIN), |(low, high), at| {
        (low.min(at), high.max(at))
    })
}

/// From one power of ten to another, so that both ends have a label.
pub(crate) fn decades((low, high): (f64, f64)) -> (std::ops::Range<f64>, usize) {
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let range = 10_f64.powf(low)..10_f64.powf(high) * 1.001;
    (range, (high - low) as usize + 1)
}

/// A white area of this size, without what the words take of it.
pub(crate) fn begin<'a>(svg: &'a mut String, size: (u32, u32), words: &Words) -> Result<Area<'a>> {
    const LINE: u32 = 17;
    let root = SVGBackend::with_string(svg, size).into_drawing_area();
    root.fill(&WHITE)?;
    let title = ("sans-serif", 20).into_font().color(&BLACK);
    let small = ("sans-serif", 13).into_font().color(&RGBColor(70, 70, 70));
    root.draw(&Text::new(words.title.clone(), (16, 12), title))?;
    for (line, text) in words.below.iter().enumerate() {
        let at = (16, 38 + (line as u32 * LINE) as i32);
        root.draw(&Text::new((*text).to_owned(), at, small.clone()))?;
    }
    let (_, rest) = root.split_vertically(42 + words.below.len() as u32 * LINE);
    Ok(rest)
}

/// Lines over two logarithmic axes; who they are stands beside them, in the order of their ends.
pub(crate) fn lines(
    words: &Words,
    x_label: impl Fn(f64) -> String,
    series: &[Series],
) -> Result<String> {
    const SIZE: (u32, u32) = (1010, 580);
    const NAMES: u32 = 270;
    let mut svg = String::new();
    let rest = begin(&mut svg, SIZE, words)?;
    let (left, right) = rest.split_horizontally(SIZE.0 - NAMES);
    let (from, to) = range(series, |point| point.0);
    let (y, decades) = decades(range(series, |point| point.1));
    let mut chart = ChartBuilder::on(&left)
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d((from * 0.8..to * 1.25).log_scale(), y.log_scale())?;
    chart
        .configure_mesh()
        .x_desc(words.x)
        .y_desc(words.y)
        .x_label_formatter(&|x| x_label(*x))
        .y_label_formatter(&|y| time(*y))
        .y_labels(decades)
        .light_line_style(TRANSPARENT)
        .bold_line_style(RGBColor(220, 220, 220))
        .draw()?;
    // Ours last, on top of the others.
    let (ours, theirs): (Vec<_>, Vec<_>) = series.iter().partition(|series| series.is_ours());
    for series in theirs.into_iter().chain(ours) {
        let style = colour(&series.name).stroke_width(if series.is_ours() { 3 } else { 1 });
        let points = series.points.iter().copied();
        if is_dashed(&series.name) {
            chart.draw_series(DashedLineSeries::new(points.clone(), 7, 4, style))?;
        } else {
            chart.draw_series(LineSeries::new(points.clone(), style))?;
        }
        chart.draw_series(points.map(|at| Circle::new(at, 3, style.filled())))?;
    }
    names(&right, series)?;
    left.present()?;
    drop((chart, left, right, rest));
    Ok(svg)
}

/// Of two lines of one library.
fn is_dashed(name: &str) -> bool {
    name.ends_with("equal lifetimes")
}

fn names(area: &Area<'_>, series: &[Series]) -> Result<()> {
    let mut series: Vec<_> = series.iter().collect();
    series.sort_by(|a, b| b.last().total_cmp(&a.last()));
    let text = ("sans-serif", 13).into_font().color(&BLACK);
    for (line, series) in series.iter().enumerate() {
        let y = 30 + line as i32 * 22;
        let width = if series.is_ours() { 3 } else { 1 };
        let style = colour(&series.name).stroke_width(width);
        let parts: &[(i32, i32)] = match is_dashed(&series.name) {
            true => &[(0, 7), (11, 18), (22, 29)],
            false => &[(0, 29)],
        };
        for &(from, to) in parts {
            area.draw(&PathElement::new([(from, y), (to, y)], style))?;
        }
        area.draw(&Circle::new((14, y), 3, style.filled()))?;
        let at = (36, y - 5);
        area.draw(&Text::new(series.caption(), at, text.clone()))?;
    }
    Ok(())
}
