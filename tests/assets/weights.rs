//! Weight files: whole, in shards, in half precision, under old names, and damaged.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use tunelab::error::{Error, Result};
use tunelab::weights::{Loader, Part, PartName, Weights};

use super::{counting, save, values};

fn open(path: &Path) -> Result<Weights> {
    Weights::open(&[path.to_owned()])
}

fn refused(bytes: &[u8], name: &str) -> Error {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    fs_err::write(&path, bytes).unwrap();
    let error = open(&path).map(|w| w.names().count()).expect_err("the file is damaged");
    assert!(error.to_string().contains(name), "the file is named: {error}");
    assert_eq!(error.exit_code(), 2);
    error
}

/// A safetensors file with the given header and `data` bytes after it.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn part(name: PartName, weights: PathBuf) -> Part {
    Part { name, config: PathBuf::new(), weights: vec![weights], half: false, original: None }
}

#[test]
fn tensors_of_several_blocks_come_back_as_they_were() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    // 1.5 Mi elements: one whole block and a half.
    let large = counting(0.25, &[3, 512, 1024]);
    save(&path, &[("b.large", large.clone()), ("a.small", counting(7.0, &[2, 3])), ("c.scalar", counting(5.0, &[]))]);
    let weights = open(&path).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["a.small", "b.large", "c.scalar"]);
    assert_eq!(weights.shape("b.large"), Some(&[3, 512, 1024][..]));
    let loaded = weights.load("b.large", &Device::Cpu, DType::F32).unwrap();
    assert_eq!(loaded.dims(), [3, 512, 1024]);
    assert!(values(&loaded) == values(&large));
    let small = weights.load("a.small", &Device::Cpu, DType::F32).unwrap();
    assert_eq!(values(&small), [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]);
    assert_eq!(values(&weights.load("c.scalar", &Device::Cpu, DType::F32).unwrap()), [5.0]);
}

#[test]
fn every_floating_point_type_widens_to_float32() {
    let dir = tempfile::tempdir().unwrap();
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        let path = dir.path().join(format!("{}.safetensors", dtype.as_str()));
        save(&path, &[("w", Tensor::new(&[0.5f32, -1.25, 3.0], &Device::Cpu).unwrap().to_dtype(dtype).unwrap())]);
        let tensor = open(&path).unwrap().load("w", &Device::Cpu, DType::F32).unwrap();
        assert_eq!((tensor.dtype(), values(&tensor)), (DType::F32, vec![0.5, -1.25, 3.0]));
    }
}

#[test]
fn shards_are_one_set_and_a_tensor_in_two_of_them_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let paths = ["1.safetensors", "2.safetensors", "3.safetensors"].map(|n| dir.path().join(n));
    save(&paths[0], &[("a", counting(1.0, &[2]))]);
    save(&paths[1], &[("b", counting(2.0, &[2]))]);
    save(&paths[2], &[("a", counting(3.0, &[2]))]);
    let weights = Weights::open(&paths[..2]).unwrap();
    assert_eq!(values(&weights.load("b", &Device::Cpu, DType::F32).unwrap()), [2.0, 3.0]);
    let text = Weights::open(&paths).unwrap_err().to_string();
    assert!(text.contains("`a` is stored twice") && text.contains("3.safetensors"), "{text}");
}

#[test]
fn a_truncated_file_says_what_it_has_and_what_it_needs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    save(&path, &[("a", counting(1.0, &[100]))]);
    let bytes = fs_err::read(&path).unwrap();
    let text = refused(&bytes[..bytes.len() - 40], "cut.safetensors").to_string();
    assert!(text.contains(&format!("expects {} bytes, it has {}", bytes.len(), bytes.len() - 40)), "{text}");
    assert!(text.contains("download"), "{text}");
}

#[test]
fn a_header_that_claims_more_than_the_file_has_is_refused_before_memory_is_taken() {
    let mut bytes = with_header("{}", 0);
    bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refused(&bytes, "a.safetensors").to_string().contains("claims 18446744073709551615 bytes"));
    bytes[..8].copy_from_slice(&50_000_000u64.to_le_bytes());
    assert!(refused(&bytes, "a.safetensors").to_string().contains("the whole file has 10"));
}

#[test]
fn damaged_headers_name_the_tensor() {
    let cases = [
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, "takes 8 bytes"),
        (r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}}"#, "takes 8 bytes"),
        (r#"{"w":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}}"#, "unknown number type `Q4`"),
        (r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}}"#, "too large to be true"),
        (
            r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
            "`w` is listed twice",
        ),
        (r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, "begins at byte"),
        (r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, "belong to no tensor"),
        (r#"{"w":[1]}"#, "tensor `w`"),
        (r#"{"w":"#, "damaged"),
    ];
    for (header, expected) in cases {
        let text = refused(&with_header(header, 8), "a.safetensors").to_string();
        assert!(text.contains(expected), "{header}: {text}");
    }
}

#[test]
fn other_files_are_named_for_what_they_are() {
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let cases: [(&[u8], &str, &str); 7] = [
        (pointer, "a.safetensors", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "a.safetensors", "saved web page"),
        (b"PK\x03\x04zip of a pickle", "model.bin", "can run any code"),
        (&[0x80, 0x02, 0x8a, 0x0a, 0, 0, 0, 0, 0, 0], "v1-5.ckpt", "can run any code"),
        (b"", "a.safetensors", "empty"),
        (b"abc", "a.safetensors", "not a safetensors file"),
        (b"just some words", "a.safetensors", "not a safetensors file"),
    ];
    for (bytes, name, expected) in cases {
        let text = refused(bytes, name).to_string();
        assert!(text.contains(expected) && text.contains("hint: "), "{text}");
    }
}

#[test]
fn nan_and_infinity_name_tensor_file_and_place() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
            let path = dir.path().join("sick.safetensors");
            let mut numbers = vec![1.5f32; (1 << 20) + 10];
            numbers[(1 << 20) + 3] = bad;
            save(&path, &[("mid.w", Tensor::new(numbers, &Device::Cpu).unwrap().to_dtype(dtype).unwrap())]);
            let text = open(&path).unwrap().load("mid.w", &Device::Cpu, DType::F32).unwrap_err().to_string();
            assert!(text.contains("sick.safetensors: tensor `mid.w` holds NaN or infinity"), "{text}");
            assert!(text.contains("element 1048579"), "{text}");
        }
    }
}

#[test]
fn all_that_does_not_fit_is_listed_in_one_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("unet.safetensors");
    save(
        &path,
        &[
            ("down.0.weight", counting(1.0, &[2, 3])),
            ("down.0.bias", counting(1.0, &[3])),
            ("extra.weight", counting(1.0, &[4])),
            ("text_model.embeddings.position_ids", Tensor::new(&[0i64, 1], &Device::Cpu).unwrap()),
        ],
    );
    let loader = Loader::new(open(&path).unwrap(), &Device::Cpu, DType::F32);
    assert_eq!(values(&loader.get(&[2, 3], "down.0.weight").unwrap()), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let stand_in = loader.get(&[2], "down.0.bias").unwrap();
    assert_eq!((stand_in.dims(), values(&stand_in)), (&[2][..], vec![0.0, 0.0]));
    assert_eq!(loader.get(&[5, 6], "up.weight").unwrap().dims(), [5, 6]);
    let error = loader.finish().unwrap_err();
    let text = error.to_string();
    for line in [
        "unet.safetensors",
        "missing (1):\n    up.weight [5, 6]",
        "of another shape (1):\n    down.0.bias: expected [2], found [3]",
        "not expected (1):\n    extra.weight [4]",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn long_lists_are_cut_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    save(&path, &[("w", counting(1.0, &[1]))]);
    let loader = Loader::new(open(&path).unwrap(), &Device::Cpu, DType::F32);
    for i in 0..33 {
        // A size that no machine has: stand-ins take no memory.
        loader.get(&[1 << 40, 3], &format!("layer.{i}")).unwrap();
    }
    let text = loader.finish().unwrap_err().to_string();
    assert!(text.contains("missing (33):") && text.contains("… and 13 more"), "{text}");
    assert_eq!(text.matches("layer.").count(), 20);
}

#[test]
fn a_part_fits_once_all_of_its_tensors_were_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    save(&path, &[("w", counting(1.0, &[2])), ("old.counter", counting(1.0, &[1]))]);
    let loader = Loader::new(open(&path).unwrap(), &Device::Cpu, DType::F32);
    loader.get(&[2], "w").unwrap();
    loader.finish().unwrap_err();
    loader.get(&[1], "old.counter").unwrap();
    loader.finish().unwrap();
}

/// What other programs leave in model files is passed over and told, but for the buffer that Stable Diffusion's own files have.
#[test]
fn tensors_for_other_uses_are_passed_over_with_a_note() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let one = |name| (name, counting(1.0, &[1]));
    let (position_ids, empty) = (Tensor::new(&[0i64, 1], &Device::Cpu).unwrap(), counting(1.0, &[0, 4]));
    save(
        &path,
        &[
            one("text_model.w"),
            one("text_projection.weight"),
            one("logit_scale"),
            one("model_ema.decay"),
            one("model_ema.diffusion_model.w"),
            one("vision_model.embeddings.class_embedding"),
            ("text_model.embeddings.position_ids", position_ids),
            ("some.empty", empty),
        ],
    );
    let loader = Loader::new(open(&path).unwrap(), &Device::Cpu, DType::F32);
    loader.get(&[1], "text_model.w").unwrap();
    loader.finish().unwrap_or_else(|e| panic!("{e}"));
    let weights = Weights::open_part(&part(PartName::TextEncoder, path.clone())).unwrap();
    let note = weights.passed_over(PartName::TextEncoder).unwrap();
    assert!(
        note.starts_with("text_encoder: tensors that this model has no use for: ") && note.ends_with(" and 2 more"),
        "{note}"
    );
    assert!(note.contains("logit_scale") && note.contains("some.empty") && !note.contains("position_ids"), "{note}");

    save(&path, &[one("text_model.w"), ("text_model.embeddings.position_ids", counting(0.0, &[1, 2]))]);
    assert_eq!(open(&path).unwrap().passed_over(PartName::TextEncoder), None);
    save(&path, &[one("text_model.w"), one("text_model.betas_of_mine")]);
    let loader = Loader::new(open(&path).unwrap(), &Device::Cpu, DType::F32);
    loader.get(&[1], "text_model.w").unwrap();
    assert!(loader.finish().unwrap_err().to_string().contains("not expected (1):\n    text_model.betas_of_mine [1]"));
}

#[test]
fn an_embedding_with_other_rows_says_what_vocab_size_must_be() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let name = "text_model.embeddings.token_embedding.weight";
    save(&path, &[(name, counting(1.0, &[9, 2]))]);
    let loader = Loader::new(open(&path).unwrap(), &Device::Cpu, DType::F32);
    loader.get(&[8, 2], name).unwrap();
    let text = loader.finish().unwrap_err().to_string();
    assert!(
        text.contains("expected [8, 2], found [9, 2]") && text.contains("`vocab_size` in config.json must be 9"),
        "{text}"
    );
}

#[test]
fn headers_that_safetensors_reads_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.safetensors");
    let tensor = r#""w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
    for more in [
        r#""__metadata__":null"#,
        r#""__metadata__":{}"#,
        r#""first":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#,
        r#""last":{"dtype":"F16","shape":[3,0],"data_offsets":[4,4]}"#,
    ] {
        for header in [format!("{{{tensor},{more}}}"), format!("{{{more},{tensor}}}")] {
            fs_err::write(&path, with_header(&header, 4)).unwrap();
            let weights = open(&path).unwrap_or_else(|e| panic!("{header}: {e}"));
            assert_eq!(values(&weights.load("w", &Device::Cpu, DType::F32).unwrap()), [0.0], "{header}");
            assert!(weights.metadata().is_empty());
        }
    }
}

#[test]
fn the_vae_attentions_old_names_become_the_new_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vae.safetensors");
    let at = "decoder.mid_block.attentions.0";
    let names = ["query", "key", "value", "proj_attn"].map(|n| format!("{at}.{n}.weight"));
    let mut tensors: Vec<_> =
        names.iter().enumerate().map(|(i, n)| (n.as_str(), counting(10.0 * i as f32, &[2, 2, 1, 1]))).collect();
    let bias = format!("{at}.proj_attn.bias");
    let norm = format!("{at}.group_norm.weight");
    tensors.extend([(bias.as_str(), counting(90.0, &[2])), (norm.as_str(), counting(80.0, &[2]))]);
    tensors.push(("decoder.conv.query.weight", counting(70.0, &[1, 1, 1, 1])));
    save(&path, &tensors);
    let weights = Weights::open_part(&part(PartName::Vae, path)).unwrap();
    for (i, new) in ["to_q", "to_k", "to_v", "to_out.0"].into_iter().enumerate() {
        let tensor = weights.load(&format!("{at}.{new}.weight"), &Device::Cpu, DType::F32).unwrap();
        assert_eq!(tensor.dims(), [2, 2]);
        assert_eq!(values(&tensor)[1..2], [10.0 * i as f32 + 1.0]);
    }
    assert_eq!(weights.shape(&format!("{at}.to_out.0.bias")), Some(&[2][..]));
    assert_eq!(weights.shape(&norm), Some(&[2][..]));
    assert_eq!(weights.shape("decoder.conv.query.weight"), Some(&[1, 1, 1, 1][..]));
    assert_eq!(weights.names().count(), 7);
}

#[test]
fn an_attention_under_both_names_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vae.safetensors");
    save(
        &path,
        &[("a.attentions.0.query.bias", counting(1.0, &[2])), ("a.attentions.0.to_q.bias", counting(1.0, &[2]))],
    );
    let text = Weights::open_part(&part(PartName::Vae, path)).unwrap_err().to_string();
    assert!(text.contains("a.attentions.0.to_q.bias"), "{text}");
}

#[test]
fn both_spellings_of_clips_names_load() {
    let dir = tempfile::tempdir().unwrap();
    for (file, name) in [("old", "text_model.final_layer_norm.bias"), ("new", "final_layer_norm.bias")] {
        let path = dir.path().join(file);
        save(&path, &[(name, counting(1.0, &[2]))]);
        let weights = Weights::open_part(&part(PartName::TextEncoder, path)).unwrap();
        assert_eq!(weights.names().collect::<Vec<_>>(), ["text_model.final_layer_norm.bias"]);
    }
}
