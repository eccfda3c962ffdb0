//! Several runs at once: `--jobs`, and two commands on one results folder.

use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::cut::{ended, send, spawned};
use super::world::{World, tree};

/// `a.toml` as a sweep over seeds.
fn swept(seeds: &str) -> World {
    let world = World::new();
    world.write("a.toml", format!("{}[sweep]\nseed = '{seeds}'\n", world.text("a.toml").replace("seed = 7\n", "")));
    world
}

/// What a rerun must repeat, by path.
fn repeated(world: &World, run: &str) -> Vec<(String, Vec<u8>)> {
    let kept = |name: &String| {
        let begins = ["loss.csv", "eval.csv", "weights/", "samples/", "grid.png", "loss.png"];
        begins.iter().any(|begin| name.starts_with(begin))
    };
    let names = tree(&world.path(run)).into_iter().filter(kept);
    names.map(|name| (name.clone(), world.read(&format!("{run}/{name}")))).collect()
}

fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_mins(1), "no {what} in a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn rows(world: &World, run: &str) -> usize {
    fs_err::read_to_string(world.path(&format!("results/{run}/loss.csv"))).map_or(0, |text| text.lines().count())
}

#[test]
fn runs_at_once_write_what_each_writes_alone_and_draw_the_base_models_images_once() {
    let world = swept("1..4");
    let said = world.done(&["run", "a.toml", "--jobs", "2"]);
    said.has(&["4 experiments, 2 at once; each computes with", "4/4 results in results/a-seed", "4 experiments:"]);
    assert_eq!(said.err.matches("\n  done ").count(), 4, "{}", said.err);
    assert!(said.out.contains("a-seed1") && said.out.contains("a-seed4"), "the table: {}", said.out);
    assert_eq!(tree(&world.path("results/.cache/base_images")).len(), 2, "two prompts, for all runs");

    for seed in 1..=4 {
        let name = format!("a-seed{seed}");
        world.done(&["run", "a.toml", "--only", &name, "--results", &format!("alone{seed}")]);
        let alone = repeated(&world, &format!("alone{seed}/{name}"));
        assert!(alone.len() > 8 && alone == repeated(&world, &format!("results/{name}")), "{name}");
    }
    let csv = world.text("results/a.sweep/sweep.csv");
    assert!(csv.starts_with("run,seed,final_loss,eval_loss_last\na-seed1,1,") && csv.lines().count() == 5, "{csv}");
    let groups = world.text("results/a.sweep/groups.csv");
    assert!(
        groups.starts_with("runs,stand_in,final_loss_mean,final_loss_sd,") && groups.contains("\n4,false,"),
        "{groups}"
    );

    let again = world.done(&["run", "a.toml", "--jobs", "3"]);
    assert_eq!(again.err.matches("finished already with this plan").count(), 4, "{}", again.err);
    assert_eq!(again.err.matches("\n  already done ").count(), 4, "{}", again.err);
}

#[test]
fn what_is_wrong_with_one_stops_no_other_and_is_told_as_of_one_alone() {
    let world = swept("1..3");
    fs_err::create_dir_all(world.path("results/a-seed2")).unwrap();
    world.write("results/a-seed2/notes.txt", "mine");
    let said = world.tunelab(&["run", "a.toml", "--jobs", "2"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    said.has(&[
        "failed        results/a-seed2: results/a-seed2 holds notes.txt, which no run wrote, and no plan.toml",
        "hint: move those files away",
        "error: 1 of 3 experiments failed",
    ]);
    assert_eq!(said.err.matches("\n  done ").count(), 2, "{}", said.err);
    world.refused(&["run", "a.toml", "--only", "a-seed4"], &["there is no run called a-seed4", "did you mean a-seed"]);
    // Batches that no machine has the memory for.
    let large = ["adapter.lora.rank=2", "dataset.resolution=2048", "train.batch_size=4096"];
    let sets = large.iter().flat_map(|set| ["--set", set]);
    let args: Vec<&str> = ["run", "a.toml", "--jobs", "3"].into_iter().chain(sets).collect();
    world.refused(&args, &["3 runs at once need about", "of memory, as estimated, and this machine has"]);
    world.refused(&["run", "--job", "-"], &["--job is for tunelab's own use"]);
}

/// The processes that a process has started (Linux).
fn children(of: &Child) -> Vec<u32> {
    let id = of.id();
    let list = fs_err::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// More steps than any test waits for, without a checkpoint before the end.
const ENDLESS: [&str; 8] =
    ["run", "a.toml", "--jobs", "2", "--set", "train.steps=1000000", "--set", "train.checkpoint_every=0"];

/// Two endless runs that have begun.
fn at_work(world: &World, args: &[&str]) -> Child {
    let before = ["a-seed1", "a-seed2"].map(|run| rows(world, run));
    let parent = spawned(world.command(args));
    wait("steps of both", || rows(world, "a-seed1") > before[0] + 3 && rows(world, "a-seed2") > before[1] + 3);
    parent
}

#[cfg(target_os = "linux")]
#[test]
fn a_job_that_is_killed_takes_no_other_with_it_and_a_signal_stops_all_where_nothing_is_lost() {
    let world = swept("1..3");
    let parent = at_work(&world, &ENDLESS);
    let jobs = children(&parent);
    assert_eq!(jobs.len(), 2);
    let killed = Command::new("kill").args(["-9", &jobs[0].to_string()]).status().unwrap();
    assert!(killed.success());
    wait("third run", || rows(&world, "a-seed3") > 3);
    send("-INT", &parent);
    let said = ended(parent);
    assert_eq!(said.code, Some(130), "{}", said.err);
    said.has(&["the job died: a signal ended it, number 9", "its last lines:", "error: interrupted"]);
    assert_eq!(said.err.matches("\n  interrupted ").count(), 2, "{}", said.err);
    let saved = |run: &str| tree(&world.path(&format!("results/{run}/checkpoints")));
    let kept = ["a-seed1", "a-seed2", "a-seed3"].map(|run| (run, saved(run)));
    assert_eq!(kept.iter().filter(|(_, files)| files.len() == 1).count(), 2, "{kept:?}");
    for (run, files) in kept.iter().filter(|(_, files)| !files.is_empty()) {
        assert_eq!(files[0], format!("step-{:08}.safetensors", rows(&world, run) - 1), "no step is lost");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn jobs_stop_with_a_checkpoint_where_the_command_itself_is_killed() {
    let world = swept("1..2");
    let mut parent = at_work(&world, &ENDLESS);
    let jobs = children(&parent);
    parent.kill().unwrap();
    let _ = parent.wait();
    let is_there = |job: &u32| Path::new("/proc").join(job.to_string()).join("cwd").exists();
    wait("end of the jobs", || !jobs.iter().any(is_there));
    for run in ["a-seed1", "a-seed2"] {
        assert_eq!(tree(&world.path(&format!("results/{run}/checkpoints"))).len(), 1, "{run}");
    }
    let next = at_work(&world, &ENDLESS);
    send("-TERM", &next);
    let said = ended(next);
    assert_eq!(said.code, Some(143), "{}", said.err);
    said.has(&["results/a-seed1: going on with a run that was cut off"]);
}

/// Neither runs what the other runs, and what both need is made by one of them; twenty times.
#[test]
fn two_commands_at_once_share_one_results_folder() {
    let world = World::new();
    let model = super::world::fixture("model").display().to_string();
    world.write(
        "b.toml",
        format!(
            "model.path = '{model}'\ndataset = {{ path = 'dog', prompt = 'a sks dog', resolution = 64 }}\n\
             adapter.dreambooth = {{ class_prompt = 'a dog', class_images = 2, class_steps = 1, lora = {{ rank = 1 }} }}\n\
             train.steps = 1\neval = {{ prompts = ['a sks dog'], steps = 1 }}\nmetrics.encoders = []\n[sweep]\nseed = '1..2'\n"
        ),
    );
    for round in 0..20 {
        let results = format!("results{round}");
        let start = || spawned(world.command(&["run", "b.toml", "--results", &results]));
        let both = [start(), start()].map(ended);
        let said = both.iter().map(|said| said.err.as_str()).collect::<String>();
        assert!(both.iter().all(|said| said.code == Some(0)), "round {round}: {said}");
        let count = |words: &str| said.matches(words).count();
        assert_eq!(count("\ntraining "), 2, "round {round}, no run twice: {said}");
        assert_eq!(count("\ndrawing 2 class pictures"), 1, "round {round}, no class image twice: {said}");
        assert_eq!(count("damaged"), 0, "round {round}: {said}");
        // Each has all runs: its own, and the other's that it came back to.
        assert!(both.iter().all(|said| said.err.contains("2 experiments:") && !said.err.contains("not run")), "{said}");
        let kept = |kind: &str| tree(&world.path(&format!("{results}/.cache/{kind}")));
        assert_eq!((kept("class_images").len(), kept("base_images").len()), (2, 1), "round {round}");
        assert!(tree(&world.path(&format!("{results}/.cache"))).iter().all(|name| !name.contains("tmp")));
        // What is kept is whole: it is read again by whoever starts over.
        if round == 0 {
            let again = world.done(&["run", "b.toml", "--results", &results, "--force"]);
            assert!(!again.err.contains("damaged") && !again.err.contains("class pictures in"), "{}", again.err);
        }
    }
}

/// A file that was changed between two commands: what its runs were before is no part of its sweep.
#[test]
fn runs_of_another_plan_are_no_part_of_what_came_of_a_sweep() {
    let world = swept("1..2");
    world.done(&["run", "a.toml"]);
    world.write("a.toml", world.text("a.toml").replace("steps = 6", "steps = 3").replace("'1..2'", "'1..3'"));
    let said = world.tunelab(&["run", "a.toml"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    said.has(&["1 run of the sweep a in", "; left out: 2 runs with the results of another plan"]);
    let csv = world.text("results/a.sweep/sweep.csv");
    assert!(csv.contains("\na-seed3,3,") && csv.lines().count() == 2, "{csv}");
    world.done(&["report"]);
    assert_eq!(world.text("results/a.sweep/sweep.csv"), csv, "the same of the tree alone");
    let status = world.done(&["status", "a.toml"]).out;
    assert!(status.contains("1 done, 2 failed") && status.contains("holds the results of another plan"), "{status}");
    world.done(&["run", "a.toml", "--force"]);
    assert_eq!(world.text("results/a.sweep/sweep.csv").lines().count(), 4);
}
