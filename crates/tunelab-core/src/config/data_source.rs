//! Several folders of images: `[[dataset.sources]]`, and the one folder of `[dataset]` in the same form.
//!
//! In: what the tables say. Out: [`DataSource`] as it is written, and [`DataPart`], with nothing left to `[dataset]`.

use super::captions::CaptionRules;
use super::dataset::Dataset;
use super::keys::{Inner, MaybeTable, above, flag, settings, text, whole};
use super::selection::Selection;
use super::source::{Role, Source};

settings! {
    /// One of several sources of images, beside no `path`, `repo`, `modelscope` or `builtin` of `[dataset]`. What it does not say is as
    /// `[dataset]` has it.
    pub struct DataSource {
        /// What it is called in messages, logs and subjects.
        name: String = String::new() => text().usual("its folder's or repository's name");
        /// Where they come from.
        source: Source = Source::nowhere() => Role::Dataset;
        /// Which part of them.
        selection: Selection = Selection::default() => Inner::Here;
        /// The caption of all its images.
        prompt: Option<String> = None => text().usual("[dataset]'s, unless it has `captions`; with `prior` the class prompt");
        /// How often each image is seen in an epoch.
        repeats: usize = 1 => whole(1..=1000);
        /// What its images' loss is multiplied by.
        weight: f64 = 1.0 => above(0.0);
        /// Crop the middle; false: a random crop, new in every step.
        center_crop: Option<bool> = None => flag().usual("[dataset]'s");
        /// Mirror every second image, at random.
        random_flip: Option<bool> = None => flag().usual("[dataset]'s");
        /// Class images of your own, for DreamBooth's prior preservation.
        prior: bool = false => flag();
        /// How captions become what the model is told.
        captions: Option<CaptionRules> = None => MaybeTable;
    }
}

/// One source of images, everything said.
#[derive(Debug, Clone, PartialEq)]
pub struct DataPart {
    /// Its name, where there are several.
    pub name: Option<String>,
    /// Where its images come from.
    pub source: Source,
    /// Which part of it.
    pub selection: Selection,
    /// The caption of every image (else each brings its own).
    pub prompt: Option<String>,
    /// How captions become what the model is told; nothing is left of them where there is a prompt.
    pub rules: CaptionRules,
    /// How often each image is seen in an epoch.
    pub repeats: usize,
    /// What its images' loss is multiplied by.
    pub weight: f64,
    /// Crop the middle.
    pub center_crop: bool,
    /// Mirror every second image.
    pub random_flip: bool,
    /// Class images of prior preservation.
    pub prior: bool,
}

impl Dataset {
    /// The sources: those of `[[dataset.sources]]`, or the one of `[dataset]`.
    pub fn parts(&self) -> Vec<DataPart> {
        let part = |prompt: Option<&String>, rules: &CaptionRules| DataPart {
            name: None,
            source: self.source.clone(),
            selection: self.selection.clone(),
            prompt: prompt.cloned(),
            rules: if prompt.is_some() { CaptionRules::default() } else { rules.clone() },
            repeats: 1,
            weight: 1.0,
            center_crop: self.center_crop,
            random_flip: self.random_flip,
            prior: false,
        };
        if self.sources.is_empty() {
            return vec![part(self.prompt.as_ref(), &self.captions)];
        }
        let of = |of: &DataSource| {
            let common = self.prompt.as_ref().filter(|_| of.captions.is_none() && !of.prior);
            let rules = of.captions.as_ref().unwrap_or(&self.captions);
            DataPart {
                name: Some(of.name.clone()),
                source: of.source.clone(),
                selection: of.selection.clone(),
                repeats: of.repeats,
                weight: of.weight,
                center_crop: of.center_crop.unwrap_or(self.center_crop),
                random_flip: of.random_flip.unwrap_or(self.random_flip),
                prior: of.prior,
                ..part(of.prompt.as_ref().or(common), rules)
            }
        };
        self.sources.iter().map(of).collect()
    }

    /// Where the images come from, in one line for a person: no path of this machine.
    pub fn short(&self) -> String {
        let parts: Vec<String> = self.parts().iter().map(|part| part.source.short()).collect();
        parts.join(" + ")
    }

    /// Are all images on this machine by their sources' nature?
    pub fn is_here(&self) -> bool {
        self.parts().iter().all(|part| part.source.is_here())
    }
}
