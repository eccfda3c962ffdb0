//! Several sources of images, captions whose tags are drawn, and several subjects: what the binary writes, and that neither threads
//! nor a cut change a byte of it.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use tunelab::assets::builtin::unpack_into;
use tunelab::builtin::Builtin;
use tunelab::data::{load_image, resize_short_side, to_tensor};
use tunelab::measure::judge::{ANIMALS, COATS, Judge, SUBJECTS_COAT};

use super::world::{World, fixture, tree};
use crate::data::structure::damaged;

/// Two sources: three dogs with a prompt, of which the loss counts twice; two cats with captions, each seen twice.
const SOURCES: &str = "
[[dataset.sources]]
path = 'dog'
prompt = 'a dog'
weight = 2.0

[[dataset.sources]]
name = 'cats'
path = 'cat'
repeats = 2
center_crop = false
captions = { shuffle_tags = true, keep_tags = 1, tag_dropout = 0.2, lines = 'each' }
";

/// `a.toml` with this data and adapter, four epochs in batches of two.
fn world(data: &str, adapter: &str) -> World {
    let world = World::new();
    fs_err::create_dir(world.path("cat")).expect("writable");
    for (name, text) in
        [("rgb.png", "cat, grass, sun, toy\ncat, tail, ears, paws, nose"), ("lossy.webp", "cat, sleeping, night")]
    {
        fs_err::copy(world.path("dog").join(name), world.path("cat").join(name)).expect("writable");
        world.write(&format!("cat/{}.txt", name.split('.').next().expect("a name")), text);
    }
    world.write(
        "a.toml",
        format!(
            "seed = 7
model.path = '{}'
train = {{ epochs = 2, batch_size = 2, learning_rate = 1e-3, checkpoint_every = 2, keep_checkpoints = 9 }}
eval = {{ prompts = [], every = 2 }}
metrics.encoders = []
[dataset]
resolution = 64
caption_dropout = 0.1
{data}
{adapter}
",
            fixture("model").display()
        ),
    );
    world
}

const LORA: &str = "[adapter.lora]\nrank = 2\nalpha = 3\n";

/// What a rerun must repeat.
fn bytes(world: &World) -> Vec<(String, Vec<u8>)> {
    let names = tree(&world.path("results/a")).into_iter();
    let names = names.filter(|name| !["timing.csv", "run.json"].contains(&&**name));
    names.map(|name| (name.clone(), world.read(&format!("results/a/{name}")))).collect()
}

/// A log's rows as texts.
fn rows(world: &World, name: &str) -> Vec<Vec<String>> {
    let text = world.text(&format!("results/a/{name}"));
    text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

fn number(text: &str) -> f64 {
    text.parse().expect("a number")
}

#[test]
fn each_source_has_its_losses_and_its_weight() {
    let world = world(SOURCES, LORA);
    let said = world.done(&["run", "a.toml"]);
    assert!(!said.err.contains("warning"), "{}", said.err);
    let loss = rows(&world, "loss.csv");
    assert_eq!(loss[0].join(","), "step,epoch,loss,lr,grad_norm", "as with one source");
    assert_eq!(loss.len(), 1 + 2 * 4, "3 dogs and 2 cats twice are 7 images, 4 steps an epoch");
    let of = rows(&world, "sources.csv");
    assert_eq!(of[0].join(","), "step,source,samples,loss");
    let mut seen: BTreeMap<&str, f64> = BTreeMap::new();
    for row in &loss[1..] {
        let parts: Vec<_> = of[1..].iter().filter(|part| part[0] == row[0]).collect();
        let samples: f64 = parts.iter().map(|part| number(&part[2])).sum();
        let weight = |name: &str| if name == "dog" { 2.0 } else { 1.0 };
        let sum: f64 = parts.iter().map(|part| weight(&part[1]) * number(&part[2]) * number(&part[3])).sum();
        assert!(
            (sum / samples / number(&row[2]) - 1.0).abs() < 1e-4,
            "step {}: {} and {}",
            row[0],
            sum / samples,
            row[2]
        );
        for part in parts {
            *seen.entry(&part[1]).or_default() += number(&part[2]);
        }
    }
    assert_eq!(seen, BTreeMap::from([("dog", 6.0), ("cats", 8.0)]));
    let (eval, each) = (rows(&world, "eval.csv"), rows(&world, "eval_sources.csv"));
    assert_eq!(
        (eval[0].join(","), each[0].join(",")),
        ("step,eval_loss".to_owned(), "step,source,eval_loss".to_owned())
    );
    for row in &eval[1..] {
        let parts: Vec<f64> = each[1..].iter().filter(|part| part[0] == row[0]).map(|part| number(&part[2])).collect();
        assert_eq!(parts.len(), 2);
        assert!((f64::midpoint(parts[0], parts[1]) / number(&row[1]) - 1.0).abs() < 1e-5, "step {}", row[0]);
    }
    let record = world.text("results/a/run.json");
    assert!(record.contains("\"dog/rgb.png\"") && record.contains("\"cats/rgb.png\""), "{record}");
}

#[test]
fn a_cut_and_threads_change_nothing_of_several_sources() {
    let text_encoder = LORA.replace("rank = 2", "rank = 2\ntext_encoder = true");
    for adapter in [LORA, &text_encoder] {
        let world = world(SOURCES, adapter);
        let run = |threads: &str| {
            let mut command = world.command(&["run", "a.toml"]);
            let said = super::world::Said::from(command.env("RAYON_NUM_THREADS", threads).output().expect("it starts"));
            assert_eq!(said.code, Some(0), "{}", said.err);
        };
        run("2");
        let whole = bytes(&world);
        assert!(whole.iter().any(|(name, _)| name == "sources.csv"));
        // As if it had been killed in the middle of step 5's epoch, after more rows than the checkpoint knows of.
        for step in [6, 8] {
            fs_err::remove_file(world.path(&format!("results/a/checkpoints/step-{step:08}.safetensors")))
                .expect("it is there");
        }
        fs_err::remove_file(world.path("results/a/run.json")).expect("it is there");
        fs_err::remove_dir_all(world.path("results/a/weights")).expect("it is there");
        run("1");
        for ((name, before), (other, after)) in whole.iter().zip(bytes(&world)) {
            assert!(*name == other && *before == after, "{name}, {other}: {adapter}");
        }
    }
}

#[test]
fn one_source_of_the_list_is_the_folder() {
    let folder = world("path = 'cat'", LORA);
    folder.done(&["run", "a.toml"]);
    let list = world("[[dataset.sources]]\npath = 'cat'\n", LORA);
    list.done(&["run", "a.toml"]);
    for name in ["loss.csv", "eval.csv"] {
        assert_eq!(folder.text(&format!("results/a/{name}")), list.text(&format!("results/a/{name}")));
    }
    assert!(!list.path("results/a/sources.csv").exists());
    let shuffled = world("path = 'cat'\ncaptions.shuffle_tags = true", LORA);
    shuffled.done(&["run", "a.toml"]);
    assert_ne!(folder.text("results/a/loss.csv"), shuffled.text("results/a/loss.csv"), "the order of tags is another");
}

#[test]
fn class_images_of_ones_own_are_a_source() {
    let prior = format!(
        "{}\n[[dataset.sources]]\nname = 'pets'\npath = 'cat'\nprior = true\n",
        "[[dataset.sources]]\npath = 'dog'\nprompt = 'a sks dog'\n"
    );
    let adapter = "[adapter.dreambooth]\nprior_loss_weight = 0.5\nlora.rank = 2\n";
    let world = world(&prior, adapter);
    world.done(&["run", "a.toml"]);
    let loss = rows(&world, "loss.csv");
    assert_eq!(loss[0][5..].join(","), "instance_loss,prior_loss");
    assert_eq!(loss.len(), 1 + 2 * 2, "three dogs are more than two pets");
    assert!(!world.path("results/.cache/class_images").exists(), "none is drawn");
}

#[test]
fn what_is_wrong_with_a_source_names_it() {
    let world = world(SOURCES, LORA);
    world.write("cat/more.png", "no picture");
    world.refused(&["run", "a.toml"], &["the source “cats” of [[dataset.sources]] cannot be used", "more.png"]);
    let said = world.done(&["run", "a.toml", "--set", "dataset.skip_broken=true"]);
    said.has(&["source “cats”: left out: `more.png`"]);
    let plan = world.done(&["plan", "a.toml"]);
    for line in [
        "# source “dog”: 3 pictures, loss times 2, with \"a dog\"",
        "# source “cats”: 3 pictures, each 2 times, with their captions",
        "# captions: tags are drawn, so texts are encoded when they come",
        "[[dataset.sources]]\nname = \"cats\"",
    ] {
        assert!(plan.out.contains(line), "{line}: {}", plan.out);
    }
}

/// How many of a set's pictures of a prompt show this animal, and with this coat; and how many coats there are.
fn judged(world: &World, set: &str, prompt: &str, animal: &str, coat: usize) -> (usize, usize, usize) {
    let folder = unpack_into(Builtin::Judge, &[world.path("judge")]).expect("writable");
    let judge = Judge::open(&folder.join("model.safetensors"), &Device::Cpu).expect("weights");
    let samples = format!("results/a/samples/{set}/{}", prompt.replace(' ', "-"));
    let images: Vec<Tensor> = tree(&world.path(&samples))
        .iter()
        .map(|name| load_image(&world.path(&format!("{samples}/{name}"))).expect("a picture"))
        .map(|image| to_tensor(&resize_short_side(&image, 64)).expect("a tensor"))
        .collect();
    let features = judge.features(&Tensor::stack(&images, 0).expect("one size")).expect("features");
    let answers = judge.answers(&features).expect("answers");
    let coats: std::collections::BTreeSet<usize> = answers.iter().map(|answer| answer[1]).collect();
    let right = answers.iter().filter(|answer| ANIMALS[answer[0]] == animal).count();
    (right, answers.iter().filter(|answer| ANIMALS[answer[0]] == animal && answer[1] == coat).count(), coats.len())
}

/// The corgi and a pink cat: each instance prompt gives its subject, the class prompts stay what they were.
#[test]
#[ignore = "four minutes of a processor: cargo test --test main -- --ignored two_subjects"]
fn two_subjects_do_not_become_one() {
    let world = World::new();
    let pink = COATS.iter().position(|coat| *coat == "pink").expect("a coat");
    let cats = [
        "sitting on the grass",
        "standing in the snow",
        "sitting on the beach",
        "running on the grass",
        "sitting in the room",
    ];
    fs_err::create_dir(world.path("cats")).expect("writable");
    let prompts: Vec<String> = cats.iter().map(|place| format!("a pink cat {place}")).collect();
    let how = ["--output", "drawn", "--steps", "20", "--guidance-scale", "4.5", "--prompt"];
    let args = ["sample", "--model", "builtin:mini"].into_iter().chain(how).chain(prompts.iter().map(String::as_str));
    world.done(&args.collect::<Vec<_>>());
    for (i, name) in tree(&world.path("drawn")).iter().filter(|name| name.ends_with("/0.png")).enumerate() {
        fs_err::copy(world.path(&format!("drawn/{name}")), world.path(&format!("cats/{i}.png"))).expect("writable");
    }
    world.write("a.toml", TWO_SUBJECTS);
    world.done(&["run", "a.toml"]);
    let dog = judged(&world, "tuned", "a sks dog", "dog", SUBJECTS_COAT);
    let cat = judged(&world, "tuned", "a zwx cat", "cat", pink);
    let (dogs, cats) =
        (judged(&world, "tuned", "a dog", "dog", SUBJECTS_COAT), judged(&world, "tuned", "a cat", "cat", pink));
    println!("of 8, (animal, subject, coats): sks dog {dog:?}, zwx cat {cat:?}, dog {dogs:?}, cat {cats:?}");
    assert!(dog.1 >= 4 && cat.1 >= 6, "each prompt gives its subject: {dog:?} {cat:?}");
    assert!(dogs.1 <= 2 && cats.1 <= 3, "the classes are not the subjects: {dogs:?} {cats:?}");
    assert!(dogs.2 >= 3 && cats.2 >= 3, "and stay varied: {dogs:?} {cats:?}");
    let of = rows(&world, "sources.csv");
    let names: std::collections::BTreeSet<&str> = of[1..].iter().map(|row| row[1].as_str()).collect();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), ["builtin:corgi", "cats", "class: a cat", "class: a dog"]);
}

const TWO_SUBJECTS: &str = "
seed = 3
model.builtin = 'mini'
metrics.encoders = []

[dataset]
resolution = 64
random_flip = false

[[dataset.sources]]
builtin = 'corgi'

[[dataset.sources]]
path = 'cats'

[adapter.dreambooth]
class_images = 32
class_steps = 15
class_guidance_scale = 4.5
class_sampler = 'dpmpp_2m'
lora.rank = 8

[[adapter.dreambooth.subjects]]
source = 'builtin:corgi'
prompt = 'a sks dog'
class_prompt = 'a dog'

[[adapter.dreambooth.subjects]]
source = 'cats'
prompt = 'a zwx cat'
class_prompt = 'a cat'

[train]
steps = 500
batch_size = 4
learning_rate = 2e-3
checkpoint_every = 0

[eval]
prompts = ['a sks dog', 'a zwx cat', 'a dog', 'a cat']
compare_base = false
images = 8
steps = 15
guidance_scale = 4.5
sampler = 'dpmpp_2m'
every = 0
";

/// With two chunks a long prompt is read whole, and `sample` reads it as the run did; with one its end is cut, and told.
#[test]
fn a_long_prompt_is_read_in_chunks_for_training_and_drawing() {
    let long = format!("{}dog", "a very big ".repeat(30));
    let world = World::new();
    let text = world.text("a.toml").replace("prompts = ['a dog', 'a cat']", &format!("prompts = ['{long}']"));
    world.write("a.toml", text.replace("prompt = 'a dog'", &format!("prompt = '{long}'")));
    let said = world.done(&["run", "a.toml", "--set", "text.chunks=2"]);
    assert!(!said.err.contains("too long"), "{}", said.err);
    let cut = world.done(&["run", "a.toml", "--set", "name=cut"]);
    cut.has(&["is too long for the text encoder"]);
    let picture = |run: &str, set: &str| {
        let folder = format!("results/{run}/samples/{set}");
        let name = tree(&world.path(&folder)).into_iter().find(|name| name.ends_with("/0.png")).expect("a picture");
        load_image(&world.path(&format!("{folder}/{name}"))).expect("a picture")
    };
    for set in ["base", "tuned"] {
        assert!(picture("a", set) != picture("cut", set), "{set}: its end counts");
    }
    world.done(&["sample", "results/a", "--prompt", &long, "-o", "drawn"]);
    let name = tree(&world.path("drawn")).into_iter().find(|name| name.ends_with("/0.png")).expect("a picture");
    assert!(load_image(&world.path(&format!("drawn/{name}"))).expect("a picture") == picture("a", "tuned"));
}

/// A folder of more images than are decoded to check it, three of them damaged where only their pixels show it.
#[test]
fn broken_images_of_a_large_folder_are_all_told_and_what_was_made_of_the_others_stays() {
    let world = World::new();
    let good = fs_err::read(fixture("resize/formats/grey.jpg")).expect("it is there");
    for index in 0..257 {
        let bytes = if [9, 40, 200].contains(&index) { damaged(&good) } else { good.clone() };
        world.write(&format!("dog/{index:03}.jpg"), bytes);
    }
    let run = ["run", "a.toml", "--set", "train.steps=1", "--set", "eval.prompts=[]"];
    world.refused(
        &run,
        &["3 images cannot be used", "009.jpg` is damaged", "040.jpg` is", "200.jpg` is", "skip_broken"],
    );
    let latents = || tree(&world.path("results/.cache/latents")).len();
    assert!(latents() > 0);
    world.done(&[&run[..], &["--set", "dataset.skip_broken=true"]].concat()).has(&["left out: `009.jpg`"]);
    for index in [9, 40, 200] {
        world.write(&format!("dog/{index:03}.jpg"), &good);
    }
    let made = latents();
    world.done(&[&run[..], &["--set", "name=mended"]].concat());
    assert_eq!(latents(), made, "equal images have equal latents, which are made once");
}
