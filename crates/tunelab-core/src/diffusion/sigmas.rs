//! Noise levels that are spread by their own size, not by timesteps: what `use_karras_sigmas` and `use_lu_lambdas` ask for.
//!
//! In: a schedule and a number of steps. Out: σ of each call, descending, and the training timestep nearest to it. Reference:
//! diffusers' `DPMSolverMultistepScheduler` and `HeunDiscreteScheduler`, the samplers that diffusers lets these keys decide for.

use super::config::Spread;
use super::schedule::NoiseSchedule;
use crate::error::{Error, Result};

/// ρ of Karras et al.
const RHO: f64 = 7.0;

impl Spread {
    /// The timesteps, and σ of each, for `steps` levels from the highest to the lowest.
    pub(super) fn levels(self, schedule: &NoiseSchedule, steps: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let table: Vec<f64> = (0..schedule.len()).map(|t| schedule.sigma_at(t as f64)).collect();
        if steps == 0 || steps > table.len() {
            return Err(Error::input(format!("{steps} sampling steps: there must be between 1 and {}", table.len())));
        }
        let (low, high) = (table[0], table[table.len() - 1]);
        let sigmas = match self {
            Self::Karras => karras_levels(schedule, low, high, steps),
            Self::Lu => even(high.ln(), low.ln(), steps, f64::exp),
        };
        let timesteps: Vec<f64> = sigmas.iter().map(|sigma| timestep(&table, *sigma).round_ties_even()).collect();
        // Lower ones may share a timestep. With the first two, diffusers begins at the second and runs out of levels.
        if timesteps.len() > 1 && timesteps[0] - timesteps[1] < 1.0 {
            let (file, at) = (schedule.config.file.display(), timesteps[0]);
            let message =
                format!("{file}: with `{}` the first two of {steps} steps are both at timestep {at}", self.key());
            return Err(
                Error::input(message).hint("use fewer sampling steps, or another sampler (pndm, ddim or euler_a)")
            );
        }
        Ok((timesteps, sigmas))
    }
}

/// As many noise levels as `sigmas`, which descend, between its ends as Karras et al. spread them, and where they lie among
/// the training timesteps, in f32.
pub(super) fn karras(schedule: &NoiseSchedule, sigmas: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let table: Vec<f64> = (0..schedule.len()).map(|t| schedule.sigma_at(t as f64)).collect();
    let (high, low) = (sigmas[0], sigmas[sigmas.len() - 1]);
    let levels = karras_levels(schedule, low, high, sigmas.len());
    (levels.iter().map(|sigma| f64::from(timestep(&table, *sigma) as f32)).collect(), levels)
}

/// Karras' levels from the configuration's `sigma_max` and `sigma_min`, or else from these.
fn karras_levels(schedule: &NoiseSchedule, low: f64, high: f64, steps: usize) -> Vec<f64> {
    let (low, high) = (schedule.config.sigma_min.unwrap_or(low), schedule.config.sigma_max.unwrap_or(high));
    even(high.powf(1.0 / RHO), low.powf(1.0 / RHO), steps, |root| root.powf(RHO))
}

/// σ, in f32, of `steps` numbers that are evenly spread.
fn even(first: f64, last: f64, steps: usize, sigma: impl Fn(f64) -> f64) -> Vec<f64> {
    let gap = (last - first) / (steps - 1).max(1) as f64;
    (0..steps).map(|i| f64::from(sigma(first + i as f64 * gap) as f32)).collect()
}

/// Where σ lies among those of the training timesteps, which ascend: between two of them by its logarithm.
fn timestep(table: &[f64], sigma: f64) -> f64 {
    let below = table.partition_point(|other| *other <= sigma).saturating_sub(1).min(table.len() - 2);
    let (low, high) = (table[below].ln(), table[below + 1].ln());
    below as f64 + ((sigma.max(1e-10).ln() - low) / (high - low)).clamp(0.0, 1.0)
}
