//! The families of models: what each consists of, and what other programs call it.
//!
//! In: a family. Out: its parts with weights, in the order in which they are listed; the tokenizers
//! of its text encoders; what its UNet is conditioned on; its names in `model_index.json`, in LoRA
//! files and in ModelSpec's metadata.

use super::clip::{Activation, ClipConfig};
use crate::diffusion::{PredictionType, Sampler};

use crate::builtin::Builtin;
pub use crate::weights::Family;
use crate::weights::PartName;

/// The noise schedule's file, from the model's folder on.
pub const SCHEDULER: &str = "scheduler/scheduler_config.json";

/// What of the texts goes to the UNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditioningKind {
    /// The text encoder's last hidden states.
    HiddenStates,
    /// What goes into the text encoders' last layers, side by side, and the second one's texts as one vector.
    Penultimate,
}

impl ConditioningKind {
    /// Width of a text as one vector, where the UNet is told of it.
    pub fn pooled_width(self, encoders: &[ClipConfig]) -> Option<usize> {
        match self {
            Self::HiddenStates => None,
            Self::Penultimate => encoders.iter().find_map(|config| config.projection_dim),
        }
    }

    /// Whether it depends on the tensor of this name of a text encoder.
    pub fn reads(self, tensor: &str, encoder: Option<&ClipConfig>) -> bool {
        match self {
            Self::HiddenStates => true,
            Self::Penultimate => encoder.is_none_or(|config| config.penultimate_reads(tensor)),
        }
    }
}

/// One part of a family with weights of its own.
#[derive(Debug, Clone, Copy)]
pub struct PartKind {
    /// Which part, and its folder.
    pub name: PartName,
    /// The stem of its weight files.
    pub stem: &'static str,
    /// Its class in `model_index.json`.
    pub class: &'static str,
    /// What makes its ids, for a text encoder.
    pub tokenizer: Option<TokenizerKind>,
    /// How LoRA files call it, if it can have one.
    pub lora: Option<LoraPrefixes>,
}

/// The tokenizer of a text encoder.
#[derive(Debug, Clone, Copy)]
pub struct TokenizerKind {
    /// Its folder.
    pub folder: &'static str,
    /// Its class in `model_index.json`; the same with `Fast` behind it is it too.
    pub class: &'static str,
}

/// How the names of a part's tensors begin in LoRA files.
#[derive(Debug, Clone, Copy)]
pub struct LoraPrefixes {
    /// In diffusers' and PEFT's, before a point.
    pub diffusers: &'static str,
    /// In kohya's.
    pub kohya: &'static str,
}

const UNET: PartKind = PartKind {
    name: PartName::Unet,
    stem: "diffusion_pytorch_model",
    class: "UNet2DConditionModel",
    tokenizer: None,
    lora: Some(LoraPrefixes { diffusers: "unet", kohya: "lora_unet_" }),
};

const VAE: PartKind = PartKind {
    name: PartName::Vae,
    stem: "diffusion_pytorch_model",
    class: "AutoencoderKL",
    tokenizer: None,
    lora: None,
};

const CLIP: PartKind = PartKind {
    name: PartName::TextEncoder,
    stem: "model",
    class: "CLIPTextModel",
    tokenizer: Some(TokenizerKind { folder: "tokenizer", class: "CLIPTokenizer" }),
    lora: Some(LoraPrefixes { diffusers: "text_encoder", kohya: "lora_te_" }),
};

const CLIP_1: PartKind =
    PartKind { lora: Some(LoraPrefixes { diffusers: "text_encoder", kohya: "lora_te1_" }), ..CLIP };

const CLIP_2: PartKind = PartKind {
    name: PartName::TextEncoder2,
    stem: "model",
    class: "CLIPTextModelWithProjection",
    tokenizer: Some(TokenizerKind { folder: "tokenizer_2", class: "CLIPTokenizer" }),
    lora: Some(LoraPrefixes { diffusers: "text_encoder_2", kohya: "lora_te2_" }),
};

impl Family {
    /// All that there are.
    pub const ALL: [Self; 3] = [Self::Sd1, Self::Sd2, Self::Sdxl];

    /// As people call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sd1 => "Stable Diffusion 1.x",
            Self::Sd2 => "Stable Diffusion 2.x",
            Self::Sdxl => "Stable Diffusion XL",
        }
    }

    /// What the program has of it beside weights: configurations of its best known model, tokenizers, noise schedules.
    pub const fn compiled_in(self) -> Builtin {
        match self {
            Self::Sd1 => Builtin::Sd1,
            Self::Sd2 => Builtin::Sd2,
            Self::Sdxl => Builtin::Sdxl,
        }
    }

    /// A model of one text encoder by what that is: 2.x has OpenCLIP's, with the exact GELU.
    #[must_use]
    pub fn by_text_encoder(self, config: &ClipConfig) -> Self {
        match (self, config.hidden_act) {
            (Self::Sdxl, _) => Self::Sdxl,
            (_, Activation::Gelu) => Self::Sd2,
            (_, Activation::QuickGelu) => Self::Sd1,
        }
    }

    /// What a repository most likely holds, by its name alone.
    pub fn by_repo_name(repo: &str) -> Self {
        let name = repo.to_lowercase();
        let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
        match () {
            () if has(&["xl", "pony", "illustrious", "animagine"]) => Self::Sdxl,
            () if has(&["stable-diffusion-2", "sd2", "sd-2"]) => Self::Sd2,
            () => Self::Sd1,
        }
    }

    /// The parts with weights.
    pub const fn parts(self) -> &'static [PartKind] {
        match self {
            Self::Sd1 | Self::Sd2 => &[UNET, VAE, CLIP],
            Self::Sdxl => &[UNET, VAE, CLIP_1, CLIP_2],
        }
    }

    /// The text encoders, each with its tokenizer.
    pub fn text_encoders(self) -> impl Iterator<Item = (PartName, TokenizerKind)> {
        self.parts().iter().filter_map(|part| Some((part.name, part.tokenizer?)))
    }

    /// What of the texts goes to the UNet.
    pub const fn conditioning(self) -> ConditioningKind {
        match self {
            Self::Sd1 | Self::Sd2 => ConditioningKind::HiddenStates,
            Self::Sdxl => ConditioningKind::Penultimate,
        }
    }

    /// How LoRA files call a part, if it can have one.
    pub fn lora_prefixes(self, part: PartName) -> Option<LoraPrefixes> {
        self.parts().iter().find(|kind| kind.name == part)?.lora
    }

    /// How diffusers' pipeline draws by default with the family's best known model: sampler and guidance scale.
    pub const fn usual_sampling(self) -> (Sampler, f64) {
        match self {
            Self::Sd1 => (Sampler::Pndm, 7.5),
            Self::Sd2 => (Sampler::Ddim, 7.5),
            Self::Sdxl => (Sampler::Euler, 5.0),
        }
    }

    /// The pipeline's class in `model_index.json`.
    pub const fn pipeline_class(self) -> &'static str {
        match self {
            Self::Sd1 | Self::Sd2 => "StableDiffusionPipeline",
            Self::Sdxl => "StableDiffusionXLPipeline",
        }
    }

    /// Its name in ModelSpec's metadata.
    pub const fn architecture(self, prediction: PredictionType) -> &'static str {
        match (self, prediction) {
            (Self::Sd1, _) => "stable-diffusion-v1",
            (Self::Sd2, PredictionType::Epsilon) => "stable-diffusion-v2-512",
            (Self::Sd2, PredictionType::VPrediction) => "stable-diffusion-v2-768-v",
            (Self::Sdxl, _) => "stable-diffusion-xl-v1-base",
        }
    }

    /// Its name in kohya's `ss_base_model_version`.
    pub const fn base_model_version(self, prediction: PredictionType) -> &'static str {
        match (self, prediction) {
            (Self::Sd1, PredictionType::Epsilon) => "sd_v1",
            (Self::Sd1, PredictionType::VPrediction) => "sd_v1_v",
            (Self::Sd2, PredictionType::Epsilon) => "sd_v2",
            (Self::Sd2, PredictionType::VPrediction) => "sd_v2_v",
            (Self::Sdxl, _) => "sdxl_base_v1-0",
        }
    }

    /// Whether kohya's LoRA files call the UNet's modules by their original names.
    pub const fn lora_has_original_names(self) -> bool {
        matches!(self, Self::Sdxl)
    }

    /// The files of a model as repositories have them most often: what a download brings.
    pub fn usual_files(self) -> Vec<String> {
        let weights = |part: &PartKind| {
            let PartKind { name, stem, .. } = part;
            [format!("{name}/config.json"), format!("{name}/{stem}.safetensors")]
        };
        let tokenizer =
            |(_, kind): (_, TokenizerKind)| ["vocab.json", "merges.txt"].map(|name| format!("{}/{name}", kind.folder));
        let parts = self.parts().iter().flat_map(weights);
        parts.chain(self.text_encoders().flat_map(tokenizer)).chain([SCHEDULER.to_owned()]).collect()
    }
}
