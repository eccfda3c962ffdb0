//! The event file for TensorBoard of a run whose plan asks for one.
//!
//! In: a run under way, or a finished one. Out: the file, open for what comes, or whole.

use std::time::{SystemTime, UNIX_EPOCH};

use super::experiment::Experiment;
use crate::error::Result;
use crate::results::{EventFile, RunRecord, SampleSet, TENSORBOARD};

impl Experiment<'_> {
    /// Begins the file with what there is up to step `done`.
    pub(super) fn event_file(&self, done: usize) -> Result<Option<EventFile>> {
        if !self.plan.log.tensorboard {
            return Ok(None);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |now| now.as_secs_f64());
        EventFile::begin(self.run, &self.plan.to_toml(), now - self.total_seconds(), done).map(Some)
    }

    /// As [`Self::event_file`], with the images of the end, of a training that is done.
    pub(super) fn whole_event_file(&self, record: &RunRecord) -> Result<Option<EventFile>> {
        let steps = record.counts.steps;
        let mut events = self.event_file(steps)?;
        events.as_mut().map_or(Ok(()), |events| events.images(SampleSet::Final, steps))?;
        Ok(events)
    }

    /// Makes the file of a finished run, which was run without it.
    pub(super) fn log_finished(&self) -> Result<()> {
        if !self.plan.log.tensorboard || self.run.path().join(TENSORBOARD).is_dir() {
            return Ok(());
        }
        let record = self.run.record()?;
        let events = self.whole_event_file(&record)?;
        events.map_or(Ok(()), |events| events.end(record.metrics.as_ref(), record.seconds.total))
    }
}
