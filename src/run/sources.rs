//! The photographs of a plan's sources, found and loaded.
//!
//! In: the plan. Out: for each part its pictures, whose names and messages say the source where there are several; the class images;
//! and what an epoch goes through.

use crate::assets;
use crate::config::{ClassPart, DataPart, Group, Plan};
use crate::data::{self, Picture};
use crate::error::Result;
use crate::progress::Progress;
use crate::train::examples::Treatment;
use crate::train::items::Items;
use std::path::Path;
use std::sync::Arc;

/// A part's pictures.
pub(super) struct Loaded {
    pub part: DataPart,
    pub pictures: Vec<Picture>,
}

/// All parts, in their order; those of class images with `prior` only.
pub(super) fn load(plan: &Plan, progress: &Progress, warn: &mut dyn FnMut(String)) -> Result<Vec<Loaded>> {
    let load = |part: DataPart| {
        let pictures = load_part(plan, &part, progress, warn)?;
        Ok(Loaded { part, pictures })
    };
    plan.dataset.parts().into_iter().map(load).collect()
}

/// Those that are trained on, one source behind the other.
pub(super) fn instances(loaded: &[Loaded]) -> Vec<Picture> {
    loaded.iter().filter(|of| !of.part.prior).flat_map(|of| of.pictures.iter().cloned()).collect()
}

fn load_part(plan: &Plan, part: &DataPart, progress: &Progress, warn: &mut dyn FnMut(String)) -> Result<Vec<Picture>> {
    let Some(name) = &part.name else {
        return load_root(plan, part, &assets::find_dataset(&part.source, progress)?, warn);
    };
    let pictures = assets::find_dataset(&part.source, progress)
        .and_then(|root| load_root(plan, part, &root, &mut |text| warn(format!("source “{name}”: {text}"))))
        .map_err(|error| error.context(format!("the source “{name}” of [[dataset.sources]] cannot be used")))?;
    let name: Arc<str> = name.as_str().into();
    Ok(pictures.into_iter().map(|picture| picture.of_source(Some(Arc::clone(&name)))).collect())
}

fn load_root(plan: &Plan, part: &DataPart, root: &Path, warn: &mut dyn FnMut(String)) -> Result<Vec<Picture>> {
    data::load_captioned(root, part.prompt.as_deref(), &part.rules, plan.dataset.skip_broken, warn)
}

/// How a source's pictures are treated.
pub(super) fn treatment(part: &DataPart) -> Treatment {
    Treatment { center_crop: part.center_crop, random_flip: part.random_flip, weight: part.weight }
}

/// The class images of one class part.
pub(super) struct ClassImages {
    /// For the logs.
    pub name: String,
    pub pictures: Vec<Picture>,
    pub how: Treatment,
}

/// Those of the plan's class parts, in their order; `draw` gives those of a prompt that the base model draws.
pub(super) fn class_images(
    plan: &Plan,
    loaded: &[Loaded],
    draw: impl Fn(&str) -> Result<Vec<Picture>>,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<ClassImages>> {
    let parts = plan.class_parts();
    let several = parts.len() > 1;
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        let plain = Treatment::of(&plan.dataset);
        all.push(match part {
            ClassPart::Drawn(prompt) => {
                let name = format!("class: {prompt}");
                let source: Option<Arc<str>> = several.then(|| name.as_str().into());
                let named = |picture: Picture| picture.of_source(source.clone());
                ClassImages { pictures: draw(&prompt)?.into_iter().map(named).collect(), name, how: plain }
            }
            ClassPart::Folder(path, prompt) => {
                let skip_broken = plan.dataset.skip_broken;
                let pictures = data::load_dataset(&path, Some(&prompt), skip_broken, warn)?;
                ClassImages { name: format!("class: {prompt}"), pictures, how: plain }
            }
            ClassPart::Part(index) => {
                let Some(Loaded { part, pictures }) = loaded.get(index) else { continue };
                let name = part.name.clone().unwrap_or_default();
                ClassImages { name, pictures: pictures.clone(), how: treatment(part) }
            }
        });
    }
    Ok(all)
}

/// What an epoch goes through; `class_counts` are those of [`class_images`].
pub(super) fn items(plan: &Plan, loaded: &[Loaded], class_counts: &[usize]) -> Items {
    let class_parts = plan.class_parts();
    // Where each one's pictures begin among all.
    let instances: Vec<usize> = loaded.iter().map(|of| if of.part.prior { 0 } else { of.pictures.len() }).collect();
    let range = |counts: &[usize], index: usize| {
        let first: usize = counts.iter().take(index).sum();
        first..first + counts.get(index).copied().unwrap_or(0)
    };
    let repeats = |index: usize| loaded.get(index).map_or(1, |of| of.part.repeats);
    let group = |group: &Group| {
        let images = group
            .parts
            .iter()
            .flat_map(|&part| range(&instances, part).flat_map(move |image| std::iter::repeat_n(image, repeats(part))));
        let class = group.class.iter().flat_map(|part| {
            let index = class_parts.iter().position(|other| other == part).unwrap_or(0);
            let repeats = if let ClassPart::Part(part) = part { repeats(*part) } else { 1 };
            range(class_counts, index).flat_map(move |image| std::iter::repeat_n(image, repeats))
        });
        (images.collect(), class.collect())
    };
    Items::new(&plan.groups().iter().map(group).collect::<Vec<_>>())
}
