//! Learning-rate schedules: the rate of each optimizer step.
//!
//! In: the schedule, the base rate, the step and the run's length. Out: the rate. The formulas are
//! those of `diffusers.optimization`, with a linear warm-up before each of them.

use crate::config::LrScheduler;
use std::f64::consts::PI;

/// Where the polynomial schedule ends (an absolute rate).
const POLYNOMIAL_END: f64 = 1e-7;

/// The learning rate of optimizer step `step` (counted from 0) in a run of `total` steps.
///
/// During the first `warmup` steps the rate rises evenly from 0 (step 0 trains nothing, as in
/// diffusers) to `base`. Steps from `total` on get the rate at which the schedule ends.
pub fn learning_rate(kind: LrScheduler, base: f64, step: usize, warmup: usize, total: usize) -> f64 {
    if step < warmup {
        return base * step as f64 / warmup as f64;
    }
    let decay_steps = total.saturating_sub(warmup).max(1) as f64;
    let done = ((step - warmup) as f64 / decay_steps).min(1.0);
    match kind {
        LrScheduler::Constant => base,
        LrScheduler::Linear => base * (1.0 - done),
        LrScheduler::Cosine => base * 0.5 * (1.0 + (PI * done).cos()),
        LrScheduler::Polynomial => {
            // diffusers refuses a base rate below the end; here such a rate just stays.
            let end = POLYNOMIAL_END.min(base);
            (base - end) * (1.0 - done) + end
        }
    }
}
