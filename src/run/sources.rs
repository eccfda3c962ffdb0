//! The photographs of a plan's sources, found and loaded.
//!
//! In: the plan. Out: for each part its pictures, whose names and messages say the source where there are several; the class images;
//! and what an epoch goes through.

use crate::assets::{self, DataFolder};
use crate::config::{ClassPart, DataPart, Plan};
use crate::data::{self, Picture};
use crate::error::Result;
use crate::progress::Progress;
use crate::results::DRAWN_CLASS;
use crate::train::examples::{Examples, Treatment};
use crate::train::items::{Items, Size};
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

/// The pictures that a plan trains on, found and loaded; and behind them its class images, but for those that the base model draws.
///
/// # Errors
/// They are not there, or something is wrong with them.
pub fn pictures(plan: &Plan, progress: &Progress, warn: &mut dyn FnMut(String)) -> Result<[Vec<Picture>; 2]> {
    let loaded = load(plan, progress, warn)?;
    let class = class_images(plan, &loaded, |_| Ok(Vec::new()), warn)?;
    Ok([instances(&loaded), class.into_iter().flat_map(|class| class.pictures).collect()])
}

/// Those that are trained on, one source behind the other.
pub(super) fn instances(loaded: &[Loaded]) -> Vec<Picture> {
    loaded.iter().filter(|of| !of.part.prior).flat_map(|of| of.pictures.iter().cloned()).collect()
}

fn load_part(plan: &Plan, part: &DataPart, progress: &Progress, warn: &mut dyn FnMut(String)) -> Result<Vec<Picture>> {
    let Some(name) = &part.name else {
        return load_root(plan, part, &assets::find_dataset(&part.source, &part.selection, progress)?, warn);
    };
    let pictures = assets::find_dataset(&part.source, &part.selection, progress)
        .and_then(|root| load_root(plan, part, &root, &mut |text| warn(format!("source “{name}”: {text}"))))
        .map_err(|error| error.context(format!("the source “{name}” of [[dataset.sources]] cannot be used")))?;
    let name: Arc<str> = name.as_str().into();
    Ok(pictures.into_iter().map(|picture| picture.of_source(Some(Arc::clone(&name)))).collect())
}

fn load_root(plan: &Plan, part: &DataPart, folder: &DataFolder, warn: &mut dyn FnMut(String)) -> Result<Vec<Picture>> {
    let skip_broken = plan.dataset.skip_broken;
    let DataFolder { root, selection, numbered } = folder;
    let captions = (part.prompt.as_deref(), &part.rules);
    let pictures =
        data::load_captioned(root, selection, captions, skip_broken, warn).map_err(|error| match numbered {
            Some(files) => error.context(format!("{files}: its images have problems; `00000017` is the 18th")),
            None => error,
        })?;
    // Class images take the sizes of those that they stand beside.
    if part.prior { Ok(pictures) } else { data::fit(pictures, &plan.dataset, warn) }
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
                let name = format!("{DRAWN_CLASS}{prompt}");
                let source: Option<Arc<str>> = several.then(|| name.as_str().into());
                let named = |picture: Picture| picture.of_source(source.clone());
                ClassImages { pictures: draw(&prompt)?.into_iter().map(named).collect(), name, how: plain }
            }
            ClassPart::Folder(path, prompt) => {
                let skip_broken = plan.dataset.skip_broken;
                let pictures = data::load_dataset(&path, Some(&prompt), skip_broken, warn)?;
                ClassImages { name: format!("{DRAWN_CLASS}{prompt}"), pictures, how: plain }
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

/// What an epoch goes through.
pub(super) fn items(plan: &Plan, loaded: &[Loaded], examples: &Examples, class: Option<&Examples>) -> Items {
    let sizes = |of: &Examples, source: usize| -> Vec<Size> {
        of.of_source(source).into_iter().filter_map(|image| of.size_of(image)).collect()
    };
    let mut instances = 0..;
    let of_part = |part: &Loaded| {
        if part.part.prior { Vec::new() } else { instances.next().map_or_else(Vec::new, |i| sizes(examples, i)) }
    };
    let of_parts: Vec<_> = loaded.iter().map(of_part).collect();
    let of_class: Option<Vec<_>> = class.map(|class| (0..class.source_count()).map(|i| sizes(class, i)).collect());
    Items::of_plan(plan, &of_parts, &of_class.unwrap_or_default())
}
