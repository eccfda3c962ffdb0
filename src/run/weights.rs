//! What a run leaves to other programs: `weights/`.
//!
//! In: the trained tensors and the plan. Out: for LoRA the adapter for diffusers and PEFT, and beside it in kohya's naming
//! with the usual `ss_*` metadata; for full fine-tuning a folder that diffusers loads, and one single file if asked
//! for. No clock goes in, so a rerun writes the same bytes.

use super::prepare::TEXT_TARGETS;
use super::run_inputs::RunInputs;
use super::single_file;
use crate::adapter::file::{self as lora_file, Component, Written};
use crate::config::{Adapter, Full, Lora, Objective, Plan};
use crate::error::{Error, Result};
use crate::results::{LORA_FILE, RunDir, TrainingSummary, weights_name};
use crate::weights::{Part, PartName, write_safetensors};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Writes what was trained; gives the names of the files.
pub fn write(run: &RunDir, plan: &Plan, with: &RunInputs, end: &TrainingSummary) -> Result<Vec<String>> {
    let mut out = Out { run, files: Vec::new() };
    match &plan.adapter {
        Adapter::Lora(lora) => write_lora(&mut out, plan, lora, with, end)?,
        Adapter::Full(full) => write_model(&mut out, plan, full, with)?,
    }
    Ok(out.files)
}

/// The run's folder, and what was written into it.
struct Out<'a> {
    run: &'a RunDir,
    files: Vec<String>,
}

impl Out<'_> {
    fn write(&mut self, name: &str, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.files.push(name.to_owned());
        self.run.write_with(name, write)
    }

    fn copy(&mut self, from: &Path, name: &str) -> Result<()> {
        self.write(name, |path| {
            fs_err::copy(from, path)?;
            Ok(())
        })
    }
}

fn write_lora(out: &mut Out, plan: &Plan, lora: &Lora, with: &RunInputs, end: &TrainingSummary) -> Result<()> {
    let text_targets = TEXT_TARGETS.map(str::to_owned);
    let unet = Written { component: Component::Unet, layers: &with.unet_parameters.lora, targets: &lora.targets };
    let text = with.text_parameters.get(&PartName::TextEncoder).map(|text| Written {
        component: Component::TextEncoder,
        layers: &text.lora,
        targets: &text_targets,
    });
    let networks: Vec<Written> = [unet].into_iter().chain(text).collect();
    let file = format!("weights/{LORA_FILE}");
    out.write(&file, |file| lora_file::write_diffusers(file, &networks, lora.dropout))?;
    let metadata = kohya_metadata(plan, lora, with, end);
    out.write(&weights_name(&plan.name), |file| lora_file::write_kohya(file, &networks, &metadata))
}

/// A diffusers pipeline: the trained parts are written, the others copied from the base model.
fn write_model(out: &mut Out, plan: &Plan, full: &Full, with: &RunInputs) -> Result<()> {
    let files = &with.files;
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    let mut save = |part: &Part, file: &str, weights| {
        out.write(&format!("weights/{}/{file}", part.name), |path| write_safetensors(path, weights, &metadata))?;
        out.copy(&part.config, &format!("weights/{}/config.json", part.name))
    };
    save(files.part(PartName::Unet)?, "diffusion_pytorch_model.safetensors", &with.unet_parameters.weights)?;
    match with.text_parameters.get(&PartName::TextEncoder) {
        Some(text) => save(files.part(PartName::TextEncoder)?, "model.safetensors", &text.weights)?,
        None => copy_part(out, files.part(PartName::TextEncoder)?, "model")?,
    }
    copy_part(out, files.part(PartName::Vae)?, "diffusion_pytorch_model")?;
    copy_folder(out, files.tokenizer(PartName::TextEncoder)?, "tokenizer")?;
    out.copy(&files.scheduler_config, "weights/scheduler/scheduler_config.json")?;
    if full.single_file {
        out.write(&weights_name(&plan.name), |file| single_file::write(file, with))?;
    }
    // Last: with it the folder is a model.
    let index = model_index(&files.root)?;
    out.write("weights/model_index.json", |path| Ok(fs_err::write(path, format!("{index:#}\n"))?))
}

/// The base model's index without what is not copied (safety checker and its like).
fn model_index(root: &Path) -> Result<Value> {
    let known = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"];
    let path = root.join("model_index.json");
    let mut index: Map<String, Value> = if path.is_file() {
        let text = fs_err::read_to_string(&path)?;
        serde_json::from_str(&text)
            .map_err(|e| Error::input(format!("{}: not a JSON object", path.display())).cause(e))?
    } else {
        let kinds = [
            ("unet", ["diffusers", "UNet2DConditionModel"]),
            ("vae", ["diffusers", "AutoencoderKL"]),
            ("text_encoder", ["transformers", "CLIPTextModel"]),
            ("tokenizer", ["transformers", "CLIPTokenizer"]),
            ("scheduler", ["diffusers", "PNDMScheduler"]),
        ];
        kinds.into_iter().map(|(part, kind)| (part.to_owned(), json!(kind))).collect()
    };
    index.insert("_class_name".to_owned(), json!("StableDiffusionPipeline"));
    index.insert("requires_safety_checker".to_owned(), json!(false));
    for (name, value) in &mut index {
        if value.is_array() && !known.contains(&name.as_str()) {
            *value = json!([null, null]);
        }
    }
    for name in ["safety_checker", "feature_extractor", "image_encoder"] {
        index.insert(name.to_owned(), json!([null, null]));
    }
    Ok(Value::Object(index))
}

/// Weights and configuration of a part that was not trained; shards keep their names and their index.
fn copy_part(out: &mut Out, part: &Part, stem: &str) -> Result<()> {
    out.copy(&part.config, &format!("weights/{}/config.json", part.name))?;
    if let [only] = part.weights.as_slice() {
        return out.copy(only, &format!("weights/{}/{stem}.safetensors", part.name));
    }
    for shard in &part.weights {
        out.copy(shard, &format!("weights/{}/{}", part.name, file_name(shard)))?;
    }
    let index = format!("{stem}.safetensors.index.json");
    let folder = part.config.parent().unwrap_or(Path::new("."));
    out.copy(&folder.join(&index), &format!("weights/{}/{index}", part.name))
}

/// Every plain file of a folder.
fn copy_folder(out: &mut Out, folder: &Path, name: &str) -> Result<()> {
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            out.copy(&path, &format!("weights/{name}/{}", file_name(&path)))?;
        }
    }
    Ok(())
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The `ss_*` keys that A1111 and its extensions show, and ModelSpec's required ones.
fn kohya_metadata(plan: &Plan, lora: &Lora, with: &RunInputs, end: &TrainingSummary) -> BTreeMap<String, String> {
    let t = &plan.train;
    let side = plan.dataset.resolution;
    let v_prediction = with.schedule.prediction_type() == crate::diffusion::PredictionType::VPrediction;
    let mut captions: BTreeMap<&str, usize> = BTreeMap::new();
    for picture in &with.pictures {
        *captions.entry(&picture.caption).or_default() += 1;
    }
    let (class_images, prior_loss_weight) = match &plan.objective {
        Objective::DreamBooth(prior) => {
            (with.class.as_ref().map_or(0, |(class, _)| class.len()), prior.prior_loss_weight.to_string())
        }
        Objective::Captions => (0, "1.0".to_owned()),
    };
    let entries = [
        ("ss_v2", "False".to_owned()),
        ("ss_base_model_version", if v_prediction { "sd_v1_v" } else { "sd_v1" }.to_owned()),
        ("ss_network_module", "networks.lora".to_owned()),
        ("ss_network_dim", lora.rank.to_string()),
        ("ss_network_alpha", lora.alpha.to_string()),
        ("ss_network_dropout", lora.dropout.to_string()),
        ("ss_network_args", "{}".to_owned()),
        ("ss_output_name", plan.name.clone()),
        ("ss_sd_model_name", plan.model.short()),
        ("ss_resolution", format!("({side}, {side})")),
        ("ss_num_train_images", with.pictures.len().to_string()),
        ("ss_num_reg_images", class_images.to_string()),
        ("ss_num_epochs", end.epochs.to_string()),
        ("ss_epoch", end.epochs.to_string()),
        ("ss_steps", end.steps.to_string()),
        ("ss_max_train_steps", end.steps.to_string()),
        ("ss_learning_rate", t.learning_rate.to_string()),
        ("ss_unet_lr", t.learning_rate.to_string()),
        ("ss_text_encoder_lr", if lora.text_encoder { t.learning_rate.to_string() } else { "None".to_owned() }),
        ("ss_lr_scheduler", t.lr_scheduler.to_string()),
        ("ss_lr_warmup_steps", t.warmup_steps.to_string()),
        ("ss_optimizer", "AdamW".to_owned()),
        ("ss_max_grad_norm", t.max_grad_norm.to_string()),
        ("ss_seed", plan.seed.to_string()),
        ("ss_mixed_precision", "no".to_owned()),
        ("ss_batch_size_per_device", t.batch_size.to_string()),
        ("ss_total_batch_size", t.batch_size.to_string()),
        ("ss_gradient_accumulation_steps", t.gradient_accumulation.to_string()),
        ("ss_gradient_checkpointing", if t.gradient_checkpointing { "True" } else { "False" }.to_owned()),
        ("ss_noise_offset", t.noise_offset.to_string()),
        ("ss_min_snr_gamma", t.snr_gamma.map_or("None".to_owned(), |g| g.to_string())),
        ("ss_prior_loss_weight", prior_loss_weight),
        ("ss_cache_latents", if plan.dataset.center_crop { "True" } else { "False" }.to_owned()),
        ("ss_tag_frequency", json!({ plan.name.as_str(): captions }).to_string()),
        ("modelspec.sai_model_spec", "1.0.0".to_owned()),
        ("modelspec.architecture", format!("{}/lora", with.files.family.architecture())),
        ("modelspec.implementation", "diffusers".to_owned()),
        ("modelspec.title", plan.name.clone()),
        ("modelspec.resolution", format!("{side}x{side}")),
    ];
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
