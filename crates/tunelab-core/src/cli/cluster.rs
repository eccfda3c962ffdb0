//! What may be typed for a cluster: `tunelab submit` and `tunelab status`.

use std::path::PathBuf;

use clap::Args;

pub(super) const SUBMIT_EXAMPLES: &str = "\
Examples:
  tunelab submit experiments/sweep_lora.toml --partition gpu --time 4:00:00 --gpus 1 --cpus 8 --mem 32G
  tunelab submit sweep.toml --array-limit 4 --setup \"module load cuda\" --sbatch account=lab --sbatch qos=long
  tunelab submit sweep.toml --dry-run
  tunelab status sweep.toml

One job for each run that is neither finished nor queued, as an array. Before its time limit a job stops with a checkpoint and
is queued again; the last of all is a job that writes the report. What is submitted is the plan as it is now: later changes of
the file are for the next submit. Scripts, plans and logs are in DIR/.slurm/NAME/; the results must lie on a file system that
all nodes have.";

pub(super) const STATUS_EXAMPLES: &str = "\
Examples:
  tunelab status experiments/sweep_lora.toml
  tunelab status sweep.toml --json | jq -r '.[] | select(.state == \"failed\") | .run'

It reads the results folder, and asks squeue where there is one. interrupted: nobody is at work on it; submit or run it again,
and it goes on from its last checkpoint.";

/// Arguments of `tunelab submit`.
#[derive(Debug, Clone, Args)]
pub struct SubmitArgs {
    /// Experiments, or folders of them.
    #[arg(required = true, value_name = "FILE_OR_FOLDER")]
    pub files: Vec<PathBuf>,
    /// Replace one key of each experiment and variant: `train.epochs=2`. May be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// Where each run gets a folder of its name; all nodes must have it.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// Submit the experiments' stand-ins in their place.
    #[arg(long)]
    pub stand_in: bool,
    /// The partition; the cluster's default if not given.
    #[arg(long, value_name = "NAME", value_parser = word)]
    pub partition: Option<String>,
    /// The time limit of a job, as sbatch has it: minutes, H:MM:SS or D-HH:MM:SS. A run that takes longer goes on in another.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub time: Option<String>,
    /// GPUs of a job. A run computes on one.
    #[arg(long, value_name = "N")]
    pub gpus: Option<u32>,
    /// CPU cores of a job.
    #[arg(long, value_name = "N")]
    pub cpus: Option<u32>,
    /// Memory of a job, as sbatch has it: 16G.
    #[arg(long, value_name = "SIZE", value_parser = word)]
    pub mem: Option<String>,
    /// So many jobs at once, at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub array_limit: Option<u32>,
    /// A line of shell before each job's work, such as `module load cuda`. May be repeated.
    #[arg(long, value_name = "LINE")]
    pub setup: Vec<String>,
    /// Any other option of sbatch, by its long name: `account=lab`, or `exclusive` alone. May be repeated.
    #[arg(long, value_name = "KEY[=VALUE]", value_parser = option)]
    pub sbatch: Vec<String>,
    /// Write the scripts and submit nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// No job that writes the report at the end.
    #[arg(long)]
    pub no_report_job: bool,
}

/// Arguments of `tunelab status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Experiments, or folders of them.
    #[arg(required = true, value_name = "FILE_OR_FOLDER")]
    pub files: Vec<PathBuf>,
    /// The folder of all runs.
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub results: PathBuf,
    /// A list of JSON objects, one for each run.
    #[arg(long)]
    pub json: bool,
}

/// Seconds of a time as Slurm has it: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M` or `D-H:M:S`; `None` of anything else.
pub fn seconds(text: &str) -> Option<u64> {
    let numbers = |text: &str| text.split(':').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>();
    let [days, hours, minutes, seconds] = match text.split_once('-') {
        Some((days, rest)) => match numbers(rest)?[..] {
            [h] => [days.parse().ok()?, h, 0, 0],
            [h, m] => [days.parse().ok()?, h, m, 0],
            [h, m, s] => [days.parse().ok()?, h, m, s],
            _ => return None,
        },
        None => match numbers(text)?[..] {
            [m] => [0, 0, m, 0],
            [m, s] => [0, 0, m, s],
            [h, m, s] => [0, h, m, s],
            _ => return None,
        },
    };
    let of = |count: u64, length: u64| count.checked_mul(length);
    of(days, 86_400)?.checked_add(of(hours, 3600)?)?.checked_add(of(minutes, 60)?)?.checked_add(seconds)
}

fn time(text: &str) -> Result<String, String> {
    let known = seconds(text).filter(|seconds| *seconds >= 60);
    known
        .map(|_| text.to_owned())
        .ok_or_else(|| "use minutes (90), H:MM:SS or D-HH:MM:SS, a minute at least".to_owned())
}

/// What a line of a batch script can hold: sbatch reads quotes in it as a shell does.
fn word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.chars().any(|c| c.is_control() || ['"', '\'', '\\'].contains(&c)) {
        return Err("use one line without quotes and backslashes".to_owned());
    }
    Ok(text.to_owned())
}

/// What submit decides itself is not another's to say.
fn option(text: &str) -> Result<String, String> {
    let text = text.trim_start_matches('-');
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    if key.is_empty() || !key.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
        return Err("use an option's long name, as account=lab".to_owned());
    }
    value.map_or(Ok(()), |value| word(value).map(drop))?;
    match key {
        "array" | "job-name" | "output" | "error" | "open-mode" | "requeue" | "no-requeue" | "signal" | "wrap"
        | "parsable" | "test-only" | "wait" | "dependency" => Err(format!("submit decides --{key} itself")),
        "partition" | "time" => Err(format!("use --{key}")),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_slurm_reads_them() {
        let known = [("90", 5400), ("1:30", 90), ("4:00:00", 14_400), ("2-0", 172_800), ("1-02:03", 93_780)];
        for (text, wanted) in known.into_iter().chain([("1-02:03:04", 93_784)]) {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for text in ["", "x", "1:2:3:4", "1-", "-1", "4h", "1-2-3", "99999999999999999999", "99999999999999999-0"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert!(time("0:30").is_err() && time("1").is_ok());
    }

    #[test]
    fn options_that_submit_decides_are_refused() {
        assert_eq!(option("--account=a b"), Ok("account=a b".to_owned()));
        assert_eq!(option("exclusive"), Ok("exclusive".to_owned()));
        for text in ["array=1", "signal=B:TERM@9", "time=3", "", "A=b", "a b=c", "comment=a\nb"] {
            assert!(option(text).is_err(), "{text}");
        }
    }
}
