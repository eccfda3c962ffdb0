//! What the model is told of each image: `[dataset.captions]`.
//!
//! In: what the table says. Out: settings, whose keys are stated here. `data` finds the captions and `data::wording` makes of them
//! what is trained.

use super::keys::{Named, any_text, choice, flag, settings, share, text, whole};

/// Where captions are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptionFrom {
    /// The folder's table, else the `.txt` or `.caption` file beside each image, else the `.json` file.
    Any,
    /// The folder's table.
    Metadata,
    /// `x.txt` beside `x.jpg`.
    Txt,
    /// `x.caption` beside `x.jpg`.
    Caption,
    /// `x.json` beside `x.jpg`.
    Json,
    /// The image's own name.
    FileName,
}

impl Named for CaptionFrom {
    fn names() -> Vec<(&'static str, Self)> {
        vec![
            ("any", Self::Any),
            ("metadata", Self::Metadata),
            ("txt", Self::Txt),
            ("caption", Self::Caption),
            ("json", Self::Json),
            ("file_name", Self::FileName),
        ]
    }
}

/// What the lines of a caption's file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptionLines {
    /// One caption, all of them.
    Join,
    /// The first is the caption.
    First,
    /// Each is a caption, of which one is drawn each time.
    Each,
}

impl Named for CaptionLines {
    fn names() -> Vec<(&'static str, Self)> {
        vec![("join", Self::Join), ("first", Self::First), ("each", Self::Each)]
    }
}

settings! {
    /// What the model is told of each image. Where an image has several captions, one is drawn each time.
    pub struct CaptionRules {
        /// Where captions are; "any": the folder's table, else the `.txt` or `.caption` beside each image, else its `.json`.
        from: CaptionFrom = CaptionFrom::Any => choice::<CaptionFrom>();
        /// The lines of a `.txt` or `.caption`: one caption together, the first one alone, or a caption each.
        lines: CaptionLines = CaptionLines::Join => choice::<CaptionLines>();
        /// The words that `[trigger]` in captions and prompts becomes.
        trigger: Option<String> = None => text();
        /// What stands before every caption, with a space between; it stays where tags are shuffled or dropped.
        prefix: String = String::new() => any_text();
        /// What stands behind every caption, likewise.
        suffix: String = String::new() => any_text();
        /// Put the tags of a caption, what its commas part, into a new order each time.
        shuffle_tags: bool = false => flag();
        /// How many tags at the beginning stay where they are and are never dropped.
        keep_tags: usize = 0 => whole(0..=1000);
        /// How often each other tag is left out.
        tag_dropout: f64 = 0.0 => share();
    }
}

/// What the trigger stands in for.
pub const TRIGGER: &str = "[trigger]";

impl CaptionRules {
    /// Is another text made of the same caption each time?
    pub fn draws_tags(&self) -> bool {
        self.shuffle_tags || self.tag_dropout > 0.0
    }

    /// The text with the trigger's words.
    pub fn with_trigger(&self, text: &str) -> String {
        match &self.trigger {
            Some(trigger) => text.replace(TRIGGER, trigger),
            None => text.to_owned(),
        }
    }

    /// The names of keys that say something of captions which one prompt for all images does not have.
    pub(super) fn of_captions_alone(&self) -> impl Iterator<Item = &'static str> {
        let plain = Self::default();
        let said = [
            ("from", self.from != plain.from),
            ("lines", self.lines != plain.lines),
            ("prefix", self.prefix != plain.prefix),
            ("suffix", self.suffix != plain.suffix),
            ("shuffle_tags", self.shuffle_tags),
            ("keep_tags", self.keep_tags > 0),
            ("tag_dropout", self.tag_dropout > 0.0),
        ];
        said.into_iter().filter(|(_, is_said)| *is_said).map(|(name, _)| name)
    }
}
