//! The losses of a run as a reader of curves wants them.
//!
//! In: `loss.csv` and `eval.csv` of a run's folder. Out: [`Losses`]; the debiased exponential moving average of the raw
//! loss (the zero start's weight divided out, as in Adam's moments); few enough points to draw.

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
    /// The fixed-noise evaluation losses; step 0 is the model before training.
    pub eval: Vec<Point>,
}

impl Losses {
    /// Reads the logs of the run in folder `run`. A run without evaluation may have no `eval.csv`.
    pub fn read(run: &Path) -> Result<Self> {
        let eval = run.join(EVAL_CSV);
        Ok(Self {
            raw: read_column(&run.join(LOSS_CSV), "loss")?,
            eval: if eval.is_file() { read_column(&eval, "eval_loss")? } else { Vec::new() },
        })
    }

    /// About how many steps the moving average looks back over: a tenth of the run, 5 to 500 steps.
    pub fn span(&self) -> usize {
        (self.raw.len() / 10).clamp(5, 500)
    }

    /// The moving average of the raw loss: weight 2 / (span + 1) on the newest.
    pub fn smoothed(&self) -> Vec<Point> {
        let keep = 1.0 - 2.0 / (self.span() as f64 + 1.0);
        let (mut sum, mut weight) = (0.0, 0.0);
        let average = self.raw.iter().map(|&(step, loss)| {
            sum = keep * sum + (1.0 - keep) * loss;
            weight = keep * weight + (1.0 - keep);
            (step, sum / weight)
        });
        average.collect()
    }
}

/// At most about `limit` points with the same outline: of each run of neighbours the lowest and the highest stay.
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

/// The finite values of `column` with their steps.
fn read_column(path: &Path, column: &str) -> Result<Vec<Point>> {
    let broken = |what: String| Error::input(format!("{}: {what}", path.display()));
    let mut reader = csv::Reader::from_reader(fs_err::File::open(path)?);
    let headers = reader.headers().map_err(|e| broken(e.to_string()))?.clone();
    let at =
        |name: &str| headers.iter().position(|h| h == name).ok_or_else(|| broken(format!("there is no column {name}")));
    let (step_at, value_at) = (at("step")?, at(column)?);
    let mut points = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| broken(e.to_string()))?;
        let number = |at: usize| {
            let cell = record.get(at).unwrap_or_default();
            cell.parse::<f64>().map_err(|_| broken(format!("{cell:?} in column {} is no number", &headers[at])))
        };
        points.push((number(step_at)?, number(value_at)?));
    }
    points.retain(|(_, value)| value.is_finite());
    Ok(points)
}
