//! The fixtures, compiled in.
//!
//! In: nothing. Out: a folder of this process' own among the temporary ones, with the small pipeline in it, gone at the end; and
//! the tensors of a fixture by its name.

use candle_core::{Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tunelab::assets::local;
use tunelab::error::{Error, Result};
use tunelab::pipeline::ModelFiles;

/// Tensors by name.
pub type Tensors = HashMap<String, Tensor>;

macro_rules! embedded {
    ($($path:literal),* $(,)?) => {
        [$(($path, include_bytes!(concat!("../../tests/fixtures/", $path)).as_slice())),*]
    };
}

/// The small pipeline, and a LoRA for it.
const MODEL: [(&str, &[u8]); 13] = embedded![
    "lora/pytorch_lora_weights.safetensors",
    "model/model_index.json",
    "model/scheduler/scheduler_config.json",
    "model/text_encoder/config.json",
    "model/text_encoder/model.safetensors",
    "model/tokenizer/merges.txt",
    "model/tokenizer/special_tokens_map.json",
    "model/tokenizer/tokenizer_config.json",
    "model/tokenizer/vocab.json",
    "model/unet/config.json",
    "model/unet/diffusion_pytorch_model.safetensors",
    "model/vae/config.json",
    "model/vae/diffusion_pytorch_model.safetensors",
];

/// What it computes, as PyTorch, diffusers, transformers and PEFT have it.
const TENSORS: [(&str, &[u8]); 11] = embedded![
    "adamw.safetensors",
    "dreambooth.safetensors",
    "pipeline.safetensors",
    "samplers.safetensors",
    "text_encoder.safetensors",
    "text_encoder_full.safetensors",
    "unet_forward.safetensors",
    "unet_full.safetensors",
    "unet_lora.safetensors",
    "unet_lora_conv.safetensors",
    "vae.safetensors",
];

/// A fixture's tensors, in host memory.
pub fn tensors(name: &str) -> Result<Tensors> {
    let bytes = TENSORS.iter().find(|(path, _)| *path == name).map(|(_, bytes)| *bytes);
    let bytes = bytes.ok_or_else(|| Error::run(format!("no fixture {name}")))?;
    Ok(candle_core::safetensors::load_buffer(bytes, &Device::Cpu)?)
}

/// A temporary folder.
pub struct Folder(PathBuf);

impl Folder {
    /// Writes the small pipeline.
    pub fn unpack() -> Result<Self> {
        let folder = Self(std::env::temp_dir().join(format!("tunelab-gpu-check-{}", std::process::id())));
        for (path, bytes) in MODEL {
            let path = folder.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap_or(&folder.0))?;
            fs_err::write(path, bytes)?;
        }
        Ok(folder)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn model(&self) -> Result<ModelFiles> {
        local::find(&self.0.join("model"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays among the temporary files.
        let _ = fs_err::remove_dir_all(&self.0);
    }
}
