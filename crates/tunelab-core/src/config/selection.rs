//! Which part of a data set is meant: its split, its columns, how many images of it.
//!
//! In: what `[dataset]` or one of `[[dataset.sources]]` says. Out: [`Selection`]. Names as in the `datasets` library and diffusers'
//! scripts (`--image_column`, `--caption_column`, `--max_train_samples`).

use super::experiment::Section;
use super::keys::{settings, text, whole};

settings! {
    /// Which part of a data set is meant.
    pub struct Selection {
        /// Which split of a data set that has several, by the names of its folders or files.
        split: Option<String> = None => text().usual("train");
        /// Which data set of a repository that has several: the folder of its files.
        subset: Option<String> = None => text();
        /// The column of the images in Parquet files, or of their names in a `metadata.jsonl` or `.csv`; of samples in a tar the field.
        image_column: Option<String> = None => text().usual("image, or the only one; file_name");
        /// The column of the captions, in the same files.
        caption_column: Option<String> = None => text().usual("text, or the only one with texts");
        /// So many images, from the first on.
        max_samples: Option<usize> = None => whole(1..=100_000_000).usual("all");
    }
}

/// The split that is meant where none is named.
const TRAIN: &str = "train";

/// The keys, as they stand in a table.
pub(super) const KEYS: [&str; 5] = ["split", "subset", "image_column", "caption_column", "max_samples"];

impl Selection {
    /// The split that is meant.
    pub fn split(&self) -> &str {
        self.split.as_deref().unwrap_or(TRAIN)
    }
}

/// Refuses what is no part of a file's name.
pub(super) fn check(s: &Section, selection: &Selection) {
    for (key, value) in [("split", &selection.split), ("subset", &selection.subset)] {
        if value.as_ref().is_some_and(|value| value.contains(['/', '\\']) || [".", ".."].contains(&value.as_str())) {
            s.reject(key, format!("`{key}` is one name, without folders"), "");
        }
    }
}
