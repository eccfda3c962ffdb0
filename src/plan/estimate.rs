//! How much memory a plan needs, roughly, before anything is loaded.
//!
//! In: the plan and the UNet's modules. Out: bytes, in parts. The formula, all in 32-bit floats:
//!
//! - *weights*: UNet, VAE and text encoder as they are stored;
//! - *adapter*: four numbers for each trained one (value, gradient, two moments of AdamW);
//! - *activations*, for each picture of the batch: half as much again as the outputs of all the UNet's modules (the other half
//!   stands for activation functions and residual sums), and one map of attention weights for each head.
//!
//! For LoRA on Stable Diffusion 1.5 at 256 × 256 and batch 1 this gives 5.0 GB, which is what PyTorch needs for it.
//! It is an estimate: what a device's libraries keep for themselves is not in it.

use super::count::{Shape, Unet};
use super::{Adapter, Plan};

/// Numbers in Stable Diffusion 1.5's VAE, times their size.
pub const SD15_VAE_BYTES: u64 = 83_653_863 * FLOAT;
/// Numbers in its text encoder, times their size.
pub const SD15_TEXT_ENCODER_BYTES: u64 = 123_060_480 * FLOAT;

const FLOAT: u64 = 4;
/// Tokens of a caption.
const TOKENS: u64 = 77;

/// Bytes that a run will need, in parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The frozen model.
    pub weights: u64,
    /// What is trained, with gradients and the optimiser's state.
    pub adapter: u64,
    /// What the forward pass keeps for the backward pass.
    pub activations: u64,
}

impl Memory {
    /// All parts together.
    pub fn total(&self) -> u64 {
        self.weights + self.adapter + self.activations
    }
}

/// The memory that training needs; `others` are the bytes of the VAE and the text encoder.
pub fn estimate(plan: &Plan, unet: &Unet, others: u64) -> Memory {
    let trained = match &plan.adapter {
        Adapter::Lora(lora) => unet.trained(lora),
        Adapter::Full(_) => unet.parameters(),
    };
    // The VAE halves a picture three times.
    let pixels = (plan.dataset.resolution as u64 / 8).pow(2);
    Memory {
        weights: unet.parameters() as u64 * FLOAT + others,
        adapter: 4 * FLOAT * trained as u64,
        activations: plan.train.batch_size as u64 * FLOAT * activations(unet, pixels),
    }
}

/// Numbers kept for one picture whose latent has this many pixels.
fn activations(unet: &Unet, pixels: u64) -> u64 {
    let (mut outputs, mut maps) = (0, 0);
    for module in &unet.modules {
        let at_level = (pixels >> (2 * module.level)).max(1);
        let rows = if matches!(module.shape, Shape::Linear { on_text: true, .. }) { TOKENS } else { at_level };
        outputs += rows * module.shape.outputs() as u64;
        if module.name.ends_with("attn1.to_q") {
            maps += unet.heads as u64 * at_level * at_level;
        } else if module.name.ends_with("attn2.to_q") {
            maps += unet.heads as u64 * at_level * TOKENS;
        }
    }
    outputs * 3 / 2 + maps
}
