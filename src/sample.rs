//! (stand-in until the room is there)
use crate::cli::SampleArgs;
use crate::error::{Error, Result};

/// Stand-in.
pub fn command(_: &SampleArgs) -> Result<()> {
    Err(Error::run("`tunelab sample` is not there yet"))
}
