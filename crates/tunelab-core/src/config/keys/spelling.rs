//! An older spelling of a key, which is read for ever.
//!
//! In: what the key's statement says of earlier versions. Out: where it was, and where it is.

/// Where a key was, and where it is.
pub(crate) struct Spelling {
    /// The path in an earlier version.
    pub old: &'static str,
    /// The path of today.
    pub new: String,
}
