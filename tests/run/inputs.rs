//! Every input that can change a number: another one is never taken for the one that a run began with, was finished with, or left in the
//! cache.

use std::path::Path;

use super::world::{World, fixture, tree};

/// Six steps of DreamBooth on a copy of the small model, with captions and class images of the user's own.
const RUN: [&str; 6] = ["run", "a.toml", "--set", "train.checkpoint_every=2", "--set", "eval.prompts=[]"];

fn world() -> World {
    let world = World::new();
    let model = world.model();
    fs_err::create_dir(world.path("pets")).expect("writable");
    fs_err::copy(world.path("dog/rgb.png"), world.path("pets/pet.png")).expect("writable");
    for (name, caption) in [("rgb", "a dog"), ("progressive", "a dog on a mat"), ("lossy", "a cat")] {
        world.write(&format!("dog/{name}.txt"), caption);
    }
    let text = world.text("a.toml").replace(&fixture("model").display().to_string(), &model.display().to_string());
    let text = text.replace("prompt = 'a dog', ", "");
    let adapter =
        "adapter.dreambooth = { class_prompt = 'a pet', class_path = 'pets', lora = { rank = 2, alpha = 3 } }";
    // An instance prompt is what DreamBooth needs, so captions are tested without it.
    world.write(
        "own.toml",
        text.replace("adapter.lora = { rank = 2, alpha = 3 }", adapter)
            .replace("path = 'dog'", "path = 'dog', prompt = 'a dog'"),
    );
    world.write("a.toml", text);
    world
}

/// One change of one input, and how a refusal calls it.
struct Change {
    file: &'static str,
    told: &'static str,
    /// From the bytes before (nothing where there was no file) to the bytes after; no bytes remove the file.
    bytes: fn(Vec<u8>) -> Vec<u8>,
}

/// Flips a bit in the last number's mantissa.
fn last_number(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.len() - 2;
    bytes[at] ^= 1;
    bytes
}

/// White space at the end: the same meaning, another file.
fn longer(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.push(b'\n');
    bytes
}

fn removed(_: Vec<u8>) -> Vec<u8> {
    Vec::new()
}

fn another_picture(_: Vec<u8>) -> Vec<u8> {
    fs_err::read(fixture("resize/formats/palette.png")).expect("it is there")
}

fn another_caption(_: Vec<u8>) -> Vec<u8> {
    b"a cat on a mat".to_vec()
}

fn empty_object(_: Vec<u8>) -> Vec<u8> {
    b"{}".to_vec()
}

const fn change(file: &'static str, told: &'static str, bytes: fn(Vec<u8>) -> Vec<u8>) -> Change {
    Change { file, told, bytes }
}

/// What every run has.
const MODEL: [Change; 12] = [
    change(
        "model/unet/diffusion_pytorch_model.safetensors",
        "the model's file `unet/diffusion_pytorch_model.safetensors` has changed",
        last_number,
    ),
    change("model/unet/config.json", "the model's file `unet/config.json` has changed", longer),
    change(
        "model/vae/diffusion_pytorch_model.safetensors",
        "the model's file `vae/diffusion_pytorch_model.safetensors` has changed",
        last_number,
    ),
    change("model/vae/config.json", "the model's file `vae/config.json` has changed", longer),
    change(
        "model/text_encoder/model.safetensors",
        "the model's file `text_encoder/model.safetensors` has changed",
        last_number,
    ),
    change("model/text_encoder/config.json", "the model's file `text_encoder/config.json` has changed", longer),
    change(
        "model/scheduler/scheduler_config.json",
        "the model's file `scheduler/scheduler_config.json` has changed",
        longer,
    ),
    change("model/tokenizer/vocab.json", "the model's file `tokenizer/vocab.json` has changed", longer),
    change("model/tokenizer/merges.txt", "the model's file `tokenizer/merges.txt` has changed", longer),
    change(
        "model/tokenizer/tokenizer_config.json",
        "the model's file `tokenizer/tokenizer_config.json` has changed",
        longer,
    ),
    change("model/tokenizer/special_tokens_map.json", "`tokenizer/special_tokens_map.json` is gone", removed),
    change("model/tokenizer/added_tokens.json", "`tokenizer/added_tokens.json` is new", empty_object),
];

/// What a run with captions has beside.
const CAPTIONED: [Change; 2] = [
    change("dog/rgb.png", "the picture `rgb.png` has changed", another_picture),
    change("dog/lossy.txt", "the caption of `lossy.webp` has changed", another_caption),
];

/// What a run with class images of the user's own has beside, and more or fewer pictures.
const OWN: [Change; 4] = [
    change("dog/more.png", "the picture `more.png` is new", another_picture),
    change("dog/lossy.webp", "the picture `lossy.webp` is gone", removed),
    change("pets/pet.png", "the class image `pet.png` has changed", another_picture),
    change("pets/more.png", "the class image `more.png` is new", another_picture),
];

/// Makes the change, does `then`, and puts back what was there.
fn with(world: &World, change: &Change, then: impl FnOnce()) {
    let put = |bytes: Vec<u8>| match bytes.as_slice() {
        [] => fs_err::remove_file(world.path(change.file)),
        bytes => fs_err::write(world.path(change.file), bytes),
    };
    let before = fs_err::read(world.path(change.file)).unwrap_or_default();
    // A side car without its picture is a fault of its own.
    let side_car = Path::new(change.file).with_extension("txt");
    let side_car =
        Some(world.path(&side_car.to_string_lossy())).filter(|file| change.told.ends_with("is gone") && file.is_file());
    let caption = side_car.as_ref().map(|file| (file, fs_err::read(file).expect("readable")));
    if let Some((file, _)) = &caption {
        fs_err::remove_file(file).expect("it is there");
    }
    put((change.bytes)(before.clone())).expect("writable");
    then();
    put(before).expect("writable");
    if let Some((file, bytes)) = caption {
        fs_err::write(file, bytes).expect("writable");
    }
}

/// A finished run that refuses each change and stands when it is undone; then the same run, cut off after its last step.
fn guarded<'c>(run: &[&str], changes: impl Iterator<Item = &'c Change> + Clone) {
    let world = world();
    world.done(run);
    let loss = world.read("results/a/loss.csv");
    let refused = |change: &Change, when: &str| {
        with(&world, change, || {
            let said = world.refused(run, &[change.told, when, "hint: put it back", "--force"]);
            assert!(!said.err.contains("training"), "{}", said.err);
        });
    };
    for change in changes.clone() {
        refused(change, "since results/a was trained");
    }
    world.done(run).has(&["finished already with this plan"]);

    fs_err::remove_file(world.path("results/a/run.json")).expect("it is there");
    fs_err::remove_dir_all(world.path("results/a/weights")).expect("it is there");
    for change in changes {
        refused(change, "since results/a began");
    }
    world.done(run).has(&["going on after step 6"]);
    assert!(world.read("results/a/loss.csv") == loss);
}

#[test]
fn another_model_or_caption_is_refused_in_the_middle_of_a_run_and_after_it() {
    guarded(&RUN, MODEL.iter().chain(&CAPTIONED));
}

#[test]
fn other_pictures_are_refused_in_the_middle_of_a_run_and_after_it() {
    let own = ["run", "own.toml", "--set", "name=a", "--set", "train.checkpoint_every=2", "--set", "eval.prompts=[]"];
    guarded(&own, OWN.iter());
}

/// Whatever the cache holds of `a`, a run on something else computes what it does where the cache is empty.
#[test]
fn nothing_of_another_input_comes_from_the_cache() {
    let world = world();
    let drawn =
        "adapter.dreambooth = { class_prompt = 'a cat', class_images = 2, class_steps = 2, lora = { rank = 2 } }";
    let text = world.text("a.toml").replace("adapter.lora = { rank = 2, alpha = 3 }", drawn);
    world.write("b.toml", text.replace("path = 'dog'", "path = 'dog', prompt = 'a dog'"));
    let run = |name: &str, results: &str| {
        let name = format!("name={name}");
        let (steps, none) = ("train.steps=2", "eval.prompts=[]");
        world.done(&["run", "b.toml", "--results", results, "--set", &name, "--set", steps, "--set", none]);
        let folder = format!("{results}/{}", &name[5..]);
        world.read(&format!("{folder}/loss.csv"))
    };
    let first = run("a", "shared");
    let other_padding: fn(Vec<u8>) -> Vec<u8> = |bytes| {
        let text = String::from_utf8(bytes).expect("UTF-8");
        text.replace("\"pad_token\": \"<|endoftext|>\"", "\"pad_token\": \"!\"").into_bytes()
    };
    let first_number: fn(Vec<u8>) -> Vec<u8> = |mut bytes| {
        // Of every tensor's numbers some: the sign of each 97th.
        let begin = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
        (begin + 3..bytes.len()).step_by(4 * 97).for_each(|at| bytes[at] ^= 0x80);
        bytes
    };
    let changes = [
        change("dog/rgb.png", "picture", another_picture),
        change("model/tokenizer/special_tokens_map.json", "padding", other_padding),
        change("model/vae/diffusion_pytorch_model.safetensors", "vae", first_number),
        change("model/unet/diffusion_pytorch_model.safetensors", "unet", first_number),
        change("model/text_encoder/model.safetensors", "text", first_number),
    ];
    for one in &changes {
        with(&world, one, || {
            let shared = run(one.told, "shared");
            let alone = run(one.told, one.told);
            assert!(shared == alone, "{}: something came from another run's cache", one.file);
            assert!(shared != first, "{}: the change changes nothing, so this shows nothing", one.file);
        });
    }
    let class_images = tree(&world.path("shared/.cache/class_images"));
    assert_eq!(class_images.len(), 2 * changes.len(), "but for the picture's, each model has its own two");
}

/// Without a checkpoint nothing is gone on with, so whoever mends the data may begin again.
#[test]
fn a_run_without_a_checkpoint_begins_again_with_other_inputs() {
    let world = world();
    let run = ["run", "a.toml", "--set", "train.checkpoint_every=0", "--set", "eval.prompts=['a dog']"];
    world.done(&[&run[..], &["--results", "straight", "--set", "train.steps=2"]].concat());
    world.done(&[&run[..], &["--set", "train.steps=2"]].concat());
    // As if it had been killed in its second step.
    fs_err::remove_file(world.path("results/a/run.json")).expect("it is there");
    fs_err::remove_dir_all(world.path("results/a/weights")).expect("it is there");
    let said = world.done(&[&run[..], &["--set", "train.steps=2"]].concat());
    said.has(&["begins again"]);
    let name = "samples/base/a-dog/0.png";
    assert!(world.read(&format!("results/a/{name}")) == world.read(&format!("straight/a/{name}")));

    fs_err::remove_file(world.path("results/a/run.json")).expect("it is there");
    fs_err::remove_dir_all(world.path("results/a/weights")).expect("it is there");
    let unet = "model/unet/diffusion_pytorch_model.safetensors";
    let mut bytes = world.read(unet);
    let begin = 8 + u64::from_le_bytes(bytes[..8].try_into().expect("eight")) as usize;
    (begin + 3..bytes.len()).step_by(4 * 97).for_each(|at| bytes[at] ^= 0x80);
    world.write(unet, bytes);
    world.done(&[&run[..], &["--set", "train.steps=2"]].concat()).has(&["begins again"]);
    world.done(&[&run[..], &["--results", "other", "--set", "train.steps=2"]].concat());
    assert!(world.read(&format!("results/a/{name}")) == world.read(&format!("other/a/{name}")), "not the old model's");
    assert!(world.read("results/a/inputs.json") == world.read("other/a/inputs.json"));
}

/// What an earlier version recorded: no captions, and of the tokenizer two files.
#[test]
fn a_run_of_an_earlier_version_is_compared_with_what_it_recorded() {
    let world = world();
    world.done(&RUN);
    let mut record: serde_json::Value = serde_json::from_str(&world.text("results/a/run.json")).expect("JSON");
    let hashes = record["hashes"].as_object_mut().expect("an object");
    hashes.remove("captions");
    let model = hashes["model"].as_object_mut().expect("an object");
    model.retain(|name, _| {
        !name.starts_with("tokenizer/") || name.ends_with("vocab.json") || name.ends_with("merges.txt")
    });
    world.write("results/a/run.json", record.to_string());
    world.done(&RUN).has(&["finished already", "recorded neither captions"]);
    world.done(&["sample", "results/a", "--prompt", "a dog", "--steps", "1", "-o", "out"]);
    for change in MODEL.iter().take(9).chain(&CAPTIONED[..1]) {
        with(&world, change, || {
            world.refused(&RUN, &[change.told]);
        });
    }
    fs_err::copy(world.path("dog/rgb.png"), world.path("dog/new.png")).expect("writable");
    world.write("dog/new.txt", "a dog");
    world.refused(&RUN, &["the picture `new.png` is new"]);
}
