//! What a run leaves behind: the layout of its folder, and the only code that writes files there.
//!
//! In: a results folder, the experiment's name, the text of its resolved plan. Out: [`RunDir`], through which the rest of
//! the program writes `plan.toml`, the logs, pictures, weights and, last of all, `run.json`:
//!
//! ```text
//! results/lora_dog/
//!   plan.toml              resolved, runnable; written first
//!   loss.csv eval.csv      what a rerun repeats exactly
//!   timing.csv             seconds and memory: never compared
//!   loss.png loss.svg      drawn from the two logs
//!   samples/{base,tuned}/<prompt>/<index>.png
//!   grid.png  data.png  weights/  checkpoints/
//!   run.json               written last: present means finished
//! ```
//!
//! Files appear under a temporary name and are renamed; only the logs grow in place, a row at a time, so that a run that
//! fails keeps all before it. A folder that holds another plan, or that no run wrote, is never touched.

mod changes;
mod ending;
mod files;
mod lock;
mod logs;
mod machine;
mod names;
mod picture;
mod record;

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::data::Rgb;
use crate::error::{Error, Result, is_full};
use changes::{Change, change};
use lock::Lock;

pub use ending::Ending;
pub use files::{write_atomic, write_with};
pub use logs::{EVAL_CSV, LOSS_CSV, LossLog, LossRow, TIMING_CSV};
pub use machine::{Gpu, Machine, forget_peak_memory, memory_now_mib, peak_memory_mib};
pub use names::{run_folder, slug};
pub use picture::{Shot, read_text, write_figure, write_png};
pub use record::{Counts, Hashes, Loss, PeakMemory, RunRecord, Seconds, StandIn, Status, Versions};

/// The resolved plan, first file of a run.
pub const PLAN_TOML: &str = "plan.toml";
/// The trained adapter in a run's `weights/`, by the name that diffusers looks for.
pub const LORA_FILE: &str = "pytorch_lora_weights.safetensors";
/// The record, last file of a run.
pub const RUN_JSON: &str = "run.json";
/// The record while a finished run's pictures are drawn again.
const RESAMPLING_JSON: &str = "resampling.json";

/// Everything a run may write, as `--force` removes it; whatever else lies in the folder stays.
const WRITTEN: [&str; 13] = [
    RUN_JSON,
    RESAMPLING_JSON,
    LOSS_CSV,
    EVAL_CSV,
    TIMING_CSV,
    "loss.png",
    "loss.svg",
    "grid.png",
    "data.png",
    "samples",
    "weights",
    "checkpoints",
    PLAN_TOML,
];

/// Which model made a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Model {
    /// The model as it was loaded.
    Base,
    /// The model after training.
    Tuned,
}

impl Model {
    /// The folder's name under `samples/`, and the word on the grid.
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Tuned => "tuned",
        }
    }
}

/// The folder of one run.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    /// Of a run that is written to.
    _lock: Option<Lock>,
}

/// What was found where the run's folder should be.
#[derive(Debug)]
pub enum Opened {
    /// Nothing, or another plan that left nothing, or the caller forced a new start: the folder holds `plan.toml` only.
    Fresh(RunDir),
    /// The same plan, cut off before its end; whatever it wrote is still there.
    Unfinished(RunDir),
    /// Trained to its end, and then what `[eval]` says of pictures changed: only pictures are missing.
    Resample(RunDir),
    /// The same plan, run to its end: there is nothing to do.
    Finished(RunDir),
}

impl RunDir {
    /// Opens the folder of experiment `name` under `results`, making both where needed, and writes `plan_toml` (the text
    /// of the resolved plan) into a fresh one. With `force`, what an earlier run wrote there is removed first.
    ///
    /// # Errors
    /// Wrong input: the folder holds another plan, files that are no run's, another process writes there
    /// now, or `results` cannot be written.
    pub fn open(results: &Path, name: &str, plan_toml: &str, force: bool) -> Result<Opened> {
        let path = results.join(run_folder(name));
        fs::create_dir_all(&path).map_err(|e| unwritable(results, e))?;
        let run = Self { path, _lock: Some(Lock::take(results, &run_folder(name))?) };
        match run.stored_plan()? {
            Some(_) if force => run.clear()?,
            Some(stored) if change(&stored, plan_toml) == Change::Training && run.holds_only_its_plan()? => {}
            Some(stored) => return run.reopen(&stored, plan_toml, results),
            None => run.must_be_empty()?,
        }
        run.write_plan(plan_toml, results)?;
        Ok(Opened::Fresh(run))
    }

    fn reopen(self, stored: &str, wanted: &str, results: &Path) -> Result<Opened> {
        let trained = self.is_finished() || self.path.join(RESAMPLING_JSON).is_file();
        match change(stored, wanted) {
            Change::Nothing => {}
            Change::Words => self.write_plan(wanted, results)?,
            // What is there stays until it is known that other pictures can be drawn.
            Change::Pictures if trained => return Ok(Opened::Resample(self)),
            Change::Pictures => self.forget_pictures(wanted)?,
            Change::Training => return Err(self.holds_another_plan()),
        }
        Ok(match (self.is_finished(), trained) {
            (true, _) => Opened::Finished(self),
            (false, true) => Opened::Resample(self),
            (false, false) => {
                files::remove_temporaries(&self.path)?;
                Opened::Unfinished(self)
            }
        })
    }

    fn write_plan(&self, plan_toml: &str, results: &Path) -> Result<()> {
        let plan = self.path.join(PLAN_TOML);
        files::atomically(&plan, |path| fs::write(path, plan_toml)).map_err(|e| unwritable(results, e))
    }

    /// The record goes aside first and the plan changes last, so that a cut at any point leaves a run that says that its
    /// pictures are to be drawn.
    fn forget_pictures(&self, plan_toml: &str) -> Result<()> {
        if self.is_finished() {
            fs::rename(self.path.join(RUN_JSON), self.path.join(RESAMPLING_JSON))?;
        }
        self.remove("samples")?;
        self.remove("grid.png")?;
        self.write(PLAN_TOML, plan_toml.as_bytes())
    }

    /// What a run that is trained recorded, before its pictures are drawn again or while they are.
    ///
    /// # Errors
    /// Wrong input: the record is damaged.
    pub fn earlier_record(&self) -> Result<RunRecord> {
        self.read_record(if self.is_finished() { RUN_JSON } else { RESAMPLING_JSON })
    }

    /// Begins to draw a trained run's pictures for the plan `plan_toml`: those of another plan are removed, those that a cut-off
    /// drawing left stay.
    pub fn begin_resampling(&self, plan_toml: &str) -> Result<()> {
        match self.stored_plan()? {
            Some(stored) if change(&stored, plan_toml) == Change::Pictures => self.forget_pictures(plan_toml),
            _ => Ok(()),
        }
    }

    /// What a finished run recorded.
    ///
    /// # Errors
    /// Wrong input: the record is damaged.
    pub fn record(&self) -> Result<RunRecord> {
        self.read_record(RUN_JSON)
    }

    fn read_record(&self, name: &str) -> Result<RunRecord> {
        let path = self.path.join(name);
        serde_json::from_str(&fs::read_to_string(&path)?).map_err(|e| {
            Error::input(format!("{} cannot be read", path.display()))
                .cause(e)
                .hint("give --force to remove the results and start over")
        })
    }

    /// Whether `results` holds this very plan, run to its end, so that [`Self::open`] would find it finished.
    pub fn is_done(results: &Path, name: &str, plan_toml: &str) -> Result<bool> {
        let run = Self { path: results.join(run_folder(name)), _lock: None };
        let same = |stored: String| matches!(change(&stored, plan_toml), Change::Nothing | Change::Words);
        Ok(run.is_finished() && run.stored_plan()?.is_some_and(same))
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

    /// As [`Self::write`], for writers that want a path of their own (weights): `write` gets the temporary one.
    pub fn write_with(&self, relative: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        write_with(&self.path.join(relative), write)
    }

    /// Where picture `index` of `prompt` lies.
    pub fn sample_path(&self, model: Model, prompt: &str, index: usize) -> PathBuf {
        self.path.join("samples").join(model.name()).join(slug(prompt)).join(format!("{index}.png"))
    }

    /// Writes one sample with what made it in its text chunk.
    pub fn write_sample(&self, model: Model, index: usize, picture: &Rgb, shot: &Shot) -> Result<()> {
        let path = self.sample_path(model, &shot.prompt, index);
        write_png(&path, picture, &[("parameters", &shot.parameters())])
    }

    /// Writes `run.json`: the run is finished now.
    pub fn finish(&self, record: &RunRecord) -> Result<()> {
        let json =
            serde_json::to_string_pretty(record).map_err(|e| Error::run("run.json cannot be written").cause(e))?;
        self.write(RUN_JSON, format!("{json}\n").as_bytes())?;
        self.remove(RESAMPLING_JSON)
    }

    fn stored_plan(&self) -> Result<Option<String>> {
        let path = self.path.join(PLAN_TOML);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::input(format!("{} cannot be read", path.display())).cause(e)),
        }
    }

    /// Removes all that a run wrote; its record goes first and its plan last, so that a cut leaves an unfinished run.
    fn clear(&self) -> Result<()> {
        files::remove_temporaries(&self.path)?;
        WRITTEN.iter().try_for_each(|name| self.remove(name))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path.join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::from(e)),
            _ => Ok(()),
        }
    }

    /// Whether the run ended before it left anything, say at a folder of pictures that is not there: a plan with that
    /// mistake mended may take its place.
    fn holds_only_its_plan(&self) -> Result<bool> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if name != PLAN_TOML && !files::is_temporary(&name) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn must_be_empty(&self) -> Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if !files::is_temporary(&name) {
                return Err(Error::input(format!(
                    "{} holds {}, which no run wrote, and no {PLAN_TOML}",
                    self.path.display(),
                    Path::new(&name).display()
                ))
                .hint("move those files away, give another --results folder, or rename the experiment's file"));
            }
        }
        Ok(())
    }

    fn holds_another_plan(&self) -> Error {
        let state = if self.is_finished() { "the results of" } else { "an unfinished run of" };
        Error::input(format!("{} holds {state} another plan", self.path.display())).hint(
            "give --force to remove them and start over, another --results folder, or rename the experiment's file; \
             compare the plan.toml there with what `tunelab plan` prints",
        )
    }
}

fn unwritable(results: &Path, cause: std::io::Error) -> Error {
    if is_full(&cause) {
        return Error::from(cause);
    }
    Error::input(format!("the results folder {} cannot be written", results.display()))
        .cause(cause)
        .hint("give a folder that can be written with --results DIR")
}
