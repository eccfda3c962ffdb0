//! `tb/`: an event file for TensorBoard, written while a run goes on.
//!
//! In: a run's folder and what happens in it. Out: scalars (`loss`, `lr`, `grad_norm`, `eval_loss`,
//! `metrics/ENCODER/METRIC`), the images of the evaluation by `PROMPT/INDEX`, and the plan's keys as
//! hyperparameters. Records are appended whole, so that TensorBoard follows; a run that goes on
//! begins a new file from its logs, in place of the old one, so that no step stands there twice.
//!
//! Wall times are the run's own: seconds spent on it so far, as `timing.csv` has them, after a
//! beginning that is so long before the file was begun. Pauses between two processes are not seen.
//! The file is no result that a rerun repeats, as it holds a clock.

mod event;
mod record;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use toml::Table;

use super::drawn::Drawn;
use super::metrics_record::MetricsRecord;
use super::names::sample_name;
use super::timing::{self, Timing};
use super::{EVAL_CSV, LOSS_CSV, LossRow, RunDir, SampleSet};
use crate::error::{Error, Result};
use event::{Setting, Value};

/// The folder of a run's event file.
pub const TENSORBOARD: &str = "tb";

/// An event file, open for more.
#[derive(Debug)]
pub struct EventFile {
    run: PathBuf,
    path: PathBuf,
    file: fs::File,
    drawn: Drawn,
    /// The run's beginning, in seconds since 1970.
    begun: f64,
    /// Seconds spent on the run when the last step was done.
    spent: f64,
}

impl EventFile {
    /// Begins the run's event file anew, with all that the run has left up to step `done`: `begun`
    /// is its beginning in seconds since 1970, `plan` its plan.
    ///
    /// # Errors
    /// The file cannot be written, or a log cannot be read.
    pub fn begin(run: &RunDir, plan: &str, begun: f64, done: usize) -> Result<Self> {
        let plan: Table = plan.parse().map_err(|e| Error::run("the plan is no TOML").cause(e))?;
        let folder = run.path().join(TENSORBOARD);
        run.remove(TENSORBOARD)?;
        fs::create_dir_all(&folder)?;
        // TensorBoard knows the file by this word in its name.
        let path = folder.join(format!("events.out.tfevents.{:010}.tunelab", begun as u64));
        let file = fs::File::create(&path)?;
        let drawn = Drawn::of(&plan);
        let mut events = Self { run: run.path().to_path_buf(), path, file, drawn, begun, spent: 0.0 };
        events.add(&event::version(begun))?;
        events.add(&event::session_start(begun, &settings(&plan)))?;
        events.add_logs(done)?;
        Ok(events)
    }

    /// The rows and the images up to step `done`.
    fn add_logs(&mut self, done: usize) -> Result<()> {
        let timed: BTreeMap<usize, f64> =
            timing::rows(&self.run).into_iter().map(|(step, row)| (step, row.total_seconds)).collect();
        let mut rows: BTreeMap<usize, Vec<(String, Value)>> = BTreeMap::new();
        for name in [LOSS_CSV, EVAL_CSV] {
            for (step, values) in scalars(&self.run.join(name))?.into_iter().filter(|(step, _)| *step <= done) {
                rows.entry(step).or_default().extend(values);
            }
        }
        let sets = SampleSet::found(&self.run)?;
        for set in sets.into_iter().filter(|set| *set != SampleSet::Final && set.step(0) <= done) {
            rows.entry(set.step(0)).or_default().extend(self.images_of(set)?);
        }
        for (step, values) in rows {
            self.spent = timed.get(&step).copied().unwrap_or(self.spent);
            self.values(step, &values)?;
        }
        Ok(())
    }

    /// Adds an optimizer step.
    pub fn step(&mut self, row: &LossRow, took: &Timing) -> Result<()> {
        self.spent = took.total_seconds;
        let parts = row.parts.map_or_else(Vec::new, |[instance, prior]| {
            vec![("instance_loss".to_owned(), instance), ("prior_loss".to_owned(), prior)]
        });
        let own = [("loss", row.loss), ("lr", row.lr as f32), ("grad_norm", row.grad_norm)];
        let all = own.map(|(tag, value)| (tag.to_owned(), value)).into_iter().chain(parts);
        self.values(row.step, &all.map(|(tag, value)| (tag, Value::Scalar(value))).collect::<Vec<_>>())
    }

    /// Adds the evaluation loss after `step` steps.
    pub fn evaluation(&mut self, step: usize, eval_loss: f32) -> Result<()> {
        self.values(step, &[("eval_loss".to_owned(), Value::Scalar(eval_loss))])
    }

    /// Adds a set of images that has been drawn, in a training of `steps`.
    pub fn images(&mut self, set: SampleSet, steps: usize) -> Result<()> {
        let images = self.images_of(set)?;
        self.values(set.step(steps), &images)
    }

    /// Adds what the images were measured to be, and that the run has come to its end, after
    /// `seconds`.
    pub fn end(mut self, metrics: Option<&MetricsRecord>, seconds: f64) -> Result<()> {
        for set in metrics.iter().flat_map(|metrics| &metrics.sets) {
            let of_all = set.metrics.iter().filter(|metric| metric.prompt.is_none());
            let tagged =
                of_all.map(|of| (format!("metrics/{}/{}", of.encoder, of.metric), Value::Scalar(of.value as f32)));
            self.values(set.step, &tagged.collect::<Vec<_>>())?;
        }
        self.add(&event::session_end(self.begun + seconds))
    }

    /// The images of a set that are there, by prompt and number.
    fn images_of(&self, set: SampleSet) -> Result<Vec<(String, Value)>> {
        let mut images = Vec::new();
        for prompt in &self.drawn.prompts {
            for index in 0..self.drawn.images.unwrap_or(1) {
                let path = self.run.join(sample_name(set, prompt, index));
                if !path.is_file() {
                    continue;
                }
                let png = fs::read(&path)?;
                if let Some(size) = png_size(&png) {
                    // A tag's first part is its group.
                    images.push((format!("{}/{index}", prompt.replace('/', " ")), Value::Png(png, size)));
                }
            }
        }
        Ok(images)
    }

    fn values(&mut self, step: usize, values: &[(String, Value)]) -> Result<()> {
        if values.is_empty() {
            return Ok(());
        }
        self.add(&event::summary(self.begun + self.spent, step as u64, values))
    }

    /// One record, whole: whoever reads meanwhile sees all of it or waits for the rest.
    fn add(&mut self, event: &[u8]) -> Result<()> {
        let written = self.file.write_all(&record::record(event));
        written.map_err(|e| Error::from(e).context(format!("{} could not be continued", self.path.display())))
    }
}

/// A step and its scalars by their tags.
type Scalars = (usize, Vec<(String, Value)>);

/// The scalars of a log by their columns' names, for each step; none where it is not there. A row
/// that was cut in the middle goes.
fn scalars(log: &Path) -> Result<Vec<Scalars>> {
    let text = match fs::read_to_string(log) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
    let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let step = cells.first()?.parse().ok()?;
        let named = columns.iter().zip(&cells).filter(|(column, _)| !["step", "epoch"].contains(column));
        let values = named.filter_map(|(tag, cell)| Some(((*tag).to_owned(), Value::Scalar(cell.parse().ok()?))));
        Some((step, values.collect()))
    };
    Ok(lines.filter_map(row).collect())
}

/// Width and height, from a PNG's header.
fn png_size(png: &[u8]) -> Option<[u32; 2]> {
    let number = |at: usize| Some(u32::from_be_bytes(png.get(at..at + 4)?.try_into().ok()?));
    (png.get(12..16)? == b"IHDR").then_some(())?;
    Some([number(16)?, number(20)?])
}

/// A plan's keys with their paths, in its order; its name is the run's.
fn settings(plan: &Table) -> Vec<(String, Setting)> {
    fn flatten(path: &str, value: &toml::Value, out: &mut Vec<(String, Setting)>) {
        let setting = match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    flatten(&format!("{path}.{name}"), value, out);
                }
                return;
            }
            toml::Value::Boolean(flag) => Setting::Flag(*flag),
            toml::Value::Integer(number) => Setting::Number(*number as f64),
            toml::Value::Float(number) => Setting::Number(*number),
            toml::Value::String(text) => Setting::Text(text.clone()),
            toml::Value::Array(items) => {
                let texts = items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned));
                Setting::Text(texts.collect::<Vec<_>>().join(", "))
            }
            toml::Value::Datetime(date) => Setting::Text(date.to_string()),
        };
        out.push((path.to_owned(), setting));
    }
    let mut out = Vec::new();
    for (name, value) in
        plan.iter().filter(|(name, _)| !["name", "log", "reference", "stands_in_for"].contains(&&***name))
    {
        flatten(name, value, &mut out);
    }
    out
}
