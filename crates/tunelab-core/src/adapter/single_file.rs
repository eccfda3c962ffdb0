//! The whole model as one `.safetensors` checkpoint in CompVis' naming, which A1111, ComfyUI,
//! stable-diffusion.cpp and diffusers' `from_single_file` load.
//!
//! In: the trained networks and the base model's files. Out: one file. Names are translated by
//! position: the levels and blocks of diffusers are numbered through in the original code (Rombach
//! et al. 2022).

use super::open_clip;
use super::weights::TrainedModel;
use crate::diffusion::PredictionType;
use crate::error::{Error, Result};
use crate::pipeline::Family;
use crate::pipeline::original_names::{position, unet};
use crate::weights::original::vae::ATTENTION;
use crate::weights::{Part, PartName, Weights, write_safetensors};
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes UNet, VAE and text encoders.
pub fn write(file: &Path, trained: &TrainedModel) -> Result<()> {
    let mut tensors = BTreeMap::new();
    for (name, tensor) in &trained.unet.weights {
        tensors.insert(
            format!("model.diffusion_model.{}", translated(name, unet(name, &trained.unet_levels))?),
            tensor.clone(),
        );
    }
    for (name, tensor) in load(trained.files.part(PartName::Vae)?)? {
        let new = translated(&name, vae(&name, trained.vae_levels))?;
        // The original's attention is made of 1x1 convolutions.
        let is_projection = new.contains(".attn_1.") && tensor.rank() == 2;
        let tensor = if is_projection { tensor.unsqueeze(2)?.unsqueeze(3)? } else { tensor };
        tensors.insert(format!("first_stage_model.{new}"), tensor);
    }
    for (part, _) in trained.files.family.text_encoders() {
        let text = match trained.text_encoders.get(&part) {
            Some(text_encoder) => text_encoder.weights.clone(),
            None => load(trained.files.part(part)?)?,
        };
        tensors.extend(text_encoder(trained.files.family, part, text)?);
    }
    tensors.extend(markers(trained)?);
    write_safetensors(file, &tensors, &BTreeMap::from([("format".to_owned(), "pt".to_owned())]))
}

/// A text encoder's tensors as the family's files have them.
fn text_encoder(family: Family, part: PartName, tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let (prefix, tensors) = match (family, part) {
        (Family::Sd1, _) => ("cond_stage_model.transformer.", tensors),
        (Family::Sd2, _) => ("cond_stage_model.model.", open_clip::of_sd2(&tensors)?),
        (Family::Sdxl, PartName::TextEncoder2) => ("conditioner.embedders.1.model.", open_clip::of_sdxl(&tensors)?),
        (Family::Sdxl, _) => ("conditioner.embedders.0.transformer.", tensors),
    };
    Ok(tensors.into_iter().map(|(name, tensor)| (format!("{prefix}{name}"), tensor)).collect())
}

/// Empty tensors by which a file of Stable Diffusion XL says that its UNet predicts the velocity, and over which schedule.
fn markers(trained: &TrainedModel) -> Result<BTreeMap<String, Tensor>> {
    let is_marked =
        trained.files.family == Family::Sdxl && trained.schedule.prediction_type() == PredictionType::VPrediction;
    let names: &[&str] = match trained.plan.train.zero_terminal_snr {
        _ if !is_marked => &[],
        false => &["v_pred"],
        true => &["v_pred", "ztsnr"],
    };
    names.iter().map(|name| Ok(((*name).to_owned(), Tensor::zeros(0, DType::F32, &Device::Cpu)?))).collect()
}

fn translated(name: &str, new: Option<String>) -> Result<String> {
    new.ok_or_else(|| Error::run(format!("`{name}` has no place in a single-file checkpoint")))
}

/// All tensors of a part that was not trained.
pub(super) fn load(part: &Part) -> Result<BTreeMap<String, Tensor>> {
    let weights = Weights::open_part(part)?;
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let one = |name: String| {
        let tensor = weights.load(&name, &Device::Cpu, DType::F32)?;
        Ok((name, tensor))
    };
    names.into_iter().filter(|name| !name.ends_with("position_ids")).map(one).collect()
}

/// The original name of a VAE tensor; `levels` are its levels.
fn vae(name: &str, levels: usize) -> Option<String> {
    if name.starts_with("quant_conv.") || name.starts_with("post_quant_conv.") {
        return Some(name.to_owned());
    }
    let (side, rest) = name.split_once('.')?;
    if let Some(rest) = rest.strip_prefix("conv_norm_out.") {
        return Some(format!("{side}.norm_out.{rest}"));
    }
    if rest.starts_with("conv_in.") || rest.starts_with("conv_out.") {
        return Some(name.to_owned());
    }
    if let Some(rest) = rest.strip_prefix("mid_block.resnets.") {
        let (index, rest) = rest.split_once('.')?;
        return Some(format!("{side}.mid.block_{}.{}", index.parse::<usize>().ok()? + 1, vae_resnet(rest)));
    }
    if let Some(rest) = rest.strip_prefix("mid_block.attentions.0.") {
        let original =
            ATTENTION.iter().find_map(|(original, new)| Some(format!("{original}{}", rest.strip_prefix(new)?)))?;
        return Some(format!("{side}.mid.attn_1.{original}"));
    }
    if let Some((level, kind, index, rest)) = position(rest, "down_blocks.") {
        return match kind {
            "resnets" => Some(format!("{side}.down.{level}.block.{index}.{}", vae_resnet(rest))),
            _ => Some(format!("{side}.down.{level}.downsample.{rest}")),
        };
    }
    let (level, kind, index, rest) = position(rest, "up_blocks.")?;
    let level = levels - 1 - level;
    match kind {
        "resnets" => Some(format!("{side}.up.{level}.block.{index}.{}", vae_resnet(rest))),
        _ => Some(format!("{side}.up.{level}.upsample.{rest}")),
    }
}

fn vae_resnet(rest: &str) -> String {
    rest.replace("conv_shortcut.", "nin_shortcut.")
}
