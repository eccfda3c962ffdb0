//! The autoencoder's tensors.
//!
//! In: ldm names without what stands before them. Out: diffusers' names. ldm counts the decoder's
//! levels from the finest one, diffusers from the coarsest; ldm's attention is made of convolutions
//! of one pixel, diffusers' of matrices.

use super::Renamed;

/// Inside the attention.
pub(crate) const ATTENTION: [(&str, &str); 5] =
    [("norm.", "group_norm."), ("q.", "to_q."), ("k.", "to_k."), ("v.", "to_v."), ("proj_out.", "to_out.0.")];

/// The decoder's levels.
pub(super) fn levels<'n>(names: impl Iterator<Item = &'n str>) -> usize {
    let level = |name: &str| Some(name.strip_prefix("decoder.up.")?.split_once('.')?.0.parse::<usize>().ok()? + 1);
    names.filter_map(level).max().unwrap_or(0)
}

/// What becomes of a tensor.
pub(super) fn renamed(name: &str, shape: &[usize], levels: usize) -> Option<Renamed> {
    // Of its training.
    if name.starts_with("loss.") || name.starts_with("model_ema.") {
        return Some(Renamed::Dropped);
    }
    let new = new_name(name, levels)?;
    Some(match shape {
        [_, _, 1, 1] if new.contains(".attentions.") => Renamed::Matrix(new),
        _ => Renamed::As(new),
    })
}

fn new_name(name: &str, levels: usize) -> Option<String> {
    if name.starts_with("quant_conv.") || name.starts_with("post_quant_conv.") {
        return Some(name.to_owned());
    }
    let (side, rest) = name.split_once('.').filter(|(side, _)| ["encoder", "decoder"].contains(side))?;
    if rest.starts_with("conv_in.") || rest.starts_with("conv_out.") {
        return Some(name.to_owned());
    }
    if let Some(rest) = rest.strip_prefix("norm_out.") {
        return Some(format!("{side}.conv_norm_out.{rest}"));
    }
    for (old, new) in [("mid.block_1.", 0), ("mid.block_2.", 1)] {
        if let Some(rest) = rest.strip_prefix(old) {
            return Some(format!("{side}.mid_block.resnets.{new}.{}", resnet(rest)));
        }
    }
    if let Some(rest) = rest.strip_prefix("mid.attn_1.") {
        let new = ATTENTION.iter().find_map(|(old, new)| Some(format!("{new}{}", rest.strip_prefix(old)?)))?;
        return Some(format!("{side}.mid_block.attentions.0.{new}"));
    }
    let (way, rest) = rest.split_once('.')?;
    let (level, rest) = rest.split_once('.')?;
    let level: usize = level.parse().ok()?;
    let (blocks, samplers, level) = match way {
        "down" => ("down_blocks", "downsample", level),
        "up" => ("up_blocks", "upsample", levels.checked_sub(level + 1)?),
        _ => return None,
    };
    if let Some(rest) = rest.strip_prefix(samplers) {
        return Some(format!("{side}.{blocks}.{level}.{samplers}rs.0{rest}"));
    }
    let (index, rest) = rest.strip_prefix("block.")?.split_once('.')?;
    Some(format!("{side}.{blocks}.{level}.resnets.{}.{}", index.parse::<usize>().ok()?, resnet(rest)))
}

fn resnet(rest: &str) -> String {
    rest.replace("nin_shortcut.", "conv_shortcut.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoders_levels_are_counted_the_other_way() {
        assert_eq!(levels(["decoder.up.3.block.0.norm1.weight", "decoder.up.0.block.0.norm1.weight"].into_iter()), 4);
        let pairs = [
            ("quant_conv.weight", "quant_conv.weight"),
            ("post_quant_conv.bias", "post_quant_conv.bias"),
            ("encoder.conv_in.weight", "encoder.conv_in.weight"),
            ("decoder.norm_out.bias", "decoder.conv_norm_out.bias"),
            ("encoder.down.0.block.1.conv2.bias", "encoder.down_blocks.0.resnets.1.conv2.bias"),
            ("encoder.down.1.block.0.nin_shortcut.weight", "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"),
            ("encoder.down.2.downsample.conv.weight", "encoder.down_blocks.2.downsamplers.0.conv.weight"),
            ("encoder.mid.block_1.norm1.weight", "encoder.mid_block.resnets.0.norm1.weight"),
            ("decoder.mid.block_2.conv1.weight", "decoder.mid_block.resnets.1.conv1.weight"),
            ("decoder.mid.attn_1.norm.weight", "decoder.mid_block.attentions.0.group_norm.weight"),
            ("decoder.up.3.block.2.norm2.weight", "decoder.up_blocks.0.resnets.2.norm2.weight"),
            ("decoder.up.0.block.0.nin_shortcut.bias", "decoder.up_blocks.3.resnets.0.conv_shortcut.bias"),
            ("decoder.up.1.upsample.conv.bias", "decoder.up_blocks.2.upsamplers.0.conv.bias"),
        ];
        for (old, new) in pairs {
            assert_eq!(renamed(old, &[8], 4), Some(Renamed::As(new.to_owned())), "{old}");
        }
        for unknown in ["decoder.up.4.block.0.conv1.weight", "decoder.mid.attn_2.q.weight", "other.conv_in.weight"] {
            assert_eq!(renamed(unknown, &[8], 4), None, "{unknown}");
        }
        assert_eq!(renamed("loss.logvar", &[], 4), Some(Renamed::Dropped));
    }

    #[test]
    fn attention_is_made_of_matrices() {
        let pairs = [("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];
        for (old, new) in pairs {
            let (old, new) = (format!("encoder.mid.attn_1.{old}."), format!("encoder.mid_block.attentions.0.{new}."));
            let of = |end: &str, shape: &[usize]| renamed(&format!("{old}{end}"), shape, 4);
            assert_eq!(of("weight", &[8, 8, 1, 1]), Some(Renamed::Matrix(format!("{new}weight"))));
            assert_eq!(of("weight", &[8, 8]), Some(Renamed::As(format!("{new}weight"))));
            assert_eq!(of("bias", &[8]), Some(Renamed::As(format!("{new}bias"))));
        }
    }
}
