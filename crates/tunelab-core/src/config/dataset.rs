//! The photographs and how they become tensors: `[dataset]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use super::buckets::Buckets;
use super::captions::CaptionRules;
use super::data_source::DataSource;
use super::keys::{Each, Inner, flag, settings, share, sides, text};
use super::masks::Masks;
use super::resolution::Resolution;
use super::selection::Selection;
use super::source::{Role, Source};

settings! {
    /// The photographs and how they become tensors.
    pub struct Dataset {
        /// Where they come from.
        source: Source = Source::nowhere() => Role::Dataset;
        /// Which part of them.
        selection: Selection = Selection::default() => Inner::Here;
        /// The caption of every image (else each brings its own); DreamBooth's instance prompt.
        prompt: Option<String> = None => text();
        /// Side of the square in pixels that images are cut to, or [width, height].
        resolution: Resolution = Resolution::square(512) => sides(64, 8, 64..=2048);
        /// Sizes by shape.
        buckets: Buckets = Buckets::default() => Inner::Here;
        /// Where the loss counts.
        masks: Masks = Masks::default() => Inner::Here;
        /// Crop the middle; false: a random crop, new in every step.
        center_crop: bool = true => flag();
        /// Mirror every second image, at random.
        random_flip: bool = true => flag();
        /// How often the empty text takes a caption's place, for classifier-free guidance.
        caption_dropout: f64 = 0.0 => share();
        /// Leave out files that are no images, with a warning; false: they are an error.
        skip_broken: bool = false => flag();
        /// How captions become what the model is told.
        captions: CaptionRules = CaptionRules::default() => Inner::Table;
        /// Several folders in place of one.
        sources: Vec<DataSource> = Vec::new() => Each;
    }
}
