//! The families of models: what each consists of, and what other programs call it.
//!
//! In: a family. Out: its parts with weights, in the order in which they are listed; the tokenizers
//! of its text encoders; what its UNet is conditioned on; its names in `model_index.json`, in LoRA
//! files and in ModelSpec's metadata.

use crate::weights::PartName;

/// Which networks a model has, and how they work together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Stable Diffusion 1.x and 2.x: one text encoder, and its hidden states alone for the UNet.
    Sd1,
}

/// What of the texts goes to the UNet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConditioningKind {
    /// The text encoder's last hidden states.
    HiddenStates,
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

impl Family {
    /// All that there are.
    pub const ALL: [Self; 1] = [Self::Sd1];

    /// The parts with weights.
    pub const fn parts(self) -> &'static [PartKind] {
        match self {
            Self::Sd1 => &[UNET, VAE, CLIP],
        }
    }

    /// The text encoders, each with its tokenizer.
    pub fn text_encoders(self) -> impl Iterator<Item = (PartName, TokenizerKind)> {
        self.parts().iter().filter_map(|part| Some((part.name, part.tokenizer?)))
    }

    /// What of the texts goes to the UNet.
    pub const fn conditioning(self) -> ConditioningKind {
        match self {
            Self::Sd1 => ConditioningKind::HiddenStates,
        }
    }

    /// How LoRA files call a part, if it can have one.
    pub fn lora_prefixes(self, part: PartName) -> Option<LoraPrefixes> {
        self.parts().iter().find(|kind| kind.name == part)?.lora
    }

    /// The pipeline's class in `model_index.json`.
    pub const fn pipeline_class(self) -> &'static str {
        match self {
            Self::Sd1 => "StableDiffusionPipeline",
        }
    }

    /// Its name in ModelSpec's metadata.
    pub const fn architecture(self) -> &'static str {
        match self {
            Self::Sd1 => "stable-diffusion-v1",
        }
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
        parts.chain(self.text_encoders().flat_map(tokenizer)).chain([super::SCHEDULER.to_owned()]).collect()
    }
}
