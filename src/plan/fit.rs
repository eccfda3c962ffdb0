//! Does a run fit a card's memory? Asked before anything is loaded.
//!
//! In: the plan, the folder of its model, and the memory that the card has. Out: nothing, a
//! warning, or an error; both say what would make the run smaller.

use std::path::Path;

use super::estimate::{Memory, estimate};
use super::networks::Networks;
use crate::adapter;
use crate::config::{Dtype, Plan};
use crate::device::CardMemory;
use crate::error::{Error, Result};
use crate::numbers::bytes;

/// What a plan needs on a card; a hub's model is in this folder.
///
/// Errors: the model's UNet or text encoder is of a kind that is not counted.
pub fn needed(plan: &Plan, model: &Path) -> Result<Memory> {
    Ok(estimate(plan, &Networks::of(&plan.model.found_at(model))?, true))
}

/// A warning, if less than what is needed is free.
///
/// Errors: even the whole card has less.
pub fn fit(plan: &Plan, memory: &Memory, card: CardMemory) -> Result<Option<String>> {
    let needs = format!("the run needs about {} of the GPU's memory, as estimated", bytes(memory.total()));
    if memory.total() > card.total {
        return Err(Error::input(format!("{needs}, and the GPU has {}", bytes(card.total)))
            .hint(format!("{}, or use a larger GPU or --device cpu", smaller(plan, memory))));
    }
    let short = memory.total() > card.free;
    Ok(short.then(|| {
        let (free, total) = (bytes(card.free), bytes(card.total));
        let rest = "other programs have the rest (see `nvidia-smi`)";
        format!("{needs}, and {free} of its {total} are free: {rest}; should it run out, {}", smaller(plan, memory))
    }))
}

/// What would make the run smaller, the least change of the training first.
fn smaller(plan: &Plan, memory: &Memory) -> String {
    let train = &plan.train;
    let mut remedies = Vec::new();
    if !train.gradient_checkpointing {
        let saved = bytes(memory.checkpointing_saves);
        remedies.push(format!("set train.gradient_checkpointing = true (saves about {saved})"));
    }
    if train.dtype == Dtype::F32 {
        remedies.push("set train.dtype = \"bf16\"".to_owned());
    }
    if train.batch_size > 1 {
        remedies.push("take a smaller train.batch_size and as much more train.gradient_accumulation".to_owned());
    }
    let method = adapter::method(&plan.adapter);
    if method.ema_decay.is_some() {
        remedies.push(format!("leave out ema_decay (saves {})", bytes(memory.average)));
    }
    if method.trains_weights() {
        remedies.push("train a LoRA in place of all weights".to_owned());
    }
    remedies.push("take a smaller dataset.resolution".to_owned());
    remedies.join(", ")
}
