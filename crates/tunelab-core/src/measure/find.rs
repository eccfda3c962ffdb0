//! Where an encoder is: compiled in, in a folder that somebody names, or in the cache, filled from Hugging Face where it is
//! not, or from ModelScope where that cannot be reached.
//!
//! In: a name, perhaps a folder. Out: a [`FoundEncoder`], which can be opened and hashed.

use std::path::{Path, PathBuf};

use candle_core::Device;

use super::encoder::Encoder;
use super::files::{CONFIG, WEIGHTS};
use crate::assets::builtin::unpack;
use crate::assets::{Hubs, MASTER, Tried, hub, modelscope};
use crate::builtin::Builtin;
use crate::error::Result;
use crate::hash::sha256_of_file;
use crate::metrics::EncoderName;
use crate::progress::Progress;
use crate::results::EncoderRecord;

/// Its tokenizer, where it reads prompts.
const TOKENIZER: [&str; 2] = ["vocab.json", "merges.txt"];
/// What is taken along where a repository has it.
const USEFUL: [&str; 4] = [CONFIG, "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"];

/// An encoder that is on this machine.
#[derive(Debug, Clone)]
pub struct FoundEncoder {
    /// Which one.
    pub name: EncoderName,
    dir: PathBuf,
    /// Where it came from, as it is told.
    source: String,
}

/// The files that an encoder's folder must have.
pub fn needed_files(name: EncoderName) -> Vec<&'static str> {
    let tokenizer = if name.reads_prompts() { &TOKENIZER[..] } else { &[] };
    [WEIGHTS].iter().chain(tokenizer).copied().collect()
}

/// Finds an encoder: in `folder`, if one is given, which is only looked at when it is opened.
///
/// Errors: it must be fetched and cannot be.
pub fn find(name: EncoderName, folder: Option<&Path>, progress: &Progress) -> Tried<FoundEncoder> {
    if let Some(dir) = folder {
        let source = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(FoundEncoder { name, dir: dir.to_owned(), source });
    }
    let Some((repo, revision)) = name.repo() else {
        return Ok(FoundEncoder { name, dir: unpack(Builtin::Judge)?, source: name.to_string() });
    };
    let useful = if name.reads_prompts() { &USEFUL[..] } else { &USEFUL[..1] };
    let (hubs, needed) = (Hubs::from_env(), needed_files(name));
    match (hub::find_files(repo, revision, &needed, useful, &hubs.huggingface, progress), name.modelscope()) {
        (Err(failed), Some(second)) if failed.unreachable => {
            let dir = modelscope::find_files((second, MASTER), &needed, useful, &hubs.modelscope, progress)?;
            Ok(FoundEncoder { name, dir, source: format!("{second} on ModelScope") })
        }
        (found, _) => Ok(FoundEncoder { name, dir: found?, source: format!("{repo} at {revision}") }),
    }
}

impl FoundEncoder {
    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads it; its tokenizer only where `prompts` will be asked for.
    pub fn open(&self, prompts: bool, device: &Device) -> Result<Encoder> {
        Encoder::open(self.name, &self.dir, prompts, device)
    }

    /// What is recorded of it.
    pub fn record(&self) -> Result<EncoderRecord> {
        let sha256 = sha256_of_file(&self.dir.join(WEIGHTS))?;
        Ok(EncoderRecord { source: self.source.clone(), sha256 })
    }
}
