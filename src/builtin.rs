//! What the program carries with it: a miniature of Stable Diffusion, five pictures of one dog to
//! train it on, and the judge of what it draws.
//!
//! In: nothing. Out: names and bytes of files that were compiled in from `assets/`, so that they
//! are wherever the program is. [`crate::assets`] unpacks them, and the rest of the program works
//! on them as on any other folder.

use std::fmt;

/// Something that is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// A complete small model in diffusers' layout, with float16 weights.
    Mini,
    /// Five pictures of one corgi.
    Corgi,
    /// The classifier that says what the miniature's pictures show ([`crate::measure::judge`]).
    Judge,
}

/// One file: its path in the folder, with `/`, and its bytes.
pub type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($folder:literal, $($path:literal),+ $(,)?) => {
        &[$(($path, include_bytes!(concat!("../assets/", $folder, "/", $path)))),+]
    };
}

static MINI: &[File] = files!(
    "mini",
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
);

static CORGI: &[File] = files!("corgi", "1.png", "2.png", "3.png", "4.png", "5.png");

/// Under the name that every encoder's weights have.
static JUDGE: &[File] = &[("model.safetensors", include_bytes!("../assets/mini/judge.safetensors"))];

impl Builtin {
    /// What `model.builtin` may say.
    pub const MODELS: [(&'static str, Self); 1] = [("mini", Self::Mini)];
    /// What `dataset.builtin` may say.
    pub const DATASETS: [(&'static str, Self); 1] = [("corgi", Self::Corgi)];

    /// Its name: of model and data set the one that an experiment says.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mini => "mini",
            Self::Corgi => "corgi",
            Self::Judge => "judge",
        }
    }

    /// Its files, in the order of their paths.
    pub fn files(self) -> &'static [File] {
        match self {
            Self::Mini => MINI,
            Self::Corgi => CORGI,
            Self::Judge => JUDGE,
        }
    }

    /// The bytes of one of its files.
    pub fn file(self, path: &str) -> Option<&'static [u8]> {
        self.files().iter().find(|(name, _)| *name == path).map(|(_, bytes)| *bytes)
    }
}

impl fmt::Display for Builtin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "builtin:{}", self.name())
    }
}
