//! DPM-Solver++ of second order, multistep, midpoint form: Lu et al., 2022 ("DPM-Solver++"), algorithm 2.
//!
//! In: the UNet's answers. Out: the latents at the next noise level. First and last step are of first order. Reference:
//! diffusers' `DPMSolverMultistepScheduler.from_config` with final σ = 0.

use super::config::PredictionType;
use super::schedule::NoiseSchedule;
use super::variance_preserving::Level;
use super::weighted_sum::weighted_sum;
use crate::error::Result;
use candle_core::Tensor;

/// One DPM-Solver++ loop.
#[derive(Debug)]
pub(super) struct Dpmpp2m {
    pub timesteps: Vec<f64>,
    prediction_type: PredictionType,
    /// The noise level of each call, then that of the clean picture.
    levels: Vec<Level>,
    /// The x₀ of the call before.
    last_clean: Option<Tensor>,
}

impl Dpmpp2m {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let (timesteps, levels) = Level::all(schedule, steps, schedule.config.dpmpp_2m()?)?;
        Ok(Self { timesteps, prediction_type: schedule.prediction_type(), levels, last_clean: None })
    }

    pub fn step(&mut self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        let (level, next) = (self.levels[call], self.levels[call + 1]);
        let clean = level.clean(self.prediction_type, model_output, x)?;
        let h = next.lambda() - level.lambda();
        let (keep, gain) = (next.sigma / level.sigma, -next.alpha * (-h).exp_m1());
        let stepped = match self.last_clean.take() {
            // Algorithm 2, line 8: x₀ extrapolated over the last step's h to the middle of this one
            Some(last) if call + 1 < self.timesteps.len() => {
                let last_h = level.lambda() - self.levels[call - 1].lambda();
                let extra = h / last_h / 2.0;
                weighted_sum([(keep, x), (gain * (1.0 + extra), &clean), (-gain * extra, &last)])?
            }
            // line 4: the first order, also for the last step, whose h is infinite
            _ => weighted_sum([(keep, x), (gain, &clean)])?,
        };
        self.last_clean = Some(clean);
        Ok(stepped)
    }
}
