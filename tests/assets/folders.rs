//! Local model folders.

use std::path::Path;

use tunelab::assets::{find_dataset, find_model};
use tunelab::config::{Selection, Source};
use tunelab::data::slashed;
use tunelab::error::Error;
use tunelab::hash::sha256_of_file;
use tunelab::pipeline::TOKENIZER_FILES;
use tunelab::progress::Progress;
use tunelab::weights::{Part, PartName, Weights};

use super::{Files, model, safetensors, write_all};

fn refused(files: &Files) -> String {
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), files);
    let error: Error = find_model(&Source::Path(dir.path().to_owned()), &Progress::hidden()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    error.to_string()
}

#[test]
fn a_diffusers_folder_is_found_with_its_shards() {
    let mut files = model();
    files.remove("unet/diffusion_pytorch_model.safetensors");
    for (i, elements) in [(1, 3), (2, 4)] {
        let name = format!("unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors");
        files.insert(name, safetensors(1.0, elements));
    }
    let index = r#"{"metadata": {"total_size": 28}, "weight_map": {
        "b": "diffusion_pytorch_model-00002-of-00002.safetensors",
        "a": "diffusion_pytorch_model-00001-of-00002.safetensors",
        "c": "diffusion_pytorch_model-00002-of-00002.safetensors"}}"#;
    files.insert("unet/diffusion_pytorch_model.safetensors.index.json".into(), index.into());
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), &files);
    let found = find_model(&Source::Path(dir.path().to_owned()), &Progress::hidden()).unwrap();
    let names: Vec<_> =
        found.parts[&PartName::Unet].weights.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(
        names,
        ["diffusion_pytorch_model-00001-of-00002.safetensors", "diffusion_pytorch_model-00002-of-00002.safetensors"]
    );
    assert!(!found.parts[&PartName::Unet].half);
    assert_eq!(found.parts[&PartName::TextEncoder].weights, [dir.path().join("text_encoder/model.safetensors")]);
    assert_eq!(found.tokenizers[&PartName::TextEncoder], dir.path().join("tokenizer"));

    files.remove("unet/diffusion_pytorch_model-00002-of-00002.safetensors");
    assert!(refused(&files).contains("shards are missing:\n  diffusion_pytorch_model-00002-of-00002.safetensors"));
    let outside = r#"{"weight_map": {"a": "../../etc/passwd"}}"#;
    files.insert("unet/diffusion_pytorch_model.safetensors.index.json".into(), outside.into());
    assert!(refused(&files).contains("a file outside its folder: `../../etc/passwd`"));
}

#[test]
fn what_diffusers_and_transformers_write_opens() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let found = find_model(&Source::Path(root.join("model")), &Progress::hidden()).unwrap();
    assert_eq!(found.parts.len(), 3);
    for part in found.parts.values() {
        assert!(Weights::open_part(part).unwrap().names().count() > 10, "{}", part.name);
    }
    let mut names = [Vec::new(), Vec::new()];
    for (names, dir) in names.iter_mut().zip(["vae_old_names", "model/vae"]) {
        let weights = vec![root.join(dir).join("diffusion_pytorch_model.safetensors")];
        let part = Part { weights, ..found.parts[&PartName::Vae].clone() };
        *names = Weights::open_part(&part).unwrap().names().map(str::to_owned).collect();
    }
    assert_eq!(names[0], names[1]);
}

#[test]
fn everything_that_is_missing_is_listed_at_once() {
    let mut files = model();
    for name in ["scheduler/scheduler_config.json", "tokenizer/merges.txt", "vae/config.json"] {
        files.remove(name);
    }
    files.retain(|name, _| !name.starts_with("unet/"));
    let text = refused(&files);
    for part in [
        "scheduler/scheduler_config.json",
        "tokenizer/tokenizer.json (or vocab.json and merges.txt)",
        "vae/config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("vae/diffusion_pytorch_model"), "{text}");
}

#[test]
fn pickled_weights_are_named_and_not_read() {
    let mut files = model();
    files.remove("vae/diffusion_pytorch_model.safetensors");
    files.insert("vae/diffusion_pytorch_model.bin".into(), b"PK".to_vec());
    let text = refused(&files);
    assert!(text.contains("only pickled weights") && text.contains("vae/diffusion_pytorch_model.bin"), "{text}");
    assert!(!text.contains("text_encoder/pytorch_model.bin"), "that part has safetensors too: {text}");
}

#[test]
fn a_single_file_checkpoint_is_told_from_a_folder() {
    let files = Files::from([("v1-5-pruned.safetensors".into(), safetensors(1.0, 2))]);
    let text = refused(&files);
    assert!(text.contains("a model in one file (v1-5-pruned.safetensors), not a diffusers folder"), "{text}");
    assert!(text.contains("file = \"v1-5-pruned.safetensors\""), "{text}");
    let text = refused(&Files::from([("v1-5.ckpt".into(), b"PK".to_vec())]));
    assert!(text.contains("a model in one file (v1-5.ckpt)") && text.contains("from_single_file"), "{text}");
    let dir = tempfile::tempdir().unwrap();
    write_all(dir.path(), &files);
    let source = Source::Path(dir.path().join("v1-5-pruned.safetensors"));
    let text = find_model(&source, &Progress::hidden()).unwrap_err().to_string();
    assert!(text.contains("no model that is known here"), "{text}");
}

/// A file where a folder is needed is named for what it is.
#[test]
fn files_in_a_folders_place_are_named_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let lora = dir.path().join("lora.safetensors");
    super::save(&lora, &[("lora_unet_mid_block.lora_down.weight", super::counting(1.0, &[2, 2]))]);
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec();
    let files = [
        ("pointer.safetensors", pointer.clone(), "Git LFS pointer", "git lfs pull"),
        ("pointer.ckpt", pointer, "Git LFS pointer", "git lfs pull"),
        ("v1-5.ckpt", b"PK\x03\x04zip of a pickle".to_vec(), "pickled", "from_single_file"),
        ("v1-5.pt", vec![0x80, 0x02, 0x8a, 0x0a, 0, 0, 0, 0, 0, 0], "pickled", "from_single_file"),
        ("model.bin", b"PK\x03\x04".to_vec(), "pickled", "from_single_file"),
        ("lora.safetensors", fs_err::read(&lora).unwrap(), "a LoRA file", "--lora"),
    ];
    for (name, bytes, what, remedy) in files {
        let path = dir.path().join(name);
        fs_err::write(&path, bytes).unwrap();
        for source in [Source::Path(path.clone()), Source::from_argument(path.to_str().unwrap()).unwrap()] {
            let error = find_model(&source, &Progress::hidden()).unwrap_err();
            let text = error.to_string();
            assert!(error.exit_code() == 2 && text.contains(name), "{text}");
            assert!(text.contains(what) && text.contains(remedy), "{text}");
        }
    }
    let missing = Source::from_argument("models/v1-5.safetensors").unwrap_err().to_string();
    assert!(missing.contains("there is no file \"models/v1-5.safetensors\""), "{missing}");
}

/// Weights in a folder that were never fetched from its repository.
#[test]
fn a_pointer_in_the_place_of_weights_is_named() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/model");
    let mut part = find_model(&Source::Path(root), &Progress::hidden()).unwrap().parts[&PartName::Vae].clone();
    let dir = tempfile::tempdir().unwrap();
    part.weights = vec![dir.path().join("diffusion_pytorch_model.safetensors")];
    fs_err::write(&part.weights[0], "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n").unwrap();
    let text = Weights::open_part(&part).unwrap_err().to_string();
    assert!(
        text.contains("diffusion_pytorch_model.safetensors: this is a Git LFS pointer")
            && text.contains("git lfs pull"),
        "{text}"
    );
}

/// By their pipeline's class, and where there is no `model_index.json` by their parts.
#[test]
fn models_of_other_families_are_refused_by_name() {
    let class = |class: &str| {
        let mut files = model();
        let index = String::from_utf8(files["model_index.json"].clone()).unwrap();
        files.insert("model_index.json".into(), index.replace("StableDiffusionPipeline", class).into_bytes());
        refused(&files)
    };
    for (pipeline, name) in [
        ("StableDiffusionXLImg2ImgPipeline", "the refiner of Stable Diffusion XL"),
        ("StableDiffusionXLInpaintPipeline", "an inpainting model of Stable Diffusion XL"),
        ("StableDiffusion3Pipeline", "Stable Diffusion 3"),
        ("FluxPipeline", "this is Flux,"),
        ("StableDiffusionInpaintPipeline", "this is an inpainting model,"),
        ("StableDiffusionInstructPix2PixPipeline", "InstructPix2Pix"),
    ] {
        let text = class(pipeline);
        assert!(text.contains(name) && text.contains(pipeline) && text.contains("hint: "), "{text}");
    }
    let with = |name: &str, without: &[&str]| {
        let mut files = model();
        files.remove("model_index.json");
        files.retain(|file, _| !without.iter().any(|folder| file.starts_with(folder)));
        files.insert(name.into(), b"{}".to_vec());
        refused(&files)
    };
    for (text, name) in [
        (with("text_encoder_2/config.json", &["text_encoder/"]), "the refiner of Stable Diffusion XL"),
        (with("transformer/config.json", &["unet/"]), "Stable Diffusion 3, Flux"),
    ] {
        assert!(
            text.contains(name) && text.contains("hint: take a model of Stable Diffusion 1.x, 2.x or XL"),
            "{text}"
        );
    }
    // A second text encoder makes it Stable Diffusion XL, of which the rest is missing.
    let text = with("text_encoder_2/config.json", &[]);
    assert!(text.contains("not a complete diffusers folder"), "{text}");
    assert!(text.contains("text_encoder_2/model.safetensors") && text.contains("tokenizer_2/tokenizer.json"), "{text}");
    let text = class("StableDiffusionXLPipeline");
    assert!(text.contains("text_encoder_2 is not there, supported is CLIPTextModelWithProjection"), "{text}");
}

#[test]
fn unsupported_classes_are_named() {
    let mut files = model();
    let index = String::from_utf8(files["model_index.json"].clone()).unwrap();
    let index = index
        .replace("StableDiffusionPipeline", "StableDiffusionUpscalePipeline")
        .replace("AutoencoderKL", "AutoencoderTiny");
    files.insert("model_index.json".into(), index.into_bytes());
    let text = refused(&files);
    assert!(text.contains("StableDiffusionUpscalePipeline") && text.contains("vae is AutoencoderTiny"), "{text}");
    assert!(!text.contains("unet is"), "{text}");
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let source = Source::Path("/no/such/folder".into());
    for error in [
        find_model(&source, &Progress::hidden()).unwrap_err(),
        find_dataset(&source, &Selection::default(), &Progress::hidden()).unwrap_err(),
    ] {
        assert!(error.to_string().contains("/no/such/folder") && error.exit_code() == 2, "{error}");
    }
}

#[test]
fn a_files_hash_is_sha_256() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("abc");
    fs_err::write(&path, "abc").unwrap();
    // FIPS 180-4's own example.
    assert_eq!(sha256_of_file(&path).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/// Each file in turn gets another content, or is not there: exactly its hash changes.
#[test]
fn every_file_that_can_change_a_number_is_hashed() {
    let mut files = model();
    for name in TOKENIZER_FILES {
        files.insert(format!("tokenizer/{name}"), b"{}".to_vec());
    }
    files.insert("tokenizer/LICENSE".into(), b"MIT".to_vec());
    let hashes = |files: &Files| {
        let dir = tempfile::tempdir().unwrap();
        write_all(dir.path(), files);
        find_model(&Source::Path(dir.path().to_owned()), &Progress::hidden()).unwrap().hashes().unwrap()
    };
    let whole = hashes(&files);
    // These can only make a model be refused, or are read by nobody.
    let idle = ["README.md", "model_index.json", "tokenizer/LICENSE"];
    let unused = |name: &str| idle.contains(&name) || name.contains("pytorch_model.bin") || name.contains(".fp16.");
    assert_eq!(
        whole.keys().map(String::as_str).collect::<Vec<_>>(),
        files.keys().filter(|n| !unused(n)).collect::<Vec<_>>()
    );
    for name in files.keys() {
        let mut other = files.clone();
        other.get_mut(name).unwrap().push(b' ');
        let other = hashes(&other);
        let changed: Vec<_> =
            whole.iter().filter(|(name, hash)| other[*name] != **hash).map(|(name, _)| name).collect();
        assert_eq!(changed, Vec::from_iter((!unused(name)).then_some(name)), "{name}");
    }
    for name in ["tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"] {
        let mut fewer = files.clone();
        fewer.remove(&format!("tokenizer/{name}"));
        assert_ne!(hashes(&fewer), whole, "{name}");
    }
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf_8_do_not_fall_together() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let cases: [(&[u8], &str); 7] = [
        (b"a/b.png", "a/b.png"),
        ("é/ö.png".as_bytes(), "é/ö.png"),
        (b"\xff.png", r"\xff.png"),
        (b"\xfe.png", r"\xfe.png"),
        (b"\xc3.png", r"\xc3.png"),
        (br"\xff.png", r"\\xff.png"),
        ("\u{fffd}.png".as_bytes(), "\u{fffd}.png"),
    ];
    for (name, expected) in cases {
        assert_eq!(slashed(Path::new(OsStr::from_bytes(name))), expected);
    }
}
