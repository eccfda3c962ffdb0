//! Encoders, preprocessing and formulas against transformers, torchvision and numpy (`tests/fixtures/metrics`), and the command.

use candle_core::{DType, Device, IndexOp, Tensor};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use tunelab::assets::builtin::unpack_into;
use tunelab::builtin::Builtin;
use tunelab::data::{load_image, to_tensor};
use tunelab::measure::judge::{ANSWERS, COATS, SUBJECTS_COAT};
use tunelab::measure::{CLIP, Caption, Clip, DINO, Dino, Encoder, JUDGE, Prompt, Seen};
use tunelab::metrics::{EncoderName, cosine_to_each, diversity, interval, nearest, unit};

use crate::fixture::{fixture, tensors, within};

/// Of values around 1: four digits, as everywhere.
const BOUND: f64 = 1e-4;

#[test]
fn dino_gives_transformers_class_token_with_either_epsilon() {
    let numbers = tensors("metrics/encoders.safetensors");
    let mut features = Vec::new();
    for name in ["dino_eps6", "dino_eps12"] {
        let dino = Dino::open(&fixture("metrics").join(name), &Device::Cpu).unwrap();
        assert_eq!(dino.size, 32);
        let ours = dino.image_features(&numbers["pixel_values"]).unwrap();
        within(&ours, &numbers[name], BOUND, name);
        same_cosines(&ours, &numbers[name]);
        features.push(ours);
    }
    assert!(features[0].dims() == features[1].dims());
}

#[test]
fn clip_gives_transformers_features_of_images_and_of_texts_of_every_length() {
    let numbers = tensors("metrics/encoders.safetensors");
    let clip = Clip::open(&fixture("metrics/clip"), EncoderName::ClipVitB32, false, &Device::Cpu).unwrap();
    let images = clip.image_features(&numbers["pixel_values"]).unwrap();
    within(&images, &numbers["clip_images"], BOUND, "images");
    let ids: Vec<Vec<u32>> = numbers["clip_ids"].to_dtype(DType::U32).unwrap().to_vec2().unwrap();
    for (index, ids) in ids.iter().enumerate() {
        let reference = numbers["clip_texts"].i(index).unwrap();
        let padded_with_end: Vec<u32> = ids.iter().map(|id| if *id == 0 { 99 } else { *id }).collect();
        for ids in [ids, &padded_with_end] {
            let ours = clip.text_features(ids).unwrap();
            within(&Tensor::new(&ours[..], &Device::Cpu).unwrap(), &reference, BOUND, "text");
            let to_f32 = |t: &Tensor| t.to_vec1::<f32>().unwrap();
            for image in 0..3 {
                let ours = cosine(&to_f32(&images.i(image).unwrap()), &ours);
                let theirs = cosine(&to_f32(&numbers["clip_images"].i(image).unwrap()), &to_f32(&reference));
                assert!((ours - theirs).abs() < 1e-5, "{ours} for {theirs}");
            }
        }
    }
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    cosine_to_each(&unit(a), &[unit(b)]).unwrap()
}

/// The cosines between the rows of each.
fn same_cosines(ours: &Tensor, reference: &Tensor) {
    let rows = |t: &Tensor| t.to_vec2::<f32>().unwrap();
    let (ours, reference) = (rows(ours), rows(reference));
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        let (a, b) = (cosine(&ours[i], &ours[j]), cosine(&reference[i], &reference[j]));
        assert!((a - b).abs() < 1e-5, "{a} for {b}");
    }
}

/// In units of 1/255 of the range, before mean and deviation, no value may be off by one.
#[test]
fn pixel_values_are_those_of_pillows_processors() {
    let numbers = tensors("metrics/pixel_values.safetensors");
    for name in ["333x500", "500x333", "225x224", "64x64", "grey", "rgba"] {
        let image = load_image(&fixture("metrics").join(format!("{name}.png"))).unwrap();
        for (encoder, preprocessing) in [("clip", CLIP), ("dino", DINO)] {
            let key = format!("{name}.{encoder}");
            let ours = preprocessing.pixel_values(&image, 224).unwrap();
            let expected = load_image(&fixture("metrics").join(format!("{key}.png"))).unwrap();
            // The whole cut, through the same normalization.
            let whole = preprocessing.pixel_values(&expected, 224);
            if encoder == "clip" {
                assert_eq!(
                    ours.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                    whole.unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap(),
                    "{key}"
                );
            }
            // And some values as they came out of the processor.
            for (y, row) in (0..224).step_by(37).enumerate() {
                for (x, column) in (0..224).step_by(41).enumerate() {
                    for channel in 0..3 {
                        let at =
                            |t: &Tensor, y: usize, x: usize| t.i((channel, y, x)).unwrap().to_scalar::<f32>().unwrap();
                        let (ours, theirs) = (at(&ours, row, column), at(&numbers[&key], y, x));
                        assert!((ours - theirs).abs() < 1e-5, "{key} at {row}, {column}: {ours} for {theirs}");
                    }
                }
            }
        }
    }
}

#[test]
fn formulas_are_numpys() {
    let numbers = tensors("metrics/formulas.safetensors");
    let units = |name: &str| numbers[name].to_vec2::<f32>().unwrap().iter().map(|row| unit(row)).collect::<Vec<_>>();
    let f64s = |name: &str| numbers[name].to_vec1::<f64>().unwrap();
    let (generated, references) = (units("generated"), units("references"));
    let nearest_to = numbers["nearest_to"].to_vec1::<i64>().unwrap();
    let close =
        |ours: f64, theirs: f64, what: &str| assert!((ours - theirs).abs() < 1e-12, "{what}: {ours} for {theirs}");
    for (i, one) in generated.iter().enumerate() {
        close(cosine_to_each(one, &references).unwrap(), f64s("subject")[i], "subject");
        let (cosine, index) = nearest(one, &references).unwrap();
        close(cosine, f64s("nearest")[i], "nearest");
        assert_eq!(index as i64, nearest_to[i]);
    }
    close(diversity(&generated).unwrap(), f64s("diversity")[0], "diversity");
    let mut values = f64s("values").into_iter();
    let lengths = numbers["lengths"].to_vec1::<i64>().unwrap();
    let groups: Vec<Vec<f64>> = lengths.iter().map(|n| values.by_ref().take(*n as usize).collect()).collect();
    let draws = numbers["draws"].to_vec2::<i64>().unwrap();
    let draws: Vec<Vec<usize>> = draws.iter().map(|draw| draw.iter().map(|i| *i as usize).collect()).collect();
    let ours = interval(&groups, &draws).unwrap();
    close(ours.low, f64s("interval")[0], "lower bound");
    close(ours.high, f64s("interval")[1], "upper bound");
    assert!(ours.low < ours.high);
}

#[test]
fn what_cannot_be_said_is_not() {
    let one = vec![unit(&[1.0, 2.0])];
    assert!(diversity(&one).is_none() && interval(&[vec![1.0]], &[vec![0]]).is_none());
    assert!(cosine_to_each(&one[0], &[]).is_none() && nearest(&one[0], &[]).is_none());
    assert!(interval(&[vec![1.0], vec![2.0]], &[]).is_none());
    assert_eq!(unit(&[0.0, 0.0]), [0.0, 0.0]);
}

fn tunelab(arguments: &[&str]) -> Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_tunelab"))
        .args(arguments)
        .env("HF_HUB_OFFLINE", "1")
        .env("HF_HOME", std::env::temp_dir().join("tunelab-no-such-cache"))
        .output()
        .unwrap()
}

/// A folder with two pictures of the fixtures, one of them in a folder of its own.
fn pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("deeper")).unwrap();
    fs_err::copy(fixture("metrics/grey.png"), folder.path().join("a.png")).unwrap();
    fs_err::copy(fixture("metrics/rgba.png"), folder.path().join("deeper/b.png")).unwrap();
    folder
}

fn with_dino(images: &Path, reference: &Path, more: &[&str]) -> Output {
    let dino = format!("dino_vits16={}", fixture("metrics/dino_eps6").display());
    let [images, reference] = [images, reference].map(|path| path.to_str().unwrap());
    let own =
        ["measure", "--images", images, "--reference", reference, "--encoders", "dino_vits16", "--encoder", &dino];
    tunelab(&[&own[..], more].concat())
}

#[test]
fn the_command_measures_two_folders() {
    let images = pictures();
    let reference = tempfile::tempdir().unwrap();
    fs_err::copy(fixture("metrics/500x333.png"), reference.path().join("photo.png")).unwrap();
    fs_err::copy(fixture("metrics/64x64.png"), reference.path().join("small.png")).unwrap();
    let output = with_dino(images.path(), reference.path(), &["--json", "--device", "cpu"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    // By hand, from the features.
    let dino = Dino::open(&fixture("metrics/dino_eps6"), &Device::Cpu).unwrap();
    let features = |name: &str| {
        let image = load_image(&fixture("metrics").join(name)).unwrap();
        let values = DINO.pixel_values(&image, 32).unwrap().unsqueeze(0).unwrap();
        unit(&dino.image_features(&values).unwrap().squeeze(0).unwrap().to_vec1::<f32>().unwrap())
    };
    let generated = ["grey.png", "rgba.png"].map(features);
    let photographs = ["500x333.png", "64x64.png"].map(features);
    let of = |one: &Vec<f64>| cosine_to_each(one, &photographs).unwrap();
    let number = |value: &Value| value.as_f64().unwrap();
    let near = |ours: f64, expected: f64| assert!((ours - expected).abs() < 1e-6, "{ours} for {expected}");
    near(number(&json["dino"]), f64::midpoint(of(&generated[0]), of(&generated[1])));
    near(number(&json["diversity"]), diversity(&generated).unwrap());
    near(number(&json["images"][1]["dino_vits16"]["dino"]), of(&generated[1]));
    assert_eq!(json["encoders"]["dino"], "dino_vits16");
    assert_eq!(json["images"][1]["file"], "deeper/b.png");
    let bounds = [0, 1].map(|i| number(&json["intervals"]["dino"][i]));
    assert!(bounds[0] <= number(&json["dino"]) && number(&json["dino"]) <= bounds[1]);
    let text = with_dino(images.path(), reference.path(), &[]);
    assert!(String::from_utf8(text.stdout).unwrap().contains("2 images against 2 photographs"));
}

#[test]
fn an_image_that_is_among_the_references_is_told() {
    let images = pictures();
    let output = with_dino(images.path(), images.path(), &[]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("byte for byte: a.png, … (2 images)"), "{told}");
}

#[test]
fn wrong_input_is_one_message_and_exit_code_2() {
    let images = pictures();
    let empty = tempfile::tempdir().unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let (images, none) = (path(images.path()), path(empty.path()));
    let metadata = empty.path().join("metadata.jsonl");
    fs_err::write(&metadata, "{\"file_name\": \"none.png\", \"text\": \"a dog\"}\n").unwrap();
    let clip = |name: &str| format!("clip_vit_b32={}", fixture("metrics").join(name).display());
    let wrong_kind = clip("dino_eps6");
    let (here, lines) = (clip("clip"), path(&metadata));
    let cases: [(&[&str], &str); 9] = [
        (&["--reference", &images, "--encoder", "nope=/x"], "there is no encoder nope; there are builtin, dino_vits16"),
        (&["--reference", &images, "--encoders", "builtin", "--encoder", "builtin=/x"], "builtin is compiled in"),
        (&["--reference", &none], "there are no pictures in it"),
        (&["--reference", "/no/such/folder"], "there is no such folder"),
        (&["--prompt", "a dog", "--encoders", "dino_vits16"], "there is nothing to compare the images with"),
        (&["--reference", &images, "--encoders", "clip_vit_b32", "--encoder", &wrong_kind], "a model of the type vit"),
        (&["--prompts-from", &lines, "--encoder", &here], "line 1: there is no"),
        (
            &["--reference", &images, "--encoders", "dino_vits16", "--encoder", &here],
            "which --encoders dino_vits16 leaves out",
        ),
        (&["--prompt", "sks", "--identifier", "sks"], "nothing but the identifier"),
    ];
    for (arguments, message) in cases {
        let output = tunelab(&[&["measure", "--images", &images][..], arguments].concat());
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(message), "{arguments:?}: {told}");
        assert_eq!(output.status.code(), Some(2), "{told}");
    }
    let output = tunelab(&["measure", "--images", &images, "--reference", &images]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("--encoder dino_vits16=DIR takes a copy of facebook/dino-vits16"), "{told}");
    assert_ne!(output.status.code(), Some(0));
}

/// What candle would fill in or compute as something else.
#[test]
fn an_encoder_that_candle_would_not_compute_rightly_is_refused() {
    let broken = |change: fn(String) -> String| {
        let dir = tempfile::tempdir().unwrap();
        let from = fixture("metrics/clip");
        fs_err::copy(from.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
        let config = change(fs_err::read_to_string(from.join("config.json")).unwrap());
        fs_err::write(dir.path().join("config.json"), config).unwrap();
        let opened = Clip::open(dir.path(), EncoderName::ClipVitB32, false, &Device::Cpu);
        opened.err().expect("it is refused").to_string()
    };
    let told = broken(|config| config.replace("\"quick_gelu\"", "\"gelu\""));
    assert!(told.contains("`text_config.hidden_act` is gelu"), "{told}");
    let told = broken(|config| config.replace("1e-05", "1e-06"));
    assert!(told.contains("`text_config.layer_norm_eps` is 0.000001"), "{told}");
    let told = broken(|config| config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"));
    assert!(told.contains("2 layers"), "{told}");
    let told = broken(|config| config.replace("\"patch_size\": 8", "\"patch_size\": 4"));
    assert!(told.contains("not the weights of clip_vit_b32"), "{told}");
}

/// A copy of an encoder's folder with its `config.json` changed.
fn configured(encoder: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let from = fixture("metrics").join(encoder);
    fs_err::copy(from.join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    let mut config: Value = serde_json::from_slice(&fs_err::read(from.join("config.json")).unwrap()).unwrap();
    change(&mut config);
    fs_err::write(dir.path().join("config.json"), config.to_string()).unwrap();
    dir
}

/// candle panics at some of these.
#[test]
fn a_size_that_cannot_be_is_one_message_with_file_and_key() {
    let vit =
        ["hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "patch_size", "image_size"];
    let text = ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "max_position_embeddings"];
    let wrong = |encoder: &str, table: Option<&str>, key: &str, value: &Value| {
        let dir = configured(encoder, |config| match table {
            Some(table) => config[table][key] = value.clone(),
            None => config[key] = value.clone(),
        });
        let told = match encoder {
            "clip" => Clip::open(dir.path(), EncoderName::ClipVitB32, false, &Device::Cpu).err(),
            _ => Dino::open(dir.path(), &Device::Cpu).err(),
        };
        let error = told.unwrap_or_else(|| panic!("{encoder}: {table:?} {key} {value} is taken"));
        let (told, path) = (error.to_string(), table.map_or(key.to_owned(), |table| format!("{table}.{key}")));
        assert!(told.contains("config.json: `") && told.contains(&format!("`{path}` is {value}")), "{told}");
        assert_eq!(error.exit_code(), 2, "{told}");
    };
    for value in [0.into(), (-4).into(), 1_000_001.into(), 2.5.into(), "many".into(), u64::MAX.into()] {
        for key in text {
            wrong("clip", Some("text_config"), key, &value);
        }
        for key in vit {
            wrong("dino_eps6", None, key, &value);
            wrong("clip", Some("vision_config"), key, &value);
        }
        wrong("clip", None, "projection_dim", &value);
    }
    for (encoder, table) in [("dino_eps6", None), ("clip", Some("text_config")), ("clip", Some("vision_config"))] {
        wrong(encoder, table, "num_attention_heads", &5.into());
    }
    for (encoder, table) in [("dino_eps6", None), ("clip", Some("vision_config"))] {
        wrong(encoder, table, "patch_size", &33.into());
        wrong(encoder, table, "num_channels", &4.into());
    }
    // A million patches along each side.
    let dir = configured("clip", |config| {
        config["vision_config"]["image_size"] = 1_000_000.into();
        config["vision_config"]["patch_size"] = 1.into();
    });
    let told = Clip::open(dir.path(), EncoderName::ClipVitB32, false, &Device::Cpu).err().unwrap().to_string();
    assert!(told.contains("`vision_config.patch_size` is 1"), "{told}");
    wrong("clip", None, "text_config", &"none".into());
}

#[test]
fn a_size_that_cannot_be_ends_the_command_with_exit_code_2() {
    let images = pictures();
    let dir = configured("dino_eps6", |config| config["num_attention_heads"] = 0.into());
    let [images, dino] = [images.path(), dir.path()].map(|path| path.to_str().unwrap());
    let encoder = format!("dino_vits16={dino}");
    let output = tunelab(&[
        "measure",
        "--images",
        images,
        "--reference",
        images,
        "--encoders",
        "dino_vits16",
        "--encoder",
        &encoder,
    ]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("config.json: `num_attention_heads` is 0") && !told.contains("panicked"), "{told}");
    assert_eq!(output.status.code(), Some(2), "{told}");
}

/// A tokenizer of the words "a dog", "a" and of letters, for the small CLIP: 98 begins, 99 ends.
pub(crate) fn clip_with_tokenizer() -> tempfile::TempDir {
    let dir = configured("clip", |_| {});
    let vocab = serde_json::json!({
        "a": 0, "d": 1, "o": 2, "g": 3, "s": 4, "k": 5, "a</w>": 6, "g</w>": 7, "s</w>": 8, "do": 9, "dog</w>": 10, "sk": 11,
        "sks</w>": 12, "<|startoftext|>": 98, "<|endoftext|>": 99
    });
    let merges = "#version: 0.2\nd o\ndo g</w>\ns k\nsk s</w>\n";
    let settings = serde_json::json!({"model_max_length": 16});
    fs_err::write(dir.path().join("vocab.json"), vocab.to_string()).unwrap();
    fs_err::write(dir.path().join("merges.txt"), merges).unwrap();
    fs_err::write(dir.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    dir
}

#[test]
fn the_command_compares_images_with_a_prompt_without_its_identifier() {
    let (images, folder) = (pictures(), clip_with_tokenizer());
    let encoder = format!("clip_vit_b32={}", folder.path().display());
    let measure = |prompt: &str, more: &[&str]| -> Value {
        let images = images.path().to_str().unwrap();
        let own =
            ["measure", "--images", images, "--prompt", prompt, "--encoder", &encoder, "--json", "--device", "cpu"];
        let output = tunelab(&[&own[..], more].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let clip = Clip::open(folder.path(), EncoderName::ClipVitB32, false, &Device::Cpu).unwrap();
    let text = clip.text_features(&[98, 6, 10, 99]).unwrap();
    let cosines = ["grey.png", "rgba.png"].map(|name| {
        let image = load_image(&fixture("metrics").join(name)).unwrap();
        let values = CLIP.pixel_values(&image, 32).unwrap().unsqueeze(0).unwrap();
        cosine(&clip.image_features(&values).unwrap().squeeze(0).unwrap().to_vec1::<f32>().unwrap(), &text)
    });
    let without = measure("a sks dog", &["--identifier", "sks"]);
    assert!((without["clip_t"].as_f64().unwrap() - f64::midpoint(cosines[0], cosines[1])).abs() < 1e-6, "{without}");
    for (image, expected) in without["images"].as_array().unwrap().iter().zip(cosines) {
        assert!((image["clip_vit_b32"]["clip_t"].as_f64().unwrap() - expected).abs() < 1e-6, "{image}");
        assert_eq!(image["prompt"], "a dog");
    }
    assert_eq!((&without["encoders"]["clip_t"], &without["prompts"]), (&"clip_vit_b32".into(), &1.into()));
    assert_eq!(without["clip_t"], measure("a dog", &[])["clip_t"]);
    assert_ne!(without["clip_t"], measure("a sks dog", &[])["clip_t"]);
}

/// The judge, and what it sees in the five photographs.
fn judged() -> (Encoder, Seen) {
    let root = tempfile::tempdir().unwrap();
    let folder = unpack_into(Builtin::Judge, &[root.path().to_owned()]).unwrap();
    let judge = Encoder::open(EncoderName::Builtin, &folder, true, &Device::Cpu).unwrap();
    let photographs = (1..=5).map(|i| load_image(&corgi().join(format!("{i}.png"))).unwrap()).collect::<Vec<_>>();
    let seen = judge.see(&photographs, &Device::Cpu).unwrap();
    (judge, seen)
}

fn corgi() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/tunelab-core/assets/corgi")
}

#[test]
fn the_judge_sees_the_subject_in_its_photographs() {
    let (judge, seen) = judged();
    let word = |answers: &[usize; 5], question: usize| ANSWERS[question][answers[question]];
    // As `examples/world/subject.rs` draws them.
    let activities =
        [("sitting", "grass"), ("standing", "beach"), ("running", "grass"), ("sitting", "room"), ("standing", "snow")];
    for (answers, (action, place)) in seen.answers.iter().zip(activities) {
        let words: Vec<&str> = (0..5).map(|question| word(answers, question)).collect();
        assert_eq!(words, ["dog", COATS[SUBJECTS_COAT], action, place, "out"]);
    }
    for features in &seen.features {
        let near = cosine_to_each(features, &seen.features).unwrap();
        // What they do, and where, differs.
        assert!(near > 0.8, "{near}");
        assert!((features.iter().map(|v| v * v).sum::<f64>() - 1.0).abs() < 1e-9);
    }
    let shares = |prompt: &str| -> Vec<f64> {
        let (prompt, told) = judge.read(prompt).unwrap();
        assert_eq!(told, None);
        (0..5).map(|i| prompt.as_ref().unwrap().fidelity(&seen, i).unwrap()).collect()
    };
    assert_eq!(shares("a dog"), [1.0; 5]);
    assert_eq!(shares("a cat"), [0.0; 5]);
    assert_eq!(shares("a sks dog with its tongue out"), [1.0; 5]);
    assert_eq!(shares("an orange dog"), [1.0; 5], "its fur is orange, and white");
    assert_eq!(shares("an orange and white dog"), [1.0; 5]);
    assert_eq!(shares("a brown dog"), [0.5; 5]);
    assert_eq!(shares("an orange cat sitting on the grass"), [0.75, 0.25, 0.5, 0.5, 0.25]);
    let (nothing, told) = judge.read("a spaceship").unwrap();
    assert_eq!(nothing, None);
    assert!(told.unwrap().contains("“a spaceship” says nothing that builtin knows"));
    // Another encoder's features are no answers.
    let seen = Seen { answers: Vec::new(), ..seen };
    assert_eq!(Prompt::Caption(Caption::read("a dog").unwrap()).fidelity(&seen, 0), None);
}

#[test]
fn a_picture_of_the_judges_size_goes_in_as_it_is() {
    let image = load_image(&fixture("metrics/64x64.png")).unwrap();
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(values(JUDGE.pixel_values(&image, 64).unwrap()) == values(to_tensor(&image).unwrap()));
}

#[test]
fn captions_are_read_by_the_judges_own_words() {
    let words = |text: &str| -> Option<Vec<&str>> {
        let said = Caption::read(text)?.said();
        let word = |(question, answer): (usize, Option<usize>)| Some(ANSWERS[question][answer?]);
        Some(said.into_iter().enumerate().filter_map(word).collect())
    };
    let read = |text: &str, expected: &[&str]| assert_eq!(words(text).as_deref(), Some(expected), "{text}");
    read("a dog", &["dog"]);
    read("A photo of a SKS Dog, sitting: in the Snow!", &["dog", "sitting", "snow"]);
    read("a black and white cat at night", &["cat", "black and white", "night"]);
    read("a black-and-white cat", &["cat", "black and white"]);
    read("a black cat and a white dog", &["cat", "black"]);
    read("a dog beside a grey cat", &["dog"]);
    read("a dog dog cat", &["dog"]);
    read("an orange and white dog", &["dog", "orange and white"]);
    read("a blue fox with a red collar and a hat eating at night", &["fox", "blue", "eating", "night"]);
    read("a fox with a blue collar", &["fox"]);
    read("a dog in a white room", &["dog", "room"]);
    read("a brown sks dog", &["dog", "brown"]);
    read("on a white beach, a brown dog", &["dog", "brown", "beach"]);
    read("a pig with its tongue out", &["pig", "out"]);
    read("swimming in the water", &["swimming", "water"]);
    for text in ["a spaceship", "sks", "", "two dogs", "a kitten", "a brown spaceship", "its tongue is pink, and out"] {
        assert_eq!(words(text), None, "{text}");
    }
}

#[test]
fn the_command_measures_with_the_judge() {
    let cache = tempfile::tempdir().unwrap();
    let folder = corgi();
    let folder = folder.to_str().unwrap();
    let measure = |more: &[&str]| {
        let own = ["measure", "--images", folder, "--encoders", "builtin", "--device", "cpu"];
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_tunelab"))
            .args([&own[..], more].concat())
            .env("XDG_CACHE_HOME", cache.path())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        (String::from_utf8(output.stdout).unwrap(), told)
    };
    let json = |more: &[&str]| -> Value { serde_json::from_str(&measure(&[&["--json"], more].concat()).0).unwrap() };
    let (_, seen) = judged();
    let json_of = json(&["--reference", folder, "--prompt", "a sks dog", "--identifier", "sks"]);
    let mean = seen.features.iter().map(|one| cosine_to_each(one, &seen.features).unwrap()).sum::<f64>() / 5.0;
    let number = |name: &str| json_of[name].as_f64().unwrap();
    assert!((number("subject") - mean).abs() < 1e-5, "{json_of}");
    assert!((number("diversity") - diversity(&seen.features).unwrap()).abs() < 1e-5);
    assert!((number("nearest") - 1.0).abs() < 1e-6);
    assert_eq!(json_of["prompt"], 1.0);
    assert_eq!(json_of["encoders"]["prompt"], "builtin");
    for image in json_of["images"].as_array().unwrap() {
        assert_eq!((&image["prompt"], &image["builtin"]["prompt"]), (&"a dog".into(), &1.0.into()));
        assert!(image["builtin"].get("clip_t").is_none());
    }
    assert_eq!(json(&["--prompt", "a cat sitting"])["prompt"], 0.2, "two of five sit");
    assert!(json(&["--prompt", "a spaceship"]).get("prompt").is_none());
    let (table, told) = measure(&["--prompt", "a spaceship", "--reference", folder]);
    assert!(told.contains("“a spaceship” says nothing that builtin knows"), "{told}");
    assert!(table.contains("subject ") && !table.contains("prompt "), "{table}");
    let (table, _) = measure(&["--prompt", "a dog"]);
    assert!(table.contains("`prompt` a share") && table.contains("prompt      1.0000"), "{table}");
}
