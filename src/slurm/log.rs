//! What a job said last.
//!
//! In: its log, to which every try of its run was added. Out: how the last try ended, and its last lines. Lines that begin with
//! [`MARK`] are the batch script's.

use std::collections::VecDeque;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use fs_err as fs;

/// Before what the batch script says.
pub(super) const MARK: &str = "== ";
/// What it says when a run has ended by itself.
pub(super) const ENDED: &str = "ended with exit code ";
/// What it says when the job is queued again.
pub(super) const AGAIN: &str = "goes on in this job's next turn";

/// More than the last try's last lines take.
const TAIL: u64 = 64 << 10;
/// So many lines are shown.
const LINES: usize = 6;

/// How the last try of a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// It has begun, and nothing is said of its end.
    Open,
    /// With this exit code.
    Code(i32),
    /// It was stopped before its time limit, to go on later.
    Again,
}

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tail {
    pub end: End,
    /// What was said last, without the script's own lines.
    pub lines: Vec<String>,
}

/// Reads the end of a log; `None` if it cannot be read.
pub(super) fn read(path: &Path) -> Option<Tail> {
    let mut file = fs::File::open(path).ok()?;
    let length = file.seek(SeekFrom::End(0)).ok()?;
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(text: &str) -> Tail {
    let mut end = End::Open;
    let mut lines: VecDeque<String> = VecDeque::new();
    for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let Some(said) = line.strip_prefix(MARK) else {
            lines.push_back(line.to_owned());
            continue;
        };
        if said.starts_with("error: ") {
            lines.push_back(said.to_owned());
        } else if let Some((_, code)) = said.rsplit_once(ENDED) {
            end = code.trim().parse().map_or(End::Open, End::Code);
        } else if said.ends_with(AGAIN) {
            end = End::Again;
        } else {
            // Another try.
            end = End::Open;
            lines.clear();
        }
    }
    let more = lines.len().saturating_sub(LINES);
    Tail { end, lines: lines.into_iter().skip(more).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_try_counts() {
        let tail = |text: &str| parse(text);
        let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let first = "== a on n1, job 7_1\ntraining\nloss\n";
        assert_eq!(tail(first), Tail { end: End::Open, lines: lines(&["training", "loss"]) });
        let again = format!("{first}== a goes on in this job's next turn\n");
        assert_eq!(tail(&again).end, End::Again);
        let failed = format!("{again}== a on n2, job 7_1\n\nerror: no model\n== a ended with exit code 2\n");
        assert_eq!(tail(&failed), Tail { end: End::Code(2), lines: lines(&["error: no model"]) });
        let cancelled =
            format!("{first}slurmstepd-vm: error: *** JOB 3 CANCELLED ***\n== a ended with exit code 143\n");
        assert_eq!(
            tail(&cancelled).lines.last().map(String::as_str),
            Some("slurmstepd-vm: error: *** JOB 3 CANCELLED ***")
        );
        assert_eq!(tail("== a on n\n== error: n does not see x\n== a ended with exit code 2\n").lines.len(), 1);
        assert_eq!(tail(&"x\n".repeat(50)).lines.len(), LINES);
    }
}
