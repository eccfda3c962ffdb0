//! Writing a safetensors file: the same tensors and metadata always give the same bytes.
//!
//! In: named tensors and text metadata. Out: a file that appears under its name only when it is
//! whole: it is written beside its place, flushed to the disk and renamed. Wide types come first,
//! then names in order, as the `safetensors` crate does, which keeps every tensor aligned; the
//! metadata is sorted, which that crate leaves to chance.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use candle_core::{DType, Tensor, WithDType};
use fs_err::File;
use half::{bf16, f16};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};

/// Writes `tensors` with `metadata` to `path`, replacing what was there. Types: float16, bfloat16,
/// float32, float64, and integers of 8 bits unsigned, 32 bits unsigned and 64 bits signed.
pub fn write_safetensors(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(name, tensor)| (Reverse(tensor.dtype().size_in_bytes()), *name));
    let header = header(&order, metadata)?;
    let name = path.file_name().ok_or_else(|| Error::input(format!("{}: not a file name", path.display())))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    let temporary = path.with_file_name(temporary);
    let written = write(&temporary, &header, &order).and_then(|()| Ok(fs_err::rename(&temporary, path)?));
    if written.is_err() {
        // The first error is the one to tell; half a file must not stay and fill a full disk
        // further.
        let _ = fs_err::remove_file(&temporary);
    }
    written
}

fn header(order: &[(&String, &Tensor)], metadata: &BTreeMap<String, String>) -> Result<Vec<u8>> {
    let mut map = Map::new();
    if !metadata.is_empty() {
        map.insert("__metadata__".to_owned(), json!(metadata));
    }
    let mut start = 0;
    for (name, tensor) in order {
        let end = start + tensor.elem_count() * tensor.dtype().size_in_bytes();
        let entry = json!({ "dtype": stored(tensor.dtype())?, "shape": tensor.dims(), "data_offsets": [start, end] });
        map.insert((*name).clone(), entry);
        start = end;
    }
    let mut json = Value::Object(map).to_string().into_bytes();
    json.resize(json.len().next_multiple_of(8), b' ');
    Ok(json)
}

fn stored(dtype: DType) -> Result<&'static str> {
    Ok(match dtype {
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        DType::U8 => "U8",
        DType::U32 => "U32",
        DType::I64 => "I64",
        other => return Err(Error::run(format!("a tensor of type {} cannot be saved", other.as_str()))),
    })
}

fn write(path: &Path, header: &[u8], order: &[(&String, &Tensor)]) -> Result<()> {
    let mut out = File::create(path)?;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header)?;
    for (_, tensor) in order {
        write_tensor(&mut out, tensor)?;
    }
    out.sync_all()?;
    Ok(())
}

fn write_tensor(out: &mut impl Write, tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::F16 => values(out, tensor, f16::to_le_bytes),
        DType::BF16 => values(out, tensor, bf16::to_le_bytes),
        DType::F64 => values(out, tensor, f64::to_le_bytes),
        DType::U8 => values(out, tensor, u8::to_le_bytes),
        DType::U32 => values(out, tensor, u32::to_le_bytes),
        DType::I64 => values(out, tensor, i64::to_le_bytes),
        _ => values(out, tensor, f32::to_le_bytes),
    }
}

fn values<T: WithDType, const N: usize>(out: &mut impl Write, tensor: &Tensor, bytes: fn(T) -> [u8; N]) -> Result<()> {
    let mut block = Vec::new();
    for values in tensor.flatten_all()?.to_vec1::<T>()?.chunks(1 << 18) {
        block.clear();
        block.extend(values.iter().flat_map(|&v| bytes(v)));
        out.write_all(&block)?;
    }
    Ok(())
}
