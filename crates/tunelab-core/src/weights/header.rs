//! The header of a safetensors file, read with suspicion.
//!
//! In: a path. Out: every tensor's name, stored type, shape and place in the file, after all that
//! the header claims was checked against the file's real length; or an error that says what the
//! file is instead (a pickle, a Git LFS pointer, a saved web page, half a download) and what to do
//! about it. Format: 8 bytes little-endian header length, that many bytes of JSON, then the
//! tensors' bytes without gaps (github.com/huggingface/safetensors, "Format").

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::Path;

use fs_err::File;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::error::{Error, Result};

/// The format's own limit for the length of the JSON, in bytes.
const MAX_HEADER: u64 = 100_000_000;

/// The number type that a tensor is stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stored {
    F16,
    Bf16,
    F32,
    F64,
    /// Whole numbers: never loaded as weights.
    Whole {
        bytes: u64,
        signed: bool,
    },
    /// Booleans, 8-bit floats: listed, but never loaded as weights.
    Other {
        bytes: u64,
    },
}

impl Stored {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "F16" => Self::F16,
            "BF16" => Self::Bf16,
            "F32" => Self::F32,
            "F64" => Self::F64,
            "U8" => Self::Whole { bytes: 1, signed: false },
            "I8" => Self::Whole { bytes: 1, signed: true },
            "U16" => Self::Whole { bytes: 2, signed: false },
            "I16" => Self::Whole { bytes: 2, signed: true },
            "U32" => Self::Whole { bytes: 4, signed: false },
            "I32" => Self::Whole { bytes: 4, signed: true },
            "U64" => Self::Whole { bytes: 8, signed: false },
            "I64" => Self::Whole { bytes: 8, signed: true },
            "BOOL" | "F8_E5M2" | "F8_E4M3" | "F8_E8M0" => Self::Other { bytes: 1 },
            "C64" => Self::Other { bytes: 8 },
            _ => return None,
        })
    }

    /// Bytes of one element.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
            Self::Whole { bytes, .. } | Self::Other { bytes } => bytes,
        }
    }
}

/// Where one tensor lies.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub dtype: Stored,
    pub shape: Vec<usize>,
    /// Position of its first byte, from the start of the file.
    pub start: u64,
}

/// The checked header of one file.
#[derive(Debug)]
pub(super) struct Header {
    pub tensors: BTreeMap<String, Entry>,
    pub metadata: BTreeMap<String, String>,
}

impl Header {
    /// Reads and checks the header of `path`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| Error::input(e.to_string()))?;
        let size = file.metadata()?.len();
        let mut start = [0; 512];
        let filled = read_up_to(&mut file, &mut start)?;
        let length = match start[..filled].first_chunk::<8>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            None => 0,
        };
        let opens_json = start[..filled].get(8) == Some(&b'{');
        if !opens_json {
            return Err(not_safetensors(path, &start[..filled]));
        }
        if length > MAX_HEADER || length > size - 8 {
            return Err(Error::input(format!(
                "{}: its header claims {length} bytes, but the whole file has {size}",
                path.display()
            ))
            .hint("the file is damaged or its download was cut off: delete it and download it again"));
        }
        let mut json = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let known = json.len().min(filled - 8);
        json[..known].copy_from_slice(&start[8..8 + known]);
        file.read_exact(&mut json[known..])?;
        Self::parse(path, &json, 8 + length, size)
    }

    fn parse(path: &Path, json: &[u8], data: u64, size: u64) -> Result<Self> {
        let Unique(entries) = serde_json::from_slice(json).map_err(|e| damaged(path, &e.to_string()))?;
        let mut header = Self { tensors: BTreeMap::new(), metadata: BTreeMap::new() };
        let mut places = Vec::new();
        for (name, value) in entries {
            if name == "__metadata__" {
                // `null` is how some writers say that there is none.
                let metadata: Option<_> =
                    serde_json::from_value(value).map_err(|e| damaged(path, &format!("`__metadata__`: {e}")))?;
                header.metadata = metadata.unwrap_or_default();
                continue;
            }
            let (entry, last) = entry(value, data).map_err(|e| damaged(path, &format!("tensor `{name}`: {e}")))?;
            places.push((entry.start, last));
            if header.tensors.insert(name.clone(), entry).is_some() {
                return Err(damaged(path, &format!("tensor `{name}` is listed twice")));
            }
        }
        let end = places.iter().map(|place| place.1).max().unwrap_or(data);
        if end > size {
            return Err(Error::input(format!(
                "{}: the file is cut off: its header expects {end} bytes, it has {size}",
                path.display()
            ))
            .hint("the download or copy stopped half-way: delete the file and download it again"));
        }
        without_gaps(&mut places, data, size).map_err(|e| damaged(path, &e))?;
        Ok(header)
    }
}

fn read_up_to(file: &mut File, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..])? {
            0 => break,
            n => filled += n,
        }
    }
    Ok(filled)
}

/// The JSON object's pairs in the file's order, duplicates kept: a map would silently keep only the
/// last of them.
struct Unique(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Unique;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Unique, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Unique(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[derive(Deserialize)]
struct Raw {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [u64; 2],
}

/// One tensor's entry and the file position after its last byte; `data` is where the header ends.
fn entry(value: Value, data: u64) -> std::result::Result<(Entry, u64), String> {
    let raw: Raw = serde_json::from_value(value).map_err(|e| e.to_string())?;
    let dtype = Stored::parse(&raw.dtype).ok_or_else(|| format!("unknown number type `{}`", raw.dtype))?;
    let bytes = raw
        .shape
        .iter()
        .try_fold(dtype.bytes(), |n, &d| n.checked_mul(d as u64))
        .ok_or_else(|| format!("shape {:?} is too large to be true", raw.shape))?;
    let [first, last] = raw.data_offsets;
    if last.checked_sub(first) != Some(bytes) {
        return Err(format!("shape {:?} takes {bytes} bytes, but its place is {first}..{last}", raw.shape));
    }
    let end = data.checked_add(last).ok_or("its place is beyond the end of any file")?;
    Ok((Entry { dtype, shape: raw.shape, start: data + first }, end))
}

/// The format wants the tensors to cover all bytes after the header, each once.
fn without_gaps(places: &mut [(u64, u64)], data: u64, size: u64) -> std::result::Result<(), String> {
    places.sort_unstable();
    let mut end = data;
    for &(first, last) in places.iter() {
        if first != end {
            return Err(format!("a tensor begins at byte {first}, but the one before it ends at {end}"));
        }
        end = last;
    }
    if end == size { Ok(()) } else { Err(format!("the file has {} bytes that belong to no tensor", size - end)) }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::input(format!("{}: damaged safetensors header: {what}", path.display()))
        .hint("delete the file and download it again, or write it again with `safetensors`")
}

/// Whether the file at `path` is a pickle, by how it begins; without a word on files that are not
/// there.
pub fn is_pickle(path: &Path) -> Result<bool> {
    let Ok(mut file) = File::open(path) else { return Ok(false) };
    let mut start = [0; 9];
    let filled = read_up_to(&mut file, &mut start)?;
    // A header's length may begin as a pickle does.
    Ok(start[8] != b'{' && is_pickled(&start[..filled]))
}

/// PyTorch's files are zip archives with a pickle inside, its first ones bare pickles.
fn is_pickled(start: &[u8]) -> bool {
    start.starts_with(b"PK\x03\x04") || start.starts_with(&[0x80, 0x02])
}

/// Says what a file that is no safetensors file most likely is.
fn not_safetensors(path: &Path, start: &[u8]) -> Error {
    let name = path.display();
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    let text = String::from_utf8_lossy(start).trim_start().to_lowercase();
    if text.starts_with("version https://git-lfs") {
        return Error::input(format!("{name}: this is a Git LFS pointer, not the weights themselves"))
            .hint("run `git lfs pull` in the repository's folder, or let tunelab download the repository by its name");
    }
    if text.starts_with("<!doctype") || text.starts_with("<html") {
        return Error::input(format!("{name}: this is a saved web page, not weights"))
            .hint("use the page's download link (`…/resolve/main/…`, not `…/blob/main/…`)");
    }
    if is_pickled(start) || matches!(extension, "bin" | "ckpt" | "pt" | "pth" | "pkl") {
        return pickle(path);
    }
    if start.is_empty() {
        return Error::input(format!("{name}: the file is empty")).hint("delete it and download it again");
    }
    Error::input(format!("{name}: not a safetensors file"))
        .hint("weights must be .safetensors files; if this one was downloaded, delete it and download it again")
}

/// The refusal of a pickled weight file, with the ways out.
pub(super) fn pickle(path: &Path) -> Error {
    Error::input(format!(
        "{}: pickled PyTorch weights are not read, because opening a pickle can run any code that its author put there",
        path.display()
    ))
    .hint(
        "take a repository or revision that has .safetensors files, or convert it on a machine you do not mind: in Python, \
         `DiffusionPipeline.from_pretrained(DIR).save_pretrained(NEW_DIR)`",
    )
}
