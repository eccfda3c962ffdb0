//! Going on with what is there: damaged checkpoints, short logs, outputs that were removed; and what the record says of a run that took
//! several processes.

use serde_json::Value;

use super::world::{Said, World, tree};

/// Six steps with a checkpoint at every second, all kept.
const RUN: [&str; 6] = ["run", "a.toml", "--set", "train.checkpoint_every=2", "--set", "train.keep_checkpoints=9"];

fn checkpoint(step: usize) -> String {
    format!("results/a/checkpoints/step-{step:08}.safetensors")
}

/// A world with the finished run, and what it wrote that a rerun must repeat.
fn finished() -> (World, Vec<(String, Vec<u8>)>) {
    let world = World::new();
    world.done(&RUN);
    let names =
        tree(&world.path("results/a")).into_iter().filter(|name| !["timing.csv", "run.json"].contains(&&**name));
    let files = names.map(|name| (name.clone(), world.read(&format!("results/a/{name}")))).collect();
    (world, files)
}

/// As if the run had been cut off after its last step.
fn cut_off(world: &World) {
    fs_err::remove_file(world.path("results/a/run.json")).expect("it is there");
    fs_err::remove_dir_all(world.path("results/a/weights")).expect("it is there");
}

fn assert_whole(world: &World, files: &[(String, Vec<u8>)]) {
    assert!(world.path("results/a/run.json").exists());
    for (name, bytes) in files {
        assert!(world.read(&format!("results/a/{name}")) == *bytes, "{name}");
    }
}

fn record(world: &World) -> Value {
    serde_json::from_str(&world.text("results/a/run.json")).expect("JSON")
}

#[test]
fn a_damaged_checkpoint_is_passed_over_for_the_one_before() {
    let (world, files) = finished();
    let damage = |step: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let name = checkpoint(step);
        let mut bytes = world.read(&name);
        change(&mut bytes);
        world.write(&name, bytes);
    };
    let flip_a_bit = |bytes: &mut Vec<u8>| {
        let last = bytes.len() - 4;
        bytes[last] ^= 1;
    };
    let warned = |said: &Said, parts: &[&str]| {
        let warnings: Vec<&str> = said.err.lines().filter(|line| line.starts_with("warning: ")).collect();
        assert_eq!(warnings.len(), 1, "{}", said.err);
        assert!(parts.iter().all(|part| warnings[0].contains(part)), "{warnings:?}");
    };

    cut_off(&world);
    damage(6, &flip_a_bit);
    let said = world.done(&RUN);
    warned(&said, &["goes back to step 4", "step-00000006.safetensors", "not what was written"]);
    said.has(&["going on after step 4"]);
    assert_whole(&world, &files);

    cut_off(&world);
    damage(6, &|bytes| bytes.truncate(bytes.len() - 1));
    // The number of the step, in the header.
    damage(4, &|bytes| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let at = text.find("\"step\":\"4\"").expect("its step") + 8;
        bytes[at] = b'3';
    });
    let said = world.done(&RUN);
    warned(&said, &["goes back to step 2", "step-00000006", "step-00000004"]);
    assert_whole(&world, &files);

    cut_off(&world);
    for step in [2, 4, 6] {
        damage(step, &|bytes| bytes[8] = b'x');
    }
    let said = world.done(&RUN);
    warned(&said, &["starts over"]);
    assert!(!said.err.contains("going on after"), "{}", said.err);
    assert_whole(&world, &files);
}

/// Hours of work are not thrown away because they carry no hash yet.
#[test]
fn a_checkpoint_of_an_earlier_version_is_neither_believed_nor_removed() {
    let (world, _) = finished();
    cut_off(&world);
    let file = world.path(&checkpoint(6));
    let tensors = candle_core::safetensors::load(&file, &candle_core::Device::Cpu).expect("readable");
    candle_core::safetensors::save(&tensors, &file).expect("writable");
    let bytes = world.read(&checkpoint(6));
    world.refused(
        &RUN,
        &["step-00000006.safetensors", "an earlier version", "hint: go on with that version", "--force"],
    );
    assert!(world.read(&checkpoint(6)) == bytes);
}

#[test]
fn what_is_missing_of_a_finished_run_is_made_again() {
    let (world, files) = finished();
    let remove = |name: &str| fs_err::remove_file(world.path(&format!("results/a/{name}"))).expect("it is there");
    assert!(world.done(&RUN).err.contains("finished already"));

    remove("weights/a.safetensors");
    let said = world.done(&RUN);
    said.has(&["results/a: weights/a.safetensors is missing, so the training goes on", "going on after step 6"]);
    assert_whole(&world, &files);

    let spent = record(&world)["seconds"]["total"].as_f64();
    remove("samples/tuned/a-dog/0.png");
    remove("grid.png");
    let said = world.done(&RUN);
    said.has(&["results/a: samples/tuned/a-dog/0.png and 1 more are missing, so only the pictures are drawn again"]);
    assert!(!said.err.contains("training"), "{}", said.err);
    assert_whole(&world, &files);
    assert!(record(&world)["seconds"]["total"].as_f64() > spent, "this process's time counts too");
    assert!(world.done(&RUN).err.contains("finished already"));

    // Other pictures are asked for, of weights that are gone.
    remove("weights/a.safetensors");
    let said = world.done(&[&RUN[..], &["--set", "eval.prompts=['a cat']"]].concat());
    said.has(&["weights/a.safetensors is missing", "going on after step 6"]);
    let names = tree(&world.path("results/a/samples"));
    assert_eq!(names, ["base/a-cat/0.png", "tuned/a-cat/0.png"]);
    let weights = files.iter().find(|(name, _)| name == "weights/a.safetensors").expect("it was there");
    assert!(world.read("results/a/weights/a.safetensors") == weights.1);
    let named: Vec<String> = serde_json::from_value(record(&world)["files"].clone()).expect("names");
    let wanted = ["weights/pytorch_lora_weights.safetensors", "weights/a.safetensors"];
    assert_eq!(named, [&wanted[..], &["samples/base/a-cat/0.png", "samples/tuned/a-cat/0.png", "grid.png"]].concat());
}

#[test]
fn the_record_covers_every_process_that_worked_on_the_run() {
    let (world, files) = finished();
    cut_off(&world);
    fs_err::remove_file(world.path(&checkpoint(6))).expect("it is there");
    // As if an earlier process had taken more than an hour and a terabyte, in a step that is to be taken again.
    let timing = world.text("results/a/timing.csv");
    let (kept, last) = timing.trim_end().rsplit_once('\n').expect("rows");
    assert!(last.starts_with("6,"), "{timing}");
    world.write("results/a/timing.csv", format!("{kept}\n6,1.5,10.0,1048576.0,4000.0\n"));
    let said = world.done(&RUN);
    assert_whole(&world, &files);
    let (record, timing) = (record(&world), world.text("results/a/timing.csv"));
    let number = |value: &Value| value.as_f64().expect("a number");
    let total = number(&record["seconds"]["total"]);
    assert!(total > 4000.0 && total < 5000.0, "{total}");
    assert!((number(&record["peak_memory"]["host_mib"]) - 1_048_576.0).abs() < 1.0);
    let column = |at: usize| -> Vec<f64> {
        timing.lines().skip(1).map(|row| row.split(',').nth(at).expect("a cell").parse().expect("a number")).collect()
    };
    let (steps, seconds, totals) = (column(0), column(1).iter().sum::<f64>(), column(4));
    assert_eq!(steps, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(totals[3] < 4000.0 && totals[4] > 4000.0 && totals[5] > totals[4], "{totals:?}");
    assert!((number(&record["seconds"]["training"]) - seconds).abs() < 1e-6);
    assert!((number(&record["seconds"]["per_step"]) - seconds / 6.0).abs() < 1e-6);
    assert!(said.out.contains("total time") && said.out.contains("1 h 06 min") && said.out.contains("1024.00 GiB"));
    assert!(world.text("results/table.csv").contains(",1048576,"));
}

#[test]
fn a_timing_log_that_is_short_or_gone_stops_nothing() {
    let (world, files) = finished();
    for text in [Some("step,seconds,memory_mib\n1,0.5,\n2,0."), Some("\u{0}\u{0}"), None] {
        cut_off(&world);
        fs_err::remove_file(world.path(&checkpoint(6))).expect("it is there");
        match text {
            Some(text) => world.write("results/a/timing.csv", text),
            None => fs_err::remove_file(world.path("results/a/timing.csv")).expect("it is there"),
        }
        world.done(&RUN).has(&["going on after step 4"]);
        assert_whole(&world, &files);
    }
}

/// Without its rows the run could not come to an end: what is advised must work.
#[test]
fn a_loss_log_that_is_gone_or_short_is_wrong_input_with_a_way_out() {
    let (world, files) = finished();
    for name in ["loss.csv", "eval.csv"] {
        cut_off(&world);
        let log = world.read(&format!("results/a/{name}"));
        fs_err::remove_file(world.path(&format!("results/a/{name}"))).expect("it is there");
        let said =
            world.refused(&RUN, &[&format!("results/a/{name} is not there, and there is the checkpoint of step 6")]);
        said.has(&[&format!("hint: put the {name} of this run back, or start over with --force")]);
        world.write(&format!("results/a/{name}"), log);
        world.done(&RUN);
        assert_whole(&world, &files);
    }
    cut_off(&world);
    let short: String = world.text("results/a/loss.csv").split_inclusive('\n').take(3).collect();
    world.write("results/a/loss.csv", short);
    world.refused(&RUN, &["results/a/loss.csv does not reach the checkpoint of step 6", "--force"]);
    fs_err::remove_file(world.path("results/a/loss.csv")).expect("it is there");
    world.done(&[&RUN[..], &["--force"]].concat());
    assert_whole(&world, &files);
}

#[test]
fn the_evaluation_sees_the_average_and_the_training_does_not_notice() {
    let world = World::new();
    let run = |results: &str, adapter: &str| {
        let text = world.text("a.toml").replace("adapter.lora = { rank = 2, alpha = 3 }", adapter);
        world.write("full.toml", text);
        let quick = ["--set", "name=a", "--set", "eval.prompts=[]", "--set", "train.steps=4"];
        world.done(&[&["run", "full.toml", "--results", results][..], &quick].concat());
        [EVAL, LOSS].map(|name| world.text(&format!("{results}/a/{name}")))
    };
    let [plain, losses] = run("plain", "adapter.full = {}");
    let [averaged, same] = run("averaged", "adapter.full = { ema_decay = 0.9 }");
    assert_eq!(losses, same);
    let row = |text: &str, at: usize| text.lines().nth(at).expect("a row").to_owned();
    assert_eq!(row(&plain, 1), row(&averaged, 1), "before the first step there is one set of weights");
    assert_ne!(row(&plain, 3), row(&averaged, 3));
}

const EVAL: &str = "eval.csv";
const LOSS: &str = "loss.csv";
