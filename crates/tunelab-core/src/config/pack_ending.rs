//! How files are called in which images are packed.
//!
//! In: a name. Out: whether it is one of them.

/// How the names of files end in which images are packed, in any case.
pub const PACK_ENDINGS: [&str; 5] = [".parquet", ".tar", ".tar.gz", ".tgz", ".zip"];

/// Whether a file's name says that images are packed in it.
pub fn has_pack_ending(name: &str) -> bool {
    let name = name.to_lowercase();
    PACK_ENDINGS.iter().any(|ending| name.ends_with(ending))
}
