//! Which files of `samples/` a run drew, so that a person's own files beside them are never
//! removed.
//!
//! In: the texts of resolved plans, and names from `run.json`. Out: those files gone, and the
//! folders that they leave empty.

use std::io;
use std::path::Path;

use fs_err as fs;
use toml::{Table, Value};

use super::names::slug;
use super::sample_set::SampleSet;

/// Removes the images that the plans ask for, and those of `named` that are samples, below the
/// run's folder.
pub(super) fn remove(run: &Path, plans: &[&str], named: &[String]) -> io::Result<()> {
    let samples = run.join("samples");
    for name in named.iter().filter(|name| name.starts_with("samples/") && !name.contains("..")) {
        gone(fs::remove_file(run.join(name)))?;
    }
    for set in SampleSet::found(run)? {
        let set = samples.join(set.folder());
        for plan in plans.iter().filter_map(|plan| plan.parse::<Table>().ok()) {
            let (prompts, images) = asked_for(&plan);
            prompts.iter().try_for_each(|prompt| remove_up_to(&set.join(slug(prompt)), images))?;
        }
        remove_empty(&set)?;
    }
    remove_empty(&samples)
}

/// The prompts of a plan and how many images it has of each.
fn asked_for(plan: &Table) -> (Vec<String>, usize) {
    let get = |key: &str| plan.get("eval").and_then(|eval| eval.get(key));
    let class = plan.get("metrics").and_then(|metrics| metrics.get("class_prompt")).and_then(Value::as_str);
    let prompts = get("prompts").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).chain(class);
    let images = get("images").and_then(Value::as_integer).and_then(|images| usize::try_from(images).ok());
    (prompts.map(str::to_owned).collect(), images.unwrap_or(1))
}

/// Removes `0.png` to `<images - 1>.png`.
fn remove_up_to(folder: &Path, images: usize) -> io::Result<()> {
    for entry in entries(folder)? {
        let name = entry.file_name().to_string_lossy().into_owned();
        let index = name.strip_suffix(".png").and_then(|digits| digits.parse::<usize>().ok());
        if index.is_some_and(|index| index < images && name == format!("{index}.png")) {
            gone(fs::remove_file(entry.path()))?;
        }
    }
    Ok(())
}

/// Removes the folders in `folder` that are empty, and `folder` itself if that leaves it empty.
fn remove_empty(folder: &Path) -> io::Result<()> {
    for entry in entries(folder)? {
        if entry.file_type()?.is_dir() && entries(&entry.path())?.is_empty() {
            fs::remove_dir(entry.path())?;
        }
    }
    if folder.is_dir() && entries(folder)?.is_empty() { fs::remove_dir(folder) } else { Ok(()) }
}

/// What lies in a folder, which need not be there.
fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    if folder.is_dir() { fs::read_dir(folder)?.collect() } else { Ok(Vec::new()) }
}

/// A file that was not there is gone too.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}
