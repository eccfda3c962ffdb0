//! What kohya's sd-scripts write into a LoRA's header, for programs that show it.
//!
//! In: the adapter's settings and the trained model. Out: the header's entries.

use super::weights::TrainedModel;
use crate::config::{Dtype, Lora, Loss, Objective};
use crate::pipeline::Family;
use serde_json::json;
use std::collections::BTreeMap;

/// The `ss_*` keys that A1111 and its extensions show, and ModelSpec's required ones.
pub fn kohya_metadata(lora: &Lora, trained: &TrainedModel) -> BTreeMap<String, String> {
    let TrainedModel { plan, ending, .. } = trained;
    let t = &plan.train;
    let resolution = plan.dataset.resolution;
    let buckets = &plan.dataset.buckets;
    let flag = |on: bool| if on { "True" } else { "False" }.to_owned();
    let family = trained.files.family;
    let prediction = trained.schedule.prediction_type();
    let v2 = if family == Family::Sd2 { "True" } else { "False" };
    // As kohya has it, whose names of XL are those of Stability's own code.
    let implementation =
        if family == Family::Sdxl { "https://github.com/Stability-AI/generative-models" } else { "diffusers" };
    let mut captions: BTreeMap<&str, usize> = BTreeMap::new();
    for picture in trained.pictures {
        *captions.entry(&picture.caption).or_default() += 1;
    }
    let prior_loss_weight = match &plan.objective {
        Objective::DreamBooth(prior) => prior.prior_loss_weight.to_string(),
        Objective::Captions => "1.0".to_owned(),
    };
    let mut entries = vec![
        ("ss_v2", v2.to_owned()),
        ("ss_base_model_version", family.base_model_version(prediction).to_owned()),
        ("ss_network_module", "networks.lora".to_owned()),
        ("ss_network_dim", lora.rank.to_string()),
        ("ss_network_alpha", lora.alpha.to_string()),
        ("ss_network_dropout", lora.dropout.to_string()),
        ("ss_network_args", "{}".to_owned()),
        ("ss_output_name", plan.name.clone()),
        ("ss_sd_model_name", plan.model.short()),
        ("ss_resolution", format!("({}, {})", resolution.width, resolution.height)),
        ("ss_num_train_images", trained.pictures.len().to_string()),
        ("ss_num_reg_images", trained.class_images.to_string()),
        ("ss_num_epochs", ending.epochs.to_string()),
        ("ss_epoch", ending.epochs.to_string()),
        ("ss_steps", ending.steps.to_string()),
        ("ss_max_train_steps", ending.steps.to_string()),
        ("ss_learning_rate", t.learning_rate.to_string()),
        ("ss_unet_lr", t.learning_rate.to_string()),
        ("ss_text_encoder_lr", if lora.text_encoder { t.learning_rate.to_string() } else { "None".to_owned() }),
        ("ss_lr_scheduler", t.lr_scheduler.to_string()),
        ("ss_lr_warmup_steps", t.warmup_steps.to_string()),
        ("ss_optimizer", t.optimizer.label().to_owned()),
        ("ss_max_grad_norm", t.max_grad_norm.to_string()),
        ("ss_seed", plan.seed.to_string()),
        ("ss_mixed_precision", mixed_precision(t.dtype).to_owned()),
        ("ss_batch_size_per_device", t.batch_size.to_string()),
        ("ss_total_batch_size", t.batch_size.to_string()),
        ("ss_gradient_accumulation_steps", t.gradient_accumulation.to_string()),
        ("ss_gradient_checkpointing", if t.gradient_checkpointing { "True" } else { "False" }.to_owned()),
        ("ss_noise_offset", t.noise_offset.to_string()),
        ("ss_min_snr_gamma", t.snr_gamma.map_or("None".to_owned(), |g| g.to_string())),
        ("ss_prior_loss_weight", prior_loss_weight),
        (
            "ss_cache_latents",
            if plan.dataset.parts().iter().all(|part| part.center_crop) { "True" } else { "False" }.to_owned(),
        ),
        ("ss_tag_frequency", json!({ plan.name.as_str(): captions }).to_string()),
        ("modelspec.sai_model_spec", "1.0.0".to_owned()),
        ("modelspec.architecture", format!("{}/lora", family.architecture(prediction))),
        ("modelspec.implementation", implementation.to_owned()),
        ("modelspec.title", plan.name.clone()),
        ("modelspec.resolution", format!("{}x{}", resolution.width, resolution.height)),
    ];
    if let Some(sha256) = trained.file_sha256 {
        entries.push(("ss_new_sd_model_hash", sha256.to_owned()));
    }
    if buckets.on {
        entries.push(("ss_enable_bucket", flag(true)));
        entries.push(("ss_min_bucket_reso", buckets.min_side.to_string()));
        entries.push(("ss_max_bucket_reso", buckets.max_side.to_string()));
        entries.push(("ss_bucket_no_upscale", flag(!buckets.upscale)));
    }
    if t.zero_terminal_snr {
        entries.push(("ss_zero_terminal_snr", "True".to_owned()));
    }
    if t.loss != Loss::L2 {
        entries.push(("ss_loss_type", t.loss.to_string()));
        entries.push(("ss_huber_schedule", t.huber_schedule.to_string()));
        entries.push(("ss_huber_c", t.huber_c.to_string()));
    }
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// `--mixed_precision` of sd-scripts that computes in this type.
fn mixed_precision(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::F32 => "no",
        Dtype::Bf16 => "bf16",
        Dtype::F16 => "fp16",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_the_names_that_sd_scripts_give_them() {
        assert_eq!([Dtype::F32, Dtype::Bf16, Dtype::F16].map(mixed_precision), ["no", "bf16", "fp16"]);
    }
}
