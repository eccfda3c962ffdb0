//! Images that are no squares: sizes by kohya's sd-scripts, latents by diffusers, batches by bucket, masks.

use super::{Bench, SEED, encoded, lora, settings};
use crate::fixture::{close, fixture, loader, model, tensors, values, within};
use serde_json::Value;
use tempfile::TempDir;
use tunelab::config::{Buckets, Dataset, Length, Masks, Resolution, Train};
use tunelab::data::{BucketSet, Cut, Mask, Picture, Shapes, fit, load_dataset};
use tunelab::model::vae::Vae;
use tunelab::train::evaluation::Evaluation;
use tunelab::train::examples::{Batch, Examples};
use tunelab::train::items::Items;
use tunelab::train::trainer::{Trainer, TrainerInputs};

/// The fixture's images, or those of `names`, each with the caption of the bench.
fn pictures(folder: &TempDir, names: &[&str], dataset: &Dataset) -> Vec<Picture> {
    for (index, name) in names.iter().enumerate() {
        fs_err::copy(fixture("shapes").join(format!("{name}.png")), folder.path().join(format!("{index}.png")))
            .unwrap();
    }
    load(folder.path(), dataset)
}

/// The images of a folder, as a run has them.
fn load(folder: &std::path::Path, dataset: &Dataset) -> Vec<Picture> {
    let pictures = load_dataset(folder, dataset.prompt.as_deref(), dataset.skip_broken, &mut |_| {}).unwrap();
    fit(pictures, dataset, &mut |_| {}).unwrap()
}

/// Of images and class images of these sizes, in one group.
fn items(sizes: &[[usize; 2]], class: Option<&[[usize; 2]]>) -> Items {
    let class = class.unwrap_or_default();
    Items::in_buckets(&[((0..sizes.len()).collect(), (0..class.len()).collect())], |i| sizes[i], |i| class[i])
}

fn bucketed(center_crop: bool) -> Dataset {
    Dataset {
        prompt: Some("picture 0".to_owned()),
        resolution: 128.into(),
        buckets: Buckets { on: true, step: 64, min_side: 64, max_side: 256, upscale: true },
        center_crop,
        ..Dataset::default()
    }
}

fn examples(vae: &Vae, names: &[&str], dataset: &Dataset) -> Examples {
    let folder = TempDir::new().unwrap();
    let pictures = pictures(&folder, names, dataset);
    encoded(vae, folder.path(), &pictures, dataset)
}

#[test]
fn buckets_and_sizes_equal_sd_scripts() {
    let cases: Vec<Value> = serde_json::from_slice(&fs_err::read(fixture("buckets.json")).unwrap()).unwrap();
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    assert_eq!(cases.len(), 5);
    let mut seen = 0;
    for case in &cases {
        let resolution = Resolution { width: number(&case["resolution"][0]), height: number(&case["resolution"][1]) };
        let [step, min_side, max_side] = ["step", "min_side", "max_side"].map(|key| number(&case[key]));
        let set = BucketSet::new(resolution, &Buckets { on: true, step, min_side, max_side, upscale: true });
        let sizes: Vec<(usize, usize)> =
            case["buckets"].as_array().unwrap().iter().map(|size| (number(&size[0]), number(&size[1]))).collect();
        assert_eq!(set.sizes(), sizes, "{resolution}");
        for image in case["images"].as_array().unwrap() {
            let [w, h, bw, bh, rw, rh] = [0, 1, 2, 3, 4, 5].map(|i| number(&image[i]));
            let size = set.of([h, w]).unwrap();
            assert_eq!(size, [bh, bw], "{w} x {h}");
            assert_eq!(Cut::cover([h, w], size).resized, [rh, rw], "{w} x {h}");
            seen += 1;
        }
    }
    assert!(seen > 900, "{seen}");
}

#[test]
fn latents_of_images_that_are_no_squares_equal_diffusers() {
    let vae = loader(&model()).vae().unwrap();
    let wanted = tensors("shapes.safetensors");
    // 192 x 64, 64 x 128, 64 x 64, 128 x 64: the first by a resolution, the others by another.
    for (name, (width, height)) in
        [("wide", (192, 64)), ("tall", (64, 128)), ("square", (64, 64)), ("large", (128, 64))]
    {
        let dataset = Dataset { resolution: Resolution { width, height }, random_flip: false, ..bucketed(true) };
        let dataset = Dataset { buckets: Buckets::default(), ..dataset };
        let ours = examples(&vae, &[name], &dataset).deterministic_batch(&[0], &vae).unwrap();
        let scaled = (&wanted[&format!("{name}.mean")] * vae.config().scaling_factor).unwrap();
        close(&ours.latents, &scaled, name);
        let [h, w, .., th, tw] = ours.time_ids[0];
        assert_eq!([th, tw], [height, width], "what the UNet is told of {name}, {w} x {h}");
    }
    // With a step of 64 there are buckets of 3 : 1 and 1 : 1; the shapes are 2.4, 0.64, 1 and 1.58.
    let all = examples(&vae, &["wide", "tall", "square", "large"], &bucketed(true));
    let sizes: Vec<_> = (0..4).map(|i| all.size_of(i).unwrap()).collect();
    assert_eq!(sizes, [[64, 192], [192, 64], [128, 128], [128, 128]]);
}

#[test]
fn a_batch_has_one_size_and_an_epoch_has_every_image() {
    let bench = Bench::new(lora(0.0), 1);
    let names = ["wide", "tall", "square", "large", "wide", "tall", "wide"];
    let examples = examples(&bench.vae, &names, &bucketed(true));
    let train = Train { batch_size: 2, length: Length::Epochs(2), ..settings(0) };
    let sizes = examples.sizes();
    let of = |size: &[usize; 2]| (0..examples.len()).filter(|&i| examples.size_of(i) == Some(*size)).count();
    let per_epoch: usize = sizes.iter().map(|size| of(size).div_ceil(2)).sum();
    let sizes: Vec<_> = (0..examples.len()).filter_map(|i| examples.size_of(i)).collect();
    let mut trainer =
        Trainer::new(TrainerInputs { examples: &examples, items: items(&sizes, None), ..bench.inputs(&train) })
            .unwrap();
    assert_eq!(trainer.total(), 2 * per_epoch, "what does not fill a batch is a batch");
    let mut rows = Vec::new();
    while let Some(row) = trainer.step().unwrap() {
        rows.push(row);
    }
    assert_eq!(rows.len(), 2 * per_epoch);
    assert!(rows.iter().all(|row| row.loss.is_finite() && row.grad_norm > 0.0));
    let evaluation = Evaluation::new(&examples, &bench.vae, &bench.schedule, SEED).unwrap();
    assert!(evaluation.loss(bench.predictor(&bench.unet, None)).unwrap().is_finite());
}

#[test]
fn a_random_crop_in_a_bucket_is_where_it_was_cut_and_reaches_both_ends() {
    let vae = loader(&model()).vae().unwrap();
    let examples = examples(&vae, &["large", "tall"], &bucketed(false));
    for (index, original) in [[190, 300], [141, 90]].into_iter().enumerate() {
        let size = examples.size_of(index).unwrap();
        let margin = [0, 1].map(|side| Cut::cover(original, size).resized[side] - size[side]);
        let mut seen = std::collections::BTreeSet::new();
        for draw in 0..400 {
            let batch = examples.batch(&[index], &vae, SEED, draw).unwrap();
            assert_eq!(batch.latents.dims()[2..], size.map(|side| side / 8));
            let [h, w, top, left, height, width] = batch.time_ids[0];
            assert_eq!(([h, w], [height, width]), (original, size));
            assert!(top <= margin[0] && left <= margin[1]);
            seen.insert([top, left]);
        }
        assert!(margin != [0, 0] && seen.contains(&[0, 0]) && seen.contains(&margin), "{margin:?}: {seen:?}");
    }
}

#[test]
fn items_pair_images_of_one_size_and_the_shorter_list_begins_again() {
    let (a, b) = ([64, 128], [128, 64]);
    assert_eq!(items(&[a; 5], None).batches(2), 3);
    // Of a: 3 and 2 images; of b: 1 and 4.
    let both = items(&[a, b, a, a], Some(&[b, a, b, b, a, b]));
    assert_eq!(both.batches(1), 3 + 4);
    assert_eq!(both.batches(3), 1 + 2);
    assert_eq!(items(&[a, b], Some(&[a])).batches(1), 1, "what has no other half is not trained");
}

/// The fixture's image with its mask, cut to 192 x 64.
fn masked(folder: &TempDir, name: &str, least: f64) -> (Vec<Picture>, Dataset) {
    for file in fs_err::read_dir(fixture("masks")).unwrap() {
        let file = file.unwrap();
        let own = file.file_name().to_string_lossy().into_owned();
        if own.starts_with(name) {
            fs_err::copy(file.path(), folder.path().join(own)).unwrap();
        }
    }
    let dataset = Dataset {
        resolution: Resolution { width: 192, height: 64 },
        masks: Masks { on: true, unmasked_weight: least },
        buckets: Buckets::default(),
        ..bucketed(true)
    };
    (load(folder.path(), &dataset), dataset)
}

#[test]
fn masks_are_resized_cropped_and_averaged_as_pillow_and_torch_do() {
    let wanted = &tensors("masks.safetensors")["file"];
    let vae = loader(&model()).vae().unwrap();
    for name in ["beside", "alpha"] {
        let folder = TempDir::new().unwrap();
        let (pictures, dataset) = masked(&folder, name, 0.0);
        assert_eq!((pictures.len(), pictures[0].mask_file().is_some()), (1, name == "beside"));
        let cut = Shapes::of(&dataset).cut([83, 201]).unwrap();
        let mask = Mask::of(&pictures[0], cut, true).unwrap().unwrap();
        let wanted = values(wanted);
        for (ours, wanted) in mask.centered(false, 8).iter().zip(&wanted) {
            assert!((ours - wanted).abs() < 1e-6, "{name}: {ours} instead of {wanted}");
        }
        let mirrored: Vec<f32> = wanted.chunks(24).flat_map(|row| row.iter().rev()).copied().collect();
        assert!(mask.centered(true, 8).iter().zip(&mirrored).all(|(a, b)| (a - b).abs() < 1e-6));
        let examples = encoded(&vae, folder.path(), &pictures, &dataset);
        for draw in 0..12 {
            let ours = values(&examples.batch(&[0], &vae, SEED, draw).unwrap().loss_mask.unwrap());
            let close_to = |wanted: &[f32]| ours.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6);
            assert!(close_to(&wanted) || close_to(&mirrored), "the mask is mirrored with its image");
        }
    }
    // Black counts no less than the least weight.
    let folder = TempDir::new().unwrap();
    let (pictures, dataset) = masked(&folder, "beside", 0.25);
    let batch = encoded(&vae, folder.path(), &pictures, &dataset).deterministic_batch(&[0], &vae).unwrap();
    let mask = batch.loss_mask.unwrap();
    assert_eq!(mask.dims(), [1, 1, 8, 24]);
    for (ours, wanted) in values(&mask).iter().zip(values(wanted)) {
        assert!((ours - wanted.max(0.25)).abs() < 1e-6);
    }
}

#[test]
fn an_image_without_a_mask_counts_everywhere() {
    let folder = TempDir::new().unwrap();
    let (_, dataset) = masked(&folder, "beside", 0.0);
    fs_err::copy(fixture("shapes/tall.png"), folder.path().join("tall.png")).unwrap();
    let pictures = load(folder.path(), &dataset);
    let vae = loader(&model()).vae().unwrap();
    let examples = encoded(&vae, folder.path(), &pictures, &dataset);
    let batch = examples.deterministic_batch(&[0, 1], &vae).unwrap();
    let again = Batch::cat(&batch, &batch).unwrap();
    assert_eq!(again.loss_mask.unwrap().dims(), [4, 1, 8, 24]);
    let weights = values(&batch.loss_mask.unwrap());
    assert!(weights[..192].contains(&0.0) && weights[192..].iter().all(|w| w.to_bits() == 1.0_f32.to_bits()));
    let plain = Dataset { masks: Masks::default(), ..dataset };
    let examples = encoded(&vae, folder.path(), &pictures, &plain);
    assert!(examples.deterministic_batch(&[0, 1], &vae).unwrap().loss_mask.is_none());
    within(&batch.latents, &examples.deterministic_batch(&[0, 1], &vae).unwrap().latents, 1e-9, "latents");
}
