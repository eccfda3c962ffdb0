//! Runs that do not come to their end: interrupted, killed, on a full disk.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{Said, World, tree};

/// Starts a run and waits until its log has `rows` steps.
pub fn started(world: &World, args: &[&str], rows: usize) -> Child {
    let child = spawned(world.command(args));
    wait(world, rows);
    child
}

pub fn spawned(command: Command) -> Child {
    heard(command).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the binary starts")
}

/// The command with signals as a terminal gives them: where tests run in the background they may be ignored, and would stay so.
fn heard(command: Command) -> Command {
    if !cfg!(target_os = "linux") {
        return command;
    }
    let mut plain = Command::new("/usr/bin/env");
    plain.arg("--default-signal=HUP,INT,TERM").arg(command.get_program()).args(command.get_args());
    plain.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.get_current_dir().map(|folder| plain.current_dir(folder));
    plain.stdin(Stdio::null());
    plain
}

/// The steps in the log.
fn logged(world: &World) -> usize {
    let log = world.path("results/a/loss.csv");
    fs_err::read_to_string(&log).map_or(0, |text| text.lines().count().saturating_sub(1))
}

fn wait(world: &World, rows: usize) {
    let begun = Instant::now();
    while logged(world) < rows {
        assert!(begun.elapsed() < Duration::from_mins(1), "no step in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// More steps than any test waits for, without a checkpoint before the end.
pub const ENDLESS: [&str; 6] = ["run", "a.toml", "--set", "train.steps=1000000", "--set", "train.checkpoint_every=0"];

pub fn ended(child: Child) -> Said {
    child.wait_with_output().expect("it ends").into()
}

/// What a run says that is begun again where this one was cut off, until it trains.
fn said_next(world: &World, cut: Child) -> String {
    drop(ended(cut));
    let rows = logged(world);
    let mut next = spawned(world.command(&ENDLESS));
    let begun = Instant::now();
    // It writes its logs anew, or goes on with them.
    while logged(world) == rows {
        assert!(begun.elapsed() < Duration::from_mins(1), "no step in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
    next.kill().expect("it runs");
    ended(next).err
}

pub fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

#[test]
fn ctrl_c_ends_with_130_and_keeps_the_log() {
    let world = World::new();
    let child = started(&world, &["run", "a.toml", "--set", "train.steps=100000"], 3);
    send("-INT", &child);
    let said = ended(child);
    assert_eq!((said.code, said.out.as_str()), (Some(130), ""), "{}", said.err);
    said.has(&["stopping", "error: interrupted"]);
    let log = world.text("results/a/loss.csv");
    assert!(log.ends_with('\n') && log.lines().count() > 3 && log.lines().all(|row| row.split(',').count() == 5));
    let step = log.lines().count() - 1;
    said.has(&[&format!("the last checkpoint holds step {step}; the same command goes on from there")]);
    let left = tree(&world.path("results"));
    assert!(left.iter().all(|name| !name.contains("tmp") && !name.ends_with("run.json")), "{left:?}");
}

/// Whoever stops a run while it draws loses no step: the checkpoint that is written is of the step that draws.
#[test]
fn ctrl_c_among_the_images_of_a_step_keeps_its_training() {
    let world = World::new();
    let set = ["eval.images=6", "eval.images_every=3", "train.checkpoint_every=0"];
    let mut args = vec!["run", "a.toml"];
    for set in set {
        args.extend(["--set", set]);
    }
    let child = spawned(world.command(&args));
    let begun = Instant::now();
    while !world.path("results/a/samples/step-000003/a-dog/0.png").is_file() {
        assert!(begun.elapsed() < Duration::from_mins(2), "no picture in two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
    send("-INT", &child);
    let said = ended(child);
    assert_eq!(said.code, Some(130), "{}", said.err);
    said.has(&["the last checkpoint holds step 3; the same command goes on from there"]);
    let drawn = tree(&world.path("results/a/samples/step-000003"));
    assert!((1..12).contains(&drawn.len()), "{drawn:?}");
    let said = world.done(&args);
    said.has(&["going on after step 3"]);
    assert_eq!(tree(&world.path("results/a/samples/step-000003")).len(), 12);
    assert_eq!(logged(&world), 6);
}

/// docker stop, batch systems and systemd send SIGTERM, a terminal that is closed SIGHUP.
#[test]
fn other_signals_stop_as_ctrl_c_does_and_give_their_own_code() {
    for (signal, code) in [("TERM", 143), ("HUP", 129)] {
        let world = World::new();
        let child = started(&world, &ENDLESS, 3);
        // Who ends a whole group of processes may reach each of them twice.
        send(&format!("-{signal}"), &child);
        send(&format!("-{signal}"), &child);
        let said = ended(child);
        assert_eq!((said.code, said.out.as_str()), (Some(code), ""), "{}", said.err);
        let step = logged(&world);
        said.has(&["stopping where nothing is lost", &format!("error: interrupted by SIG{signal}")]);
        said.has(&[&format!("the last checkpoint holds step {step}; the same command goes on from there")]);
        assert_eq!(tree(&world.path("results/a/checkpoints")), [format!("step-{step:08}.safetensors")]);
        let next = spawned(world.command(&ENDLESS));
        wait(&world, step + 1);
        send(&format!("-{signal}"), &next);
        let said = ended(next);
        said.has(&["results/a: going on with a run that was cut off", &format!("going on after step {step}")]);
    }
}

#[test]
fn a_second_signal_ends_at_once_with_its_own_code() {
    let world = World::new();
    let child = started(&world, &ENDLESS, 3);
    // Both are there when the process goes on; the one with the smaller number comes first.
    for signal in ["-STOP", "-INT", "-HUP", "-CONT"] {
        send(signal, &child);
    }
    let said = ended(child);
    assert_eq!(said.code, Some(130), "{}", said.err);
    said.has(&["a second signal is needed to stop at once"]);
    assert!(!said.err.contains("error:") && !world.path("results/a/checkpoints").exists(), "{}", said.err);
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let world = World::new();
    let mut command = Command::new("bash");
    let script = "trap '' HUP INT; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_tunelab")]).args(ENDLESS).current_dir(world.path(""));
    let child = spawned(command);
    wait(&world, 3);
    send("-HUP", &child);
    send("-INT", &child);
    wait(&world, logged(&world) + 20);
    send("-TERM", &child);
    let said = ended(child);
    assert_eq!(said.code, Some(143), "{}", said.err);
    assert_eq!(said.err.matches("stopping").count(), 1, "{}", said.err);
}

#[test]
fn what_was_cut_off_without_a_checkpoint_begins_again_and_says_so() {
    let world = World::new();
    let mut child = started(&world, &ENDLESS, 3);
    child.kill().expect("it runs");
    let next = said_next(&world, child);
    let begins = "results/a: a run was cut off here before its first checkpoint, so it begins again";
    assert!(next.contains(begins) && !next.contains("going on"), "{next}");
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
    for (blocks, lost) in [(0, "plan.toml"), (2, ".cache"), (8, "0.png"), (40, "checkpoints/step-")] {
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

#[cfg(target_os = "linux")]
#[test]
fn no_memory_is_one_line_and_no_crash() {
    let world = World::new();
    // A picture that takes more than there is: 61 MiB as it is, and three times as much in colours.
    image::GrayImage::new(8000, 8000).save(world.path("dog/large.png")).expect("writable");
    let script = "ulimit -v 250000; exec \"$0\" run a.toml";
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_tunelab")]).current_dir(world.path(""));
    let said: Said = command.output().expect("bash is there").into();
    assert_eq!((said.code, said.out.as_str()), (Some(1), ""), "{}", said.err);
    let err = said.err.strip_prefix("a: 0 %, loading\n").expect("the run's beginning");
    assert!(err.starts_with("error: out of memory: the system has no ") && err.ends_with("needs less\n"));
    assert_eq!(err.lines().count(), 1, "{err}");
}

/// Nobody waits for a hub that says nothing, once asked to stop; and what is asked to stop begins nothing more.
#[test]
fn a_signal_is_heard_while_a_hub_is_silent() {
    let world = World::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", silent.local_addr().expect("an address"));
    let line = world.text("a.toml").lines().next().expect("the model").to_owned();
    let text = world.text("a.toml").replace(&line, "model.repo = 'a/model'");
    world.write("b.toml", &text);
    world.write("a.toml", &text);
    let mut command = world.command(&["run", "a.toml", "b.toml"]);
    command.env("HF_ENDPOINT", endpoint).env("HF_HOME", world.path("hf"));
    let child = spawned(command);
    let _asked = silent.accept().expect("it asks");
    let begun = Instant::now();
    send("-TERM", &child);
    let said: Said = child.wait_with_output().expect("it ends").into();
    assert_eq!(said.code, Some(143), "{}", said.err);
    assert!(begun.elapsed() < Duration::from_secs(8), "a hub has ten: {:?}", begun.elapsed());
    said.has(&["interrupted by SIGTERM", "not run       results/b"]);
    assert!(!said.err.contains("cannot be reached") && !world.path("results/b").exists(), "{}", said.err);
}
