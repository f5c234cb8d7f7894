//! Pictures, as SVG.

use anyhow::Result;
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;

/// One line of a picture.
#[derive(Debug)]
pub(crate) struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Series {
    pub(crate) fn new(name: String, points: Vec<(f64, f64)>) -> Self {
        Self { name, points }
    }

    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }
}

/// A picture. Its y axis is logarithmic.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) file: &'static str,
    pub(crate) title: String,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    /// Whether the x axis is logarithmic too. Else what is drawn are points, with no lines between.
    pub(crate) logarithmic: bool,
    pub(crate) legend: SeriesLabelPosition,
    /// Ours comes first.
    pub(crate) series: Vec<Series>,
}

const SIZE: (u32, u32) = (960, 560);

/// Ours first; the others told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(150, 150, 150),
];

pub(crate) fn thousands(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{} M", n / 1e6),
        n if n >= 1e3 => format!("{} k", n / 1e3),
        n => format!("{n}"),
    }
}

impl Picture {
    /// The smallest and the largest of a coordinate.
    fn range(&self, of: impl Fn(&(f64, f64)) -> f64) -> (f64, f64) {
        let all = self.series.iter().flat_map(|series| &series.points).map(of);
        all.fold((f64::MAX, f64::MIN), |(low, high), at| {
            (low.min(at), high.max(at))
        })
    }

    pub(crate) fn svg(&self) -> Result<String> {
        let (left, right) = self.range(|point| point.0);
        let mut svg = String::new();
        if self.logarithmic {
            self.draw((left..right).log_scale(), &mut svg)?;
        } else {
            self.draw(left..right, &mut svg)?;
        }
        Ok(svg)
    }

    fn draw<X>(&self, x: X, svg: &mut String) -> Result<()>
    where
        X: AsRangedCoord<Value = f64>,
        X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let (low, high) = self.range(|point| point.1);
        let root = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 22))
            .margin(12)
            .x_label_area_size(44)
            .y_label_area_size(64)
            .build_cartesian_2d(x, (low * 0.8..high * 1.3).log_scale())?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .x_label_formatter(&|x| thousands(*x))
            .y_label_formatter(&|y| thousands(*y))
            .light_line_style(RGBColor(240, 240, 240))
            .draw()?;
        // Ours last, on top of the others.
        let coloured: Vec<_> = self.series.iter().zip(COLOURS.iter().cycle()).collect();
        for &(series, colour) in coloured.iter().rev() {
            let width = if series.name.starts_with("sessionwheel") {
                3
            } else {
                1
            };
            let style = colour.stroke_width(width);
            let points = series.points.iter().copied();
            let drawn = if self.logarithmic {
                chart.draw_series(LineSeries::new(points, style).point_size(3))?
            } else {
                chart.draw_series(points.map(|at| Circle::new(at, 2, colour.filled())))?
            };
            drawn.label(&series.name).legend(move |(x, y)| {
                Rectangle::new([(x, y - 3), (x + 14, y + 3)], colour.filled())
            });
        }
        chart
            .configure_series_labels()
            .position(self.legend.clone())
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .draw()?;
        root.present()?;
        Ok(())
    }
}
