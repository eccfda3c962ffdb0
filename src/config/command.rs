//! The commands that say what an experiment may hold: `tunelab keys` and `tunelab schema`.
//!
//! In: their arguments. Out: text on stdout.

use std::io;

use super::Plan;
use super::keys::{reference, schema};
use crate::cli::KeysArgs;
use crate::cli::output::print;
use crate::error::Result;

/// Columns where stdout is no terminal.
const WIDTH: usize = 100;

/// `tunelab keys [PREFIX]`: the reference of the keys.
///
/// Errors: no key begins so.
pub fn keys(args: &KeysArgs) -> Result<()> {
    let columns = terminal_size::terminal_size_of(io::stdout()).map_or(WIDTH, |(width, _)| usize::from(width.0));
    print(&reference::text(&Plan::keys(), args.prefix.as_deref().unwrap_or_default(), columns)?)
}

/// `tunelab schema`: the JSON Schema of an experiment.
pub fn schema() -> Result<()> {
    print(&format!("{:#}\n", schema::schema(&Plan::keys())))
}
