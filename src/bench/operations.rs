//! How many operations the work takes: two for each multiplication of the matrix products, convolutions and attention.
//!
//! In: the modules of the networks and the size of a picture. Out: operations (FLOP). Norms, activations and sums are not counted;
//! they are a few thousandths. What is computed twice (probabilities of attention in backward, checkpointing) counts once: these are
//! the operations that the result needs.

use super::networks::{self, TOKENS};
use crate::config::count::{Module, Shape, Unet};
use crate::model::clip::ClipConfig;

/// The UNet's passes over one batch.
pub struct UnetPasses {
    /// Forward.
    pub forward: f64,
    /// The gradients of what goes into each module, where anything before it may be trained.
    pub inputs: f64,
    /// The gradients of all weights.
    pub weights: f64,
}

impl UnetPasses {
    /// For `samples` latents of `pixels` values a channel.
    pub fn new(unet: &Unet, samples: usize, pixels: usize) -> Self {
        let mut passes = Self { forward: 0.0, inputs: 0.0, weights: 0.0 };
        for module in &unet.modules {
            let rows = samples * rows(module, pixels);
            let product = 2.0 * (rows * weights(module)) as f64;
            let keys = match &module.name {
                name if name.ends_with("attn1.to_q") => rows / samples,
                name if name.ends_with("attn2.to_q") => TOKENS,
                _ => 0,
            };
            // Scores and their product with the values; backward two more products for each.
            let attention = 4.0 * (rows * keys * module.shape.outputs()) as f64;
            passes.forward += product + attention;
            passes.weights += product;
            passes.inputs += 2.0 * attention + if reads_input(module) { 0.0 } else { product };
        }
        passes
    }
}

/// Whether a module reads what nothing trained comes before: latents, text or timesteps.
fn reads_input(module: &Module) -> bool {
    let on_text = matches!(module.shape, Shape::Linear { on_text: true, .. });
    on_text || module.name == "conv_in" || module.name.contains("time_emb")
}

/// Positions that a module works on, for one sample.
fn rows(module: &Module, pixels: usize) -> usize {
    match module.shape {
        Shape::Linear { on_text: true, .. } => TOKENS,
        _ if module.name.contains("time_emb") => 1,
        _ => (pixels >> (2 * module.level)).max(1),
    }
}

/// Weights that each position is multiplied by.
fn weights(module: &Module) -> usize {
    match module.shape {
        Shape::Linear { inputs, outputs, .. } => inputs * outputs,
        Shape::Conv { inputs, outputs, kernel } => inputs * outputs * kernel * kernel,
        Shape::Norm { .. } => 0,
    }
}

/// The VAE's halves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Picture to latents.
    Encoder,
    /// Latents to picture.
    Decoder,
}

/// One half of the VAE over `samples` pictures of `pixels` pixels.
pub fn vae(half: Half, samples: usize, pixels: usize) -> f64 {
    let config = networks::vae_config();
    let (channels, z) = (&config.channels, config.latent_channels);
    let (first, last) = (channels[0], channels[channels.len() - 1]);
    let deepest = pixels >> (2 * (channels.len() - 1));
    let conv = |pixels: usize, inputs: usize, outputs: usize, kernel: usize| {
        (pixels * inputs * outputs * kernel * kernel) as f64
    };
    let resnet = |pixels: usize, inputs: usize, outputs: usize| {
        let shortcut = if inputs == outputs { 0.0 } else { conv(pixels, inputs, outputs, 1) };
        conv(pixels, inputs, outputs, 3) + conv(pixels, outputs, outputs, 3) + shortcut
    };
    let middle = 2.0 * resnet(deepest, last, last)
        + 4.0 * conv(deepest, last, last, 1)
        + 2.0 * (deepest * deepest * last) as f64;
    let mut sum = middle;
    let encodes = half == Half::Encoder;
    let of_latents = if encodes { 2 * z } else { z };
    sum += conv(pixels, 3, first, 3) + conv(deepest, last, of_latents, 3) + conv(deepest, of_latents, of_latents, 1);
    for (level, &outputs) in channels.iter().enumerate() {
        let pixels = pixels >> (2 * level);
        // Coming from the finer level in the encoder, from the coarser one in the decoder.
        let before = if encodes { level.saturating_sub(1) } else { (level + 1).min(channels.len() - 1) };
        let layers = if encodes { config.layers } else { config.layers + 1 };
        sum += resnet(pixels, channels[before], outputs) + (layers - 1) as f64 * resnet(pixels, outputs, outputs);
        if level + 1 < channels.len() {
            let (pixels, channels) = if encodes { (pixels / 4, outputs) } else { (pixels, channels[level + 1]) };
            sum += conv(pixels, channels, channels, 3);
        }
    }
    2.0 * samples as f64 * sum
}

/// The text encoder over `samples` texts.
pub fn text(samples: usize) -> f64 {
    let ClipConfig { width, intermediate, layers, .. } = networks::clip_config();
    let layer = 4 * width * width + 2 * width * intermediate + 2 * TOKENS * width;
    2.0 * (samples * TOKENS * layers * layer) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::count::SD15_UNET;

    /// What PyTorch's `FlopCounterMode` counts in diffusers' modules, for one picture of 256 x 256, in GFLOP.
    #[test]
    fn operations_are_those_of_stable_diffusion() {
        let unet = UnetPasses::new(&Unet::from_config(SD15_UNET).unwrap(), 1, 32 * 32);
        let near =
            |ours: f64, gflop: f64| assert!((ours / 1e9 - gflop).abs() < 0.01 * gflop, "{ours:e}, not {gflop}e9");
        near(unet.forward, 180.106);
        near(unet.inputs + unet.weights, 357.236);
        near(vae(Half::Encoder, 1, 256 * 256), 272.722);
        near(vae(Half::Decoder, 1, 256 * 256), 622.187);
    }
}
