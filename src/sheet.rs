//! What the network will see of a data set: the `tunelab data` command.
//!
//! In: an experiment. Out: every image as it is cropped, with its caption, how many tokens that has and what of it is cut off;
//! the buckets; images that are equal or nearly so; the smallest and the blurriest; class images that are there. As one image
//! (`poster`) and as a page (`page`), beside the runs. Nothing is trained, and no network is loaded.

mod facts;
mod look;
mod page;
mod poster;

use crate::assets;
use crate::cli::DataArgs;
use crate::cli::output::print;
use crate::config::{Objective, Plan, files};
use crate::data::{self, Shapes};
use crate::error::{Error, Result};
use crate::interrupt::Interrupt;
use crate::numbers::{counted, listed};
use crate::pipeline::load::PipelineLoader;
use crate::progress::Progress;
use crate::results::{write_atomic, write_png};
use crate::run;
use crate::train::examples::without_masks;
use candle_core::Device;
use facts::{Facts, find};
use look::{Caption, Look, look};
use std::collections::BTreeSet;

/// Names told of one finding.
const MAX_LISTED: usize = 6;

/// The title of the bar.
const BAR: &str = "images";

/// What is told of a data set.
struct Sheet {
    /// The experiment's name.
    name: String,
    /// The images, in the order of training's list.
    images: Vec<Look>,
    /// The class images that are there.
    class: Vec<Look>,
    facts: Facts,
    /// What was passed over or is odd, as a run would warn.
    warnings: Vec<String>,
    shapes: Shapes,
}

/// `tunelab data FILE`: writes `<name>.data.png` and `.html` into the results folder, and says what stands out.
///
/// # Errors
/// Wrong input: the experiment, the images, a mask; no such variant.
pub fn command(args: &DataArgs) -> Result<()> {
    let _interrupt = Interrupt::install()?;
    let loaded = files::Loaded::of(args.file.clone(), &args.set);
    if let Some(error) = loaded.error {
        return Err(error);
    }
    let planned = files::only(loaded.variants.into_iter().filter_map(|(_, planned)| planned.ok()), &args.only)?;
    let first = planned.into_iter().next().ok_or_else(|| Error::input("the file states no experiment"))?;
    let plan = if args.stand_in { first.stand_in(&args.file)? } else { first.plan };
    let sheet = Sheet::of(&plan)?;
    let [image, page] = ["png", "html"].map(|ending| args.results.join(format!("{}.data.{ending}", sheet.name)));
    fs_err::create_dir_all(&args.results).map_err(|e| Error::input(e.to_string()))?;
    write_png(&image, &poster::draw(&sheet)?, &[])?;
    write_atomic(&page, page::html(&sheet)?.as_bytes())?;
    print(&format!("{}\n\n{}\n{}\n", sheet.lines().join("\n"), image.display(), page.display()))
}

impl Sheet {
    fn of(plan: &Plan) -> Result<Self> {
        let progress = Progress::from_env();
        let mut warnings = Vec::new();
        let [pictures, class] = run::pictures(plan, &progress, &mut |warning| warnings.push(warning))?;
        if let Objective::DreamBooth(prior) = &plan.objective {
            let drawn = counted(prior.class_images, "class image");
            let told = |prompt| format!("{drawn} of {prompt:?} will be drawn by the run, and are in its data.png");
            warnings.extend(plan.drawn_class_prompts().into_iter().map(told));
        }
        // Captions are read by the model's own tokenizer, where the model is here.
        let files = plan.model.is_here().then(|| assets::find_model(&plan.model, &progress)).transpose()?;
        let tokenizers = files.map(|files| PipelineLoader::of_files(&files, &Device::Cpu).tokenizers()).transpose()?;
        if tokenizers.is_none() {
            warnings.push("the model is not on this machine yet, so tokens are not counted".to_owned());
        }
        let caption = |text: &str| Caption::of(text, tokenizers.as_ref());
        let shapes = Shapes::of(&plan.dataset);
        let bar = progress.bar(BAR, (pictures.len() + class.len()) as u64);
        let images = look(&pictures, &shapes, plan.dataset.masks.on, &caption, &bar)?;
        if plan.dataset.masks.on && !images.iter().any(|image| image.is_masked) {
            return Err(without_masks());
        }
        let sizes: Vec<[usize; 2]> = images.iter().filter_map(|image| Some(image.cut?.size)).collect();
        let of_class = if plan.dataset.buckets.on { Shapes::Among(sizes) } else { shapes.clone() };
        let class = look(&class, &of_class, false, &caption, &bar)?;
        bar.finish();
        let facts = find(&images);
        Ok(Self { name: plan.name.clone(), images, class, facts, warnings, shapes })
    }

    /// What stands out, in lines for a terminal.
    fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.summary()];
        lines.extend(self.buckets().into_iter().map(|line| format!("  {line}")));
        lines.extend(
            self.findings().into_iter().map(|(title, items)| format!("{title}: {}", listed(&items, MAX_LISTED))),
        );
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines
    }

    /// `300 images, 12 captions, 7 class images`.
    fn summary(&self) -> String {
        let captions: BTreeSet<&str> =
            self.images.iter().flat_map(|image| &image.captions).map(|caption| caption.text.as_str()).collect();
        let mut parts = vec![counted(self.images.len(), "image"), counted(captions.len(), "caption")];
        if !self.class.is_empty() {
            parts.push(counted(self.class.len(), "class image"));
        }
        parts.join(", ")
    }

    /// Each size with how many images it has, and what of them is cut.
    fn buckets(&self) -> Vec<String> {
        let mut sizes: Vec<[usize; 2]> = self.images.iter().filter_map(|image| Some(image.cut?.size)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let line = |[height, width]: [usize; 2]| {
            let cuts: Vec<f64> = self
                .images
                .iter()
                .filter_map(|image| image.cut)
                .filter(|cut| cut.size == [height, width])
                .map(data::Cut::lost)
                .collect();
            let lost = 100.0 * cuts.iter().sum::<f64>() / cuts.len() as f64;
            format!("{width} x {height}: {}, of which {lost:.1} % is cut on average", counted(cuts.len(), "image"))
        };
        sizes.into_iter().map(line).collect()
    }

    /// What a person should look at: a title and names of images, each with what is said of it.
    fn findings(&self) -> Vec<(&'static str, Vec<String>)> {
        let named = |index: usize| self.images[index].name.clone();
        let together = |group: &Vec<usize>| group.iter().map(|&index| named(index)).collect::<Vec<_>>().join(" = ");
        let near = |&(a, b, distance): &(usize, usize, u32)| {
            format!("{} ~ {} ({distance} of 64 bits differ)", named(a), named(b))
        };
        let captions = self.images.iter().flat_map(|image| image.captions.iter().map(move |caption| (image, caption)));
        let cut = captions.filter(|(_, caption)| caption.cut.is_some());
        let small = |&index: &usize| {
            let [height, width] = self.images[index].original;
            format!("{} ({width} x {height})", named(index))
        };
        let enlarged = self.images.iter().filter(|image| image.is_enlarged());
        let blurred = |&index: &usize| format!("{} ({:.0})", named(index), self.images[index].sharpness);
        let all = [
            ("equal", self.facts.equal.iter().map(together).collect()),
            ("nearly equal", self.facts.near.iter().map(near).collect()),
            ("enlarged", enlarged.map(|image| image.name.clone()).collect()),
            (
                "captions cut",
                cut.map(|(image, caption)| format!("{} ({} tokens)", image.name, caption.tokens())).collect(),
            ),
            ("smallest", self.facts.smallest.iter().map(small).collect()),
            ("blurriest (variance of the Laplacian)", self.facts.blurriest.iter().map(blurred).collect::<Vec<_>>()),
        ];
        all.into_iter().filter(|(_, items)| !items.is_empty()).collect()
    }
}
