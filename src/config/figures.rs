//! What is said about a run beside its settings: `[reference]`, and `[stands_in_for]` of a
//! stand-in's plan.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use super::keys::{at_least, natural, settings, text};

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
    }
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
