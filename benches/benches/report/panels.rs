//! Pictures, as SVG: a panel for each library, one below the other.

use anyhow::Result;
use plotters::prelude::*;

use crate::draw::{Series, Words, begin, colour, decades, range, time};

/// What was seen while one library's cache was flushed.
#[derive(Debug)]
pub(crate) struct Panel {
    /// When an operation began, in milliseconds from the beginning of the flush, and the nanoseconds that it
    /// took.
    pub(crate) series: Series,
    /// So many milliseconds the flush took.
    pub(crate) flush: f64,
}

impl Panel {
    pub(crate) fn longest(&self) -> f64 {
        self.series
            .points
            .iter()
            .map(|point| point.1)
            .fold(0.0, f64::max)
    }
}

/// Operations over time, the shortest wait above all.
pub(crate) fn panels(words: &Words, panels: &[Panel]) -> Result<String> {
    const EACH: u32 = 108;
    const AXIS: u32 = 44;
    /// What takes longer is drawn as long as it took.
    const LONG: f64 = 1e6;
    let mut panels: Vec<_> = panels.iter().collect();
    panels.sort_by(|a, b| a.longest().total_cmp(&b.longest()));
    let mut svg = String::new();
    let height = 60 + 17 * words.below.len() as u32 + EACH * panels.len() as u32 + AXIS;
    let mut rest = begin(&mut svg, (960, height), words)?;
    let all = || panels.iter().map(|panel| &panel.series);
    let (from, to) = range(all(), |point| point.0);
    let (y, labels) = decades(range(all(), |point| point.1));
    for (at, panel) in panels.iter().enumerate() {
        let last = at + 1 == panels.len();
        let axis = if last { AXIS } else { 0 };
        let (area, below) = rest.split_vertically(EACH + axis);
        let caption = format!(
            "{}: longest wait {}, flush {}",
            panel.series.caption(),
            time(panel.longest()),
            time(panel.flush * 1e6)
        );
        let mut chart = ChartBuilder::on(&area)
            .caption(caption, ("sans-serif", 13))
            .margin_right(24)
            .x_label_area_size(axis)
            .y_label_area_size(64)
            .build_cartesian_2d(from..to * 1.02, y.clone().log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| time(*y))
            .y_labels(labels)
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(220, 220, 220));
        if last {
            mesh.x_desc(words.x);
        }
        mesh.y_desc(words.y);
        mesh.draw()?;
        let flushed = [(0.0, y.start), (panel.flush, y.end)];
        let shade = RGBColor(120, 120, 120).mix(0.15).filled();
        chart.draw_series([Rectangle::new(flushed, shade)])?;
        let colour = colour(&panel.series.name);
        let points = panel.series.points.iter().copied();
        let long = points.clone().filter(|point| point.1 > LONG);
        chart.draw_series(long.map(|(at, took)| {
            PathElement::new(
                [(at, took), (at + took / 1e6, took)],
                colour.stroke_width(4),
            )
        }))?;
        chart.draw_series(points.map(|at| Circle::new(at, 1, colour.filled())))?;
        drop(chart);
        rest = below;
    }
    rest.present()?;
    drop(rest);
    Ok(svg)
}
