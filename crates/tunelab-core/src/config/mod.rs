//! What a person writes, and the plan that it amounts to: an experiment with no option left open.
//!
//! In: the experiment's file and the `--set` arguments. Out: a [`Plan`], or one error that lists
//! every problem of the file, each with its line and a caret. Each settings struct states its keys
//! ([`keys`]) in a file of its table's name; `resolve` holds the rules between keys, `experiment`
//! what a file is: texts, places, variants, stand-ins.

mod about;
mod adapter;
mod buckets;
mod captions;
pub mod command;
mod compare;
mod data_part;
mod data_source;
mod dataset;
mod eval;
pub mod experiment;
mod figures;
pub mod files;
pub mod init;
pub mod keys;
pub mod local;
mod log;
mod masks;
mod metrics;
pub mod optimizer;
mod pack_ending;
mod resolution;
mod resolve;
mod resolve_data;
mod sampling;
mod selection;
mod source;
mod subjects;
mod text;
mod train;

use std::path::Path;

use crate::config::experiment::Experiment;
use crate::error::{Error, Result};
pub use crate::model::Dtype;
pub use about::about;
pub use adapter::{Adapter, DreamBooth, Full, Lora, Objective, Subject};
pub use buckets::Buckets;
pub use captions::{CaptionFrom, CaptionLines, CaptionRules, TRIGGER};
pub use compare::{PlanDiff, rename_old_keys};
pub use data_part::DataPart;
pub use data_source::DataSource;
pub use dataset::Dataset;
pub use eval::{Eval, SampleParams};
pub use figures::{Original, Reference};
use keys::{Keys, Lines, Listing, Stated, Visit, natural, text};
pub use log::Log;
pub use masks::Masks;
pub use metrics::{EncoderPaths, Metrics};
pub use optimizer::{AdamW, Optimizer};
pub use pack_ending::{PACK_ENDINGS, has_pack_ending};
pub use resolution::Resolution;
pub use sampling::{Unfit, unfit_sampling};
pub use selection::Selection;
use source::Role;
pub use source::{FileSource, Source};
pub use subjects::{ClassPart, Group};
pub use text::Text;
pub use train::{Length, Loss, LrScheduler, Train};

/// The longest name of a run, in bytes: of the 255 that file systems take, what is left beside the
/// longest name that is made of it, that of `weights/<name>.safetensors` while it is written. The
/// number is a process's.
pub const LONGEST_NAME: usize = 255 - "...safetensors.4294967295.tunelab-tmp.tmp".len();

/// The end of a stand-in's name.
const STAND_IN_ENDING: &str = "-stand-in";

/// One experiment, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The results folder's name: a single path component.
    pub name: String,
    /// Seeds everything of the training: adapter, order of the data, crops, flips, noise,
    /// timesteps.
    pub seed: u64,
    /// Where the base model comes from.
    pub model: Source,
    /// The photographs and how they become tensors.
    pub dataset: Dataset,
    /// How texts are read.
    pub text: Text,
    /// What is trained.
    pub adapter: Adapter,
    /// How a batch and its loss are formed.
    pub objective: Objective,
    /// How it is trained.
    pub train: Train,
    /// How the result is looked at.
    pub eval: Eval,
    /// How the images are measured.
    pub metrics: Metrics,
    /// What is logged for other programs.
    pub log: Log,
    /// Somebody else's figures for the same experiment, for the table.
    pub reference: Option<Reference>,
    /// What this plan is run in place of; `None`: it is what its experiment says.
    pub stands_in_for: Option<Original>,
    /// The comment that opens the experiment's file; no key.
    pub about: Option<String>,
}

/// An experiment's plan, and what is run in its place where its model or pictures cannot be had.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What the experiment says.
    pub plan: Plan,
    /// What its `[stand_in]` makes of it.
    pub stand_in: Option<Plan>,
}

impl Plan {
    /// Reads and resolves the experiment in `file`, or each of its variants in their order, with
    /// the `--set key.path=value` arguments in `set`.
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

    /// As [`Plan::load_all`], with the file's text at hand: `file` need not exist, it gives the
    /// name and the folder.
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
        let (model, dataset) = (original.model.short(), original.dataset.short());
        let original = Original { experiment: original.name.clone(), model, dataset };
        Self { name: format!("{}{STAND_IN_ENDING}", self.name), stands_in_for: Some(original), ..self }
    }

    /// `builtin:mini with builtin:corgi in place of a/model with a/dataset`; nothing where the plan
    /// is the experiment's own.
    pub fn in_place(&self) -> Option<String> {
        let Original { model, dataset, .. } = self.stands_in_for.as_ref()?;
        let (own_model, own_dataset) = (self.model.short(), self.dataset.short());
        Some(format!("{own_model} with {own_dataset} in place of {model} with {dataset}"))
    }

    /// A valid experiment that says everything; resolving it again gives the same plan, whatever
    /// the file's name.
    pub fn to_toml(&self) -> String {
        self.to_toml_with("")
    }

    /// As [`Plan::to_toml`], with these comment lines between the experiment's own comment and its keys.
    pub fn to_toml_with(&self, comments: &str) -> String {
        let mut lines = Lines::default();
        self.clone().visit(&mut Visit::write(&mut lines));
        format!("{}{comments}{}", about::comment(self.about.as_deref()), lines.finish())
    }

    /// Every key that an experiment may have, in the order of [`Plan::to_toml`].
    pub fn keys() -> Listing {
        let mut listing = Listing::default();
        Self::unwritten(String::new()).visit(&mut Visit::list(&mut listing));
        listing
    }

    /// All defaults, but for those that follow from other keys.
    fn unwritten(name: String) -> Self {
        Self {
            name,
            seed: 42,
            model: Source::nowhere(),
            dataset: Dataset::default(),
            text: Text::default(),
            adapter: Adapter::Lora(Lora::default()),
            objective: Objective::Captions,
            train: Train::default(),
            eval: Eval::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            reference: None,
            stands_in_for: None,
            about: None,
        }
    }

    /// Visits all keys.
    fn visit(&mut self, visit: &mut Visit) {
        const NAME: &str = "The results folder.";
        const SEED: &str = "Seed of the training: adapter, order of the data, crops, flips, noise, timesteps.";
        visit.key(text().named("name", NAME).usual("the file's name without .toml"), &mut self.name);
        visit.key(natural().named("seed", SEED), &mut self.seed);
        visit.table("model", "The model that is fine-tuned.", |v| Role::Model.state("", "", &mut self.model, v));
        visit.table("dataset", Dataset::ABOUT, |v| self.dataset.keys(v));
        visit.table("text", Text::ABOUT, |v| self.text.keys(v));
        visit.table("adapter", "What is trained: one of the tables in this one.", |v| {
            adapter::keys(&mut self.adapter, &mut self.objective, v);
        });
        visit.table("train", Train::ABOUT, |v| self.train.keys(v));
        visit.table("eval", Eval::ABOUT, |v| self.eval.keys(v));
        visit.table("metrics", Metrics::ABOUT, |v| self.metrics.keys(v));
        visit.table("log", Log::ABOUT, |v| self.log.keys(v));
        visit.optional("reference", &mut self.reference);
        visit.optional("stands_in_for", &mut self.stands_in_for);
    }
}

impl Planned {
    /// As [`Plan::load_all`], with the stand-ins.
    ///
    /// Errors: also any problem of a stand-in.
    pub fn load_all(file: &Path, set: &[String]) -> Result<Vec<Self>> {
        resolve::resolve(&Experiment::load(file, set, &Plan::keys().spellings())?)
    }

    /// The stand-in alone, which `file` must have; a stand-in's own `plan.toml` has itself.
    pub fn stand_in(self, file: &Path) -> Result<Plan> {
        let itself = self.plan.stands_in_for.is_some().then_some(self.plan);
        self.stand_in.or(itself).ok_or_else(|| {
            Error::input(format!("{} has no [stand_in] table", file.display()))
                .hint("leave out --stand-in, or say in [stand_in] what differs, such as model.builtin = \"mini\"")
        })
    }

    /// As [`Planned::load_all`], with the file's text at hand: `file` need not exist, it gives the
    /// name and the folder.
    pub fn parse_all(text: &str, file: &Path, set: &[String]) -> Result<Vec<Self>> {
        resolve::resolve(&Experiment::parse(text, file, set, &Plan::keys().spellings())?)
    }
}
