//! The UNet's tensors.
//!
//! In: ldm names without what stands before them. Out: diffusers' names. ldm numbers its blocks
//! through, from the picture inwards and out again; a level of diffusers ends with the block that
//! changes the size, so the levels are read off the names themselves, whatever their number.

use super::Renamed;
use std::collections::BTreeSet;

/// Which blocks end a level.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Of the way in, those that halve the size.
    down: BTreeSet<usize>,
    /// Of the way out, those that double it.
    up: BTreeSet<usize>,
}

const IN: &str = "input_blocks.";
const OUT: &str = "output_blocks.";

/// Layers outside the blocks, each with diffusers' name.
pub(crate) const ENDS: [(&str, &str); 8] = [
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("input_blocks.0.0", "conv_in"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
    ("middle_block.1", "mid_block.attentions.0"),
];

impl Blocks {
    pub(super) fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        let mut blocks = Self::default();
        for name in names {
            match (block(name, IN), block(name, OUT)) {
                (Some((index, _, rest)), _) if rest.starts_with("op.") => drop(blocks.down.insert(index)),
                (_, Some((index, _, rest))) if rest.starts_with("conv.") => drop(blocks.up.insert(index)),
                _ => {}
            }
        }
        blocks
    }

    /// diffusers' name of a tensor.
    pub(super) fn name(&self, name: &str) -> Option<String> {
        let behind = |old: &str| name.strip_prefix(old)?.strip_prefix('.');
        if let Some((rest, new)) = ENDS.iter().find_map(|(old, new)| Some((behind(old)?, new))) {
            return Some(format!("{new}.{rest}"));
        }
        for (old, new) in [("middle_block.0", 0), ("middle_block.2", 1)] {
            if let Some(rest) = behind(old) {
                return Some(format!("mid_block.resnets.{new}.{}", resnet(rest)?));
            }
        }
        if let Some((index, child, rest)) = block(name, IN) {
            let (level, layer) = position(&self.down, index.checked_sub(1)?, 1);
            return match (child, rest.strip_prefix("op.")) {
                (0, Some(rest)) => Some(format!("down_blocks.{level}.downsamplers.0.conv.{rest}")),
                (0, None) => Some(format!("down_blocks.{level}.resnets.{layer}.{}", resnet(rest)?)),
                (1, _) => Some(format!("down_blocks.{level}.attentions.{layer}.{rest}")),
                _ => None,
            };
        }
        let (index, child, rest) = block(name, OUT)?;
        let (level, layer) = position(&self.up, index, 0);
        match (child, rest.strip_prefix("conv.")) {
            // Behind the attention, where the block has one.
            (1 | 2, Some(rest)) => Some(format!("up_blocks.{level}.upsamplers.0.conv.{rest}")),
            (0, _) => Some(format!("up_blocks.{level}.resnets.{layer}.{}", resnet(rest)?)),
            (1, None) => Some(format!("up_blocks.{level}.attentions.{layer}.{rest}")),
            _ => None,
        }
    }
}

/// `input_blocks.4.1.proj_in.weight` → 4, 1, `proj_in.weight`.
fn block<'n>(name: &'n str, blocks: &str) -> Option<(usize, usize, &'n str)> {
    let (index, rest) = name.strip_prefix(blocks)?.split_once('.')?;
    let (child, rest) = rest.split_once('.')?;
    Some((index.parse().ok()?, child.parse().ok()?, rest))
}

/// The level of a block and its place there; blocks are counted from `first`, `index` from 0.
fn position(ends: &BTreeSet<usize>, index: usize, first: usize) -> (usize, usize) {
    let before: Vec<usize> = ends.iter().map(|end| end - first.min(*end)).filter(|end| *end < index).collect();
    (before.len(), index - before.last().map_or(0, |end| end + 1))
}

/// Inside a residual block.
pub(crate) const RESNET: [(&str, &str); 6] = [
    ("in_layers.0.", "norm1."),
    ("in_layers.2.", "conv1."),
    ("emb_layers.1.", "time_emb_proj."),
    ("out_layers.0.", "norm2."),
    ("out_layers.3.", "conv2."),
    ("skip_connection.", "conv_shortcut."),
];

fn resnet(rest: &str) -> Option<String> {
    RESNET.iter().find_map(|(old, new)| Some(format!("{new}{}", rest.strip_prefix(old)?)))
}

/// The layers around a transformer in the form that the network has; files have either.
pub(super) fn projection(name: String, shape: &[usize], linear: bool) -> Renamed {
    let is_projection = name.ends_with(".proj_in.weight") || name.ends_with(".proj_out.weight");
    match shape {
        [_, _, 1, 1] if is_projection && linear => Renamed::Matrix(name),
        [_, _] if is_projection && !linear => Renamed::Convolution(name),
        _ => Renamed::As(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(down: &[usize], up: &[usize]) -> Blocks {
        Blocks { down: down.iter().copied().collect(), up: up.iter().copied().collect() }
    }

    fn check(blocks: &Blocks, pairs: &[(&str, &str)]) {
        for (old, new) in pairs {
            assert_eq!(blocks.name(old).as_deref(), Some(*new), "{old}");
        }
    }

    #[test]
    fn names_of_stable_diffusion_1() {
        let names = ["input_blocks.3.0.op.weight", "input_blocks.6.0.op.bias", "input_blocks.9.0.op.weight"];
        let up = ["output_blocks.2.1.conv.weight", "output_blocks.5.2.conv.weight", "output_blocks.8.2.conv.bias"];
        let sd1 = Blocks::of(names.into_iter().chain(up));
        assert_eq!(format!("{sd1:?}"), format!("{:?}", blocks(&[3, 6, 9], &[2, 5, 8])));
        check(
            &sd1,
            &[
                ("time_embed.2.bias", "time_embedding.linear_2.bias"),
                ("input_blocks.0.0.weight", "conv_in.weight"),
                ("input_blocks.1.0.in_layers.0.weight", "down_blocks.0.resnets.0.norm1.weight"),
                ("input_blocks.2.1.norm.bias", "down_blocks.0.attentions.1.norm.bias"),
                ("input_blocks.3.0.op.weight", "down_blocks.0.downsamplers.0.conv.weight"),
                ("input_blocks.4.0.skip_connection.bias", "down_blocks.1.resnets.0.conv_shortcut.bias"),
                ("input_blocks.10.0.emb_layers.1.weight", "down_blocks.3.resnets.0.time_emb_proj.weight"),
                ("input_blocks.11.0.out_layers.3.weight", "down_blocks.3.resnets.1.conv2.weight"),
                ("middle_block.0.in_layers.2.weight", "mid_block.resnets.0.conv1.weight"),
                ("middle_block.1.proj_in.weight", "mid_block.attentions.0.proj_in.weight"),
                ("middle_block.2.out_layers.0.bias", "mid_block.resnets.1.norm2.bias"),
                ("output_blocks.0.0.in_layers.2.bias", "up_blocks.0.resnets.0.conv1.bias"),
                ("output_blocks.2.1.conv.weight", "up_blocks.0.upsamplers.0.conv.weight"),
                ("output_blocks.5.1.proj_out.bias", "up_blocks.1.attentions.2.proj_out.bias"),
                ("output_blocks.5.2.conv.weight", "up_blocks.1.upsamplers.0.conv.weight"),
                ("output_blocks.11.1.norm.weight", "up_blocks.3.attentions.2.norm.weight"),
                ("out.0.weight", "conv_norm_out.weight"),
                ("out.2.bias", "conv_out.bias"),
            ],
        );
        for unknown in ["input_blocks.1.2.in_layers.0.weight", "middle_block.3.norm.bias", "out.1.weight", "x"] {
            assert_eq!(sd1.name(unknown), None, "{unknown}");
        }
    }

    /// Its coarsest level has attention, so that the size is doubled by a third child.
    #[test]
    fn names_of_stable_diffusion_xl() {
        check(
            &blocks(&[3, 6], &[2, 5]),
            &[
                ("label_emb.0.0.weight", "add_embedding.linear_1.weight"),
                ("label_emb.0.2.bias", "add_embedding.linear_2.bias"),
                (
                    "input_blocks.7.1.transformer_blocks.9.ff.net.2.bias",
                    "down_blocks.2.attentions.0.transformer_blocks.9.ff.net.2.bias",
                ),
                ("output_blocks.2.1.proj_in.weight", "up_blocks.0.attentions.2.proj_in.weight"),
                ("output_blocks.2.2.conv.bias", "up_blocks.0.upsamplers.0.conv.bias"),
                ("output_blocks.8.0.out_layers.3.bias", "up_blocks.2.resnets.2.conv2.bias"),
            ],
        );
    }

    #[test]
    fn projections_take_the_form_that_the_network_has() {
        let name = "mid_block.attentions.0.proj_in.weight".to_owned();
        let of = |shape: &[usize], linear| projection(name.clone(), shape, linear);
        assert_eq!(of(&[8, 8], false), Renamed::Convolution(name.clone()));
        assert_eq!(of(&[8, 8], true), Renamed::As(name.clone()));
        assert_eq!(of(&[8, 8, 1, 1], true), Renamed::Matrix(name.clone()));
        assert_eq!(of(&[8, 8, 1, 1], false), Renamed::As(name.clone()));
        let other = "down_blocks.1.resnets.0.conv_shortcut.weight".to_owned();
        assert_eq!(projection(other.clone(), &[8, 8, 1, 1], true), Renamed::As(other));
    }
}
