//! The commands that only look: `tunelab check` and `tunelab plan`.
//!
//! In: their arguments. Out: on stdout an `ok` line for each good file (with what it needs, where
//! that is asked for), or the resolved plan as TOML with what it amounts to as comments.

use std::io::{self, Write};

use super::estimate::{Memory, Trained, estimate};
use super::listing;
use super::local;
use super::networks::{self, FLOAT, Networks};
use super::shapes::Survey;
use super::steps::steps;
use crate::adapter;
use crate::cli::output::print;
use crate::cli::{CheckArgs, PlanArgs};
use crate::config::files::{self, Loaded};
use crate::config::{Adapter, ClassPart, DataPart, Dtype, Objective, Plan, Planned, Source};
use crate::error::{Error, Result};
use crate::model::build::Trainable;
use crate::numbers::{bytes, counted, grouped};
use crate::pipeline::PartKind;
use crate::weights::SAFETENSORS;

/// `tunelab check FILE…`: every problem of every file; a folder stands for the experiments in it.
///
/// Errors: a file has problems (they are in the error, or on stderr where there are several files),
/// or two files would write into the same results folder.
pub fn check(args: &CheckArgs) -> Result<()> {
    // A closed stderr must not hide the exit code.
    let say = |text: String| drop(writeln!(io::stderr(), "{text}"));
    let loaded = files::load(&args.files, &args.set, &mut |note| say(format!("note: {note}")))?;
    let mut failures = files::clashes(&loaded);
    let count = loaded.len();
    for of in loaded {
        let file = of.file.display();
        if let Some(error) = of.error {
            failures.push(error);
            continue;
        }
        for note in notes_of(of.plans()) {
            say(format!("warning: {file}: {note}"));
        }
        match of.variants.len() {
            0 | 1 => print(&format!("ok {file}\n"))?,
            many => print(&format!("ok {file} ({many} variants)\n"))?,
        }
        if let Some(first) = of.plans().next().filter(|_| args.verbose) {
            let lines: Vec<String> = needs(&first.plan)?.iter().map(|line| format!("   {line}\n")).collect();
            print(&lines.concat())?;
        }
    }
    if failures.len() == 1 {
        return Err(failures.remove(0));
    }
    for error in &failures {
        say(format!("{error}\n"));
    }
    match failures.len() {
        0 => Ok(()),
        bad => Err(Error::input(format!("{bad} of {count} experiments have problems"))),
    }
}

/// What a model is, what of it is trained, and what that needs, a line each.
fn needs(plan: &Plan) -> Result<Vec<String>> {
    let networks = Networks::of(&plan.model)?;
    let [memory, _] = memory(plan, &estimate(plan, &networks, plan.train.dtype == Dtype::F16));
    let mut lines = vec![parts(&networks), trained(&plan.adapter, &networks), memory];
    lines.extend(shapes(plan));
    // The files themselves are for `plan` to list.
    lines.extend(
        downloads(plan, &networks)
            .into_iter()
            .filter(|line: &String| !line.starts_with(' '))
            .map(|line| line.trim_end_matches(':').to_owned()),
    );
    Ok(lines)
}

/// The notes on all of a file's plans, each once.
fn notes_of<'a>(plans: impl Iterator<Item = &'a Planned>) -> Vec<String> {
    // A note is about these two, and most of a sweep's plans have the same.
    let mut seen: Vec<(&Source, Vec<String>)> = Vec::new();
    let mut notes: Vec<String> = Vec::new();
    for plan in plans.flat_map(|planned| [&planned.plan].into_iter().chain(&planned.stand_in)) {
        let about = (&plan.model, adapter::method(&plan.adapter).targets().to_vec());
        if !seen.contains(&about) {
            notes.extend(note(plan).filter(|note| !notes.contains(note)));
            seen.push(about);
        }
    }
    notes
}

/// What to know of a plan that is right: the LoRA of some of its targets does nothing in some
/// programs.
pub fn note(plan: &Plan) -> Option<String> {
    let method = adapter::method(&plan.adapter);
    // A model that cannot be counted is refused where it is loaded.
    let unet = networks::unet(&plan.model).and_then(|config| config.describe()).ok()?;
    let names: Vec<&str> = unet.left_out_elsewhere(method.targets()).collect();
    (!names.is_empty()).then(|| {
        format!(
            "kohya's sd-scripts and stable-diffusion.cpp leave out the LoRA of {}, so they draw something else than was trained; \
             AUTOMATIC1111, ComfyUI, OneTrainer and diffusers take all of it",
            names.join(", ")
        )
    })
}

/// `tunelab plan FILE`: the resolved plan with what it amounts to, or that of each variant, or
/// those of their stand-ins; of a sweep the list of its runs.
///
/// Errors: the file's problems, a model folder whose UNet is of another kind, no stand-in where
/// it is asked for, or no run of a name that `--only` gives.
pub fn plan(args: &PlanArgs) -> Result<()> {
    let loaded = Loaded::of(args.file.clone(), &args.set);
    if let Some(error) = loaded.error {
        return Err(error);
    }
    let sweep = loaded.sweep.filter(|_| args.only.is_empty());
    let planned = files::only(loaded.variants.into_iter().filter_map(|(_, planned)| planned.ok()), &args.only)?;
    if let Some(sweep) = sweep {
        let other = planned.first().and_then(|planned| {
            let stand_in = planned.stand_in.as_ref().filter(|_| args.stand_in || !planned.plan.model.is_here());
            stand_in.and_then(Plan::in_place)
        });
        let note = other.map(|other| {
            if args.stand_in {
                format!("a stand-in: {other}")
            } else {
                format!("where no hub can be reached: {other} (tunelab plan --stand-in)")
            }
        });
        let itself = |planned: Planned| if args.stand_in { planned.stand_in(&args.file) } else { Ok(planned.plan) };
        let plans = planned.into_iter().map(itself).collect::<Result<Vec<_>>>()?;
        return print(&listing::list(&sweep, &plans, note, &args.results)?);
    }
    let several = planned.len() > 1;
    let mut texts = Vec::new();
    for planned in planned {
        let stand_in = planned.stand_in.as_ref().filter(|_| !planned.plan.model.is_here());
        let note = stand_in.and_then(Plan::in_place);
        let plan = if args.stand_in { planned.stand_in(&args.file)? } else { planned.plan };
        let heading = if several { format!("# ===== {} =====\n", plan.name) } else { String::new() };
        let mut lines = summary(&plan)?;
        lines.extend(
            note.filter(|_| !args.stand_in)
                .map(|note| format!("where no hub can be reached: {note} (tunelab plan --stand-in)")),
        );
        // Below the experiment's own comment: the one that a file begins with says what it asks.
        let apart = if plan.about.is_none() && !several { "\n" } else { "" };
        let comments = format!("{apart}# {}\n\n", lines.join("\n# "));
        texts.push(heading + &plan.to_toml_with(&comments));
    }
    print(&texts.join("\n"))
}

/// What a plan amounts to, in lines for a person: steps, trained parameters, memory, class images,
/// downloads.
pub fn summary(plan: &Plan) -> Result<Vec<String>> {
    let networks = Networks::of(&plan.model)?;
    let mut lines: Vec<String> = plan.in_place().map(|note| format!("a stand-in: {note}")).into_iter().collect();
    lines.push(parts(&networks));
    lines.extend([steps(plan), trained(&plan.adapter, &networks)]);
    // f16 is for cards only; of another type it is not known yet where it will be computed in.
    let on_card = plan.train.dtype == Dtype::F16;
    lines.extend(memory(plan, &estimate(plan, &networks, on_card)));
    if crate::config::local::config(&plan.model, "unet").is_none() {
        let family = networks.family.name();
        lines.push(format!("these lines assume {family}: the model is not on this machine yet"));
    }
    lines.extend(note(plan).map(|note| format!("note: {note}")));
    lines.extend(captions(plan, &networks));
    lines.extend(sources(plan));
    lines.extend(shapes(plan));
    lines.extend(class_images(plan));
    lines.extend(downloads(plan, &networks));
    Ok(lines)
}

/// The buckets of images that are here, and what is cut of them.
fn shapes(plan: &Plan) -> Vec<String> {
    let is_square = !plan.dataset.buckets.on && plan.dataset.resolution.side().is_some();
    let survey = (!is_square).then(|| Survey::of(plan)).flatten();
    survey.map(|survey| survey.lines()).unwrap_or_default()
}

/// What the model is and consists of.
fn parts(networks: &Networks) -> String {
    let of = |part: &PartKind| format!("{} {}", part.name, grouped(networks.parameters(part.name)));
    let parts: Vec<String> = networks.family.parts().iter().map(of).collect();
    format!("model: {}, parameters of {}", networks.family.name(), parts.join(", "))
}

fn trained(adapter: &Adapter, networks: &Networks) -> String {
    let Networks { unet, text_encoders, .. } = networks;
    let several = text_encoders.len() > 1;
    let count = Trained::new(adapter, networks);
    let (all, total) = (grouped(unet.parameters()), grouped(count.total()));
    let with_text = count.text_encoder > 0;
    let method = adapter::method(adapter);
    match &method.beside_weights {
        Some(beside) => {
            let of_text = match &method.text_encoder {
                Trainable::Lora(config) => {
                    text_encoders.values().map(|encoder| encoder.read.targeted(&config.targets).count()).sum()
                }
                Trainable::None | Trainable::Full => 0,
            };
            let modules = unet.targeted(method.targets()).count() + of_text;
            let of = if with_text {
                format!(
                    "{total} of the UNet's {all} and of the {} {}",
                    if several { "text encoders'" } else { "text encoder's" },
                    grouped(text_encoders.values().map(|encoder| encoder.network.parameters()).sum::<usize>())
                )
            } else {
                format!("{total} of the UNet's {all}")
            };
            format!("trains {of} parameters: {beside} beside {modules} modules")
        }
        None if with_text => {
            let text = if several { "text encoders" } else { "text encoder" };
            let parts = format!("{all} of the UNet and {} of the {text}", grouped(count.text_encoder));
            format!("trains all {total} parameters: {parts}")
        }
        None => format!("trains all of the UNet's {all} parameters"),
    }
}

fn memory(plan: &Plan, memory: &Memory) -> [String; 2] {
    let parts = [
        ("weights", memory.weights),
        ("gradients", memory.gradients),
        ("moments", memory.moments),
        ("average", memory.average),
        ("activations", memory.activations),
    ];
    let shown = parts.iter().filter(|(_, size)| *size > 0).map(|(name, size)| format!("{name} {}", bytes(*size)));
    let shown: Vec<String> = shown.collect();
    let saved = bytes(memory.checkpointing_saves);
    let checkpointing = if plan.train.gradient_checkpointing {
        format!("gradient checkpointing saves {saved} of activations, for about a third more time")
    } else {
        format!("train.gradient_checkpointing would save {saved} of activations, for about a third more time")
    };
    [format!("memory, estimated: {} ({})", bytes(memory.total()), shown.join(", ")), checkpointing]
}

/// What it costs that tags are drawn.
fn captions(plan: &Plan, networks: &Networks) -> Option<String> {
    let encoders = networks.text_encoders.values();
    let size = FLOAT * encoders.map(|encoder| encoder.network.parameters() as u64).sum::<u64>();
    plan.dataset.parts().iter().any(|part| part.rules.draws_tags()).then(|| {
        format!(
            "captions: tags are drawn, so texts are encoded when they come, one for each picture of a step, and the text encoders' {} \
             stay in memory",
            bytes(size)
        )
    })
}

/// Each source, where there are several.
fn sources(plan: &Plan) -> Vec<String> {
    let line = |part: &DataPart| {
        let name = part.name.as_ref()?;
        let count = local::pictures(&part.source).map(|count| counted(count, "picture"));
        let mut told = count.unwrap_or_else(|| "pictures that are not counted yet".to_owned());
        if part.repeats > 1 {
            told = format!("{told}, each {} times", part.repeats);
        }
        if part.weight.total_cmp(&1.0).is_ne() {
            told = format!("{told}, loss times {}", part.weight);
        }
        if part.prior {
            told += ", as class images";
        }
        let prompt = part.prompt.as_ref().map_or_else(|| "their captions".to_owned(), |prompt| format!("{prompt:?}"));
        Some(format!("source “{name}”: {told}, with {prompt}"))
    };
    plan.dataset.parts().iter().filter_map(line).collect()
}

fn class_images(plan: &Plan) -> Vec<String> {
    let Objective::DreamBooth(dreambooth) = &plan.objective else { return Vec::new() };
    let line = |part: ClassPart| match part {
        ClassPart::Folder(path, _) => {
            let found = local::pictures_in(&path).unwrap_or(0);
            Some(format!("class images: {} in {}, none is made", counted(found, "picture"), path.display()))
        }
        ClassPart::Drawn(prompt) => Some(format!(
            "class images: {} of {prompt:?} in {} of {}, unless they are here",
            grouped(dreambooth.class_images),
            counted(dreambooth.class_sample.steps, "step"),
            dreambooth.class_sample.sampler
        )),
        ClassPart::Part(_) => None,
    };
    plan.class_parts().into_iter().filter_map(line).collect()
}

fn downloads(plan: &Plan, networks: &Networks) -> Vec<String> {
    let mut lines = Vec::new();
    let missing = local::missing_files(&plan.model, networks.family);
    if !missing.is_empty() {
        let size = missing.iter().map(|file| usual_size(file, networks)).sum();
        lines.push(format!("downloads the model from {}, about {}:", place(&plan.model), bytes(size)));
        lines.extend(missing.iter().map(|file| format!("  {file}")));
    }
    for part in plan.dataset.parts().iter().filter(|part| !part.source.is_here()) {
        lines.push(format!("downloads the pictures from {}, unless they are here", place(&part.source)));
    }
    lines.extend(local::missing_encoders(plan).into_iter().filter_map(|name| {
        let (repo, _) = name.repo()?;
        let size = bytes(name.download_bytes());
        Some(format!("downloads {name} to measure the pictures, from Hugging Face ({repo}), about {size}"))
    }));
    lines
}

/// The size of a file of the model in 32 bits; the small ones do not count.
fn usual_size(file: &str, networks: &Networks) -> u64 {
    if !file.ends_with(SAFETENSORS) {
        return 0;
    }
    let is_of = |part: &&PartKind| file.strip_prefix(part.name.as_str()).is_some_and(|rest| rest.starts_with('/'));
    match networks.family.parts().iter().find(is_of) {
        Some(part) => FLOAT * networks.parameters(part.name) as u64,
        // A model in one file, which most often is stored in 16 bits.
        None => FLOAT / 2 * networks.unet.parameters() as u64 + networks.others / 2,
    }
}

fn place(source: &Source) -> String {
    match source {
        Source::Path(path) => path.display().to_string(),
        Source::Builtin(builtin) => builtin.to_string(),
        Source::HuggingFace { repo, modelscope: None, .. } => format!("Hugging Face ({repo})"),
        Source::HuggingFace { repo, modelscope: Some(other), .. } => {
            format!("Hugging Face ({repo}) or ModelScope ({other})")
        }
        Source::ModelScope { repo, .. } => format!("ModelScope ({repo})"),
        Source::SingleFile(single) => place(&single.at),
    }
}
