//! What the page's script needs to know of a run: its images and its curves, as JSON.
//!
//! In: a run's folder, finished or not. Out: a [`RunView`]; of curves so many points that a page of all runs stays small.

use std::path::Path;

use serde::Serialize;

use crate::report::document::encode;
use crate::report::losses::{Point, read_column};
use crate::report::runs::{Folder, Run};
use crate::results::{Drawn, EVAL_CSV, LOSS_CSV, MetricsRecord, RunProgressRecord, SampleSet, slug};

/// Points of one curve of all runs together, and of one run.
const MOST_POINTS: usize = 60_000;
const MOST_POINTS_OF_A_RUN: usize = 5_000;

/// A column of the logs, the page's name for it, and whether it jumps from step to step.
const LOGS: [(&str, &str, &str, bool); 6] = [
    (LOSS_CSV, "loss", "training loss", true),
    (EVAL_CSV, "eval_loss", "evaluation loss", false),
    (LOSS_CSV, "instance_loss", "instance loss", true),
    (LOSS_CSV, "prior_loss", "prior loss", true),
    (LOSS_CSV, "lr", "learning rate", false),
    (LOSS_CSV, "grad_norm", "gradient norm", true),
];

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// As tables show it.
    pub name: String,
    /// Its folder, as links begin.
    pub folder: String,
    /// Whether it came to its end.
    pub finished: bool,
    /// Whether it is a stand-in.
    pub stand_in: bool,
    /// The prompts that it draws.
    pub prompts: Vec<PromptView>,
    /// Its sets of images, from the base model to the end.
    pub sets: Vec<SetView>,
    /// The seed of each prompt's first image; text, because a script's numbers end at 2⁵³.
    pub seed: String,
    /// Its losses and metrics over steps.
    pub curves: Vec<CurveView>,
    /// How far it is, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<RunProgressRecord>,
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PromptView {
    /// The prompt itself.
    pub text: String,
    /// Its images' folder within a set's.
    pub folder: String,
}

/// A set of images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetView {
    /// Its folder under `samples/`.
    pub folder: String,
    /// `base`, `step 100`, `tuned`.
    pub label: String,
    /// Optimizer steps before it.
    pub step: usize,
    /// How many images there are of each prompt.
    pub images: Vec<usize>,
}

/// A value over steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CurveView {
    /// What it is, such as `training loss` or `subject (builtin)`.
    pub name: String,
    /// Steps.
    pub x: Vec<f64>,
    /// Values at these steps, as they were logged.
    pub y: Vec<f64>,
    /// Each point stands for so many steps of the log; 1: nothing was left out.
    pub every: usize,
    /// Whether it jumps from step to step, so that an average says more.
    pub noisy: bool,
}

impl RunView {
    /// Of a finished run, one of `runs`.
    pub fn of(run: &Run, runs: usize) -> Self {
        let folder = Folder { path: run.path.clone(), plan: run.plan.clone(), about: run.about.clone() };
        Self {
            finished: true,
            stand_in: run.record.stand_in.is_some(),
            curves: curves(&run.path, run.record.metrics.as_ref(), runs),
            progress: None,
            name: run.name().to_owned(),
            ..Self::of_folder(&folder, Some(run.record.counts.steps))
        }
    }

    /// Of a run under way, or cut off.
    pub fn under_way(folder: &Folder, runs: usize) -> Self {
        Self {
            curves: curves(&folder.path, None, runs),
            progress: RunProgressRecord::read(&folder.path),
            ..Self::of_folder(folder, None)
        }
    }

    fn of_folder(folder: &Folder, steps: Option<usize>) -> Self {
        let Folder { path, plan, .. } = folder;
        let prompts: Vec<PromptView> =
            Drawn::of(plan).prompts.into_iter().map(|text| PromptView { folder: slug(&text), text }).collect();
        let last = || read_column(&path.join(LOSS_CSV), "loss").ok()??.last().map(|point| point.0 as usize);
        let steps = steps.or_else(last).unwrap_or(0);
        let seed = plan.get("eval").and_then(|eval| eval.get("seed")).and_then(toml::Value::as_integer);
        Self {
            name: folder.name(),
            folder: encode(&folder.folder()),
            finished: false,
            stand_in: plan.contains_key("stands_in_for"),
            sets: sets(path, &prompts, steps),
            prompts,
            seed: seed.unwrap_or(0).to_string(),
            curves: Vec::new(),
            progress: None,
        }
    }
}

/// The sets of which there is any image.
fn sets(run: &Path, prompts: &[PromptView], steps: usize) -> Vec<SetView> {
    let view = |set: SampleSet| {
        let samples = run.join("samples").join(set.folder());
        let images = prompts.iter().map(|prompt| images(&samples.join(&prompt.folder))).collect();
        SetView { folder: set.folder(), label: set.heading(), step: set.step(steps), images }
    };
    let found = SampleSet::found(run).unwrap_or_default().into_iter().map(view);
    found.filter(|set| set.images.iter().any(|images| *images > 0)).collect()
}

/// How many images a folder holds, counted from `0.png`.
fn images(folder: &Path) -> usize {
    let names =
        fs_err::read_dir(folder).into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<usize> = names.filter_map(|name| name.strip_suffix(".png")?.parse().ok()).collect();
    found.sort_unstable();
    found.iter().zip(0..).take_while(|(index, expected)| **index == *expected).count()
}

fn curves(run: &Path, metrics: Option<&MetricsRecord>, runs: usize) -> Vec<CurveView> {
    let most = (MOST_POINTS / runs.max(1)).clamp(50, MOST_POINTS_OF_A_RUN);
    let log = |(file, column, name, noisy): (&str, &str, &str, bool)| {
        // A log that cannot be read costs its curves; other places say so.
        let points = read_column(&run.join(file), column).ok()??;
        curve(name.to_owned(), &points, noisy, most)
    };
    let mut curves: Vec<CurveView> = LOGS.into_iter().filter_map(log).collect();
    // Behind the losses, before what is looked at more rarely.
    let place = curves.iter().position(|curve| curve.name == "learning rate").unwrap_or(curves.len());
    curves.splice(place..place, metrics.into_iter().flat_map(|metrics| of_metrics(metrics, most)));
    curves
}

/// Each metric over all prompts that was measured at more than one step.
fn of_metrics(metrics: &MetricsRecord, most: usize) -> Vec<CurveView> {
    let mut found: Vec<(String, Vec<Point>)> = Vec::new();
    for set in &metrics.sets {
        for mean in set.metrics.iter().filter(|mean| mean.prompt.is_none() && mean.value.is_finite()) {
            let name = format!("{} ({})", mean.metric, mean.encoder);
            let point = (set.step as f64, mean.value);
            match found.iter_mut().find(|(other, _)| *other == name) {
                Some((_, points)) => points.push(point),
                None => found.push((name, vec![point])),
            }
        }
    }
    let curve = |(name, mut points): (String, Vec<Point>)| {
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        (points.len() > 1).then(|| curve(name, &points, false, most)).flatten()
    };
    found.into_iter().filter_map(curve).collect()
}

/// Every n-th point and the last, so that at most about `most` are left; nothing of no points.
fn curve(name: String, points: &[Point], noisy: bool, most: usize) -> Option<CurveView> {
    let last = *points.last()?;
    let every = points.len().div_ceil(most).max(1);
    let mut kept: Vec<Point> = points.iter().step_by(every).copied().collect();
    if kept.last() != Some(&last) {
        kept.push(last);
    }
    let (x, y) = kept.into_iter().unzip();
    Some(CurveView { name, x, y, every, noisy })
}
