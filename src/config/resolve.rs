//! Experiment → plan: every key with its type, range and default, each written once.
//!
//! In: the tree of what was written. Out: the plan, or all problems. Where the report behind the first experiment gives
//! no value, the default is diffusers' own (`train_text_to_image_lora.py`), except that warm-up is 0 (there it is 500,
//! which its constant schedule ignores) and the batch is 1.

use std::ops::Bound;
use std::path::PathBuf;

use super::{
    Adapter, Dataset, DreamBooth, Dtype, Eval, Full, LONGEST_NAME, Length, Lora, LrScheduler, Objective, Original,
    Plan, Planned, Reference, STAND_IN_ENDING, Source, Train, Unfit, count, is_repository, local, unfit_sampling,
};
use crate::builtin::Builtin;
use crate::config::experiment::{Experiment, Problem, Reader, Section, above, at_least, report};
use crate::diffusion::{NoiseSchedule, Sampler};
use crate::error::{Error, Result};

/// No limit that anybody meets; keeps products of counts within 64 bits.
const ANY: usize = 1_000_000_000;

/// Checks everything and fills in the defaults, for each of a file's variants and its stand-in.
///
/// Errors: all problems of all variants.
pub(super) fn resolve(variants: &[Experiment]) -> Result<Vec<Planned>> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    for experiment in variants {
        match one(experiment) {
            Ok(planned) => found.push(planned),
            Err(more) => problems.extend(more),
        }
    }
    match variants.first() {
        Some(experiment) if !problems.is_empty() => Err(report(problems, &experiment.texts)),
        _ => Ok(found),
    }
}

/// As [`resolve`], each variant apart, with its name if it has one.
pub(super) fn resolve_each(variants: &[Experiment]) -> Vec<(Option<String>, Result<Planned>)> {
    let apart = |experiment: &Experiment| {
        let told = |problems| -> Error { report(problems, &experiment.texts) };
        (experiment.variant.clone(), one(experiment).map_err(told))
    };
    variants.iter().map(apart).collect()
}

fn one(experiment: &Experiment) -> std::result::Result<Planned, Vec<Problem>> {
    if !experiment.problems.is_empty() {
        return Err(experiment.problems.clone());
    }
    let mut problems = Vec::new();
    let mut read = |tree| {
        let reader = Reader::new(experiment, tree);
        let plan = plan(&reader, experiment);
        problems.extend(reader.finish());
        plan
    };
    let plan = read(&experiment.root);
    let stand_in = experiment.stand_in.as_ref().map(|tree| read(tree).in_place_of(&plan));
    if problems.is_empty() { Ok(Planned { plan, stand_in }) } else { Err(problems) }
}

fn plan(reader: &Reader, experiment: &Experiment) -> Plan {
    let root = reader.root();
    let dataset = dataset(&root.section("dataset"));
    let eval = eval(&root.section("eval"), dataset.prompt.as_deref());
    let (adapter, objective) = adapter(&root.section("adapter"));
    if matches!(objective, Objective::DreamBooth(_)) && !root.section("dataset").has("prompt") {
        root.section("dataset").missing("what DreamBooth calls its subject", "`prompt`, such as \"a sks dog\"");
    }
    let model = source(&root.section("model"), "which model to train", &Builtin::MODELS);
    if let Some(schedule) = local::schedule(&model) {
        sampling(&root, &schedule, &eval, &objective);
    }
    Plan {
        name: name(&root, experiment),
        seed: seed(&root),
        model,
        train: train(&root.section("train"), usual_learning_rate(&adapter, &objective)),
        reference: root.has("reference").then(|| reference(&root.section("reference"))),
        stands_in_for: root.has("stands_in_for").then(|| original(&root.section("stands_in_for"))),
        dataset,
        adapter,
        objective,
        eval,
    }
}

fn dataset(s: &Section) -> Dataset {
    Dataset {
        source: source(s, "which pictures to train on", &Builtin::DATASETS),
        prompt: s.text("prompt"),
        resolution: resolution(s).unwrap_or(512),
        center_crop: s.flag("center_crop").unwrap_or(true),
        random_flip: s.flag("random_flip").unwrap_or(true),
        caption_dropout: s.number("caption_dropout", 0.0..1.0).unwrap_or(0.0),
        skip_broken: s.flag("skip_broken").unwrap_or(false),
    }
}

fn lora(s: &Section) -> Lora {
    let rank = s.count("rank", 1..=1024).unwrap_or(4);
    Lora {
        rank,
        alpha: s.number("alpha", above(0.0)).unwrap_or(rank as f64),
        targets: targets(s).unwrap_or_else(|| ["to_q", "to_k", "to_v", "to_out.0"].map(String::from).into()),
        dropout: s.number("dropout", 0.0..1.0).unwrap_or(0.0),
        text_encoder: s.flag("text_encoder").unwrap_or(false),
    }
}

fn full(s: &Section) -> Full {
    Full {
        text_encoder: s.flag("text_encoder").unwrap_or(false),
        ema_decay: s.number("ema_decay", (Bound::Excluded(0.0), Bound::Excluded(1.0))),
        single_file: s.flag("single_file").unwrap_or(false),
    }
}

fn dreambooth(s: &Section) -> DreamBooth {
    if !s.has("class_prompt") {
        s.missing("what the class images show", "`class_prompt`, such as \"a dog\"");
    }
    if s.has("class_path") && s.has("class_images") {
        let message =
            "`class_images` says how many pictures are made, and with `class_path` none is: all in it are used";
        s.reject("class_images", message, "leave one of the two out");
    }
    DreamBooth {
        class_prompt: s.text("class_prompt").unwrap_or_default(),
        class_images: s.count("class_images", 1..=ANY).unwrap_or(100),
        class_path: s.folder("class_path"),
        prior_loss_weight: s.number("prior_loss_weight", at_least(0.0)).unwrap_or(1.0),
        class_seed: s.integer("class_seed", 0..=i64::MAX).map_or(42, i64::unsigned_abs),
        class_steps: s.count("class_steps", 1..=1000).unwrap_or(50),
        class_guidance_scale: s.number("class_guidance_scale", at_least(0.0)).unwrap_or(7.5),
        class_sampler: s.choice("class_sampler", &samplers()).unwrap_or(Sampler::Pndm),
        class_batch_size: s.count("class_batch_size", 1..=ANY).unwrap_or(4),
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

fn train(s: &Section, usual_learning_rate: f64) -> Train {
    Train {
        length: length(s).unwrap_or(Length::Epochs(100)),
        batch_size: s.count("batch_size", 1..=ANY).unwrap_or(1),
        gradient_accumulation: s.count("gradient_accumulation", 1..=ANY).unwrap_or(1),
        learning_rate: s
            .number("learning_rate", (Bound::Excluded(0.0), Bound::Included(1.0)))
            .unwrap_or(usual_learning_rate),
        lr_scheduler: s.choice("lr_scheduler", &LrScheduler::NAMES).unwrap_or(LrScheduler::Constant),
        warmup_steps: s.count("warmup_steps", 0..=ANY).unwrap_or(0),
        adam_beta1: s.number("adam_beta1", 0.0..1.0).unwrap_or(0.9),
        adam_beta2: s.number("adam_beta2", 0.0..1.0).unwrap_or(0.999),
        adam_epsilon: s.number("adam_epsilon", above(0.0)).unwrap_or(1e-8),
        weight_decay: s.number("weight_decay", at_least(0.0)).unwrap_or(1e-2),
        max_grad_norm: s.number("max_grad_norm", above(0.0)).unwrap_or(1.0),
        snr_gamma: s.number("snr_gamma", above(0.0)),
        noise_offset: s.number("noise_offset", at_least(0.0)).unwrap_or(0.0),
        dtype: s.choice("dtype", &Dtype::NAMES).unwrap_or(Dtype::F32),
        tf32: s.flag("tf32").unwrap_or(false),
        gradient_checkpointing: s.flag("gradient_checkpointing").unwrap_or(false),
        checkpoint_every: s.count("checkpoint_every", 0..=ANY).unwrap_or(100),
        keep_checkpoints: s.count("keep_checkpoints", 1..=ANY).unwrap_or(1),
    }
}

fn eval(s: &Section, dataset_prompt: Option<&str>) -> Eval {
    Eval {
        prompts: s.texts("prompts").unwrap_or_else(|| dataset_prompt.map(String::from).into_iter().collect()),
        negative_prompt: s.any_text("negative_prompt").unwrap_or_default(),
        compare_base: s.flag("compare_base").unwrap_or(true),
        images: s.count("images", 1..=ANY).unwrap_or(1),
        steps: s.count("steps", 1..=1000).unwrap_or(50),
        guidance_scale: s.number("guidance_scale", at_least(0.0)).unwrap_or(7.5),
        sampler: s.choice("sampler", &samplers()).unwrap_or(Sampler::Pndm),
        seed: seed(s),
        every: s.count("every", 0..=ANY).unwrap_or(50),
    }
}

/// What is drawn must be drawn in steps that the model's schedule has; a model that is not here is asked when it is.
fn sampling(root: &Section, schedule: &NoiseSchedule, eval: &Eval, objective: &Objective) {
    for Unfit { tables, key, error } in unfit_sampling(eval, objective, schedule) {
        let (first, inner) = tables.split_first().unwrap_or((&"", &[]));
        let table = inner.iter().fold(root.section(first), |table, name| table.section(name));
        table.reject(key, format!("`{key}`: {}", error.line()), error.remedy().unwrap_or_default());
    }
}

fn samplers() -> [(&'static str, Sampler); 4] {
    Sampler::ALL.map(|sampler| (sampler.name(), sampler))
}

fn reference(s: &Section) -> Reference {
    if !s.has("label") {
        s.missing("what the reference row is called", "`label`, such as \"report, LoRA\"");
    }
    Reference {
        label: s.text("label").unwrap_or_default(),
        trained_parameters: s.integer("trained_parameters", 0..=i64::MAX).map(i64::unsigned_abs),
        seconds: s.number("seconds", at_least(0.0)),
        seconds_per_step: s.number("seconds_per_step", at_least(0.0)),
        device: s.text("device"),
    }
}

fn original(s: &Section) -> Original {
    let text = |key| {
        if !s.has(key) {
            s.missing("what this stands in for", &format!("`{key}`"));
        }
        s.text(key).unwrap_or_default()
    };
    Original { experiment: text("experiment"), model: text("model"), dataset: text("dataset") }
}

fn seed(s: &Section) -> u64 {
    s.integer("seed", 0..=i64::MAX).map_or(42, i64::unsigned_abs)
}

/// The name that is written, or the file's without its extension; then the variant's. It becomes a folder on any system.
fn name(root: &Section, experiment: &Experiment) -> String {
    let stem = experiment.file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = root.text("name").unwrap_or_else(|| stem.unwrap_or_else(|| "experiment".into()));
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

fn source(s: &Section, what: &str, built_in: &[(&'static str, Builtin)]) -> Source {
    let nothing = Source::Path(PathBuf::new());
    if s.has("builtin") {
        s.accept(&["revision"]);
        for other in ["path", "repo", "modelscope"].into_iter().filter(|key| s.has(key)) {
            s.reject(other, format!("`{other}` beside `builtin`: only one of them can count"), "leave one out");
        }
        return s.choice("builtin", built_in).map_or(nothing, Source::Builtin);
    }
    if s.has("path") {
        s.accept(&["repo", "modelscope", "revision"]);
        return s.folder("path").map_or(nothing, Source::Path);
    }
    s.accept(&["path"]);
    let revision = s.text("revision");
    let (repo, modelscope) = (repository(s, "repo"), repository(s, "modelscope"));
    match (repo, modelscope) {
        (Some(repo), modelscope) => {
            Source::HuggingFace { repo, revision: revision.unwrap_or_else(|| "main".into()), modelscope }
        }
        (None, Some(repo)) => Source::ModelScope { repo, revision: revision.unwrap_or_else(|| "master".into()) },
        (None, None) => {
            if !s.has("repo") && !s.has("modelscope") {
                s.missing(what, "`path`, `repo`, `modelscope` or `builtin`");
            }
            nothing
        }
    }
}

fn repository(s: &Section, key: &'static str) -> Option<String> {
    let text = s.text(key)?;
    if is_repository(&text) {
        return Some(text);
    }
    s.reject(key, format!("`{key}` must be a repository's `owner/name`"), "for a folder say `path`");
    None
}

fn resolution(s: &Section) -> Option<usize> {
    let size = s.count("resolution", 64..=2048)?;
    if size % 64 != 0 {
        let below = size / 64 * 64;
        let label = format!("{below} and {} are", below + 64);
        s.reject("resolution", "`resolution` must be a multiple of 64", label);
    }
    Some(size)
}

fn adapter(s: &Section) -> (Adapter, Objective) {
    s.exactly_one("adapter", &["lora", "full", "dreambooth"]);
    if !s.has("dreambooth") {
        return (trained(s), Objective::Captions);
    }
    let inner = s.section("dreambooth");
    inner.one_of("adapter in DreamBooth", &["lora", "full"]);
    (trained(&inner), Objective::DreamBooth(dreambooth(&inner)))
}

/// What the table `lora` or `full` in this one says.
fn trained(s: &Section) -> Adapter {
    if s.has("full") && !s.has("lora") {
        Adapter::Full(full(&s.section("full")))
    } else {
        Adapter::Lora(lora(&s.section("lora")))
    }
}

fn targets(s: &Section) -> Option<Vec<String>> {
    let targets = s.texts("targets")?;
    if targets.is_empty() {
        s.reject("targets", "`targets` is empty: nothing would be trained", "leave it out for the attention's layers");
    }
    for target in &targets {
        if let Err(near) = count::plausible_target(target) {
            let label = near.map(|near| format!("did you mean \"{near}\"?")).unwrap_or_default();
            s.reject_item("targets", target, format!("`targets`: no module's name ends with \"{target}\""), label);
        }
    }
    Some(targets)
}

fn length(s: &Section) -> Option<Length> {
    let epochs = s.count("epochs", 1..=ANY);
    let steps = s.count("steps", 1..=ANY);
    if s.has("steps") { steps.map(Length::Steps) } else { epochs.map(Length::Epochs) }
}
