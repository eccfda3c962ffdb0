//! The results tree as the server tells of it.
//!
//! In: a results folder. Out: the page, and what its script asks for again and again. What did not change since it was read is not
//! read again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fs_err as fs;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::hash::sha256;
use crate::report::page::{Page, RunView};
use crate::report::runs::{Folder, Run, Runs};
use crate::report::table::Table;
use crate::results::RUN_JSON;

use super::answer::Answer;

/// However many ask, the tree is read once in this time.
const FRESH: Duration = Duration::from_secs(1);

/// A results tree.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    known: Mutex<Known>,
}

/// What was read.
#[derive(Debug, Default)]
struct Known {
    /// Finished runs by their folders, as long as their records stay the same.
    finished: HashMap<PathBuf, (Stamp, RunView)>,
    /// The newest data with its tag, and when it was read.
    newest: Option<(Instant, String, String)>,
}

/// A file's length and time.
type Stamp = (u64, Option<SystemTime>);

/// What the script asks for.
#[derive(Serialize)]
struct Data<'a> {
    runs: &'a [RunView],
    /// Seconds since 1970, by this machine's clock.
    now: u64,
}

impl Tree {
    /// The tree in a folder.
    ///
    /// # Errors
    /// Wrong input: it is no folder.
    pub fn open(results: &Path) -> Result<Self> {
        let root = fs::canonicalize(results).ok().filter(|root| root.is_dir()).ok_or_else(|| {
            Error::input(format!("there is no results folder {}", results.display()))
                .hint("run an experiment first, or name another folder with --results DIR")
        })?;
        Ok(Self { root, known: Mutex::default() })
    }

    /// Its folder, without links.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The page.
    pub(super) fn page(&self) -> Answer {
        let page = || -> Result<String> {
            let runs = self.runs()?;
            let table = Table::new(&runs.finished, None)?;
            Ok(Page::new(&self.root, &runs, &table).followed(&runs).to_html())
        };
        match page() {
            Ok(text) => Answer::ours("text/html; charset=utf-8", text.into_bytes(), None),
            Err(error) => Answer::refusal(500, &error.line()),
        }
    }

    /// The data, as JSON.
    pub(super) fn data(&self) -> Answer {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_fresh = known.newest.as_ref().is_some_and(|(read, ..)| read.elapsed() < FRESH);
        if !is_fresh {
            match self.runs().and_then(|runs| known.read(&runs)) {
                Ok(newest) => known.newest = Some(newest),
                Err(error) => return Answer::refusal(500, &error.line()),
            }
        }
        let Some((_, tag, text)) = &known.newest else { return Answer::refusal(500, "nothing was read") };
        Answer::ours("application/json", text.clone().into_bytes(), Some(tag.clone()))
    }

    /// A run that cannot be read is left out, as it may be half written; so is one that a link leads out of the tree to.
    fn runs(&self) -> Result<Runs> {
        let mut runs = Runs::read(&self.root, &mut |_| {})?;
        let is_within = |path: &Path| fs::canonicalize(path).is_ok_and(|path| path.starts_with(&self.root));
        runs.finished.retain(|run| is_within(&run.path));
        runs.unfinished.retain(|path| is_within(path));
        Ok(runs)
    }
}

impl Known {
    fn read(&mut self, runs: &Runs) -> Result<(Instant, String, String)> {
        let all = runs.finished.len() + runs.unfinished.len();
        let mut views: Vec<RunView> = runs.finished.iter().map(|run| self.finished(run, all)).collect();
        views
            .extend(runs.unfinished.iter().filter_map(|path| Some(RunView::under_way(&Folder::open(path).ok()?, all))));
        let failed = |e: serde_json::Error| Error::run("the data cannot be written").cause(e);
        let tag = format!("\"{}\"", &sha256(&serde_json::to_vec(&views).map_err(failed)?)[..16]);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let text = serde_json::to_string(&Data { runs: &views, now }).map_err(failed)?;
        Ok((Instant::now(), tag, text))
    }

    fn finished(&mut self, run: &Run, all: usize) -> RunView {
        let stamp = stamp(&run.path.join(RUN_JSON));
        match self.finished.get(&run.path) {
            Some((known, view)) if *known == stamp => view.clone(),
            _ => {
                let view = RunView::of(run, all);
                self.finished.insert(run.path.clone(), (stamp, view.clone()));
                view
            }
        }
    }
}

fn stamp(file: &Path) -> Stamp {
    fs::metadata(file).map_or((0, None), |found| (found.len(), found.modified().ok()))
}
