//! What a run's images were measured to be, drawn and told: `metrics.png` and `metrics.svg`, and
//! the lines at a run's end.
//!
//! In: a [`MetricsRecord`]. Out: the trade-off that DreamBooth is about (Ruiz et al. 2023), a panel
//! for each encoder: subject fidelity over prompt fidelity, a line for each prompt through its sets
//! in the order of their steps, and a bold one over all prompts. DINO reads no prompts, so it is
//! paired with the first CLIP's `clip_t`. Where nobody read the prompts, it is subject fidelity over
//! the steps instead.

mod change;
mod lines;

use std::path::Path;

use fs_err as fs;
use plotters::style::RGBColor;

use crate::cli::terminal::shortened;
use crate::data::Rgb;
use crate::error::Result;
use crate::results::{MetricsRecord, SampleSet, SetMetrics, write_atomic, write_figure};

use super::figure::{Axis, Curve, Figure, Marker, Named, PIXELS_PER_INCH, Panel, Shape};
use super::losses::Point;
use super::plot::{DASHES, PALETTE};

pub use change::Change;
pub use lines::lines;

pub(super) use change::{encoders, has, hundredths, prompt, prompts, sets, subject};

/// With more prompts only the line over all of them is drawn.
const MOST_PROMPTS: usize = 6;
/// A longer prompt is cut in the legend.
const LEGEND_CHARACTERS: usize = 38;
/// What each kind of set is marked with.
const MARKERS: [(&str, Marker); 3] = [("base", Marker::Ring), ("steps", Marker::Dot), ("tuned", Marker::Disc)];
const OVERALL: RGBColor = PALETTE[6];

/// Writes `metrics.png` and `metrics.svg` of the run in folder `run`; where there is nothing to
/// draw, those of an earlier time are removed.
pub fn write(run: &Path, metrics: &MetricsRecord) -> Result<()> {
    let files = ["metrics.png", "metrics.svg"].map(|name| run.join(name));
    let Some(figure) = draw(metrics) else {
        for file in files.iter().filter(|file| file.exists()) {
            fs::remove_file(file)?;
        }
        return Ok(());
    };
    let [png, svg] = files;
    write_figure(&png, &figure.to_image()?, PIXELS_PER_INCH)?;
    write_atomic(&svg, figure.to_svg()?.as_bytes())
}

/// The figure as pixels; none where there is nothing to draw.
pub fn to_image(metrics: &MetricsRecord) -> Result<Option<Rgb>> {
    draw(metrics).map(|figure| figure.to_image()).transpose()
}

/// The figure as SVG text, likewise.
pub fn to_svg(metrics: &MetricsRecord) -> Result<Option<String>> {
    draw(metrics).map(|figure| figure.to_svg()).transpose()
}

fn draw(metrics: &MetricsRecord) -> Option<Figure> {
    let mut panels = trade_offs(metrics);
    let shape = if panels.is_empty() { Shape::Wide } else { Shape::Tall };
    if panels.is_empty() {
        panels = over_steps(metrics);
    }
    // One legend serves all panels.
    panels.iter_mut().skip(1).flat_map(|panel| &mut panel.curves).for_each(|curve| curve.name.clear());
    (!panels.is_empty()).then_some(Figure { shape, panels })
}

/// Subject fidelity over prompt fidelity.
fn trade_offs(metrics: &MetricsRecord) -> Vec<Panel> {
    let encoders = encoders(metrics);
    let clip = encoders.iter().find(|encoder| has(metrics, encoder, "clip_t"));
    let mut panels = Vec::new();
    for encoder in &encoders {
        let own = prompt(metrics, encoder).map(|metric| (*encoder, metric));
        let read = own.or_else(|| clip.map(|clip| (*clip, "clip_t")));
        let (Some(subject), Some((reader, prompt))) = (subject(metrics, encoder), read) else { continue };
        let at = |set: &SetMetrics, of: Option<&str>| {
            Some((value(set, reader, prompt, of)?, value(set, encoder, subject, of)?))
        };
        let series = series(metrics, &at);
        let values = || series.iter().flat_map(|line| &line.places).map(|(_, point)| *point);
        if values().next().is_some() {
            panels.push(Panel {
                x: Named::new(
                    format!("{prompt} ({reader}), nearer the prompt →"),
                    Axis::around(values().map(|point| point.0), 0.08, false),
                ),
                y: Named::new(
                    format!("{subject} ({encoder})\nnearer the subject →"),
                    Axis::around(values().map(|point| point.1), 0.08, false),
                ),
                curves: curves(&series),
            });
        }
    }
    panels
}

/// Subject fidelity over the optimizer steps.
fn over_steps(metrics: &MetricsRecord) -> Vec<Panel> {
    let last = metrics.sets.iter().map(|set| set.step).max().unwrap_or(0).max(1);
    let mut panels = Vec::new();
    for encoder in encoders(metrics) {
        let Some(subject) = subject(metrics, encoder) else { continue };
        let at = |set: &SetMetrics, of: Option<&str>| Some((set.step as f64, value(set, encoder, subject, of)?));
        let series = series(metrics, &at);
        let values = || series.iter().flat_map(|line| &line.places).map(|(_, point)| point.1);
        if values().next().is_some() {
            panels.push(Panel {
                x: Named::new("step", Axis::steps(last as f64)),
                y: Named::new(
                    format!("{subject} ({encoder})\nnearer the subject →"),
                    Axis::around(values(), 0.1, false),
                ),
                curves: curves(&series),
            });
        }
    }
    panels
}

fn value(set: &SetMetrics, encoder: &str, metric: &str, prompt: Option<&str>) -> Option<f64> {
    Some(set.get(encoder, metric, prompt)?.value).filter(|value| value.is_finite())
}

/// A prompt's way, or that of all prompts.
struct Series {
    name: String,
    color: RGBColor,
    width: f64,
    dash: Option<(f64, f64)>,
    /// The sets that it goes through, each with its marker.
    places: Vec<(Marker, Point)>,
}

/// The prompts' lines where they are few, and above them that of all; one prompt is all of them.
fn series(metrics: &MetricsRecord, at: &dyn Fn(&SetMetrics, Option<&str>) -> Option<Point>) -> Vec<Series> {
    let prompts = prompts(metrics);
    let sets = sets(metrics);
    let places = |of: Option<&str>| {
        let place = |set: &&SetMetrics| Some((marker(set), at(set, of)?));
        sets.iter().filter_map(place).collect::<Vec<_>>()
    };
    let shown = if (2..=MOST_PROMPTS).contains(&prompts.len()) { prompts.as_slice() } else { &[] };
    let line = |(index, prompt): (usize, &&str)| Series {
        name: shortened(prompt, LEGEND_CHARACTERS),
        color: PALETTE[index],
        width: 0.9,
        dash: DASHES[index % DASHES.len()],
        places: places(Some(prompt)),
    };
    let name = match prompts[..] {
        [only] => shortened(only, LEGEND_CHARACTERS),
        _ if shown.is_empty() && !prompts.is_empty() => format!("all {} prompts", prompts.len()),
        _ => "all prompts".to_owned(),
    };
    let all = Series { name, color: OVERALL, width: 1.8, dash: None, places: places(None) };
    let mut series: Vec<Series> = shown.iter().enumerate().map(line).chain([all]).collect();
    series.retain(|line| !line.places.is_empty());
    series
}

fn marker(set: &SetMetrics) -> Marker {
    match SampleSet::of_folder(&set.set) {
        Some(SampleSet::Base) => Marker::Ring,
        Some(SampleSet::Final) => Marker::Disc,
        Some(SampleSet::Step(_)) | None => Marker::Dot,
    }
}

/// Each line with its markers, and what the markers are.
fn curves(series: &[Series]) -> Vec<Curve> {
    let mut curves = Vec::new();
    let curve = |name: &str, of: &Series, points, marks| Curve {
        name: name.to_owned(),
        points,
        color: of.color,
        width: of.width,
        dash: of.dash,
        marks,
    };
    for line in series {
        let points = line.places.iter().map(|place| place.1).collect();
        curves.push(curve(&line.name, line, points, None));
        // From the last, so that the base's ring lies above a dot near it.
        for (_, marker) in MARKERS.into_iter().rev() {
            let marked = line.places.iter().filter(|place| place.0 == marker).map(|place| place.1).collect();
            curves.push(curve("", line, Vec::new(), Some((marker, marked))));
        }
    }
    let Some(all) = series.last() else { return curves };
    let is_there = |marker| series.iter().any(|line| line.places.iter().any(|place| place.0 == marker));
    let said = MARKERS.into_iter().filter(|(_, marker)| is_there(*marker));
    curves.extend(said.map(|(name, marker)| curve(name, all, Vec::new(), Some((marker, Vec::new())))));
    curves
}
