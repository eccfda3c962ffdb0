//! `submit` and `status` against stand-ins of Slurm's programs; the real ones are asked by `scripts/slurm_test.sh`.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{Said, World, tree};

/// `sbatch` notes its arguments and gives numbers from 101 on; what is in `refuse` it says, and fails.
const SBATCH: &str = r#"[ "$1" = --version ] && { echo "slurm 22.05.8"; exit; }
if [ -f "$FAKE/refuse" ]; then cat "$FAKE/refuse" >&2; exit 1; fi
echo "$@" >> "$FAKE/calls"
echo $((100 + $(wc -l < "$FAKE/calls")))"#;
const SQUEUE: &str = r#"cat "$FAKE/queue""#;
const SCONTROL: &str = r#"if [ "$1" = show ]; then echo "MaxArraySize            = $(cat "$FAKE/largest")"; exit; fi
echo "$@" >> "$FAKE/asked"
exit 1"#;
const SINFO: &str = "printf 'gpu\\ncpu\\ngpu\\n'";

/// A sweep over seeds, `a.toml`, and a Slurm that only notes things down.
struct Cluster(World);

impl Cluster {
    fn new(seeds: &str) -> Self {
        let world = World::new();
        let text = world.text("a.toml").replace("seed = 7\n", "");
        world.write("a.toml", format!("{text}[sweep]\nseed = '{seeds}'\n"));
        fs_err::create_dir(world.path("fake")).unwrap();
        for (name, text) in [("sbatch", SBATCH), ("squeue", SQUEUE), ("scontrol", SCONTROL), ("sinfo", SINFO)] {
            let path = format!("fake/{name}");
            world.write(&path, format!("#!/bin/sh\n{text}\n"));
            assert!(Command::new("chmod").arg("+x").arg(world.path(&path)).status().unwrap().success());
        }
        world.write("fake/queue", "");
        world.write("fake/largest", "1001");
        Self(world)
    }

    /// Stand-ins first; the shells and `sed` of this machine.
    fn with(&self, mut command: Command) -> Command {
        let path = format!("{}:/usr/bin:/bin", self.0.path("fake").display());
        command.env("PATH", path).env("FAKE", self.0.path("fake"));
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        self.with(self.0.command(args))
    }

    fn tunelab(&self, args: &[&str]) -> Said {
        self.command(args).output().unwrap().into()
    }

    fn done(&self, args: &[&str]) -> Said {
        let said = self.tunelab(args);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        said
    }

    /// Nothing was queued.
    fn refused(&self, args: &[&str], parts: &[&str]) {
        let before = self.calls().len();
        let said = self.tunelab(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
        said.has(parts);
        assert_eq!(self.calls().len(), before);
    }

    /// What sbatch was asked for.
    fn calls(&self) -> Vec<String> {
        let calls = fs_err::read_to_string(self.0.path("fake/calls")).unwrap_or_default();
        calls.lines().map(|line| line.replace(&self.folder().display().to_string(), "F")).collect()
    }

    fn folder(&self) -> PathBuf {
        fs_err::canonicalize(self.0.path(".")).unwrap().join("results/.slurm/a")
    }

    fn text(&self, name: &str) -> String {
        self.0.text(&format!("results/.slurm/a/{name}"))
    }

    fn job_name(&self) -> String {
        let script = self.text("job.sh");
        script.lines().find_map(|line| line.strip_prefix("#SBATCH --job-name=")).unwrap().to_owned()
    }

    /// The batch script as Slurm starts it, writing into the run's log.
    fn job(&self, index: usize) -> Command {
        let mut bash = Command::new("bash");
        bash.arg(self.folder().join("job.sh")).env_clear();
        let mut command = self.with(bash);
        let log = self.folder().join(format!("logs/{index}.log"));
        let log = fs_err::OpenOptions::new().create(true).append(true).open(log).unwrap();
        let (file, _) = log.into_parts();
        command.stdout(file.try_clone().unwrap()).stderr(file).stdin(Stdio::null()).env("SLURM_CPUS_ON_NODE", "1");
        command.env("SLURM_JOB_NAME", self.job_name()).env("SLURM_JOB_ID", "55").env("SLURM_ARRAY_JOB_ID", "54");
        command.env("SLURM_ARRAY_TASK_ID", index.to_string());
        command
    }

    fn states(&self) -> Vec<(String, String)> {
        let said = self.done(&["status", "a.toml", "--json"]);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(&row["run"]), text(&row["state"]))).collect()
    }
}

/// What a rerun must repeat.
fn repeated(world: &World, run: &str) -> Vec<(String, Vec<u8>)> {
    let begins = ["loss.csv", "eval.csv", "weights/", "samples/", "grid.png", "loss.png"];
    let names = tree(&world.path(run)).into_iter().filter(|name| begins.iter().any(|begin| name.starts_with(begin)));
    names.map(|name| (name.clone(), world.read(&format!("{run}/{name}")))).collect()
}

#[test]
fn what_is_neither_done_nor_queued_is_submitted_and_its_script_does_it() {
    let cluster = Cluster::new("1..4");
    let world = &cluster.0;
    world.done(&["run", "a.toml", "--only", "a-seed2"]);
    let options = ["--partition", "gpu", "--time", "2:00", "--gpus", "1", "--cpus", "2", "--mem", "4G"];
    let more = ["--array-limit", "2", "--setup", "export MARK='a b'", "--sbatch", "account=our lab"];
    let said = cluster.done(&[&["submit", "a.toml"], &options[..], &more].concat());
    assert_eq!(said.out, "101\n");
    said.has(&["a: 4 runs: 1 done, 3 submitted as job 101 (3 runs)", "the report is written behind them by job 102"]);
    let calls = ["--parsable --array=0-2%2 F/job.sh", "--parsable --dependency=afterany:101 F/report.sh"];
    assert_eq!(cluster.calls(), calls);
    assert_eq!(cluster.text("runs.txt"), "a-seed1\na-seed3\na-seed4\n");
    let script = cluster.text("job.sh");
    for line in [
        "#SBATCH --array=0-2%2",
        "#SBATCH --requeue",
        "#SBATCH --signal=B:USR1@40",
        "#SBATCH --open-mode=append",
        "#SBATCH --partition=gpu",
        "#SBATCH --time=2:00",
        "#SBATCH --gpus-per-node=1",
        "#SBATCH --cpus-per-task=2",
        "#SBATCH --mem=4G",
        "#SBATCH --account=\"our lab\"",
        "export MARK='a b'",
    ] {
        assert!(script.lines().any(|found| found == line), "no {line} in:\n{script}");
    }
    let report = cluster.text("report.sh");
    assert!(report.contains("#SBATCH --account=\"our lab\"\n") && !report.contains("gpus"), "{report}");
    assert!(world.path("results/a.sweep/sweep.json").is_file(), "for the report");

    // One runs, one waits: the third is free.
    let name = cluster.job_name();
    world.write("fake/queue", format!("{name}|101|0|RUNNING|None|0:03\n{name}|101|2|PENDING|Priority|0:00\n"));
    let said = cluster.done(&["submit", "a.toml", "--no-report-job"]);
    said.has(&["a: 4 runs: 1 done, 2 queued already, 1 submitted as job 103 (1 run)"]);
    assert_eq!(cluster.calls()[2..], ["--parsable --array=1 F/job.sh"]);
    assert_eq!(cluster.text("submitted.txt"), "101 0 0-2\n103 0 1\n");
    let of = |run: &str, state: &str| (run.to_owned(), state.to_owned());
    let wanted = [("a-seed1", "running"), ("a-seed2", "done"), ("a-seed3", "not run"), ("a-seed4", "queued")];
    assert_eq!(cluster.states(), wanted.map(|(run, state)| of(run, state)));

    // What is queued stays as it was submitted.
    cluster.refused(
        &["submit", "a.toml", "--set", "train.steps=7"],
        &["a-seed1 is in the queue with another plan", "`scancel 101_0` takes it out"],
    );
    world.write("fake/queue", "");
    for index in 0..3 {
        assert!(cluster.job(index).status().unwrap().success(), "{}", cluster.text(&format!("logs/{index}.log")));
    }
    world.done(&["run", "a.toml", "--results", "alone"]);
    for seed in 1..=4 {
        let [ours, alone] = ["results", "alone"].map(|root| repeated(world, &format!("{root}/a-seed{seed}")));
        assert!(ours.len() > 8 && ours == alone, "{seed}");
    }
    let said = cluster.done(&["submit", "a.toml"]);
    said.has(&["a: 4 runs: 4 done, nothing to submit"]);
    assert_eq!((said.out.as_str(), cluster.calls().len()), ("", 3));
    // By hand, again.
    assert!(cluster.job(1).status().unwrap().success());
    assert!(cluster.text("logs/1.log").ends_with("== a-seed3 ended with exit code 0\n"));
}

#[test]
fn a_job_is_asked_to_stop_before_its_limit_and_goes_on_where_it_was() {
    let cluster = Cluster::new("1..1");
    let world = &cluster.0;
    let endless = ["submit", "a.toml", "--set", "train.steps=1000000", "--set", "train.checkpoint_every=0"];
    cluster.done(&endless);
    let rows = || fs_err::read_to_string(world.path("results/a-seed1/loss.csv")).map_or(0, |text| text.lines().count());
    let mut kept = Vec::new();
    for turn in 0..2 {
        let before = rows();
        let mut job = cluster.job(0).env("SLURM_RESTART_COUNT", turn.to_string()).spawn().unwrap();
        let begun = Instant::now();
        while rows() < before + 3 {
            assert!(begun.elapsed() < Duration::from_mins(1), "{}", cluster.text("logs/0.log"));
            std::thread::sleep(Duration::from_millis(5));
        }
        let signal = if turn == 0 { "-USR1" } else { "-TERM" };
        assert!(Command::new("kill").args([signal, &job.id().to_string()]).status().unwrap().success());
        let code = job.wait().unwrap().code();
        // The stand-in does not queue it again; who ends a job does not want it again.
        assert_eq!(code, Some(if turn == 0 { 138 } else { 143 }), "{}", cluster.text("logs/0.log"));
        assert_eq!(fs_err::read_to_string(world.path("fake/asked")).unwrap(), "requeue 55\n");
        kept.push(tree(&world.path("results/a-seed1/checkpoints")));
        assert_eq!(cluster.states(), [("a-seed1".to_owned(), "interrupted".to_owned())]);
    }
    assert!(kept[0].len() == 1 && kept[1] != kept[0], "{kept:?}");
    let log = cluster.text("logs/0.log");
    for line in ["a-seed1 goes on in this job's next turn", "turn 2", "going on after step", "interrupted by SIGUSR1"] {
        assert!(log.contains(line), "no {line} in:\n{log}");
    }
    // In the queue again, it has been begun.
    world.write("fake/queue", format!("{}|101|0|PENDING|BeginTime|0:00\n", cluster.job_name()));
    assert_eq!(cluster.states(), [("a-seed1".to_owned(), "requeued".to_owned())]);
    let said = cluster.done(&["status", "a.toml"]);
    assert!(said.out.contains(" of 1,000,000 kept, BeginTime"), "{}", said.out);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_queued() {
    let cluster = Cluster::new("1..3");
    let world = &cluster.0;
    let said = world.command(&["submit", "a.toml"]).env("PATH", world.path("dog")).output().unwrap();
    let said = Said::from(said);
    assert_eq!(said.code, Some(2));
    said.has(&["there is no sbatch on this machine's PATH", "hint: submit on the cluster's login node"]);
    assert!(!world.path("results").exists(), "nothing was written");

    world.write("b.toml", world.text("a.toml").replace("rank = 2", "rank = 0"));
    world.write("c.toml", world.text("a.toml").replace("'dog'", "'cats'"));
    world.write("d.toml", world.text("a.toml").replace("alpha", "alhpa"));
    cluster.refused(
        &["submit", "a.toml", "b.toml", "d.toml"],
        &["b.toml", "alhpa", "2 problems, so nothing is submitted"],
    );
    cluster.refused(&["submit", "c.toml"], &["cats"]);
    cluster.refused(&["submit", "a.toml", "--stand-in"], &["has no [stand_in] table"]);
    cluster.refused(&["submit", "a.toml", "--sbatch", "array=1"], &["submit decides --array itself"]);
    cluster.refused(&["submit", "a.toml", "--time", "4h"], &["use minutes (90), H:MM:SS or D-HH:MM:SS"]);

    world.write("fake/refuse", "sbatch: error: invalid partition specified: nope\nsbatch: error: Batch job submission failed: Invalid partition name specified\n");
    cluster.refused(
        &["submit", "a.toml", "--partition", "nope"],
        &[
            "Slurm refuses the jobs",
            "caused by: invalid partition specified: nope; Batch job",
            "hint: there is --partition cpu, gpu",
        ],
    );
    world.write(
        "fake/refuse",
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)\n",
    );
    let said = cluster.tunelab(&["submit", "a.toml"]);
    assert_eq!(said.code, Some(1));
    said.has(&["Slurm does not answer", "Unable to contact slurm controller"]);
    fs_err::remove_file(world.path("fake/refuse")).unwrap();

    world.done(&["run", "a.toml", "--only", "a-seed2"]);
    cluster.refused(
        &["submit", "a.toml", "--set", "train.steps=7"],
        &["results/a-seed2 holds the results of another plan", "hint: give another --results folder"],
    );
    // Without a Slurm, the scripts.
    let said = world.done(&["submit", "a.toml", "--dry-run"]);
    said.has(&["a: 3 runs: 1 done, 2 to submit, by", "sbatch --array="]);
    assert!(cluster.text("job.sh").contains("#SBATCH --array="), "it is there");
    assert!(!world.path("results/.slurm/a/submitted.txt").exists() && cluster.calls().is_empty());
}

#[test]
fn a_large_sweep_is_several_arrays_of_one_script() {
    let cluster = Cluster::new("1..7");
    let world = &cluster.0;
    world.write("fake/largest", "3");
    let said = cluster.done(&["submit", "a.toml", "--array-limit", "2"]);
    assert_eq!(said.out, "101\n102\n103\n");
    let (name, script) = (cluster.job_name(), "F/job.sh");
    let calls = cluster.calls();
    assert_eq!(calls[0], format!("--parsable --array=0-2%2 {script}"));
    let second = format!(
        "--parsable --array=0-2%2 --job-name={name}+3 --output=F/logs/%a+3.log --dependency=afterany:101 {script}"
    );
    assert_eq!(calls[1], second);
    assert!(calls[2].contains("--array=0%2 ") && calls[2].contains("+6"), "{}", calls[2]);
    assert_eq!(calls[3], "--parsable --dependency=afterany:101:102:103 F/report.sh");
    world.write("fake/queue", format!("{name}+3|102|1|RUNNING|None|5:00\n"));
    let said = cluster.done(&["status", "a.toml"]);
    let line = said.out.lines().find(|line| line.contains("a-seed5")).unwrap().to_owned();
    assert!(line.contains("running  102_1") && line.contains("nothing that it writes is seen here"), "{}", said.out);
    // A job of that array.
    let mut job = cluster.job(1);
    assert!(job.env("SLURM_JOB_NAME", format!("{name}+3")).status().unwrap().success());
    assert!(world.path("results/a-seed5/run.json").is_file());
}

#[test]
fn status_tells_failed_from_interrupted_and_needs_no_slurm() {
    let cluster = Cluster::new("1..4");
    let world = &cluster.0;
    assert!(cluster.states().iter().all(|(_, state)| state == "not run"));
    cluster.done(&["submit", "a.toml"]);
    fs_err::create_dir_all(world.path("results/a-seed2")).unwrap();
    world.write("results/a-seed2/notes.txt", "mine");
    assert_eq!(cluster.job(1).status().unwrap().code(), Some(2));
    world.write("results/.slurm/a/logs/2.log", "== place 2 on n, job 101_2\ntraining\nslurmstepd: error: oom\n");
    let mut lost = cluster.job(3);
    lost.env("SLURM_ARRAY_TASK_ID", "9");
    assert_eq!(lost.status().unwrap().code(), Some(2));
    assert!(cluster.text("logs/3.log").contains("== error: there is no plan"));
    let states = |states: [&str; 4]| {
        let one = |(at, state): (usize, &&str)| (format!("a-seed{}", at + 1), (*state).to_owned());
        states.iter().enumerate().map(one).collect::<Vec<_>>()
    };
    assert_eq!(cluster.states(), states(["not run", "failed", "interrupted", "failed"]));
    let said = cluster.done(&["status", "a.toml"]);
    for part in [
        "a: 4 runs: 1 interrupted, 2 failed, 1 not run",
        "job 101_0 is not in the queue and left no log here",
        "a-seed2 said last:",
        "holds notes.txt, which no run wrote",
        "slurmstepd: error: oom",
    ] {
        assert!(said.out.contains(part), "no {part} in:\n{}", said.out);
    }
    let narrow = cluster.command(&["status", "a.toml"]).env("COLUMNS", "40").output().unwrap();
    assert!(String::from_utf8(narrow.stdout).unwrap().lines().all(|line| line.chars().count() <= 40));
    // Where there is no squeue.
    let said = world.done(&["status", "a.toml"]);
    assert!(said.out.contains("a-seed1  submitted"), "{}", said.out);
    // What is mended is submitted again, and only what is missing.
    fs_err::remove_file(world.path("results/a-seed2/notes.txt")).unwrap();
    world.done(&["run", "a.toml", "--only", "a-seed1"]);
    cluster.done(&["submit", "a.toml"]).has(&["1 done, 3 submitted as job 103 (3 runs)"]);
    assert_eq!(cluster.calls()[2], "--parsable --array=1-3 F/job.sh");
}
