//! The loss where it counts: `dataset.masked_loss` and what goes with it.
//!
//! In: what `[dataset]` says. Out: [`Masks`].

use std::ops::Bound;

use super::experiment::Section;
use super::keys::{Keys, Visit, between, flag};

/// What is said of masks.
#[derive(Debug, Clone, PartialEq)]
pub struct Masks {
    /// Whether the loss is weighted by them.
    pub on: bool,
    /// The least weight, which black has.
    pub unmasked_weight: f64,
}

impl Default for Masks {
    fn default() -> Self {
        Self { on: false, unmasked_weight: 0.0 }
    }
}

impl Keys for Masks {
    const ABOUT: &'static str = "Where the loss counts.";

    fn keys(&mut self, visit: &mut Visit) {
        const ON: &str = "Weigh the loss by each image's mask, white 1 and black 0: `x.mask.png` beside `x.jpg`, else its alpha channel.";
        const LEAST: &str = "With `masked_loss`: the least weight, for what a mask leaves out.";
        visit.key(flag().quiet().named("masked_loss", ON), &mut self.on);
        if self.on || visit.lists() {
            let weight = between(Bound::Included(0.0), Bound::Excluded(1.0));
            visit.key(weight.named("unmasked_weight", LEAST), &mut self.unmasked_weight);
        }
    }
}

/// Refuses what says nothing.
pub(super) fn resolve(s: &Section, masks: &Masks) {
    if !masks.on && s.has("unmasked_weight") {
        let label = "add `masked_loss = true`, or leave it out";
        s.reject("unmasked_weight", "`unmasked_weight` says something only with `masked_loss`", label);
    }
    s.accept(&["unmasked_weight"]);
}
