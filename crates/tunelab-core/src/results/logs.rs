//! The logs of a run: one row a step, written as it happens.
//!
//! In: a step's numbers. Out: `loss.csv` (step, epoch, loss, lr, `grad_norm`) and `eval.csv` (step,
//! `eval_loss`), which a rerun repeats byte for byte, and [`timing.csv`](super::timing), which
//! nothing compares. Losses are written with as many digits as it takes to read the same number
//! back. Where images come from several sources, `sources.csv` (step, source, samples, loss) and
//! `eval_sources.csv` (step, source, `eval_loss`) say the same of each.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::error::{Error, Result};

use super::RunDir;
use super::files::write_atomic;
use super::timing::{self, TIMING_CSV, Timing};

/// The losses of the steps.
pub const LOSS_CSV: &str = "loss.csv";
/// The evaluation losses.
pub const EVAL_CSV: &str = "eval.csv";
/// Where there are several sources of images, the losses of each in each step.
pub const SOURCES_CSV: &str = "sources.csv";
/// And their evaluation losses.
pub const EVAL_SOURCES_CSV: &str = "eval_sources.csv";

/// `loss.csv`'s; the last two with prior preservation only.
const LOSS_COLUMNS: [&str; 7] = ["step", "epoch", "loss", "lr", "grad_norm", "instance_loss", "prior_loss"];

/// One optimizer step, as `loss.csv` holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossRow {
    /// Steps done, this one included: the first is 1.
    pub step: usize,
    /// The epoch that the step's last batch belongs to: the first is 1.
    pub epoch: usize,
    /// The loss over the step's batches.
    pub loss: f32,
    /// The learning rate that the step used.
    pub lr: f64,
    /// The gradients' global norm before clipping.
    pub grad_norm: f32,
    /// With prior preservation: the instance loss, and the class loss before it is weighted.
    pub parts: Option<[f32; 2]>,
}

/// The logs of each source, open for rows.
#[derive(Debug)]
struct SourceLogs {
    names: Vec<String>,
    loss: Log,
    eval: Log,
}

/// The logs of a run, open for rows.
#[derive(Debug)]
pub struct LossLog {
    loss: Log,
    eval: Log,
    timing: Log,
    sources: Option<SourceLogs>,
}

impl LossLog {
    /// Begins the three logs anew; `parts` adds the columns `instance_loss` and `prior_loss` to
    /// `loss.csv`.
    pub fn create(run: &RunDir, parts: bool) -> Result<Self> {
        let log = |name, columns: &[&str]| Log::create(&run.path().join(name), columns);
        Ok(Self {
            loss: log(LOSS_CSV, &LOSS_COLUMNS[..if parts { 7 } else { 5 }])?,
            eval: log(EVAL_CSV, &["step", "eval_loss"])?,
            timing: log(TIMING_CSV, &timing::COLUMNS)?,
            sources: None,
        })
    }

    /// Goes on with the logs of a run that was cut off, without the rows after `step`. From step 0
    /// they begin anew. Of `timing.csv` is kept what there is.
    pub fn resume(run: &RunDir, step: usize, parts: bool) -> Result<Self> {
        if step == 0 {
            return Self::create(run, parts);
        }
        let log = |name| {
            let path = run.path().join(name);
            let old = fs::read_to_string(&path).map_err(|e| short(run, name, step).cause(e))?;
            Log::resume(&path, &old, step)
        };
        let timing = resume_timing(run.path(), step)?;
        let logs = Self { loss: log(LOSS_CSV)?, eval: log(EVAL_CSV)?, timing, sources: None };
        let text = fs::read_to_string(run.path().join(LOSS_CSV))?;
        // A header, and one row a step.
        if text.lines().count() != step + 1 {
            return Err(short(run, LOSS_CSV, step));
        }
        Ok(logs)
    }

    /// Also with the logs of each source, which have these names.
    pub fn with_sources(mut self, run: &RunDir, step: usize, names: Vec<String>) -> Result<Self> {
        let log = |name, columns: &[&str]| {
            let path = run.path().join(name);
            match fs::read_to_string(&path) {
                Ok(old) if step > 0 => Log::resume(&path, &old, step),
                Err(e) if step > 0 => Err(short(run, name, step).cause(e)),
                _ => Log::create(&path, columns),
            }
        };
        let loss = log(SOURCES_CSV, &["step", "source", "samples", "loss"])?;
        let eval = log(EVAL_SOURCES_CSV, &["step", "source", "eval_loss"])?;
        self.sources = Some(SourceLogs { names, loss, eval });
        Ok(self)
    }

    /// Adds what the sources' samples, (how many, the sum of their losses), had in a step; nothing of a source that had none.
    pub fn sources(&mut self, step: usize, losses: impl Iterator<Item = (usize, f64)>) -> Result<()> {
        let Some(SourceLogs { names, loss, .. }) = &mut self.sources else { return Ok(()) };
        for (name, (samples, sum)) in names.iter().zip(losses).filter(|(_, (samples, _))| *samples > 0) {
            let mean = (sum / samples as f64) as f32;
            loss.row(&[step.to_string(), name.clone(), samples.to_string(), mean.to_string()])?;
        }
        Ok(())
    }

    /// Adds the evaluation loss of each source.
    pub fn source_evaluations(&mut self, step: usize, losses: &[f64]) -> Result<()> {
        let Some(SourceLogs { names, eval, .. }) = &mut self.sources else { return Ok(()) };
        for (name, loss) in names.iter().zip(losses) {
            eval.row(&[step.to_string(), name.clone(), (*loss as f32).to_string()])?;
        }
        Ok(())
    }

    /// Adds a step: its numbers and what it took.
    pub fn step(&mut self, row: &LossRow, took: &Timing) -> Result<()> {
        let LossRow { step, epoch, loss, lr, grad_norm, parts } = row;
        let mut cells =
            vec![step.to_string(), epoch.to_string(), loss.to_string(), lr.to_string(), grad_norm.to_string()];
        cells.extend(parts.iter().flatten().map(f32::to_string));
        self.loss.row(&cells)?;
        self.timing.row(&took.cells(*step))
    }

    /// Adds the fixed-noise evaluation loss after `step` steps; 0 is the model before training.
    pub fn evaluation(&mut self, step: usize, eval_loss: f32) -> Result<()> {
        self.eval.row(&[step.to_string(), eval_loss.to_string()])
    }
}

/// A log that the checkpoint goes beyond: nothing can be gone on with.
fn short(run: &RunDir, name: &str, step: usize) -> Error {
    let log = run.path().join(name);
    let what = if log.is_file() { "does not reach" } else { "is not there, and there is" };
    Error::input(format!("{} {what} the checkpoint of step {step}", log.display()))
        .hint(format!("put the {name} of this run back, or start over with --force"))
}

fn resume_timing(run: &Path, step: usize) -> Result<Log> {
    let kept = timing::rows(run).into_iter().filter(|(n, _)| *n <= step);
    let rows: String = kept.map(|(n, took)| took.cells(n).join(",") + "\n").collect();
    Log::go_on(&run.join(TIMING_CSV), &format!("{}\n{rows}", timing::COLUMNS.join(",")))
}

/// One CSV file that is written a row at a time.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    writer: csv::Writer<fs::File>,
}

impl Log {
    fn create(path: &Path, columns: &[&str]) -> Result<Self> {
        let mut log = Self { path: path.to_path_buf(), writer: csv::Writer::from_writer(fs::File::create(path)?) };
        log.row(columns)?;
        Ok(log)
    }

    /// Keeps the header and the rows of the steps up to `step`; a row that was cut in the middle
    /// goes.
    fn resume(path: &Path, old: &str, step: usize) -> Result<Self> {
        let is_kept = |line: &str| {
            let first = line.split(',').next().unwrap_or_default();
            line.ends_with('\n') && first.parse::<usize>().map_or(first == "step", |n| n <= step)
        };
        let kept: String = old.split_inclusive('\n').filter(|line| is_kept(line)).collect();
        Self::go_on(path, &kept)
    }

    /// Goes on after the rows `kept`.
    fn go_on(path: &Path, kept: &str) -> Result<Self> {
        write_atomic(path, kept.as_bytes())?;
        let file = fs::OpenOptions::new().append(true).open(path)?;
        Ok(Self { path: path.to_path_buf(), writer: csv::Writer::from_writer(file) })
    }

    /// Writes a row and hands it to the operating system at once: what a killed run has logged
    /// stays.
    fn row(&mut self, cells: &[impl AsRef<[u8]>]) -> Result<()> {
        let written = self.writer.write_record(cells).map_err(std::io::Error::from);
        written
            .and_then(|()| self.writer.flush())
            .map_err(|e| Error::from(e).context(format!("{} could not be continued", self.path.display())))
    }
}
