//! PEFT's configuration of an adapter: `lora_adapter_metadata` in the header of diffusers' files,
//! or `adapter_config.json` beside PEFT's own.
//!
//! In: that JSON. Out: alpha of each module, as PEFT finds it. What it asks for and is not read is
//! an error, by the key's name.

use super::names::PEFT;
use crate::error::{Error, Result};
use crate::weights::{PartName, Weights};
use fancy_regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// PEFT's own defaults (`LoraConfig`), for keys that are not written.
const ALPHA: f64 = 8.0;

/// Keys that say nothing of how the matrices are used, whatever they hold.
const WITHOUT_EFFECT: [&str; 19] = [
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "velora_config",
];

/// Keys that are read here.
const READ: [&str; 7] =
    ["alpha_pattern", "init_lora_weights", "lora_alpha", "peft_type", "r", "rank_pattern", "use_rslora"];

/// Ways of beginning the matrices that leave the base model's weights as they are.
const BEGINNINGS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// What is written of the networks' adapters.
pub(super) struct Configs {
    /// Of names without a network before them.
    bare: Option<Config>,
    /// Of each network.
    parts: BTreeMap<PartName, Config>,
}

impl Configs {
    /// The configuration in the header of `file`, or that beside it if the file is PEFT's own.
    pub fn read(file: &Path, weights: &Weights) -> Result<Self> {
        if weights.names().any(|name| name.starts_with(PEFT))
            && let Some(bare) = beside(file)?
        {
            return Ok(Self { bare: Some(bare), parts: BTreeMap::new() });
        }
        let Some(text) = weights.metadata().get("lora_adapter_metadata") else {
            return Ok(Self { bare: None, parts: BTreeMap::new() });
        };
        let from = format!("{}: `lora_adapter_metadata`", file.display());
        let all = object(&from, text)?;
        let of = |prefix: &str| {
            let keys = all.iter().filter_map(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
            // Names of another network's keys have a point in them.
            let keys = keys.filter(|(key, _)| !key.contains('.')).map(|(key, value)| (key.to_owned(), value.clone()));
            Config::parse(&from, &keys.collect())
        };
        let mut parts = BTreeMap::new();
        for part in [PartName::Unet, PartName::TextEncoder, PartName::TextEncoder2] {
            parts.extend(of(&format!("{part}."))?.map(|config| (part, config)));
        }
        Ok(Self { bare: of("")?, parts })
    }

    /// alpha of a module of `file` that is spelled `prefix` and `module` there, such that its
    /// update is scaled by alpha / rank.
    ///
    /// Errors: the configuration says another rank, or is missing where PEFT's names say that there
    /// is one.
    pub fn alpha(&self, file: &Path, part: PartName, (prefix, module): (&str, &str), rank: usize) -> Result<f64> {
        match self.parts.get(&part).or(self.bare.as_ref()) {
            Some(config) => config.alpha(module, rank),
            None if prefix == PEFT => Err(Error::input(format!(
                "{}: nothing says alpha, without which the strength of this LoRA is not known",
                file.display()
            ))
            .hint("PEFT keeps it in `adapter_config.json`: put that file, from where this one came, beside it")),
            // diffusers' files without a header know no alpha, and those in kohya's form have it as
            // a tensor.
            None => Ok(rank as f64),
        }
    }
}

/// `adapter_config.json` in the folder of `file`, if it is there.
fn beside(file: &Path) -> Result<Option<Config>> {
    let path = file.with_file_name("adapter_config.json");
    if !path.is_file() {
        return Ok(None);
    }
    let from = path.display().to_string();
    let text = fs_err::read_to_string(&path).map_err(|e| Error::input(e.to_string()))?;
    Config::parse(&from, &object(&from, &text)?)
}

fn object(from: &str, text: &str) -> Result<Map<String, Value>> {
    serde_json::from_str(text).map_err(|e| Error::input(format!("{from} is broken")).cause(e))
}

/// What PEFT's `LoraConfig` says of one network.
struct Config {
    from: String,
    rank: Option<usize>,
    ranks: Patterns<usize>,
    alpha: f64,
    alphas: Patterns<f64>,
    /// Rank-stabilised LoRA divides by √rank.
    rslora: bool,
}

impl Config {
    /// `None` where nothing is written.
    fn parse(from: &str, map: &Map<String, Value>) -> Result<Option<Self>> {
        if map.is_empty() {
            return Ok(None);
        }
        refuse_what_is_not_read(from, map)?;
        let wrong = |key: &str, what: &str| Error::input(format!("{from}: `{key}` must be {what}"));
        let written = |key: &str| map.get(key).filter(|value| !value.is_null());
        let rank = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let alpha = |value: &Value| value.as_f64().filter(|n| n.is_finite());
        let one = |key| written(key).map(|v| rank(v).ok_or_else(|| wrong(key, "a whole number, 1 or more")));
        Ok(Some(Self {
            from: from.to_owned(),
            rank: one("r").transpose()?,
            ranks: Patterns::parse(from, "rank_pattern", written("rank_pattern"), rank)?,
            alpha: written("lora_alpha")
                .map_or(Ok(ALPHA), |v| alpha(v).ok_or_else(|| wrong("lora_alpha", "a number")))?,
            alphas: Patterns::parse(from, "alpha_pattern", written("alpha_pattern"), alpha)?,
            rslora: written("use_rslora")
                .map_or(Ok(false), |v| v.as_bool().ok_or_else(|| wrong("use_rslora", "true or false")))?,
        }))
    }

    fn alpha(&self, module: &str, rank: usize) -> Result<f64> {
        if let Some(said) = self.ranks.of(module)?.or(self.rank).filter(|said| *said != rank) {
            let message = format!("{}: `{module}` has rank {said} here, and {rank} in its tensors", self.from);
            return Err(Error::input(message).hint("the two do not belong together: take both from one place"));
        }
        let alpha = self.alphas.of(module)?.unwrap_or(self.alpha);
        Ok(if self.rslora { alpha * (rank as f64).sqrt() } else { alpha })
    }
}

/// A regular expression for the end of a module's name, and what it gets; the first that fits
/// counts.
struct Patterns<T>(Vec<(Regex, T)>);

impl<T: Copy> Patterns<T> {
    fn parse(from: &str, key: &str, value: Option<&Value>, read: impl Fn(&Value) -> Option<T>) -> Result<Self> {
        let Some(value) = value else { return Ok(Self(Vec::new())) };
        let wrong = |what: String| Error::input(format!("{from}: `{key}` {what}"));
        let map = value.as_object().ok_or_else(|| wrong("must be an object of patterns and numbers".to_owned()))?;
        let one = |(pattern, value): (&String, &Value)| {
            let number =
                read(value).ok_or_else(|| wrong(format!("gives `{pattern}` {value}, which is no such number")))?;
            // As PEFT builds it (`get_pattern_key`), for `re.match`.
            let regex = Regex::new(&format!(r"^(?:(.*\.)?({pattern})$)"));
            let regex =
                regex.map_err(|e| wrong(format!("has `{pattern}`, which is no regular expression")).cause(e))?;
            Ok((regex, number))
        };
        map.iter().map(one).collect::<Result<_>>().map(Self)
    }

    fn of(&self, module: &str) -> Result<Option<T>> {
        for (regex, value) in &self.0 {
            let fits = regex.is_match(module);
            if fits.map_err(|e| {
                Error::input(format!("the pattern `{regex}` cannot be held against `{module}`")).cause(e)
            })? {
                return Ok(Some(*value));
            }
        }
        Ok(None)
    }
}

fn refuse_what_is_not_read(from: &str, map: &Map<String, Value>) -> Result<()> {
    let hint = "only W x + (alpha / rank) B A x is read; merge this adapter into its base model with PEFT \
        (`merge_and_unload`), or train a plain LoRA";
    let refused = |what: String| Error::input(format!("{from}: {what}")).hint(hint);
    if let Some(kind) = map.get("peft_type").and_then(Value::as_str).filter(|kind| *kind != "LORA") {
        return Err(refused(format!(
            "this is an adapter of the kind {kind} (`peft_type`), which is not read as a LoRA"
        )));
    }
    let beginning = map.get("init_lora_weights").and_then(Value::as_str);
    if let Some(name) = beginning.filter(|name| !BEGINNINGS.contains(&name.to_lowercase().as_str())) {
        return Err(refused(format!("`init_lora_weights` is {name}, which changes the base model's own weights")));
    }
    let known = |key: &str| WITHOUT_EFFECT.contains(&key) || READ.contains(&key);
    match map.iter().find(|(key, value)| !known(key) && !is_neutral(value)) {
        Some((key, _)) if key == "use_dora" => {
            Err(refused("this is a DoRA (`use_dora`), which is not read".to_owned()))
        }
        Some((key, value)) => Err(refused(format!("`{key}` is {value}, which asks for more than a plain LoRA"))),
        None => Ok(()),
    }
}

/// Whether a value leaves a key as if it were not there.
fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty() || text == "none",
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}
