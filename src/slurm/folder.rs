//! `results/.slurm/NAME/`: what an experiment's jobs need and leave.
//!
//! ```text
//! results/.slurm/sweep_lora/
//!   job.sh         the script of every job of the array, as it was submitted last
//!   report.sh      the script of the job that writes the report
//!   runs.txt       a run a line; its place, from 0, is its index in the array. Lines are added, never moved
//!   plans/RUN.toml what is run: the resolved plan
//!   submitted.txt  what was submitted: job, offset, indices
//!   logs/          what each job said: INDEX.log, of later arrays INDEX+OFFSET.log
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use fs_err as fs;

use super::indices::{self, Array};
use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::results::{run_folder, write_atomic};

/// In the results folder.
const SLURM: &str = ".slurm";

/// An experiment's folder, and the runs that it lists.
pub(super) struct Folder {
    pub path: PathBuf,
    /// The experiment's name.
    pub name: String,
    /// The folders of the runs, by their indices.
    runs: Vec<String>,
    places: HashMap<String, usize>,
}

impl Folder {
    /// That of the experiment `name`, whether it is there or not.
    ///
    /// # Errors
    /// Its list cannot be read.
    pub fn read(results: &Path, name: &str) -> Result<Self> {
        // Jobs may begin in another folder.
        let results = std::path::absolute(results).unwrap_or_else(|_| results.to_owned());
        let results = fs::canonicalize(&results).unwrap_or(results);
        let path = results.join(SLURM).join(run_folder(name));
        let list = path.join("runs.txt");
        let text = if list.is_file() { fs::read_to_string(&list)? } else { String::new() };
        let runs: Vec<String> = text.lines().map(str::to_owned).collect();
        let places = runs.iter().cloned().enumerate().map(|(at, run)| (run, at)).collect();
        Ok(Self { path, name: name.to_owned(), runs, places })
    }

    /// The place of a run in the list.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.places.get(&run_folder(name)).copied()
    }

    /// The place of a run, which is added to the list if it is not there.
    pub fn add(&mut self, name: &str) -> usize {
        let run = run_folder(name);
        let next = self.runs.len();
        *self.places.entry(run.clone()).or_insert_with(|| {
            self.runs.push(run);
            next
        })
    }

    /// Writes the list.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_list(&self) -> Result<()> {
        fs::create_dir_all(self.logs())?;
        let lines: String = self.runs.iter().flat_map(|run| [run, "\n"]).collect();
        write_atomic(&self.path.join("runs.txt"), lines.as_bytes())
    }

    /// Where a run's plan lies.
    pub fn plan(&self, name: &str) -> PathBuf {
        self.path.join("plans").join(format!("{}.toml", run_folder(name)))
    }

    /// The plan of a run as it was submitted last; `None` if it never was.
    pub fn submitted_plan(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.plan(name)).ok()
    }

    pub fn script(&self) -> PathBuf {
        self.path.join("job.sh")
    }

    pub fn report_script(&self) -> PathBuf {
        self.path.join("report.sh")
    }

    pub fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// The name of the logs of an array's jobs, in which Slurm puts the index in place of `%a`.
    pub fn log_pattern(&self, offset: usize) -> String {
        let logs = self.logs().display().to_string().replace('%', "%%");
        let behind = if offset == 0 { String::new() } else { format!("+{offset}") };
        format!("{logs}/%a{behind}.log")
    }

    /// The log of the run at a place: that of a job that was written to last.
    pub fn log(&self, place: usize) -> Option<PathBuf> {
        let of_place = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".log"));
            let (index, offset) = name.map(|name| name.split_once('+').unwrap_or((name, "0"))).unwrap_or_default();
            matches!((index.parse::<usize>(), offset.parse::<usize>()), (Ok(index), Ok(offset)) if index + offset == place)
        };
        let plain = self.logs().join(format!("{place}.log"));
        if plain.is_file() {
            return Some(plain);
        }
        let entries = fs::read_dir(self.logs()).ok()?.filter_map(std::io::Result::ok);
        let newest = |path: &PathBuf| fs::metadata(path).and_then(|of| of.modified()).ok();
        entries.map(|entry| entry.path()).filter(of_place).max_by_key(newest)
    }

    /// The name of the jobs: the same for the same folder alone.
    pub fn job_name(&self) -> String {
        let plain = run_folder(&self.name);
        format!("tunelab-{plain}-{}", &sha256(self.path.display().to_string().as_bytes())[..8])
    }

    /// Notes down that an array was submitted.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note_submitted(&self, job: &str, array: &Array) -> Result<()> {
        let path = self.path.join("submitted.txt");
        let before = if path.is_file() { fs::read_to_string(&path)? } else { String::new() };
        let text = format!("{before}{job} {} {}\n", array.offset, array.indices);
        write_atomic(&path, text.as_bytes())
    }

    /// The places of all runs that were ever submitted, each with its last job, as `scancel` takes it.
    pub fn submitted(&self) -> HashMap<usize, String> {
        let text = fs::read_to_string(self.path.join("submitted.txt")).unwrap_or_default();
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (job, offset, indices) = (words.next()?, words.next()?.parse::<usize>().ok()?, words.next()?);
            let of = |place: usize| (place, format!("{job}_{}", place - offset));
            Some(indices::places(offset, indices).map(of).collect::<Vec<_>>())
        };
        text.lines().filter_map(line).flatten().collect()
    }

    /// Refuses what the list cannot hold.
    pub fn check(&self) -> Result<()> {
        let text = self.path.display().to_string();
        if text.contains(['\n', '"', '\'', '\\']) {
            return Err(Error::input(format!("a batch script cannot name {text}"))
                .hint("give --results a folder without quotes, backslashes and line ends in its name"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_their_places_when_the_list_grows() {
        let results = tempfile::tempdir().unwrap();
        let mut folder = Folder::read(results.path(), "a").unwrap();
        assert_eq!((folder.place("x"), folder.add("x"), folder.add("y/z"), folder.add("x")), (None, 0, 1, 0));
        folder.write_list().unwrap();
        let mut folder = Folder::read(results.path(), "a").unwrap();
        assert_eq!((folder.add("w"), folder.place("y/z"), folder.place("x")), (2, Some(1), Some(0)));
        let other = Folder::read(results.path(), "b").unwrap();
        assert!(other.job_name() != folder.job_name() && folder.job_name().starts_with("tunelab-a-"));
    }

    #[test]
    fn logs_are_found_by_place_and_arrays_add_up() {
        let results = tempfile::tempdir().unwrap();
        let folder = Folder::read(results.path(), "a").unwrap();
        folder.write_list().unwrap();
        for name in ["3.log", "3+1000.log", "report.log"] {
            fs::write(folder.logs().join(name), "").unwrap();
        }
        assert!(folder.log_pattern(1000).ends_with("/.slurm/a/logs/%a+1000.log"));
        assert_eq!(folder.log(3), Some(folder.logs().join("3.log")));
        assert_eq!(folder.log(1003), Some(folder.logs().join("3+1000.log")));
        assert_eq!(folder.log(4), None);
        let array = |offset, indices: &str| Array { offset, indices: indices.to_owned(), count: 0 };
        folder.note_submitted("7", &array(0, "0-1,3")).unwrap();
        folder.note_submitted("9", &array(1000, "1")).unwrap();
        folder.note_submitted("12", &array(0, "1")).unwrap();
        let submitted = folder.submitted();
        let job = |place: usize| submitted.get(&place).map(String::as_str);
        assert_eq!([0, 1, 2, 3, 1001].map(job), [Some("7_0"), Some("12_1"), None, Some("7_3"), Some("9_1")]);
    }
}
