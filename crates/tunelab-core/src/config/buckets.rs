//! Sizes by shape, so that portraits and landscapes need not be cut to squares: `dataset.buckets` and what goes with it.
//!
//! In: what `[dataset]` says. Out: [`Buckets`], and the rules between these keys and the model.

use super::Plan;
use super::experiment::Section;
use super::keys::{Keys, Visit, flag, whole};

/// The largest side of anything that is trained on.
pub(super) const MOST_PIXELS: u64 = 4096;

/// The usual step: what Stable Diffusion's networks need.
const USUAL_STEP: usize = 64;

/// What is said of buckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets {
    /// Whether there are any; false: all images have the resolution's shape.
    pub on: bool,
    /// The buckets' sides are multiples of this.
    pub step: usize,
    /// The shortest side of a bucket.
    pub min_side: usize,
    /// The longest side of a bucket.
    pub max_side: usize,
    /// Whether small images are enlarged.
    pub upscale: bool,
}

impl Default for Buckets {
    fn default() -> Self {
        Self { on: false, step: USUAL_STEP, min_side: 256, max_side: 1024, upscale: false }
    }
}

/// The keys that say something only where there are buckets.
const OTHERS: [&str; 4] = ["bucket_step", "min_side", "max_side", "upscale"];

impl Keys for Buckets {
    const ABOUT: &'static str = "Sizes by shape.";

    fn keys(&mut self, visit: &mut Visit) {
        const ON: &str = "Each image in the bucket nearest to its shape at the resolution's area; a batch has one bucket. False: all are cut to \
             the resolution.";
        const STEP: &str = "With buckets: their sides are multiples of this, which the model's networks must allow.";
        const MIN: &str = "With buckets: their shortest side.";
        const MAX: &str = "With buckets: their longest side.";
        const UPSCALE: &str =
            "With buckets: enlarge images that are smaller than their bucket; false: a smaller bucket for them.";
        visit.key(flag().quiet().named("buckets", ON), &mut self.on);
        if self.on || visit.lists() {
            let side = || whole(8..=MOST_PIXELS);
            visit.key(side().usual("64, for the built-in miniature 16").named("bucket_step", STEP), &mut self.step);
            visit.key(side().usual("half of the resolution").named("min_side", MIN), &mut self.min_side);
            visit.key(side().usual("twice the resolution").named("max_side", MAX), &mut self.max_side);
            visit.key(flag().named("upscale", UPSCALE), &mut self.upscale);
        }
    }
}

/// Fills in what follows from the resolution and the model, whose networks need sides that are multiples of `needed`, and
/// refuses what does not go together.
pub(super) fn resolve(s: &Section, needed: usize, plan: &mut Plan) {
    let resolution = plan.dataset.resolution;
    if resolution.side().is_none() && !resolution.sides().iter().all(|side| side.is_multiple_of(needed)) {
        let [height, width] = resolution.sides().map(|side| side.next_multiple_of(needed));
        s.reject(
            "resolution",
            format!("`resolution`: the model's networks need sides that are multiples of {needed}"),
            format!("[{width}, {height}] is such"),
        );
    }
    if !plan.dataset.buckets.on {
        for key in OTHERS.into_iter().filter(|key| s.has(key)) {
            s.reject(key, format!("`{key}` says something only with buckets"), "add `buckets = true`, or leave it out");
        }
        s.accept(&OTHERS);
        return;
    }
    let is_builtin = matches!(plan.model, super::Source::Builtin(_));
    let buckets = &mut plan.dataset.buckets;
    if !s.has("bucket_step") {
        buckets.step = if is_builtin { needed } else { USUAL_STEP.next_multiple_of(needed) };
    } else if !buckets.step.is_multiple_of(needed) {
        let below = (buckets.step / needed * needed).max(needed);
        let message = format!("`bucket_step`: the model's networks need sides that are multiples of {needed}");
        s.reject("bucket_step", message, format!("{below} and {} are", below + needed));
        // Told once.
        buckets.step = below;
    }
    // The side of the square of this area.
    let side = resolution.area().isqrt();
    if !s.has("min_side") {
        buckets.min_side = side / 2 / buckets.step * buckets.step;
        buckets.min_side = buckets.min_side.max(buckets.step);
    }
    if !s.has("max_side") {
        buckets.max_side = (2 * side).next_multiple_of(buckets.step);
    }
    let square = side / buckets.step * buckets.step;
    if square == 0 {
        let message = format!("`bucket_step`: {} is longer than the resolution's side", buckets.step);
        s.reject("bucket_step", message, "take a smaller one, or a larger resolution");
    } else if buckets.min_side > square {
        let message = format!("`min_side`: {} is longer than the square bucket's side, {square}", buckets.min_side);
        s.reject("min_side", message, format!("at most {square}"));
    } else if buckets.max_side < square {
        let message = format!("`max_side`: {} is shorter than the square bucket's side, {square}", buckets.max_side);
        s.reject("max_side", message, format!("at least {square}"));
    }
}
