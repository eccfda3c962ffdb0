//! What becomes of the experiments of a command.
//!
//! In: a plan or what is wrong with its file, and the end of its run. Out: plain values, which one run after the other (`room`), several at once
//! (`jobs`) and a run in a process of its own (`job`) tell of.

use crate::config::{Plan, Planned};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What became of an experiment.
pub(super) enum Outcome {
    Done,
    DrawnAgain,
    AlreadyDone,
    NotRun,
    /// Another process has it.
    Taken,
    Failed(Error),
}

/// What is done about a run that another process has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum IfTaken {
    /// It is an error.
    Refuse,
    /// Others come first.
    PassOver,
    /// It is waited for: it may be done then, or not, if that process ended before its end.
    Wait,
}

/// An experiment's folder (its file and variant, if those could not be read), what became of it,
/// and whether it is a stand-in.
pub(super) struct Line {
    pub place: PathBuf,
    pub outcome: Outcome,
    pub stand_in: bool,
}

/// An experiment before its turn: its file and variant, and its plan or what is wrong.
pub(super) type Waiting = (PathBuf, Result<Planned>);

/// What is to be run; `why` where it is a stand-in.
pub(super) struct Chosen {
    pub plan: Plan,
    pub why: Option<String>,
}

/// Of an experiment that could not be read.
pub(super) fn failed_already((place, plan): Waiting) -> Line {
    Line { place, outcome: plan.err().map_or(Outcome::NotRun, Outcome::Failed), stand_in: false }
}

/// Behind the folder of a stand-in.
pub(super) fn mark(stand_in: bool) -> &'static str {
    if stand_in { " (STAND-IN)" } else { "" }
}

impl Line {
    pub fn is_interrupted(&self) -> bool {
        matches!(&self.outcome, Outcome::Failed(error) if error.is_interrupted())
    }

    pub fn error(self) -> Option<Error> {
        if let Outcome::Failed(error) = self.outcome { Some(error) } else { None }
    }
}

impl Outcome {
    /// Whether there is a finished run.
    pub fn is_there(&self) -> bool {
        matches!(self, Self::Done | Self::DrawnAgain | Self::AlreadyDone)
    }

    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::DrawnAgain => "drawn again",
            Self::AlreadyDone => "already done",
            Self::NotRun | Self::Taken => "not run",
            Self::Failed(error) if error.is_interrupted() => "interrupted",
            Self::Failed(_) => "failed",
        }
    }
}
