//! Class images: made once, topped up, never taken for another prompt, drawn again when damaged; and full fine-tuning with
//! prior preservation, cut off and resumed.

use super::world::{World, tree};

/// `a.toml` as DreamBooth with `adapter` inside, three class images and no evaluation pictures.
fn dreambooth(adapter: &str) -> World {
    let world = World::new();
    let text = world.text("a.toml").replace("adapter.lora = { rank = 2, alpha = 3 }", adapter);
    assert!(text.contains("dreambooth"), "{text}");
    world.write("a.toml", text.replace("prompts = ['a dog', 'a cat']", "prompts = []"));
    world
}

fn lora() -> World {
    dreambooth(
        "adapter.dreambooth = { class_prompt = 'a pet', class_images = 3, class_steps = 2, lora = { rank = 2 } }",
    )
}

/// The class images by the path below the cache, with their bytes.
fn class_images(world: &World) -> Vec<(String, Vec<u8>)> {
    class_images_in(world, "results")
}

fn class_images_in(world: &World, results: &str) -> Vec<(String, Vec<u8>)> {
    let cache = format!("{results}/.cache/class_images");
    let names = tree(&world.path(&cache));
    names.into_iter().map(|name| (name.clone(), world.read(&format!("{cache}/{name}")))).collect()
}

#[test]
fn they_are_made_once_topped_up_and_bound_to_their_prompt() {
    let world = lora();
    let set = |name: &'static str, more: &[&'static str]| {
        let name = ["run", "a.toml", "--set", name];
        world.done(&[&name[..], more].concat())
    };
    set("name=a", &[]).has(&["drawing 3 class pictures in 1 batch\n"]);
    let three = class_images(&world);
    assert_eq!(three.len(), 3);
    let again = set("name=b", &["--set", "train.steps=3"]);
    assert!(
        !again.err.contains("class pictures"),
        "none is drawn for another run that asks for the same: {}",
        again.err
    );
    set("name=c", &["--set", "adapter.dreambooth.class_images=5"]).has(&["drawing 2 class pictures in 2 batches"]);
    let five = class_images(&world);
    assert_eq!((five.len(), &five[..3]), (5, &three[..]), "two more are drawn, the three stay");
    set("name=d", &["--set", "adapter.dreambooth.class_prompt=a cat"]);
    let all = class_images(&world);
    assert_eq!(all.len(), 8, "another prompt has images of its own");
    assert!(five.iter().all(|image| all.contains(image)));
    assert!(
        all.iter().filter(|image| !five.contains(image)).all(|(_, bytes)| five.iter().all(|(_, old)| old != bytes))
    );
    let rounded = set("name=e", &["--set", "train.dtype=bf16"]);
    rounded.has(&["frozen weights in bf16, products "]);
    assert_eq!(class_images(&world).len(), 11, "rounded weights have images of their own");
    assert!(world.text("results/e/run.json").contains("\"dtype\": \"bf16 "), "and the record says how they were used");
}

/// Batches of two. In `results` pictures 0 to 2 are drawn, then 3 and 4, then 1 and 4 anew: each time parts of batches.
#[test]
fn a_picture_is_the_same_whichever_of_its_batch_are_missing() {
    let world = lora();
    let set = |name: &str, images: &str, more: &[&str]| {
        let (name, images) = (format!("name={name}"), format!("adapter.dreambooth.class_images={images}"));
        let run = ["run", "a.toml", "--set", &name, "--set", &images, "--set"];
        world.done(&[&run[..], more].concat())
    };
    let two = "adapter.dreambooth.class_batch_size=2";
    set("whole", "5", &[two, "--results", "whole"]).has(&["drawing 5 class pictures in 3 batches"]);
    let whole = class_images_in(&world, "whole");
    assert_eq!(whole.len(), 5, "the sixth picture of the third batch was not asked for");
    set("a", "3", &[two]);
    assert_eq!(class_images(&world).len(), 3);
    set("b", "5", &[two]).has(&["drawing 2 class pictures in 2 batches"]);
    assert!(class_images(&world) == whole);
    for i in [1, 4] {
        fs_err::remove_file(world.path(&format!("results/.cache/class_images/{}", whole[i].0))).expect("it is there");
    }
    set("c", "5", &[two]);
    assert!(class_images(&world) == whole);

    // The size of the batches may change how sums are rounded, so it has a folder of its own; the noise is the same.
    set("one", "5", &["adapter.dreambooth.class_batch_size=1", "--results", "one"]).has(&["in 5 batches"]);
    let one = class_images_in(&world, "one");
    let pixels = |bytes: &[u8]| image::load_from_memory(bytes).expect("a PNG").to_rgb8().into_raw();
    for ((name, bytes), (other, others)) in whole.iter().zip(&one) {
        assert_ne!(name, other);
        let difference = pixels(bytes).into_iter().zip(pixels(others)).map(|(a, b)| a.abs_diff(b)).max();
        assert!(difference <= Some(2), "{name}: {difference:?}");
    }
    let seeds = whole.iter().map(|(name, _)| {
        let text = tunelab::results::read_text(&world.path(&format!("whole/.cache/class_images/{name}"))).expect("PNG");
        text[0].1.split("Seed: ").nth(1).expect("a seed")[..2].to_owned()
    });
    assert_eq!(seeds.collect::<Vec<_>>(), ["42", "43", "44", "45", "46"]);
}

#[test]
fn what_is_no_longer_what_was_drawn_is_drawn_again_and_strangers_are_not_looked_at() {
    let world = lora();
    world.done(&["run", "a.toml"]);
    let drawn = class_images(&world);
    let place = |i: usize| format!("results/.cache/class_images/{}", drawn[i].0);
    let half = &drawn[0].1[..drawn[0].1.len() / 2];
    world.write(&place(0), half);
    fs_err::remove_file(world.path(&place(2))).expect("it is there");
    let folder = std::path::Path::new(&place(0)).parent().expect("a folder").to_owned();
    for stranger in ["0.jpg", "000000a.png", "notes.txt"] {
        world.write(folder.join(stranger).to_str().expect("UTF-8"), "no picture");
    }
    // A good picture, but not the one that was drawn: the photograph as a PNG.
    fs_err::copy(world.path("dog/rgb.png"), world.path(&place(1))).expect("writable");
    world.done(&["run", "a.toml", "--set", "name=b"]);
    for (i, (name, bytes)) in drawn.iter().enumerate() {
        assert!(world.read(&place(i)) == *bytes, "{name}");
    }
    assert_eq!(world.text("results/a/loss.csv"), world.text("results/b/loss.csv"));
}

#[test]
fn a_run_does_not_go_on_with_other_class_images() {
    let world = lora();
    fs_err::create_dir(world.path("pets")).expect("writable");
    for (from, to) in [("dog/rgb.png", "pets/1.png"), ("dog/lossy.webp", "pets/2.webp")] {
        fs_err::copy(world.path(from), world.path(to)).expect("writable");
    }
    let text = world.text("a.toml").replace("class_images = 3", "class_path = 'pets'");
    world.write("a.toml", text);
    world.done(&["run", "a.toml", "--set", "train.checkpoint_every=2"]);
    let record = world.text("results/a/run.json");
    assert!(record.contains("\"class\"") && record.contains("2.webp"), "{record}");
    // As if it had been cut off before its end.
    fs_err::remove_file(world.path("results/a/run.json")).expect("it is there");
    fs_err::copy(world.path("dog/progressive.jpg"), world.path("pets/3.jpg")).expect("writable");
    world.refused(
        &["run", "a.toml", "--set", "train.checkpoint_every=2"],
        &["the class image `3.jpg` is new", "--force"],
    );
}

#[test]
fn a_folder_of_class_images_and_a_number_of_them_exclude_each_other() {
    let world = lora();
    fs_err::create_dir(world.path("pets")).expect("writable");
    let text = world.text("a.toml").replace("class_images = 3", "class_images = 3, class_path = 'pets'");
    world.write("a.toml", text);
    world
        .refused(&["check", "a.toml"], &["`class_images` says how many pictures are made", "leave one of the two out"]);
}

/// Everything that has a state at once: all weights, their average, the text encoder, two kinds of pictures.
#[test]
fn full_training_with_prior_preservation_goes_on_where_it_was_cut_off() {
    let full = "full = { text_encoder = true, ema_decay = 0.9, single_file = true }";
    let adapter = "class_prompt = 'a pet', class_images = 4, class_steps = 2, prior_loss_weight = 0.3";
    let world = dreambooth(&format!("adapter.dreambooth = {{ {adapter}, {full} }}"));
    let run = ["run", "a.toml", "--set", "train.gradient_accumulation=2", "--set", "train.snr_gamma=5"];
    world.done(&[&run[..], &["--set", "train.checkpoint_every=2", "--set", "train.keep_checkpoints=9"]].concat());
    let log = world.text("results/a/loss.csv");
    let parts: Vec<f64> =
        log.lines().nth(1).expect("a row").split(',').map(|v| v.parse().unwrap_or(f64::NAN)).collect();
    let header: Vec<&str> = log.lines().next().expect("a header").split(',').collect();
    let column =
        |name: &str| parts[header.iter().position(|h| h.contains(name)).unwrap_or_else(|| panic!("{header:?}"))];
    let (loss, instance, prior) = (column("loss"), column("instance"), column("prior"));
    assert!((loss - (instance + 0.3 * prior)).abs() < 1e-5, "{loss} is not {instance} + 0.3 {prior}");
    let whole: Vec<_> = tree(&world.path("results/a")).into_iter().filter(|n| n.starts_with("weights/")).collect();
    assert!(whole.iter().any(|n| n.starts_with("weights/text_encoder/")) && whole.len() > 5, "{whole:?}");
    let kept: Vec<Vec<u8>> = whole.iter().map(|name| world.read(&format!("results/a/{name}"))).collect();
    // Back to the second step: what came after is gone.
    for gone in
        ["run.json", "weights", "checkpoints/step-00000004.safetensors", "checkpoints/step-00000006.safetensors"]
    {
        let path = world.path("results/a").join(gone);
        if path.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) }.expect("it is there");
    }
    let again =
        world.done(&[&run[..], &["--set", "train.checkpoint_every=2", "--set", "train.keep_checkpoints=9"]].concat());
    again.has(&["going on after step 2"]);
    assert_eq!(world.text("results/a/loss.csv"), log);
    for (name, bytes) in whole.iter().zip(kept) {
        assert!(world.read(&format!("results/a/{name}")) == bytes, "{name}");
    }
}

/// Two models that differ in one small file of the tokenizer: each has class images of its own.
#[test]
fn they_are_never_taken_for_a_model_with_another_tokenizer_file() {
    let world = lora();
    let model = world.model();
    let run = |name: &str| {
        world.done(&["run", "a.toml", "--set", &format!("name={name}"), "--set", "model.path=model"]);
        class_images(&world).len()
    };
    assert_eq!(run("a"), 3);
    let file = model.join("tokenizer/special_tokens_map.json");
    fs_err::write(&file, r#"{"pad_token": "!"}"#).expect("writable");
    assert_eq!(run("b"), 6, "special_tokens_map.json");
    let file = model.join("tokenizer/tokenizer_config.json");
    fs_err::write(&file, r#"{"pad_token": "?", "model_max_length": 77}"#).expect("writable");
    assert_eq!(run("c"), 9, "tokenizer_config.json");
    fs_err::write(model.join("tokenizer/added_tokens.json"), "{}").expect("writable");
    assert_eq!(run("d"), 12, "added_tokens.json");
}
