//! Images measured by encoders; the `tunelab measure` command.
//!
//! In: image files, photographs of the subject, prompts. Out: the numbers of [`crate::metrics`], of all images and of each.
//! The published encoders know neither the subject nor the program; their networks are `candle_transformers`'. The judge
//! knows the miniature's drawn world, with its subject, and nothing else: its numbers mean something of such pictures only.
//! Nothing here is differentiated, but that `examples/world` trains the judge.

mod caption;
mod clip;
mod command;
mod dino;
mod encoder;
mod files;
mod find;
mod folder;
mod images;
pub mod judge;
mod preprocess;

pub use caption::Caption;
pub use clip::Clip;
pub use command::command;
pub use dino::Dino;
pub use encoder::{Encoder, Prompt, Seen};
pub use find::{FoundEncoder, find, needed_files};
pub use folder::pictures_in;
pub use images::{
    Image, ImageMetrics, Measured, Measurement, Photographs, nearest_image, read_prompts, see, summarize,
};
pub use judge::Judge;
pub use preprocess::{CLIP, DINO, JUDGE, Preprocessing};
