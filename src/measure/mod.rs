//! Images measured by encoders that know neither the subject nor the program; the `tunelab measure` command.
//!
//! In: image files, photographs of the subject, prompts. Out: the numbers of [`crate::metrics`], of all images and of each.
//! Nothing here is differentiated: the networks are `candle_transformers`'.

mod clip;
mod command;
mod dino;
mod encoder;
mod files;
mod images;
mod preprocess;

pub use clip::Clip;
pub use command::command;
pub use dino::Dino;
pub use encoder::Encoder;
pub use images::{Image, ImageMetrics, Measured, Measurement, measure};
pub use preprocess::{CLIP, DINO, Preprocessing};
