//! `UniPC` of second order over x₀ with B(h) = eʰ − 1 ("bh2"): Zhao et al., 2023, algorithms 1 and 2.
//!
//! In: the UNet's answers. Out: the latents at the next noise level. Each call corrects the step before with its own
//! answer, which is not computed again, and then predicts the next one. The first and the last step are of first order.
//! Reference: diffusers' `UniPCMultistepScheduler.from_config` with final σ = 0.

use super::config::{PredictionType, Spread};
use super::schedule::NoiseSchedule;
use super::variance_preserving::Level;
use super::weighted_sum::weighted_sum;
use crate::error::Result;
use candle_core::Tensor;

/// One `UniPC` loop.
#[derive(Debug)]
pub(super) struct UniPc {
    pub timesteps: Vec<f64>,
    prediction_type: PredictionType,
    /// The noise level of each call, then that of the clean picture.
    levels: Vec<Level>,
    last: Option<Last>,
}

/// What the next call needs of this one.
#[derive(Debug)]
struct Last {
    /// The corrected latents that it stepped from.
    x: Tensor,
    /// x₀ there.
    clean: Tensor,
    /// x₀ of the call before, where the step was of second order.
    earlier: Option<Tensor>,
}

/// A step from one level to the next, in λ.
struct Step {
    /// The factor of the latents.
    keep: f64,
    /// α' (eʰʰ − 1) with hh = −h.
    gain: f64,
    h: f64,
}

impl Step {
    fn new(from: Level, to: Level) -> Self {
        let h = to.lambda() - from.lambda();
        Self { keep: to.sigma / from.sigma, gain: to.alpha * (-h).exp_m1(), h }
    }

    /// r = (λ₋₁ − λ) / h of the call before: negative.
    fn ratio(&self, earlier: Level, from: Level) -> f64 {
        (earlier.lambda() - from.lambda()) / self.h
    }

    /// The corrector's weights of the earlier and of the new difference: R(r) ρ = b of the paper's formula 11.
    fn corrector(&self, r: f64) -> (f64, f64) {
        let hh = -self.h;
        let b = hh.exp_m1();
        let phi = b / hh - 1.0;
        let (b1, b2) = (phi / b, 2.0 * (phi / hh - 0.5) / b);
        let earlier = (b1 - b2) / (1.0 - r);
        (earlier, b1 - earlier)
    }
}

impl UniPc {
    pub fn new(schedule: &NoiseSchedule, steps: usize) -> Result<Self> {
        let spread = schedule.config.unipc()?.then_some(Spread::Karras);
        let (timesteps, levels) = Level::all(schedule, steps, spread)?;
        Ok(Self { timesteps, prediction_type: schedule.prediction_type(), levels, last: None })
    }

    pub fn step(&mut self, model_output: &Tensor, call: usize, x: &Tensor) -> Result<Tensor> {
        let (level, next) = (self.levels[call], self.levels[call + 1]);
        let clean = level.clean(self.prediction_type, model_output, x)?;
        let last = self.last.take();
        let x = match &last {
            Some(last) => self.corrected(last, &clean, call)?,
            None => x.clone(),
        };
        let step = Step::new(level, next);
        // Order 2, but for the first step and, with `lower_order_final`, the last one, whose h is infinite
        let earlier = last.map(|last| last.clean).filter(|_| call + 1 < self.timesteps.len());
        let stepped = match &earlier {
            Some(earlier) => {
                let slope = 0.5 / step.ratio(self.levels[call - 1], level);
                let gain = step.gain;
                weighted_sum([(step.keep, &x), (-gain * (1.0 - slope), &clean), (-gain * slope, earlier)])?
            }
            None => weighted_sum([(step.keep, &x), (-step.gain, &clean)])?,
        };
        self.last = Some(Last { x, clean, earlier });
        Ok(stepped)
    }

    /// The last step again, of the same order, now that x₀ at its end is known.
    fn corrected(&self, last: &Last, clean: &Tensor, call: usize) -> Result<Tensor> {
        let (from, to) = (self.levels[call - 1], self.levels[call]);
        let step = Step::new(from, to);
        let (keep, gain) = (step.keep, step.gain);
        let Some(earlier) = &last.earlier else {
            return weighted_sum([(keep, &last.x), (-gain / 2.0, &last.clean), (-gain / 2.0, clean)]);
        };
        let r = step.ratio(self.levels[call - 2], from);
        let (old, new) = step.corrector(r);
        let old = old / r;
        let kept = 1.0 - old - new;
        weighted_sum([(keep, &last.x), (-gain * kept, &last.clean), (-gain * old, earlier), (-gain * new, clean)])
    }
}
