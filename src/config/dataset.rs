//! The photographs and how they become tensors: `[dataset]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use super::captions::CaptionRules;
use super::data_source::DataSource;
use super::keys::{Each, Inner, flag, multiple, settings, share, text};
use super::source::{Role, Source};

settings! {
    /// The photographs and how they become tensors.
    pub struct Dataset {
        /// Where they come from.
        source: Source = Source::nowhere() => Role::Dataset;
        /// The caption of every image (else each brings its own); DreamBooth's instance prompt.
        prompt: Option<String> = None => text();
        /// Width and height in pixels.
        resolution: usize = 512 => multiple(64, 64..=2048);
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
