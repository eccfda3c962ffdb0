//! Encoders, preprocessing and formulas against transformers, torchvision and numpy (`tests/fixtures/metrics`), and the command.

use candle_core::{DType, Device, IndexOp, Tensor};
use serde_json::Value;
use std::path::Path;
use std::process::Output;
use tunelab::data::load_image;
use tunelab::measure::{CLIP, Clip, DINO, Dino};
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
    let cases: [(&[&str], &str); 8] = [
        (&["--reference", &images, "--encoder", "nope=/x"], "there is no encoder nope; there are dino_vits16"),
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
    assert!(told.contains("hidden_act is gelu"), "{told}");
    let told = broken(|config| config.replace("1e-05", "1e-06"));
    assert!(told.contains("layer_norm_eps is 0.000001"), "{told}");
    let told = broken(|config| config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"));
    assert!(told.contains("2 layers"), "{told}");
    let told = broken(|config| config.replace("\"patch_size\": 8", "\"patch_size\": 4"));
    assert!(told.contains("not the weights of clip_vit_b32"), "{told}");
}
