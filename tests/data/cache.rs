//! The cache on disk, and the order of the pictures.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use tunelab::data::{Cache, batches};
use tunelab::hash::key;

fn entry() -> BTreeMap<String, Tensor> {
    let tensor =
        |values: &[f32], shape: (usize, usize)| Tensor::new(values, &Device::Cpu).unwrap().reshape(shape).unwrap();
    BTreeMap::from([
        ("mean".to_owned(), tensor(&[0.5, -1.25, 3.0, 7.5, -0.0, 1e-8], (2, 3))),
        ("std".to_owned(), tensor(&[2.0, 4.0], (1, 2))),
    ])
}

fn values(tensors: &BTreeMap<String, Tensor>) -> Vec<(String, Vec<usize>, Vec<u32>)> {
    let bits = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().map(|v| v.to_bits()).collect();
    tensors.iter().map(|(name, t)| (name.clone(), t.dims().to_vec(), bits(t))).collect()
}

#[test]
fn an_entry_comes_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path().join("not/yet"));
    let k = key(&["vae", "picture"]);
    assert!(cache.get("latents", &k).unwrap().is_none());
    cache.put("latents", &k, &entry()).unwrap();
    assert_eq!(values(&cache.get("latents", &k).unwrap().unwrap()), values(&entry()));
    assert!(cache.get("text", &k).unwrap().is_none());
    let files = fs_err::read_dir(folder.path().join("not/yet/latents")).unwrap().count();
    assert_eq!(files, 1, "a temporary file was left");
}

#[test]
fn any_damage_is_noticed_and_the_entry_removed() {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::new(folder.path());
    let k = key(&["x"]);
    let file = folder.path().join("latents").join(format!("{k}.safetensors"));
    cache.put("latents", &k, &entry()).unwrap();
    let good = fs_err::read(&file).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bad in [&good[..good.len() - 4], &good[..5], b"", &flipped] {
        fs_err::write(&file, bad).unwrap();
        assert!(cache.get("latents", &k).unwrap().is_none());
        assert!(!file.exists());
    }
    cache.put("latents", &k, &entry()).unwrap();
    assert!(cache.get("latents", &k).unwrap().is_some());
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    // A file where the folder should be: refused whoever runs the test, root included.
    fs_err::write(folder.path().join("cache"), "").unwrap();
    let error = Cache::new(folder.path().join("cache")).put("latents", "k", &entry()).unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains("cache"), "{error}");
}

#[test]
fn keys_do_not_run_into_each_other() {
    assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
    let keys = [key(&["ab", "c"]), key(&["a", "bc"]), key(&["abc"]), key(&["abc", ""]), key(&[])];
    assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len());
    assert!(keys.iter().all(|k| k.len() == 64 && k.bytes().all(|b| b.is_ascii_hexdigit())));
}

#[test]
fn an_epoch_sees_each_picture_once() {
    let order = batches(11, 4, 7, 2);
    assert_eq!(order.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 3]);
    let mut seen = order.concat();
    seen.sort_unstable();
    assert_eq!(seen, (0..11).collect::<Vec<_>>());
}

#[test]
fn the_order_follows_seed_and_epoch_only() {
    let order = |seed, epoch| batches(11, 4, seed, epoch);
    assert_eq!(order(7, 2), order(7, 2));
    assert_ne!(order(7, 2), order(7, 3));
    assert_ne!(order(7, 2), order(8, 2));
    assert_eq!(batches(11, 3, 7, 2).concat(), order(7, 2).concat());
}
