//! Runs that come to their end: the whole tree, again the same bytes, every option.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tunelab::results::read_text;

use super::world::{World, fixture, tree};

const TREE: [&str; 16] = [
    "checkpoints/step-00000006.safetensors",
    "eval.csv",
    "grid.png",
    "inputs.json",
    "loss.csv",
    "loss.png",
    "loss.svg",
    "plan.toml",
    "run.json",
    "samples/base/a-cat/0.png",
    "samples/base/a-dog/0.png",
    "samples/tuned/a-cat/0.png",
    "samples/tuned/a-dog/0.png",
    "timing.csv",
    "weights/a.safetensors",
    "weights/pytorch_lora_weights.safetensors",
];

fn record(world: &World, run: &str) -> Value {
    serde_json::from_str(&world.text(&format!("{run}/run.json"))).expect("JSON")
}

/// The cells that are not empty: without a GPU its memory is not known.
fn rows(csv: &str) -> Vec<Vec<f64>> {
    let cells = |row: &str| {
        row.split(',').filter(|cell| !cell.is_empty()).map(|cell| cell.parse().expect("a number")).collect()
    };
    csv.lines().skip(1).map(cells).collect()
}

#[test]
fn a_run_leaves_the_whole_tree_and_says_what_it_did() {
    let world = World::new();
    let said = world.done(&["run", "a.toml"]);
    assert_eq!(tree(&world.path("results/a")), TREE);
    assert_eq!(said.out.lines().count(), 2, "the table only: {}", said.out);
    assert!(said.out.starts_with("run ") && said.out.lines().nth(1).is_some_and(|row| row.starts_with("a ")));
    // The run's beginning and end, and no line of its phases within a minute.
    let told: Vec<&str> = said.err.lines().filter(|line| line.starts_with("a: ")).collect();
    assert!(told.len() == 2 && told[0] == "a: 0 %, loading" && told[1].starts_with("a: done in "), "{}", said.err);
    said.has(&["training 9,152 parameters on 3 pictures for 6 steps", "results in results/a"]);

    let run = record(&world, "results/a");
    let expected = r#"{"trained_parameters":9152,"total_parameters":1750995,"images":3,"steps":6,"epochs":2}"#;
    assert_eq!(run["counts"].to_string(), expected);
    assert_eq!((&run["status"], &run["method"], &run["device"]), (&"finished".into(), &"lora".into(), &"cpu".into()));
    let plan = world.done(&["plan", "a.toml"]);
    assert!(plan.out.contains("trains 9,152 of") && plan.out.ends_with(&world.text("results/a/plan.toml")));
    let hash = |path: &Path| Value::from(tunelab::hash::sha256_of_file(path).expect("readable"));
    let unet = "unet/diffusion_pytorch_model.safetensors";
    assert_eq!(run["hashes"]["model"][unet], hash(&fixture("model").join(unet)));
    assert_eq!(run["hashes"]["data"]["rgb.png"], hash(&world.path("dog/rgb.png")));
    let inputs: Value = serde_json::from_str(&world.text("results/a/inputs.json")).expect("JSON");
    assert_eq!(inputs, run["hashes"]);

    let losses = rows(&world.text("results/a/loss.csv"));
    assert_eq!(losses.iter().map(|row| row[0]).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(losses.iter().map(|row| row[1]).collect::<Vec<_>>(), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    let evaluations = rows(&world.text("results/a/eval.csv"));
    assert_eq!(evaluations.iter().map(|row| row[0]).collect::<Vec<_>>(), [0.0, 2.0, 4.0, 6.0]);
    assert!(evaluations[3][1] < evaluations[0][1], "{evaluations:?}");
    // The record holds an f32 in decimal, as the log does.
    assert_eq!(run["loss"]["eval_last"].to_string(), evaluations[3][1].to_string());
    assert_eq!(rows(&world.text("results/a/timing.csv")).len(), 6);
}

#[test]
fn samples_say_how_they_were_made_and_training_changes_them() {
    let world = World::new();
    world.done(&["run", "a.toml", "--set", "train.steps=2"]);
    let sample = |model: &str| world.path(&format!("results/a/samples/{model}/a-cat/0.png"));
    let text = read_text(&sample("tuned")).expect("a PNG");
    let (_, parameters) = text.iter().find(|(key, _)| key == "parameters").expect("parameters");
    assert!(parameters.starts_with("a cat\n") && parameters.contains("Seed: 5"), "{parameters}");
    let pixels = |model| image::open(sample(model)).expect("a PNG").to_rgb8();
    assert_eq!(pixels("tuned").dimensions(), (64, 64));
    assert!(pixels("tuned") != pixels("base"));
}

#[test]
fn a_finished_run_is_not_run_again_and_never_overwritten() {
    let world = World::new();
    let quick = ["run", "a.toml", "--set", "train.steps=2", "--set", "eval.prompts=[]"];
    world.done(&quick);
    let (before, weights) = (world.read("results/a/run.json"), "results/a/weights/a.safetensors");
    let first = world.read(weights);
    let said = world.done(&quick);
    assert_eq!(said.out, "");
    said.has(&["finished already", "--force"]);
    world.refused(&["run", "a.toml", "--set", "seed=8"], &["results/a", "another plan", "--force"]);
    assert_eq!(world.read("results/a/run.json"), before);

    world.write("results/a/notes.txt", "mine");
    world.done(&[&quick[..], &["--force"]].concat());
    assert_ne!(world.read("results/a/run.json"), before);
    assert_eq!(world.read(weights), first);
    assert_eq!(world.text("results/a/notes.txt"), "mine");
}

#[test]
fn the_same_experiment_gives_the_same_bytes_anywhere() {
    let world = World::new();
    let run = |results: &str, threads: &str, file: &str| {
        let mut command = world.command(&["run", file, "--results", results]);
        // An unwritable home and another working folder.
        command.env("RAYON_NUM_THREADS", threads).env("HOME", "/proc").current_dir("/");
        assert_eq!(command.output().expect("the binary starts").status.code(), Some(0));
    };
    let path = |name: &str| world.path(name).display().to_string();
    run(&path("one"), "1", &path("a.toml"));
    run(&path("two"), "2", &path("a.toml"));
    // From the resolved plan, on the caches of the first run.
    fs_err::create_dir(world.path("warm")).expect("writable");
    fs_err::rename(world.path("one/.cache"), world.path("warm/.cache")).expect("writable");
    run(&path("warm"), "2", &path("one/a/plan.toml"));
    for name in TREE.iter().filter(|name| !["timing.csv", "run.json"].contains(name)) {
        let first = world.read(&format!("one/a/{name}"));
        for other in ["two", "warm"] {
            assert!(first == world.read(&format!("{other}/a/{name}")), "{name} of {other}");
        }
    }
}

#[test]
fn every_option_runs_and_does_something() {
    let world = World::new();
    let run = |results: &str, options: &[&str]| {
        let sets = options.iter().flat_map(|option| ["--set", option]);
        let args: Vec<&str> = ["run", "a.toml", "--results", results].into_iter().chain(sets).collect();
        world.done(&args);
        rows(&world.text(&format!("{results}/a/loss.csv")))
    };
    let plain = run("plain", &["eval.prompts=[]", "eval.every=0"]);
    assert_eq!(world.text("plain/a/eval.csv"), "step,eval_loss\n");
    assert!(!world.path("plain/a/samples").exists() && !world.path("plain/a/grid.png").exists());

    let crops = ["dataset.center_crop=false", "train.lr_scheduler=linear", "eval.sampler=ddim", "eval.images=2"];
    let linear = run("crops", &crops);
    assert!(world.path("crops/a/samples/tuned/a-cat/1.png").exists());
    let rates: Vec<f64> = linear.iter().map(|row| row[3]).collect();
    assert!(rates.is_sorted_by(|a, b| a > b) && linear[0][2].to_bits() != plain[0][2].to_bits(), "{linear:?}");

    let large = ["train.batch_size=7", "train.noise_offset=0.1", "eval.compare_base=false", "eval.sampler=euler_a"];
    let batches = run("large", &[&large[..], &["train.lr_scheduler=cosine", "dataset.random_flip=false"]].concat());
    // A batch is at most all pictures, so every step is an epoch.
    assert_eq!(batches.iter().map(|row| row[1]).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert!(!world.path("large/a/samples/base").exists());

    let more = ["train.gradient_accumulation=2", "train.snr_gamma=5", "adapter.lora.dropout=0.5", "train.epochs=2"];
    let end = ["train.lr_scheduler=polynomial", "train.warmup_steps=2", "eval.sampler=dpmpp_2m"];
    let steps = run("more", &[&more[..], &end, &["eval.guidance_scale=1", "train.checkpoint_every=2"]].concat());
    assert_eq!(steps.len(), 4);
    assert!(steps[0][3] < steps[1][3], "warm-up: {steps:?}");
}

/// Trained and drawn over the rescaled schedule; the model that is written says so, and the LoRA's run is drawn again so.
#[test]
fn zero_terminal_snr_is_trained_and_drawn() {
    let world = World::new();
    let file = world.model().join("scheduler/scheduler_config.json");
    let epsilon = fs_err::read_to_string(&file).expect("readable");
    world.refused(
        &["run", "a.toml", "--set", "model.path=model", "--set", "train.zero_terminal_snr=true"],
        &["`zero_terminal_snr`", "predicts v", "scheduler_config.json"],
    );
    fs_err::write(&file, epsilon.replace("\"epsilon\"", "\"v_prediction\"")).expect("writable");
    let run = |results: &str, options: &[&str]| {
        let common = ["model.path=model", "eval.prompts=['a cat']", "eval.compare_base=false"];
        let sets = common.iter().chain(options).flat_map(|option| ["--set", option]);
        let args: Vec<&str> = ["run", "a.toml", "--results", results].into_iter().chain(sets).collect();
        world.done(&args);
        (
            rows(&world.text(&format!("{results}/a/loss.csv"))),
            world.read(&format!("{results}/a/samples/tuned/a-cat/0.png")),
        )
    };
    let (plain, _) = run("plain", &["eval.sampler=ddim"]);
    let zero = ["train.zero_terminal_snr=true", "train.loss=huber"];
    let text = world.text("a.toml");
    for (results, adapter) in [("lora", "lora = { rank = 2, alpha = 3 }"), ("full", "full = {}")] {
        assert!(text.contains("adapter.lora = { rank = 2, alpha = 3 }"), "{text}");
        world.write("a.toml", text.replace("lora = { rank = 2, alpha = 3 }", adapter));
        let (losses, picture) = run(results, &zero);
        assert_ne!(losses[0][2].to_bits(), plain[0][2].to_bits());
        let drawn = format!("drawn-{results}");
        world.done(&["sample", &format!("{results}/a"), "--prompt", "a cat", "-o", &drawn]);
        assert!(world.read(&format!("{drawn}/a-cat/0.png")) == picture, "{results}");
        fs_err::remove_file(world.path(&format!("{results}/a/samples/tuned/a-cat/0.png"))).expect("it was there");
        let sets = [&["model.path=model", "eval.prompts=['a cat']", "eval.compare_base=false"], &zero[..]].concat();
        let sets = sets.iter().flat_map(|option| ["--set", option]);
        world.done(&["run", "a.toml", "--results", results].into_iter().chain(sets).collect::<Vec<_>>());
        assert!(world.read(&format!("{results}/a/samples/tuned/a-cat/0.png")) == picture, "{results}, drawn again");
    }
    let written = world.text("full/a/weights/scheduler/scheduler_config.json");
    for part in ["\"rescale_betas_zero_snr\": true", "\"timestep_spacing\": \"trailing\"", "scaled_linear"] {
        assert!(written.contains(part), "{written}");
    }
}

#[test]
fn of_several_files_the_good_ones_run_and_the_table_comes_once() {
    let world = World::new();
    let text = world.text("a.toml").replace("steps = 6", "steps = 1").replace("['a dog', 'a cat']", "[]");
    world.write("a.toml", &text);
    world.write("c.toml", &text);
    world.write("bad.toml", text.replace("rank", "rnak"));
    let said = world.tunelab(&["run", "a.toml", "bad.toml", "c.toml"]);
    let lines = |beginning| said.out.lines().filter(|line| line.starts_with(beginning)).count();
    assert_eq!((said.code, lines("run "), lines("a "), lines("c ")), (Some(2), 1, 1, 1), "{}\n{}", said.out, said.err);
    said.has(&["bad.toml", "did you mean `rank`?", "1 of 3 experiments failed"]);
    let told = |word| said.err.find(word).expect("it is said");
    assert!(told("rnak") < told("training"), "problems are told before the first run");
    assert!(world.path("results/a/run.json").exists() && world.path("results/c/run.json").exists());

    let same = ["run", "a.toml", "c.toml", "--set", "name=b", "--results", "other"];
    world.refused(&same, &["c.toml has the same name as a.toml", "hint"]);
    assert!(!world.path("other").exists());
}

#[test]
#[cfg(target_os = "linux")]
fn nobody_has_to_listen() {
    let world = World::new();
    let full = || fs_err::File::create("/dev/full").expect("Linux has it").into_parts().0;
    let run = ["run", "a.toml", "--set", "train.steps=1", "--set", "eval.prompts=[]"];
    let code = world.command(&run).stdout(Stdio::null()).stderr(full()).status().expect("it starts").code();
    assert_eq!(code, Some(0));
    let run = [&run[..], &["--force"]].concat();
    let said: super::world::Said = world.command(&run).stdout(full()).output().expect("it starts").into();
    assert_eq!(said.code, Some(1));
    said.has(&["cannot write to stdout"]);
    let mut child = world.command(&run).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
