//! What a run leaves behind: the layout of its folder, and the only code that writes files there.
//!
//! In: a results folder, the experiment's name, the text of its resolved plan. Out: [`RunDir`],
//! through which the rest of the program writes `plan.toml`, the logs, images, weights and, last
//! of all, `run.json`:
//!
//! ```text
//! results/lora_dog/
//!   plan.toml              resolved, runnable; written first
//!   inputs.json            hashes of all that goes in, written before the first step
//!   loss.csv eval.csv      what a rerun repeats exactly
//!   timing.csv             seconds and memory: never compared
//!   loss.png loss.svg      drawn from the two logs
//!   samples/{base,step-000100,tuned}/<prompt>/<index>.png
//!   grid.png  steps.png  data.png
//!   metrics.csv            the numbers of every image; metrics.png and metrics.svg are drawn from run.json
//!   weights/  checkpoints/
//!   tb/                    with log.tensorboard, an event file: never compared
//!   progress.json          how far the run is, until it has come to its end
//!   warnings.json          of a run that was cut off, until the next process records them
//!   run.json               written last; it names weights and images: all there, the run is finished
//! ```
//!
//! Beside the runs, `NAME.sweep/sweep.json` says what a `[sweep]` stated.
//!
//! Files appear under a temporary name and are renamed; only the logs grow in place, a row at a
//! time, so that a run that fails keeps all before it. A folder that holds another plan, or that no
//! run wrote, is never touched, and of `samples/` nothing but what a run drew is removed.

mod drawn;
mod files;
mod hashes;
mod inputs;
mod lock;
mod logs;
mod machine;
mod metrics_csv;
mod metrics_record;
mod names;
mod open;
mod png;
mod progress_record;
mod record;
mod sample_set;
mod samples;
mod sweep_record;
mod tensorboard;
mod timing;
mod training_summary;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err as fs;

use crate::data::Rgb;
use crate::error::{Error, Result};
use lock::Held;

pub use drawn::Drawn;
pub use files::{write_atomic, write_with};
pub use hashes::{DRAWN_CLASS, Hashes};
pub use logs::{EVAL_CSV, EVAL_SOURCES_CSV, LOSS_CSV, LossLog, LossRow, SOURCES_CSV};
pub use machine::{Gpu, Machine, memory_mib, memory_now_mib, peak_memory_mib, reset_peak_rss};
pub use metrics_csv::{MetricsRow, metrics_csv};
pub use metrics_record::{BestStep, EncoderRecord, MetricRecord, MetricsRecord, NearestRecord, SetMetrics};
pub use names::{run_folder, sample_name, slug, weights_name};
pub use open::Opened;
pub use png::{ImageMetadata, png_bytes, read_text, write_figure, write_png};
pub use progress_record::{PROGRESS_JSON, ProgressFile, RunProgressRecord, RunState};
pub use record::{Counts, Loss, PeakMemory, RunRecord, Seconds, StandIn, Status, Versions};
pub use sample_set::SampleSet;
pub use sweep_record::{sweep_folder, sweeps, write_sweep};
pub use tensorboard::{EventFile, TENSORBOARD};
pub use timing::{ElapsedSoFar, TIMING_CSV, Timing};
pub use training_summary::TrainingSummary;

/// The resolved plan, first file of a run.
pub const PLAN_TOML: &str = "plan.toml";
/// The trained adapter in a run's `weights/`, by the name that diffusers looks for.
pub const LORA_FILE: &str = "pytorch_lora_weights.safetensors";
/// The numbers of every image.
pub const METRICS_CSV: &str = "metrics.csv";
/// The folder of a run's checkpoints.
pub const CHECKPOINTS: &str = "checkpoints";
/// The record, last file of a run.
pub const RUN_JSON: &str = "run.json";
/// The record while a finished run's images are drawn again.
const RESAMPLING_JSON: &str = "resampling.json";
/// What a process warned of that did not come to the run's end, for the record of the one that
/// does.
const WARNINGS_JSON: &str = "warnings.json";

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    /// Of a run that is written to; clones share it.
    _lock: Option<Arc<Held>>,
}

impl RunDir {
    /// What a run that is trained recorded, before its images are drawn again or while they are.
    ///
    /// # Errors
    /// Wrong input: the record is damaged.
    pub fn earlier_record(&self) -> Result<RunRecord> {
        self.read_record(if self.is_finished() { RUN_JSON } else { RESAMPLING_JSON })
    }

    /// What a finished run recorded.
    ///
    /// # Errors
    /// Wrong input: the record is damaged.
    pub fn record(&self) -> Result<RunRecord> {
        self.read_record(RUN_JSON)
    }

    /// What a run recorded that is trained, whether its images are drawn again now or not; `None`
    /// if it is not trained yet.
    ///
    /// # Errors
    /// Wrong input: the record is damaged.
    pub fn any_record(&self) -> Result<Option<RunRecord>> {
        let name = [RUN_JSON, RESAMPLING_JSON].into_iter().find(|name| self.path.join(name).is_file());
        name.map(|name| self.read_record(name)).transpose()
    }

    fn read_record(&self, name: &str) -> Result<RunRecord> {
        let path = self.path.join(name);
        serde_json::from_str(&fs::read_to_string(&path)?).map_err(|e| {
            Error::input(format!("{} cannot be read", path.display()))
                .cause(e)
                .hint("give --force to remove the results and start over")
        })
    }

    /// A run that is there already, to be read: `tunelab sample RUN_DIR`.
    ///
    /// # Errors
    /// Wrong input: there is no such folder, or it holds no `plan.toml`.
    pub fn existing(path: &Path) -> Result<Self> {
        let run = Self { path: path.to_path_buf(), _lock: None };
        match run.stored_plan()? {
            Some(_) => Ok(run),
            None => {
                Err(Error::input(format!("{} is not the folder of a run: it holds no {PLAN_TOML}", path.display()))
                    .hint("give the folder that `tunelab run` wrote, such as results/lora_dog"))
            }
        }
    }

    /// The run's folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the run came to its end.
    pub fn is_finished(&self) -> bool {
        self.path.join(RUN_JSON).is_file()
    }

    /// Writes one file of the run, whole or not at all; `relative` uses `/`.
    pub fn write(&self, relative: &str, bytes: &[u8]) -> Result<()> {
        write_atomic(&self.path.join(relative), bytes)
    }

    /// As [`Self::write`], for writers that want a path of their own (weights): `write` gets the
    /// temporary one.
    pub fn write_with(&self, relative: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        write_with(&self.path.join(relative), write)
    }

    /// Asks the file system whether it takes files of these names (`/` parts folders) and the
    /// longer ones that they have while they are written: before hours of work, not after.
    ///
    /// # Errors
    /// Wrong input: a name or a whole path is too long for it.
    pub fn takes(&self, names: &[String]) -> Result<()> {
        for name in names {
            let path = files::longest_name(&self.path.join(name));
            let file = path.file_name().unwrap_or_default();
            // Of what is not there, too, it is said first if its name cannot be.
            let asked = [fs::symlink_metadata(&path), fs::symlink_metadata(self.path.join(file))];
            if let Some(e) = asked.into_iter().filter_map(std::result::Result::err).find(is_too_long) {
                return Err(Error::input(format!("{} will not be written", self.path.join(name).display()))
                    .cause(e)
                    .hint("give a shorter `name`, or --results another folder"));
            }
        }
        Ok(())
    }

    /// Where image `index` of `prompt` lies.
    pub fn sample_path(&self, set: SampleSet, prompt: &str, index: usize) -> PathBuf {
        self.path.join(sample_name(set, prompt, index))
    }

    /// Writes one sample with what made it in its text chunk.
    pub fn write_sample(&self, set: SampleSet, index: usize, image: &Rgb, metadata: &ImageMetadata) -> Result<()> {
        let path = self.sample_path(set, &metadata.prompt, index);
        write_png(&path, image, &[("parameters", &metadata.parameters())])
    }

    /// Writes `run.json`: the run is finished now.
    pub fn finish(&self, record: &RunRecord) -> Result<()> {
        let json =
            serde_json::to_string_pretty(record).map_err(|e| Error::run("run.json cannot be written").cause(e))?;
        self.write(RUN_JSON, format!("{json}\n").as_bytes())?;
        self.remove(WARNINGS_JSON)?;
        self.remove(RESAMPLING_JSON)
    }

    /// What earlier processes warned of in this run, whether they came to its end or not. What
    /// cannot be read of it stops nothing.
    pub fn earlier_warnings(&self) -> Vec<String> {
        let recorded = self.any_record().ok().flatten().map(|record| record.warnings).unwrap_or_default();
        let kept = fs::read_to_string(self.path.join(WARNINGS_JSON)).unwrap_or_default();
        let kept: Vec<String> = serde_json::from_str(&kept).unwrap_or_default();
        let new: Vec<String> = kept.into_iter().filter(|warning| !recorded.contains(warning)).collect();
        [recorded, new].concat()
    }

    /// Keeps warnings for the process that comes to the run's end.
    pub fn keep_warnings(&self, warnings: &[String]) -> Result<()> {
        self.write(WARNINGS_JSON, format!("{}\n", serde_json::json!(warnings)).as_bytes())
    }

    fn stored_plan(&self) -> Result<Option<String>> {
        let path = self.path.join(PLAN_TOML);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::input(format!("{} cannot be read", path.display())).cause(e)),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::from(e)),
            _ => Ok(()),
        }
    }
}

/// Whether a name or a path is too long.
fn is_too_long(e: &std::io::Error) -> bool {
    e.kind() == std::io::ErrorKind::InvalidFilename
}
