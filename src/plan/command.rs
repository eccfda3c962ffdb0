//! The commands that only look: `tunelab check` and `tunelab plan`.
//!
//! In: their arguments. Out: on stdout an `ok` line for each good file, or the resolved plan as TOML with what it amounts
//! to as comments.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;

use super::count::{SD15_UNET, Unet};
use super::estimate::estimate;
use super::{Adapter, Length, Plan, Source, local};
use crate::cli::{CheckArgs, PlanArgs};
use crate::error::{Error, Result};

/// `tunelab check FILE…`: every problem of every file.
///
/// Errors: a file has problems (they are in the error, or on stderr where there are several files), or two files would
/// write into the same results folder.
pub fn check(args: &CheckArgs) -> Result<()> {
    let mut names: BTreeMap<String, &PathBuf> = BTreeMap::new();
    let mut failures = Vec::new();
    for file in &args.files {
        match Plan::load(file, &args.set).and_then(|plan| unique(&mut names, &plan.name, file)) {
            Ok(()) => print(&format!("ok {}\n", file.display()))?,
            Err(error) => failures.push(error),
        }
    }
    if failures.len() == 1 {
        return Err(failures.remove(0));
    }
    for error in &failures {
        // A closed stderr must not hide the exit code.
        let _ = writeln!(io::stderr(), "{error}\n");
    }
    match failures.len() {
        0 => Ok(()),
        bad => Err(Error::input(format!("{bad} of {} experiments have problems", args.files.len()))),
    }
}

/// Notes the plan's name; an error if another file has it.
pub(crate) fn unique<'f>(names: &mut BTreeMap<String, &'f PathBuf>, name: &str, file: &'f PathBuf) -> Result<()> {
    let message = format!("{} has the same name as", file.display());
    match names.insert(name.to_owned(), file) {
        Some(other) if other != file => Err(Error::input(format!("{message} {}", other.display()))
            .hint("both would write into one results folder; give one of them another `name`")),
        _ => Ok(()),
    }
}

/// `tunelab plan FILE`: the resolved plan with what it amounts to.
///
/// Errors: the file's problems, or a model folder whose UNet is of another kind.
pub fn plan(args: &PlanArgs) -> Result<()> {
    let plan = Plan::load(&args.file, &args.set)?;
    let comments = summary(&plan)?.join("\n# ");
    print(&format!("# {comments}\n\n{}", plan.to_toml()))
}

/// What a plan amounts to, in lines for a person: steps, trained parameters, memory, downloads.
pub fn summary(plan: &Plan) -> Result<Vec<String>> {
    let config = local::unet_config(&plan.model);
    let unet = Unet::from_config(config.as_deref().unwrap_or(SD15_UNET))?;
    let Adapter::Lora(lora) = &plan.adapter;
    let memory = estimate(plan, &unet, local::frozen_bytes(&plan.model));
    let mut lines = vec![
        steps(plan),
        format!(
            "trains {} of the UNet's {} parameters: LoRA of rank {} beside {} modules",
            grouped(unet.trained(lora)),
            grouped(unet.parameters()),
            lora.rank,
            unet.targeted(&lora.targets).count()
        ),
        format!(
            "memory, estimated: {} (model {}, adapter and optimiser {}, activations {})",
            size(memory.total()),
            size(memory.weights),
            size(memory.adapter),
            size(memory.activations)
        ),
    ];
    if config.is_none() {
        lines.push("these two lines assume Stable Diffusion 1.5: the model is not on this machine yet".into());
    }
    lines.extend(downloads(plan, &unet));
    Ok(lines)
}

fn steps(plan: &Plan) -> String {
    let batch = counted(plan.train.batch_size * plan.train.gradient_accumulation, "picture");
    match (plan.train.length, local::pictures(&plan.dataset.source)) {
        (Length::Steps(steps), _) => format!("{} of {batch}", counted(steps, "step")),
        (Length::Epochs(epochs), Some(pictures)) => {
            let steps = counted(plan.train.total_steps(pictures), "step");
            format!("{steps} of {batch}: {} over {}", counted(epochs, "epoch"), counted(pictures, "picture"))
        }
        (Length::Epochs(epochs), None) => {
            let epochs = counted(epochs, "epoch");
            format!("{epochs} in steps of {batch}; how many steps is known once the pictures are here")
        }
    }
}

fn downloads(plan: &Plan, unet: &Unet) -> Vec<String> {
    let mut lines = Vec::new();
    let missing = local::missing_files(&plan.model);
    if !missing.is_empty() {
        let bytes: u64 = missing.iter().map(|file| usual_size(file, unet)).sum();
        lines.push(format!("downloads the model from {}, about {}:", place(&plan.model), size(bytes)));
        lines.extend(missing.iter().map(|file| format!("  {file}")));
    }
    if !matches!(plan.dataset.source, Source::Path(_)) {
        lines.push(format!("downloads the pictures from {}, unless they are here", place(&plan.dataset.source)));
    }
    lines
}

/// The size of a file of Stable Diffusion 1.x in 32 bits; the small ones do not count.
fn usual_size(file: &str, unet: &Unet) -> u64 {
    match file {
        "unet/diffusion_pytorch_model.safetensors" => 4 * unet.parameters() as u64,
        "vae/diffusion_pytorch_model.safetensors" => super::estimate::SD15_VAE_BYTES,
        "text_encoder/model.safetensors" => super::estimate::SD15_TEXT_ENCODER_BYTES,
        _ => 0,
    }
}

fn place(source: &Source) -> String {
    match source {
        Source::Path(path) => path.display().to_string(),
        Source::HuggingFace { repo, modelscope: None, .. } => format!("Hugging Face ({repo})"),
        Source::HuggingFace { repo, modelscope: Some(other), .. } => {
            format!("Hugging Face ({repo}) or ModelScope ({other})")
        }
        Source::ModelScope { repo, .. } => format!("ModelScope ({repo})"),
    }
}

/// `859520964` → `859,520,964`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
    groups.join(",")
}

/// `1 step`, `500 steps`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", grouped(number), if number == 1 { "" } else { "s" })
}

/// Decimal units, as download pages and disk vendors count.
fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    if bytes >= 1e8 { format!("{:.1} GB", bytes / 1e9) } else { format!("{:.1} MB", bytes / 1e6) }
}

/// Writes data to stdout. A reader that has gone away (`tunelab plan x | head -1`) wants no more, which is no fault.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::run("cannot write to stdout").cause(e)),
        _ => Ok(()),
    }
}
