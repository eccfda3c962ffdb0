//! The commands that say what an experiment may hold: `tunelab keys` and `tunelab schema`.
//!
//! In: their arguments. Out: text on stdout.

use super::Plan;
use super::keys::{reference, schema};
use crate::cli::KeysArgs;
use crate::cli::output::print;
use crate::cli::terminal;
use crate::error::Result;

/// `tunelab keys [PREFIX]`: the reference of the keys.
///
/// Errors: no key begins so.
pub fn keys(args: &KeysArgs) -> Result<()> {
    print(&reference::text(&Plan::keys(), args.prefix.as_deref().unwrap_or_default(), terminal::columns())?)
}

/// `tunelab schema`: the JSON Schema of an experiment.
pub fn schema() -> Result<()> {
    print(&format!("{:#}\n", schema::schema(&Plan::keys())))
}
