//! What is said about a run beside its settings: `[reference]`, and `[stands_in_for]` of a
//! stand-in's plan.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use std::ops::Bound;

use super::keys::{Key, at_least, between, natural, settings, text};

settings! {
    /// What somebody else (a report, a paper) measured for the same experiment, for the table.
    pub struct Reference {
        /// The row's name in the table.
        label: String = String::new() => text().metadata();
        /// How many numbers were trained.
        trained_parameters: Option<u64> = None => natural().metadata();
        /// Seconds of the whole training.
        seconds: Option<f64> = None => at_least(0.0).metadata();
        /// Seconds of one optimizer step.
        seconds_per_step: Option<f64> = None => at_least(0.0).metadata();
        /// What it ran on.
        device: Option<String> = None => text().metadata();
        /// DINO ViT-S/16: the mean cosine of the tuned model's images to photographs of the subject.
        dino: Option<f64> = None => cosine();
        /// The same by CLIP ViT-B/32.
        clip_i: Option<f64> = None => cosine();
        /// CLIP ViT-B/32: the mean cosine of these images to their prompts.
        clip_t: Option<f64> = None => cosine();
        /// DINO ViT-S/16: as `dino`, of images of the class prompt; lower is better.
        pres: Option<f64> = None => cosine();
    }
}

/// From -1 to 1.
fn cosine() -> Key {
    between(Bound::Included(-1.0), Bound::Included(1.0)).metadata()
}

settings! {
    /// What a stand-in stands in for; written into its `plan.toml`.
    pub struct Original {
        /// The experiment's name.
        experiment: String = String::new() => text().metadata();
        /// Its model, in short.
        model: String = String::new() => text().metadata();
        /// Its images, likewise.
        dataset: String = String::new() => text().metadata();
    }
}
