//! `timing.csv`: how long each step took, how busy a GPU was meanwhile, and the memory and the time
//! of the whole run so far.
//!
//! In: a step's numbers; or the file, which may be short, damaged or not there. Out: its rows; and
//! what the processes that worked on a run have spent together. Nothing compares these numbers, so
//! what cannot be read of them stops nothing.

use std::path::Path;

use fs_err as fs;

use super::RunDir;

/// How long the steps took.
pub const TIMING_CSV: &str = "timing.csv";

/// Its columns.
pub(super) const COLUMNS: [&str; 7] =
    ["step", "seconds", "memory_mib", "peak_mib", "total_seconds", "device_peak_mib", "device_busy_percent"];

/// What one optimizer step took.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// The step itself.
    pub seconds: f64,
    /// The memory in use after it, MiB, where that is known.
    pub memory_mib: Option<f64>,
    /// The most memory that the process had in use so far, MiB, where that is known.
    pub peak_mib: Option<f64>,
    /// Everything since the run's beginning, in all processes.
    pub total_seconds: f64,
    /// The most memory that was in use on a GPU so far, MiB.
    pub device_peak_mib: Option<f64>,
    /// The share of the step during which a GPU computed, in per cent, where its driver tells.
    pub device_busy_percent: Option<f64>,
}

impl Timing {
    pub(super) fn cells(&self, step: usize) -> [String; COLUMNS.len()] {
        let known = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.1}"));
        let [seconds, total] = [self.seconds, self.total_seconds].map(|seconds| format!("{seconds:.6}"));
        let [memory, peak] = [self.memory_mib, self.peak_mib].map(known);
        let [device_peak, device_busy] = [self.device_peak_mib, self.device_busy_percent].map(known);
        [step.to_string(), seconds, memory, peak, total, device_peak, device_busy]
    }
}

/// The rows of a run's `timing.csv` that can be read, each with its step.
pub(super) fn rows(run: &Path) -> Vec<(usize, Timing)> {
    let bytes = fs::read(run.join(TIMING_CSV)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    // A killed run may leave a last row without its end.
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).filter_map(row).collect()
}

fn row(line: &str) -> Option<(usize, Timing)> {
    let mut cells = line.trim_end().split(',');
    let step = cells.next()?.parse().ok()?;
    let mut number = || cells.next()?.parse::<f64>().ok().filter(|value| value.is_finite());
    let seconds = number()?;
    let (memory_mib, peak_mib) = (number(), number());
    let (total_seconds, device_peak_mib, device_busy_percent) = (number().unwrap_or(0.0), number(), number());
    Some((step, Timing { seconds, memory_mib, peak_mib, total_seconds, device_peak_mib, device_busy_percent }))
}

/// How busy a GPU was during all steps of which it is known, by their length.
pub(super) fn device_busy_percent(rows: &[(usize, Timing)]) -> Option<f64> {
    let known = || rows.iter().filter_map(|(_, row)| Some((row.seconds, row.device_busy_percent?)));
    let seconds: f64 = known().map(|(seconds, _)| seconds).sum();
    let busy: f64 = known().map(|(seconds, percent)| seconds * percent).sum();
    (seconds > 0.0).then(|| busy / seconds)
}

/// What all processes that worked on a run have spent, as far as its record and its `timing.csv`
/// know: what a process did after its last step and did not live to record is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ElapsedSoFar {
    /// Everything.
    pub seconds: f64,
    /// Drawing samples.
    pub sampling: f64,
    /// Measuring them.
    pub measuring: f64,
    /// The most memory, MiB.
    pub peak_mib: Option<f64>,
    /// The most memory of a GPU, MiB.
    pub device_peak_mib: Option<f64>,
}

impl ElapsedSoFar {
    /// Before this process adds to it.
    pub fn read(run: &RunDir) -> Self {
        let rows = rows(run.path());
        let record = run.any_record().ok().flatten();
        let steps: f64 = rows.iter().map(|(_, row)| row.seconds).sum();
        let totals = rows.iter().map(|(_, row)| row.total_seconds).chain(record.iter().map(|r| r.seconds.total));
        let peaks = rows.iter().flat_map(|(_, row)| [row.memory_mib, row.peak_mib]);
        let device_peaks = rows.iter().map(|(_, row)| row.device_peak_mib);
        Self {
            seconds: totals.fold(steps, f64::max),
            sampling: record.as_ref().map_or(0.0, |record| record.seconds.sampling),
            measuring: record.as_ref().map_or(0.0, |record| record.seconds.measuring),
            peak_mib: highest(peaks.chain(record.iter().map(|record| record.peak_memory.host_mib))),
            device_peak_mib: highest(device_peaks.chain(record.iter().map(|record| record.peak_memory.device_mib))),
        }
    }

    /// The most memory with that of this process.
    pub fn peak_with(&self, own: Option<f64>) -> Option<f64> {
        highest([self.peak_mib, own].into_iter())
    }

    /// The most memory of a GPU with that of this process.
    pub fn device_peak_with(&self, own: Option<f64>) -> Option<f64> {
        highest([self.device_peak_mib, own].into_iter())
    }
}

fn highest(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    values.flatten().reduce(f64::max)
}
