//! How texts are read: `[text]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here.

use super::keys::{settings, whole};

settings! {
    /// How prompts and captions are read.
    pub struct Text {
        /// Chunks of 75 tokens that texts are read in, as kohya's `max_token_length` 225 is 3; 1: what is longer is cut.
        chunks: usize = 1 => whole(1..=8);
    }
}
