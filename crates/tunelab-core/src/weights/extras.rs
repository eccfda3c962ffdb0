//! Tensors that no network here asks for and that writers leave in model files all the same.
//!
//! In: a tensor's name and shape. Out: whether it may be passed over. diffusers and transformers
//! pass over whatever they do not know; here a name must be known to be harmless, because any other
//! surplus tensor says that configuration and weights do not belong together.

use super::PartName;

/// Parts of a name, between its dots, that belong to other uses of the weights: CLIP's comparison
/// with pictures, averages and tables of training.
const PARTS: [&str; 12] = [
    "text_projection",
    "visual_projection",
    "vision_model",
    "logit_scale",
    "logit_bias",
    "model_ema",
    "position_ids",
    "embedding_manager",
    "global_step",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "betas",
];

/// Buffers that Stable Diffusion 1.5's own files have: not worth a word.
const USUAL: &str = "position_ids";

/// Whether a tensor that nobody asks for may be passed over.
pub(super) fn is_harmless(name: &str, shape: &[usize]) -> bool {
    shape.contains(&0) || name.split('.').any(|part| PARTS.contains(&part))
}

/// What was passed over of a part, in one line.
pub(super) fn note(part: PartName, names: &[&str]) -> Option<String> {
    const SHOWN: usize = 4;
    let names: Vec<&&str> = names.iter().filter(|name| name.rsplit('.').next() != Some(USUAL)).collect();
    let first = names.iter().take(SHOWN).map(|name| **name).collect::<Vec<_>>().join(", ");
    let more = if names.len() > SHOWN { format!(" and {} more", names.len() - SHOWN) } else { String::new() };
    let tensors = if names.len() == 1 { "a tensor" } else { "tensors" };
    (!names.is_empty()).then(|| format!("{part}: {tensors} that this model has no use for: {first}{more}"))
}
