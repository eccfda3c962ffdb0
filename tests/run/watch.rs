//! A run that is watched: `progress.json` from its first phase to its end, and what is said when it has ended.

use std::process::Command;
use std::time::{Duration, Instant};

use tunelab::results::{RunProgressRecord, RunState};

use super::cut::{ENDLESS, ended, send, started};
use super::world::{World, tree};

fn seen(world: &World) -> Option<RunProgressRecord> {
    RunProgressRecord::read(&world.path("results/a"))
}

/// Waits until the run says something of itself that is `wanted`.
fn until(world: &World, wanted: impl Fn(&RunProgressRecord) -> bool) -> RunProgressRecord {
    let begun = Instant::now();
    loop {
        if let Some(record) = seen(world).filter(&wanted) {
            return record;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", seen(world));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_run_says_how_far_it_is_and_then_no_more() {
    let world = World::new();
    fs_err::write(world.path("dog/notes.png"), "no picture").expect("writable");
    let more = ["--set", "dataset.skip_broken=true"];
    let child = started(&world, &[&ENDLESS[..], &more].concat(), 3);
    let first = until(&world, |record| record.phase == "training" && record.done > 0);
    assert_eq!((first.state, first.total, &first.error), (RunState::Running, 1_000_000, &None));
    assert!(first.message.starts_with("loss ") && first.fraction > 0.0 && first.fraction < 0.5, "{first:?}");
    assert!(first.seconds_left > Some(1.0) && first.seconds_per_unit > Some(0.0), "{first:?}");
    assert!(first.warnings.len() == 1 && first.warnings[0].contains("notes.png"), "{first:?}");
    let later = until(&world, |record| record.updated > first.updated);
    assert!(later.done > first.done && (later.begun - first.begun).abs() < 1e-9 && first.begun <= first.updated);
    assert!(later.updated - first.updated > 1.5, "at most every two seconds: {later:?}");

    send("-INT", &child);
    assert_eq!(ended(child).code, Some(130));
    let left = seen(&world).expect("it stays");
    assert_eq!((left.state, left.phase.as_str(), left.seconds_left), (RunState::Interrupted, "training", None));
    let checkpoint = left.done;

    // It goes on, and counts what was done before it.
    let child = started(&world, &[&ENDLESS[..], &more].concat(), usize::try_from(checkpoint).expect("few") + 1);
    let again = until(&world, |record| record.state == RunState::Running && record.phase == "training");
    assert!(again.done >= checkpoint && again.begun > left.begun, "{again:?}");
    send("-KILL", &child);
    assert_eq!(ended(child).code, None);
    assert_eq!(seen(&world).map(|record| record.state), Some(RunState::Running), "a killed run cannot say so");

    let short = [&["run", "a.toml"][..], &more].concat();
    let done = world.done(&[&short[..], &["--force"]].concat());
    assert!(world.path("results/a/run.json").is_file() && !world.path("results/a/progress.json").exists());
    // What a process left that was killed between its two last acts.
    world.write("results/a/progress.json", "{\"phase\": ");
    world.done(&short).has(&["finished already"]);
    assert!(!world.path("results/a/progress.json").exists(), "{}", done.err);
}

#[test]
fn a_run_that_fails_says_why_and_a_damaged_file_stops_nothing() {
    let world = World::new();
    let model = world.model();
    world.write("a.toml", world.text("a.toml").replace(&super::world::fixture("model").display().to_string(), "model"));
    let unet = model.join("unet/diffusion_pytorch_model.safetensors");
    let whole = fs_err::read(&unet).expect("readable");
    fs_err::write(&unet, &whole[..whole.len() / 2]).expect("writable");
    world.refused(&["run", "a.toml"], &["unet"]);
    let left = seen(&world).expect("it stays");
    assert_eq!((left.state, left.phase.as_str()), (RunState::Failed, "loading"));
    assert!(left.error.is_some_and(|error| error.contains("unet") && !error.contains('\n')));

    // A plan that left nothing gives way to another one, whatever it said of its progress.
    fs_err::write(&unet, &whole).expect("writable");
    world.write("results/a/progress.json", [0xff, 0]);
    world.done(&["run", "a.toml", "--set", "seed=9", "--set", "eval.prompts=[]"]);
    assert!(!world.path("results/a/progress.json").exists());
}

#[test]
fn the_end_says_what_to_look_at_once_and_its_commands_work() {
    let world = World::new();
    let quick = ["--set", "train.steps=1", "--set", "eval.steps=1", "--set", "eval.prompts=[\"it's $HOME\"]"];
    let text = world.text("a.toml");
    world.write("b.toml", text);
    let said = world.done(&[&["run", "a.toml", "b.toml", "--results", "my results"][..], &quick].concat());
    assert_eq!(said.err.matches("to look at:").count(), 1, "{}", said.err);
    said.has(&["\n1/2 my results/a\n", "\n2/2 my results/b\n"]);
    let told = said.err.split("to look at:").nth(1).expect("it is there");
    let files = "in each of the 2 folders: grid.png (its pictures), loss.png (its curve), weights (what was trained)\n";
    assert!(told.contains(files), "{told}");
    let summary = said.err.find("2 experiments:").expect("a summary");
    assert!(summary < said.err.find("to look at:").expect("it is there"), "{}", said.err);
    assert!(!told.contains("steps.png"), "{told}");
    let commands: Vec<&str> = told.lines().filter_map(|line| line.trim().strip_prefix("tunelab ")).collect();
    assert_eq!(commands.len(), 2, "a sample and the page: {told}");
    for command in commands {
        let command = command.split("   ").next().expect("the command");
        let script = format!("\"$0\" {command}");
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", &script, env!("CARGO_BIN_EXE_tunelab")]).current_dir(world.path("")).output();
        let output = output.expect("sh is there");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(world.path("my results/index.html").is_file() && world.path("pictures/b/grid.png").is_file());
    let drawn: Vec<String> =
        tree(&world.path("pictures")).into_iter().filter(|name| name.ends_with("/0.png")).collect();
    assert!(drawn.len() == 1 && drawn[0].starts_with("b/it-s-"), "the prompt came through: {drawn:?}");
}
