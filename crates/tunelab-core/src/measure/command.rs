//! The `tunelab measure` command: numbers for any two folders of images, whoever drew them.
//!
//! In: its arguments. Out: a table, or one line of JSON with each metric's value under its name (`dino`, `clip_i`, `subject`,
//! `clip_t`, `prompt`, `diversity`, `nearest`), beside it which encoder said so, the intervals, and the values of each image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Device;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::encoder::{Encoder, Seen};
use super::find::find;
use super::folder::pictures_in;
use super::images::{Image, Measured, Measurement, Photographs, nearest_image, read_prompts, see, summarize};
use crate::cli::MeasureArgs;
use crate::cli::output::print;
use crate::device;
use crate::error::{Error, Result};
use crate::hash::sha256_of_file;
use crate::interrupt::Interrupt;
use crate::metrics::{EncoderName, without_identifier};
use crate::numbers::counted;
use crate::progress::Progress;

/// Runs the command.
pub fn command(args: &MeasureArgs) -> Result<()> {
    let progress = Progress::from_env();
    let interrupt = Interrupt::install()?;
    let names = chosen(args)?;
    let images = images(args)?;
    let references =
        args.reference.as_deref().map(|dir| pictures_in(dir, "--reference")).transpose()?.unwrap_or_default();
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
    let bar = progress.bar("measuring", (images.len() + references.len()) as u64);
    let look = |files: &[&Path]| see(files, &encoders, &opened.device, &interrupt, &bar);
    let photographs = look(&references.iter().map(PathBuf::as_path).collect::<Vec<_>>())?;
    let generated = look(&images.iter().map(|image| image.path.as_path()).collect::<Vec<_>>())?;
    bar.finish();
    let of = |((name, encoder), (generated, photographs)): (&(EncoderName, Encoder), (&Seen, &Seen))| {
        let prompts = read_prompts(encoder, images.iter(), &progress)?;
        // Whoever drew them, nothing is known of a training but these photographs.
        let photographs = Photographs { subject: &photographs.features, training: &photographs.features };
        Ok(summarize(*name, &images, generated, &photographs, &prompts, args.bootstrap))
    };
    let measured: Vec<Measured> =
        encoders.iter().zip(generated.iter().zip(&photographs)).map(of).collect::<Result<_>>()?;
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
        if name.repo().is_none() {
            return Err(Error::input(format!("--encoder {name}=DIR: {name} is compiled in and has no folder"))
                .hint(format!("--encoders {name} measures with it")));
        }
        if !args.encoders.contains(name) {
            let asked = args.encoders.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",");
            return Err(Error::input(format!("--encoder names {name}, which --encoders {asked} leaves out")));
        }
    }
    if names.is_empty() {
        return Err(Error::input("there is nothing to compare the images with: none of --encoders reads prompts")
            .hint("give --reference, or an encoder that does, such as --encoders clip_vit_b32"));
    }
    Ok(names)
}

fn open(name: EncoderName, args: &MeasureArgs, prompts: bool, device: &Device, progress: &Progress) -> Result<Encoder> {
    let folder = args.encoder_folders.iter().rev().find(|(named, _)| *named == name).map(|(_, dir)| dir.as_path());
    let found = find(name, folder, progress).map_err(|failed| {
        let repo = name.repo().map_or("", |(repo, _)| repo);
        failed
            .error
            .hint(format!("--encoder {name}=DIR takes a copy of {repo} on this machine; --encoders leaves one out"))
    })?;
    found.open(prompts, device)
}

/// The images with their prompts, in the order of their names.
fn images(args: &MeasureArgs) -> Result<Vec<Image>> {
    let paths = pictures_in(&args.images, "--images")?;
    let prompts = args.prompts_from.as_deref().map(prompts).transpose()?;
    let identifier = args.identifier.as_deref();
    let of = |path: PathBuf| {
        let name = path.strip_prefix(&args.images).unwrap_or(&path).display().to_string();
        let prompt = match (&args.prompt, &prompts) {
            (Some(prompt), _) => Some(prompt.clone()),
            (None, Some(prompts)) => Some(prompt_of(&path, prompts, args.prompts_from.as_deref())?),
            (None, None) => None,
        };
        let group = prompt.clone();
        let prompt = prompt.map(|prompt| without(&prompt, identifier)).transpose()?;
        Ok(Image { path, name, group, prompt })
    };
    paths.into_iter().map(of).collect()
}

/// A prompt without the identifier, which must leave something.
fn without(prompt: &str, identifier: Option<&str>) -> Result<String> {
    without_identifier(prompt, identifier.unwrap_or_default())
        .ok_or_else(|| Error::input(format!("the prompt “{prompt}” is nothing but the identifier")))
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
                let mut values = serde_json::Map::new();
                values.insert(name.metric().into(), json!(image.subject));
                if let Some(prompt) = name.prompt_metric() {
                    values.insert(prompt.into(), json!(image.prompt));
                }
                values.insert("nearest".into(), json!(image.nearest));
                values.insert("nearest_to".into(), json!(self.reference(image.nearest_to)));
                (name.as_str(), Value::Object(values))
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
        let shares = self.measured.iter().any(|measured| measured.metrics.contains_key("prompt"));
        let share = if shares { ", `prompt` a share" } else { "" };
        let mut lines = vec![
            format!("{images} against {}; raw cosines{share}, 95 % intervals over {over}", against.join(" and ")),
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
