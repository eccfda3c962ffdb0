//! What will be done: an experiment with no option left open.
//!
//! In: the experiment's file and the `--set` arguments. Out: a [`Plan`], or one error that lists every problem of the
//! file, each with its line and a caret. `resolve` holds all defaults and ranges in one block, `write` turns a plan
//! into TOML that resolves to the same plan, `count` and `estimate` say what a plan will train and need, `fit` whether
//! a card has it.

mod adapter;
pub mod count;
pub mod experiment;
pub mod files;
pub mod local;
mod resolve;
mod sampling;
pub mod text_encoder;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::builtin::Builtin;
use crate::config::experiment::Experiment;
use crate::diffusion::Sampler;
use crate::error::{Error, Result};
use crate::weights::has_weights_ending;
pub use adapter::{Adapter, DreamBooth, Full, Lora, Objective};
pub use sampling::{Unfit, unfit_sampling};

/// The longest name of a run, in bytes: of the 255 that file systems take, what is left beside the longest name that is made of it,
/// that of `weights/<name>.safetensors` while it is written. The number is a process's.
pub const LONGEST_NAME: usize = 255 - "...safetensors.4294967295.tunelab-tmp.tmp".len();

/// The end of a stand-in's name.
const STAND_IN_ENDING: &str = "-stand-in";

/// One experiment, resolved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The results folder's name: a single path component.
    pub name: String,
    /// Seeds everything of the training: adapter, order of the data, crops, flips, noise, timesteps.
    pub seed: u64,
    /// Where the base model comes from.
    pub model: Source,
    /// The photographs and how they become tensors.
    pub dataset: Dataset,
    /// What is trained.
    pub adapter: Adapter,
    /// How a batch and its loss are formed.
    pub objective: Objective,
    /// How it is trained.
    pub train: Train,
    /// How the result is looked at.
    pub eval: Eval,
    /// Somebody else's figures for the same experiment, for the table.
    pub reference: Option<Reference>,
    /// What this plan is run in place of; `None`: it is what its experiment says.
    pub stands_in_for: Option<Original>,
}

/// An experiment's plan, and what is run in its place where its model or pictures cannot be had.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What the experiment says.
    pub plan: Plan,
    /// What its `[stand_in]` makes of it.
    pub stand_in: Option<Plan>,
}

/// Where files come from: the model or the pictures.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A local folder: absolute, and it existed when the plan was made.
    Path(PathBuf),
    /// A repository on Hugging Face.
    HuggingFace {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
        /// A ModelScope repository to try when Hugging Face cannot be reached.
        modelscope: Option<String>,
    },
    /// A repository on ModelScope.
    ModelScope {
        /// `owner/name`.
        repo: String,
        /// Branch, tag or commit.
        revision: String,
    },
    /// Compiled into this program.
    Builtin(Builtin),
}

/// The photographs and how they become tensors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dataset {
    /// Where they come from.
    pub source: Source,
    /// The caption of every picture; `None`: each brings its own.
    pub prompt: Option<String>,
    /// Width and height in pixels: a multiple of 64.
    pub resolution: usize,
    /// Crop the middle; otherwise a random square.
    pub center_crop: bool,
    /// Mirror at random.
    pub random_flip: bool,
    /// How often the empty text takes the caption's place, so that guidance has something to lead away from: 0 to 1.
    pub caption_dropout: f64,
    /// Leave out broken pictures with a warning; otherwise they are an error.
    pub skip_broken: bool,
}

/// What somebody else (a report, a paper) measured for the same experiment.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reference {
    /// The row's name in the table.
    pub label: String,
    /// How many numbers were trained.
    pub trained_parameters: Option<u64>,
    /// Of the whole training.
    pub seconds: Option<f64>,
    /// Of one optimiser step.
    pub seconds_per_step: Option<f64>,
    /// What it ran on.
    pub device: Option<String>,
}

/// What a stand-in stands in for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Original {
    /// The experiment's name.
    pub experiment: String,
    /// Its model, as [`Source::short`] has it.
    pub model: String,
    /// Its pictures, likewise.
    pub dataset: String,
}

/// How long training lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// Passes over the data.
    Epochs(usize),
    /// Optimiser steps.
    Steps(usize),
}

/// How the learning rate goes on after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrScheduler {
    /// Stays.
    Constant,
    /// Falls to 0 on a line.
    Linear,
    /// Falls to 0 on half a cosine.
    Cosine,
    /// Falls to 1e-7 on a line (power 1, as diffusers' default).
    Polynomial,
}

/// The type of the UNet's frozen weights. Where the processor has products in it, what goes into those with them and
/// into those of attention is rounded to it too, but for 3x3 convolutions where there are no tile registers; on a CUDA
/// card all activations are. Everything else is f32: what is trained and its moments, norms' sums, the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Dtype {
    /// 32-bit floats.
    F32,
    /// bfloat16: half the memory, and faster where the processor has instructions for it.
    Bf16,
    /// Half-precision floats, with the loss scaled so that small gradients are not lost: on a CUDA card only.
    F16,
}

/// How the adapter is trained; all ranges are checked.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Train {
    /// Epochs or steps.
    pub length: Length,
    /// Pictures in one forward pass.
    pub batch_size: usize,
    /// Forward passes in one optimiser step.
    pub gradient_accumulation: usize,
    /// Peak learning rate: above 0, at most 1.
    pub learning_rate: f64,
    /// What the rate does after the warm-up.
    pub lr_scheduler: LrScheduler,
    /// Optimiser steps during which the rate rises from 0.
    pub warmup_steps: usize,
    /// Decay of the first moment.
    pub adam_beta1: f64,
    /// Decay of the second moment.
    pub adam_beta2: f64,
    /// Added to the root of the second moment.
    pub adam_epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm.
    pub max_grad_norm: f64,
    /// Min-SNR weighting's gamma.
    pub snr_gamma: Option<f64>,
    /// Strength of the noise that is constant over a channel.
    pub noise_offset: f64,
    /// The type of numbers.
    pub dtype: Dtype,
    /// Products and convolutions of f32 may round their operands to TF32 (10 bits of 23): on a CUDA card only.
    pub tf32: bool,
    /// Compute activations again in the backward pass and do not keep them: slower, smaller, the same gradients.
    pub gradient_checkpointing: bool,
    /// Optimizer steps between two checkpoints; 0 is none but the one that an interrupt writes.
    pub checkpoint_every: usize,
    /// How many checkpoints stay, the newest.
    pub keep_checkpoints: usize,
}

/// How the result is looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Eval {
    /// What is drawn; may be empty: then no picture is.
    pub prompts: Vec<String>,
    /// What guidance leads away from.
    pub negative_prompt: String,
    /// Draw with the untrained model too.
    pub compare_base: bool,
    /// Pictures of each prompt.
    pub images: usize,
    /// Denoising steps: 1 to 1000.
    pub steps: usize,
    /// Classifier-free guidance; 1 is off.
    pub guidance_scale: f64,
    /// The denoising method.
    pub sampler: Sampler,
    /// The first picture's seed; the others count up from it.
    pub seed: u64,
    /// Optimiser steps between two evaluation losses; 0 is never.
    pub every: usize,
}

impl Plan {
    /// Reads and resolves the experiment in `file`, or each of its variants in their order, with the
    /// `--set key.path=value` arguments in `set`.
    ///
    /// Errors: the file cannot be read, or any problem in it; all problems are in the one error.
    pub fn load_all(file: &Path, set: &[String]) -> Result<Vec<Self>> {
        Ok(Planned::load_all(file, set)?.into_iter().map(|planned| planned.plan).collect())
    }

    /// As [`Plan::load_all`], for a file without variants, such as a run's `plan.toml`.
    ///
    /// Errors: also if the file states several variants.
    pub fn load(file: &Path, set: &[String]) -> Result<Self> {
        Self::only(Self::load_all(file, set)?, file)
    }

    /// As [`Plan::load_all`], with the file's text at hand: `file` need not exist, it gives the name and the folder.
    pub fn parse_all(text: &str, file: &Path, set: &[String]) -> Result<Vec<Self>> {
        Ok(Planned::parse_all(text, file, set)?.into_iter().map(|planned| planned.plan).collect())
    }

    /// As [`Plan::parse_all`], for a text without variants.
    pub fn parse(text: &str, file: &Path, set: &[String]) -> Result<Self> {
        Self::only(Self::parse_all(text, file, set)?, file)
    }

    fn only(mut plans: Vec<Self>, file: &Path) -> Result<Self> {
        match (plans.pop(), plans.len()) {
            (Some(plan), 0) => Ok(plan),
            (_, others) => {
                let message =
                    format!("{} states {} variants, and one experiment is wanted", file.display(), others + 1);
                Err(Error::input(message))
            }
        }
    }

    /// This plan as the stand-in for `original`.
    fn in_place_of(self, original: &Self) -> Self {
        let (model, dataset) = (original.model.short(), original.dataset.source.short());
        let original = Original { experiment: original.name.clone(), model, dataset };
        Self { name: format!("{}{STAND_IN_ENDING}", self.name), stands_in_for: Some(original), ..self }
    }

    /// `builtin:mini with builtin:corgi in place of a/model with a/dataset`; nothing where the plan is the experiment's own.
    pub fn in_place(&self) -> Option<String> {
        let Original { model, dataset, .. } = self.stands_in_for.as_ref()?;
        let (own_model, own_dataset) = (self.model.short(), self.dataset.source.short());
        Some(format!("{own_model} with {own_dataset} in place of {model} with {dataset}"))
    }

    /// A valid experiment that says everything; resolving it again gives the same plan, whatever the file's name.
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }
}

impl Planned {
    /// As [`Plan::load_all`], with the stand-ins.
    ///
    /// Errors: also any problem of a stand-in.
    pub fn load_all(file: &Path, set: &[String]) -> Result<Vec<Self>> {
        resolve::resolve(&Experiment::load(file, set)?)
    }

    /// The stand-in alone, which `file` must have; a stand-in's own `plan.toml` has itself.
    pub fn stand_in(self, file: &Path) -> Result<Plan> {
        let itself = self.plan.stands_in_for.is_some().then_some(self.plan);
        self.stand_in.or(itself).ok_or_else(|| {
            Error::input(format!("{} has no [stand_in] table", file.display()))
                .hint("leave out --stand-in, or say in [stand_in] what differs, such as model.builtin = \"mini\"")
        })
    }

    /// As [`Planned::load_all`], with the file's text at hand: `file` need not exist, it gives the name and the folder.
    pub fn parse_all(text: &str, file: &Path, set: &[String]) -> Result<Vec<Self>> {
        resolve::resolve(&Experiment::parse(text, file, set)?)
    }
}

impl Source {
    /// What `--model` names: `builtin:mini`, a folder or file that exists, otherwise a repository `owner/name` on Hugging Face.
    ///
    /// Errors: none of them.
    pub fn from_argument(text: &str) -> Result<Self> {
        if let Some(name) = text.strip_prefix("builtin:") {
            return Self::builtin_model(name);
        }
        // A file is named for what it is where its folder would be read.
        if let Ok(path) = fs_err::canonicalize(text) {
            return Ok(Self::Path(path));
        }
        if has_weights_ending(text) {
            return Err(Error::input(format!("no model: there is no file {text:?}")).hint(
                "give a folder in diffusers' layout or a repository's `owner/name`; single files are not read yet",
            ));
        }
        if is_repository(text) {
            return Ok(Self::HuggingFace { repo: text.into(), revision: "main".into(), modelscope: None });
        }
        Err(Error::input(format!("no model: {text:?} is neither a folder here nor a repository's `owner/name`")))
    }

    fn builtin_model(name: &str) -> Result<Self> {
        if let Some((_, builtin)) = Builtin::MODELS.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Builtin(*builtin));
        }
        let known = Builtin::MODELS.map(|(_, builtin)| builtin.to_string()).join(", ");
        Err(Error::input(format!("no model called {name:?} is built in")).hint(format!("there is {known}")))
    }

    /// `builtin:mini`, `owner/name`, or a folder's last name: no path of this machine goes into what is shared.
    pub fn short(&self) -> String {
        match self {
            Self::Path(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            Self::HuggingFace { repo, .. } | Self::ModelScope { repo, .. } => repo.clone(),
            Self::Builtin(builtin) => builtin.to_string(),
        }
    }

    /// Is it on this machine by its very nature, so that no hub is ever asked?
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Path(_) | Self::Builtin(_))
    }
}

/// `owner/name` as the hubs allow it.
fn is_repository(text: &str) -> bool {
    let plain = |part: &str| part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    let parts: Vec<&str> = text.split('/').collect();
    parts.len() == 2 && parts.iter().all(|part| !part.is_empty() && !part.starts_with('.') && plain(part))
}

impl Train {
    /// Optimiser steps of the whole run on `pictures` photographs: an epoch's last batch and last accumulation may be
    /// smaller than the others, as in diffusers.
    pub fn total_steps(&self, pictures: usize) -> usize {
        match self.length {
            Length::Steps(steps) => steps,
            Length::Epochs(epochs) => epochs * self.steps_per_epoch(pictures),
        }
    }

    /// Optimiser steps of one pass over `pictures` photographs.
    pub fn steps_per_epoch(&self, pictures: usize) -> usize {
        pictures.div_ceil(self.batch_size).div_ceil(self.gradient_accumulation)
    }
}

impl LrScheduler {
    pub(crate) const NAMES: [(&'static str, Self); 4] = [
        ("constant", Self::Constant),
        ("linear", Self::Linear),
        ("cosine", Self::Cosine),
        ("polynomial", Self::Polynomial),
    ];
}

impl fmt::Display for LrScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, s)| s == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Dtype {
    pub(crate) const NAMES: [(&'static str, Self); 3] = [("f32", Self::F32), ("bf16", Self::Bf16), ("f16", Self::F16)];
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, dtype)| dtype == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}
