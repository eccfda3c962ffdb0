//! The commands that are about the command line itself: `tunelab completions` and `tunelab man`.
//!
//! In: their arguments. Out: a shell's completions or a manual page on stdout, or a folder of pages.
//! Both are made from the one statement of the command line, [`Cli`].

use std::path::Path;

use clap::{Command, CommandFactory};
use clap_mangen::Man;

use super::output::print;
use super::{Cli, CompletionsArgs, ManArgs};
use crate::error::{Error, Result};

/// `tunelab completions SHELL`.
pub fn completions(args: &CompletionsArgs) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tunelab", &mut text);
    print(&String::from_utf8_lossy(&text))
}

/// `tunelab man`: the main page; with `--dir` that and one for each command, as files.
///
/// # Errors
/// Wrong input: a folder that cannot be written into.
pub fn man(args: &ManArgs) -> Result<()> {
    let mut main = Cli::command();
    main.build();
    let Some(folder) = &args.dir else { return print(&page(main)?.1) };
    let pages = main.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let pages = pages.chain([main.clone()]).map(page).collect::<Result<Vec<_>>>()?;
    let refused =
        |e: std::io::Error| Error::input(format!("no manual pages can be written into {}", folder.display())).cause(e);
    fs_err::create_dir_all(folder).map_err(refused)?;
    for (name, text) in pages {
        fs_err::write(folder.join(Path::new(&name)), text).map_err(refused)?;
    }
    Ok(())
}

/// A page's file name, and its text for `man`.
fn page(command: Command) -> Result<(String, String)> {
    let man = Man::new(command).source(concat!("tunelab ", env!("CARGO_PKG_VERSION"))).manual("tunelab");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok((man.get_filename(), String::from_utf8_lossy(&text).into_owned()))
}
