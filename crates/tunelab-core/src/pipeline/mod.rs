//! A model as a whole: which family it is, its files by part, and its networks as one [`Pipeline`].
//!
//! In: a model's files, or nothing but the sizes of its networks; a device; what is trained. Out:
//! tokenizers, text encoders, UNet, VAE and noise schedule, and texts as [`Conditioning`] for the
//! UNet.

mod files;
pub mod load;
pub mod original_names;
mod text;

pub use crate::model::conditioning::Conditioning;
pub use crate::model::family::{ConditioningKind, Family, LoraPrefixes, PartKind, SCHEDULER, TokenizerKind};
pub use files::{ModelFiles, TOKENIZER_FILES};
pub use load::{Configs, PipelineLoader};
pub use text::{Ids, PromptEmbeds, TextEncoders, TokenIds, Tokenizers, tokenize};

use crate::diffusion::NoiseSchedule;
use crate::error::{Error, Result};
use crate::model::build::{Build, Parameters};
use crate::model::lora::LoraLayers;
use crate::model::unet::Unet;
use crate::model::vae::Vae;
use crate::weights::PartName;
use std::collections::BTreeMap;

/// Everything between a prompt and an image.
pub struct Pipeline {
    /// What the model is.
    pub family: Family,
    /// Prompts to ids.
    pub tokenizers: Tokenizers,
    /// Ids to conditioning.
    pub text_encoders: TextEncoders,
    /// The noise predictor.
    pub unet: Unet,
    /// Images to latents and back.
    pub vae: Vae,
    /// How noise is added.
    pub schedule: NoiseSchedule,
    /// The tensors of the UNet and of the text encoders, from which they can be built again over
    /// the same memory.
    pub parameters: BTreeMap<PartName, Parameters>,
}

impl Pipeline {
    /// The tensors of the UNet or of a text encoder. Errors if the model has no such part.
    pub fn parameters(&self, part: PartName) -> Result<&Parameters> {
        self.parameters.get(&part).ok_or_else(|| Error::run(format!("the model has no {part} with tensors")))
    }

    /// The same, which reads texts in so many chunks.
    #[must_use]
    pub fn with_text_chunks(self, chunks: usize) -> Self {
        let tokenizers = self.tokenizers.with_chunks(chunks);
        Self { tokenizers, text_encoders: self.text_encoders.with_chunks(chunks), ..self }
    }

    /// Numbers in all networks.
    pub fn parameter_count(&self) -> usize {
        self.parameters.values().map(Parameters::weight_count).sum::<usize>() + self.vae.parameter_count()
    }

    /// The same with these adapters, alpha / rank multiplied into B.
    pub fn with_lora(mut self, mut adapters: BTreeMap<PartName, LoraLayers>) -> Result<Self> {
        for (part, parameters) in &mut self.parameters {
            let Some(lora) = adapters.remove(part) else { continue };
            *parameters = std::mem::take(parameters).with_lora(lora).folded()?;
            match part {
                PartName::Unet => {
                    self.unet = Unet::new(self.unet.config(), Build::from_parameters(parameters.clone()))?.0;
                }
                _ => self.text_encoders.rebuild(*part, parameters.clone())?,
            }
        }
        Ok(self)
    }
}
