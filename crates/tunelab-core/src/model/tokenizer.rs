//! CLIP's byte-pair tokenizer: prompt to token ids of fixed length.
//!
//! Longer texts may be read in several chunks, as kohya's scripts cut them.
//!
//! In: a repository's `tokenizer` folder, with `tokenizer.json` or with `vocab.json` and
//! `merges.txt`. Out: for each prompt begin token, text, end token and padding, always the model's
//! length (77), and the text that did not fit. The pipeline and the handling of special and of
//! added tokens are those of transformers' `CLIPTokenizer`.

mod added;
mod files;

use crate::error::{Error, Result};
use added::Tokens;
use files::{broken, parse, read};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// How CLIP splits text into words before it joins byte pairs inside each.
const WORDS: &str = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A prompt as token ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Begin, text, end, padding: as many ids as [`Tokenizer::len`] says, for each chunk.
    pub ids: Vec<u32>,
    /// The end of the prompt, if it did not fit.
    pub cut: Option<String>,
}

/// The tokenizer of one model.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    len: usize,
    chunks: usize,
    begin: u32,
    end: u32,
    pad: u32,
}

impl Tokenizer {
    /// Reads a `tokenizer` folder. `tokenizer.json` is preferred where it exists; lengths, special
    /// tokens and added tokens come from `tokenizer_config.json`, `special_tokens_map.json` and
    /// `added_tokens.json`, and are CLIP's where these say nothing.
    ///
    /// Errors: a file is missing, cannot be parsed, a special token is not in the vocabulary, or an
    /// added token does not get the id that its file states.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let tokens = Tokens::read(dir)?;
        let whole = dir.join("tokenizer.json");
        let mut inner = if whole.is_file() { read_pipeline(&whole)? } else { build_pipeline(dir, &tokens)? };
        check_roles(dir, &tokens, |token| inner.token_to_id(token).is_some())?;
        inner
            .add_tokens(tokens.added)
            .map_err(|e| Error::input(format!("{}: the added tokens do not fit together", dir.display())).cause(e))?;
        for (&id, content) in &tokens.stated {
            let got = inner.token_to_id(content);
            if got != Some(id) {
                return Err(added::wrong_id(dir, content, id, got));
            }
        }
        let id = |token: &str| {
            inner.token_to_id(token).ok_or_else(|| Error::run(format!("the token \"{token}\" was not added")))
        };
        let (begin, end, pad) = (id(&tokens.begin)?, id(&tokens.end)?, id(&tokens.pad)?);
        Ok(Self { len: tokens.len, chunks: 1, begin, end, pad, inner })
    }

    /// The same, which reads a text in so many chunks.
    #[must_use]
    pub fn with_chunks(self, chunks: usize) -> Self {
        Self { chunks: chunks.max(1), ..self }
    }

    /// The number of ids of every encoded prompt.
    #[expect(clippy::len_without_is_empty, reason = "it is never 0")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many tokens a prompt has, begin and end not counted, whether they fit or not.
    pub fn count(&self, prompt: &str) -> Result<usize> {
        let encoding = self.inner.encode(prompt, false);
        let error = |e| Error::input(format!("the prompt \"{prompt}\" cannot be tokenized")).cause(e);
        Ok(encoding.map_err(error)?.len())
    }

    /// Encodes a prompt. What does not fit between begin and end token is cut off and returned.
    pub fn encode(&self, prompt: &str) -> Result<Encoded> {
        let encoding = self
            .inner
            .encode(prompt, false)
            .map_err(|e| Error::input(format!("the prompt \"{prompt}\" cannot be tokenized")).cause(e))?;
        let room = (self.len - 2) * self.chunks;
        let text = encoding.get_ids();
        let mut ids = vec![self.begin];
        ids.extend(text.iter().take(room));
        ids.push(self.end);
        ids.resize(room + 2, self.pad);
        if self.chunks > 1 {
            ids = self.chunked(&ids);
        }
        let cut = encoding.get_offsets().get(room).and_then(|(start, _)| prompt.get(*start..));
        Ok(Encoded { ids, cut: cut.map(|text| text.trim().to_string()) })
    }
}

impl Tokenizer {
    /// One long text's ids as chunks: each has the begin token, its share, and the long text's last id, which is the end token where
    /// no padding is left. A chunk that would have none ends with it, and one of padding alone begins with it.
    fn chunked(&self, ids: &[u32]) -> Vec<u32> {
        let last = ids.last().copied().unwrap_or(self.end);
        let body = ids.get(1..ids.len() - 1).unwrap_or_default();
        let chunk = |share: &[u32]| {
            let mut chunk = [&[self.begin], share, &[last]].concat();
            if let [.., before, end] = &mut chunk[..]
                && *before != self.end
                && *before != self.pad
            {
                *end = self.end;
            }
            if let [_, first, ..] = &mut chunk[..]
                && *first == self.pad
            {
                *first = self.end;
            }
            chunk
        };
        body.chunks(self.len - 2).flat_map(chunk).collect()
    }
}

/// Errors if begin, end, padding or unknown token are neither in the vocabulary nor among the added
/// tokens.
fn check_roles(dir: &Path, tokens: &Tokens, is_known: impl Fn(&str) -> bool) -> Result<()> {
    let unknown = tokens.roles().filter(|token| !is_known(token) && !tokens.states(token));
    let unknown: BTreeSet<String> = unknown.map(|token| format!("\"{token}\"")).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let list = unknown.into_iter().collect::<Vec<_>>().join(", ");
    Err(Error::input(format!("{}: special tokens without an id: {list}", dir.display()))
        .hint("the vocabulary (vocab.json or tokenizer.json) must have them, or added_tokens.json"))
}

/// Loads `tokenizer.json`, without the truncation and padding that its writer may have used last.
fn read_pipeline(file: &Path) -> Result<tokenizers::Tokenizer> {
    let mut inner = tokenizers::Tokenizer::from_bytes(read(file)?.as_bytes()).map_err(|e| broken(file).cause(e))?;
    inner.with_padding(None);
    inner.with_truncation(None).map_err(|e| broken(file).cause(e))?;
    Ok(inner)
}

/// Builds from `vocab.json` and `merges.txt` what transformers builds from them.
fn build_pipeline(dir: &Path, tokens: &Tokens) -> Result<tokenizers::Tokenizer> {
    let vocab: BTreeMap<String, u32> = parse(&dir.join("vocab.json"))?;
    let merges = read_merges(&dir.join("merges.txt"))?;
    check_roles(dir, tokens, |token| vocab.contains_key(token))?;
    let pipeline = json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ]},
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ]},
        "model": { "type": "BPE", "vocab": vocab, "merges": merges, "unk_token": tokens.unknown,
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
