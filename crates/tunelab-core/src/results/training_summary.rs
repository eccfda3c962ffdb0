//! How a training ended, read from its logs: the same for a run that was cut off and went on.
//!
//! In: `loss.csv`, `eval.csv`, `timing.csv` of a run. Out: counts, losses and seconds for
//! `run.json`.

use super::record::Loss;
use super::{EVAL_CSV, LOSS_CSV, RunDir, timing};
use crate::error::{Error, Result};

/// What the logs say of the whole training.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingSummary {
    /// Optimizer steps.
    pub steps: usize,
    /// Epochs, the last one perhaps begun only.
    pub epochs: usize,
    /// The losses at the end.
    pub loss: Loss,
    /// All steps that `timing.csv` knows together, without evaluation and sampling.
    pub training_seconds: f64,
    /// One of these steps, on average.
    pub seconds_per_step: f64,
    /// How busy a GPU was during these steps, in per cent, where its driver tells.
    pub device_busy_percent: Option<f64>,
}

impl TrainingSummary {
    /// Reads the logs of a run whose training is done.
    pub fn read(run: &RunDir) -> Result<Self> {
        let losses = rows(run, LOSS_CSV)?;
        let evaluations = rows(run, EVAL_CSV)?;
        let number = |rows: Option<&Vec<String>>, column: usize| rows?.get(column)?.parse::<f32>().ok();
        let count = |column: usize| losses.last().and_then(|row| row.get(column)?.parse().ok()).unwrap_or(0);
        let timed = timing::rows(run.path());
        let seconds: f64 = timed.iter().map(|(_, row)| row.seconds).sum();
        let loss = Loss {
            last: number(losses.last(), 2),
            eval_first: number(evaluations.first(), 1),
            eval_last: number(evaluations.last(), 1),
        };
        let seconds_per_step = seconds / timed.len().max(1) as f64;
        let device_busy_percent = timing::device_busy_percent(&timed);
        let (steps, epochs) = (count(0), count(1));
        Ok(Self { steps, epochs, loss, training_seconds: seconds, seconds_per_step, device_busy_percent })
    }
}

fn rows(run: &RunDir, name: &str) -> Result<Vec<Vec<String>>> {
    let path = run.path().join(name);
    let file = fs_err::File::open(&path)?;
    let broken = |e: csv::Error| Error::run(format!("{} cannot be read", path.display())).cause(e);
    let cells = |row: csv::StringRecord| row.iter().map(str::to_owned).collect();
    csv::Reader::from_reader(file).into_records().map(|row| row.map(cells).map_err(broken)).collect()
}
