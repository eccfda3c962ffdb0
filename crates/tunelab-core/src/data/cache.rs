//! What is computed once and kept: latent distributions and text embeddings, on disk by the hash of what they came from.
//!
//! In: a kind, a key and named tensors. Out: the same tensors in a later run, on the CPU. One small safetensors file for each
//! entry, `root/<kind>/<key>.safetensors`, written under another name and renamed, with a hash of its tensors in its header.
//! An entry that was damaged (a disk that filled up, a bit that flipped) is deleted and counts as never written, so the worst
//! that a bad cache costs is time.

use std::collections::{BTreeMap, HashMap};
use std::io::{Write as _, stderr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use candle_core::safetensors::Load;
use candle_core::{Device, Tensor};
use safetensors::SafeTensors;
use safetensors::tensor::View;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::hash::hex;
use crate::interrupt::check_process;
use crate::lock::Locked;

/// Where the header keeps the hash.
const HASH_FIELD: &str = "sha256";

/// What takes no longer is waited for without a word.
const SILENT: Duration = Duration::from_secs(2);
/// Between two looks whether another process has made an entry.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// While it lives, no other process makes the same entries.
#[derive(Debug)]
pub struct Turn {
    _lock: Locked,
}

/// A cache folder. Nothing is created before the first [`Cache::put`].
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// A cache in `root`, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The entry's tensors; `None` where there is none, or where it was damaged, which a line on stderr tells.
    pub fn get(&self, kind: &str, key: &str) -> Result<Option<BTreeMap<String, Tensor>>> {
        let file = self.file(kind, key);
        let bytes = match fs_err::read(&file) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        match read(&bytes) {
            Ok(tensors) => Ok(Some(tensors)),
            Err(reason) => {
                let entry = file.display();
                // Nobody may be listening any more, which is no reason to stop.
                let _ = writeln!(
                    stderr(),
                    "warning: the cache entry `{entry}` is damaged ({reason}); it is computed again"
                );
                fs_err::remove_file(&file)?;
                Ok(None)
            }
        }
    }

    /// Whether there is such an entry, whole or damaged.
    pub fn has(&self, kind: &str, key: &str) -> bool {
        self.file(kind, key).is_file()
    }

    /// Waits until nobody else makes entries of this kind from the same things, named by `group`; what others have made
    /// meanwhile is there then. Where there are no locks nobody waits: the same is made twice and put in place whole.
    ///
    /// # Errors
    /// The cache cannot be written, or this process was asked to stop.
    pub fn turn(&self, kind: &str, group: &str) -> Result<Turn> {
        let locks = self.root.join("locks");
        fs_err::create_dir_all(&locks)?;
        let path = locks.join(format!("{kind}-{}", group.get(..16).unwrap_or(group)));
        let (begun, mut told) = (Instant::now(), false);
        loop {
            if let Some(lock) = Locked::open(&path)? {
                return Ok(Turn { _lock: lock });
            }
            if !told && begun.elapsed() > SILENT {
                // Nobody may be listening any more, which is no reason to stop.
                let _ =
                    writeln!(stderr(), "note: waiting for another tunelab, which makes {kind} that this one needs too");
                told = true;
            }
            check_process()?;
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// Writes an entry whole or not at all. Fails with the file's name where the disk is full or cannot be written.
    pub fn put(&self, kind: &str, key: &str, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
        let file = self.file(kind, key);
        let header = HashMap::from([(HASH_FIELD.to_owned(), hash(tensors))]);
        let bytes = safetensors::serialize(tensors, Some(header))
            .map_err(|e| Error::run(format!("cannot make the cache entry `{}`", file.display())).cause(e))?;
        fs_err::create_dir_all(self.root.join(kind))?;
        // Processes of two machines may have one number.
        let unfinished = file.with_extension(format!("{}-{}.tmp", std::process::id(), nanoseconds()));
        let written = fs_err::write(&unfinished, &bytes).and_then(|()| fs_err::rename(&unfinished, &file));
        if written.is_err() {
            // What is half written must not fill the disk further; that it could not be written is the error to tell.
            let _ = fs_err::remove_file(&unfinished);
        }
        Ok(written?)
    }

    fn file(&self, kind: &str, key: &str) -> PathBuf {
        self.root.join(kind).join(format!("{key}.safetensors"))
    }

    /// The cache folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}

fn nanoseconds() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos())
}

fn read(bytes: &[u8]) -> std::result::Result<BTreeMap<String, Tensor>, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
    let views: BTreeMap<String, _> = file.tensors().into_iter().collect();
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
    let stored = header.metadata().as_ref().and_then(|fields| fields.get(HASH_FIELD));
    if stored != Some(&hash(&views)) {
        return Err("its contents do not match its hash".to_owned());
    }
    let load = |view: &safetensors::tensor::TensorView| view.load(&Device::Cpu).map_err(|e| e.to_string());
    views.iter().map(|(name, view)| Ok((name.clone(), load(view)?))).collect()
}

/// A hash of names, types, shapes and values.
fn hash<V>(tensors: &BTreeMap<String, V>) -> String
where
    for<'a> &'a V: View,
{
    let mut hasher = Sha256::new();
    for (name, tensor) in tensors {
        let data = tensor.data();
        hasher.update(format!("{name:?} {:?} {:?} {}\n", tensor.dtype(), tensor.shape(), data.len()));
        hasher.update(&data);
    }
    hex(&hasher.finalize())
}
