//! What a file of packed images is, by its name.
//!
//! In: a name. Out: its kind; and what is said of a file that is not what its name says.

use std::path::Path;

use crate::config::has_pack_ending;
use crate::error::Error;

/// What a file is, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Parquet,
    Tar,
    Zip,
}

impl Kind {
    pub(super) fn ending(self) -> &'static str {
        match self {
            Self::Parquet => ".parquet",
            Self::Tar => ".tar",
            Self::Zip => ".zip",
        }
    }

    /// `None`: nothing that is opened here.
    pub(super) fn of(name: &str) -> Option<Self> {
        let lower = name.to_lowercase();
        let ends = |kind: Self| lower.ends_with(kind.ending());
        // The other endings are those of compressed tars.
        let kind = [Self::Parquet, Self::Zip].into_iter().find(|kind| ends(*kind)).unwrap_or(Self::Tar);
        has_pack_ending(name).then_some(kind)
    }
}

/// Whether a file is one that is unpacked; hidden ones are not, nor what lies in hidden folders.
pub(super) fn is_pack(name: &str) -> bool {
    Kind::of(name).is_some() && !name.split('/').any(|part| part.starts_with('.') || part.starts_with("__"))
}

/// A damaged file, or one that is not what its name says.
pub(super) fn damaged(file: &Path, why: impl std::fmt::Display) -> Error {
    Error::input(format!("{}: cannot be read: {why}", file.display()))
        .hint("download or make it again; other programs that open it can show whether it is whole")
}
