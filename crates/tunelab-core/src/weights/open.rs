//! The checked tensors of one part of a model (UNet, VAE, text encoder), in one safetensors file or
//! in shards.
//!
//! In: the files. Out: names, shapes, and tensors read one at a time in the wanted number type.
//! Nothing is mapped into memory: a tensor is read in blocks, in parallel, each block converted and
//! checked as it comes, so that 3.4 GB load at the disk's speed and a float32 tensor exists exactly
//! once. NaN and infinity are refused where they enter.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use fs_err::File;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::header::{Entry, Header, Stored};
use super::original::{self, Original};
use super::{Part, PartName, extras};
use crate::error::{Error, Result};

/// Elements in one block: 1 MiB of float32, which stays in a core's cache from the reading to the
/// check.
const BLOCK: usize = 1 << 18;

/// The projection of a text encoder that has one.
pub const TEXT_PROJECTION: &str = "text_projection.weight";

/// The tensors of one part, checked but not yet read.
#[derive(Debug)]
pub struct Weights {
    files: Vec<PathBuf>,
    tensors: BTreeMap<String, Place>,
    metadata: BTreeMap<String, String>,
    /// Whether they are of one file with all parts, whose configurations came from elsewhere.
    pub(super) is_single_file: bool,
}

#[derive(Debug)]
struct Place {
    file: usize,
    entry: Entry,
    /// A matrix that lies in the file the other way round.
    transposed: bool,
}

impl Weights {
    /// Opens one file or all shards of a part; checks every header against its file's length.
    ///
    /// Errors name the file and say what it is when it is no safetensors file, how much is missing
    /// when it is cut off, and which tensor is stored twice.
    pub fn open(files: &[PathBuf]) -> Result<Self> {
        let mut weights =
            Self { files: files.to_vec(), tensors: BTreeMap::new(), metadata: BTreeMap::new(), is_single_file: false };
        for (file, path) in files.iter().enumerate() {
            let header = Header::read(path)?;
            for (name, entry) in header.tensors {
                if let Some(first) = weights.tensors.insert(name.clone(), Place { file, entry, transposed: false }) {
                    return Err(twice(&name, &files[first.file], path));
                }
            }
            weights.metadata.extend(header.metadata);
        }
        Ok(weights)
    }

    /// Opens a part of a model folder and gives its tensors the names that current diffusers and
    /// transformers use.
    pub fn open_part(part: &Part) -> Result<Self> {
        let weights = Self::open(&part.weights)?;
        if let Some(original) = part.original {
            return weights.with_new_names(original);
        }
        match part.name {
            PartName::Unet => Ok(weights),
            PartName::Vae => weights.with_old_attention_names(),
            PartName::TextEncoder | PartName::TextEncoder2 => Ok(weights.with_text_model_prefix()),
        }
    }

    /// Maps the VAE attention's old names (`query`, `key`, `value`, `proj_attn`) to `to_q`, `to_k`,
    /// `to_v`, `to_out.0`, and weights stored as 1×1 convolutions `[C, C, 1, 1]` to `[C, C]`.
    pub fn with_old_attention_names(self) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (name, mut place) in self.tensors {
            let name = new_attention_name(&name);
            if name.contains(".attentions.") && matches!(place.entry.shape[..], [_, _, 1, 1]) {
                place.entry.shape.truncate(2);
            }
            let path = &self.files[place.file];
            if tensors.insert(name.clone(), place).is_some() {
                return Err(Error::input(format!(
                    "{}: `{name}` is there under its old and under its new name",
                    path.display()
                ))
                .hint("load and save this VAE once with diffusers, which keeps one of them"));
            }
        }
        Ok(Self { tensors, ..self })
    }

    /// Gives CLIP's tensors the prefix `text_model.` that transformers before 5 wrote and
    /// transformers 5 leaves out. The projection behind the text model has never had it.
    #[must_use]
    pub fn with_text_model_prefix(self) -> Self {
        const PREFIX: &str = "text_model.";
        if self.tensors.keys().any(|name| name.starts_with(PREFIX)) {
            return self;
        }
        let prefixed = |name: String| if name == TEXT_PROJECTION { name } else { format!("{PREFIX}{name}") };
        let tensors = self.tensors.into_iter().map(|(name, place)| (prefixed(name), place)).collect();
        Self { tensors, ..self }
    }

    /// The tensors of one part of a file with all parts, under diffusers' names. Their places in the
    /// file are the same.
    ///
    /// Errors: two tensors would have one name, or a tensor has a shape that cannot be divided.
    pub fn with_new_names(self, original: Original) -> Result<Self> {
        let shapes = self.tensors.iter().map(|(name, place)| (name.as_str(), &place.entry.shape[..])).collect();
        let mut tensors = BTreeMap::new();
        let path = list(&self.files);
        for (old, renamed) in original.names(&shapes) {
            let Some(Place { file, entry, .. }) = self.tensors.get(old) else { continue };
            let fits = "the file was merged wrongly: take another copy";
            let views = original::views(entry, renamed).ok_or_else(|| {
                Error::input(format!("{path}: `{old}` has the shape {:?}, which cannot be", entry.shape)).hint(fits)
            })?;
            for (name, entry, transposed) in views {
                if tensors.insert(name.clone(), Place { file: *file, entry, transposed }).is_some() {
                    return Err(Error::input(format!(
                        "{path}: two tensors stand for `{name}`, one of them is `{old}`"
                    ))
                    .hint(fits));
                }
            }
        }
        Ok(Self { tensors, is_single_file: true, ..self })
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Whether tensors whose names begin so are stored in float16.
    pub fn is_half(&self, prefix: &str) -> bool {
        self.tensors.iter().any(|(name, place)| name.starts_with(prefix) && place.entry.dtype == Stored::F16)
    }

    /// The same without the tensors that `surplus` names.
    #[must_use]
    pub fn without(mut self, surplus: impl Fn(&str) -> bool) -> Self {
        self.tensors.retain(|name, _| !surplus(name));
        self
    }

    /// Whether a tensor may be passed over though nothing asks for it.
    pub fn is_harmless(&self, name: &str) -> bool {
        self.shape(name).is_some_and(|shape| extras::is_harmless(name, shape))
    }

    /// Which tensors of a part are passed over, in one line, if that is worth a word.
    pub fn passed_over(&self, part: PartName) -> Option<String> {
        extras::note(part, &self.names().filter(|name| self.is_harmless(name)).collect::<Vec<_>>())
    }

    /// All tensor names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, if it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|place| &place.entry.shape[..])
    }

    /// The text metadata of the files' headers (`format`, `ss_network_dim`, …).
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The files, in the order in which they were opened.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Reads one tensor. Float16, bfloat16, float32 and float64 in the file become `dtype` on
    /// `device`.
    ///
    /// Errors: no such tensor, stored as integers, NaN or infinity in it, or the file cannot be
    /// read.
    pub fn load(&self, name: &str, device: &Device, dtype: DType) -> Result<Tensor> {
        let Some(Place { file, entry, transposed }) = self.tensors.get(name) else {
            return Err(Error::input(format!("{}: there is no tensor `{name}`", list(&self.files))));
        };
        let values = read(&self.files[*file], name, entry)?;
        let tensor = match entry.shape[..] {
            [rows, columns] if *transposed => Tensor::from_vec(values, (columns, rows), device)?.t()?.contiguous()?,
            _ => Tensor::from_vec(values, &entry.shape[..], device)?,
        };
        Ok(tensor.to_dtype(dtype)?)
    }

    /// Reads the only value of a tensor that has one, be it stored as a float or as a whole number.
    ///
    /// Errors: as [`Weights::load`], or it has not one value.
    pub fn number(&self, name: &str) -> Result<f64> {
        let shape = self.shape(name).unwrap_or_default();
        if self.tensors.contains_key(name) && shape.iter().product::<usize>() != 1 {
            return Err(Error::input(format!(
                "{}: `{name}` must be one number, and has the shape {shape:?}",
                list(&self.files)
            )));
        }
        match self.tensors.get(name) {
            Some(Place { file, entry: Entry { dtype: Stored::Whole { bytes, signed }, start, .. }, .. }) => {
                let mut file = File::open(&self.files[*file])?;
                file.seek(SeekFrom::Start(*start))?;
                whole_number(&mut file, *bytes as usize, *signed)
            }
            _ => Ok(self.load(name, &Device::Cpu, DType::F64)?.flatten_all()?.get(0)?.to_scalar()?),
        }
    }
}

/// The next whole number of so many bytes, at most 8, the lowest first.
fn whole_number(file: &mut File, bytes: usize, signed: bool) -> Result<f64> {
    let mut value = [0; 8];
    file.read_exact(&mut value[..bytes])?;
    if signed && bytes > 0 && value[bytes - 1] >= 0x80 {
        value[bytes..].fill(0xff);
        return Ok(i64::from_le_bytes(value) as f64);
    }
    let value = u64::from_le_bytes(value);
    Ok(if signed { value as i64 as f64 } else { value as f64 })
}

fn twice(name: &str, first: &Path, second: &Path) -> Error {
    Error::input(format!("tensor `{name}` is stored twice: in {} and in {}", first.display(), second.display()))
        .hint("the shards do not belong together; delete them and download the part again")
}

/// The files' names, for a message.
pub(super) fn list(files: &[PathBuf]) -> String {
    match files {
        [one] => one.display().to_string(),
        [first, ..] => format!("{} and {} more", first.display(), files.len() - 1),
        [] => "no file".to_owned(),
    }
}

fn new_attention_name(name: &str) -> String {
    const NAMES: [(&str, &str); 4] = [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
    let parts: Vec<&str> = name.split('.').collect();
    let [head @ .., _, old, leaf] = &parts[..] else { return name.to_owned() };
    let new = NAMES.iter().find(|(from, _)| from == old).map(|(_, to)| to);
    match (new, head.last()) {
        (Some(new), Some(&"attentions")) => {
            let stem = name.len() - old.len() - leaf.len() - 1;
            format!("{}{new}.{leaf}", &name[..stem])
        }
        _ => name.to_owned(),
    }
}

/// Reads all values of a tensor as float32, block by block in parallel.
fn read(path: &Path, name: &str, entry: &Entry) -> Result<Vec<f32>> {
    if let Stored::Whole { .. } | Stored::Other { .. } = entry.dtype {
        return Err(Error::input(format!("{}: tensor `{name}` is stored in a type that is not read as weights", path.display()))
            .hint("whole numbers, 8-bit floats and quantized weights are not read; take the float16, bfloat16 or float32 version"));
    }
    // Freshly zeroed memory costs nothing until it is written, and is written once.
    let mut values = vec![0f32; entry.shape.iter().product()];
    // Each worker opens the file and takes a buffer once, not once a block.
    let blocks = values
        .par_chunks_mut(BLOCK)
        .enumerate()
        .map_init(
            || (File::open(path), Vec::new()),
            |(file, bytes), (i, block)| {
                let file = file.as_mut().map_err(|e| Error::run(e.to_string()))?;
                file.seek(SeekFrom::Start(entry.start + (i * BLOCK) as u64 * entry.dtype.bytes()))?;
                bytes.resize(block.len() * entry.dtype.bytes() as usize, 0);
                file.read_exact(bytes)?;
                Ok(decode(entry.dtype, bytes, block))
            },
        )
        .collect::<Vec<Result<_>>>();
    for (i, block) in blocks.into_iter().enumerate() {
        if let Some(at) = block? {
            return Err(Error::input(format!(
                "{}: tensor `{name}` holds NaN or infinity (first at element {})",
                path.display(),
                i * BLOCK + at
            ))
            .hint("the file is damaged, or was saved by a run whose loss was not finite: take another copy"));
        }
    }
    Ok(values)
}

/// Fills `block` from the file's bytes; gives the place of the first value that is not finite.
fn decode(dtype: Stored, bytes: &[u8], block: &mut [f32]) -> Option<usize> {
    let pairs = || bytes.chunks_exact(2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    match dtype {
        Stored::F16 => pairs().map(f16::from_bits).collect::<Vec<_>>().convert_to_f32_slice(block),
        Stored::Bf16 => pairs().map(bf16::from_bits).collect::<Vec<_>>().convert_to_f32_slice(block),
        Stored::F32 => {
            for (value, b) in block.iter_mut().zip(bytes.chunks_exact(4)) {
                *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        Stored::F64 => {
            for (value, b) in block.iter_mut().zip(bytes.chunks_exact(8)) {
                *value = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            }
        }
        // `read` refuses these before any block is made.
        Stored::Whole { .. } | Stored::Other { .. } => {}
    }
    let finite = block.iter().fold(true, |all, v| all & v.is_finite());
    if finite { None } else { block.iter().position(|v| !v.is_finite()) }
}
