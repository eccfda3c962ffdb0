//! What this program was built from, for `run.json`: in from the build script, out as [`Versions`].

use crate::results::Versions;

/// Of this build; what the build script could not find is left out.
pub fn versions() -> Versions {
    let crates = option_env!("TUNELAB_CRATES").unwrap_or_default().split(',');
    Versions {
        tunelab: env!("CARGO_PKG_VERSION").to_string(),
        commit: option_env!("TUNELAB_COMMIT").map(str::to_string),
        rustc: option_env!("TUNELAB_RUSTC").map(str::to_string),
        crates: crates.filter_map(|entry| entry.split_once(' ')).map(|(k, v)| (k.into(), v.into())).collect(),
    }
}
