//! Which modules a LoRA stands beside.
//!
//! In: the targets that a person names, as PEFT has them. Out: whether a module's path is one of
//! them, and whether any model of this class has such a module.

use super::describe::{Module, Network};
use super::sd15;
use std::collections::BTreeSet;

/// The text encoder's modules that get one, where it is adapted too: those of its attention.
pub const TEXT_ENCODER: [&str; 4] = ["q_proj", "k_proj", "v_proj", "out_proj"];

/// Modules for which kohya's sd-scripts have no LoRA and whose names stable-diffusion.cpp does not
/// know: both leave them out of a file that has one for them.
const LEFT_OUT_ELSEWHERE: [&str; 4] = ["conv_in", "conv_out", "time_embedding.linear_1", "time_embedding.linear_2"];

/// Whether the module at `path` is meant by `target`: `path` is the target or ends in `.target`.
pub fn matches(path: &str, target: &str) -> bool {
    path.strip_suffix(target).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Whether the module at `path` is meant by any of `targets`.
pub fn contains<T: AsRef<str>>(targets: &[T], path: &str) -> bool {
    targets.iter().any(|target| matches(path, target.as_ref()))
}

/// The modules of `network` among the targets whose LoRA some programs leave out.
pub fn left_out_elsewhere<'a>(network: &'a Network, targets: &'a [String]) -> impl Iterator<Item = &'a str> {
    network.targeted(targets).map(|module| module.name.as_str()).filter(|name| LEFT_OUT_ELSEWHERE.contains(name))
}

/// Can `target` name a module of some UNet of this class? Answered without its config, by the last
/// part of the name: the blocks before it differ from model to model.
///
/// Errors: it cannot; with the names that can.
pub fn plausible(target: &str) -> Result<(), BTreeSet<String>> {
    let unet = sd15::unet().describe().map_err(|_| BTreeSet::new())?;
    let adapted = || unet.modules.iter().filter(|module| module.takes_lora());
    if adapted().any(|module| matches(&module.name, target)) {
        return Ok(());
    }
    let ends: BTreeSet<String> = adapted().map(|module| ending(module).to_owned()).collect();
    if ends.iter().any(|end| target.ends_with(&format!(".{end}"))) { Ok(()) } else { Err(ends) }
}

/// The last part of a name, with the part before it where the last is a number: `to_out.0`.
fn ending(module: &Module) -> &str {
    let numbered = |c: char| c.is_ascii_digit() || c == '.';
    let word = module.name.trim_end_matches(numbered);
    word.rfind('.').map_or(module.name.as_str(), |at| &module.name[at + 1..])
}
