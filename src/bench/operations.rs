//! How many operations the work takes: two for each multiplication of the matrix products,
//! convolutions and attention.
//!
//! In: the modules of the networks and the size of a sample. Out: operations (FLOP). Norms,
//! activations and sums are not counted; they are a few thousandths. What is computed twice
//! (probabilities of attention in backward, checkpointing) counts once: these are the operations
//! that the result needs.

use crate::error::Result;
use crate::model::clip::ClipConfig;
use crate::model::describe::{Module, Network, Positions};
use crate::model::unet::UnetConfig;
use crate::model::vae::VaeConfig;

/// Of a text, in every family.
pub const TOKENS: usize = 77;

/// What goes through a network at once.
#[derive(Clone, Copy)]
pub struct Batch {
    /// Pictures or texts.
    pub samples: usize,
    /// Pixels of a picture as the network has it, which is the latent one for the UNet.
    pub pixels: usize,
}

/// The passes over one batch.
#[derive(Default)]
pub struct Passes {
    /// Forward.
    pub forward: f64,
    /// The gradients of what goes into each module, where anything before it may be trained.
    pub inputs: f64,
    /// The gradients of all weights.
    pub weights: f64,
}

impl Passes {
    /// Of a UNet.
    pub fn unet(unet: &UnetConfig, batch: Batch) -> Result<Self> {
        Ok(Self::of(&unet.describe()?, batch, |_| true))
    }

    /// Of the modules that `chosen` takes.
    fn of(network: &Network, batch: Batch, chosen: impl Fn(&Module) -> bool) -> Self {
        let mut passes = Self::default();
        for module in network.modules.iter().filter(|module| chosen(module)) {
            let rows = batch.samples * batch.positions(module.positions);
            let product = 2.0 * (rows * module.products()) as f64;
            // Scores and their product with the values; backward two more products for each.
            let attention = 4.0 * (rows * batch.keys(module) * module.outputs()) as f64;
            passes.forward += product + attention;
            passes.weights += product;
            passes.inputs += 2.0 * attention + if reads_input(module) { 0.0 } else { product };
        }
        passes
    }
}

impl Batch {
    fn positions(self, of: Positions) -> usize {
        of.count(self.pixels, TOKENS)
    }

    /// What each result of this module, if it makes queries, is compared with.
    fn keys(self, module: &Module) -> usize {
        match module.name.rsplit_once('.') {
            Some((path, "to_q")) if path.ends_with("attn2") => self.positions(Positions::Tokens),
            Some((_, "to_q" | "q_proj")) => self.positions(module.positions),
            _ => 0,
        }
    }
}

/// Whether a module reads what nothing trained comes before: latents, text or timesteps.
fn reads_input(module: &Module) -> bool {
    module.name == "conv_in" || matches!(module.positions, Positions::Tokens | Positions::Sample)
}

/// The VAE's halves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Picture to latents.
    Encoder,
    /// Latents to picture.
    Decoder,
}

/// One half of a VAE.
pub fn vae(vae: &VaeConfig, half: Half, batch: Batch) -> Result<f64> {
    let parts = match half {
        Half::Encoder => ["encoder", "quant_conv"],
        Half::Decoder => ["decoder", "post_quant_conv"],
    };
    let in_half = |module: &Module| module.name.split('.').next().is_some_and(|part| parts.contains(&part));
    Ok(Passes::of(&vae.describe()?, batch, in_half).forward)
}

/// A text encoder.
pub fn text(encoder: &ClipConfig, samples: usize) -> Result<f64> {
    Ok(Passes::of(&encoder.describe()?, Batch { samples, pixels: 0 }, |_| true).forward)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::family::Family;
    use crate::model::published;
    use crate::weights::PartName;

    /// What PyTorch's `FlopCounterMode` counts in diffusers' modules, for one picture of 256 x 256,
    /// in GFLOP.
    #[test]
    fn operations_are_those_of_stable_diffusion() {
        let unet = Passes::unet(&published::unet(Family::Sd1).unwrap(), Batch { samples: 1, pixels: 32 * 32 }).unwrap();
        let near =
            |ours: f64, gflop: f64| assert!((ours / 1e9 - gflop).abs() < 0.01 * gflop, "{ours:e}, not {gflop}e9");
        near(unet.forward, 180.106);
        near(unet.inputs + unet.weights, 357.236);
        let picture = Batch { samples: 1, pixels: 256 * 256 };
        near(vae(&published::vae(Family::Sd1).unwrap(), Half::Encoder, picture).unwrap(), 272.722);
        near(vae(&published::vae(Family::Sd1).unwrap(), Half::Decoder, picture).unwrap(), 622.187);
        // At 512 and 1024 px, by the sizes of the layers (a multiplication and an addition are two).
        near(
            Passes::unet(&published::unet(Family::Sdxl).unwrap(), Batch { samples: 1, pixels: 64 * 64 })
                .unwrap()
                .forward,
            1589.0,
        );
        near(
            Passes::unet(&published::unet(Family::Sdxl).unwrap(), Batch { samples: 1, pixels: 128 * 128 })
                .unwrap()
                .forward,
            6761.0,
        );
    }

    /// By hand, for each token of each layer: four projections, the feed-forward layers, scores and
    /// values.
    #[test]
    fn operations_of_the_text_encoder_are_counted_as_by_hand() {
        let layer: usize = 4 * 768 * 768 + 2 * 768 * 3072 + 2 * 77 * 768;
        assert_eq!(
            text(&published::text_encoder(Family::Sd1, PartName::TextEncoder).unwrap(), 3).unwrap().to_bits(),
            ((2 * 3 * 77 * 12 * layer) as f64).to_bits()
        );
    }
}
