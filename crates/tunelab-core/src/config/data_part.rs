//! The sources of a data set's images: those of `[[dataset.sources]]`, or the one folder of `[dataset]` in the same form.
//!
//! In: [`Dataset`]. Out: [`DataPart`]s, with nothing left to `[dataset]`.

use super::captions::CaptionRules;
use super::data_source::DataSource;
use super::dataset::Dataset;
use super::selection::Selection;
use super::source::Source;

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
