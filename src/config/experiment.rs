//! What a person may write: one TOML file, and `--set key.path=value` arguments on top of it.
//!
//! In: the file's text and the arguments. Out: an [`Experiment`], a tree of values that all remember where they were
//! written, so that every later complaint can point at its line. The tree says nothing about which keys exist: those
//! are named once, with type, range and default, in [`crate::plan`], which reads the tree through `Section`.
//!
//! # The keys
//!
//! | key | value | default |
//! |---|---|---|
//! | `name` | folder of the results | the file's name without `.toml` |
//! | `seed` | whole number | 42 |
//! | `model.builtin` | `mini`: the small model that this program brings along; stands alone | |
//! | `model.path` | folder in diffusers' layout; wins over `repo` and `modelscope` | |
//! | `model.repo` | repository on Hugging Face, `owner/name` | |
//! | `model.modelscope` | repository on ModelScope, used when Hugging Face cannot be reached or `repo` is not given | |
//! | `model.revision` | branch, tag or commit of `repo` (of `modelscope` where there is no `repo`) | `main` (`master`) |
//! | `dataset.path`, `.repo`, `.modelscope`, `.revision` | as for the model | |
//! | `dataset.builtin` | `corgi`: five small pictures of one dog | |
//! | `dataset.prompt` | the caption of every picture; without it each needs its own | |
//! | `dataset.resolution` | 64 to 2048, a multiple of 64 | 512 |
//! | `dataset.center_crop` | `false`: crop at random | true |
//! | `dataset.random_flip` | mirror every second picture, at random | true |
//! | `dataset.caption_dropout` | 0 to below 1: how often the empty text takes a caption's place | 0 |
//! | `dataset.skip_broken` | leave out files that are no pictures, with a warning | false |
//! | `adapter.lora.rank` | 1 to 1024 | 4 |
//! | `adapter.lora.alpha` | above 0; the update is scaled by alpha / rank | the rank |
//! | `adapter.lora.targets` | ends of module names | `to_q to_k to_v to_out.0` |
//! | `adapter.lora.dropout` | 0 to below 1 | 0 |
//! | `adapter.lora.text_encoder` | also beside the text encoder's attention | false |
//! | `adapter.full.text_encoder` | also every weight of the text encoder | false |
//! | `adapter.full.ema_decay` | above 0, below 1: save a moving average of the weights | none |
//! | `adapter.full.single_file` | also write one checkpoint of the whole model | false |
//! | `adapter.dreambooth.class_prompt` | what the class images show; `dataset.prompt` is the subject's name | |
//! | `adapter.dreambooth.class_images` | how many | 100 |
//! | `adapter.dreambooth.class_path` | folder of your own class images; none are made then | |
//! | `adapter.dreambooth.prior_loss_weight` | from 0 | 1 |
//! | `adapter.dreambooth.class_seed` | seed of the first class image | 42 |
//! | `adapter.dreambooth.class_steps`, `.class_guidance_scale`, `.class_sampler` | as in `eval` | 50, 7.5, `pndm` |
//! | `adapter.dreambooth.class_batch_size` | class images drawn at once | 4 |
//! | `adapter.dreambooth.lora.…`, `adapter.dreambooth.full.…` | what is trained: the keys of `adapter.lora` or `adapter.full` | |
//! | `train.epochs` | passes over the data | 100 |
//! | `train.steps` | optimiser steps; wins over `epochs` | |
//! | `train.batch_size` | pictures in one forward pass | 1 |
//! | `train.gradient_accumulation` | forward passes in one step | 1 |
//! | `train.learning_rate` | above 0, at most 1 | LoRA 1e-4, full 1e-5, full with DreamBooth 5e-6 |
//! | `train.lr_scheduler` | `constant`, `linear`, `cosine`, `polynomial` | `constant` |
//! | `train.warmup_steps` | the rate rises from 0 during these | 0 |
//! | `train.adam_beta1`, `.adam_beta2` | 0 to below 1 | 0.9, 0.999 |
//! | `train.adam_epsilon` | above 0 | 1e-8 |
//! | `train.weight_decay` | from 0, decoupled | 0.01 |
//! | `train.max_grad_norm` | above 0 | 1 |
//! | `train.snr_gamma` | above 0: min-SNR weighting | none |
//! | `train.noise_offset` | from 0 | 0 |
//! | `train.dtype` | `f32`, or `bf16`: of the UNet's frozen weights | `f32` |
//! | `train.gradient_checkpointing` | compute activations twice and do not keep them | false |
//! | `train.checkpoint_every` | steps; 0 is none | 100 |
//! | `train.keep_checkpoints` | how many stay | 1 |
//! | `eval.prompts` | what to draw after training; an empty list draws nothing | the dataset's prompt |
//! | `eval.negative_prompt` | | empty |
//! | `eval.compare_base` | draw with the untrained model too | true |
//! | `eval.images` | pictures of each prompt | 1 |
//! | `eval.steps` | 1 to 1000 denoising steps | 50 |
//! | `eval.guidance_scale` | from 0; 1 is off | 7.5 |
//! | `eval.sampler` | `pndm`, `ddim`, `euler_a`, `dpmpp_2m` | `pndm` |
//! | `eval.seed` | seed of the first picture | 42 |
//! | `eval.every` | steps between two evaluation losses; 0 is never | 50 |
//! | `reference.label` | name of a row of the table with somebody else's figures | |
//! | `reference.trained_parameters`, `.seconds`, `.seconds_per_step`, `.device` | the figures | none |
//! | `stands_in_for.experiment`, `.model`, `.dataset` | in the `plan.toml` of a stand-in: what it stands in for | none |
//!
//! There is exactly one of `adapter.lora`, `adapter.full` and `adapter.dreambooth`.
//!
//! # Several runs in one file
//!
//! Each `[[variant]]` is a run of its own, in the folder `<name>-<variant's name>`: the file's keys, and over them the
//! variant's. It may say any key (`adapter.lora.rank = 16`); another adapter than the file's takes that one's place.
//!
//! # The stand-in
//!
//! `[stand_in]` holds any keys. Laid over the experiment (and over its variant) as a variant's are, they give what is run in
//! its place, into `<name>-stand-in`, where no hub can be reached and the model or the pictures are not on this machine. The
//! results say so everywhere.
//!
//! # Arguments
//!
//! `--set` replaces what the file, its variants and its stand-in say for that key, and where two keys exclude each other (`path` and
//! `repo`, `steps` and `epochs`) one given by `--set` or a variant wins over one from the file. A relative path in the file starts at the file's
//! folder, one in `--set` at the working folder.

mod encoding;
mod foreign;
mod overlay;
mod problem;
mod reader;
mod section;
mod stand_in;
mod tree;
mod variants;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::error::{Error, Result};
pub(crate) use encoding::{NotUtf8, decode};
pub(crate) use foreign::is_settings;
use overlay::Rivals;
pub(crate) use problem::{Problem, report};
pub(crate) use reader::{Reader, similar};
pub use section::SINGLE_FILE;
pub(crate) use section::{Section, above, at_least};
use stand_in::Trees;
pub(crate) use tree::{Entry, Place, Table, Text, Value};

/// Experiments are small; a larger file is something else (weights, a log) that was named by mistake.
const LARGEST_FILE: u64 = 1 << 20;

/// One experiment as it was written: the file, with one of its variants and the `--set` arguments laid over it; and its
/// stand-in.
#[derive(Debug)]
pub struct Experiment {
    pub(crate) file: PathBuf,
    pub(crate) texts: Rc<[Text]>,
    /// What is wrong with the variant itself; then there is nothing to read.
    pub(crate) problems: Vec<Problem>,
    pub(crate) root: Table,
    /// The variant's name, where the file states several.
    pub(crate) variant: Option<String>,
    /// The tree of what stands in for it where its model or pictures cannot be had.
    pub(crate) stand_in: Option<Table>,
}

impl Experiment {
    /// Reads the file and lays the `--set` arguments over each of its variants; one experiment, if it has none.
    ///
    /// Errors: the file cannot be read or is no TOML (every syntax error is listed), or an argument is no `key.path=value`. A variant
    /// that has no name or another's keeps that as its own problem.
    pub fn load(file: &Path, set: &[String]) -> Result<Vec<Self>> {
        Self::parse(&read(file)?, file, set)
    }

    /// As [`Experiment::load`] with the file's text at hand; `file` gives the name and the folder of relative paths.
    pub fn parse(text: &str, file: &Path, set: &[String]) -> Result<Vec<Self>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut texts = vec![Text { title: file.display().to_string(), text: text.into() }];
        texts.extend(set.iter().map(|arg| Text { title: "--set".into(), text: arg.clone() }));
        let mut problems = Vec::new();
        let mut base = tree::parse_document(text, &mut problems);
        if let Some(error) = foreign::refuse(text, file, &base, problems.is_empty()) {
            return Err(error);
        }
        let mut arguments = Vec::new();
        for (i, arg) in set.iter().enumerate() {
            match tree::parse_argument(arg, i + 1) {
                Ok(table) => arguments.push(table),
                Err(problem) => problems.push(problem),
            }
        }
        let variants = variants::take(&mut base, &mut arguments, &mut problems);
        let shared: Rc<[Text]> = texts.into();
        let experiment = |variant| {
            let (variant, over, mut problems) = match variant {
                Ok((variant, over)) => (variant, over, Vec::new()),
                Err(problem) => (None, Table::new(), vec![problem]),
            };
            let mut root = base.clone();
            overlay::lay(&mut root, over, Rivals::Variant);
            let Trees { own, stand_in } = stand_in::part(&root, &arguments, &mut problems);
            Self { file: file.into(), texts: Rc::clone(&shared), problems, root: own, variant, stand_in }
        };
        let experiments: Vec<Self> = variants.into_iter().map(experiment).collect();
        if problems.is_empty() {
            return Ok(experiments);
        }
        problems.extend(experiments.into_iter().flat_map(|experiment| experiment.problems));
        Err(report(problems, &shared))
    }
}

fn read(file: &Path) -> Result<String> {
    let shown = file.display();
    if file.is_dir() {
        let error = Error::input(format!("{shown} is a folder, not an experiment's TOML file"));
        let plan = file.join("plan.toml");
        let hint = format!("the experiment of this results folder is {}", plan.display());
        return Err(if plan.is_file() { error.hint(hint) } else { error });
    }
    let mut bytes = Vec::new();
    fs_err::File::open(file).and_then(|open| open.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(|e| {
        Error::input(format!("cannot read the experiment {shown}"))
            .cause(e)
            .hint("give the path of a TOML file, such as experiments/lora_dog.toml")
    })?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::input(format!("{shown} is larger than 1 MiB: this is no experiment's TOML file")));
    }
    encoding::text(bytes, &shown.to_string())
}
