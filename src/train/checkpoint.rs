//! Checkpoints: everything that a run needs to go on as if it had never been cut off.
//!
//! In: a trainer between two steps. Out: `checkpoints/step-<n>.safetensors` with the trained tensors, both moments, the
//! number of steps and of batches drawn. Data order, noise and schedule are functions of these two numbers, so nothing
//! else has to be kept. A checkpoint appears under its name only when it is whole; then the older ones are removed.

use crate::assets::{Weights, write_safetensors};
use crate::error::{Error, Result};
use crate::results::RunDir;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The folder inside a run's.
const FOLDER: &str = "checkpoints";

/// The state of a trainer between two steps.
pub struct Checkpoint {
    /// Optimizer steps done.
    pub step: usize,
    /// Batches drawn.
    pub draws: u64,
    /// A hash of the model's files and the pictures: another run's checkpoint is not gone on from.
    pub inputs: String,
    /// Trained tensors (`value.<name>`) and moments (`moment1.<name>`, `moment2.<name>`).
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// Writes the checkpoint into the run's folder and keeps the newest `keep`.
    pub fn write(&self, run: &RunDir, keep: usize) -> Result<()> {
        let metadata = BTreeMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("draws".to_owned(), self.draws.to_string()),
            ("inputs".to_owned(), self.inputs.clone()),
        ]);
        let name = format!("{FOLDER}/step-{:08}.safetensors", self.step);
        run.write_with(&name, |file| write_safetensors(file, &self.tensors, &metadata))?;
        for (_, old) in list(run.path())?.into_iter().rev().skip(keep.max(1)) {
            fs_err::remove_file(old)?;
        }
        Ok(())
    }

    /// The newest checkpoint of the run, if it has one.
    pub fn newest(run: &RunDir) -> Result<Option<Self>> {
        list(run.path())?.pop().map(|(_, file)| Self::read(&file)).transpose()
    }

    fn read(file: &Path) -> Result<Self> {
        let damaged = || {
            Error::input(format!("{}: not a checkpoint of this program", file.display()))
                .hint("remove it to go on from the one before, or run with --force to start over")
        };
        let weights = Weights::open(&[file.to_owned()]).map_err(|e| damaged().cause(e.message()))?;
        let number = |key: &str| weights.metadata().get(key).and_then(|n| n.parse::<u64>().ok()).ok_or_else(damaged);
        let (step, draws) = (number("step")? as usize, number("draws")?);
        let inputs = weights.metadata().get("inputs").cloned().ok_or_else(damaged)?;
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        let load = |name: String| Ok((name.clone(), weights.load(&name, &Device::Cpu, DType::F32)?));
        Ok(Self { step, draws, inputs, tensors: names.into_iter().map(load).collect::<Result<_>>()? })
    }
}

/// The checkpoints of a run by their step, the newest last.
fn list(run: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let folder = run.join(FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let step = name.strip_prefix("step-").and_then(|n| n.strip_suffix(".safetensors")).and_then(|n| n.parse().ok());
        found.extend(step.map(|step| (step, path)));
    }
    found.sort();
    Ok(found)
}
