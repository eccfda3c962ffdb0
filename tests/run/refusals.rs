//! Wrong input: exit code 2, what is wrong by name, a remedy; and the mended experiment runs in the same folder.

use std::path::Path;

use fs_err as fs;

use tunelab::config::LONGEST_NAME;

use super::world::{World, fixture, tree};

const QUICK: [&str; 6] = ["run", "a.toml", "--set", "train.steps=1", "--set", "eval.prompts=[]"];

fn refused(world: &World, parts: &[&str]) {
    world.refused(&QUICK, parts);
}

#[test]
fn experiments() {
    let world = World::new();
    let good = world.text("a.toml");
    for (from, to, parts) in [
        ("rank = 2", "rnak = 2", &["unknown key `rnak`", "a.toml:4:18", "^^^^", "did you mean `rank`?"][..]),
        ("steps = 6", "steps = 'six'", &["`steps`", "'six'", "a.toml:5:"]),
        ("steps = 6", "steps = 0", &["`steps`", "not 0", "a.toml:5:"]),
        ("rank = 2", "rank = 2.5", &["`rank`", "2.5", "a.toml:4:"]),
        ("adapter.lora", "adapter.full = {}\nadapter.lora", &["more than one adapter", "a.toml:5:"]),
        ("64", "65", &["`resolution`", "multiple of 64", "a.toml:3:"]),
        ("seed = 7", "seed = -7", &["`seed`", "-7", "a.toml:2:"]),
        ("dog", "dog\u{0}", &["a.toml:3:"]),
    ] {
        let bad = good.replacen(from, to, 1);
        assert_ne!(bad, good);
        world.write("a.toml", bad);
        world.refused(&["run", "a.toml"], parts);
    }
    assert!(!world.path("results").exists());
    world.write("a.toml", good);
    world.refused(&["run", "a.toml", "--set", "train.steps=-1"], &["--set"]);
    world.refused(&["run", "b.toml"], &["b.toml", "hint:"]);
}

/// The same experiment may be right for another device.
#[test]
fn types_that_the_device_does_not_compute_in() {
    let world = World::new();
    for (set, parts) in [
        (&["train.dtype=f16"][..], &["train.dtype = \"f16\"", "for CUDA devices", "use f32"][..]),
        (&["train.tf32=true"], &["train.tf32 is for CUDA devices", "leave it out"]),
    ] {
        let set: Vec<&str> = set.iter().flat_map(|set| ["--set", *set]).collect();
        world.refused(&[&QUICK[..], &["--device", "cpu"], &set].concat(), parts);
    }
    world.write("a.toml", world.text("a.toml").replacen("adapter.lora", "adapter.full = {} # ", 1));
    let set = [&QUICK[..], &["--device", "cpu", "--set", "train.dtype=bf16"]].concat();
    world.refused(&set, &["train.dtype = \"bf16\"", "for frozen weights", "use f32"]);
    assert!(!world.path("results").exists());
}

#[test]
fn pictures() {
    let world = World::new();
    fs::rename(world.path("dog"), world.path("cat")).expect("writable");
    refused(&world, &["`path`", "dog does not exist", "a.toml:3:"]);
    fs::create_dir(world.path("dog")).expect("writable");
    refused(&world, &["dog", "no picture"]);
    for (name, reason) in [("text.jpg", "text"), ("truncated.jpg", ""), ("huge.png", "")] {
        let file = world.path("dog").join(name);
        fs::copy(fixture("resize/broken").join(name), &file).expect("writable");
        refused(&world, &[name, reason, "skip_broken"]);
        fs::remove_file(file).expect("writable");
    }
    // An experiment whose mistake is mended needs no --force: nothing was made yet.
    let set = [&QUICK[..], &["--set", "dataset.path=cat"]].concat();
    world.done(&set);
    fs::copy(fixture("resize/broken/text.jpg"), world.path("cat/text.jpg")).expect("writable");
    let said = world.done(&[&set[..], &["--set", "dataset.skip_broken=true", "--set", "name=b"]].concat());
    said.has(&["text.jpg", "on 3 pictures"]);
}

/// Runs on a copy of the model in which `change` broke one file.
fn broken_model(world: &World, file: &str, change: impl Fn(&mut Vec<u8>), parts: &[&str]) {
    let path = world.model().join(file);
    let whole = fs::read(&path).expect("it is there");
    let mut bytes = whole.clone();
    change(&mut bytes);
    assert_ne!(bytes, whole);
    fs::write(&path, bytes).expect("writable");
    world.refused(&[&QUICK[..], &["--set", "model.path=model"]].concat(), parts);
    let names = tree(&world.path("results/a"));
    assert!(names.is_empty() || names == ["plan.toml", "progress.json"], "{names:?}");
    fs::write(path, whole).expect("writable");
}

#[test]
fn weights() {
    let world = World::new();
    let (unet, vae) = ("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors");
    let text = "text_encoder/model.safetensors";
    broken_model(&world, unet, |b| b.truncate(b.len() - 100), &[unet, "cut off", "hint:"]);
    broken_model(&world, vae, |b| b.truncate(5), &[vae, "hint:"]);
    broken_model(&world, text, |b| *b = b"<!DOCTYPE html>".to_vec(), &[text, "hint:"]);
    let claim = |b: &mut Vec<u8>| b[..8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    broken_model(&world, vae, claim, &[vae, "hint:"]);
    let nan = |b: &mut Vec<u8>| {
        let last = b.len() - 4;
        b[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    broken_model(&world, unet, nan, &[unet, "NaN", "tensor"]);
    broken_model(&world, vae, nan, &[vae, "NaN", "tensor"]);
}

#[test]
fn model_folders() {
    let world = World::new();
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: &mut Vec<u8>| *bytes = String::from_utf8_lossy(bytes).replacen(from, to, 1).into_bytes()
    };
    let unet = "unet/config.json";
    broken_model(&world, unet, |b| b.truncate(40), &[unet]);
    broken_model(&world, unet, replace("\"act_fn\": \"silu\"", "\"act_fn\": \"gelu\""), &[unet, "act_fn", "gelu"]);
    let wider = replace("\"cross_attention_dim\": 24", "\"cross_attention_dim\": 32");
    broken_model(&world, unet, wider, &["cross_attention_dim is 32", "hidden_size is 24"]);
    broken_model(&world, "scheduler/scheduler_config.json", |b| b.truncate(9), &["scheduler_config.json"]);
    broken_model(&world, "tokenizer/vocab.json", |b| b.truncate(99), &["vocab.json"]);
    fs::remove_file(world.model().join("tokenizer/merges.txt")).expect("writable");
    world.refused(&[&QUICK[..], &["--set", "model.path=model"]].concat(), &["merges.txt"]);
}

/// Most people's models are one file.
#[test]
fn a_single_file_in_the_place_of_a_folder() {
    let world = World::new();
    for (name, parts) in [
        ("v1-5.safetensors", ["not a safetensors file", "download"]),
        ("v1-5.CKPT", ["is neither a folder nor a .safetensors file", "from_single_file"]),
    ] {
        world.write(name, "weights");
        let set = format!("model.path={name}");
        world.refused(&["check", "a.toml", "--set", &set], &[&[name][..], &parts].concat());
    }
    world.write("dog.rar", "pictures");
    let parts = ["dog.rar is neither a folder nor a .parquet, .tar, .tar.gz or .zip file"];
    let said = world.refused(&["check", "a.toml", "--set", "dataset.path=dog.rar"], &parts);
    assert!(!said.err.contains("from_single_file"), "{}", said.err);
    world.write("dog.zip", "pictures");
    world.refused(&["run", "a.toml", "--set", "dataset.path=dog.zip"], &["dog.zip: cannot be read"]);
}

#[test]
fn samplers_that_a_model_does_not_allow() {
    let world = World::new();
    let file = world.model().join("scheduler/scheduler_config.json");
    let text = fs::read_to_string(&file).expect("readable");
    fs::write(&file, text.replacen('{', "{ \"use_beta_sigmas\": true,", 1)).expect("writable");
    let set = ["model.path=model", "eval.compare_base=false", "eval.sampler=dpmpp_2m"];
    let set = set.iter().flat_map(|key| ["--set", key]);
    let said = world.refused(
        &["run", "a.toml"].into_iter().chain(set).collect::<Vec<_>>(),
        &["scheduler_config.json", "use_beta_sigmas", "with dpmpp_2m", "use another sampler"],
    );
    assert!(!said.err.contains("training"), "{}", said.err);
}

/// Each file for itself is whole; together they are no model.
#[test]
fn parts_of_different_models() {
    let world = World::new();
    let root = world.model();
    let config = root.join("text_encoder/config.json");
    let text = fs::read_to_string(&config).expect("readable");
    fs::write(&config, text.replace("\"hidden_size\": 24", "\"hidden_size\": 12")).expect("writable");
    let file = root.join("text_encoder/model.safetensors");
    narrow(&file, 24, 12);
    world.refused(&[&QUICK[..], &["--set", "model.path=model"]].concat(), &["text_encoder", "12", "24", "hint:"]);
}

/// Cuts every side of `from` numbers to `to`.
fn narrow(file: &Path, from: usize, to: usize) {
    let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).expect("readable");
    let tensors = tensors.into_iter().map(|(name, tensor)| {
        let cut = (0..tensor.rank()).fold(tensor, |t, side| {
            let size = t.dims()[side];
            let smaller = if size == from {
                to
            } else if size == 4 * from {
                4 * to
            } else {
                size
            };
            t.narrow(side, 0, smaller).expect("smaller").contiguous().expect("it copies")
        });
        (name, cut)
    });
    candle_core::safetensors::save(&tensors.collect(), file).expect("writable");
}

#[test]
fn results_folders() {
    let world = World::new();
    world.write("file", "mine");
    fs::create_dir_all(world.path("locked")).expect("writable");
    world.write("locked/.locks", "mine");
    for results in ["file", "file/below", "/proc/tunelab", "locked"] {
        let run = ["run", "a.toml", "--results", results];
        world.refused(&run, &[results, "cannot be written", "hint:", "--results"]);
    }
    fs::create_dir_all(world.path("results/a")).expect("writable");
    world.write("results/a/thesis.tex", "mine");
    for force in [&[][..], &["--force"]] {
        world.refused(&[&["run", "a.toml"], force].concat(), &["results/a", "thesis.tex", "hint:"]);
    }
    assert_eq!(tree(&world.path("results")), [".locks/a", "a/thesis.tex"]);
}

/// The longest name that is allowed is written to the end; one byte more is refused before anything is.
#[test]
fn names_that_are_too_long() {
    let world = World::new();
    let longest = "狗".repeat(LONGEST_NAME / 3) + &"n".repeat(LONGEST_NAME % 3);
    let set = |name: &str| format!("name={name}");
    world.done(&[&QUICK[..], &["--set", &set(&longest)]].concat());
    let runs = tree(&world.path("results"));
    assert!(runs.iter().any(|name| name.ends_with(&format!("/weights/{longest}.safetensors"))), "{runs:?}");
    assert!(runs.iter().any(|name| name.ends_with("/run.json")), "{runs:?}");

    let most = format!("{} bytes, at most {LONGEST_NAME}", LONGEST_NAME + 1);
    for command in ["check", "plan", "run"] {
        world.refused(&[command, "a.toml", "--set", &set(&(longest.clone() + "n"))], &["`name` is too long", &most]);
    }
    // With what comes behind it, or from the file's name.
    let good = world.text("a.toml");
    let refused = |file: &str, text: &str, parts: &[&str]| {
        world.write(file, text);
        world.refused(&["check", file], parts);
        fs::remove_file(world.path(file)).expect("writable");
    };
    let allowed = |file: &str, text: &str| {
        world.write(file, text);
        world.done(&["check", file]);
        fs::remove_file(world.path(file)).expect("writable");
    };
    let variant = format!("\n[[variant]]\nname = '{}'\n", "v".repeat(80));
    let named = |length: usize| format!("name = '{}'\n{good}{variant}[stand_in]\n", "n".repeat(length));
    let rest = LONGEST_NAME - "-".len() - 80 - "-stand-in".len();
    allowed("v.toml", &named(rest));
    let parts = ["`name` is too long", &format!("at most {rest}"), "-stand-in\" comes behind it", "v.toml:1:8"];
    refused("v.toml", &named(rest + 1), &parts);
    let file = |length: usize| format!("{}.toml", "f".repeat(length));
    allowed(&file(LONGEST_NAME), &good);
    refused(
        &file(LONGEST_NAME + 1),
        &good,
        &["the file's name, which is the run's, is too long", "add a shorter `name`"],
    );
    assert_eq!(tree(&world.path("results")).len(), runs.len(), "nothing was written");
}

/// Where the name is short enough and the whole path is not.
#[cfg(target_os = "linux")]
#[test]
fn paths_that_are_too_long() {
    let world = World::new();
    let results = vec!["d".repeat(252); 15].join("/");
    let name = format!("name={}", "n".repeat(LONGEST_NAME));
    let run = [&QUICK[..], &["--results", &results, "--set", &name]].concat();
    let said =
        world.refused(&run, &["weights/nnn", "will not be written", "File name too long", "hint: give a shorter"]);
    assert!(!said.err.contains("training"), "{}", said.err);
    world.done(&[&QUICK[..], &["--results", &results]].concat());
}
