//! Does a run fit the memory of a card or of this machine, and do several at once? Asked before anything is loaded.
//!
//! In: the plan, the folder of its model, and the memory that there is. Out: nothing, a
//! warning, or an error; both say what would make the run smaller.

use std::collections::BTreeMap;
use std::path::Path;

use super::estimate::{Memory, estimate};
use super::networks::Networks;
use crate::adapter;
use crate::cli::DeviceChoice;
use crate::config::{Dtype, Plan, Source};
use crate::device::CardMemory;
use crate::error::{Error, Result};
use crate::numbers::bytes;
use crate::results::{Machine, memory_mib};

/// What a plan needs; a hub's model is in this folder; `on_card`: a CUDA card computes.
///
/// Errors: the model's UNet or text encoder is of a kind that is not counted.
pub fn needed(plan: &Plan, model: &Path, on_card: bool) -> Result<Memory> {
    Ok(estimate(plan, &Networks::of(&plan.model.found_at(model))?, on_card))
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

/// As [`fit`], where the processor computes.
///
/// Errors: this machine has less than what is in memory all the time, activations not counted.
pub fn fit_host(plan: &Plan, memory: &Memory, host: &HostMemory) -> Result<Option<String>> {
    let kept = memory.total() - memory.activations;
    if kept > host.total {
        let (kept, total) = (bytes(kept), bytes(host.total));
        let message =
            format!("weights, gradients and moments need about {kept} of memory, and this machine has {total}");
        return Err(Error::input(message).hint(format!("{}, or use a larger machine", smaller(plan, memory))));
    }
    Ok((memory.total() > host.free).then(|| {
        let (needs, free, total) = (bytes(memory.total()), bytes(host.free), bytes(host.total));
        format!(
            "the run needs about {needs} of memory, as estimated, and {free} of this machine's {total} are free: should it run out, {}",
            smaller(plan, memory)
        )
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
    // Trained weights are kept in both types then.
    let method = adapter::method(&plan.adapter);
    let rounded = if method.trains_weights() { memory.gradients / 2 } else { 0 };
    if train.dtype == Dtype::F32 && memory.activations / 2 > rounded {
        remedies.push("set train.dtype = \"bf16\"".to_owned());
    }
    if train.batch_size > 1 {
        remedies.push("take a smaller train.batch_size and as much more train.gradient_accumulation".to_owned());
    }
    if method.ema_decay.is_some() {
        remedies.push(format!("leave out ema_decay (saves {})", bytes(memory.average)));
    }
    if method.trains_weights() {
        remedies.push("train a LoRA in place of all weights".to_owned());
    }
    remedies.push("take a smaller dataset.resolution".to_owned());
    remedies.join(", ")
}

/// The memory of this machine, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct HostMemory {
    /// All of it.
    pub total: u64,
    /// What could be had now.
    pub free: u64,
}

impl HostMemory {
    /// As it is now, where that can be told.
    pub fn now() -> Option<Self> {
        let [total, free] = memory_mib()?.map(|mib| (mib * 1024.0 * 1024.0) as u64);
        Some(Self { total, free })
    }
}

/// A warning, if so many of the plans at once need more memory than is free on this machine, or on the cards that they are dealt
/// round to; where nothing is known of a memory, nothing is said.
///
/// Errors: even all of it is less.
pub fn fit_jobs<'a>(
    plans: impl Iterator<Item = &'a Plan>,
    jobs: usize,
    devices: &[DeviceChoice],
) -> Result<Option<String>> {
    let on_cpu = devices.iter().all(|device| matches!(device, DeviceChoice::Auto | DeviceChoice::Cpu));
    let cards = if on_cpu && devices.contains(&DeviceChoice::Cpu) { Vec::new() } else { Machine::cards() };
    let computes_on_card = !on_cpu || (cfg!(feature = "cuda") && !cards.is_empty());
    let mut known = Estimates::default();
    let mut needs: Vec<u64> = plans.filter_map(|plan| known.of(plan, computes_on_card)).collect();
    needs.sort_unstable_by(|a, b| b.cmp(a));
    let at_once = |count: usize| needs.iter().take(count).sum::<u64>();
    let memory = if computes_on_card {
        let smallest = cards.iter().filter_map(|card| card.memory_mib).reduce(f64::min);
        smallest.map(|mib| (mib * 1024.0 * 1024.0) as u64).map(|total| HostMemory { total, free: total })
    } else {
        HostMemory::now()
    };
    let Some(memory) = memory else { return Ok(None) };
    let each = if computes_on_card { jobs.div_ceil(devices.len()) } else { jobs };
    let whose = if computes_on_card { "each GPU" } else { "this machine" };
    let needed = at_once(each);
    let told = format!("{each} runs at once need about {} of memory, as estimated", bytes(needed));
    let fitting = |room: u64| match (1..each).rev().find(|count| at_once(*count) <= room) {
        Some(count) => format!("{count} at once would fit"),
        None => "even one alone needs more".to_owned(),
    };
    if needed > memory.total && each > 1 {
        return Err(
            Error::input(format!("{told}, and {whose} has {}", bytes(memory.total))).hint(fitting(memory.total))
        );
    }
    let short = needed > memory.free && each > 1;
    Ok(short.then(|| {
        let free = bytes(memory.free);
        format!("{told}, and {free} are free: should it run out, take fewer --jobs ({})", fitting(memory.free))
    }))
}

/// What plans need, each kind computed once.
#[derive(Default)]
struct Estimates {
    networks: Vec<(Source, Option<Networks>)>,
    known: BTreeMap<String, u64>,
}

impl Estimates {
    /// Nothing of a model that cannot be counted: it is refused where it is loaded.
    fn of(&mut self, plan: &Plan, on_card: bool) -> Option<u64> {
        if !self.networks.iter().any(|(model, _)| *model == plan.model) {
            self.networks.push((plan.model.clone(), Networks::of(&plan.model).ok()));
        }
        let networks = self.networks.iter().find(|(model, _)| *model == plan.model)?.1.as_ref()?;
        let train = &plan.train;
        let key = format!(
            "{:?} {:?} {:?} {} {} {} {:?} {:?}",
            plan.model,
            plan.adapter,
            plan.objective,
            plan.dataset.resolution,
            train.batch_size,
            train.gradient_checkpointing,
            train.dtype,
            train.optimizer
        );
        Some(*self.known.entry(key).or_insert_with(|| estimate(plan, networks, on_card).total()))
    }
}
