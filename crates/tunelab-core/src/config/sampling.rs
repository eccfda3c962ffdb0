//! Whether what a plan draws can be drawn over a model's noise schedule.
//!
//! In: what the plan says of sampling, the schedule. Out: each place where sampler and steps do not
//! fit it, with the key to change.

use super::{DreamBooth, Objective, Plan, SampleParams};
use crate::diffusion::NoiseSchedule;
use crate::error::Error;

/// A sampler, or its number of steps, that a schedule has not.
pub struct Unfit {
    /// The tables, from the root on, that hold the key.
    pub tables: &'static [&'static str],
    /// The key that is wrong.
    pub key: &'static str,
    /// Why.
    pub error: Error,
}

/// All of them: of the evaluation's pictures, and of the class images that are made.
pub fn unfit_sampling(plan: &Plan, schedule: &NoiseSchedule) -> Vec<Unfit> {
    let mut found = Vec::new();
    let trained = match plan.train.noise_schedule(schedule.clone()) {
        Ok(trained) => trained,
        Err(error) => {
            found.push(Unfit { tables: &["train"], key: "zero_terminal_snr", error });
            schedule.clone()
        }
    };
    if !plan.eval.prompts.is_empty() {
        found.extend(unfit(&["eval"], ["steps", "sampler"], &trained, &plan.eval.sample));
    }
    if let Objective::DreamBooth(DreamBooth { class_path: None, class_sample, .. }) = &plan.objective {
        let keys = ["class_steps", "class_sampler"];
        found.extend(unfit(&["adapter", "dreambooth"], keys, schedule, class_sample));
    }
    found
}

fn unfit(
    tables: &'static [&'static str],
    keys: [&'static str; 2],
    schedule: &NoiseSchedule,
    sample: &SampleParams,
) -> Option<Unfit> {
    let error = sample.sampler_run(schedule).err()?;
    // Where no number of steps would do, it is the sampler that does not fit.
    let would_do =
        [1, 2, 5, 20].into_iter().any(|steps| SampleParams { steps, ..sample.clone() }.sampler_run(schedule).is_ok());
    Some(Unfit { tables, key: if would_do { keys[0] } else { keys[1] }, error })
}
