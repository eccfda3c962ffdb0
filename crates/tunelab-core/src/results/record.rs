//! `run.json`: what was run, on what, and what came of it.
//!
//! In: values that the run collected. Out: the one file that the tables and pages are made from.
//! Present means finished.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hashes::Hashes;
use super::machine::Machine;
use super::metrics_record::MetricsRecord;

/// How a run ended. A run that did not end leaves no record, so there is one way today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Every file of the run is there.
    Finished,
}

/// The whole of `run.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// How the run ended.
    pub status: Status,
    /// The experiment's name.
    pub name: String,
    /// What it stands in for, and why; nothing for an experiment's own run.
    pub stand_in: Option<StandIn>,
    /// The way of fine-tuning: the adapter's name in the experiment.
    pub method: String,
    /// What was trained on: `cpu`, `cuda:0`, `metal`.
    pub device: String,
    /// The number format of the weights that are trained: `f32`.
    pub dtype: String,
    /// Sizes that need no clock.
    pub counts: Counts,
    /// The losses at the end.
    pub loss: Loss,
    /// What the images were measured to be; nothing where no encoder was asked for or could be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsRecord>,
    /// How long it took.
    pub seconds: Seconds,
    /// The most memory that was in use.
    pub peak_memory: PeakMemory,
    /// The share of the optimizer steps' time during which the accelerator computed, in per cent;
    /// nothing where its driver does not tell.
    #[serde(default)]
    pub device_busy_percent: Option<f64>,
    /// Whether optimizer steps were launched as CUDA graphs; nothing where it was not tried: on
    /// other devices, with dropout, or where no shape came twice.
    #[serde(default)]
    pub cuda_graphs: Option<bool>,
    /// The program and what it is made of.
    pub versions: Versions,
    /// The computer.
    pub machine: Machine,
    /// All that went in.
    pub hashes: Hashes,
    /// What was passed over, cut or clamped on the way, as it was told then.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The weights and images that came out, by their path in the run's folder: a run is finished
    /// while all of them are there.
    #[serde(default)]
    pub files: Vec<String>,
}

/// What a stand-in stands in for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandIn {
    /// The experiment's name.
    pub experiment: String,
    /// What was run in place of what: `builtin:mini with builtin:corgi in place of a/model with
    /// a/dataset`.
    pub what: String,
    /// Why it was run.
    pub why: String,
}

/// Sizes that need no clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Parameters that were trained.
    pub trained_parameters: u64,
    /// Parameters of the whole model (text encoder, `UNet`, VAE), without what was added for
    /// training.
    pub total_parameters: u64,
    /// Images in the data set.
    pub images: usize,
    /// Optimizer steps.
    pub steps: usize,
    /// Epochs, the last one perhaps begun only.
    pub epochs: usize,
}

/// The losses at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Loss {
    /// The last step's loss.
    #[serde(rename = "final")]
    pub last: Option<f32>,
    /// The fixed-noise evaluation loss before the first step.
    pub eval_first: Option<f32>,
    /// The fixed-noise evaluation loss after the last one that was evaluated.
    pub eval_last: Option<f32>,
}

/// How long it took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// From reading the experiment to writing this record, in all processes that worked on the run,
    /// as far as it is known.
    pub total: f64,
    /// Every optimizer step, whichever process took it.
    pub training: f64,
    /// All samples, those that were drawn again too.
    pub sampling: f64,
    /// Measuring the samples, those that were measured again too.
    #[serde(default)]
    pub measuring: f64,
    /// One optimizer step, averaged over all.
    pub per_step: f64,
}

/// The most memory that was in use by any process that worked on the run, MiB; nothing where the
/// system does not tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeakMemory {
    /// This process's share of the computer's memory.
    pub host_mib: Option<f64>,
    /// The accelerator's memory.
    pub device_mib: Option<f64>,
}

/// The program and what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// This crate's version.
    pub tunelab: String,
    /// The commit it was built from, where it was built from a repository.
    pub commit: Option<String>,
    /// The compiler.
    pub rustc: Option<String>,
    /// The crates that can change the numbers.
    pub crates: BTreeMap<String, String>,
}
