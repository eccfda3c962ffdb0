//! What the program carries with it: a miniature of Stable Diffusion, five pictures of one dog to
//! train it on, the judge of what it draws, and what models in one file lack.
//!
//! In: nothing. Out: names and bytes of files that were compiled in from `assets/`, so that they
//! are wherever the program is. [`crate::assets`] writes them into folders, and the rest of the
//! program works on them as on any other. The largest are packed by `build.rs` and unpacked at their
//! first use.

use std::collections::BTreeSet;
use std::fmt;
use std::io::Read;
use std::sync::LazyLock;

use flate2::read::ZlibDecoder;

/// Something that is compiled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builtin {
    /// A complete small model in diffusers' layout, with float16 weights.
    Mini,
    /// Five pictures of one corgi.
    Corgi,
    /// The classifier that says what the miniature's pictures show ([`crate::measure::judge`]).
    Judge,
    /// What a model of Stable Diffusion 1.x in one file lacks of diffusers' layout: configurations,
    /// CLIP's tokenizer, noise schedules.
    Sd1,
    /// The same of Stable Diffusion 2.x; the UNet's in two sizes of picture.
    Sd2,
    /// The same of Stable Diffusion XL's base model.
    Sdxl,
}

/// One file: its path in the folder, with `/`, and its bytes.
pub type File = (&'static str, &'static [u8]);

macro_rules! files {
    ($folder:literal, $($path:literal),+ $(,)?) => {
        &[$(($path, include_bytes!(concat!("../assets/", $folder, "/", $path)))),+]
    };
}

/// A file that `build.rs` packed, and how many bytes each of its values has: the first byte of each
/// value, then the second.
macro_rules! packed {
    ($name:literal, $width:literal) => {{
        static UNPACKED: LazyLock<Vec<u8>> =
            LazyLock::new(|| unpacked(include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".packed")), $width));
        UNPACKED.as_slice()
    }};
}

fn unpacked(packed: &[u8], width: usize) -> Vec<u8> {
    let mut planes = Vec::new();
    ZlibDecoder::new(packed).read_to_end(&mut planes).expect("build.rs packed it");
    if width == 1 {
        return planes;
    }
    let mut bytes = vec![0; planes.len()];
    let mut from = planes.into_iter();
    for plane in 0..width {
        bytes.iter_mut().skip(plane).step_by(width).zip(&mut from).for_each(|(byte, of)| *byte = of);
    }
    bytes
}

static MINI: LazyLock<Vec<File>> = LazyLock::new(|| {
    let configs: &[File] = files!(
        "mini",
        "model_index.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "unet/config.json",
        "vae/config.json",
    );
    let weights: [File; 3] = [
        ("text_encoder/model.safetensors", packed!("text_encoder", 2)),
        ("unet/diffusion_pytorch_model.safetensors", packed!("unet", 2)),
        ("vae/diffusion_pytorch_model.safetensors", packed!("vae", 2)),
    ];
    sorted(configs.iter().chain(&weights))
});

static CORGI: &[File] = files!("corgi", "1.png", "2.png", "3.png", "4.png", "5.png");

/// Under the name that every encoder's weights have.
static JUDGE: LazyLock<[File; 1]> = LazyLock::new(|| [("model.safetensors", packed!("judge", 2))]);

/// The configurations by their paths in diffusers' layout, and a noise schedule for each kind of
/// prediction.
static SD1_CONFIGS: &[File] = files!(
    "sd1",
    "scheduler/scheduler_config.json",
    "scheduler_v_prediction/scheduler_config.json",
    "scheduler_zero_snr/scheduler_config.json",
    "text_encoder/config.json",
    "unet/config.json",
    "vae/config.json",
);

/// `OpenAI`'s vocabulary of CLIP, as pairs that are joined in this order.
static MERGES: LazyLock<&str> = LazyLock::new(|| str::from_utf8(packed!("merges", 1)).expect("a text"));

/// `vocab.json`, which follows from the pairs: all bytes, all bytes at a word's end, then what each
/// pair joins, then begin and end of a text.
static VOCABULARY: LazyLock<String> = LazyLock::new(|| {
    let bytes = byte_signs();
    let ends = bytes.iter().map(|sign| format!("{sign}</w>"));
    let joined = MERGES.lines().skip(1).map(|pair| pair.replace(' ', ""));
    let tokens = bytes.iter().cloned().chain(ends).chain(joined);
    let tokens = tokens.chain(["<|startoftext|>", "<|endoftext|>"].map(str::to_owned));
    let quoted = |token: String| token.replace('\\', "\\\\").replace('"', "\\\"");
    let entries = tokens.enumerate().map(|(id, token)| format!("\"{}\":{id}", quoted(token)));
    format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
});

/// What stands for each byte: itself where it can be seen, in its order; then the others as the
/// characters from 256 on (GPT-2's table).
fn byte_signs() -> Vec<String> {
    let seen: Vec<u32> = (33..=126).chain(161..=172).chain(174..=255).collect();
    let is_seen: BTreeSet<u32> = seen.iter().copied().collect();
    let others = (0..256).filter(|byte| !is_seen.contains(byte)).zip(256..).map(|(_, sign)| sign);
    seen.iter().copied().chain(others).filter_map(char::from_u32).map(String::from).collect()
}

static SD2_CONFIGS: &[File] = files!(
    "sd2",
    "scheduler/scheduler_config.json",
    "scheduler_v_prediction/scheduler_config.json",
    "scheduler_zero_snr/scheduler_config.json",
    "text_encoder/config.json",
    "unet/config.json",
    "unet_768/config.json",
    "vae/config.json",
);

static SDXL_CONFIGS: &[File] = files!(
    "sdxl",
    "scheduler/scheduler_config.json",
    "scheduler_v_prediction/scheduler_config.json",
    "scheduler_zero_snr/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "unet/config.json",
    "vae/config.json",
);

/// The files of one tokenizer.
type TokenizerFiles = [File; 5];

/// CLIP's tokenizer in this folder, with what its texts are padded with.
macro_rules! tokenizer {
    ($folder:literal, $special_tokens_map:literal) => {
        [
            (concat!($folder, "/LICENSE"), &include_bytes!("../assets/clip/LICENSE")[..]),
            (concat!($folder, "/merges.txt"), MERGES.as_bytes()),
            (
                concat!($folder, "/special_tokens_map.json"),
                &include_bytes!(concat!("../assets/clip/", $special_tokens_map))[..],
            ),
            (concat!($folder, "/tokenizer_config.json"), &include_bytes!("../assets/clip/tokenizer_config.json")[..]),
            (concat!($folder, "/vocab.json"), VOCABULARY.as_bytes()),
        ]
    };
}

/// Stable Diffusion 1.x pads with the end token.
fn clip_tokenizer() -> TokenizerFiles {
    tokenizer!("tokenizer", "special_tokens_map.json")
}

/// 2.x pads with the first word, "!", as `OpenCLIP` does.
fn open_clip_tokenizer() -> TokenizerFiles {
    tokenizer!("tokenizer", "special_tokens_map_open_clip.json")
}

/// So does the second encoder of XL.
fn open_clip_tokenizer_2() -> TokenizerFiles {
    tokenizer!("tokenizer_2", "special_tokens_map_open_clip.json")
}

fn with_tokenizers(configs: &[File], tokenizers: &[TokenizerFiles]) -> Vec<File> {
    sorted(configs.iter().chain(tokenizers.iter().flatten()))
}

/// In the order of their paths.
fn sorted<'a>(files: impl Iterator<Item = &'a File>) -> Vec<File> {
    let mut files: Vec<File> = files.copied().collect();
    files.sort_unstable();
    files
}

static SD1: LazyLock<Vec<File>> = LazyLock::new(|| with_tokenizers(SD1_CONFIGS, &[clip_tokenizer()]));
static SD2: LazyLock<Vec<File>> = LazyLock::new(|| with_tokenizers(SD2_CONFIGS, &[open_clip_tokenizer()]));
static SDXL: LazyLock<Vec<File>> =
    LazyLock::new(|| with_tokenizers(SDXL_CONFIGS, &[clip_tokenizer(), open_clip_tokenizer_2()]));

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
            Self::Sd1 => "sd1",
            Self::Sd2 => "sd2",
            Self::Sdxl => "sdxl",
        }
    }

    /// Its files, in the order of their paths.
    pub fn files(self) -> &'static [File] {
        match self {
            Self::Mini => &MINI,
            Self::Corgi => CORGI,
            Self::Judge => &*JUDGE,
            Self::Sd1 => &SD1,
            Self::Sd2 => &SD2,
            Self::Sdxl => &SDXL,
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
