//! Slurm's own programs, by their names on the `PATH`.
//!
//! In: arguments. Out: what they say, or an error in their own words.

use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output};

use crate::error::{Error, Result};

/// How large an array's index may be where nobody says: Slurm's default.
const USUAL_ARRAY: usize = 1001;

/// Runs one of them; `None` if there is no such program.
fn call(program: &str, args: &[String]) -> Result<Option<Output>> {
    match Command::new(program).args(args).output() {
        Ok(output) => Ok(Some(output)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::run(format!("{program} cannot be started")).cause(e)),
    }
}

/// What one says, or nothing if it is not there or fails.
fn asked(program: &str, args: &[&str]) -> Option<String> {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let output = call(program, &args).ok().flatten().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// There is an `sbatch`.
///
/// # Errors
/// Wrong input: there is none.
pub(super) fn check() -> Result<()> {
    match call("sbatch", &["--version".to_owned()])? {
        Some(_) => Ok(()),
        None => Err(no_sbatch()),
    }
}

fn no_sbatch() -> Error {
    Error::input("there is no sbatch on this machine's PATH, so nothing can be submitted").hint(
        "submit on the cluster's login node; --dry-run writes the scripts anyway, and `tunelab run` needs no Slurm",
    )
}

/// Submits a script; its job's number.
///
/// # Errors
/// Wrong input, what Slurm refuses, with the partitions that there are if it is the partition; a failure, where it cannot be asked.
pub(super) fn submit(options: &[String], script: &Path) -> Result<String> {
    let args: Vec<String> = ["--parsable".to_owned()]
        .into_iter()
        .chain(options.iter().cloned())
        .chain([script.display().to_string()])
        .collect();
    let output = call("sbatch", &args)?.ok_or_else(no_sbatch)?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        // With the name of the cluster behind it, where there are several.
        let id = said.trim().lines().last().unwrap_or_default();
        return Ok(id.split(';').next().unwrap_or(id).to_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> =
        words.lines().map(|line| line.trim_start_matches("sbatch: ").trim_start_matches("error: ")).collect();
    let words = words.join("; ");
    let lower = words.to_lowercase();
    let is_away = ["unable to contact", "connection", "timed out", "socket"].iter().any(|word| lower.contains(word));
    let error = if is_away { Error::run("Slurm does not answer") } else { Error::input("Slurm refuses the jobs") };
    let error = error.cause(words);
    if is_away || !lower.contains("partition") {
        return Err(error.hint(format!("what was asked for is in {}", script.display())));
    }
    let known = asked("sinfo", &["-h", "-o", "%R"]).unwrap_or_default();
    let mut known: Vec<&str> = known.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    known.sort_unstable();
    known.dedup();
    Err(match known.as_slice() {
        [] => error.hint("give one of the cluster's partitions with --partition"),
        known => error.hint(format!("there is --partition {}", known.join(", "))),
    })
}

/// How large an array's index may be, and one.
pub(super) fn largest_array() -> usize {
    let config = asked("scontrol", &["show", "config"]).unwrap_or_default();
    let line = config.lines().find_map(|line| line.trim().strip_prefix("MaxArraySize")?.split_once('='));
    line.and_then(|(_, number)| number.trim().parse().ok()).filter(|size| *size > 1).unwrap_or(USUAL_ARRAY)
}

/// The queue, each job of an array a line; `None` where it cannot be asked.
pub(super) fn queue(format: &str) -> Option<String> {
    asked("squeue", &["--noheader", "--array", "--format", format])
}
