//! OpenCLIP's text encoders as single files have them (Stable Diffusion 2 and XL).
//!
//! In: a text encoder's tensors under transformers' names. Out: the same under OpenCLIP's: queries,
//! keys and values in one matrix, the projection transposed, and what readers look for though Stable
//! Diffusion does not use it.

use crate::error::{Error, Result};
use crate::weights::TEXT_PROJECTION;
use crate::weights::original::text::LAYER;
use candle_core::{DType, Device, Tensor};
use std::collections::BTreeMap;

/// What queries, keys and values are scaled by before texts and pictures are compared, in Stability's files.
const LOGIT_SCALE: f32 = 4.6055;

/// Stable Diffusion XL's second text encoder.
pub(super) fn of_sdxl(tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let mut renamed = renamed(tensors)?;
    renamed.insert("logit_scale".to_owned(), Tensor::new(LOGIT_SCALE, &Device::Cpu)?);
    Ok(renamed)
}

/// Stable Diffusion 2's, which is OpenCLIP's without the last layer: readers that build all of it find a copy of the last one
/// that there is, and ones for the projection, as kohya's scripts write them.
pub(super) fn of_sd2(tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let mut renamed = renamed(tensors)?;
    let layer = |name: &str| name.strip_prefix("transformer.resblocks.")?.split('.').next()?.parse::<usize>().ok();
    let last = renamed.keys().filter_map(|name| layer(name)).max();
    let last = last.ok_or_else(|| Error::run("the text encoder has no layers"))?;
    let of_last = format!("transformer.resblocks.{last}.");
    let more: Vec<(String, Tensor)> = renamed
        .iter()
        .filter_map(|(name, t)| {
            Some((format!("transformer.resblocks.{}.{}", last + 1, name.strip_prefix(&of_last)?), t.clone()))
        })
        .collect();
    renamed.extend(more);
    let width = renamed.get("ln_final.weight").map_or(0, Tensor::elem_count);
    renamed.insert("text_projection".to_owned(), Tensor::ones((width, width), DType::F32, &Device::Cpu)?);
    renamed.insert("logit_scale".to_owned(), Tensor::new(1f32, &Device::Cpu)?);
    Ok(renamed)
}

fn renamed(tensors: &BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let mut renamed = BTreeMap::new();
    for (name, tensor) in tensors {
        if name == TEXT_PROJECTION {
            renamed.insert("text_projection".to_owned(), tensor.t()?.contiguous()?);
        } else if let Some(new) = one(name) {
            renamed.insert(new, tensor.clone());
        } else if let Some((layer, kind)) = query(name) {
            let parts = ["q_proj", "k_proj", "v_proj"].map(|part| {
                let name = format!("text_model.encoder.layers.{layer}.self_attn.{part}.{kind}");
                tensors.get(&name).ok_or_else(|| Error::run(format!("the text encoder has no `{name}`")))
            });
            let parts = parts.into_iter().collect::<Result<Vec<_>>>()?;
            renamed.insert(format!("transformer.resblocks.{layer}.attn.in_proj_{kind}"), Tensor::cat(&parts, 0)?);
        }
    }
    Ok(renamed)
}

/// The name of a tensor that is one there too.
fn one(name: &str) -> Option<String> {
    let rest = name.strip_prefix("text_model.")?;
    match rest {
        "embeddings.token_embedding.weight" => return Some("token_embedding.weight".to_owned()),
        "embeddings.position_embedding.weight" => return Some("positional_embedding".to_owned()),
        _ => {}
    }
    if let Some(rest) = rest.strip_prefix("final_layer_norm.") {
        return Some(format!("ln_final.{rest}"));
    }
    let (layer, rest) = rest.strip_prefix("encoder.layers.")?.split_once('.')?;
    let original = LAYER.iter().find_map(|(original, new)| Some(format!("{original}{}", rest.strip_prefix(new)?)))?;
    Some(format!("transformer.resblocks.{layer}.{original}"))
}

/// Layer and `weight` or `bias` of the queries' projection, with which keys and values go.
fn query(name: &str) -> Option<(&str, &str)> {
    let (layer, rest) = name.strip_prefix("text_model.encoder.layers.")?.split_once('.')?;
    Some((layer, rest.strip_prefix("self_attn.q_proj.")?))
}
