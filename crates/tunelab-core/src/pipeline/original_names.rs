//! What CompVis' code, from which Stable Diffusion came, calls the UNet's tensors ("ldm" names;
//! Rombach et al. 2022).
//!
//! In: diffusers' names. Out: the original ones, by position: the levels and blocks of diffusers
//! are numbered through there. Single-file checkpoints have these names, and some LoRA files. The
//! other way is [`crate::weights::original`].

use crate::weights::original::unet::{ENDS, RESNET};
use std::collections::BTreeMap;

/// `down_blocks.1.resnets.0.conv1.weight` → `1`, `resnets`, `0`, `conv1.weight`.
pub fn position<'a>(name: &'a str, blocks: &str) -> Option<(usize, &'a str, usize, &'a str)> {
    let (level, rest) = name.strip_prefix(blocks)?.split_once('.')?;
    let (kind, rest) = rest.split_once('.')?;
    let (index, rest) = rest.split_once('.')?;
    Some((level.parse().ok()?, kind, index.parse().ok()?, rest))
}

/// What of a UNet decides the numbers in its original names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnetLevels {
    /// Residual blocks of each level, from the finest on.
    pub layers: Vec<usize>,
    /// Whether each level of the way up has attention, from the coarsest on.
    pub up_attention: Vec<bool>,
}

impl UnetLevels {
    /// By the names of a UNet's tensors.
    pub fn of_names<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let (mut layers, mut attention): (BTreeMap<usize, usize>, BTreeMap<usize, bool>) = Default::default();
        for name in names {
            if let Some((level, "resnets", block, _)) = position(name, "down_blocks.") {
                let blocks = layers.entry(level).or_default();
                *blocks = (*blocks).max(block + 1);
            }
            if let Some((level, kind, _, _)) = position(name, "up_blocks.") {
                *attention.entry(level).or_default() |= kind == "attentions";
            }
        }
        Self { layers: layers.into_values().collect(), up_attention: attention.into_values().collect() }
    }
}

/// The original name of a UNet tensor.
pub fn unet(name: &str, levels: &UnetLevels) -> Option<String> {
    let layers = &levels.layers;
    let outside =
        |(original, new): &(&str, &str)| Some(format!("{original}.{}", name.strip_prefix(new)?.strip_prefix('.')?));
    if let Some(original) = ENDS.iter().find_map(outside) {
        return Some(original);
    }
    if let Some(rest) = name.strip_prefix("mid_block.resnets.") {
        let (index, rest) = rest.split_once('.')?;
        return Some(format!("middle_block.{}.{}", 2 * index.parse::<usize>().ok()?, resnet(rest)?));
    }
    if let Some((level, kind, index, rest)) = position(name, "down_blocks.") {
        // Every finer level has its residual blocks and one block for its down-sampling; block 0 is
        // conv_in.
        let first = 1 + layers.get(..level)?.iter().map(|n| n + 1).sum::<usize>();
        return match kind {
            "resnets" => Some(format!("input_blocks.{}.0.{}", first + index, resnet(rest)?)),
            "attentions" => Some(format!("input_blocks.{}.1.{rest}", first + index)),
            _ => Some(format!("input_blocks.{}.0.op.{}", first + layers.get(level)?, rest.strip_prefix("conv.")?)),
        };
    }
    let (level, kind, index, rest) = position(name, "up_blocks.")?;
    // Upwards the levels are counted from the coarsest one.
    let blocks = |level: usize| layers.iter().rev().nth(level).map(|n| n + 1);
    let first = (0..level).map(blocks).sum::<Option<usize>>()?;
    match kind {
        "resnets" => Some(format!("output_blocks.{}.0.{}", first + index, resnet(rest)?)),
        "attentions" => Some(format!("output_blocks.{}.1.{rest}", first + index)),
        // Behind the attention where the level has one.
        _ => {
            let place = 1 + usize::from(*levels.up_attention.get(level)?);
            Some(format!("output_blocks.{}.{place}.{rest}", first + blocks(level)? - 1))
        }
    }
}

fn resnet(rest: &str) -> Option<String> {
    RESNET.iter().find_map(|(original, new)| Some(format!("{original}{}", rest.strip_prefix(new)?)))
}
