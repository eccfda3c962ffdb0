//! The numbers of a run's images: `metrics.csv`, and their means for `run.json`.
//!
//! In: the images that were drawn, the photographs, and the encoders that can be had. Out: a [`MetricsRecord`]. Everything is
//! computed from the files, after the last of them has been drawn, so a run that was cut off ends with the same numbers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::Device;

use super::experiment::Experiment;
use crate::assets::Reach;
use crate::config::Plan;
use crate::data::{Picture, load_image};
use crate::error::{Error, Result};
use crate::hash::sha256_of_file;
use crate::measure::{
    FoundEncoder, Image, Measured, Measurement, Photographs, Prompt, Seen, find, nearest_image, needed_files,
    pictures_in, read_prompts, see, summarize,
};
use crate::metrics::{DIVERSITY, EncoderName, NEAREST, PRES, without_identifier};
use crate::numbers::counted;
use crate::results::{
    BestStep, METRICS_CSV, MetricRecord, MetricsRecord, MetricsRow, NearestRecord, SampleSet, SetMetrics, metrics_csv,
    sample_name,
};

/// The title of the bar while images are measured.
pub(super) const MEASURING: &str = "measuring";

/// The remedy for what stands in the way of measuring.
const WITHOUT: &str = "--set metrics.encoders=[] trains without measuring";

/// Who measures a run's images, and against what; found before the training.
pub(super) struct Judges {
    encoders: Vec<FoundEncoder>,
    /// The files of `metrics.reference`; the data set's where there is none.
    reference: Option<Vec<PathBuf>>,
}

impl Judges {
    /// Whether this encoder measures.
    pub(super) fn has(&self, name: &str) -> bool {
        self.encoders.iter().any(|encoder| encoder.name.as_str() == name)
    }

    /// How many measure.
    pub(super) fn count(&self) -> usize {
        self.encoders.len()
    }

    /// Photographs to compare with that were not trained on, or need not have been.
    pub(super) fn own_references(&self) -> usize {
        self.reference.as_ref().map_or(0, Vec::len)
    }

    /// Whether nobody measures.
    pub(super) fn is_empty(&self) -> bool {
        self.encoders.is_empty()
    }
}

impl Experiment<'_> {
    /// The plan's encoders that can be had, each opened once: what is wrong with one shows before hours of work. One that
    /// cannot be fetched is a warning and not an error: no training waits for it.
    pub(super) fn find_judges(&self) -> Result<Judges> {
        let mut encoders = Vec::new();
        if !self.plan.is_measured() {
            return Ok(Judges { encoders, reference: None });
        }
        let metrics = &self.plan.metrics;
        let reference = metrics.reference.as_deref().map(|dir| pictures_in(dir, "metrics.reference")).transpose()?;
        for file in reference.iter().flatten() {
            load_image(file).map_err(|e| e.hint("replace the file, or move it out of metrics.reference"))?;
        }
        for name in &metrics.encoders {
            let folder = metrics.paths.get(*name);
            if let Some(why) = obstacle(*name, folder, self.reach) {
                self.progress.warn(unmeasured(*name, &why));
                continue;
            }
            match find(*name, folder, self.progress) {
                Ok(encoder) => {
                    self.try_out(&encoder)?;
                    encoders.push(encoder);
                }
                Err(failed) if failed.error.is_interrupted() => return Err(failed.error),
                Err(failed) => self.progress.warn(unmeasured(*name, &failed.error.line())),
            }
        }
        Ok(Judges { encoders, reference })
    }

    /// Opens an encoder and lets it read the prompts.
    fn try_out(&self, found: &FoundEncoder) -> Result<()> {
        let remedy = match self.plan.metrics.paths.get(found.name) {
            Some(_) => WITHOUT.to_owned(),
            None => format!("if {} is broken, remove it, and it is fetched again; {WITHOUT}", found.dir().display()),
        };
        let encoder = found.open(true, &Device::Cpu).map_err(|e| e.also(&remedy))?;
        for prompt in self.plan.drawn_prompts() {
            let Some(prompt) = without_identifier(&prompt, &self.plan.metrics.identifier) else { continue };
            encoder.read(&prompt).map_err(|e| {
                let what = format!("{}: its tokenizer does not fit its weights", found.dir().display());
                Error::input(what).cause(e.line()).hint(&remedy)
            })?;
        }
        Ok(())
    }

    /// Those that can be had, if one of them has not measured the finished run yet.
    pub(super) fn find_new_judges(&self) -> Result<Option<Judges>> {
        let measured = self.run.record()?.metrics.unwrap_or_default().encoders;
        let is_new = |name: &EncoderName| !measured.contains_key(name.as_str());
        if !self.plan.is_measured() || !self.plan.metrics.encoders.iter().any(is_new) {
            return Ok(None);
        }
        let judges = self.find_judges()?;
        Ok(judges.encoders.iter().any(|encoder| is_new(&encoder.name)).then_some(judges))
    }

    /// Measures every image of the run; with the seconds that it took. Nothing where nobody measures.
    pub(super) fn measure(
        &self,
        judges: &Judges,
        steps: usize,
        pictures: &[Picture],
    ) -> Result<Option<(MetricsRecord, f64)>> {
        if judges.encoders.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let training: Vec<&Path> = pictures.iter().map(Picture::file).collect();
        let subject: Vec<&Path> = match &judges.reference {
            Some(files) => files.iter().map(PathBuf::as_path).collect(),
            None => training.clone(),
        };
        self.tell_shared(judges.reference.as_deref().unwrap_or_default(), pictures)?;
        let samples = self.drawn(steps);
        let open = |found: &FoundEncoder| Ok((found.name, found.open(true, self.device)?));
        let encoders = judges.encoders.iter().map(open).collect::<Result<Vec<_>>>()?;
        let own = judges.own_references();
        let bar = self.progress.bar(MEASURING, (training.len() + own + samples.len()) as u64);
        let look = |files: &[&Path]| see(files, &encoders, self.device, self.interrupt, &bar);
        let of_training = look(&training)?;
        let of_subject = if own > 0 { look(&subject)? } else { of_training.clone() };
        let of_samples = look(&samples.iter().map(|sample| sample.image.path.as_path()).collect::<Vec<_>>())?;
        bar.finish();
        let mut sets = sets(&samples);
        let mut rows = Vec::new();
        for (at, (name, encoder)) in encoders.iter().enumerate() {
            let images = samples.iter().map(|sample| &sample.image);
            let of_encoder = OfEncoder {
                plan: self.plan,
                name: *name,
                samples: &samples,
                seen: &of_samples[at],
                photographs: Photographs { subject: &of_subject[at].features, training: &of_training[at].features },
                prompts: read_prompts(encoder, images, self.progress)?,
                pictures,
            };
            for set in &mut sets {
                rows.extend(of_encoder.measure(set));
            }
        }
        rows.sort_by_key(|row| row.step);
        self.run.write(METRICS_CSV, &metrics_csv(&rows)?)?;
        let metrics = &self.plan.metrics;
        let named = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let origin = |found: &FoundEncoder| Ok((found.name.to_string(), found.record()?));
        let record = MetricsRecord {
            encoders: judges.encoders.iter().map(origin).collect::<Result<_>>()?,
            identifier: named(&metrics.identifier),
            class_prompt: named(&metrics.class_prompt),
            references: subject.len(),
            bootstrap: metrics.bootstrap,
            best: self.best(&sets),
            sets,
        };
        if let (Some(by), None) = (&metrics.best_by, &record.best) {
            self.progress.warn(format!("metrics.best_by: there is no {by} of these pictures, so no step is the best"));
        }
        Ok(Some((record, begun.elapsed().as_secs_f64())))
    }

    /// Every image that is there, set by set, each with its prompts.
    fn drawn(&self, steps: usize) -> Vec<Sample> {
        let identifier = &self.plan.metrics.identifier;
        let mut samples = Vec::new();
        for set in self.sample_sets(steps) {
            for prompt in self.plan.drawn_prompts() {
                for index in 0..self.plan.eval.images {
                    let (path, name) = (self.run.sample_path(set, &prompt, index), sample_name(set, &prompt, index));
                    // Of a step on the way one may be gone for good.
                    if !path.is_file() {
                        continue;
                    }
                    let image = Image {
                        path,
                        name,
                        prompt: without_identifier(&prompt, identifier),
                        group: Some(prompt.clone()),
                    };
                    samples.push(Sample { set, step: set.step(steps), image });
                }
            }
        }
        samples
    }

    /// The best of the steps by the metric that the plan names; of equal ones the first.
    fn best(&self, sets: &[SetMetrics]) -> Option<BestStep> {
        let by = self.plan.metrics.best_by.as_deref()?;
        let base = SampleSet::Base.folder();
        let trained = || sets.iter().filter(|set| set.set != base);
        self.plan.metrics.encoders.iter().find_map(|name| {
            let metric = name.metric_of(by)?;
            let value = |set: &SetMetrics| Some((set.step, set.get(name.as_str(), metric, None)?.value));
            let sign = if metric == PRES { -1.0 } else { 1.0 };
            let better =
                |best: (usize, f64), next: (usize, f64)| if sign * next.1 > sign * best.1 { next } else { best };
            let (step, value) = trained().filter_map(value).reduce(better)?;
            Some(BestStep { by: metric.to_owned(), encoder: name.to_string(), step, value })
        })
    }

    /// Says which photographs of `metrics.reference` were trained on too.
    fn tell_shared(&self, reference: &[PathBuf], pictures: &[Picture]) -> Result<()> {
        let trained: BTreeSet<&str> = pictures.iter().map(|picture| picture.sha256.as_str()).collect();
        let mut shared = Vec::new();
        for file in reference {
            if trained.contains(sha256_of_file(file)?.as_str()) {
                shared.push(file.file_name().unwrap_or_default().to_string_lossy().into_owned());
            }
        }
        if let Some(first) = shared.first() {
            let more = if shared.len() > 1 { ", …" } else { "" };
            let count = counted(shared.len(), "photograph");
            self.progress.warn(format!(
                "{count} of metrics.reference were trained on too ({first}{more}): learning them by heart counts as fidelity"
            ));
        }
        Ok(())
    }
}

/// An image of the run.
struct Sample {
    set: SampleSet,
    step: usize,
    image: Image,
}

/// The sets, with nothing measured yet.
fn sets(samples: &[Sample]) -> Vec<SetMetrics> {
    let mut sets: Vec<SetMetrics> = Vec::new();
    for sample in samples {
        let set = sample.set.folder();
        if sets.last().is_none_or(|last| last.set != set) {
            sets.push(SetMetrics { set, step: sample.step, metrics: Vec::new(), nearest: BTreeMap::new() });
        }
    }
    sets
}

/// What one encoder saw of a run.
struct OfEncoder<'a> {
    plan: &'a Plan,
    name: EncoderName,
    samples: &'a [Sample],
    seen: &'a Seen,
    photographs: Photographs<'a>,
    prompts: BTreeMap<String, Option<Prompt>>,
    pictures: &'a [Picture],
}

impl OfEncoder<'_> {
    /// Adds this encoder's numbers to those of a set; gives the rows of `metrics.csv`.
    fn measure(&self, set: &mut SetMetrics) -> Vec<MetricsRow> {
        let encoder = self.name.to_string();
        let record = |metric: &str, prompt: Option<&String>, of: &Measurement| MetricRecord {
            encoder: encoder.clone(),
            metric: metric.to_owned(),
            prompt: prompt.cloned(),
            value: of.value,
            interval: of.interval,
        };
        let asked = self.places(set, |prompt| self.plan.eval.prompts.contains(prompt));
        let overall = self.over(&asked);
        set.metrics.extend(overall.metrics.iter().map(|(metric, of)| record(metric, None, of)));
        if let Some((cosine, index)) = nearest_image(&overall.images)
            && let Some(training) = overall.images[index].nearest_to
        {
            let image = self.samples[asked[index]].image.name.clone();
            let nearest = NearestRecord { image, training_image: self.pictures[training].name(), cosine };
            set.nearest.insert(encoder.clone(), nearest);
        }
        let mut rows = Vec::new();
        for prompt in self.plan.drawn_prompts() {
            let places = self.places(set, |other| *other == prompt);
            let measured = self.over(&places);
            let is_class = prompt == self.plan.metrics.class_prompt;
            let own = measured.metrics.iter().filter(|(metric, _)| **metric != NEAREST);
            set.metrics.extend(own.map(|(metric, of)| record(metric, Some(&prompt), of)));
            if let Some(of) = measured.metrics.get(self.name.metric()).filter(|_| is_class) {
                set.metrics.push(record(PRES, None, of));
            }
            rows.extend(self.rows(set, &prompt, &places, &measured, is_class));
        }
        rows
    }

    /// The places of a set's images whose prompt is wanted.
    fn places(&self, set: &SetMetrics, wanted: impl Fn(&String) -> bool) -> Vec<usize> {
        let is_wanted =
            |sample: &Sample| sample.set.folder() == set.set && sample.image.group.as_ref().is_some_and(&wanted);
        (0..self.samples.len()).filter(|index| is_wanted(&self.samples[*index])).collect()
    }

    fn over(&self, places: &[usize]) -> Measured {
        let images: Vec<Image> = places.iter().map(|index| self.samples[*index].image.clone()).collect();
        let times = self.plan.metrics.bootstrap;
        summarize(self.name, &images, &self.seen.only(places), &self.photographs, &self.prompts, times)
    }

    /// The rows of a prompt's images, and of the prompt.
    fn rows(&self, set: &SetMetrics, prompt: &str, places: &[usize], of: &Measured, is_class: bool) -> Vec<MetricsRow> {
        let row = |metric: &str, image: Option<&String>, value: f64| MetricsRow {
            step: set.step,
            set: set.set.clone(),
            encoder: self.name.to_string(),
            metric: metric.to_owned(),
            prompt: prompt.to_owned(),
            image: image.cloned(),
            value,
            nearest_to: None,
        };
        let mut rows = Vec::new();
        for (index, measured) in places.iter().zip(&of.images) {
            let image = Some(&self.samples[*index].image.name);
            rows.extend(measured.subject.map(|value| row(self.name.metric(), image, value)));
            let fidelity = self.name.prompt_metric().zip(measured.prompt);
            rows.extend(fidelity.map(|(metric, value)| row(metric, image, value)));
            rows.extend(measured.subject.filter(|_| is_class).map(|value| row(PRES, image, value)));
            let nearest_to = measured.nearest_to.map(|training| self.pictures[training].name());
            rows.extend(measured.nearest.map(|value| MetricsRow { nearest_to, ..row(NEAREST, image, value) }));
        }
        rows.extend(of.metrics.get(DIVERSITY).map(|of| row(DIVERSITY, None, of.value)));
        rows
    }
}

/// Why an encoder cannot be had, if it has to be fetched and its hub is silent.
fn obstacle(name: EncoderName, folder: Option<&Path>, reach: &Reach) -> Option<String> {
    let (repo, revision) = name.repo().filter(|_| folder.is_none())?;
    reach.obstacle_to_files((repo, revision), name.modelscope(), &needed_files(name))
}

/// Whether a warning says that an encoder will not measure, one of `names`.
pub(super) fn is_of_unmeasured(warning: &str, mut names: impl Iterator<Item = impl AsRef<str>>) -> bool {
    names.any(|name| warning.starts_with(&format!("{UNMEASURED} {}:", name.as_ref())))
}

/// How that warning begins.
const UNMEASURED: &str = "the pictures will not be measured by";

fn unmeasured(name: EncoderName, why: &str) -> String {
    let repo = name
        .repo()
        .map_or_else(String::new, |(repo, revision)| format!("fetched from {repo} (revision {revision}) or "));
    format!(
        "{UNMEASURED} {name}: it is not on this machine, and {why}. The same command measures them \
         once it is, {repo}named by metrics.paths.{name}; metrics.encoders = [] asks for none"
    )
}
