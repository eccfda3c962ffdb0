//! Runs on images of many shapes: equal bytes however they are cut off, class images in the buckets' sizes, masks, refusals.

use super::cut::{ended, spawned};
use super::world::{Said, World, tree};
use std::time::{Duration, Instant};
use tunelab::data::{Rgb, load_image};
use tunelab::results::write_png;

/// The miniature on seven images of four shapes.
const EXPERIMENT: &str = "\
seed = 3
model.builtin = 'mini'
metrics.encoders = []
[dataset]
path = 'odd'
prompt = 'a corgi'
resolution = 64
buckets = true
[adapter.lora]
rank = 2
[train]
epochs = 3
batch_size = 2
learning_rate = 1e-3
checkpoint_every = 3
keep_checkpoints = 20
[eval]
prompts = []
every = 4
";

/// Width and height of each image; with buckets of 16 pixels they are 96 x 32, 48 x 80, 64 x 64 and 80 x 48.
const SIZES: [(usize, usize); 7] = [(200, 70), (60, 100), (70, 70), (120, 75), (90, 150), (330, 110), (100, 160)];

fn world() -> World {
    let world = World::new();
    fs_err::create_dir(world.path("odd")).expect("writable");
    for (index, (width, height)) in SIZES.into_iter().enumerate() {
        let value = |i: usize| ((i * (index + 3)) % 251 + i / (width * 3)) as u8;
        let image = Rgb { width, height, pixels: (0..width * height * 3).map(value).collect() };
        write_png(&world.path("odd").join(format!("{index}.png")), &image, &[]).expect("writable");
    }
    world.write("a.toml", EXPERIMENT);
    world
}

/// The files that a rerun repeats.
fn files(world: &World, results: &str) -> Vec<(String, Vec<u8>)> {
    let names = ["loss.csv", "eval.csv", "weights/a.safetensors", "weights/pytorch_lora_weights.safetensors"];
    names.map(|name| (name.to_owned(), world.read(&format!("{results}/a/{name}")))).to_vec()
}

fn same(one: &[(String, Vec<u8>)], other: &[(String, Vec<u8>)], what: &str) {
    for ((name, a), (_, b)) in one.iter().zip(other) {
        assert!(a == b, "{what}: {name}");
    }
}

#[cfg(unix)]
#[test]
fn cut_off_killed_and_on_any_number_of_threads_the_bytes_are_equal() {
    for crop in ["true", "false"] {
        let world = world();
        let crop = format!("dataset.center_crop={crop}");
        let args = |results: &'static str| ["run", "a.toml", "--set", &*crop, "--results", results].map(str::to_owned);
        let run = |results, threads: &str| -> Said {
            let args = args(results);
            let mut command = world.command(&args.iter().map(String::as_str).collect::<Vec<_>>());
            let said: Said = command.env("RAYON_NUM_THREADS", threads).output().expect("it starts").into();
            assert_eq!(said.code, Some(0), "{}", said.err);
            said
        };
        run("whole", "2");
        let whole = files(&world, "whole");
        let log = world.text("whole/a/loss.csv");
        assert_eq!(
            log.lines().count(),
            1 + 3 * 5,
            "five batches: of two images 96 x 32 and 48 x 80, and what is left\n{log}"
        );
        for threads in ["1", "5"] {
            let results = if threads == "1" { "one" } else { "five" };
            run(results, threads);
            same(&whole, &files(&world, results), &format!("{threads} threads, {crop}"));
        }
        // In the middle of the second epoch.
        let args = args("killed");
        let mut child = spawned(world.command(&args.iter().map(String::as_str).collect::<Vec<_>>()));
        let begun = Instant::now();
        let log = world.path("killed/a/loss.csv");
        while fs_err::read_to_string(&log).map_or(0, |text| text.lines().count()) < 8 {
            assert!(begun.elapsed() < Duration::from_mins(2), "no step in two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().expect("it runs");
        drop(ended(child));
        run("killed", "2").has(&["going on after step"]);
        same(&whole, &files(&world, "killed"), &format!("killed, {crop}"));
        // As if it had been cut off after the third step, the middle of the first epoch.
        for name in ["run.json", "weights"] {
            let path = world.path(&format!("one/a/{name}"));
            if path.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) }.expect("it is there");
        }
        for name in tree(&world.path("one/a/checkpoints")) {
            if name != "step-00000003.safetensors" {
                fs_err::remove_file(world.path(&format!("one/a/checkpoints/{name}"))).expect("it is there");
            }
        }
        run("one", "2").has(&["going on after step 3"]);
        same(&whole, &files(&world, "one"), &format!("cut off, {crop}"));
    }
}

#[test]
fn the_plan_says_the_buckets_and_what_is_cut() {
    let world = world();
    let said = world.done(&["plan", "a.toml"]);
    for part in [
        "15 steps of 2 pictures",
        "buckets (width x height), 4 sizes:",
        "  96 x 32: 2 images",
        "  48 x 80: 3 images",
        "cut most: ",
        "bucket_step = 16",
        "min_side = 32",
        "max_side = 128",
    ] {
        assert!(said.out.contains(part), "no {part:?} in:\n{}", said.out);
    }
    // A plan is an experiment.
    world.write("b.toml", said.out.as_bytes());
    assert_eq!(world.done(&["plan", "b.toml"]).out, said.out);
    assert!(world.done(&["check", "a.toml", "--verbose"]).out.contains("buckets (width x height), 4 sizes:"));
    let squares = world.done(&["plan", "a.toml", "--set", "dataset.buckets=false"]).out;
    assert!(!squares.contains("bucket") && !squares.contains("min_side"), "{squares}");
    let pair =
        world.done(&["plan", "a.toml", "--set", "dataset.buckets=false", "--set", "dataset.resolution=[96, 64]"]).out;
    assert!(pair.contains("resolution = [96, 64]") && pair.contains("  96 x 64: 7 images"), "{pair}");
}

#[test]
fn what_does_not_go_together_is_refused_with_a_remedy() {
    let world = world();
    let refused = |set: &[&str], parts: &[&str]| {
        let mut args = vec!["check", "a.toml"];
        for set in set {
            args.extend(["--set", set]);
        }
        world.refused(&args, parts);
    };
    refused(&["dataset.bucket_step=24"], &["`bucket_step`", "multiples of 16", "16 and 32 are"]);
    refused(&["dataset.min_side=80"], &["`min_side`: 80 is longer than the square bucket's side, 64"]);
    refused(&["dataset.max_side=32"], &["`max_side`: 32 is shorter than the square bucket's side, 64"]);
    refused(&["dataset.bucket_step=128"], &["128 is longer than the resolution's side"]);
    refused(&["dataset.buckets=false", "dataset.upscale=true"], &["`upscale` says something only with buckets"]);
    refused(&["dataset.resolution=[100, 64]"], &["each side must be", "multiples of 8"]);
    refused(&["dataset.resolution=[72, 64]"], &["multiples of 16", "[80, 64] is such"]);
    refused(&["dataset.resolution=[64]"], &["[width, height]"]);
    refused(&["dataset.unmasked_weight=0.5"], &["`unmasked_weight` says something only with `masked_loss`"]);
}

#[test]
fn images_that_are_too_small_are_named() {
    let world = world();
    for (name, (width, height)) in [("small", (40, 40)), ("tiny", (20, 90))] {
        let image = Rgb { width, height, pixels: vec![90; width * height * 3] };
        write_png(&world.path("odd").join(format!("{name}.png")), &image, &[]).expect("writable");
    }
    let run = ["run", "a.toml", "--set", "train.steps=1"];
    world.refused(&run, &["`min_side` (32)", "`tiny.png` (20 x 90)", "upscale = true", "skip_broken"]);
    let said = world.done(&["plan", "a.toml"]).out;
    assert!(said.contains("too small for every bucket: tiny.png"), "{said}");
    assert!(said.contains("so in a smaller one: ") && said.contains("small.png (40 x 40 to 32 x 32)"), "{said}");
    let said = world.done(&[&run[..], &["--set", "dataset.skip_broken=true"]].concat());
    said.has(&[
        "left out, smaller than every bucket: `tiny.png` (20 x 90)",
        "`small.png` (40 x 40) in 32 x 32 and not 64 x 64",
    ]);
    let said = world.done(&[&run[..], &["--set", "dataset.upscale=true", "--results", "up"]].concat());
    assert!(!said.err.contains("too small"), "{}", said.err);
    // The same files are still the same inputs.
    assert!(
        world
            .done(&[&run[..], &["--set", "dataset.upscale=true", "--results", "up"]].concat())
            .err
            .contains("finished already")
    );
}

#[test]
fn class_images_are_drawn_in_the_sizes_of_the_buckets() {
    let world = world();
    let text = EXPERIMENT.replace(
        "[adapter.lora]",
        "[adapter.dreambooth]\nclass_prompt = 'a dog'\nclass_images = 7\nclass_steps = 2\nclass_batch_size = 2\n[adapter.dreambooth.lora]",
    );
    world.write("a.toml", text);
    let run = ["run", "a.toml", "--set", "train.epochs=1"];
    world.done(&run).has(&["drawing 7 class pictures in 5 batches"]);
    let root = world.path("results/.cache/class_images");
    let mut sizes: Vec<(usize, usize)> = tree(&root)
        .iter()
        .map(|name| load_image(&root.join(name)).map(|image| (image.width, image.height)).expect("a picture"))
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [(48, 80), (48, 80), (48, 80), (64, 64), (80, 48), (96, 32), (96, 32)]);
    let log = world.text("results/a/loss.csv");
    assert_eq!(log.lines().count(), 1 + 5, "{log}");
    assert!(world.done(&["plan", "a.toml", "--set", "train.epochs=1"]).out.contains("5 steps of 2 pictures"));
    // Own images have the shapes that they have: those without any take all.
    fs_err::create_dir(world.path("pets")).expect("writable");
    for name in ["0.png", "5.png"] {
        fs_err::copy(world.path("odd").join(name), world.path("pets").join(name)).expect("writable");
    }
    let own = world.text("a.toml").replace("class_images = 7\n", "class_path = 'pets'\n");
    world.write("a.toml", own);
    world.done(&["run", "a.toml", "--set", "train.epochs=1", "--results", "own"]);
    assert_eq!(world.text("own/a/loss.csv").lines().count(), 1 + 5);
}

#[test]
fn images_are_drawn_in_the_size_that_eval_names() {
    let world = world();
    let sizes = [
        "--set",
        "eval.prompts=['a corgi']",
        "--set",
        "eval.steps=2",
        "--set",
        "eval.width=48",
        "--set",
        "eval.height=80",
    ];
    // 48 is below the least.
    world.refused(&[&["check", "a.toml"][..], &sizes].concat(), &["`width`", "64"]);
    let sizes = [
        "--set",
        "eval.prompts=['a corgi']",
        "--set",
        "eval.steps=2",
        "--set",
        "eval.width=64",
        "--set",
        "eval.height=96",
    ];
    let run = [&["run", "a.toml", "--set", "train.steps=1"][..], &sizes].concat();
    world.done(&run);
    let image = load_image(&world.path("results/a/samples/tuned/a-corgi/0.png")).expect("a picture");
    assert_eq!((image.width, image.height), (64, 96));
    let taller = [&run[..], &["--set", "eval.height=128"]].concat();
    world.done(&taller).has(&["only"]);
    let image = load_image(&world.path("results/a/samples/tuned/a-corgi/0.png")).expect("a picture");
    assert_eq!((image.width, image.height), (64, 128));
}

#[test]
fn masks_are_inputs_of_a_run_and_black_ones_are_named() {
    let world = world();
    let set = ["--set", "dataset.masked_loss=true", "--set", "train.steps=2"];
    let run = [&["run", "a.toml"][..], &set].concat();
    world.refused(&run, &["no image has a mask", "x.mask.png"]);
    let mask = |name: &str, (width, height): (usize, usize), value: u8| {
        let image = Rgb { width, height, pixels: vec![value; width * height * 3] };
        write_png(&world.path("odd").join(format!("{name}.mask.png")), &image, &[]).expect("writable");
    };
    mask("1", SIZES[1], 0);
    world.refused(&run, &["1.mask.png` is black all over", "hint: paint white"]);
    mask("2", (70, 71), 255);
    world.refused(
        &run,
        &["2 masks cannot be used", "1.mask.png", "2.mask.png` is 70 x 71 pixels, and its image is 70 x 70"],
    );
    fs_err::remove_file(world.path("odd/2.mask.png")).expect("it is there");
    mask("1", SIZES[1], 128);
    world.done(&run);
    let log = world.text("results/a/loss.csv");
    assert!(world.text("results/a/run.json").contains("1.mask.png"));
    mask("1", SIZES[1], 255);
    world.refused(&run, &["1.mask.png", "--force"]);
    world.done(&[&run[..], &["--force"]].concat());
    // What is transparent is black, and so is not white.
    let (width, height) = SIZES[1];
    let half = |x: usize| x < width / 2;
    let opacity = |x: u32, _| image::Rgba([255, 255, 255, if half(x as usize) { 255 } else { 0 }]);
    let file = world.path("odd/1.mask.png");
    image::RgbaImage::from_fn(width as u32, height as u32, opacity).save(&file).expect("writable");
    world.done(&[&run[..], &["--results", "transparent"]].concat());
    let pixels = (0..width * height * 3).map(|i| if half(i / 3 % width) { 255 } else { 0 }).collect();
    write_png(&file, &Rgb { width, height, pixels }, &[]).expect("writable");
    world.done(&[&run[..], &["--results", "black"]].concat());
    assert_eq!(world.text("transparent/a/loss.csv"), world.text("black/a/loss.csv"));
    assert_ne!(world.text("results/a/loss.csv"), world.text("black/a/loss.csv"));
    // White where nothing is trained.
    let (width, height) = SIZES[0];
    let pixels = (0..width * height * 3).map(|i| if i / 3 % width == 0 { 255 } else { 0 }).collect();
    write_png(&world.path("odd/0.mask.png"), &Rgb { width, height, pixels }, &[]).expect("writable");
    let squares = ["--set", "dataset.buckets=false", "--set", "dataset.center_crop=true", "--results", "squares"];
    world.refused(&[&run[..], &squares].concat(), &["0.mask.png` is black in all of its image that is trained"]);
    fs_err::rename(world.path("odd/0.mask.png"), world.path("odd/none.mask.png")).expect("it is there");
    let orphan = world.done(&[&run[..], &["--results", "orphan"]].concat());
    orphan.has(&["`none.mask.png` is named as a mask, and no image has the rest of its name: it is trained on"]);
    fs_err::remove_file(world.path("odd/none.mask.png")).expect("it is there");
    let plain = world.done(&["run", "a.toml", "--set", "train.steps=2", "--results", "plain"]);
    plain.has(&["1 mask not used: `masked_loss` in [dataset] is false"]);
    assert_ne!(log, world.text("results/a/loss.csv"));
}
