//! What is known of one run: every key of its plan and its record, in groups.
//!
//! In: a run's folder, finished or not. Out: a [`Side`]. Of a run that is not finished there is the
//! plan, and what its logs and `inputs.json` hold by now.

use std::path::Path;

use serde_json::{Value, json};

use crate::config::rename_old_keys;
use crate::error::{Error, Result};
use crate::numbers::{counted, grouped};
use crate::report::settings::{flat, values};
use crate::results::{Hashes, MetricsRecord, PLAN_TOML, RUN_JSON, RunDir, RunRecord, SetMetrics, TrainingSummary};

/// What kind of key it is; in the order of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The plan.
    Settings,
    /// Hashes of the files of the model and the data.
    Inputs,
    /// Versions, device, machine.
    Environment,
    /// Sizes that need no clock.
    Counts,
    /// Losses at the end.
    Losses,
    /// What the images were measured to be.
    Metrics,
    /// What was passed over, cut or clamped.
    Warnings,
    /// Seconds and memory, which are never twice the same.
    Times,
}

/// One key of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub key: String,
    /// As it was recorded.
    pub value: Value,
    /// For readers.
    pub shown: String,
    pub is_detail: bool,
}

/// What is known of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Side {
    /// As its plan names it.
    pub name: String,
    /// Its folder as it was given.
    pub folder: String,
    /// Of a run that is not finished, what is known of it.
    pub unfinished: Option<String>,
    groups: Vec<(Group, Vec<Entry>)>,
}

impl Group {
    /// Every group in the order of the output.
    pub const ALL: [Self; 8] = [
        Self::Settings,
        Self::Inputs,
        Self::Environment,
        Self::Counts,
        Self::Losses,
        Self::Metrics,
        Self::Warnings,
        Self::Times,
    ];

    /// Its heading, and its name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Settings => "settings",
            Self::Inputs => "inputs",
            Self::Environment => "environment",
            Self::Counts => "counts",
            Self::Losses => "losses",
            Self::Metrics => "metrics",
            Self::Warnings => "warnings",
            Self::Times => "times",
        }
    }
}

impl Side {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// Wrong input: there is no `plan.toml`, or it or `run.json` cannot be read.
    pub fn read(path: &Path) -> Result<Self> {
        let run = RunDir::existing(path)?;
        let file = path.join(PLAN_TOML);
        let broken = |file: &Path| Error::input(format!("{} cannot be read", file.display()));
        let text = fs_err::read_to_string(&file).map_err(|e| broken(&file).cause(e))?;
        let mut plan: toml::Table = toml::from_str(&text).map_err(|e| broken(&file).cause(e.message()))?;
        rename_old_keys(&mut plan);
        let folder_name = || path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let name = plan.get("name").and_then(toml::Value::as_str).map_or_else(folder_name, str::to_owned);
        let mut side = Self { name, folder: path.display().to_string(), unfinished: None, groups: Vec::new() };
        side.groups.push((Group::Settings, settings(&plan)));
        let record = run.any_record().map_err(|e| broken(&path.join(RUN_JSON)).cause(e.line()))?;
        if !run.is_finished() {
            side.unfinished = Some(match &record {
                Some(_) => "its pictures are drawn again".to_owned(),
                None => side.add_what_there_is(&run)?,
            });
        }
        if let Some(record) = &record {
            side.add_record(record)?;
            let warnings =
                [record.warnings.clone(), if run.is_finished() { Vec::new() } else { run.earlier_warnings() }];
            side.groups.push((Group::Warnings, of_warnings(&warnings.concat())));
        }
        Ok(side)
    }

    /// The keys of a group; none where nothing is known of it.
    pub(super) fn group(&self, group: Group) -> Option<&[Entry]> {
        self.groups.iter().find(|(known, _)| *known == group).map(|(_, entries)| entries.as_slice())
    }

    fn add_record(&mut self, record: &RunRecord) -> Result<()> {
        let mut value = to_json(record)?;
        let mut take = |keys: &[&str]| -> Vec<Entry> {
            let mut entries = Vec::new();
            for key in keys {
                flatten(key, &value[*key].take(), &mut entries);
            }
            entries
        };
        let environment = ["device", "dtype", "cuda_graphs", "versions", "machine"];
        let times = ["seconds", "peak_memory", "device_busy_percent"];
        let mut environment = take(&environment);
        // What it stands in for is in its plan.
        let why = record.stand_in.as_ref().map(|stand_in| Entry::new("stand_in.why".to_owned(), json!(stand_in.why)));
        environment.extend(why);
        self.groups.push((Group::Environment, environment));
        self.groups.push((Group::Counts, of_counts(take(&["counts"]))));
        self.groups.push((Group::Losses, within("loss", take(&["loss"]))));
        self.groups.push((Group::Times, take(&times)));
        self.groups.push((Group::Inputs, inputs(&record.hashes)?));
        self.groups.push((Group::Metrics, record.metrics.as_ref().map_or_else(Vec::new, metrics)));
        Ok(())
    }

    /// What a run has left that has no record yet; in words.
    fn add_what_there_is(&mut self, run: &RunDir) -> Result<String> {
        let mut known = vec!["its settings".to_owned()];
        if let Some(hashes) = run.inputs() {
            self.groups.push((Group::Inputs, inputs(&hashes)?));
            known.push("its inputs".to_owned());
        }
        if let Ok(summary) = TrainingSummary::read(run) {
            let counts = json!({"steps": summary.steps, "epochs": summary.epochs});
            let seconds = json!({"training": summary.training_seconds, "per_step": summary.seconds_per_step});
            let of = |prefix: &str, value: &Value| {
                let mut entries = Vec::new();
                flatten(prefix, value, &mut entries);
                entries
            };
            self.groups.push((Group::Counts, of_counts(of("counts", &counts))));
            self.groups.push((Group::Losses, within("loss", of("loss", &to_json(&summary.loss)?))));
            self.groups.push((Group::Times, of("seconds", &seconds)));
            known.push(format!("losses and times of {}", counted(summary.steps, "step")));
        }
        self.groups.push((Group::Warnings, of_warnings(&run.earlier_warnings())));
        Ok(format!("known are {}", known.join(", ")))
    }
}

impl Entry {
    fn new(key: String, value: Value) -> Self {
        let shown = match &value {
            Value::String(text) => text.clone(),
            Value::Array(items) => {
                let item = |item: &Value| item.as_str().map_or_else(|| item.to_string(), str::to_owned);
                items.iter().map(item).collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        Self { key, value, shown, is_detail: false }
    }
}

/// Through text, so that a number of 32 bits keeps its own digits.
fn to_json(of: &impl serde::Serialize) -> Result<Value> {
    let text = serde_json::to_string(of).and_then(|text| serde_json::from_str(&text));
    text.map_err(|e| Error::run("a record cannot be compared").cause(e))
}

/// `versions.crates.candle-core`; of a list of tables each by its number; nothing of what is null.
fn flatten(key: &str, value: &Value, out: &mut Vec<Entry>) {
    match value {
        Value::Null => {}
        Value::Object(object) => {
            for (inner, value) in object {
                flatten(&format!("{key}.{inner}"), value, out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for (at, value) in items.iter().enumerate() {
                flatten(&format!("{key}.{at}"), value, out);
            }
        }
        value => out.push(Entry::new(key.to_owned(), value.clone())),
    }
}

/// Without the table's name before each key: the group has it.
fn within(table: &str, mut entries: Vec<Entry>) -> Vec<Entry> {
    for entry in &mut entries {
        if let Some(key) = entry.key.strip_prefix(table).and_then(|key| key.strip_prefix('.')) {
            entry.key = key.to_owned();
        }
    }
    entries
}

fn of_counts(entries: Vec<Entry>) -> Vec<Entry> {
    let grouped = |entry: Entry| Entry { shown: grouped(&entry.shown), ..entry };
    within("counts", entries).into_iter().map(grouped).collect()
}

fn settings(plan: &toml::Table) -> Vec<Entry> {
    let shown = flat(plan);
    let entry = |(key, value): (String, &toml::Value)| {
        let shown = shown.get(&key).cloned().unwrap_or_default();
        Entry { value: serde_json::to_value(value).unwrap_or_default(), shown, key, is_detail: false }
    };
    values(plan).into_iter().map(entry).collect()
}

fn inputs(hashes: &Hashes) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    if let Value::Object(lists) = to_json(hashes)? {
        for (list, files) in &lists {
            flatten(list, files, &mut entries);
        }
    }
    for entry in &mut entries {
        entry.shown = entry.shown.chars().take(12).collect();
    }
    Ok(entries)
}

fn of_warnings(warnings: &[String]) -> Vec<Entry> {
    let entry = |text: &String| Entry { shown: text.clone(), ..Entry::new(text.clone(), Value::Bool(true)) };
    let mut entries: Vec<Entry> = Vec::new();
    for warning in warnings.iter().map(entry) {
        if !entries.contains(&warning) {
            entries.push(warning);
        }
    }
    entries
}

/// `tuned.dino_vits16.dino`, over all prompts; of each prompt, and the intervals, as details.
fn metrics(record: &MetricsRecord) -> Vec<Entry> {
    let mut entries: Vec<Entry> = record.sets.iter().flat_map(of_set).collect();
    if let Some(best) = &record.best {
        entries.push(Entry::new("best.by".to_owned(), json!(best.by)));
        entries.push(Entry::new("best.encoder".to_owned(), json!(best.encoder)));
        entries.push(Entry::new("best.step".to_owned(), json!(best.step)));
        entries.push(Entry::new("best.value".to_owned(), json!(best.value)));
    }
    entries.push(Entry::new("references".to_owned(), json!(record.references)));
    for (encoder, origin) in &record.encoders {
        entries.push(Entry::new(format!("{encoder}.source"), json!(origin.source)));
        let sha256 = Entry::new(format!("{encoder}.sha256"), json!(origin.sha256));
        entries.push(Entry { shown: origin.sha256.chars().take(12).collect(), ..sha256 });
    }
    entries
}

fn of_set(set: &SetMetrics) -> Vec<Entry> {
    let mut entries = Vec::new();
    for mean in &set.metrics {
        let prompt = mean.prompt.as_ref().map_or_else(String::new, |prompt| format!(" {prompt:?}"));
        let key = format!("{}.{}.{}{prompt}", set.set, mean.encoder, mean.metric);
        entries.push(Entry { is_detail: mean.prompt.is_some(), ..Entry::new(key.clone(), json!(mean.value)) });
        let ends = mean.interval.map(|interval| [("low", interval.low), ("high", interval.high)]);
        for (end, value) in ends.into_iter().flatten() {
            entries.push(Entry { is_detail: true, ..Entry::new(format!("{key}.{end}"), json!(value)) });
        }
    }
    entries
}
