//! The losses of a run as a reader of curves wants them.
//!
//! In: `loss.csv` and `eval.csv` of a run's folder; columns that are not asked for are passed over.
//! Out: [`Losses`]; their debiased exponential moving average (the zero start's weight divided out,
//! as in Adam's moments); few enough points to draw.

use std::path::Path;

use crate::error::{Error, Result};
use crate::results::{EVAL_CSV, LOSS_CSV};

/// A step and a loss.
pub type Point = (f64, f64);

/// What a curve is drawn from; only finite losses, in the order of their steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// Each step's loss.
    pub raw: Vec<Point>,
    /// The instance images' part of each step's loss; empty but for DreamBooth.
    pub instance: Vec<Point>,
    /// The class images' part, without its weight; empty but for DreamBooth.
    pub prior: Vec<Point>,
    /// The fixed-noise evaluation losses; step 0 is the model before training.
    pub eval: Vec<Point>,
}

impl Losses {
    /// Reads the logs of the run in folder `run`. A run without evaluation may have no `eval.csv`.
    pub fn read(run: &Path) -> Result<Self> {
        let (loss, eval) = (run.join(LOSS_CSV), run.join(EVAL_CSV));
        let required = |column: &str| {
            let missing = || Error::input(format!("{}: there is no column {column}", loss.display()));
            read_column(&loss, column)?.ok_or_else(missing)
        };
        let eval = if eval.is_file() { read_column(&eval, "eval_loss")? } else { None };
        Ok(Self {
            raw: required("loss")?,
            instance: read_column(&loss, "instance_loss")?.unwrap_or_default(),
            prior: read_column(&loss, "prior_loss")?.unwrap_or_default(),
            eval: eval.unwrap_or_default(),
        })
    }

    /// About how many steps the moving average looks back over: a tenth of the run, 5 to 500 steps.
    pub fn span(&self) -> usize {
        (self.raw.len() / 10).clamp(5, 500)
    }
}

/// The moving average over about `span` points: weight 2 / (span + 1) on the newest; a span of 1
/// changes nothing.
pub fn smooth(points: &[Point], span: usize) -> Vec<Point> {
    let keep = 1.0 - 2.0 / (span.max(1) as f64 + 1.0);
    let (mut sum, mut weight) = (0.0, 0.0);
    let average = points.iter().map(|&(step, loss)| {
        sum = keep * sum + (1.0 - keep) * loss;
        weight = keep * weight + (1.0 - keep);
        (step, sum / weight)
    });
    average.collect()
}

/// At most about `limit` points with the same outline: of each run of neighbors the lowest and the
/// highest stay.
pub fn thin(points: &[Point], limit: usize) -> Vec<Point> {
    if points.len() <= limit {
        return points.to_vec();
    }
    let bucket = (2 * points.len()).div_ceil(limit);
    points.chunks(bucket).flat_map(extremes).collect()
}

/// The lowest and the highest point, in the order of their steps; a lone point once.
fn extremes(bucket: &[Point]) -> Vec<Point> {
    let by_loss = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
    let mut ends: Vec<Point> =
        [bucket.iter().min_by(by_loss), bucket.iter().max_by(by_loss)].into_iter().flatten().copied().collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    ends.dedup();
    ends
}

/// The finite values of `column` with their steps; `None` where there is no such column. An empty
/// cell is no value.
pub(in crate::report) fn read_column(path: &Path, column: &str) -> Result<Option<Vec<Point>>> {
    let broken = |what: String| Error::input(format!("{}: {what}", path.display()));
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(fs_err::File::open(path)?);
    let headers = reader.headers().map_err(|e| broken(e.to_string()))?.clone();
    let at = |name: &str| headers.iter().position(|header| header == name);
    let step_at = at("step").ok_or_else(|| broken("there is no column step".to_string()))?;
    let Some(value_at) = at(column) else { return Ok(None) };
    let mut points = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| broken(e.to_string()))?;
        let number = |at: usize| {
            let cell = record.get(at).unwrap_or_default();
            cell.parse::<f64>().map_err(|_| broken(format!("{cell:?} in column {} is no number", &headers[at])))
        };
        // A killed run may leave a last row without its end.
        if record.get(value_at).is_some_and(|cell| !cell.is_empty()) {
            points.push((number(step_at)?, number(value_at)?));
        }
    }
    points.retain(|(_, value)| value.is_finite());
    Ok(Some(points))
}
