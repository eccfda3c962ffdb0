//! What a run leaves to other programs: `weights/`.
//!
//! In: the trained tensors and the plan. Out: the adapter for diffusers and PEFT, and beside it in kohya's naming with the
//! usual `ss_*` metadata. No clock goes in, so a rerun writes the same bytes.

use super::prepare::Prepared;
use crate::error::Result;
use crate::model::lora_file::{write_diffusers, write_kohya};
use crate::plan::{Adapter, Lora, Plan, Source};
use crate::results::RunDir;
use serde_json::json;
use std::collections::BTreeMap;

/// The adapter's file under `weights/`, by the name that diffusers looks for.
pub const LORA_FILE: &str = "pytorch_lora_weights.safetensors";

/// Writes the trained adapter twice.
pub fn write(run: &RunDir, plan: &Plan, with: &Prepared, steps: usize, epochs: usize) -> Result<()> {
    let Adapter::Lora(lora) = &plan.adapter;
    let layers = &with.parameters.lora;
    run.write_with(&format!("weights/{LORA_FILE}"), |file| write_diffusers(file, layers, &lora.targets, lora.dropout))?;
    let metadata = kohya_metadata(plan, lora, with, steps, epochs);
    run.write_with(&format!("weights/{}.safetensors", plan.name), |file| write_kohya(file, layers, &metadata))
}

/// The `ss_*` keys that A1111 and its extensions show, and ModelSpec's required ones.
fn kohya_metadata(plan: &Plan, lora: &Lora, with: &Prepared, steps: usize, epochs: usize) -> BTreeMap<String, String> {
    let t = &plan.train;
    let side = plan.dataset.resolution;
    let v_prediction = with.schedule.prediction_type() == crate::diffusion::PredictionType::VPrediction;
    let mut captions: BTreeMap<&str, usize> = BTreeMap::new();
    for picture in &with.pictures {
        *captions.entry(&picture.caption).or_default() += 1;
    }
    let entries = [
        ("ss_v2", "False".to_owned()),
        ("ss_base_model_version", if v_prediction { "sd_v1_v" } else { "sd_v1" }.to_owned()),
        ("ss_network_module", "networks.lora".to_owned()),
        ("ss_network_dim", lora.rank.to_string()),
        ("ss_network_alpha", lora.alpha.to_string()),
        ("ss_network_dropout", lora.dropout.to_string()),
        ("ss_network_args", "{}".to_owned()),
        ("ss_output_name", plan.name.clone()),
        ("ss_sd_model_name", model_name(&plan.model)),
        ("ss_resolution", format!("({side}, {side})")),
        ("ss_num_train_images", with.pictures.len().to_string()),
        ("ss_num_reg_images", "0".to_owned()),
        ("ss_num_epochs", epochs.to_string()),
        ("ss_epoch", epochs.to_string()),
        ("ss_steps", steps.to_string()),
        ("ss_max_train_steps", steps.to_string()),
        ("ss_learning_rate", t.learning_rate.to_string()),
        ("ss_unet_lr", t.learning_rate.to_string()),
        ("ss_lr_scheduler", t.lr_scheduler.to_string()),
        ("ss_lr_warmup_steps", t.warmup_steps.to_string()),
        ("ss_optimizer", "AdamW".to_owned()),
        ("ss_max_grad_norm", t.max_grad_norm.to_string()),
        ("ss_seed", plan.seed.to_string()),
        ("ss_mixed_precision", "no".to_owned()),
        ("ss_batch_size_per_device", t.batch_size.to_string()),
        ("ss_total_batch_size", t.batch_size.to_string()),
        ("ss_gradient_accumulation_steps", t.gradient_accumulation.to_string()),
        ("ss_noise_offset", t.noise_offset.to_string()),
        ("ss_min_snr_gamma", t.snr_gamma.map_or("None".to_owned(), |g| g.to_string())),
        ("ss_cache_latents", if plan.dataset.center_crop { "True" } else { "False" }.to_owned()),
        ("ss_tag_frequency", json!({ plan.name.as_str(): captions }).to_string()),
        ("modelspec.sai_model_spec", "1.0.0".to_owned()),
        ("modelspec.architecture", "stable-diffusion-v1/lora".to_owned()),
        ("modelspec.implementation", "diffusers".to_owned()),
        ("modelspec.title", plan.name.clone()),
        ("modelspec.resolution", format!("{side}x{side}")),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// The repository, or the folder's last name: no path of this machine goes into a file that is shared.
fn model_name(source: &Source) -> String {
    match source {
        Source::Path(path) => path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
        Source::HuggingFace { repo, .. } | Source::ModelScope { repo, .. } => repo.clone(),
    }
}
