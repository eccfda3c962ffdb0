//! What one file with weights is, by its tensors' names and shapes: its metadata is not asked, for
//! most files have none.
//!
//! In: a file. Out: a [`SingleFile`] of a family that is built; or the refusal, which names what it
//! is: another family, a model for another task, a part alone, an adapter.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Original, Projection};
use crate::error::{Error, Result};
use crate::weights::{Family, PartName, Weights};
use candle_core::{DType, Device};

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
    pub family: Family,
    /// Its parts, and how their tensors are named.
    pub parts: Vec<(PartName, Original)>,
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
const REMEDY: &str = "take a checkpoint of Stable Diffusion 1.x, 2.x or XL: one file with UNet, VAE and text encoders";

/// Where the UNet's names begin.
const UNET: &str = "model.diffusion_model.";

/// Where the names of text encoders begin.
const CLIP: &str = "cond_stage_model.transformer.";
const OPEN_CLIP: &str = "cond_stage_model.model.";
const FIRST_EMBEDDER: &str = "conditioner.embedders.0.transformer.";
const ONLY_EMBEDDER: &str = "conditioner.embedders.0.model.";
const SECOND_EMBEDDER: &str = "conditioner.embedders.1.model.";

/// The last transformer block of a level of Stable Diffusion XL that the smaller models made of it lack.
const TENTH_BLOCK: &str = "input_blocks.7.1.transformer_blocks.9.attn2.to_k.weight";

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

impl SingleFile {
    /// A file of diffusers' layout by its name among those that are compiled in: there is a noise schedule for each kind of
    /// prediction, and of Stable Diffusion 2 a UNet of each size of picture.
    pub fn compiled_in_name<'n>(&self, name: &'n str) -> &'n str {
        match name {
            "scheduler/scheduler_config.json" => self.prediction.scheduler(),
            "unet/config.json" if self.family == Family::Sd2 && self.prediction != Prediction::Epsilon => {
                "unet_768/config.json"
            }
            name => name,
        }
    }
}

/// The parts of a family's file.
fn parts(family: Family, weights: &Weights) -> Result<Vec<(PartName, Original)>> {
    let has = |prefix: &str| weights.names().any(|name| name.starts_with(prefix));
    let unet = (PartName::Unet, Original::Unet { linear_projection: family != Family::Sd1 });
    let text = match family {
        Family::Sd1 => vec![(PartName::TextEncoder, Original::Clip { prefix: CLIP })],
        Family::Sd2 => {
            let prefix = if has(ONLY_EMBEDDER) { ONLY_EMBEDDER } else { OPEN_CLIP };
            vec![(PartName::TextEncoder, Original::OpenClip { prefix, projection: Projection::None })]
        }
        Family::Sdxl => {
            let projection = if is_transposed(weights)? { Projection::Transposed } else { Projection::Plain };
            vec![
                (PartName::TextEncoder, Original::Clip { prefix: FIRST_EMBEDDER }),
                (PartName::TextEncoder2, Original::OpenClip { prefix: SECOND_EMBEDDER, projection }),
            ]
        }
    };
    Ok([unet, (PartName::Vae, Original::Vae)].into_iter().chain(text).collect())
}

/// Whether the projection lies as Stability's file has it. kohya's and `OneTrainer`'s files have it the other way round under
/// the same name, and nothing else says which; two of its numbers, which trainings hardly move, tell.
fn is_transposed(weights: &Weights) -> Result<bool> {
    const OURS: [f64; 2] = [0.0218, -0.0037];
    const NEAR: f64 = 2e-3;
    let name = format!("{SECOND_EMBEDDER}text_projection");
    if !matches!(weights.shape(&name), Some([1280, 1280])) {
        return Ok(true);
    }
    let values = weights.load(&name, &Device::Cpu, DType::F32)?;
    let at =
        |row: usize, column: usize| -> Result<f64> { Ok(f64::from(values.get(row)?.get(column)?.to_scalar::<f32>()?)) };
    let found = [at(1, 0)?, at(0, 1)?];
    Ok(!OURS.iter().zip(found).all(|(ours, found)| (ours - found).abs() < NEAR))
}

/// Says what the file is.
///
/// Errors: it is no safetensors file, or cut off; a model that is not built, or something else, by
/// its name; parts are missing, by theirs.
pub fn recognise(file: &Path) -> Result<SingleFile> {
    let weights = Weights::open(&[file.to_owned()])?;
    let family = family(&weights).map_err(|(what, remedy)| {
        Error::input(format!("{}: this is {what}, which is not supported as a model", file.display())).hint(remedy)
    })?;
    let parts = parts(family, &weights)?;
    let has = |prefix: &str| weights.names().any(|name| name.starts_with(prefix));
    let missing: Vec<String> = parts
        .iter()
        .filter(|(_, original)| !has(original.prefix()))
        .map(|(part, original)| format!("{part} ({}…)", original.prefix()))
        .collect();
    if !missing.is_empty() {
        let message = format!("{}: parts of the model are not in this file: {}", file.display(), missing.join(", "));
        return Err(Error::input(message).hint(
            "a full checkpoint is needed, with UNet, VAE and text encoders in one file; or a folder in diffusers' layout",
        ));
    }
    let is_half = |(_, original): &&(PartName, Original)| weights.is_half(original.prefix());
    Ok(SingleFile {
        family,
        prediction: prediction(family, &weights)?,
        half: parts.iter().filter(is_half).map(|(part, _)| *part).collect(),
        beside: beside(file, &weights, &parts),
        parts,
    })
}

/// What is refused, and what to do.
type Refused = (&'static str, &'static str);

fn family(weights: &Weights) -> std::result::Result<Family, Refused> {
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
    let sizes = shape("label_emb.0.0.weight").and_then(|shape| shape.get(1).copied());
    match (context, sizes) {
        (Some(1280), _) => Err(("the refiner of Stable Diffusion XL", REMEDY)),
        (_, Some(_)) if begins(ONLY_EMBEDDER) && !begins(SECOND_EMBEDDER) => {
            Err(("the refiner of Stable Diffusion XL", REMEDY))
        }
        (Some(2048), Some(_)) if shape(TENTH_BLOCK).is_none() => {
            Err(("a smaller model made of Stable Diffusion XL (SSD-1B, Vega, KOALA)", REMEDY))
        }
        (Some(2048), _) => Ok(Family::Sdxl),
        _ if begins(SECOND_EMBEDDER) => Ok(Family::Sdxl),
        (Some(1024), Some(_)) => Err(("an unCLIP model, which varies pictures", REMEDY)),
        (_, Some(_)) => Err(("a model that is conditioned on more than text, as Stable Diffusion XL is", REMEDY)),
        (Some(1024), None) => Ok(Family::Sd2),
        _ if begins(OPEN_CLIP) || begins(ONLY_EMBEDDER) => Ok(Family::Sd2),
        (None, None) => Err(("a UNet without text", REMEDY)),
        (Some(_), None) => Ok(Family::Sd1),
    }
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

fn prediction(family: Family, weights: &Weights) -> Result<Prediction> {
    let said = weights.metadata().get("modelspec.prediction_type").map(String::as_str);
    let marked = |name| weights.shape(name).is_some();
    let predicts_v = match said {
        Some("v" | "v_prediction") => true,
        Some("epsilon") => marked("v_pred"),
        _ => marked("v_pred") || family == Family::Sd2 && has_deep_biases(weights)?,
    };
    Ok(match (predicts_v, marked("ztsnr")) {
        (false, _) => Prediction::Epsilon,
        (true, false) => Prediction::V,
        (true, true) => Prediction::VZeroSnr,
    })
}

/// What tells Stable Diffusion 2's two kinds of UNet apart, which no marker does: the biases of a norm near the end are larger
/// where the velocity is predicted (the bound is `ComfyUI`'s).
fn has_deep_biases(weights: &Weights) -> Result<bool> {
    const NORM: &str = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    const BOUND: f64 = 0.09;
    if weights.shape(NORM).is_none() {
        return Ok(false);
    }
    let biases = weights.load(NORM, &Device::Cpu, DType::F64)?.flatten_all()?.to_vec1::<f64>()?;
    let mean = biases.iter().sum::<f64>() / biases.len() as f64;
    let variance = biases.iter().map(|bias| (bias - mean).powi(2)).sum::<f64>() / biases.len() as f64;
    Ok(variance.sqrt() > BOUND)
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
