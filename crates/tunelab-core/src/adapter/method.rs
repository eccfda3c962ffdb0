//! A way to fine-tune as values: all that the program has to know of it before it writes files.

use crate::model::build::Trainable;

/// What a way to fine-tune trains, and how it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Method {
    /// Its word in tables.
    pub label: &'static str,
    /// What of the UNet is trained.
    pub unet: Trainable,
    /// What of the text encoder is trained.
    pub text_encoder: Trainable,
    /// What is trained beside the networks' weights, for a person; `None`: the weights themselves
    /// are trained.
    pub beside_weights: Option<String>,
    /// The decay of a moving average that is kept of what is trained, and saved in its place.
    pub ema_decay: Option<f64>,
    /// What it leaves in a run's `weights/`.
    pub output: Output,
}

/// What a finished run's `weights/` hold. The file is the last one that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// An adapter for the base model, in this file.
    Adapter(&'static str),
    /// A whole model in diffusers' layout, with this file.
    Model(&'static str),
}

impl Method {
    /// Whether the networks' own weights are trained, so that they cannot be kept rounded.
    pub fn trains_weights(&self) -> bool {
        self.beside_weights.is_none()
    }

    /// The ends of the names of the UNet's modules that are adapted; none where its weights are
    /// trained.
    pub fn targets(&self) -> &[String] {
        match &self.unet {
            Trainable::Lora(config) => &config.targets,
            Trainable::None | Trainable::Full => &[],
        }
    }
}
