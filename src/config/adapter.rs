//! The two places where methods differ: what is trained ([`Adapter`]), and how a batch and its loss are formed
//! ([`Objective`]). In the file both are under `[adapter]`.

use std::path::PathBuf;

use serde::Serialize;

use crate::diffusion::Sampler;

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Adapter {
    /// Low-rank updates beside frozen weights.
    Lora(Lora),
    /// The weights themselves, all of them.
    Full(Full),
}

/// W x + (alpha / rank) B A x, as PEFT does it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lora {
    /// Rows of A: at least 1.
    pub rank: usize,
    /// Scale of the update, before the division by the rank: above 0.
    pub alpha: f64,
    /// Ends of the names of the modules that get an update; at least one.
    pub targets: Vec<String>,
    /// Share of A's inputs that is dropped in training: 0 to below 1.
    pub dropout: f64,
    /// Also `q_proj`, `k_proj`, `v_proj` and `out_proj` of the text encoder, with the same rank and alpha.
    pub text_encoder: bool,
}

/// Every weight of the UNet.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Full {
    /// Also every weight of the text encoder.
    pub text_encoder: bool,
    /// Keep a moving average of the weights with this decay, and save it in their place: above 0, below 1.
    pub ema_decay: Option<f64>,
    /// Also write one `.safetensors` checkpoint of the whole model.
    pub single_file: bool,
}

/// How a batch and its loss are formed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Each photograph with its caption.
    Captions,
    /// Each photograph with the instance prompt, and beside it a class image with the class prompt.
    DreamBooth(DreamBooth),
}

/// Prior preservation: loss = instance + `prior_loss_weight` · class (Ruiz et al. 2023). The instance prompt is
/// [`crate::config::Dataset::prompt`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DreamBooth {
    /// What class images show: "a dog".
    pub class_prompt: String,
    /// How many class images there are; at least 1.
    pub class_images: usize,
    /// The user's own class images: absolute, and it existed when the plan was made. None are made then.
    pub class_path: Option<PathBuf>,
    /// The class half's weight in the loss: 0 or more.
    pub prior_loss_weight: f64,
    /// The first class image's seed; the others count up from it.
    pub class_seed: u64,
    /// Denoising steps: 1 to 1000.
    pub class_steps: usize,
    /// Classifier-free guidance; 1 is off.
    pub class_guidance_scale: f64,
    /// The denoising method.
    pub class_sampler: Sampler,
    /// Class images that are drawn at once; at least 1. It may change how they are rounded, so it is part of what they are.
    pub class_batch_size: usize,
}
