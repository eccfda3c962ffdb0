//! One of several folders of images: `[[dataset.sources]]`.
//!
//! In: what the table says. Out: [`DataSource`] as it is written; with nothing left to `[dataset]` it is a `DataPart`.

use super::captions::CaptionRules;
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
