//! Where a value stands: in the file or in a `--set` argument.
//!
//! In: texts and ranges of their bytes. Out: plain values, for values and for what is wrong with them.

use std::ops::Range;

/// A text that values were read from: the file, or one `--set` argument.
#[derive(Debug)]
pub(crate) struct Text {
    pub title: String,
    pub text: String,
}

/// A stretch of one text; without a range, the text as a whole.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// 0 is the file, n the n-th `--set`.
    pub text: usize,
    pub range: Option<(usize, usize)>,
}

impl Place {
    pub(super) fn new(text: usize, range: &Range<usize>) -> Self {
        Self { text, range: Some((range.start, range.end)) }
    }

    /// The file as a whole: for what is missing.
    pub fn file() -> Self {
        Self { text: 0, range: None }
    }

    pub fn is_set(&self) -> bool {
        self.text > 0
    }
}
