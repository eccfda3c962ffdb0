//! (stand-in until the room is there)
use crate::cli::RunArgs;
use crate::error::{Error, Result};

/// Stand-in.
pub fn run(args: &RunArgs) -> Result<()> {
    for file in &args.files {
        crate::plan::Plan::load(file, &args.set)?;
    }
    Err(Error::run("`tunelab run` is not there yet"))
}
