//! How many numbers a text encoder holds and a plan trains of it, from its config.json alone.
//!
//! In: the text of the config (class `CLIPTextModel`). Out: counts. No weights are needed, as in [`super::count`].

use serde::Deserialize;

use crate::error::{Error, Result};

/// Stable Diffusion 1.5's values, for when the model is not on this machine.
pub const SD15_TEXT_ENCODER: &str = r#"{
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "vocab_size": 49408, "max_position_embeddings": 77
}"#;

/// The sizes of a CLIP text model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct TextEncoder {
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    vocab_size: usize,
    max_position_embeddings: usize,
}

impl TextEncoder {
    /// Reads a `config.json`.
    ///
    /// Errors: not JSON, or a size is missing.
    pub fn from_config(json: &str) -> Result<Self> {
        serde_json::from_str(json)
            .map_err(|e| Error::input("the text encoder's config.json is not as Stable Diffusion 1.x has it").cause(e))
    }

    /// Tokens of a caption, padding included: 77 for Stable Diffusion 1.5.
    pub fn tokens(&self) -> usize {
        self.max_position_embeddings
    }

    /// Weights of the whole text model: 123,060,480 for Stable Diffusion 1.5.
    pub fn parameters(&self) -> usize {
        let width = self.hidden_size;
        let embeddings = (self.vocab_size + self.max_position_embeddings) * width;
        let attention = 4 * (width * width + width);
        let feed_forward = 2 * width * self.intermediate_size + self.intermediate_size + width;
        let norm = 2 * width;
        embeddings + self.num_hidden_layers * (attention + feed_forward + 2 * norm) + norm
    }

    /// Weights of a LoRA of rank 1 beside q, k, v and out of every layer: 73,728 for Stable Diffusion 1.5.
    pub fn lora_parameters(&self) -> usize {
        self.lora_modules() * 2 * self.hidden_size
    }

    /// The modules that get one.
    pub fn lora_modules(&self) -> usize {
        4 * self.num_hidden_layers
    }

    /// Numbers that the forward pass of one caption keeps for the backward pass, counted as in [`super::estimate`].
    pub fn activations(&self) -> usize {
        let tokens = self.max_position_embeddings;
        let outputs = tokens * (7 * self.hidden_size + self.intermediate_size);
        self.num_hidden_layers * outputs
    }
}
