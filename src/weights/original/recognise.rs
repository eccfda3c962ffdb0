//! What one file with weights is, by its tensors' names and shapes: its metadata is not asked, for
//! most files have none.
//!
//! In: a file. Out: a [`SingleFile`] of a family that is built; or the refusal, which names what it
//! is: another family, a model for another task, a part alone, an adapter.

use std::collections::BTreeMap;
use std::path::Path;

use super::Original;
use crate::builtin::Builtin;
use crate::error::{Error, Result};
use crate::weights::{PartName, Weights};

/// How a family's file is made up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Stable Diffusion 1.x.
    Sd1,
}

/// What a model predicts, where its file says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity.
    V,
    /// The velocity, over a schedule that ends in pure noise.
    VZeroSnr,
}

/// A model in one file.
#[derive(Debug, Clone)]
pub struct SingleFile {
    /// What it is.
    pub architecture: Architecture,
    /// What it predicts.
    pub prediction: Prediction,
    /// Which of its parts are stored in float16.
    pub half: Vec<PartName>,
    /// What in it is no part of a model, in one line, if that is worth a word.
    pub beside: Option<String>,
}

impl Prediction {
    /// The noise schedule among the compiled-in ones.
    pub const fn scheduler(self) -> &'static str {
        match self {
            Self::Epsilon => "scheduler/scheduler_config.json",
            Self::V => "scheduler_v_prediction/scheduler_config.json",
            Self::VZeroSnr => "scheduler_zero_snr/scheduler_config.json",
        }
    }
}

/// What to take in place of a file that is refused.
const REMEDY: &str = "take a Stable Diffusion 1.x checkpoint: one file with UNet, VAE and text encoder";

/// Where the UNet's names begin.
const UNET: &str = "model.diffusion_model.";

/// Widths of the text that attention reads, and whose they are.
const CONTEXTS: [(usize, &str); 3] = [
    (1024, "Stable Diffusion 2.x"),
    (1280, "the refiner of Stable Diffusion XL"),
    (2048, "Stable Diffusion XL, or a smaller model made of it"),
];

/// Channels of the first convolution, and the kinds of models that have them.
const CHANNELS: [(usize, &str); 4] = [
    (5, "a depth-to-image model"),
    (7, "an upscaler"),
    (8, "InstructPix2Pix, which edits pictures"),
    (9, "an inpainting model"),
];

/// Pieces of the names of models with a transformer in place of the UNet.
const TRANSFORMERS: [(&str, &str); 6] = [
    ("joint_blocks.", "Stable Diffusion 3"),
    ("double_blocks.", "Flux, or another model of its kind"),
    ("cap_embedder.", "Lumina"),
    ("patchify_proj.", "LTX-Video"),
    ("double_layers.", "AuraFlow"),
    ("single_transformer_blocks.", "Flux"),
];

/// Markers of schedules that are not built.
const SCHEDULES: [(&str, &str); 2] =
    [("edm_vpred.sigma_max", "a model of CosXL's kind (EDM)"), ("edm_mean", "a model of Playground 2.5's kind (EDM)")];

/// Names that files of Stable Diffusion 1.x have beside their parts: not worth a word.
const USUAL: [&str; 14] = [
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "v_pred",
    "ztsnr",
];

impl Architecture {
    /// What the program has of it beside the weights.
    pub const fn compiled_in(self) -> Builtin {
        match self {
            Self::Sd1 => Builtin::Sd1,
        }
    }

    /// The parts of its file.
    pub const fn parts(self) -> &'static [(PartName, Original)] {
        match self {
            Self::Sd1 => &[
                (PartName::Unet, Original::Unet { linear_projection: false }),
                (PartName::Vae, Original::Vae),
                (PartName::TextEncoder, Original::Clip { prefix: "cond_stage_model.transformer." }),
            ],
        }
    }
}

/// Says what the file is.
///
/// Errors: it is no safetensors file, or cut off; a model that is not built, or something else, by
/// its name; parts are missing, by theirs.
pub fn recognise(file: &Path) -> Result<SingleFile> {
    let weights = Weights::open(&[file.to_owned()])?;
    let architecture = architecture(&weights).map_err(|(what, remedy)| {
        Error::input(format!("{}: this is {what}, which is not supported as a model", file.display())).hint(remedy)
    })?;
    let parts = architecture.parts();
    let has = |prefix: &str| weights.names().any(|name| name.starts_with(prefix));
    let missing: Vec<String> = parts
        .iter()
        .filter(|(_, original)| !has(original.prefix()))
        .map(|(part, original)| format!("{part} ({}…)", original.prefix()))
        .collect();
    if !missing.is_empty() {
        let message = format!("{}: parts of the model are not in this file: {}", file.display(), missing.join(", "));
        return Err(Error::input(message).hint(
            "a full checkpoint is needed, with UNet, VAE and text encoder in one file; or a folder in diffusers' layout",
        ));
    }
    let is_half = |(_, original): &&(PartName, Original)| weights.is_half(original.prefix());
    Ok(SingleFile {
        architecture,
        prediction: prediction(&weights),
        half: parts.iter().filter(is_half).map(|(part, _)| *part).collect(),
        beside: beside(file, &weights, parts),
    })
}

/// What is refused, and what to do.
type Refused = (&'static str, &'static str);

fn architecture(weights: &Weights) -> std::result::Result<Architecture, Refused> {
    let has = |piece: &str| weights.names().any(|name| name.contains(piece));
    let begins = |start: &str| weights.names().any(|name| name.starts_with(start));
    if begins("control_model.") || has("input_hint_block.") || has("controlnet_cond_embedding.") {
        return Err(("a ControlNet", REMEDY));
    }
    if let Some((_, what)) = TRANSFORMERS.iter().find(|(piece, _)| has(piece)) {
        return Err((what, REMEDY));
    }
    if !begins(UNET) {
        return Err(without_unet(weights));
    }
    if let Some((_, what)) = SCHEDULES.iter().find(|(name, _)| weights.shape(name).is_some()) {
        return Err((what, REMEDY));
    }
    let shape = |name: &str| weights.shape(&format!("{UNET}{name}"));
    let first = shape("input_blocks.0.0.weight").unwrap_or_default();
    let channels = first.get(1).copied();
    if let Some((_, what)) = CHANNELS.iter().find(|(known, _)| Some(*known) == channels) {
        return Err((what, REMEDY));
    }
    let is_context = |name: &&str| name.starts_with(UNET) && name.ends_with(".attn2.to_k.weight");
    let context = weights.names().find(is_context).and_then(|name| weights.shape(name)?.last().copied());
    if let Some((_, what)) = CONTEXTS.iter().find(|(known, _)| Some(*known) == context) {
        return Err((what, REMEDY));
    }
    if begins("conditioner.embedders.1.") {
        return Err(("Stable Diffusion XL", REMEDY));
    }
    if shape("label_emb.0.0.weight").is_some() {
        return Err(("a model that is conditioned on more than text, as Stable Diffusion XL is", REMEDY));
    }
    if begins("cond_stage_model.model.") || begins("conditioner.embedders.0.model.") {
        return Err(("Stable Diffusion 2.x", REMEDY));
    }
    if context.is_none() {
        return Err(("a UNet without text", REMEDY));
    }
    Ok(Architecture::Sd1)
}

/// What a file is that has no UNet under ldm's names.
fn without_unet(weights: &Weights) -> Refused {
    let has = |piece: &str| weights.names().any(|name| name.contains(piece));
    let begins = |start: &str| weights.names().any(|name| name.starts_with(start));
    let is = |name: &str| weights.shape(name).is_some();
    let full = "a full checkpoint is needed, with UNet, VAE and text encoder in one file";
    if ["lora_", ".lora", "_lora", "hada_", "lokr_"].iter().any(|piece| has(piece)) {
        return ("a LoRA file", "give the model that it was trained on, and this file beside it with --lora");
    }
    let widths = |names: &[&str]| names.iter().any(|name| is(name));
    if widths(&["emb_params", "clip_l", "clip_g"]) || is_embedding(weights) {
        return ("an embedding (textual inversion)", REMEDY);
    }
    if begins("model_ema.diffusion_model") {
        return ("the average of a training (EMA) without the weights themselves", full);
    }
    let vae = ["", "first_stage_model.", "vae."].map(|prefix| format!("{prefix}decoder.conv_in.weight"));
    if vae.iter().any(|name| is(name)) {
        return ("a VAE alone", full);
    }
    if is("input_blocks.0.0.weight") || is("conv_in.weight") && begins("down_blocks.") {
        return ("a UNet alone", full);
    }
    if has("text_model.encoder.layers.") || has("transformer.resblocks.") {
        return ("a text encoder alone", full);
    }
    ("no model that is known here, by its tensors' names", REMEDY)
}

/// A few vectors as wide as a text encoder, and nothing else.
fn is_embedding(weights: &Weights) -> bool {
    let is_vectors = |name: &str| matches!(weights.shape(name), Some([.., 768 | 1024 | 1280]));
    !weights.is_empty() && weights.names().count() <= 4 && weights.names().all(is_vectors)
}

fn prediction(weights: &Weights) -> Prediction {
    let said = weights.metadata().get("modelspec.prediction_type").map(String::as_str);
    let marked = |name| weights.shape(name).is_some();
    match (marked("v_pred") || matches!(said, Some("v" | "v_prediction")), marked("ztsnr")) {
        (false, _) => Prediction::Epsilon,
        (true, false) => Prediction::V,
        (true, true) => Prediction::VZeroSnr,
    }
}

/// What belongs to no part, by what stands before the first point.
fn beside(file: &Path, weights: &Weights, parts: &[(PartName, Original)]) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in weights.names() {
        let known = parts.iter().any(|(_, original)| name.starts_with(original.prefix()));
        let first = name.split('.').next().unwrap_or(name);
        if !known && !USUAL.contains(&name) {
            *counts.entry(first).or_default() += 1;
        }
    }
    let told = |(first, count): (&&str, &usize)| {
        let of = if *first == "model_ema" { ", the average (EMA) of its training" } else { "" };
        let tensors = if *count == 1 { "1 tensor".to_owned() } else { format!("{count} tensors") };
        format!("{first} ({tensors}{of})")
    };
    let told: Vec<String> = counts.iter().map(told).collect();
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    (!told.is_empty()).then(|| format!("{name}: passed over: {}", told.join(", ")))
}
