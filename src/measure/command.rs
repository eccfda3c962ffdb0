//! The `tunelab measure` command: numbers for any two folders of images, whoever drew them.
//!
//! In: its arguments. Out: a table, or one line of JSON with each metric's value under its name (`dino`, `clip_i`, `clip_t`,
//! `diversity`, `nearest`), beside it which encoder said so, the intervals, and the values of each image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::encoder::Encoder;
use super::files::{CONFIG, WEIGHTS};
use super::images::{Image, Measured, Measurement, measure, nearest_image};
use crate::assets::{Hubs, hub};
use crate::cli::MeasureArgs;
use crate::cli::output::print;
use crate::data::has_image_ending;
use crate::device;
use crate::error::{Error, Result};
use crate::hash::sha256_of_file;
use crate::interrupt::Interrupt;
use crate::metrics::EncoderName;
use crate::numbers::counted;
use crate::progress::Progress;

/// Runs the command.
pub fn command(args: &MeasureArgs) -> Result<()> {
    let progress = Progress::from_env();
    let interrupt = Interrupt::install()?;
    let names = chosen(args)?;
    let images = images(args)?;
    let references = args.reference.as_deref().map(|dir| pictures(dir, "reference")).transpose()?.unwrap_or_default();
    tell_copies(&images, &references, &progress)?;
    let opened = device::open(args.device)?;
    if let Some(why) = &opened.why {
        progress.line(why);
    }
    device::prepare(&opened.device, false);
    let has_prompts = images.iter().any(|image| image.prompt.is_some());
    let encoders = names
        .iter()
        .map(|name| Ok((*name, open(*name, args, has_prompts, &opened.device, &progress)?)))
        .collect::<Result<Vec<_>>>()?;
    let measured = measure(&images, &references, &encoders, args.bootstrap, &opened.device, &interrupt, &progress)?;
    let report = Report { images: &images, references: &references, names: &names, measured: &measured };
    print(&if args.json { format!("{}\n", report.json()) } else { report.table() })
}

/// The encoders, each once, that have something to compare with.
fn chosen(args: &MeasureArgs) -> Result<Vec<EncoderName>> {
    let mut names: Vec<EncoderName> = Vec::new();
    for name in &args.encoders {
        if !names.contains(name) && (args.reference.is_some() || name.reads_prompts()) {
            names.push(*name);
        }
    }
    for (name, _) in &args.encoder_folders {
        if !args.encoders.contains(name) {
            let asked = args.encoders.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
            return Err(Error::input(format!("--encoder names {name}, which --encoders {asked} leaves out")));
        }
    }
    if names.is_empty() {
        return Err(Error::input("there is nothing to compare the images with: none of --encoders reads prompts")
            .hint("give --reference, or a CLIP encoder such as --encoders clip_vit_b32"));
    }
    Ok(names)
}

fn open(name: EncoderName, args: &MeasureArgs, prompts: bool, device: &Device, progress: &Progress) -> Result<Encoder> {
    let folder = args.encoder_folders.iter().rev().find(|(named, _)| *named == name).map(|(_, dir)| dir.clone());
    let dir = match folder {
        Some(dir) => dir,
        None => fetched(name, progress)?,
    };
    Encoder::open(name, &dir, prompts, device)
}

/// The encoder's folder in the cache, filled from the hub where it is not.
fn fetched(name: EncoderName, progress: &Progress) -> Result<PathBuf> {
    const TOKENIZER: [&str; 2] = ["vocab.json", "merges.txt"];
    const USEFUL: [&str; 4] = [CONFIG, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];
    let (repo, revision) = name.repo();
    let needed: &[&str] = if name.reads_prompts() { &[WEIGHTS, TOKENIZER[0], TOKENIZER[1]] } else { &[WEIGHTS] };
    let useful = if name.reads_prompts() { &USEFUL[..] } else { &USEFUL[..1] };
    hub::find_files(repo, revision, needed, useful, &Hubs::from_env().huggingface, progress).map_err(|failed| {
        failed
            .error
            .hint(format!("--encoder {name}=DIR takes a copy of {repo} on this machine; --encoders leaves one out"))
    })
}

/// The images with their prompts, in the order of their names.
fn images(args: &MeasureArgs) -> Result<Vec<Image>> {
    let paths = pictures(&args.images, "images")?;
    let prompts = args.prompts_from.as_deref().map(prompts).transpose()?;
    let identifier = args.identifier.as_deref();
    let of = |path: PathBuf| {
        let name = path.strip_prefix(&args.images).unwrap_or(&path).display().to_string();
        let prompt = match (&args.prompt, &prompts) {
            (Some(prompt), _) => Some(prompt.clone()),
            (None, Some(prompts)) => Some(prompt_of(&path, prompts, args.prompts_from.as_deref())?),
            (None, None) => None,
        };
        let prompt = prompt.map(|prompt| without(&prompt, identifier)).transpose()?;
        Ok(Image { path, name, prompt })
    };
    paths.into_iter().map(of).collect()
}

/// A prompt without the identifier, which must leave something.
fn without(prompt: &str, identifier: Option<&str>) -> Result<String> {
    let words = prompt.split_whitespace().filter(|word| Some(*word) != identifier);
    let left = words.collect::<Vec<_>>().join(" ");
    if left.is_empty() {
        return Err(Error::input(format!("the prompt “{prompt}” is nothing but the identifier")));
    }
    Ok(left)
}

/// A line of the file of prompts.
#[derive(Deserialize)]
struct Line {
    file_name: String,
    #[serde(alias = "text", alias = "caption")]
    prompt: String,
}

/// Reads the prompts, by the path of each image.
fn prompts(file: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let text = fs_err::read_to_string(file).map_err(|e| Error::input("cannot read the prompts").cause(e))?;
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut prompts = BTreeMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = |what: String| {
            Error::input(format!("{}, line {}: {what}", file.display(), number + 1))
                .hint("each line is {\"file_name\": \"a.png\", \"prompt\": \"a dog\"}")
        };
        let line: Line = serde_json::from_str(line.trim_start_matches('\u{feff}')).map_err(|e| wrong(e.to_string()))?;
        if line.prompt.trim().is_empty() {
            return Err(wrong(format!("the prompt of `{}` is empty", line.file_name)));
        }
        let path = folder.join(&line.file_name);
        let path = fs_err::canonicalize(&path).map_err(|_| wrong(format!("there is no `{}`", path.display())))?;
        if prompts.insert(path, line.prompt).is_some() {
            return Err(wrong(format!("`{}` stands there twice", line.file_name)));
        }
    }
    Ok(prompts)
}

fn prompt_of(path: &Path, prompts: &BTreeMap<PathBuf, String>, file: Option<&Path>) -> Result<String> {
    let real = fs_err::canonicalize(path).map_err(|e| Error::input("cannot find an image").cause(e))?;
    prompts.get(&real).cloned().ok_or_else(|| {
        let file = file.unwrap_or(Path::new("")).display();
        Error::input(format!("`{}` has no prompt in {file}", path.display()))
            .hint("add a line for it, or move the image away")
    })
}

/// All pictures below a folder, sorted; hidden files and folders are passed over, links to folders not followed.
fn pictures(dir: &Path, which: &str) -> Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        let what = if dir.exists() { "not a folder" } else { "there is no such folder" };
        return Err(Error::input(format!("--{which} {}: {what}", dir.display())));
    }
    let mut found = Vec::new();
    collect(dir, &mut found)?;
    found.sort();
    if found.is_empty() {
        return Err(Error::input(format!("--{which} {}: there are no pictures in it", dir.display()))
            .hint("PNG, JPEG and WebP files are pictures"));
    }
    Ok(found)
}

fn collect(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let unreadable = |e| Error::input("cannot list a folder of pictures").cause(e);
    for entry in fs_err::read_dir(dir).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if entry.file_type().map_err(unreadable)?.is_dir() {
            collect(&entry.path(), found)?;
        } else if has_image_ending(&name) {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Says which images are, byte for byte, among the photographs: they would be their own nearest.
fn tell_copies(images: &[Image], references: &[PathBuf], progress: &Progress) -> Result<()> {
    let hash = |path: &Path| sha256_of_file(path).map_err(|e| Error::input("cannot read a picture").cause(e.line()));
    let known = references.iter().map(|path| hash(path)).collect::<Result<BTreeSet<_>>>()?;
    if known.is_empty() {
        return Ok(());
    }
    let mut copies = Vec::new();
    for image in images {
        if known.contains(&hash(&image.path)?) {
            copies.push(image.name.as_str());
        }
    }
    if let Some(first) = copies.first() {
        let more = if copies.len() > 1 { ", …" } else { "" };
        let count = counted(copies.len(), "image");
        progress.warn(format!(
            "also among the photographs, byte for byte: {first}{more} ({count}); subject fidelity and `nearest` are too high"
        ));
    }
    Ok(())
}

/// What is told.
struct Report<'a> {
    images: &'a [Image],
    references: &'a [PathBuf],
    names: &'a [EncoderName],
    measured: &'a [Measured],
}

/// The values of one image.
#[derive(Serialize)]
struct ImageRow<'a> {
    file: &'a str,
    prompt: Option<&'a str>,
    #[serde(flatten)]
    by_encoder: BTreeMap<&'static str, Value>,
}

impl Report<'_> {
    fn encoders(&self) -> impl Iterator<Item = (EncoderName, &Measured)> {
        self.names.iter().copied().zip(self.measured)
    }

    fn prompts(&self) -> usize {
        let prompts: BTreeSet<_> = self.images.iter().filter_map(|image| image.prompt.as_deref()).collect();
        prompts.len()
    }

    fn reference(&self, index: Option<usize>) -> Option<String> {
        Some(self.references.get(index?)?.display().to_string())
    }

    /// The image that is nearest to a photograph, and that photograph.
    fn nearest(&self, measured: &Measured) -> Option<(&str, String)> {
        let (_, index) = nearest_image(&measured.images)?;
        Some((&self.images[index].name, self.reference(measured.images[index].nearest_to)?))
    }

    /// At the top each metric by the first encoder that has it; below, all of every encoder.
    fn json(&self) -> Value {
        let mut top = serde_json::Map::new();
        let (mut intervals, mut encoders, mut all) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (name, measured) in self.encoders() {
            for (metric, measurement) in &measured.metrics {
                if !top.contains_key(*metric) {
                    top.insert((*metric).to_owned(), json!(measurement.value));
                    intervals.insert(*metric, measurement.interval.map(|i| [i.low, i.high]));
                    encoders.insert(*metric, name.as_str());
                }
            }
            let nearest =
                self.nearest(measured).map(|(image, reference)| json!({"image": image, "reference": reference}));
            all.insert(name.as_str(), json!({"metrics": measured.metrics, "nearest": nearest}));
        }
        let row = |(index, image): (usize, &Image)| {
            let of = |(name, measured): (EncoderName, &Measured)| {
                let image = &measured.images[index];
                let nearest_to = self.reference(image.nearest_to);
                let subject = name.metric();
                (
                    name.as_str(),
                    json!({subject: image.subject, "clip_t": image.clip_t, "nearest": image.nearest, "nearest_to": nearest_to}),
                )
            };
            let by_encoder = self.encoders().map(of).collect();
            json!(ImageRow { file: &image.name, prompt: image.prompt.as_deref(), by_encoder })
        };
        let rows: Vec<Value> = self.images.iter().enumerate().map(row).collect();
        top.insert("intervals".into(), json!(intervals));
        top.insert("encoders".into(), json!(encoders));
        top.insert("prompts".into(), json!(self.prompts()));
        top.insert("references".into(), json!(self.references.len()));
        top.insert("by_encoder".into(), json!(all));
        top.insert("images".into(), Value::Array(rows));
        Value::Object(top)
    }

    fn table(&self) -> String {
        let prompts = self.prompts();
        let against = [(self.references.len(), "photograph"), (prompts, "prompt")];
        let against = against.into_iter().filter(|(number, _)| *number > 0);
        let against: Vec<String> = against.map(|(number, noun)| counted(number, noun)).collect();
        let images = counted(self.images.len(), "image");
        let over = if prompts > 1 { "prompts" } else { "images" };
        let mut lines = vec![
            format!("{images} against {}; raw cosines, 95 % intervals over {over}", against.join(" and ")),
            String::new(),
            format!("{:<10} {:>7}  {:<18}  encoder", "metric", "value", "interval"),
        ];
        for (name, measured) in self.encoders() {
            for (metric, Measurement { value, interval }) in &measured.metrics {
                let interval = interval.map(|i| format!("{:.4} to {:.4}", i.low, i.high)).unwrap_or_default();
                lines.push(format!("{metric:<10} {value:>7.4}  {interval:<18}  {name}"));
            }
        }
        lines.push(String::new());
        for (name, measured) in self.encoders() {
            if let Some((image, reference)) = self.nearest(measured) {
                lines.push(format!("nearest by {name}: {image} to {reference}"));
            }
        }
        lines.join("\n").trim_end().to_owned() + "\n"
    }
}
