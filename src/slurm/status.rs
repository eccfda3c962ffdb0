//! The `tunelab status` command: how far each run of some experiments is.
//!
//! In: its arguments. Out: on stdout a table as wide as the terminal, with the last lines of what failed below it, or JSON.

use std::fmt::Write as _;

use super::client;
use super::folder::Folder;
use super::queue::{self, FORMAT};
use super::state::{InQueue, RunStatus, Seen, State};
use super::submit::{load, name_of};
use crate::cli::StatusArgs;
use crate::cli::output::print;
use crate::cli::terminal::{self, left, shortened, width, wrapped};
use crate::config::Plan;
use crate::config::files::Loaded;
use crate::error::{Error, Result};
use crate::numbers::counted;
use crate::progress::Progress;
use crate::results::run_folder;

/// Between two columns.
const GAP: &str = "  ";

/// `tunelab status`.
///
/// # Errors
/// Wrong input: the files' problems, or a results folder that cannot be read.
pub fn status(args: &StatusArgs) -> Result<()> {
    let loaded = load(&args.files, &[], &Progress::from_env())?;
    let lines = client::queue(FORMAT);
    let mut all = Vec::new();
    for of in &loaded {
        let name = name_of(of);
        let folder = Folder::read(&args.results, &name)?;
        let queued = lines.as_ref().map(|lines| queue::parse(lines, &folder.job_name()));
        let submitted = folder.submitted();
        let status = |plan: &Plan| {
            let place = folder.place(&plan.name);
            let queue = match &queued {
                None => InQueue::Unknown,
                Some(queued) => place.and_then(|place| queued.get(&place)).map_or(InQueue::Nothing, InQueue::Job),
            };
            let submitted = place.and_then(|place| submitted.get(&place)).map(String::as_str);
            RunStatus::of(plan, &Seen { results: &args.results, folder: &folder, queue, submitted })
        };
        let plans = plans(of, &folder, args);
        all.push((name, plans.iter().map(|plan| status(plan)).collect::<Result<Vec<_>>>()?));
    }
    if args.json {
        let rows: Vec<&RunStatus> = all.iter().flat_map(|(_, runs)| runs).collect();
        let json = serde_json::to_string_pretty(&rows).map_err(|e| Error::run("the JSON cannot be made").cause(e))?;
        return print(&format!("{json}\n"));
    }
    let columns = terminal::columns();
    let texts: Vec<String> = all.iter().map(|(name, runs)| table(name, runs, columns)).collect();
    print(&texts.join("\n"))
}

/// Each run itself, or what stands in for it: both, where both were submitted or run.
fn plans<'a>(of: &'a Loaded, folder: &Folder, args: &StatusArgs) -> Vec<&'a Plan> {
    let is_known = |plan: &&Plan| {
        folder.place(&plan.name).is_some() || args.results.join(run_folder(&plan.name)).join("plan.toml").is_file()
    };
    let of_one = |planned: &'a crate::config::Planned| {
        let stand_in = planned.stand_in.as_ref().filter(is_known);
        let itself = Some(&planned.plan).filter(|plan| stand_in.is_none() || is_known(plan));
        itself.into_iter().chain(stand_in)
    };
    of.plans().flat_map(of_one).collect()
}

/// Lines of at most so many columns.
fn table(name: &str, runs: &[RunStatus], columns: usize) -> String {
    let count = |state: State| runs.iter().filter(|run| run.state == state).count();
    let counts = State::ALL.into_iter().filter(|state| count(*state) > 0);
    let counts: Vec<String> = counts.map(|state| format!("{} {}", count(state), state.name())).collect();
    let mut out = String::new();
    for line in wrapped(&format!("{name}: {}: {}", counted(runs.len(), "run"), counts.join(", ")), columns) {
        // Writing into a text does not fail.
        let _ = writeln!(out, "{line}");
    }
    let widest = |of: fn(&RunStatus) -> &str| runs.iter().map(|run| width(of(run))).max().unwrap_or(0);
    let states = widest(|run| run.state.name());
    let jobs = widest(|run| run.job.as_deref().unwrap_or(""));
    let names = widest(|run| &run.run).min((columns / 2).max(16));
    for run in runs {
        let job = run.job.as_deref().unwrap_or("");
        let mut cells = vec![left(&shortened(&run.run, names), names), left(run.state.name(), states)];
        if jobs > 0 && columns > 60 {
            cells.push(left(job, jobs));
        }
        let head = format!("{GAP}{}", cells.join(GAP));
        let room = columns.saturating_sub(width(&head) + GAP.len());
        let detail = shortened(&run.detail, room);
        let line = format!("{head}{GAP}{detail}");
        let _ = writeln!(out, "{}", line.trim_end());
    }
    for run in runs.iter().filter(|run| !run.last_lines.is_empty()) {
        let _ = writeln!(out, "\n{}", shortened(&format!("{} said last:", run.run), columns));
        for line in run.last_lines.iter().flat_map(|line| wrapped(&terminal::printable(line), columns - 4)) {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, state: State, detail: &str) -> RunStatus {
        RunStatus {
            run: name.to_owned(),
            state,
            job: Some("12_3".to_owned()),
            phase: None,
            step: None,
            steps: None,
            seconds_left: None,
            detail: detail.to_owned(),
            last_lines: Vec::new(),
        }
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mut failed = run("a-sweep-with-a-long-name-lr1e-3-rank8-seed3", State::Failed, "exit code 2");
        failed.last_lines = vec!["error: a very long line that says what is wrong with it and where".to_owned()];
        let runs = [
            run("a-sweep-with-a-long-name-lr1e-3-rank8-seed1", State::Done, ""),
            run("a-sweep-with-a-long-name-lr1e-3-rank8-seed2", State::Running, "step 3 of 60, loss 0.1, 20 s left"),
            failed,
        ];
        for columns in [32, 50, 80, 200] {
            let text = table("a-sweep-with-a-long-name", &runs, columns);
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}:\n{text}");
            assert!(text.replace('\n', " ").contains("1 done, 1 running, 1 failed") || columns < 80, "{text}");
            assert!(text.contains("said last:") && text.contains("wrong"), "{text}");
        }
        let text = table("s", &runs, 120);
        assert!(text.contains("seed2  running  12_3  step 3 of 60, loss 0.1, 20 s left\n"), "{text}");
    }
}
