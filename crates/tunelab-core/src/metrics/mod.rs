//! Formulas for two questions: is the subject in the images, and is the prompt?
//!
//! In: features of images, photographs and prompts. Out: DINO and CLIP-I (subject fidelity), CLIP-T (prompt fidelity), the
//! diversity of a prompt's images and the photograph that each image is nearest to, each a raw cosine, as in DreamBooth (Ruiz
//! et al. 2023, section 4.2), with intervals. By the encoder `builtin` subject fidelity is the same formula and prompt
//! fidelity a share. Pure numbers: [`crate::measure`] has the encoders.

mod bootstrap;
mod encoder_name;
mod prompt;
mod similarity;

pub use bootstrap::{Interval, bounds, interval, resampled};
pub use encoder_name::{DIVERSITY, EncoderName, NEAREST, PRES};
pub use prompt::without_identifier;
pub use similarity::{cosine_to_each, diversity, nearest, resampled_diversity, unit};
