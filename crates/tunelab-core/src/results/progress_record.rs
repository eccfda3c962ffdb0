//! `progress.json`: how far a run is, for whoever watches it from another process or another
//! machine.
//!
//! In: the progress of the run under way. Out: the file, written anew when a phase begins and every
//! two seconds, also while nothing moves, so that `updated` tells a run that computes from one that
//! was killed; gone when the run has come to its end, and with its last state where it has not. It
//! is no result: nothing compares it, and what cannot be written or read of it stops nothing.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use super::{RunDir, files};
use crate::error::Error;
use crate::progress::{Progress, Snapshot};

/// How far a run is.
pub const PROGRESS_JSON: &str = "progress.json";

/// Between two writings within a phase.
const PAUSE: Duration = Duration::from_secs(2);

/// Enough for a thread that writes a small file.
const STACK: usize = 256 << 10;

/// How far a run is, as `progress.json` holds it. Later versions may add to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunProgressRecord {
    /// What it does now: `training`.
    pub phase: String,
    /// Units of this phase that are done.
    #[serde(default)]
    pub done: u64,
    /// All units of this phase.
    #[serde(default)]
    pub total: u64,
    /// Such as `loss 0.0123`.
    #[serde(default)]
    pub message: String,
    /// Of the whole run, from 0 to 1.
    #[serde(default)]
    pub fraction: f64,
    /// Until the run's end, once that can be known.
    #[serde(default)]
    pub seconds_left: Option<f64>,
    /// What a unit of this phase takes.
    #[serde(default)]
    pub seconds_per_unit: Option<f64>,
    /// What this process has warned of so far.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// When this process took the run up, in seconds since 1970.
    #[serde(default)]
    pub begun: f64,
    /// When this was written, likewise.
    #[serde(default)]
    pub updated: f64,
    /// Whether the run goes on.
    pub state: RunState,
    /// Why it does not.
    #[serde(default)]
    pub error: Option<String>,
}

/// Whether a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// It did when this was written.
    Running,
    /// It could not.
    Failed,
    /// It was asked to stop.
    Interrupted,
}

impl RunProgressRecord {
    /// Of the run in this folder; `None` where there is no such file, or one that cannot be read. A
    /// run that was killed leaves one that says `running`.
    pub fn read(run: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(run.join(PROGRESS_JSON)).ok()?).ok()
    }

    fn of(seen: &Snapshot) -> Self {
        Self {
            phase: seen.phase.clone(),
            done: seen.done,
            total: seen.total,
            message: seen.message.clone(),
            fraction: seen.fraction,
            seconds_left: seen.seconds_left,
            seconds_per_unit: seen.seconds_per_unit,
            warnings: seen.warnings.clone(),
            begun: seen.begun,
            updated: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64()),
            state: RunState::Running,
            error: None,
        }
    }

    fn write(&self, path: &Path) {
        if let Ok(json) = serde_json::to_vec(self) {
            // A full disk is no reason to end a run because of this.
            let _ = files::replace(path, &json);
        }
    }
}

/// Writes `progress.json` while a run is under way, from a thread of its own: a slow disk does not
/// hold up the run, and a long step does not hold up the file.
#[derive(Debug)]
pub struct ProgressFile {
    path: PathBuf,
    writer: Option<JoinHandle<()>>,
}

impl ProgressFile {
    /// Begins to write, about the run that `progress` has begun.
    pub fn begin(run: &RunDir, progress: &Progress) -> Self {
        let path = run.path().join(PROGRESS_JSON);
        let (target, progress) = (path.clone(), progress.clone());
        let write = move || {
            while let Some(seen) = progress.snapshot() {
                RunProgressRecord::of(&seen).write(&target);
                progress.wait(seen.phases, PAUSE);
            }
        };
        // Without room for another thread the run goes on unwatched.
        let thread = thread::Builder::new().name("progress".into()).stack_size(STACK);
        Self { path, writer: thread.spawn(write).ok() }
    }

    /// Ends the writing, once the run is no more under way: `last` is what was seen of it last, and
    /// `error` why it ended, if it did not come to its end.
    pub fn end(mut self, last: Option<&Snapshot>, error: Option<&Error>) {
        self.stop();
        match (last, error) {
            (Some(last), Some(error)) => {
                let state = if error.is_interrupted() { RunState::Interrupted } else { RunState::Failed };
                let line = Some(error.line()).filter(|_| state == RunState::Failed);
                let record =
                    RunProgressRecord { state, error: line, seconds_left: None, ..RunProgressRecord::of(last) };
                record.write(&self.path);
            }
            _ => drop(fs::remove_file(&self.path)),
        }
    }

    fn stop(&mut self) {
        if let Some(writer) = self.writer.take() {
            // It cannot have panicked in a way that the run should end for.
            let _ = writer.join();
        }
    }
}

impl RunDir {
    /// Removes what a process that was killed at its very end said of its progress.
    pub fn forget_progress(&self) {
        let _ = fs::remove_file(self.path.join(PROGRESS_JSON));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_as_it_was_agreed_on_and_what_is_unknown_is_passed_over() {
        let record = RunProgressRecord {
            phase: "training".into(),
            done: 12,
            total: 600,
            message: "loss 0.1234".into(),
            fraction: 0.31,
            seconds_left: Some(123.4),
            seconds_per_unit: None,
            warnings: vec!["mind the gap".into()],
            begun: 1.0,
            updated: 2.5,
            state: RunState::Running,
            error: None,
        };
        let text = r#"{"phase":"training","done":12,"total":600,"message":"loss 0.1234","fraction":0.31,"seconds_left":123.4,"seconds_per_unit":null,"warnings":["mind the gap"],"begun":1.0,"updated":2.5,"state":"running","error":null}"#;
        assert_eq!(serde_json::to_string(&record).unwrap(), text);
        let newer = text.replace("\"done\":12", "\"done\":12,\"later\":{\"a\":[1]}");
        assert_eq!(serde_json::from_str::<RunProgressRecord>(&newer).unwrap(), record);
        let least: RunProgressRecord = serde_json::from_str(r#"{"phase":"a","state":"interrupted"}"#).unwrap();
        assert_eq!((least.state, least.seconds_left), (RunState::Interrupted, None));
    }

    #[test]
    fn it_follows_the_run_and_stays_where_the_run_did_not_come_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir { path: folder.path().to_path_buf(), _lock: None };
        let progress = Progress::hidden();
        let wait_for = |phase: &str| {
            for _ in 0..500 {
                if RunProgressRecord::read(run.path()).is_some_and(|record| record.phase == phase) {
                    return;
                }
                thread::sleep(Duration::from_millis(2));
            }
            panic!("no {phase}");
        };
        for error in
            [None, Some(Error::run("no more").cause("room")), Some(Error::interrupted(crate::error::Stop::Interrupt))]
        {
            let whole = progress.begin_run("a");
            let file = ProgressFile::begin(&run, &progress);
            wait_for("loading");
            let bar = progress.bar("training", 5);
            // A phase is not waited two seconds for.
            wait_for("training");
            bar.inc(2);
            let last = progress.snapshot();
            whole.end(if error.is_some() { crate::progress::Ended::Failed } else { crate::progress::Ended::Done });
            file.end(last.as_ref(), error.as_ref());
            let left = RunProgressRecord::read(run.path());
            let Some(error) = error else {
                assert_eq!(left, None);
                continue;
            };
            let left = left.unwrap();
            assert_eq!((left.done, left.total), (2, 5));
            if error.is_interrupted() {
                assert_eq!((left.state, left.error), (RunState::Interrupted, None));
            } else {
                assert_eq!((left.state, left.error.as_deref()), (RunState::Failed, Some("no more: room")));
            }
        }
        fs::write(folder.path().join(PROGRESS_JSON), "{\"phase\": 3").unwrap();
        assert_eq!(RunProgressRecord::read(run.path()), None);
        run.forget_progress();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_written_stops_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir { path: folder.path().join("gone"), _lock: None };
        let progress = Progress::hidden();
        let whole = progress.begin_run("a");
        let file = ProgressFile::begin(&run, &progress);
        let last = progress.snapshot();
        whole.end(crate::progress::Ended::Failed);
        file.end(last.as_ref(), Some(&Error::run("no more")));
        assert!(!folder.path().join("gone").exists());
    }
}
