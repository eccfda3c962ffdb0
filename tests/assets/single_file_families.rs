//! Models of Stable Diffusion 2 and XL in one file, as diffusers' converters write them.

use super::single_file::{Stored, Tensors, fixture, read};
use candle_core::{DType, Device};
use safetensors::Dtype;
use serde_json::Value;
use std::collections::BTreeMap;
use tempfile::TempDir;
use tunelab::assets::{local, single_file};
use tunelab::diffusion::PredictionType;
use tunelab::pipeline::load::passed_over;
use tunelab::pipeline::{Family, ModelFiles, PipelineLoader};
use tunelab::weights::Weights;
use tunelab::weights::original::{Prediction, recognise};

/// All tensors of a folder: `unet/conv_in.weight`.
fn folder(family: &str) -> BTreeMap<String, Stored> {
    let mut tensors = BTreeMap::new();
    for part in ["unet", "vae", "text_encoder", "text_encoder_2"] {
        for stem in ["diffusion_pytorch_model", "model"] {
            let file = fixture(&format!("{family}/{part}/{stem}.safetensors"));
            if file.is_file() {
                tensors.extend(read(&file).into_iter().map(|(name, stored)| (format!("{part}/{name}"), stored)));
            }
        }
    }
    tensors
}

/// A matrix the other way round.
fn transposed(stored: &Stored) -> Stored {
    let ([rows, columns], size) = (<[usize; 2]>::try_from(stored.shape.clone()).unwrap(), stored.dtype.bitsize() / 8);
    let value = |row: usize, column: usize| &stored.bytes[(row * columns + column) * size..][..size];
    let bytes = (0..columns).flat_map(|column| (0..rows).flat_map(move |row| value(row, column).to_vec())).collect();
    Stored { dtype: stored.dtype, shape: vec![columns, rows], bytes }
}

/// The file that the converter wrote.
fn converted(family: &str) -> Tensors {
    let folder = folder(family);
    let text = fs_err::read_to_string(fixture("single_file_families.json")).unwrap();
    let recorded = serde_json::from_str::<Value>(&text).unwrap()[family].clone();
    let tensor = |(name, source): (&String, &Value)| {
        let source = source.as_str().unwrap();
        let stored = if source.contains(" + ") {
            let thirds: Vec<&Stored> = source.split(" + ").map(|name| &folder[name]).collect();
            let mut shape = thirds[0].shape.clone();
            shape[0] *= 3;
            Stored { dtype: thirds[0].dtype, shape, bytes: thirds.iter().flat_map(|t| t.bytes.clone()).collect() }
        } else if let Some(name) = source.strip_suffix(" T") {
            transposed(&folder[name])
        } else if let Some((name, shape)) = source.split_once(' ') {
            Stored { shape: serde_json::from_str(shape).unwrap(), ..folder[name].clone() }
        } else {
            folder[source].clone()
        };
        (name.clone(), stored)
    };
    let tensors = recorded["tensors"].as_object().unwrap().iter().map(tensor).collect();
    let file = Tensors { tensors, ..Tensors::default() };
    assert_eq!(file.digest(), recorded["sha256"].as_str().unwrap(), "the file that diffusers' script wrote");
    file
}

fn found(file: &Tensors, family: &str) -> (TempDir, ModelFiles) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    file.write(&path);
    let files = single_file::find(&path, Some(&fixture(family)));
    (dir, files.unwrap_or_else(|e| panic!("{e}")))
}

/// Each part's tensors are those of the folder, and whole networks come of them.
fn assert_equal(files: &ModelFiles, family: &str) {
    let folder = local::find(&fixture(family)).unwrap();
    assert_eq!(files.family, folder.family);
    for (name, part) in &folder.parts {
        let (ours, theirs) = (Weights::open_part(&files.parts[name]).unwrap(), Weights::open_part(part).unwrap());
        for tensor in theirs.names() {
            let load = |weights: &Weights| {
                let tensor = weights.load(tensor, &Device::Cpu, DType::F32).unwrap();
                (tensor.dims().to_vec(), super::values(&tensor))
            };
            assert!(load(&ours) == load(&theirs), "{name}: {tensor}");
        }
        assert_eq!(ours.names().count(), theirs.names().count(), "{name}");
    }
    PipelineLoader::of_files(files, &Device::Cpu).pipeline().unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn what_diffusers_converters_write_loads_to_the_folders_tensors() {
    for family in ["sd2", "sdxl"] {
        let (_dir, files) = found(&converted(family), family);
        assert_equal(&files, family);
        assert_eq!(passed_over(&files).unwrap(), [""; 0]);
    }
}

/// EMA, position ids, the layer and the projection that Stable Diffusion 2 does not use, the other layout of its file.
#[test]
fn files_of_sd2_as_they_are_in_the_world() {
    let mut file = converted("sd2");
    let prefix = "cond_stage_model.model.";
    let last: Vec<(String, Stored)> = file
        .tensors
        .iter()
        .filter(|(name, _)| name.contains("resblocks.2."))
        .map(|(name, stored)| (name.replace("resblocks.2.", "resblocks.3."), stored.clone()))
        .collect();
    file.tensors.extend(last);
    file.add(&format!("{prefix}text_projection"), &[32, 16], Dtype::F32);
    file.add(&format!("{prefix}logit_scale"), &[], Dtype::F32);
    file.add(&format!("{prefix}attn_mask"), &[77, 77], Dtype::F32);
    file.add("model_ema.decay", &[], Dtype::F32);
    let (_dir, files) = found(&file, "sd2");
    let notes = passed_over(&files).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("model_ema"), "{notes:?}");
    PipelineLoader::of_files(&files, &Device::Cpu).pipeline().unwrap_or_else(|e| panic!("{e}"));

    let mut sgm = converted("sd2");
    sgm.rename(|name| name.replace(prefix, "conditioner.embedders.0.model."));
    assert_equal(&found(&sgm, "sd2").1, "sd2");

    // Convolutions of one pixel in place of matrices, as kohya trains them.
    let mut convolutions = converted("sd2");
    for (name, stored) in &mut convolutions.tensors {
        if name.contains(".proj_in.weight") || name.contains(".1.proj_out.weight") {
            stored.shape.extend([1, 1]);
        }
    }
    assert_equal(&found(&convolutions, "sd2").1, "sd2");
}

fn prediction(file: &Tensors) -> Prediction {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    file.write(&path);
    let found = recognise(&path).unwrap_or_else(|e| panic!("{e}"));
    if let Ok(files) = single_file::find(&path, None) {
        let schedule = files.noise_schedule().unwrap();
        let predicts_v = schedule.prediction_type() == PredictionType::VPrediction;
        assert_eq!(predicts_v, found.prediction != Prediction::Epsilon);
        let ends_in_noise = schedule.alphas_cumprod().last().is_some_and(|alpha| *alpha < 1e-6);
        assert_eq!(ends_in_noise, found.prediction == Prediction::VZeroSnr);
    }
    found.prediction
}

#[test]
fn what_a_file_predicts_is_taken_from_its_marks() {
    let mut xl = converted("sdxl");
    assert_eq!(prediction(&xl), Prediction::Epsilon);
    xl.add("v_pred", &[0], Dtype::F32);
    assert_eq!(prediction(&xl), Prediction::V);
    xl.add("ztsnr", &[0], Dtype::F32);
    assert_eq!(prediction(&xl), Prediction::VZeroSnr);

    // Stable Diffusion 2 has no mark: the biases of a norm are larger where the velocity is predicted.
    let mut two = converted("sd2");
    assert_eq!(prediction(&two), Prediction::V);
    let norm = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    let small: Vec<u8> = (0..8).flat_map(|i| (0.5f32 + 0.01 * i as f32).to_le_bytes()).collect();
    let stored = two.tensors.get_mut(norm).unwrap();
    assert_eq!((stored.shape.clone(), stored.dtype), (vec![8], Dtype::F32));
    stored.bytes = small;
    assert_eq!(prediction(&two), Prediction::Epsilon, "a mean of 0.5 and a deviation of 0.02");
    two.metadata.insert("modelspec.prediction_type".to_owned(), "v".to_owned());
    assert_eq!(prediction(&two), Prediction::V);
    let mut said = converted("sd2");
    said.metadata.insert("modelspec.prediction_type".to_owned(), "epsilon".to_owned());
    assert_eq!(prediction(&said), Prediction::Epsilon);
}

/// Stability's file has it the other way round than a linear layer; kohya's and `OneTrainer`'s have not, under the same name.
#[test]
fn a_projection_lies_either_way() {
    let name = "conditioner.embedders.1.model.text_projection";
    let projection = |first_row: f32, first_column: f32| {
        let mut file = converted("sdxl");
        let mut values = vec![0f32; 1280 * 1280];
        (values[1], values[1280], values[2]) = (first_row, first_column, 7.0);
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        file.tensors.insert(name.to_owned(), Stored { dtype: Dtype::F32, shape: vec![1280, 1280], bytes });
        let (_dir, files) = found(&file, "sdxl");
        let weights = Weights::open_part(&files.parts[&tunelab::weights::PartName::TextEncoder2]).unwrap();
        let loaded = weights.load("text_projection.weight", &Device::Cpu, DType::F32).unwrap();
        let at =
            |row: usize, column: usize| -> f32 { loaded.get(row).unwrap().get(column).unwrap().to_scalar().unwrap() };
        (at(0, 2), at(2, 0))
    };
    assert_eq!(projection(0.0218, -0.0037), (0.0, 7.0), "Stability's is turned round");
    assert_eq!(projection(-0.0037, 0.0218), (7.0, 0.0), "kohya's lies already");
    assert_eq!(projection(-0.0029, 0.0211), (7.0, 0.0), "trained a little");
    assert_eq!(projection(0.3, 0.1), (0.0, 7.0), "any other is taken for Stability's");
    // Playground's says it with its name.
    let mut file = converted("sdxl");
    let stored = file.tensors.remove(name).unwrap();
    file.tensors.insert(format!("{name}.weight"), transposed(&stored));
    assert_equal(&found(&file, "sdxl").1, "sdxl");
    assert_eq!(found(&file, "sdxl").1.family, Family::Sdxl);
}
