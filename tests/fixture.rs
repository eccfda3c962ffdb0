//! The fixtures by name, and how tensors are compared with them.

use candle_core::{DType, Device, Tensor};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tunelab::assets::local;
use tunelab::model::family::Family;
use tunelab::pipeline::{ModelFiles, PipelineLoader};
use tunelab::random::Generator;
use tunelab::weights::PartName;

/// Tensors by name.
pub type Tensors = HashMap<String, Tensor>;

/// A file or folder of `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A fixture's tensors.
pub fn tensors(name: &str) -> Tensors {
    candle_core::safetensors::load(fixture(name), &Device::Cpu).unwrap()
}

/// The small pipeline.
pub fn model() -> ModelFiles {
    local::find(&fixture("model")).unwrap()
}

/// Its networks on the CPU, frozen unless something else is said.
pub fn loader(files: &ModelFiles) -> PipelineLoader<'_> {
    PipelineLoader::of_files(files, &Device::Cpu)
}

/// Standard normal numbers that depend on the seed alone.
pub fn randn(dims: &[usize], seed: u64) -> Tensor {
    let values = Generator::manual_seed(seed).randn(dims.iter().product());
    Tensor::from_vec(values, dims, &Device::Cpu).unwrap()
}

/// All values in order.
pub fn values(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_vec1().unwrap()
}

/// The largest absolute value.
pub fn largest(t: &Tensor) -> f64 {
    let t = t.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    t.abs().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// The largest difference, relative to the reference's largest value.
pub fn relative(ours: &Tensor, reference: &Tensor) -> f64 {
    assert_eq!(ours.dims(), reference.dims());
    let to_f64 = |t: &Tensor| t.to_dtype(DType::F64).unwrap();
    largest(&(to_f64(ours) - to_f64(reference)).unwrap()) / largest(reference).max(1e-30)
}

/// Within 1e-4 of the reference's largest value.
#[track_caller]
pub fn close(ours: &Tensor, reference: &Tensor, what: &str) {
    within(ours, reference, 1e-4, what);
}

/// Within `limit` of the reference's largest value.
#[track_caller]
pub fn within(ours: &Tensor, reference: &Tensor, limit: f64, what: &str) {
    let difference = relative(ours, reference);
    assert!(difference < limit, "{what}: differs by {difference:.2e}");
}

/// Stable Diffusion 1.5's networks.
pub mod sd15 {
    use super::{Family, PartName};
    use tunelab::model::clip::ClipConfig;
    use tunelab::model::published;
    use tunelab::model::unet::UnetConfig;
    use tunelab::model::vae::VaeConfig;

    pub fn unet() -> UnetConfig {
        published::unet(Family::Sd1).unwrap()
    }

    pub fn vae() -> VaeConfig {
        published::vae(Family::Sd1).unwrap()
    }

    pub fn text_encoder() -> ClipConfig {
        published::text_encoder(Family::Sd1, PartName::TextEncoder).unwrap()
    }
}
