//! Which training timesteps a sampler visits.
//!
//! In: a schedule and a number of steps. Out: as many timesteps, descending. The spacings are those of Lin et al., 2023,
//! table 2, computed with numpy's arithmetic and rounding (halves to even), as diffusers' schedulers do.

use super::config::Spacing;
use super::schedule::NoiseSchedule;
use crate::error::{Error, Result};

/// PNDM's and DDIM's timesteps: whole numbers, leading unless the configuration says otherwise.
pub(super) fn whole(schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>> {
    let timesteps = spaced(schedule, Spacing::Leading, steps, steps)?;
    checked(schedule, steps, timesteps.into_iter().map(f64::round_ties_even).collect())
}

/// Euler a's timesteps: evenly spaced ones stay between two training timesteps, in f32.
pub(super) fn fractional(schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>> {
    let timesteps = spaced(schedule, Spacing::Linspace, steps, steps)?;
    checked(schedule, steps, timesteps.into_iter().map(|t| f64::from(t as f32)).collect())
}

/// DPM-Solver++'s timesteps: whole, and spaced as for one step more, the last of which would be the clean picture.
pub(super) fn without_last(schedule: &NoiseSchedule, steps: usize) -> Result<Vec<f64>> {
    let timesteps = spaced(schedule, Spacing::Linspace, steps, steps + 1)?;
    checked(schedule, steps, timesteps.into_iter().map(f64::round_ties_even).collect())
}

/// The first `steps` of `points` timesteps in the configuration's spacing, or else in the sampler's own.
fn spaced(schedule: &NoiseSchedule, own: Spacing, steps: usize, points: usize) -> Result<Vec<f64>> {
    let len = schedule.len();
    if steps == 0 || steps > len {
        return Err(Error::input(format!("{steps} sampling steps: there must be between 1 and {len}")));
    }
    let mut timesteps = match schedule.config.timestep_spacing.unwrap_or(own) {
        Spacing::Linspace => linspace(len - 1, points),
        Spacing::Leading => leading(len / points, points, schedule.config.steps_offset),
        Spacing::Trailing => trailing(len, steps),
    };
    timesteps.truncate(steps);
    Ok(timesteps)
}

/// `points` numbers evenly from `last` down to 0. One point alone is 0.
fn linspace(last: usize, points: usize) -> Vec<f64> {
    let gap = last as f64 / points.saturating_sub(1).max(1) as f64;
    let at = |i: usize| if i > 0 && i == points - 1 { last as f64 } else { i as f64 * gap };
    (0..points).rev().map(at).collect()
}

/// Multiples of `gap`, from the `points`-th down to 0, plus `offset`.
fn leading(gap: usize, points: usize, offset: usize) -> Vec<f64> {
    (0..points).rev().map(|i| (i * gap + offset) as f64).collect()
}

/// From the last timestep down by `len / steps`, rounded. The gap is recomputed from the second number, as `numpy.arange`
/// does, because that decides on which side of a half a number falls.
fn trailing(len: usize, steps: usize) -> Vec<f64> {
    let start = len as f64;
    let gap = (start - start / steps as f64) - start;
    (0..steps).map(|i| (start + i as f64 * gap).round_ties_even() - 1.0).collect()
}

/// Refuses timesteps that the schedule has not, and repeated ones, over which no solver can step.
fn checked(schedule: &NoiseSchedule, steps: usize, timesteps: Vec<f64>) -> Result<Vec<f64>> {
    let inside = timesteps.iter().all(|t| (0.0..schedule.len() as f64).contains(t));
    if inside && timesteps.windows(2).all(|pair| pair[0] > pair[1]) {
        return Ok(timesteps);
    }
    Err(Error::input(format!(
        "{steps} sampling steps do not fit into the {} timesteps of this sampler's schedule",
        schedule.len()
    ))
    .hint("use fewer sampling steps"))
}
