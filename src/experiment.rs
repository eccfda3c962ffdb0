//! What a person may write: one TOML file, and `--set key.path=value` arguments on top of it.
//!
//! In: the file's text and the arguments. Out: an [`Experiment`], a tree of values that all remember where they were
//! written, so that every later complaint can point at its line. The tree says nothing about which keys exist: those
//! are named once, with type, range and default, in [`crate::plan`], which reads the tree through `Section`.
//!
//! # The keys
//!
//! | key | value | default |
//! |---|---|---|
//! | `name` | folder of the results | the file's name without `.toml` |
//! | `seed` | whole number | 42 |
//! | `model.path` | folder in diffusers' layout; wins over `repo` and `modelscope` | |
//! | `model.repo` | repository on Hugging Face, `owner/name` | |
//! | `model.modelscope` | repository on ModelScope, used when Hugging Face cannot be reached or `repo` is not given | |
//! | `model.revision` | branch, tag or commit of `repo` (of `modelscope` where there is no `repo`) | `main` (`master`) |
//! | `dataset.path`, `.repo`, `.modelscope`, `.revision` | as for the model | |
//! | `dataset.prompt` | the caption of every picture; without it each needs its own | |
//! | `dataset.resolution` | 64 to 2048, a multiple of 64 | 512 |
//! | `dataset.center_crop` | `false`: crop at random | true |
//! | `dataset.random_flip` | mirror every second picture, at random | true |
//! | `dataset.skip_broken` | leave out files that are no pictures, with a warning | false |
//! | `adapter.lora.rank` | 1 to 1024 | 4 |
//! | `adapter.lora.alpha` | above 0; the update is scaled by alpha / rank | the rank |
//! | `adapter.lora.targets` | ends of module names | `to_q to_k to_v to_out.0` |
//! | `adapter.lora.dropout` | 0 to below 1 | 0 |
//! | `train.epochs` | passes over the data | 100 |
//! | `train.steps` | optimiser steps; wins over `epochs` | |
//! | `train.batch_size` | pictures in one forward pass | 1 |
//! | `train.gradient_accumulation` | forward passes in one step | 1 |
//! | `train.learning_rate` | above 0, at most 1 | 1e-4 |
//! | `train.lr_scheduler` | `constant`, `linear`, `cosine`, `polynomial` | `constant` |
//! | `train.warmup_steps` | the rate rises from 0 during these | 0 |
//! | `train.adam_beta1`, `.adam_beta2` | 0 to below 1 | 0.9, 0.999 |
//! | `train.adam_epsilon` | above 0 | 1e-8 |
//! | `train.weight_decay` | from 0, decoupled | 0.01 |
//! | `train.max_grad_norm` | above 0 | 1 |
//! | `train.snr_gamma` | above 0: min-SNR weighting | none |
//! | `train.noise_offset` | from 0 | 0 |
//! | `train.dtype` | `f32` | `f32` |
//! | `train.checkpoint_every` | steps; 0 is none | 100 |
//! | `train.keep_checkpoints` | how many stay | 1 |
//! | `eval.prompts` | what to draw after training; an empty list draws nothing | the dataset's prompt |
//! | `eval.negative_prompt` | | empty |
//! | `eval.compare_base` | draw with the untrained model too | true |
//! | `eval.images` | pictures of each prompt | 1 |
//! | `eval.steps` | 1 to 1000 denoising steps | 50 |
//! | `eval.guidance_scale` | from 0; 1 is off | 7.5 |
//! | `eval.sampler` | `pndm`, `ddim`, `euler_a`, `dpmpp_2m` | `pndm` |
//! | `eval.seed` | seed of the first picture | 42 |
//! | `eval.every` | steps between two evaluation losses; 0 is never | 50 |
//!
//! `--set` replaces what the file says for that key, and where two keys exclude each other (`path` and `repo`, `steps`
//! and `epochs`) one given by `--set` wins over one from the file. A relative path in the file starts at the file's
//! folder, one in `--set` at the working folder.

mod problem;
mod reader;
mod section;

use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Error, Result};
pub(crate) use problem::{Problem, report};
pub(crate) use reader::{Reader, similar};
pub(crate) use section::{Section, above, at_least};

/// Experiments are small; a larger file is something else (weights, a log) that was named by mistake.
const LARGEST_FILE: u64 = 1 << 20;

/// One experiment as it was written: the file with the `--set` arguments laid over it.
#[derive(Debug)]
pub struct Experiment {
    pub(crate) file: PathBuf,
    pub(crate) texts: Vec<Text>,
    pub(crate) root: Table,
}

/// A text that values were read from: the file, or one `--set` argument.
#[derive(Debug)]
pub(crate) struct Text {
    pub title: String,
    pub text: String,
}

/// A stretch of one text; without a range, the text as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// 0 is the file, n the n-th `--set`.
    pub text: usize,
    pub range: Option<(usize, usize)>,
}

impl Place {
    fn new(text: usize, range: &Range<usize>) -> Self {
        Self { text, range: Some((range.start, range.end)) }
    }

    /// The file as a whole: for what is missing.
    pub fn file() -> Self {
        Self { text: 0, range: None }
    }

    pub fn is_set(&self) -> bool {
        self.text > 0
    }
}

/// The entries of one table.
pub(crate) type Table = BTreeMap<String, Entry>;

/// One value, where it stands, and where its key stands (for an element of a list: the element).
#[derive(Debug)]
pub(crate) struct Entry {
    pub key: Place,
    pub at: Place,
    pub value: Value,
}

/// A TOML value.
#[derive(Debug)]
pub(crate) enum Value {
    Text(String),
    /// Wider than TOML's 64 bits, so that a number out of range is told from one that is none.
    Integer(i128),
    Float(f64),
    Flag(bool),
    Date,
    List(Vec<Entry>),
    Table(Table),
}

impl Experiment {
    /// Reads the file and lays the `--set` arguments over it.
    ///
    /// Errors: the file cannot be read or is no TOML (every syntax error is listed), an argument is no `key.path=value`.
    pub fn load(file: &Path, set: &[String]) -> Result<Self> {
        Self::parse(&read(file)?, file, set)
    }

    /// As [`Experiment::load`] with the file's text at hand; `file` gives the name and the folder of relative paths.
    pub fn parse(text: &str, file: &Path, set: &[String]) -> Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut texts = vec![Text { title: file.display().to_string(), text: text.into() }];
        texts.extend(set.iter().map(|arg| Text { title: "--set".into(), text: arg.clone() }));
        let mut problems = Vec::new();
        let mut root = parse_document(&texts[0].text, &mut problems);
        for (i, arg) in set.iter().enumerate() {
            match parse_argument(arg, i + 1) {
                Ok(table) => overlay(&mut root, table),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(Self { file: file.into(), texts, root }) } else { Err(report(problems, &texts)) }
    }
}

fn read(file: &Path) -> Result<String> {
    let shown = file.display();
    if file.is_dir() {
        let error = Error::input(format!("{shown} is a folder, not an experiment's TOML file"));
        let plan = file.join("plan.toml");
        let hint = format!("the experiment of this results folder is {}", plan.display());
        return Err(if plan.is_file() { error.hint(hint) } else { error });
    }
    let mut bytes = Vec::new();
    fs_err::File::open(file).and_then(|open| open.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(|e| {
        Error::input(format!("cannot read the experiment {shown}"))
            .cause(e)
            .hint("give the path of a TOML file, such as experiments/lora_dog.toml")
    })?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Error::input(format!("{shown} is larger than 1 MiB: this is no experiment's TOML file")));
    }
    String::from_utf8(bytes).map_err(|e| {
        Error::input(format!("{shown} is not text in UTF-8 (first bad byte at {})", e.utf8_error().valid_up_to()))
    })
}

/// All syntax errors of the file go to `problems`, as far as the parser can find its feet again.
fn parse_document(text: &str, problems: &mut Vec<Problem>) -> Table {
    let (table, errors) = DeTable::parse_recoverable(text);
    problems.extend(errors.iter().map(|e| syntax_problem(e, 0)));
    convert_table(table.get_ref(), 0)
}

fn syntax_problem(e: &toml::de::Error, text: usize) -> Problem {
    let place = e.span().map_or(Place { text, range: None }, |range| Place::new(text, &range));
    Problem::new(place, format!("not valid TOML: {}", e.message()))
}

/// `key.path=value` is itself TOML; where the value is not, it is taken as text (`model.path=/x/y` without quotes).
fn parse_argument(arg: &str, text: usize) -> std::result::Result<Table, Problem> {
    if let Ok(table) = DeTable::parse(arg)
        && arg.contains('=')
    {
        return Ok(convert_table(table.get_ref(), text));
    }
    let Some((key, value)) = arg.split_once('=') else {
        let whole = Place::new(text, &(0..arg.len()));
        return Err(Problem::new(whole, "--set needs key.path=value").label("there is no `=`"));
    };
    let stand_in = format!("{key}=0");
    let table = DeTable::parse(&stand_in).map_err(|e| {
        let range = e.span().map_or(0..key.len(), |r| r.start.min(key.len())..r.end.min(key.len()));
        Problem::new(Place::new(text, &range), format!("--set needs key.path=value: {}", e.message()))
    })?;
    let mut table = convert_table(table.get_ref(), text);
    let value_at = Place::new(text, &(key.len() + 1..arg.len()));
    set_leaf(&mut table, &value_at, value);
    Ok(table)
}

/// Replaces the one leaf of a parsed `key.path=0`.
fn set_leaf(table: &mut Table, at: &Place, text: &str) {
    for entry in table.values_mut() {
        if let Value::Table(inner) = &mut entry.value {
            set_leaf(inner, at, text);
        } else {
            entry.value = Value::Text(text.into());
            entry.at = at.clone();
        }
    }
}

/// Lays `over` on `base`: tables are merged, everything else is replaced.
fn overlay(base: &mut Table, over: Table) {
    for (key, entry) in over {
        match (base.get_mut(&key), entry) {
            (Some(Entry { value: Value::Table(below), .. }), Entry { value: Value::Table(above), .. }) => {
                overlay(below, above);
            }
            (_, entry) => {
                base.insert(key, entry);
            }
        }
    }
}

fn convert_table(table: &DeTable, text: usize) -> Table {
    table
        .iter()
        .map(|(key, value)| (key.get_ref().to_string(), convert(value, Place::new(text, &key.span()), text)))
        .collect()
}

fn convert(value: &Spanned<DeValue>, key: Place, text: usize) -> Entry {
    let at = Place::new(text, &value.span());
    let value = match value.get_ref() {
        DeValue::String(s) => Value::Text(s.to_string()),
        DeValue::Integer(i) => Value::Integer(i128::from_str_radix(i.as_str(), i.radix()).unwrap_or(i128::MAX)),
        DeValue::Float(f) => Value::Float(f.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(b) => Value::Flag(*b),
        DeValue::Datetime(_) => Value::Date,
        DeValue::Array(items) => {
            Value::List(items.iter().map(|v| convert(v, Place::new(text, &v.span()), text)).collect())
        }
        DeValue::Table(table) => Value::Table(convert_table(table, text)),
    };
    Entry { key, at, value }
}
