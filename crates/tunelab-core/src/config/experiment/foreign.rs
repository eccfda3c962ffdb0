//! A file that is something else: another program's configuration, a project's settings, JSON,
//! YAML.
//!
//! In: a text that is no experiment. Out: what it looks like, by its keys or its name, and where
//! ours are. To list its keys as unknown ones of ours would help nobody.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::tree;
use crate::error::Error;

/// What a file is, and keys by which it is known; at least two of them must be there.
const KINDS: [(&str, &str); 9] = [
    (
        "a configuration of kohya's sd-scripts",
        "network_module network_dim network_alpha network_args unet_lr text_encoder_lr optimizer_type \
         optimizer_args train_data_dir reg_data_dir save_model_as output_name caption_extension class_tokens \
         image_dir num_repeats subsets enable_bucket bucket_reso_steps min_bucket_reso shuffle_caption \
         keep_tokens max_train_epochs max_train_steps train_batch_size cache_latents max_token_length \
         pretrained_model_name_or_path LoRA_type model_arguments training_arguments save_every_n_epochs \
         flip_aug",
    ),
    (
        "a configuration of OneTrainer",
        "training_method base_model_name model_type concept_file_name concepts sample_definition_file_name \
         output_model_destination output_model_format output_dtype layer_filter_preset workspace_dir \
         backup_after weight_dtype lora_rank train_device temp_device",
    ),
    (
        "a configuration of ai-toolkit",
        "job process training_folder linear linear_alpha folder_path caption_ext name_or_path noise_scheduler \
         sample_every max_step_saves_to_keep trigger_word cache_latents_to_disk is_flux is_xl is_v2 quantize \
         low_vram",
    ),
    (
        "a configuration of SimpleTuner",
        "data_backend_config model_family lora_type lycoris_config aspect_bucket_rounding minimum_image_size \
         validation_guidance validation_resolution caption_dropout_probability cache_dir_vae caption_strategy \
         dataset_type resolution_type instance_data_dir metadata_backend model_type max_train_steps \
         pretrained_model_name_or_path train_batch_size checkpointing_steps MODEL_FAMILY DATALOADER_CONFIG",
    ),
    (
        "arguments of diffusers' training scripts",
        "pretrained_model_name_or_path instance_data_dir instance_prompt class_data_dir class_prompt \
         with_prior_preservation num_class_images train_batch_size gradient_accumulation_steps \
         checkpointing_steps validation_prompt validation_epochs dataset_name max_train_steps \
         num_train_epochs train_text_encoder mixed_precision lr_warmup_steps",
    ),
    (
        "a configuration of Accelerate, which starts diffusers' training scripts",
        "compute_environment distributed_type num_machines num_processes machine_rank main_training_function \
         downcast_bf16 same_network rdzv_backend tpu_use_cluster mixed_precision",
    ),
    (
        "an adapter's configuration of PEFT",
        "peft_type base_model_name_or_path lora_alpha target_modules rank_pattern init_lora_weights",
    ),
    (
        "a part of a model",
        "_class_name _diffusers_version architectures transformers_version block_out_channels hidden_size",
    ),
    ("a workflow of ComfyUI", "last_node_id last_link_id class_type widgets_values inputs _meta"),
];

/// Settings of projects and of tools around them.
const SETTINGS: [&str; 12] = [
    "Cargo.toml",
    "book.toml",
    "clippy.toml",
    "netlify.toml",
    "pixi.toml",
    "poetry.toml",
    "pyproject.toml",
    "ruff.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "taplo.toml",
    "uv.toml",
];

/// The outermost tables of an experiment. Its other keys, `name` and `seed`, are everybody's.
const OURS: [&str; 9] =
    ["adapter", "dataset", "eval", "log", "model", "reference", "stand_in", "stands_in_for", "train"];

/// Whether a file of this name holds the settings of a project.
pub(crate) fn is_settings(file: &Path) -> bool {
    file.file_name().is_some_and(|name| SETTINGS.iter().any(|settings| name == *settings))
}

/// An error that says what the file is, if it is known and is no experiment. `tree` is what of it
/// could be read as TOML.
pub(super) fn refuse(text: &str, file: &Path, tree: &tree::Table, is_toml: bool) -> Option<Error> {
    let json = text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str::<Value>(text).ok()).flatten();
    let keys = json.as_ref().map_or_else(|| written(text), named);
    let is_yaml = file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
    let kind = kind(&keys);
    let (ours, others) = sides(tree, kind.map_or("", |(_, known)| known));
    if ours > 0 && others <= ours {
        return None;
    }
    let settings = (ours == 0 && is_settings(file)).then(|| "is a project's settings file".to_owned());
    let kind = settings.or_else(|| kind.map(|(kind, _)| format!("looks like {kind}")));
    let form = if json.is_some() { "JSON" } else { "YAML" };
    let kind = kind.or_else(|| (!is_toml && (json.is_some() || is_yaml)).then(|| format!("is {form}")))?;
    let hint = "the keys of an experiment are in the README under \"An experiment\"; `tunelab plan` prints all of one's, such as \
                `tunelab plan experiments/lora_dog.toml`";
    Some(Error::input(format!("{} {kind}, not an experiment of tunelab", file.display())).hint(hint))
}

/// How many of the outermost keys are ours, and how many are `known` as another program's. A table
/// is the other's by its own name, or where more than half of its keys are: `[model]` is a name
/// that others use too.
fn sides(tree: &tree::Table, known: &str) -> (usize, usize) {
    let is_known = |key: &str| known.split(' ').any(|word| word == key);
    let is_others = |(key, entry): &(&String, &tree::Entry)| match &entry.value {
        tree::Value::Table(inner) => {
            let count = inner.keys().filter(|key| is_known(key)).count();
            is_known(key) || 2 * count > inner.len()
        }
        _ => is_known(key),
    };
    let (others, rest): (Vec<_>, Vec<_>) = tree.iter().partition(is_others);
    let is_table = |entry: &tree::Entry| matches!(entry.value, tree::Value::Table(_));
    let ours = rest.iter().filter(|(key, entry)| OURS.contains(&key.as_str()) && is_table(entry));
    (ours.count(), others.len())
}

/// What most keys speak for, and its keys; of two, the one that is listed first.
fn kind(keys: &BTreeSet<String>) -> Option<(&'static str, &'static str)> {
    let count = |known: &str| known.split(' ').filter(|key| keys.contains(*key)).count();
    let kinds = KINDS.iter().rev().map(|(kind, known)| (count(known), (*kind, *known)));
    kinds.filter(|(count, _)| *count > 1).max_by_key(|(count, _)| *count).map(|(_, kind)| kind)
}

/// Every key of JSON, without the hyphens of a command line.
fn named(json: &Value) -> BTreeSet<String> {
    let inner: Vec<&Value> = match json {
        Value::Object(object) => object.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => Vec::new(),
    };
    let own = json.as_object().into_iter().flat_map(|object| object.keys().map(|key| key.trim_matches('-').to_owned()));
    own.chain(inner.into_iter().flat_map(named)).collect()
}

/// What stands where TOML, YAML, environment files and command lines have keys: at the beginning of
/// a line, before `=`, `:` or a blank; and names of tables.
fn written(text: &str) -> BTreeSet<String> {
    let key = |line: &str| {
        let line = line.trim().trim_start_matches("export ");
        let line = line.trim_start_matches(['-', ' ', '[', '"', '\'', '\\']);
        let end = line.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(line.len());
        let word = line[..end].rsplit('.').next().unwrap_or_default();
        word.to_owned()
    };
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(key).filter(|key| !key.is_empty()).collect()
}
