//! `tunelab sample`: the run's own pictures again, both weight files, odd prompts, and what does not fit.

use std::collections::BTreeSet;

use super::world::{World, fixture, tree};

/// As the experiment of the world.
const DRAW: [&str; 14] = [
    "--prompt",
    "a dog",
    "a cat",
    "--seed",
    "5",
    "--steps",
    "4",
    "--width",
    "64",
    "--height",
    "64",
    "--sampler",
    "pndm",
    "-o",
];

/// A world with a finished run.
fn trained() -> World {
    let world = World::new();
    world.done(&["run", "a.toml"]);
    world
}

/// The pixels of a prompt's picture in a folder.
fn pixels(world: &World, folder: &str) -> Vec<u8> {
    image::open(world.path(folder).join("a-dog/0.png")).expect("a PNG").to_rgb8().into_raw()
}

#[test]
fn a_run_and_both_of_its_weight_files_draw_its_pictures() {
    let world = trained();
    let model = fixture("model");
    let model = ["sample", "--model", model.to_str().expect("UTF-8")];
    let lora = |file: &'static str| ["--lora", file];
    let said = world.done(&["sample", "results/a", "--prompt", "a dog", "a cat", "-o", "run"]);
    assert_eq!(said.out, "");
    assert_eq!(tree(&world.path("run")), ["a-cat/0.png", "a-dog/0.png", "grid.png"]);
    for name in ["a-dog/0.png", "a-cat/0.png"] {
        assert!(world.read(&format!("run/{name}")) == world.read(&format!("results/a/samples/tuned/{name}")), "{name}");
    }
    let tuned = pixels(&world, "results/a/samples/tuned");
    let base = pixels(&world, "results/a/samples/base");
    let diffusers = lora("results/a/weights/pytorch_lora_weights.safetensors");
    let kohya = lora("results/a/weights/a.safetensors");
    world.done(&[&model[..], &diffusers, &DRAW, &["diffusers"]].concat());
    assert!(pixels(&world, "diffusers") == tuned);
    world.done(&[&model[..], &kohya, &DRAW, &["kohya"]].concat());
    assert!(pixels(&world, "kohya") == tuned);
    world.done(&[&model[..], &DRAW, &["base"]].concat());
    assert!(pixels(&world, "base") == base && base != tuned);
    world.done(&[&model[..], &kohya, &["--lora-scale", "0"], &DRAW, &["none"]].concat());
    assert!(pixels(&world, "none") == base);
    world.done(&[&model[..], &kohya, &["--lora-scale", "-2"], &DRAW, &["back"]].concat());
    assert!(pixels(&world, "back") != base && pixels(&world, "back") != tuned);

    // A folder stands for the LoRA in it, which is one adapter in both files.
    world.done(&[&model[..], &lora("results/a/weights"), &DRAW, &["folder"]].concat());
    assert!(pixels(&world, "folder") == tuned);

    // Nothing is overwritten.
    let before = world.read("kohya/a-dog/0.png");
    world.refused(&[&model[..], &DRAW, &["kohya"]].concat(), &["kohya/a-dog/0.png is there already", "-o"]);
    assert_eq!(world.read("kohya/a-dog/0.png"), before);
}

#[test]
fn a_lora_is_not_drawn_with_beside_other_weights_than_it_was_trained_on() {
    let world = World::new();
    let file = world.model().join("unet/diffusion_pytorch_model.safetensors");
    world.done(&["run", "a.toml", "--set", "model.path=model", "--set", "train.steps=1", "--set", "eval.prompts=[]"]);
    let whole = fs_err::read(&file).expect("it is there");
    let mut changed = whole.clone();
    let last = changed.len() - 4;
    changed[last] ^= 1;
    fs_err::write(&file, changed).expect("writable");
    let sample = ["sample", "results/a", "--prompt", "a dog", "--steps", "1", "-o", "out"];
    world.refused(
        &sample,
        &[
            "the model's file `unet/diffusion_pytorch_model.safetensors` has changed since a was trained",
            "hint:",
            "put the file",
            "--force",
        ],
    );
    fs_err::write(&file, whole).expect("writable");
    world.done(&sample);
}

/// alpha / rank is nothing that 32 bits hold, so B times it is rounded: the pictures are those of what is written, when they are drawn again too.
#[test]
fn pictures_of_a_trained_text_encoder_are_drawn_again_as_they_were() {
    let world = World::new();
    let run = ["run", "a.toml", "--set", "adapter.lora={ rank = 3, alpha = 3.7, text_encoder = true }"];
    world.done(&run);
    let tuned = world.read("results/a/samples/tuned/a-dog/0.png");
    fs_err::remove_file(world.path("results/a/samples/tuned/a-dog/0.png")).expect("it is there");
    world.done(&run).has(&["only the pictures are drawn again"]);
    assert!(world.read("results/a/samples/tuned/a-dog/0.png") == tuned);
    world.done(&["sample", "results/a", "--prompt", "a dog", "-o", "again"]);
    assert!(world.read("again/a-dog/0.png") == tuned);
    let model = fixture("model");
    let model = ["sample", "--model", model.to_str().expect("UTF-8"), "--lora"];
    for file in ["pytorch_lora_weights", "a"] {
        let lora = format!("results/a/weights/{file}.safetensors");
        world.done(&[&model[..], &[&lora], &DRAW, &[file]].concat());
        assert!(pixels(&world, file) == pixels(&world, "results/a/samples/tuned"), "{file}");
    }
}

#[test]
fn a_picture_that_is_not_a_number_is_a_failure_that_names_the_step() {
    let world = World::new();
    let model = fixture("model");
    let args = ["sample", "--model", model.to_str().expect("UTF-8"), "--prompt", "x", "--steps", "4", "-o", "out"];
    let failed = |args: &[&str], parts: &[&str]| {
        let said = world.tunelab(args);
        assert_eq!(said.code, Some(1), "{}", said.err);
        said.has(&[&["cannot be drawn", "NaN or infinity", "hint: "], parts].concat());
        assert!(tree(&world.path("out")).is_empty(), "no picture is written");
    };
    let mut tensors =
        candle_core::safetensors::load(fixture("lora_files/kohya.safetensors"), &candle_core::Device::Cpu)
            .expect("a LoRA");
    for (_, alpha) in tensors.iter_mut().filter(|(name, _)| name.rsplit('.').next() == Some("alpha")) {
        *alpha = candle_core::Tensor::new(1e14_f32, &candle_core::Device::Cpu).expect("a scalar");
    }
    candle_core::safetensors::save(&tensors, world.path("strong.safetensors")).expect("writable");
    failed(&[&args[..], &["--lora", "strong.safetensors"]].concat(), &["step 1 of 5 (timestep 751)", "--lora-scale"]);

    // Latents that are numbers, and a decoder that makes none of them.
    let vae = world.model().join("vae/diffusion_pytorch_model.safetensors");
    let mut tensors = candle_core::safetensors::load(&vae, &candle_core::Device::Cpu).expect("a VAE");
    let last = tensors.get_mut("decoder.conv_out.weight").expect("it is there");
    *last = (last.ones_like().expect("ones") * 3e38).expect("finite");
    candle_core::safetensors::save(&tensors, vae).expect("writable");
    failed(
        &["sample", "--model", "model", "--prompt", "x", "--steps", "4", "-o", "out"],
        &["the VAE, after the last step"],
    );

    // A run's own pictures are drawn by the same code.
    let said = world.tunelab(&["run", "a.toml", "--set", "model.path=model"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    said.has(&["the VAE, after the last step"]);
}

#[test]
fn odd_prompts_stay_in_their_folder() {
    let world = World::new();
    let model = fixture("model");
    let long = "dog ".repeat(100);
    let prompts = ["🐶", "../../etc/passwd", "/tmp/x", "a\\b", "NUL", "-", &long];
    let args = [&["sample", "--model", model.to_str().expect("UTF-8"), "--steps", "1", "-o", "out"], &["--prompt"][..]];
    let each: Vec<&str> = prompts.iter().flat_map(|p| ["--prompt", *p]).skip(1).collect();
    let said = world.done(&[&args.concat()[..], &each].concat());
    said.has(&["is too long for the text encoder; this part is left out"]);
    let files = tree(&world.path(""));
    let (out, rest): (Vec<_>, Vec<_>) = files.iter().partition(|name| name.starts_with("out/"));
    assert_eq!((out.len(), rest.len()), (prompts.len() + 1, 4), "{files:?}");
    assert!(out.iter().all(|name| name.is_ascii() && name.split('/').count() <= 3), "{out:?}");
}

#[test]
fn samplers_sizes_and_seeds_make_other_pictures() {
    let world = World::new();
    let model = fixture("model");
    let args = ["sample", "--model", model.to_str().expect("UTF-8"), "--steps", "3", "--prompt", "a dog"];
    let mut seen = BTreeSet::new();
    for sampler in ["pndm", "ddim", "euler_a", "dpmpp_2m"] {
        world.done(&[&args[..], &["--images", "2", "--sampler", sampler, "-o", sampler]].concat());
        seen.insert(pixels(&world, sampler));
        seen.insert(world.read(&format!("{sampler}/a-dog/1.png")));
    }
    for sampler in ["dpmpp_2m", "heun", "euler", "unipc"] {
        for karras in [&[][..], &["--karras"]] {
            if sampler != "dpmpp_2m" || !karras.is_empty() {
                let folder = format!("{sampler}{}", karras.len());
                let more = ["--images", "2", "--sampler", sampler, "-o", &folder];
                world.done(&[&args[..], &more, karras].concat());
                seen.insert(pixels(&world, &folder));
                seen.insert(world.read(&format!("{folder}/a-dog/1.png")));
            }
        }
    }
    assert_eq!(seen.len(), 22);
    world.refused(&[&args[..], &["--karras", "-o", "x"]].concat(), &["pndm has no Karras sigmas", "unipc"]);
    let more =
        ["--width", "72", "--height", "128", "--negative-prompt", "a cat", "--guidance-scale", "3", "-o", "tall"];
    world.done(&[&args[..], &more].concat());
    let tall = image::open(world.path("tall/a-dog/0.png")).expect("a PNG");
    assert_eq!((tall.width(), tall.height()), (72, 128));
}

#[test]
fn lora_files_that_do_not_fit_are_refused() {
    let world = World::new();
    let model = fixture("model");
    let args = ["sample", "--model", model.to_str().expect("UTF-8"), "--prompt", "x", "-o", "out", "--lora"];
    let refused = |file: &str, parts: &[&str]| world.refused(&[&args[..], &[file]].concat(), parts);
    refused("nowhere.safetensors", &["nowhere.safetensors", "hint:"]);
    refused("a.toml", &["a.toml", "hint:"]);
    let other = fixture("adamw.safetensors");
    refused(other.to_str().expect("UTF-8"), &["adamw.safetensors", "parameters.0", "hint:"]);

    // A LoRA for a wider text encoder.
    let device = candle_core::Device::Cpu;
    let key = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k";
    let ones =
        |shape: (usize, usize)| candle_core::Tensor::ones(shape, candle_core::DType::F32, &device).expect("ones");
    let pair = [("lora_A", ones((2, 768))), ("lora_B", ones((8, 2)))];
    let tensors = pair.into_iter().map(|(end, tensor)| (format!("{key}.{end}.weight"), tensor)).collect();
    candle_core::safetensors::save(&tensors, world.path("wide.safetensors")).expect("writable");
    refused("wide.safetensors", &["wide.safetensors", "down_blocks.0.attentions.0", "768", "24"]);
    assert!(tree(&world.path("out")).is_empty());
}

#[test]
fn folders_that_cannot_take_pictures_are_refused_first() {
    let world = World::new();
    let model = fixture("model");
    let args = ["sample", "--model", model.to_str().expect("UTF-8"), "--prompt", "x", "-o"];
    for folder in ["a.toml", "a.toml/below", "/proc/tunelab"] {
        let said = world.refused(&[&args[..], &[folder]].concat(), &[folder, "cannot be written", "-o DIR"]);
        assert!(!said.err.contains("sampling"), "{}", said.err);
    }
    world.refused(&["sample", "dog", "--prompt", "x", "-o", "out"], &["dog", "plan.toml", "hint:"]);
    world.refused(&["sample", "--model", "nowhere", "--prompt", "x", "-o", "out"], &["nowhere", "owner/name"]);
}

#[test]
fn the_class_in_the_models_scheduler_config_chooses_the_sampler() {
    let world = World::new();
    let file = world.model().join("scheduler/scheduler_config.json");
    let text = fs_err::read_to_string(&file).expect("it is there");
    let with = |class: &str| fs_err::write(&file, text.replace("PNDMScheduler", class)).expect("writable");
    let draw = |more: &[&str]| {
        let args = ["sample", "--model", "model", "--steps", "3", "--prompt", "a dog", "-o", "out"];
        world.done(&[&args[..], more].concat());
        let drawn = pixels(&world, "out");
        fs_err::remove_dir_all(world.path("out")).expect("it is there");
        drawn
    };
    let eval = ["--set", "model.path=model", "--set", "eval.steps=3"];
    let planned = |more: &[&str]| world.done(&[&["plan", "a.toml"][..], &eval, more].concat()).out;
    for (class, sampler) in [
        ("DDIMScheduler", "ddim"),
        ("EulerAncestralDiscreteScheduler", "euler_a"),
        ("DPMSolverMultistepScheduler", "dpmpp_2m"),
        // Not built: as the family's pipeline.
        ("LCMScheduler", "pndm"),
    ] {
        with(class);
        assert!(draw(&[]) == draw(&["--sampler", sampler]), "{class}");
        assert_eq!(planned(&[]), planned(&["--set", &format!("eval.sampler={sampler}")]), "{class}");
    }
    let lcm = ["sample", "--model", "model", "--steps", "3", "--prompt", "a dog", "-o", "lcm"];
    world.done(&lcm).has(&["LCMScheduler is not built; where no sampler is named, it is pndm"]);
    // A class that is built, with an option that is not: no other sampler takes its place without a word.
    with("UniPCMultistepScheduler\", \"predict_x0\": false, \"x\": \"");
    world
        .refused(&["check", "a.toml", eval[0], eval[1]], &["`predict_x0` is false, with unipc", "use another sampler"]);
    world.done(&["check", "a.toml", eval[0], eval[1], "--set", "eval.sampler=ddim"]);
    with("DDIMScheduler");
    assert!(draw(&[]) != draw(&["--sampler", "pndm"]));
    world.done(&["run", "a.toml", "--set", "model.path=model"]);
    assert!(world.text("results/a/plan.toml").contains("sampler = \"ddim\""));
}
