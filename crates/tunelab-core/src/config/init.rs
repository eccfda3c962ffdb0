//! `tunelab init`: an experiment to begin with.
//!
//! In: a template's name and a file's. Out: a commented TOML file that `tunelab check` finds nothing
//! wrong with, and what to do with it. The templates are the files in `assets/init`, each with what
//! it is for in its first line; they are compiled in.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use super::Plan;
use super::experiment::is_settings;
use crate::cli::output::{print, quoted};
use crate::cli::{InitArgs, Template};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// `tunelab init [NAME] [--from TEMPLATE] [--list]`.
///
/// # Errors
/// Wrong input: a file of that name is there, its folder is not, or no run can be called so.
pub fn init(args: &InitArgs) -> Result<()> {
    if args.list {
        let line = |template: &Template| format!("{:<12}{}\n", template.name(), about(*template));
        return print(&Template::ALL.iter().map(line).collect::<String>());
    }
    let file = file(args.name.as_deref().unwrap_or_else(|| Path::new(args.from.name())))?;
    let text = text(args.from);
    // What its name makes of it, before it is there.
    Plan::parse_all(text, &file, &[])?;
    write(&file, text)?;
    // What begins with a hyphen would be an option.
    let plain = file.display().to_string();
    let shown = quoted(&if plain.starts_with('-') { format!("./{plain}") } else { plain });
    Progress::from_env().line(format!(
        "wrote {}: {}\nnext, once you have changed what its comments say:\n  tunelab check {shown}\n  tunelab run {shown}",
        file.display(),
        about(args.from)
    ));
    Ok(())
}

/// The template's whole text.
pub fn text(template: Template) -> &'static str {
    match template {
        Template::Lora => include_str!("../../assets/init/lora.toml"),
        Template::Dreambooth => include_str!("../../assets/init/dreambooth.toml"),
        Template::Full => include_str!("../../assets/init/full.toml"),
        Template::Sweep => include_str!("../../assets/init/sweep.toml"),
    }
}

/// What it is for.
fn about(template: Template) -> &'static str {
    text(template).lines().next().map_or("", |line| line.trim_start_matches("# "))
}

/// The file, with `.toml` where the name lacks it.
fn file(name: &Path) -> Result<PathBuf> {
    let written = name.to_string_lossy();
    if name.file_name().is_none() || written.ends_with(['/', '\\']) {
        return Err(Error::input(format!("`{written}` is no name for a file")).hint("tunelab init my_dog"));
    }
    let is_toml = name.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"));
    let file = if is_toml { name.to_owned() } else { PathBuf::from(format!("{written}.toml")) };
    if is_settings(&file) {
        return Err(Error::input(format!("{} is the name of another program's settings", file.display()))
            .hint("give the experiment another name"));
    }
    Ok(file)
}

/// Writes a file that is not there yet.
fn write(file: &Path, text: &str) -> Result<()> {
    let opened = fs_err::OpenOptions::new().write(true).create_new(true).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(text.as_bytes()));
    written.map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => Error::input(format!("{} is there already, and stays as it is", file.display()))
            .hint("give another name: tunelab init NAME"),
        ErrorKind::NotFound => {
            let folder = file.parent().unwrap_or(file).display().to_string();
            Error::input(format!("the folder {folder} is not there")).hint(format!("mkdir -p {}", quoted(&folder)))
        }
        _ => Error::input(format!("{} cannot be written", file.display())).cause(e),
    })
}
