//! The encoders that images are compared by: which there are, and where they come from.
//!
//! In: nothing. Out: names, repositories, and the metrics that each gives.

use std::fmt;

use clap::ValueEnum;

/// The subject fidelity of the class prompt's images: lower is better.
pub const PRES: &str = "pres";
/// How different a prompt's images are.
pub const DIVERSITY: &str = "diversity";
/// The largest cosine to a training image.
pub const NEAREST: &str = "nearest";

/// The encoders: this program's own, and published ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum EncoderName {
    /// The judge that is compiled in: it knows the miniature's drawn world and nothing else.
    #[value(name = "builtin")]
    Builtin,
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
            Self::Builtin => "builtin",
            Self::DinoVits16 => "dino_vits16",
            Self::ClipVitB32 => "clip_vit_b32",
            Self::ClipVitL14 => "clip_vit_l14",
        }
    }

    /// The Hugging Face repository, and a revision that has the weights as safetensors; `None` of what is compiled in.
    pub const fn repo(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Builtin => None,
            Self::DinoVits16 => Some(("facebook/dino-vits16", "refs/pr/1")),
            Self::ClipVitB32 => Some(("openai/clip-vit-base-patch32", "refs/pr/15")),
            Self::ClipVitL14 => Some(("openai/clip-vit-large-patch14", "main")),
        }
    }

    /// The same on ModelScope, asked where Hugging Face cannot be reached; `None` where no such repository is known.
    pub const fn modelscope(self) -> Option<&'static str> {
        match self {
            Self::ClipVitL14 => Some("AI-ModelScope/clip-vit-large-patch14"),
            Self::Builtin | Self::DinoVits16 | Self::ClipVitB32 => None,
        }
    }

    /// About how many bytes are fetched.
    pub const fn download_bytes(self) -> u64 {
        match self {
            Self::Builtin => 0,
            Self::DinoVits16 => 87_000_000,
            Self::ClipVitB32 => 607_000_000,
            Self::ClipVitL14 => 1_712_000_000,
        }
    }

    /// The name of its subject fidelity, a mean cosine to the photographs.
    pub const fn metric(self) -> &'static str {
        match self {
            Self::Builtin => "subject",
            Self::DinoVits16 => "dino",
            Self::ClipVitB32 | Self::ClipVitL14 => "clip_i",
        }
    }

    /// Its metric that `by` means, if it has it: `subject` and `prompt` are every encoder's own, and the judge, which stands in
    /// for the published ones, gives its own in place of theirs.
    pub fn metric_of(self, by: &str) -> Option<&'static str> {
        match by {
            "subject" => Some(self.metric()),
            "prompt" => self.prompt_metric(),
            "dino" | "clip_i" if self == Self::Builtin => Some(self.metric()),
            "clip_t" if self == Self::Builtin => self.prompt_metric(),
            by => {
                [self.metric()].into_iter().chain(self.prompt_metric()).chain([PRES, DIVERSITY]).find(|own| *own == by)
            }
        }
    }

    /// The name of its prompt fidelity: CLIP's is a cosine, the judge's the share of what a caption says that an image shows.
    /// `None` of what cannot compare an image with a prompt.
    pub const fn prompt_metric(self) -> Option<&'static str> {
        match self {
            Self::Builtin => Some("prompt"),
            Self::DinoVits16 => None,
            Self::ClipVitB32 | Self::ClipVitL14 => Some("clip_t"),
        }
    }

    /// Whether it can compare an image with a prompt.
    pub const fn reads_prompts(self) -> bool {
        self.prompt_metric().is_some()
    }
}

impl fmt::Display for EncoderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
