//! CLIP's byte-pair tokenizer: prompt to token ids of fixed length.
//!
//! In: a repository's `tokenizer` folder, with `tokenizer.json` or with `vocab.json` and `merges.txt`. Out: for each prompt
//! begin token, text, end token and padding, always the model's length (77), and the text that did not fit. The pipeline
//! and the handling of special tokens are those of transformers' `CLIPTokenizer`.

use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// CLIP's length, where the configuration names none (or the huge number that means "no limit" to transformers).
const CLIP_LENGTH: usize = 77;
/// How CLIP splits text into words before it joins byte pairs inside each.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A prompt as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Begin, text, end, padding: as many ids as [`Tokenizer::len`] says.
    pub ids: Vec<u32>,
    /// The end of the prompt, if it did not fit.
    pub cut: Option<String>,
}

/// The tokenizer of one model.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    len: usize,
    begin: u32,
    end: u32,
    pad: u32,
}

impl Tokenizer {
    /// Reads a `tokenizer` folder. `tokenizer.json` is preferred where it exists; lengths and special tokens come from
    /// `tokenizer_config.json` and `special_tokens_map.json`, and are CLIP's where these say nothing.
    ///
    /// Errors: a file is missing, cannot be parsed, or a special token is not in the vocabulary.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let specials = Specials::read(dir)?;
        let whole = dir.join("tokenizer.json");
        let inner = if whole.is_file() { read_pipeline(&whole)? } else { build_pipeline(dir, &specials)? };
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| {
                Error::input(format!("{}: the special token \"{token}\" is not in the vocabulary", dir.display()))
            })
        };
        let (begin, end, pad) = (id(&specials.begin)?, id(&specials.end)?, id(&specials.pad)?);
        Ok(Self { len: specials.len, begin, end, pad, inner })
    }

    /// The number of ids of every encoded prompt.
    #[expect(clippy::len_without_is_empty, reason = "it is never 0")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Encodes a prompt. What does not fit between begin and end token is cut off and returned.
    pub fn encode(&self, prompt: &str) -> Result<Encoded> {
        let encoding = self
            .inner
            .encode(prompt, false)
            .map_err(|e| Error::input(format!("the prompt \"{prompt}\" cannot be tokenized")).cause(e))?;
        let room = self.len - 2;
        let text = encoding.get_ids();
        let mut ids = vec![self.begin];
        ids.extend(text.iter().take(room));
        ids.push(self.end);
        ids.resize(self.len, self.pad);
        let cut = encoding.get_offsets().get(room).and_then(|(start, _)| prompt.get(*start..));
        Ok(Encoded { ids, cut: cut.map(|text| text.trim().to_string()) })
    }
}

/// The special tokens and the length.
struct Specials {
    begin: String,
    end: String,
    pad: String,
    unknown: String,
    len: usize,
    /// Whether each is looked for in the normalized text (else in the text as it was written), by content.
    normalized: BTreeMap<String, bool>,
}

/// The keys that matter of `tokenizer_config.json` and of `special_tokens_map.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenizerConfig {
    bos_token: Option<Special>,
    eos_token: Option<Special>,
    unk_token: Option<Special>,
    pad_token: Option<Special>,
    model_max_length: Option<f64>,
}

/// A special token, as its text alone or as transformers' `AddedToken`.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Special {
    Text(String),
    Added { content: String, normalized: Option<bool> },
}

impl Specials {
    fn read(dir: &Path) -> Result<Self> {
        let config = TokenizerConfig::read(&dir.join("tokenizer_config.json"))?;
        let map = TokenizerConfig::read(&dir.join("special_tokens_map.json"))?;
        let mut normalized = BTreeMap::new();
        let mut take = |first: Option<Special>, second: Option<Special>, clip: &str| {
            let (content, flag) = match first.or(second) {
                Some(Special::Text(content)) => (content, false),
                Some(Special::Added { content, normalized }) => (content, normalized.unwrap_or(false)),
                None => (clip.to_string(), false),
            };
            normalized.insert(content.clone(), flag);
            content
        };
        // A token that serves twice keeps the flag it was given last; the padding token's comes last in transformers.
        let begin = take(config.bos_token, map.bos_token, "<|startoftext|>");
        let end = take(config.eos_token, map.eos_token, "<|endoftext|>");
        let unknown = take(config.unk_token, map.unk_token, "<|endoftext|>");
        let pad = take(config.pad_token, map.pad_token, "<|endoftext|>");
        let len = config.model_max_length.map_or(CLIP_LENGTH, |n| if n > 1e5 { CLIP_LENGTH } else { n as usize });
        if len < 3 {
            let file = dir.join("tokenizer_config.json");
            return Err(Error::input(format!("{}: `model_max_length` is {len}", file.display()))
                .hint("CLIP's is 77; begin and end token alone take two places"));
        }
        Ok(Self { begin, end, pad, unknown, len, normalized })
    }
}

impl TokenizerConfig {
    /// Reads one of the two files; neither has to exist.
    fn read(file: &Path) -> Result<Self> {
        if file.is_file() { parse(file) } else { Ok(Self::default()) }
    }
}

/// Loads `tokenizer.json`, without the truncation and padding that its writer may have used last.
fn read_pipeline(file: &Path) -> Result<tokenizers::Tokenizer> {
    let mut inner = tokenizers::Tokenizer::from_bytes(read(file)?.as_bytes()).map_err(|e| broken(file).cause(e))?;
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|e| broken(file).cause(e))?;
    Ok(inner)
}

/// Builds from `vocab.json` and `merges.txt` what transformers builds from them.
fn build_pipeline(dir: &Path, specials: &Specials) -> Result<tokenizers::Tokenizer> {
    let vocab_file = dir.join("vocab.json");
    let vocab: BTreeMap<String, u32> = parse(&vocab_file)?;
    let merges = read_merges(&dir.join("merges.txt"))?;
    let added: Result<Vec<Value>> = specials
        .normalized
        .iter()
        .map(|(content, normalized)| {
            let id = vocab.get(content).ok_or_else(|| {
                Error::input(format!("{}: the special token \"{content}\" is missing", vocab_file.display()))
            })?;
            Ok(json!({ "id": id, "content": content, "normalized": normalized, "special": true,
                       "single_word": false, "lstrip": false, "rstrip": false }))
        })
        .collect();
    let pipeline = json!({
        "version": "1.0",
        "added_tokens": added?,
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ]},
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ]},
        "model": { "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": specials.unknown,
                   "continuing_subword_prefix": "", "end_of_word_suffix": "</w>" },
    });
    tokenizers::Tokenizer::from_bytes(pipeline.to_string())
        .map_err(|e| Error::input(format!("{}: vocab.json and merges.txt do not fit together", dir.display())).cause(e))
}

/// The pairs of `merges.txt`, in order of rank; its first line may be a version comment.
fn read_merges(file: &Path) -> Result<Vec<(String, String)>> {
    let text = read(file)?;
    let lines =
        text.lines().enumerate().filter(|(i, line)| !(line.is_empty() || *i == 0 && line.starts_with("#version")));
    lines
        .map(|(i, line)| match line.split(' ').collect::<Vec<_>>()[..] {
            [left, right] => Ok((left.to_string(), right.to_string())),
            _ => Err(broken(file).cause(format!("line {} is not two parts: \"{line}\"", i + 1))),
        })
        .collect()
}

fn read(file: &Path) -> Result<String> {
    fs_err::read_to_string(file).map_err(|e| {
        Error::input("the tokenizer cannot be read")
            .cause(e)
            .hint("a tokenizer folder holds tokenizer.json, or vocab.json and merges.txt")
    })
}

fn parse<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<T> {
    serde_json::from_str(&read(file)?).map_err(|e| broken(file).cause(e))
}

fn broken(file: &Path) -> Error {
    Error::input(format!("{} is not a tokenizer file that can be used", file.display()))
}
