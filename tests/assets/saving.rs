//! Writing safetensors.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use tunelab::weights::{Weights, write_safetensors};

use super::{counting, values};

#[test]
fn the_crate_of_the_format_reads_what_we_write() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.safetensors");
    let tensors = BTreeMap::from([
        ("b".to_owned(), counting(1.0, &[2, 3]).t().unwrap()),
        ("a".to_owned(), counting(5.0, &[3]).to_dtype(DType::F16).unwrap()),
        ("c".to_owned(), Tensor::new(&[1i64, -2], &Device::Cpu).unwrap()),
    ]);
    let metadata = BTreeMap::from([("ss_z".to_owned(), "ü \"1\"".to_owned()), ("format".to_owned(), "pt".to_owned())]);
    write_safetensors(&path, &tensors, &metadata).unwrap();
    let bytes = fs_err::read(&path).unwrap();
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let b = read.tensor("b").unwrap();
    assert_eq!(b.shape(), [3, 2]);
    let floats: Vec<f32> = b.data().chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect();
    assert_eq!(floats, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(read.tensor("a").unwrap().dtype(), safetensors::Dtype::F16);
    assert_eq!(read.tensor("c").unwrap().data()[8..], (-2i64).to_le_bytes());
    let weights = Weights::open(std::slice::from_ref(&path)).unwrap();
    assert_eq!(weights.metadata(), &metadata);
    assert_eq!(values(&weights.load("a", &Device::Cpu, DType::F32).unwrap()), [5.0, 6.0, 7.0]);
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let metadata: BTreeMap<_, _> = (0..20).map(|i| (format!("key{i}"), i.to_string())).collect();
    let tensors: BTreeMap<_, _> = (0..20).map(|i| (format!("t{i}"), counting(i as f32, &[i]))).collect();
    let write = |name: &str| {
        let path = dir.path().join(name);
        write_safetensors(&path, &tensors, &metadata).unwrap();
        fs_err::read(path).unwrap()
    };
    assert!(write("a") == write("b"));
}

#[test]
fn what_was_there_stays_when_writing_fails() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.safetensors");
    fs_err::write(&path, "earlier").unwrap();
    // A folder in the temporary file's place makes the writing fail.
    fs_err::create_dir(dir.path().join(".out.safetensors.tmp")).unwrap();
    let tensors = BTreeMap::from([("a".to_owned(), counting(1.0, &[1]))]);
    let error = write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("out.safetensors"), "{error}");
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "earlier");
}
