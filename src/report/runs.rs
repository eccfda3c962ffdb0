//! The runs of a results tree, as tables and pages read them.
//!
//! In: folders that `tunelab run` wrote. Out: [`Run`]: the record and the plan of a finished run.
//! Plans are read as data, not resolved, so that results of earlier versions stay readable.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::config::{Reference, about, rename_old_keys};
use crate::error::{Error, Result};
use crate::results::{PLAN_TOML, RUN_JSON, RunRecord};

/// A finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its folder.
    pub path: PathBuf,
    /// Its `run.json`.
    pub record: RunRecord,
    /// Its `plan.toml`.
    pub plan: toml::Table,
    /// The comment that opens the plan.
    pub about: Option<String>,
}

/// The folder of a run, finished or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Folder {
    /// Its path.
    pub path: PathBuf,
    /// Its `plan.toml`.
    pub plan: toml::Table,
    /// The comment that opens the plan.
    pub about: Option<String>,
}

/// The runs of a tree.
#[derive(Debug, Default)]
pub struct Runs {
    /// Sorted by name.
    pub finished: Vec<Run>,
    /// Folders of runs without their record, sorted.
    pub unfinished: Vec<PathBuf>,
}

impl Runs {
    /// Reads a results folder. A run that cannot be read is left out; `warn` gets the reason.
    pub fn read(results: &Path, warn: &mut dyn FnMut(String)) -> Result<Self> {
        let missing = |e| {
            Error::input(format!("the results folder {} cannot be read", results.display()))
                .cause(e)
                .hint("run an experiment first, or name the folder with --results DIR")
        };
        let mut runs = Self::default();
        for entry in fs::read_dir(results).map_err(missing)? {
            let path = entry?.path();
            if path.join(RUN_JSON).is_file() {
                match Run::open(&path) {
                    Ok(run) => runs.finished.push(run),
                    Err(e) => warn(format!("{} is left out: {}", path.display(), e.line())),
                }
            } else if path.join(PLAN_TOML).is_file() {
                runs.unfinished.push(path);
            }
        }
        runs.finished.sort_by(|a, b| (&a.record.name, &a.path).cmp(&(&b.record.name, &b.path)));
        runs.unfinished.sort();
        Ok(runs)
    }
}

impl Folder {
    /// Reads the plan of a run's folder.
    ///
    /// # Errors
    /// Wrong input: `plan.toml` cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = path.join(PLAN_TOML);
        let text = fs::read_to_string(&file).map_err(|e| broken(&file).cause(e))?;
        let mut plan = toml::from_str(&text).map_err(|e| broken(&file).cause(e.message()))?;
        rename_old_keys(&mut plan);
        Ok(Self { path: path.to_path_buf(), plan, about: about(&text) })
    }

    /// The name that the plan gives the run, else the folder's.
    pub fn name(&self) -> String {
        self.plan.get("name").and_then(toml::Value::as_str).map_or_else(|| self.folder(), str::to_owned)
    }

    /// The name of the folder, as links begin.
    pub fn folder(&self) -> String {
        folder_name(&self.path)
    }
}

fn broken(file: &Path) -> Error {
    Error::input(format!("{} cannot be read", file.display()))
}

/// The name as it is in the tree, also of a link; of a path such as `.` the folder's own.
fn folder_name(path: &Path) -> String {
    if let Some(name) = path.file_name() {
        return name.to_string_lossy().into_owned();
    }
    let name = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    name.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Run {
    /// Reads the folder of one finished run.
    ///
    /// # Errors
    /// Wrong input: there is no `run.json`, or it or `plan.toml` cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let (record, plan) = (path.join(RUN_JSON), path.join(PLAN_TOML));
        if !record.is_file() {
            let hint = if plan.is_file() {
                let results = path.parent().unwrap_or(Path::new(".")).display();
                format!("the run was cut off; `tunelab run {} --results {results}` goes on with it", plan.display())
            } else {
                "give a folder that `tunelab run` wrote, such as results/lora_dog".to_string()
            };
            let message = format!("{} is not the folder of a finished run: it holds no {RUN_JSON}", path.display());
            return Err(Error::input(message).hint(hint));
        }
        let text = fs::read_to_string(&record)?;
        let record = serde_json::from_str(&text).map_err(|e| broken(&record).cause(e))?;
        let Folder { path, plan, about } = Folder::open(path)?;
        Ok(Self { path, record, plan, about })
    }

    /// The name that tables and images show.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The name of its folder, as links begin.
    pub fn folder(&self) -> String {
        folder_name(&self.path)
    }

    /// The device with the card's name where that is beyond doubt: `cuda:0, NVIDIA A10`.
    pub fn device(&self) -> String {
        let RunRecord { device, machine, .. } = &self.record;
        match machine.gpus.first() {
            Some(gpu) if device.starts_with("cuda") && machine.gpus.iter().all(|other| other.name == gpu.name) => {
                format!("{device}, {}", gpu.name)
            }
            _ => device.clone(),
        }
    }

    /// The plan's `[reference]`, where it has one with a label.
    pub fn reference(&self) -> Option<Reference> {
        let table = self.plan.get("reference")?.as_table()?;
        let number = |key: &str| {
            let value = table.get(key)?;
            value.as_float().or_else(|| value.as_integer().map(|whole| whole as f64))
        };
        let text = |key: &str| table.get(key)?.as_str().map(str::to_string);
        let trained = table.get("trained_parameters").and_then(toml::Value::as_integer);
        Some(Reference {
            label: text("label")?,
            trained_parameters: trained.and_then(|count| u64::try_from(count).ok()),
            seconds: number("seconds"),
            seconds_per_step: number("seconds_per_step"),
            device: text("device"),
            dino: number("dino"),
            clip_i: number("clip_i"),
            clip_t: number("clip_t"),
            pres: number("pres"),
        })
    }
}
