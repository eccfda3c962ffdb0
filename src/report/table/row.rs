//! A row of the table: a run's numbers, or those that a report gives for the same experiment.

use crate::config::Reference;
use crate::report::runs::Run;

/// Whose numbers a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A run of this program.
    Run,
    /// A run of this program with another model and other pictures than its experiment names.
    StandIn,
    /// Figures that were published for the same experiment.
    Reference,
}

/// Numbers as they were written, `None` where there is none.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the CSV's columns, units included")]
pub struct Row {
    pub kind: Kind,
    pub name: String,
    pub method: String,
    pub trained_parameters: Option<u64>,
    pub total_parameters: Option<u64>,
    pub images: Option<usize>,
    pub steps: Option<usize>,
    pub training_seconds: Option<f64>,
    pub total_seconds: Option<f64>,
    pub seconds_per_step: Option<f64>,
    pub final_loss: Option<f32>,
    pub eval_loss_first: Option<f32>,
    pub eval_loss_last: Option<f32>,
    pub peak_host_mib: Option<f64>,
    pub peak_device_mib: Option<f64>,
    pub device: Option<String>,
    pub ratios: Ratios,
}

/// The row's numbers divided by the baseline's.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[expect(missing_docs, reason = "the names are those of the row's numbers")]
pub struct Ratios {
    pub trained_parameters: Option<f64>,
    pub training_seconds: Option<f64>,
    pub seconds_per_step: Option<f64>,
    pub peak_host: Option<f64>,
    pub peak_device: Option<f64>,
}

impl Row {
    /// A run's row, without ratios.
    pub(super) fn of_run(run: &Run) -> Self {
        let record = &run.record;
        Self {
            kind: if record.stand_in.is_some() { Kind::StandIn } else { Kind::Run },
            name: record.name.clone(),
            method: record.method.clone(),
            trained_parameters: Some(record.counts.trained_parameters),
            total_parameters: Some(record.counts.total_parameters),
            images: Some(record.counts.images),
            steps: Some(record.counts.steps),
            training_seconds: Some(record.seconds.training),
            total_seconds: Some(record.seconds.total),
            seconds_per_step: Some(record.seconds.per_step),
            final_loss: record.loss.last,
            eval_loss_first: record.loss.eval_first,
            eval_loss_last: record.loss.eval_last,
            peak_host_mib: record.peak_memory.host_mib,
            peak_device_mib: record.peak_memory.device_mib,
            device: Some(run.device()),
            ratios: Ratios::default(),
        }
    }

    /// The row of a run's reference, without ratios.
    pub(super) fn of_reference(run: &Run, figures: &Reference) -> Self {
        Self {
            kind: Kind::Reference,
            name: figures.label.clone(),
            method: run.record.method.clone(),
            trained_parameters: figures.trained_parameters,
            total_parameters: None,
            images: None,
            steps: None,
            training_seconds: figures.seconds,
            total_seconds: None,
            seconds_per_step: figures.seconds_per_step,
            final_loss: None,
            eval_loss_first: None,
            eval_loss_last: None,
            peak_host_mib: None,
            peak_device_mib: None,
            device: figures.device.clone(),
            ratios: Ratios::default(),
        }
    }

    /// The row with its ratios to `baseline`; nothing to compare with gives none, and a stand-in is compared with stand-ins
    /// only.
    pub(super) fn against(mut self, baseline: Option<&Self>) -> Self {
        let Some(baseline) = baseline.filter(|baseline| baseline.kind == self.kind) else { return self };
        let ratio = |mine: Option<f64>, theirs: Option<f64>| Some(mine? / theirs?).filter(|ratio| ratio.is_finite());
        let count = |count: Option<u64>| count.map(|count| count as f64);
        self.ratios = Ratios {
            trained_parameters: ratio(count(self.trained_parameters), count(baseline.trained_parameters)),
            training_seconds: ratio(self.training_seconds, baseline.training_seconds),
            seconds_per_step: ratio(self.seconds_per_step, baseline.seconds_per_step),
            peak_host: ratio(self.peak_host_mib, baseline.peak_host_mib),
            peak_device: ratio(self.peak_device_mib, baseline.peak_device_mib),
        };
        self
    }
}
