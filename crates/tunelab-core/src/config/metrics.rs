//! How images are measured: `[metrics]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::Plan;
use super::keys::{Inner, Named, any_text, choices, folder, one_of, settings, whole};
use crate::metrics::EncoderName;

/// The metrics that a best step may be named by. Of `pres` the lowest is the best.
const BEST_BY: [&str; 7] = ["subject", "prompt", "dino", "clip_i", "clip_t", "pres", "diversity"];

settings! {
    /// Is the subject in the images, and is what the prompt says? DINO, CLIP-I, CLIP-T, PRES (Ruiz et al. 2023).
    pub struct Metrics {
        /// Who measures the images; an empty list: nobody.
        encoders: Vec<EncoderName> = Vec::new() => choices::<EncoderName>()
            .usual("[\"dino_vits16\", \"clip_vit_b32\"]; [\"builtin\"] for the built-in model; [] where nothing is drawn")
            .measuring();
        /// A word that no encoder knows, left out of the prompts that images are compared with; may be empty.
        identifier: String = String::new() => any_text()
            .usual("the one word that DreamBooth's instance prompt has and its class prompt lacks")
            .measuring();
        /// Images of this prompt are drawn too, to see whether the class has become the subject (`pres`); may be empty.
        class_prompt: String = String::new() => any_text().usual("DreamBooth's").measuring();
        /// A folder of photographs of the subject to compare with, such as ones that were not trained on.
        reference: Option<PathBuf> = None => folder().usual("the dataset").measuring();
        /// How often the prompts are drawn anew for the 95 % intervals; 0: no intervals.
        bootstrap: usize = 1000 => whole(0..=100_000).measuring();
        /// What names the best step: a metric of the first encoder that has it; `subject` and `prompt` mean any encoder's fidelity.
        best_by: Option<String> = None => one_of(&BEST_BY).measuring();
        /// Where an encoder is on this machine.
        paths: EncoderPaths = EncoderPaths::default() => Inner::Table;
    }
}

settings! {
    /// Folders of encoders on this machine, in the layout of their repositories; others are fetched from Hugging Face.
    pub struct EncoderPaths {
        /// As facebook/dino-vits16.
        dino_vits16: Option<PathBuf> = None => folder().measuring();
        /// As openai/clip-vit-base-patch32.
        clip_vit_b32: Option<PathBuf> = None => folder().measuring();
        /// As openai/clip-vit-large-patch14.
        clip_vit_l14: Option<PathBuf> = None => folder().measuring();
    }
}

impl EncoderPaths {
    /// An encoder's folder, if one is given.
    pub fn get(&self, name: EncoderName) -> Option<&Path> {
        match name {
            EncoderName::Builtin => None,
            EncoderName::DinoVits16 => self.dino_vits16.as_deref(),
            EncoderName::ClipVitB32 => self.clip_vit_b32.as_deref(),
            EncoderName::ClipVitL14 => self.clip_vit_l14.as_deref(),
        }
    }
}

impl Named for EncoderName {
    fn names() -> Vec<(&'static str, Self)> {
        Self::value_variants().iter().map(|name| (name.as_str(), *name)).collect()
    }
}

impl Plan {
    /// What is drawn of each set of images: the evaluation's prompts, and where images are measured the class prompt.
    pub fn drawn_prompts(&self) -> Vec<String> {
        let mut prompts = self.eval.prompts.clone();
        let class = &self.metrics.class_prompt;
        if self.is_measured() && !class.is_empty() && !prompts.contains(class) {
            prompts.push(class.clone());
        }
        prompts
    }

    /// Whether images are drawn and measured.
    pub fn is_measured(&self) -> bool {
        !self.eval.prompts.is_empty() && !self.metrics.encoders.is_empty()
    }
}
