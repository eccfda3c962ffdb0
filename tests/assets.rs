//! The assets room: weight files, model folders and hubs, whole and broken in every way we could think of.

mod builtin;
mod folders;
mod huggingface;
mod modelscope;
mod packs;
mod saving;
pub mod server;
pub mod single_file;
mod single_file_families;
mod weights;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use tunelab::weights::write_safetensors;

/// The names and bytes of a repository.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A tensor whose values all differ: `start`, `start + 1`, …
fn counting(start: f32, shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| start + i as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Writes a safetensors file of the given tensors.
fn save(path: &Path, tensors: &[(&str, Tensor)]) {
    let tensors = tensors.iter().map(|(name, tensor)| ((*name).to_owned(), tensor.clone())).collect();
    write_safetensors(path, &tensors, &BTreeMap::new()).unwrap();
}

/// The bytes of a safetensors file with one tensor.
fn safetensors(start: f32, elements: usize) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("one.safetensors");
    save(&path, &[("weight", counting(start, &[elements]))]);
    fs_err::read(path).unwrap()
}

/// The files of a small Stable Diffusion repository, with some that nobody needs.
fn model() -> Files {
    let text = |s: &str| s.as_bytes().to_vec();
    let index = r#"{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"], "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "safety_checker": [null, null]}"#;
    Files::from([
        ("README.md".into(), text("# A model")),
        ("model_index.json".into(), text(index)),
        ("scheduler/scheduler_config.json".into(), text("{}")),
        ("text_encoder/config.json".into(), text(r#"{"t": 1}"#)),
        ("text_encoder/model.safetensors".into(), safetensors(1.0, 10)),
        ("text_encoder/pytorch_model.bin".into(), text("PK")),
        ("tokenizer/merges.txt".into(), text("#version: 0.2\n")),
        ("tokenizer/vocab.json".into(), text(r#"{"a": 0}"#)),
        ("unet/config.json".into(), text(r#"{"u": 1}"#)),
        ("unet/diffusion_pytorch_model.fp16.safetensors".into(), safetensors(9.0, 5)),
        // Larger than the socket's buffers, so that a cut in the middle is one.
        ("unet/diffusion_pytorch_model.safetensors".into(), safetensors(2.0, 500_000)),
        ("vae/config.json".into(), text(r#"{"v": 1}"#)),
        ("vae/diffusion_pytorch_model.safetensors".into(), safetensors(3.0, 30)),
    ])
}

/// The files of `model` that a run needs.
const NEEDED: usize = 10;

/// The files of a data set repository, with some that nobody needs.
fn pictures() -> Files {
    let unneeded = ["README.md", ".gitattributes", "LICENSE.txt", "x.py", "b/alone.caption"];
    let names = PICTURES.into_iter().chain(unneeded);
    names.map(|name| (name.to_owned(), format!("bytes of {name}").into_bytes())).collect()
}

/// The files of `pictures` that a run needs.
const PICTURES: [&str; 5] = ["01.jpeg", "01.txt", "b/02.Caption", "b/02.PNG", "metadata.jsonl"];

fn write_all(root: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = root.join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
    }
}
