//! Experiment → plan: what is written over the defaults, and the rules between keys.
//!
//! In: the tree of what was written. Out: the plan, or all problems. Where the report behind the
//! first experiment gives no value, the default is diffusers' own (`train_text_to_image_lora.py`),
//! except that warm-up is 0 (there it is 500, which its constant schedule ignores) and the batch is
//! 1.

use super::keys::Visit;
use super::resolve_data::data;
use super::{
    Adapter, LONGEST_NAME, Lora, Metrics, Objective, Plan, Planned, STAND_IN_ENDING, SampleParams, Source, Unfit,
    about, buckets, local, masks, unfit_sampling,
};
use crate::config::experiment::{Experiment, Problem, Reader, Section, report, similar};
use crate::diffusion::{NoiseSchedule, Sampler};
use crate::error::{Error, Result};
use crate::metrics::EncoderName;
use crate::model::describe::plausible_target;
use crate::model::family::Family;
use clap::ValueEnum;
use std::cell::RefCell;
use std::rc::Rc;

/// Checks everything and fills in the defaults, for each of a file's variants and its stand-in.
///
/// Errors: all problems of all variants.
pub(super) fn resolve(variants: &[Experiment]) -> Result<Vec<Planned>> {
    let Resolved { error, variants } = resolve_each(variants);
    error.map_or_else(|| Ok(variants.into_iter().filter_map(|(_, planned)| planned.ok()).collect()), Err)
}

/// A file's variants, each resolved once.
pub(super) struct Resolved {
    /// All problems of all variants.
    pub error: Option<Error>,
    /// Each variant's name, if it has one, and its plan or its own problems.
    pub variants: Vec<(Option<String>, Result<Planned>)>,
}

/// As [`resolve`], each variant apart too.
pub(super) fn resolve_each(variants: &[Experiment]) -> Resolved {
    let models = Models::default();
    let mut problems = Vec::new();
    let apart = |experiment: &Experiment| {
        let planned = one(experiment, &models).map_err(|own| {
            problems.extend(own.iter().cloned());
            report(own, &experiment.texts)
        });
        (experiment.variant.clone(), planned)
    };
    let resolved: Vec<_> = variants.iter().map(apart).collect();
    let first = variants.first().filter(|_| !problems.is_empty());
    Resolved { error: first.map(|experiment| report(problems, &experiment.texts)), variants: resolved }
}

/// The models that a file's variants name: each is looked at once.
#[derive(Default)]
struct Models(RefCell<Vec<(Source, Model)>>);

/// What of a model decides what a plan may say, and its defaults.
#[derive(Clone)]
struct Model {
    family: Family,
    schedule: Option<Rc<NoiseSchedule>>,
    /// Sides of images are multiples of this.
    multiple: usize,
}

impl Models {
    fn of(&self, source: &Source) -> Model {
        if let Some((_, known)) = self.0.borrow().iter().find(|(other, _)| other == source) {
            return known.clone();
        }
        let family = local::family(source);
        let schedule = local::schedule(source).map(Rc::new);
        let model = Model { family, schedule, multiple: local::multiple(source, family) };
        self.0.borrow_mut().push((source.clone(), model.clone()));
        model
    }
}

fn one(experiment: &Experiment, models: &Models) -> std::result::Result<Planned, Vec<Problem>> {
    if !experiment.problems.is_empty() {
        return Err(experiment.problems.clone());
    }
    let mut problems = Vec::new();
    let mut read = |tree| {
        let reader = Reader::new(experiment, tree);
        let plan = plan(&reader, experiment, models);
        problems.extend(reader.finish());
        plan
    };
    let plan = read(&experiment.root);
    let stand_in = experiment.stand_in.as_ref().map(|tree| read(tree).in_place_of(&plan));
    if problems.is_empty() { Ok(Planned { plan, stand_in }) } else { Err(problems) }
}

fn plan(reader: &Reader, experiment: &Experiment, models: &Models) -> Plan {
    let stem = experiment.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let mut plan = Plan::unwritten(stem.unwrap_or_else(|| "experiment".into()));
    plan.visit(&mut Visit::read(reader.root()));
    plan.about = experiment.texts.first().and_then(|file| about(&file.text));
    let root = reader.root();
    plan.name = name(&root, &plan.name, experiment);
    adapter(&root.section("adapter"), &mut plan);
    data(&root, &mut plan);
    if !root.section("train").has("learning_rate") {
        plan.train.learning_rate = usual_learning_rate(&plan.adapter, &plan.objective);
    }
    images_while_training(&root.section("eval"), &mut plan);
    let model = models.of(&plan.model);
    usual_sampling(&root, &model, &mut plan);
    eval_sampler(&root.section("eval"), &mut plan);
    metrics(&root.section("metrics"), &mut plan);
    buckets::resolve(&root.section("dataset"), model.multiple, &mut plan);
    masks::resolve(&root.section("dataset"), &plan.dataset.masks);
    let resolution = plan.dataset.resolution;
    plan.eval.sample.width = plan.eval.width.unwrap_or(resolution.width);
    plan.eval.sample.height = plan.eval.height.unwrap_or(resolution.height);
    if let Some(schedule) = model.schedule {
        sampling(&root, &schedule, &plan);
    }
    figures(&root);
    plan
}

/// Alpha follows the rank; the targets must be names of modules; DreamBooth must say what its class
/// images show.
fn adapter(s: &Section, plan: &mut Plan) {
    let inner = if let Objective::DreamBooth(prior) = &mut plan.objective {
        let inner = s.section("dreambooth");
        dreambooth(&inner);
        let resolution = plan.dataset.resolution;
        (prior.class_sample.width, prior.class_sample.height) = (resolution.width, resolution.height);
        Some(inner)
    } else {
        None
    };
    if let Adapter::Lora(lora) = &mut plan.adapter {
        let s = inner.as_ref().unwrap_or(s).section("lora");
        if !s.has("alpha") {
            lora.alpha = lora.rank as f64;
        }
        targets(&s, lora);
    }
}

fn targets(s: &Section, Lora { targets, .. }: &Lora) {
    if targets.is_empty() {
        s.reject("targets", "`targets` is empty: nothing would be trained", "leave it out for the attention's layers");
    }
    for target in targets {
        if let Err(ends) = plausible_target(target) {
            let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
            let label = similar(target, &ends).map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
            s.reject_item("targets", target, format!("`targets`: no module's name ends with \"{target}\""), label);
        }
    }
}

fn dreambooth(s: &Section) {
    if s.has("class_path") && s.has("class_images") {
        let message =
            "`class_images` says how many pictures are made, and with `class_path` none is: all in it are used";
        s.reject("class_images", message, "leave one of the two out");
    }
}

/// The rates of diffusers' examples: text-to-image LoRA and full, DreamBooth LoRA and full.
fn usual_learning_rate(adapter: &Adapter, objective: &Objective) -> f64 {
    match (adapter, objective) {
        (Adapter::Lora(_), _) => 1e-4,
        (Adapter::Full(_), Objective::Captions) => 1e-5,
        (Adapter::Full(_), Objective::DreamBooth(_)) => 5e-6,
    }
}

/// A LoRA's weights are small; those of a whole model are kept if somebody asks for it.
fn images_while_training(s: &Section, plan: &mut Plan) {
    if !s.has("keep_weights") {
        plan.eval.keep_weights = matches!(plan.adapter, Adapter::Lora(_));
    }
}

/// What is not said of sampling is as the model's own pipeline has it, where the model is a folder or a file that is here; of others
/// as the family's has it, so that a plan does not change with what was fetched.
fn usual_sampling(root: &Section, model: &Model, plan: &mut Plan) {
    let (usual, guidance_scale) = model.family.usual_sampling();
    let own = model.schedule.as_deref().filter(|_| plan.model.is_here()).and_then(Sampler::of_model);
    let sampler = own.unwrap_or(usual);
    let usual = |s: &Section, sample: &mut SampleParams, [sampler_key, guidance_key]: [&str; 2]| {
        if !s.has(sampler_key) {
            sample.sampler = sampler;
        }
        if !s.has(guidance_key) {
            sample.guidance_scale = guidance_scale;
        }
    };
    usual(&root.section("eval"), &mut plan.eval.sample, ["sampler", "guidance_scale"]);
    if let Objective::DreamBooth(prior) = &mut plan.objective {
        let s = root.section("adapter").section("dreambooth");
        usual(&s, &mut prior.class_sample, ["class_sampler", "class_guidance_scale"]);
    }
}

/// PNDM has no first step from pure noise, and Karras sigmas go with some samplers only.
fn eval_sampler(s: &Section, plan: &mut Plan) {
    let sample = &mut plan.eval.sample;
    if plan.train.zero_terminal_snr && !s.has("sampler") {
        sample.sampler = Sampler::Ddim;
    }
    if sample.karras && !sample.sampler.has_karras() {
        let names: Vec<String> =
            Sampler::ALL.into_iter().filter(|s| s.has_karras()).map(|s| format!("\"{s}\"")).collect();
        let message = format!("`karras`: {} has no Karras sigmas", sample.sampler);
        s.reject("karras", message, format!("`sampler` must be one of {}", names.join(", ")));
        // Told once.
        sample.karras = false;
    }
}

/// The encoders follow from the model, identifier and class prompt from DreamBooth; the best step needs
/// an encoder that has its metric.
fn metrics(s: &Section, plan: &mut Plan) {
    if !s.has("encoders") && !plan.eval.prompts.is_empty() {
        plan.metrics.encoders = match plan.model {
            Source::Builtin(_) => vec![EncoderName::Builtin],
            _ => vec![EncoderName::DinoVits16, EncoderName::ClipVitB32],
        };
    }
    if let Objective::DreamBooth(prior) = &plan.objective {
        // Of several subjects, what all have in common.
        let (class, instance) = match &prior.subjects[..] {
            [] => (prior.class_prompt.clone(), plan.dataset.prompt.clone()),
            [first, others @ ..] if others.iter().all(|other| other.class_prompt == first.class_prompt) => {
                (first.class_prompt.clone(), None)
            }
            _ => <_>::default(),
        };
        if !s.has("class_prompt") {
            plan.metrics.class_prompt.clone_from(&class);
        }
        if !s.has("identifier") {
            plan.metrics.identifier = identifier(&instance.unwrap_or_default(), &class);
        }
    }
    if plan.metrics.class_prompt.trim().is_empty() {
        plan.metrics.class_prompt.clear();
    }
    let Metrics { encoders, best_by, class_prompt, .. } = &plan.metrics;
    let Some(by) = best_by.as_deref().filter(|_| plan.is_measured()) else { return };
    let has = |name: &EncoderName| name.metric_of(by).is_some();
    if !encoders.iter().any(has) {
        let names = EncoderName::value_variants().iter().filter(|name| has(name));
        let names: Vec<String> = names.map(|name| format!("\"{name}\"")).collect();
        s.reject("best_by", format!("`best_by`: no encoder gives {by}"), format!("{} would", names.join(", ")));
    } else if by == "pres" && class_prompt.is_empty() {
        s.reject("best_by", "`best_by`: pres needs `class_prompt`, whose images it compares", "add it");
    }
}

/// The one word that DreamBooth's instance prompt has and its class prompt lacks; nothing where there
/// are none or several.
fn identifier(instance: &str, class: &str) -> String {
    let mut own = instance.split_whitespace().filter(|word| !class.split_whitespace().any(|other| other == *word));
    own.next().filter(|_| own.next().is_none()).unwrap_or_default().to_owned()
}

/// What is drawn must be drawn in steps that the model's schedule has; a model that is not here is
/// asked when it is.
fn sampling(root: &Section, schedule: &NoiseSchedule, plan: &Plan) {
    for Unfit { tables, key, error } in unfit_sampling(plan, schedule) {
        let (first, inner) = tables.split_first().unwrap_or((&"", &[]));
        let table = inner.iter().fold(root.section(first), |table, name| table.section(name));
        table.reject(key, format!("`{key}`: {}", error.line()), error.remedy().unwrap_or_default());
    }
}

/// What must be said of somebody else's figures, and of a stand-in.
fn figures(root: &Section) {
    if root.has("reference") && !root.section("reference").has("label") {
        root.section("reference").missing("what the reference row is called", "`label`, such as \"report, LoRA\"");
    }
    if root.has("stands_in_for") {
        let s = root.section("stands_in_for");
        for key in ["experiment", "model", "dataset"].into_iter().filter(|key| !s.has(key)) {
            s.missing("what this stands in for", &format!("`{key}`"));
        }
    }
}

/// The name that is written, or the file's without its extension; then the variant's. It becomes a
/// folder on any system.
fn name(root: &Section, name: &str, experiment: &Experiment) -> String {
    let forbidden = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
    let refused = name.contains(forbidden) || name.starts_with('.') || name.ends_with(['.', ' ']);
    if refused && root.has("name") {
        root.reject("name", format!("`name` must be usable as a folder's name, and {name:?} is not"), "");
    }
    let variant = experiment.variant.as_ref().map_or_else(String::new, |variant| format!("-{variant}"));
    let behind = format!("{variant}{}", if experiment.stand_in.is_some() { STAND_IN_ENDING } else { "" });
    if name.len() + behind.len() > LONGEST_NAME {
        let named = if root.has("name") { "`name`" } else { "the file's name, which is the run's," };
        let most = LONGEST_NAME.saturating_sub(behind.len());
        let message = format!("{named} is too long for the files of the run: {} bytes, at most {most}", name.len());
        let with = if behind.is_empty() { String::new() } else { format!("{behind:?} comes behind it") };
        let add = if root.has("name") { with } else { ["add a shorter `name`", &with].join("; ") };
        root.reject("name", message, add.trim_end_matches("; "));
    }
    format!("{name}{variant}")
}
