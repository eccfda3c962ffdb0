//! Runs that do not come to their end: interrupted, killed, on a full disk.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{Said, World, tree};

/// Starts a run and waits until its log has `rows` steps.
fn started(world: &World, args: &[&str], rows: usize) -> Child {
    let child = world.command(args).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts");
    let log = world.path("results/a/loss.csv");
    let begun = Instant::now();
    while fs_err::read_to_string(&log).map_or(0, |text| text.lines().count()) <= rows {
        assert!(begun.elapsed() < Duration::from_mins(1), "no step in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

#[test]
fn ctrl_c_ends_with_130_and_keeps_the_log() {
    let world = World::new();
    let child = started(&world, &["run", "a.toml", "--set", "train.steps=100000"], 3);
    send("-INT", &child);
    let said: Said = child.wait_with_output().expect("it ends").into();
    assert_eq!((said.code, said.out.as_str()), (Some(130), ""), "{}", said.err);
    said.has(&["stopping", "error: interrupted"]);
    let log = world.text("results/a/loss.csv");
    assert!(log.ends_with('\n') && log.lines().count() > 3 && log.lines().all(|row| row.split(',').count() == 5));
    let step = log.lines().count() - 1;
    said.has(&[&format!("the last checkpoint holds step {step}; the same command goes on from there")]);
    let left = tree(&world.path("results"));
    assert!(left.iter().all(|name| !name.contains("tmp") && !name.ends_with("run.json")), "{left:?}");
}

#[test]
fn a_killed_run_goes_on_and_gives_what_a_straight_run_gives() {
    let world = World::new();
    let run =
        ["run", "a.toml", "--set", "train.steps=60", "--set", "eval.prompts=[]", "--set", "train.checkpoint_every=2"];
    let mut child = started(&world, &run, 5);
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(!world.path("results/a/run.json").exists(), "60 steps were over too soon for this test");
    // What a run that was killed while it wrote would leave.
    world.write("results/a/.loss.png.1.tunelab-tmp", "half");
    fs_err::create_dir_all(world.path("results/a/weights")).expect("writable");
    world.write("results/a/weights/.a.safetensors.1.tunelab-tmp", "half");
    world.write("results/a/checkpoints/..step-00000002.safetensors.1.tunelab-tmp.tmp", "half");
    let said = world.done(&run);
    said.has(&["going on with a run that was cut off", "going on after step"]);
    world.done(&[&run[..], &["--results", "straight"]].concat());
    let (over, straight) = (tree(&world.path("results/a")), tree(&world.path("straight/a")));
    assert_eq!(over, straight);
    for name in ["loss.csv", "eval.csv", "weights/a.safetensors"] {
        assert!(world.read(&format!("results/a/{name}")) == world.read(&format!("straight/a/{name}")), "{name}");
    }
}

/// Files may have at most so many KiB: the cache, the pictures, the weights or nothing is cut. The error is that of a disk
/// without room, at the same system calls.
#[test]
fn a_full_disk_keeps_what_was_written() {
    let world = World::new();
    for (blocks, lost) in [(0, "plan.toml"), (1, ".cache"), (8, "0.png"), (40, "checkpoints/step-")] {
        let results = format!("full{blocks}");
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" run a.toml --results {results}");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_tunelab")]).current_dir(world.path(""));
        let said: Said = command.output().expect("bash is there").into();
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{blocks}: {}", said.err);
        said.has(&[lost, "hint: the disk is full"]);
        let left = tree(&world.path(&results));
        assert!(left.iter().all(|name| !name.contains("tmp") && !name.ends_with("run.json")), "{left:?}");
        for name in left.iter().filter(|name| Path::new(name).extension().is_some_and(|e| e == "png")) {
            image::open(world.path(&results).join(name)).expect("what is there is whole");
        }
        if blocks == 40 {
            assert_eq!(world.text("full40/a/loss.csv").lines().count(), 7);
            said.has(&["there is no checkpoint yet; the same command begins again at the first step"]);
            world.done(&["run", "a.toml", "--results", &results]);
        }
    }
}
