//! The commands that say what an experiment may hold: `tunelab keys` and `tunelab schema`.
//!
//! In: their arguments. Out: text on stdout.

use std::io::{self, Write};

use super::Plan;
use super::keys::{reference, schema};
use crate::cli::KeysArgs;
use crate::error::{Error, Result};

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

/// A reader that has gone away (`tunelab keys | head -1`) wants no more, which is no fault.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Error::run("cannot write to stdout").cause(e)),
        _ => Ok(()),
    }
}
