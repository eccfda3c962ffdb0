//! The encoders that images are compared by: which there are, and where they come from.
//!
//! In: nothing. Out: names, repositories, and the metrics that each gives.

use std::fmt;

use clap::ValueEnum;

/// The published encoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum EncoderName {
    /// DINO ViT-S/16, the `DreamBooth` paper's.
    #[value(name = "dino_vits16")]
    DinoVits16,
    /// CLIP ViT-B/32, the one that papers mean where they name none.
    #[value(name = "clip_vit_b32")]
    ClipVitB32,
    /// CLIP ViT-L/14, whose text encoder Stable Diffusion 1 was trained with.
    #[value(name = "clip_vit_l14")]
    ClipVitL14,
}

impl EncoderName {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DinoVits16 => "dino_vits16",
            Self::ClipVitB32 => "clip_vit_b32",
            Self::ClipVitL14 => "clip_vit_l14",
        }
    }

    /// The Hugging Face repository, and a revision that has the weights as safetensors.
    pub const fn repo(self) -> (&'static str, &'static str) {
        match self {
            Self::DinoVits16 => ("facebook/dino-vits16", "refs/pr/1"),
            Self::ClipVitB32 => ("openai/clip-vit-base-patch32", "refs/pr/15"),
            Self::ClipVitL14 => ("openai/clip-vit-large-patch14", "main"),
        }
    }

    /// The name of its subject fidelity.
    pub const fn metric(self) -> &'static str {
        if self.reads_prompts() { "clip_i" } else { "dino" }
    }

    /// Whether it can compare an image with a prompt.
    pub const fn reads_prompts(self) -> bool {
        !matches!(self, Self::DinoVits16)
    }
}

impl fmt::Display for EncoderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
