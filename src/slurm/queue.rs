//! What the queue has of an experiment's runs.
//!
//! In: lines of `squeue`. Out: by the runs' places their jobs.

use std::collections::HashMap;

/// What squeue is asked for: name, array, index, state, reason, time so far.
pub(super) const FORMAT: &str = "%j|%F|%K|%T|%r|%M";

/// A job in the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Queued {
    /// As `scancel` takes it: `12_3`.
    pub job: String,
    /// Whether it is at work; it waits otherwise.
    pub is_running: bool,
    /// Slurm's word for its state, in lower case.
    pub state: String,
    /// Why it waits, in Slurm's word.
    pub reason: String,
    /// How long it has been at work, in seconds.
    pub seconds: u64,
}

/// The jobs of the name `job_name`, by the places of their runs.
pub(super) fn parse(lines: &str, job_name: &str) -> HashMap<usize, Queued> {
    lines.lines().filter_map(|line| one(line, job_name)).collect()
}

fn one(line: &str, job_name: &str) -> Option<(usize, Queued)> {
    let mut fields = line.trim().split('|');
    let behind = fields.next()?.strip_prefix(job_name)?;
    let offset: usize = if behind.is_empty() { 0 } else { behind.strip_prefix('+')?.parse().ok()? };
    let (array, index) = (fields.next()?, fields.next()?.parse::<usize>().ok()?);
    let (state, reason) = (fields.next()?, fields.next()?);
    // What ends is not at work any more; what was asked to be queued again comes back.
    let is_over =
        ["CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL"];
    if is_over.contains(&state) {
        return None;
    }
    let queued = Queued {
        job: format!("{array}_{index}"),
        is_running: matches!(state, "RUNNING" | "COMPLETING" | "SUSPENDED" | "CONFIGURING" | "STOPPED" | "SIGNALING"),
        state: state.to_lowercase(),
        reason: reason.to_owned(),
        seconds: fields.next().and_then(seconds).unwrap_or(0),
    };
    Some((offset + index, queued))
}

/// Of a time as squeue writes it, such as `1-02:03:04` or `3:04`.
fn seconds(text: &str) -> Option<u64> {
    let (days, rest) = text.split_once('-').unwrap_or(("0", text));
    let days: u64 = days.parse().ok()?;
    rest.split(':').try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?)).map(|sum| days * 86_400 + sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_jobs_of_a_name_are_found_by_their_runs_places() {
        let lines = "tunelab-a-12345678|7|3|RUNNING|None|1:02:03\n\
                     tunelab-a-12345678+1000|8|4|PENDING|JobArrayTaskLimit|0:00\n\
                     tunelab-a-123456789|9|1|RUNNING|None|0:01\n\
                     tunelab-ab-12345678|9|1|RUNNING|None|0:01\n\
                     tunelab-a-12345678|7|5|CANCELLED|None|0:01\n\
                     tunelab-a-12345678|10|N/A|PENDING|Dependency|0:00\n\
                     slurm_load_jobs error\n";
        let found = parse(lines, "tunelab-a-12345678");
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!((found[&3].job.as_str(), found[&3].is_running, found[&3].seconds), ("7_3", true, 3723));
        let waits = &found[&1004];
        assert_eq!((waits.job.as_str(), waits.is_running, waits.reason.as_str()), ("8_4", false, "JobArrayTaskLimit"));
    }
}
