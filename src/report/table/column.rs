//! The table's columns: the one list of what the CSV and the forms for readers hold.
//!
//! In: a run, and the figures that were published for its experiment. Out: [`COLUMNS`]. To add a
//! column, add its entry; its rank says which columns a narrow terminal leaves out before it.

use super::cell::Cell;
use crate::config::Reference;
use crate::report::fidelity::Change;
use crate::report::runs::Run;

/// What a row is about.
pub(super) enum Subject<'a> {
    /// A run of this program.
    Run(&'a Run),
    /// What was published for the experiment of a run.
    Reference(&'a Run, &'a Reference),
}

/// Which side a column's cells keep to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// A column.
pub(super) struct Column {
    /// Its name in the CSV, with the unit.
    pub key: &'static str,
    /// Its name for readers; a column without one is in the CSV only.
    pub heading: Option<&'static str>,
    pub align: Align,
    pub value: fn(&Subject) -> Cell,
    /// The CSV's name of the same before training, of a metric; it stands beside the column.
    pub base: Option<&'static str>,
    /// The CSV's name of this column divided by the baseline's, where that says something. The CSV
    /// has the ratios behind all columns, readers have them beside their number.
    pub ratio: Option<&'static str>,
    /// How long it stays where a terminal is too narrow for all: the largest leaves first.
    pub rank: u8,
}

/// A metric by an encoder, before and after training.
macro_rules! metric {
    ($metric:literal, $encoder:literal) => {
        number(concat!($encoder, "_", $metric), concat!($metric, " (", $encoder, ")"), |of| {
            Cell::Change(of.change($encoder, $metric))
        })
        .with_base(concat!($encoder, "_", $metric, "_base"))
    };
}

pub(super) const COLUMNS: &[Column] = &[
    text("kind", "kind", kind).csv_only(),
    text("name", "run", |of| match of {
        Subject::Run(run) => Cell::Text(run.name().to_owned()),
        Subject::Reference(_, figures) => Cell::Text(figures.label.clone()),
    }),
    text("method", "method", method).with_rank(1),
    number("trained_parameters", "trained parameters", |of| match of {
        Subject::Run(run) => Cell::Count(run.record.counts.trained_parameters),
        Subject::Reference(_, figures) => Cell::some(Cell::Count, figures.trained_parameters),
    })
    .with_ratio("trained_parameters_ratio")
    .with_rank(5),
    number("total_parameters", "total parameters", |of| of.run(|run| Cell::Count(run.record.counts.total_parameters)))
        .with_rank(16),
    csv_only("images", |of| of.run(|run| Cell::Count(run.record.counts.images as u64))),
    csv_only("steps", |of| of.run(|run| Cell::Count(run.record.counts.steps as u64))),
    number("training_seconds", "training time", |of| match of {
        Subject::Run(run) => Cell::Duration(run.record.seconds.training),
        Subject::Reference(_, figures) => Cell::some(Cell::Duration, figures.seconds),
    })
    .with_ratio("training_seconds_ratio")
    .with_rank(7),
    number("total_seconds", "total time", |of| of.run(|run| Cell::Duration(run.record.seconds.total))).with_rank(15),
    number("seconds_per_step", "s/it", |of| match of {
        Subject::Run(run) => Cell::SecondsPerStep(run.record.seconds.per_step),
        Subject::Reference(_, figures) => Cell::some(Cell::SecondsPerStep, figures.seconds_per_step),
    })
    .with_ratio("seconds_per_step_ratio")
    .with_rank(6),
    number("final_loss", "final loss", |of| of.run(|run| Cell::some(Cell::Loss, run.record.loss.last))).with_rank(9),
    csv_only("eval_loss_first", |of| of.run(|run| Cell::some(Cell::Loss, run.record.loss.eval_first))),
    number("eval_loss_last", "eval loss", |of| of.run(|run| Cell::some(Cell::Loss, run.record.loss.eval_last)))
        .with_rank(2),
    metric!("subject", "builtin").with_rank(3),
    metric!("prompt", "builtin").with_rank(4),
    metric!("pres", "builtin").with_rank(12),
    metric!("diversity", "builtin").with_rank(13),
    metric!("nearest", "builtin").csv_only(),
    metric!("dino", "dino_vits16").with_rank(3),
    metric!("pres", "dino_vits16").with_rank(12),
    metric!("diversity", "dino_vits16").with_rank(13),
    metric!("nearest", "dino_vits16").csv_only(),
    metric!("clip_i", "clip_vit_b32").with_rank(10),
    metric!("clip_t", "clip_vit_b32").with_rank(4),
    metric!("pres", "clip_vit_b32").csv_only(),
    metric!("diversity", "clip_vit_b32").csv_only(),
    metric!("nearest", "clip_vit_b32").csv_only(),
    metric!("clip_i", "clip_vit_l14").with_rank(11),
    metric!("clip_t", "clip_vit_l14").with_rank(11),
    metric!("pres", "clip_vit_l14").csv_only(),
    metric!("diversity", "clip_vit_l14").csv_only(),
    metric!("nearest", "clip_vit_l14").csv_only(),
    number("peak_host_mib", "host memory", |of| {
        of.run(|run| Cell::some(Cell::Memory, run.record.peak_memory.host_mib))
    })
    .with_ratio("peak_host_ratio")
    .with_rank(8),
    number("peak_device_mib", "GPU memory", |of| {
        of.run(|run| Cell::some(Cell::Memory, run.record.peak_memory.device_mib))
    })
    .with_ratio("peak_device_ratio")
    .with_rank(8),
    text("device", "device", |of| match of {
        Subject::Run(run) => Cell::Text(run.device()),
        Subject::Reference(_, figures) => Cell::some(Cell::Text, figures.device.clone()),
    })
    .with_rank(14),
];

impl Subject<'_> {
    /// What only a run of this program has.
    fn run(&self, value: impl Fn(&Run) -> Cell) -> Cell {
        match self {
            Self::Run(run) => value(run),
            Self::Reference(..) => Cell::Empty,
        }
    }

    /// A metric over all prompts. What was published is of the tuned model.
    fn change(&self, encoder: &str, metric: &str) -> Change {
        let figures = match self {
            Self::Run(run) => {
                let of = |metrics| Change::of(metrics, encoder, metric, None);
                return run.record.metrics.as_ref().map_or(Change::default(), of);
            }
            Self::Reference(_, figures) => figures,
        };
        let tuned = match (encoder, metric) {
            ("dino_vits16", "dino") => figures.dino,
            ("dino_vits16", "pres") => figures.pres,
            ("clip_vit_b32", "clip_i") => figures.clip_i,
            ("clip_vit_b32", "clip_t") => figures.clip_t,
            _ => None,
        };
        Change { base: None, tuned }
    }
}

impl Column {
    const fn new(key: &'static str, heading: Option<&'static str>, align: Align, value: fn(&Subject) -> Cell) -> Self {
        Self { key, heading, align, value, base: None, ratio: None, rank: u8::MAX }
    }

    const fn with_ratio(self, key: &'static str) -> Self {
        Self { ratio: Some(key), ..self }
    }

    const fn with_base(self, key: &'static str) -> Self {
        Self { base: Some(key), ..self }
    }

    const fn with_rank(self, rank: u8) -> Self {
        Self { rank, ..self }
    }

    const fn csv_only(self) -> Self {
        Self { heading: None, ..self }
    }
}

const fn text(key: &'static str, heading: &'static str, value: fn(&Subject) -> Cell) -> Column {
    Column::new(key, Some(heading), Align::Left, value)
}

const fn number(key: &'static str, heading: &'static str, value: fn(&Subject) -> Cell) -> Column {
    Column::new(key, Some(heading), Align::Right, value)
}

const fn csv_only(key: &'static str, value: fn(&Subject) -> Cell) -> Column {
    Column::new(key, None, Align::Right, value)
}

fn kind(of: &Subject) -> Cell {
    let kind = match of {
        Subject::Run(run) if run.record.stand_in.is_some() => "stand-in",
        Subject::Run(_) => "run",
        Subject::Reference(..) => "reference",
    };
    Cell::Text(kind.to_owned())
}

/// A stand-in is marked on its row, whatever its name is.
fn method(of: &Subject) -> Cell {
    match of {
        Subject::Run(run) if run.record.stand_in.is_some() => Cell::StandIn(run.record.method.clone()),
        Subject::Run(run) | Subject::Reference(run, _) => Cell::Text(run.record.method.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_that_readers_see_but_the_name_has_a_rank() {
        let shown = COLUMNS.iter().filter(|column| column.heading.is_some() && column.key != "name");
        let without: Vec<&str> = shown.filter(|column| column.rank == u8::MAX).map(|column| column.key).collect();
        assert!(without.is_empty(), "{without:?}");
    }
}
