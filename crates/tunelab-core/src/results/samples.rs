//! Which files of `samples/` a run drew, so that a person's own files beside them are never
//! removed.
//!
//! In: the texts of resolved plans, and names from `run.json`. Out: those files gone, and the
//! folders that they leave empty.

use std::io;
use std::path::Path;

use fs_err as fs;

use super::drawn::Drawn;
use super::names::slug;
use super::sample_set::SampleSet;

/// Removes the images that the plans ask for, and those of `named` that are samples, below the
/// run's folder.
pub(super) fn remove(run: &Path, plans: &[&str], named: &[String]) -> io::Result<()> {
    for name in named.iter().filter(|name| name.starts_with("samples/") && !name.contains("..")) {
        gone(fs::remove_file(run.join(name)))?;
    }
    let plans: Vec<Drawn> = plans.iter().filter_map(|plan| drawn(plan)).collect();
    plans.iter().try_for_each(|plan| plan.remove(run, |_| true))?;
    remove_all_empty(run)
}

/// Removes the images of the prompts that only one of the two plans draws: those that are no more
/// asked for, and what lies where new ones will.
pub(super) fn remove_changed(run: &Path, stored: &str, wanted: &str) -> io::Result<()> {
    let (Some(stored), Some(wanted)) = (drawn(stored), drawn(wanted)) else { return Ok(()) };
    stored.remove(run, |prompt| !wanted.prompts.contains(prompt))?;
    wanted.remove(run, |prompt| !stored.prompts.contains(prompt))?;
    remove_all_empty(run)
}

fn drawn(plan: &str) -> Option<Drawn> {
    Some(Drawn::of(&plan.parse().ok()?))
}

impl Drawn {
    /// Removes its images of the prompts that are meant.
    fn remove(&self, run: &Path, is_meant: impl Fn(&String) -> bool) -> io::Result<()> {
        for set in SampleSet::found(run)?.iter().filter(|set| set.is_drawn(self.images_every)) {
            let set = run.join("samples").join(set.folder());
            let mut prompts = self.prompts.iter().filter(|prompt| is_meant(prompt));
            prompts.try_for_each(|prompt| remove_up_to(&set.join(slug(prompt)), self.images.unwrap_or(1)))?;
        }
        Ok(())
    }
}

/// Removes the folders of `samples/` that are empty.
fn remove_all_empty(run: &Path) -> io::Result<()> {
    let samples = run.join("samples");
    for set in SampleSet::found(run)? {
        remove_empty(&samples.join(set.folder()))?;
    }
    remove_empty(&samples)
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
