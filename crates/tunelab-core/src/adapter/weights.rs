//! What a method is given at a run's end: the trained networks with all that is said of them in
//! files, and the folder to write into.

use crate::config::Plan;
use crate::data::Picture;
use crate::diffusion::NoiseSchedule;
use crate::error::Result;
use crate::model::build::Parameters;
use crate::pipeline::ModelFiles;
use crate::pipeline::original_names::UnetLevels;
use crate::results::{RunDir, TrainingSummary};
use crate::weights::PartName;
use std::collections::BTreeMap;
use std::path::Path;

/// The trained model, and what it was made from.
pub struct TrainedModel<'a> {
    /// How it was trained.
    pub plan: &'a Plan,
    /// The base model's files.
    pub files: &'a ModelFiles,
    /// SHA-256 of the base model's file, if it is one file.
    pub file_sha256: Option<&'a str>,
    /// The UNet's tensors.
    pub unet: &'a Parameters,
    /// What decides the numbers in the original names of the UNet's tensors.
    pub unet_levels: UnetLevels,
    /// The text encoders' tensors, if they are trained.
    pub text_encoders: &'a BTreeMap<PartName, Parameters>,
    /// Levels of the VAE.
    pub vae_levels: usize,
    /// The model's noise schedule.
    pub schedule: &'a NoiseSchedule,
    /// The photographs.
    pub pictures: &'a [Picture],
    /// How many class images there are.
    pub class_images: usize,
    /// How the training ended.
    pub ending: &'a TrainingSummary,
}

/// A folder of weights in a run's folder, and what was written into it.
pub struct WeightsFolder<'a> {
    run: &'a RunDir,
    folder: String,
    files: Vec<String>,
}

impl<'a> WeightsFolder<'a> {
    /// The folder `folder` of this run, with nothing written yet.
    pub fn new(run: &'a RunDir, folder: String) -> Self {
        Self { run, folder, files: Vec::new() }
    }

    /// Writes the file `name`, a path in the folder.
    pub fn write(&mut self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let name = format!("{}/{name}", self.folder);
        self.run.write_with(&name, write)?;
        self.files.push(name);
        Ok(())
    }

    /// Copies a file.
    pub fn copy(&mut self, from: &Path, name: &str) -> Result<()> {
        self.write(name, |path| {
            fs_err::copy(from, path)?;
            Ok(())
        })
    }

    /// The names of all that was written, as paths in the run's folder.
    pub fn into_files(self) -> Vec<String> {
        self.files
    }
}
