//! Checkpoints: everything that a run needs to go on as if it had never been cut off.
//!
//! In: a trainer between two steps. Out: `checkpoints/step-<n>.safetensors` with the trained
//! tensors, what the optimizer keeps of each, the number of steps and of batches drawn. Data order,
//! noise and schedule are functions of these two numbers, so nothing else has to be kept. A
//! checkpoint appears under its name only when it is whole; then the older ones are removed. It
//! carries a hash of its content: one that is damaged is passed over for the one before it.

use crate::error::{Error, Result};
use crate::hash;
use crate::results::{CHECKPOINTS, RunDir};
use crate::weights::{Weights, write_safetensors};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The key of the content's hash in the file's metadata.
const CONTENT: &str = "sha256";

/// The state of a trainer between two steps.
pub struct Checkpoint {
    /// Optimizer steps done.
    pub step: usize,
    /// Batches drawn.
    pub draws: u64,
    /// A hash of all that goes in: a checkpoint of other inputs is not gone on from.
    pub inputs: String,
    /// Trained tensors and what is kept of each, by [`tensor_name`].
    pub tensors: BTreeMap<String, Tensor>,
}

/// The name in a checkpoint of what is kept of the trained tensor `name`: its `value`, its
/// `average`, and what the optimizer keeps by torch's names. Of these the two running averages have
/// the names that the first checkpoints gave them.
pub fn tensor_name(what: &str, name: &str) -> String {
    let what = match what {
        "exp_avg" => "moment1",
        "exp_avg_sq" => "moment2",
        other => other,
    };
    format!("{what}.{name}")
}

impl Checkpoint {
    /// Writes the checkpoint into the run's folder and keeps the newest `keep`.
    pub fn write(&self, run: &RunDir, keep: usize) -> Result<()> {
        let metadata = BTreeMap::from([
            ("step".to_owned(), self.step.to_string()),
            ("draws".to_owned(), self.draws.to_string()),
            ("inputs".to_owned(), self.inputs.clone()),
            (CONTENT.to_owned(), self.content()?),
        ]);
        let name = format!("{CHECKPOINTS}/step-{:08}.safetensors", self.step);
        run.write_with(&name, |file| write_safetensors(file, &self.tensors, &metadata))?;
        for (_, old) in list(run.path())?.into_iter().rev().skip(keep.max(1)) {
            fs_err::remove_file(old)?;
        }
        Ok(())
    }

    /// The newest sound checkpoint of the run, if it has one. Newer ones are removed, and `warn`
    /// hears what is wrong with them.
    pub fn newest(run: &RunDir, warn: &mut dyn FnMut(String)) -> Result<Option<Self>> {
        let mut damage = Vec::new();
        let mut sound = None;
        for (_, file) in list(run.path())?.into_iter().rev() {
            if Weights::open(std::slice::from_ref(&file)).is_ok_and(|weights| !weights.metadata().contains_key(CONTENT))
            {
                let message = format!("{}: an earlier version wrote this checkpoint, without a hash", file.display());
                return Err(Error::input(message).hint("go on with that version, or start over with --force"));
            }
            match Self::read(&file) {
                Ok(checkpoint) => {
                    sound = Some(checkpoint);
                    break;
                }
                Err(e) => damage.push((file, e.line())),
            }
        }
        if !damage.is_empty() {
            let what = damage.iter().map(|(_, what)| what.as_str()).collect::<Vec<_>>().join("; ");
            let next = sound.as_ref().map(|checkpoint| format!("goes back to step {}", checkpoint.step));
            let next = next.unwrap_or_else(|| "starts over, as there is none before".to_owned());
            warn(format!("damaged checkpoint, so the training {next}: {what}"));
        }
        // Not before it is known what takes their place.
        damage.iter().try_for_each(|(file, _)| fs_err::remove_file(file))?;
        Ok(sound)
    }

    /// The step of the run's last checkpoint, if it has one.
    pub fn last_step(run: &RunDir) -> Result<Option<usize>> {
        Ok(list(run.path())?.pop().map(|(step, _)| step))
    }

    /// Errors: the file is damaged.
    fn read(file: &Path) -> Result<Self> {
        let damaged = |what: &str| Error::input(format!("{}: {what}", file.display()));
        let weights = Weights::open(&[file.to_owned()])?;
        let text = |key: &str| weights.metadata().get(key).ok_or_else(|| damaged(&format!("it says no `{key}`")));
        let number = |key: &str| text(key)?.parse::<u64>().map_err(|_| damaged(&format!("its `{key}` is no number")));
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        let load = |name: String| Ok((name.clone(), weights.load(&name, &Device::Cpu, DType::F32)?));
        let checkpoint = Self {
            step: number("step")? as usize,
            draws: number("draws")?,
            inputs: text("inputs")?.clone(),
            tensors: names.into_iter().map(load).collect::<Result<_>>()?,
        };
        if *text(CONTENT)? == checkpoint.content()? {
            Ok(checkpoint)
        } else {
            Err(damaged("its content is not what was written"))
        }
    }

    /// A hash of all that the checkpoint holds.
    fn content(&self) -> Result<String> {
        let tensor = |(name, tensor): (&String, &Tensor)| -> Result<String> {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
            Ok(hash::key(&[name, &format!("{:?}", tensor.dims()), &hash::sha256(&bytes)]))
        };
        let tensors: Vec<String> = self.tensors.iter().map(tensor).collect::<Result<_>>()?;
        let (step, draws) = (self.step.to_string(), self.draws.to_string());
        let parts = [&step, &draws, &self.inputs].into_iter().chain(&tensors);
        Ok(hash::key(&parts.map(String::as_str).collect::<Vec<_>>()))
    }
}

/// The checkpoints of a run by their step, the newest last.
fn list(run: &Path) -> Result<Vec<(usize, PathBuf)>> {
    let folder = run.join(CHECKPOINTS);
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
