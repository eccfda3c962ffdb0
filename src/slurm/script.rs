//! The batch scripts, to be read and submitted again by people.
//!
//! In: what was asked for, the folder. Out: texts. A job of the array is one `tunelab run` of the plan whose place in the list is
//! the job's index; of a large list, whose arrays share the script, the job's name says behind `+` what is added to it.

use std::fmt::Write as _;
use std::path::Path;

use super::folder::Folder;
use super::indices::Array;
use super::log::{AGAIN, ENDED, MARK};
use crate::cli::SubmitArgs;
use crate::cli::cluster_seconds;
use crate::cli::output::quoted;
use crate::error::Stop;

/// How long before its time limit a job is asked to stop, in seconds: a step, a checkpoint, and Slurm's own slowness.
const BEFORE_LIMIT: u64 = 90;

/// What the report's job has of the options too: where and on whose account.
const OF_REPORT: [&str; 8] = ["account", "qos", "reservation", "clusters", "cluster", "wckey", "constraint", "export"];

/// The program and the results, by whole paths.
pub(super) struct Places<'a> {
    pub tunelab: &'a Path,
    pub results: &'a Path,
}

/// The script of every job; `first` is the array that it asks for by itself.
pub(super) fn job(args: &SubmitArgs, folder: &Folder, first: &Array, places: &Places) -> String {
    let Places { tunelab, results } = *places;
    let mut out = format!(
        "#!/bin/bash\n\
         # The runs of {name}: a job for each, whose index is the run's place in runs.txt, from 0. Written by `tunelab submit`.\n\
         # It may be submitted again: sbatch job.sh, or sbatch --array=3 job.sh for one. What is finished ends at once.\n",
        name = folder.name.replace(char::is_control, " ")
    );
    let array = limited(args, first);
    let mut head = vec![
        ("job-name", job_name(folder, first.offset)),
        ("array", array),
        ("output", folder.log_pattern(first.offset)),
        ("open-mode", "append".to_owned()),
        ("signal", format!("B:{}@{}", USER, before_limit(args.time.as_deref()))),
        ("nodes", "1".to_owned()),
        ("ntasks", "1".to_owned()),
    ];
    let asked = [
        ("partition", args.partition.clone()),
        ("time", args.time.clone()),
        ("gpus-per-node", args.gpus.map(|count| count.to_string())),
        ("cpus-per-task", args.cpus.map(|count| count.to_string())),
        ("mem", args.mem.clone()),
    ];
    head.extend(asked.into_iter().filter_map(|(key, value)| Some((key, value?))));
    out.extend(head.iter().map(|(key, value)| directive(key, Some(value))));
    out.push_str(&directive("requeue", None));
    out.extend(args.sbatch.iter().map(|option| directive_of(option)));
    let _ = write!(out, "\ntunelab={}\nresults={}\nfolder={}\n", shell(tunelab), shell(results), shell(&folder.path));
    out.push_str(
        &BODY
            .replace("@MARK@", MARK)
            .replace("@ENDED@", ENDED)
            .replace("@AGAIN@", AGAIN)
            .replace("@SETUP@\n", &args.setup.iter().flat_map(|line| [line.as_str(), "\n"]).collect::<String>())
            .replace("@USER@", &Stop::User.exit_code().to_string()),
    );
    out
}

/// As `kill` and sbatch call the signal.
const USER: &str = "USR1";

/// What each job does.
const BODY: &str = r#"
say() { echo "@MARK@$*"; }
fail() { say "error: $*"; say "${run:-job} @ENDED@2"; exit 2; }

# Which run.
offset=0
case $SLURM_JOB_NAME in *+[0-9]*) offset=${SLURM_JOB_NAME##*+} ;; esac
place=$((offset + SLURM_ARRAY_TASK_ID))
say "place $place on $(hostname), job ${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID, turn $((${SLURM_RESTART_COUNT:-0} + 1)), $(date '+%F %T')"
[ -r "$folder/runs.txt" ] ||
    fail "$(hostname) does not see $folder/runs.txt: the results must lie on a file system that all nodes have (--results)"
run=$(sed -n "$((place + 1))p" "$folder/runs.txt")
plan=$folder/plans/$run.toml
[ -n "$run" ] && [ -r "$plan" ] || fail "there is no plan ${plan}"
[ -x "$tunelab" ] || fail "$(hostname) does not see the program $tunelab: it must lie on a file system that all nodes have"

# The signal before the time limit reaches this shell alone, which tells tunelab; so it also does with that of scancel. A
# signal that comes before there is anybody to be told is told then.
child= asked=
told() { asked=$1; [ -z "$child" ] || kill -s "$1" "$child" 2>/dev/null; }
trap 'told USR1' USR1
trap 'told TERM' TERM

# A job computes on the cores that it has, whatever else the node has.
export RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}}
@SETUP@

# All files of the run: a turn that adds none has not got anywhere.
seen() { find "$results/$run" "$results/.cache" -type f ! -name '.*' ! -name progress.json 2>/dev/null | sort | cksum; }
before=$(seen)

"$tunelab" run "$plan" --results "$results" --wait &
child=$!
[ -z "$asked" ] || kill -s "$asked" "$child" 2>/dev/null
# A signal ends the waiting, not the program.
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
wait "$child"
code=$?
child=

if [ "$code" = @USER@ ]; then
    turns=$folder/stuck-$place
    if [ "$(seen)" = "$before" ]; then echo >>"$turns"; else rm -f "$turns"; fi
    if [ "$(cat "$turns" 2>/dev/null | wc -l)" -ge 3 ]; then
        rm -f "$turns"
        say "error: three turns have added nothing: the time limit is too short, submit with a longer --time"
        code=1
    else
        say "$run @AGAIN@"
        # Slurm ends this script, and starts it again.
        if scontrol requeue "$SLURM_JOB_ID"; then sleep 300; exit "$code"; fi
        say "error: the job could not be queued again; \`tunelab submit\` does it"
    fi
fi
say "$run @ENDED@$code"
exit "$code"
"#;

/// The script of the job that writes the report.
pub(super) fn report(args: &SubmitArgs, folder: &Folder, places: &Places) -> String {
    let mut out = String::from("#!/bin/bash\n# The page and the tables of all runs. Written by `tunelab submit`.\n");
    let log = folder.logs().join("report.log").display().to_string().replace('%', "%%");
    let head = [("job-name", format!("{}-report", folder.job_name())), ("output", log), ("nodes", "1".to_owned())];
    out.extend(head.iter().map(|(key, value)| directive(key, Some(value))));
    out.extend(args.partition.iter().map(|name| directive("partition", Some(name))));
    let is_meant = |option: &&String| OF_REPORT.contains(&option.split('=').next().unwrap_or_default());
    out.extend(args.sbatch.iter().filter(is_meant).map(|option| directive_of(option)));
    out.push('\n');
    out.extend(args.setup.iter().flat_map(|line| [line.as_str(), "\n"]));
    let _ = writeln!(out, "exec {} report --results {}", shell(places.tunelab), shell(places.results));
    out
}

/// What sbatch is asked for an array.
pub(super) fn limited(args: &SubmitArgs, array: &Array) -> String {
    let limit = args.array_limit.map_or_else(String::new, |limit| format!("%{limit}"));
    format!("{}{limit}", array.indices)
}

/// The name of an array's jobs.
pub(super) fn job_name(folder: &Folder, offset: usize) -> String {
    let behind = if offset == 0 { String::new() } else { format!("+{offset}") };
    format!("{}{behind}", folder.job_name())
}

/// A third of a short limit, so that there is time to compute in.
fn before_limit(time: Option<&str>) -> u64 {
    time.and_then(cluster_seconds).map_or(BEFORE_LIMIT, |limit| (limit / 3).min(BEFORE_LIMIT))
}

fn directive_of(option: &str) -> String {
    let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
    directive(key, value)
}

/// A line that sbatch reads; it breaks at spaces and sees comments.
fn directive(key: &str, value: Option<&str>) -> String {
    match value {
        None => format!("#SBATCH --{key}\n"),
        Some(value) if value.contains(|c: char| c.is_whitespace() || c == '#') => {
            format!("#SBATCH --{key}=\"{value}\"\n")
        }
        Some(value) => format!("#SBATCH --{key}={value}\n"),
    }
}

fn shell(path: &Path) -> String {
    quoted(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signal_leaves_time_to_compute_in() {
        let known = [(None, 90), (Some("1"), 20), (Some("3:00"), 60), (Some("4:00:00"), 90), (Some("UNLIMITED"), 90)];
        for (time, wanted) in known {
            assert_eq!(before_limit(time), wanted, "{time:?}");
        }
    }

    #[test]
    fn values_with_spaces_are_quoted_for_sbatch() {
        assert_eq!(directive_of("comment=a b"), "#SBATCH --comment=\"a b\"\n");
        assert_eq!(directive_of("exclusive"), "#SBATCH --exclusive\n");
        assert_eq!(directive("mem", Some("4G")), "#SBATCH --mem=4G\n");
    }
}
