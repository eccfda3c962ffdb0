//! The tokens beside the vocabulary's: special ones, and those that were trained later on (textual
//! inversion).
//!
//! In: `tokenizer_config.json`, `special_tokens_map.json`, `added_tokens.json` and the added tokens
//! of `tokenizer.json`. Out: which tokens are added, in what order and how each is looked for, as
//! transformers' `CLIPTokenizer.from_pretrained` does it: `added_tokens_decoder` of the
//! configuration, where it is there, in place of the three other files.

use super::files::parse;
use crate::error::{Error, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokenizers::AddedToken;

/// CLIP's length, where the configuration names none (or the huge number that means "no limit" to
/// transformers).
const CLIP_LENGTH: usize = 77;

/// What the files say of a tokenizer beside its vocabulary.
pub(super) struct Tokens {
    pub begin: String,
    pub end: String,
    pub pad: String,
    pub unknown: String,
    pub len: usize,
    /// In the order in which they are added.
    pub added: Vec<AddedToken>,
    /// The ids that the files state for added tokens.
    pub stated: BTreeMap<u32, String>,
}

/// The keys that matter of `tokenizer_config.json` and of `special_tokens_map.json`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    bos_token: Option<Token>,
    eos_token: Option<Token>,
    unk_token: Option<Token>,
    sep_token: Option<Token>,
    pad_token: Option<Token>,
    cls_token: Option<Token>,
    mask_token: Option<Token>,
    /// What older versions wrote in place of the next one.
    additional_special_tokens: Option<Vec<Token>>,
    extra_special_tokens: Option<Extras>,
    added_tokens_decoder: Option<BTreeMap<u32, Token>>,
    model_max_length: Option<f64>,
}

/// A token, as its text alone or as transformers' `AddedToken`.
#[derive(Clone, Deserialize, PartialEq)]
#[serde(untagged)]
enum Token {
    Text(String),
    Added(Added),
}

#[derive(Clone, Deserialize, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the flags as the files have them")]
struct Added {
    content: String,
    /// Left out, it is the opposite of `special`.
    normalized: Option<bool>,
    #[serde(default)]
    special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

/// Special tokens without a role.
#[derive(Deserialize)]
#[serde(untagged)]
enum Extras {
    List(Vec<Token>),
    Named(BTreeMap<String, Token>),
}

/// The added tokens of `tokenizer.json`.
#[derive(Deserialize)]
struct Pipeline {
    #[serde(default)]
    added_tokens: Vec<Identified>,
}

#[derive(Deserialize)]
struct Identified {
    id: u32,
    #[serde(flatten)]
    token: Added,
}

impl Token {
    fn content(&self) -> &str {
        match self {
            Self::Text(content) | Self::Added(Added { content, .. }) => content,
        }
    }

    /// As the tokenizers' library has it; `named` are the special tokens with a role.
    fn to_added(&self, named: &[Self]) -> AddedToken {
        match self {
            Self::Text(content) => AddedToken::from(content, true),
            Self::Added(token) => {
                let special = token.special || named.iter().any(|other| other.content() == token.content);
                AddedToken::from(&token.content, special)
                    .normalized(token.normalized.unwrap_or(!special))
                    .single_word(token.single_word)
                    .lstrip(token.lstrip)
                    .rstrip(token.rstrip)
            }
        }
    }

    /// What `special_tokens_map.json` describes is special.
    fn into_special(self) -> Self {
        match self {
            Self::Added(token) => Self::Added(Added { special: true, ..token }),
            text @ Self::Text(_) => text,
        }
    }
}

impl Tokens {
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let mut said: Said = parse_if_there(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
        let len = length(dir, said.model_max_length)?;
        let decoder = match said.added_tokens_decoder.take() {
            Some(decoder) => decoder,
            None => said.read_other_files(dir)?,
        };
        let [begin, end, pad] = ["<|startoftext|>", "<|endoftext|>", "<|endoftext|>"].map(str::to_owned);
        let unknown = end.clone();
        // The roles, in the order in which transformers goes through them.
        let roles = [
            (said.bos_token.take(), Some(begin)),
            (said.eos_token.take(), Some(end)),
            (said.unk_token.take(), Some(unknown)),
            (said.sep_token.take(), None),
            (said.pad_token.take(), Some(pad)),
            (said.cls_token.take(), None),
            (said.mask_token.take(), None),
        ];
        // A token that is described among the added ones is meant where it is named.
        let described =
            |token: Token| decoder.values().find(|t| t.content() == token.content()).cloned().unwrap_or(token);
        let named = roles.map(|(said, clip)| said.or(clip.map(Token::Text)).map(described));
        let content = |role: usize| named[role].as_ref().map(|token| token.content().to_owned()).unwrap_or_default();
        let (begin, end, unknown, pad) = (content(0), content(1), content(2), content(4));
        let named: Vec<Token> = named.into_iter().flatten().collect();
        let added = in_order(&decoder, &named, &said.extras()).iter().map(|token| token.to_added(&named)).collect();
        let stated = decoder.into_iter().map(|(id, token)| (id, token.content().to_owned())).collect();
        Ok(Self { begin, end, pad, unknown, len, added, stated })
    }

    /// The four that a text encoder needs.
    pub(super) fn roles(&self) -> impl Iterator<Item = &str> {
        [&self.begin, &self.end, &self.pad, &self.unknown].into_iter().map(String::as_str)
    }

    /// Whether a file states an id for this added token.
    pub(super) fn states(&self, token: &str) -> bool {
        self.stated.values().any(|stated| stated == token)
    }
}

/// Which tokens are added: the described ones, then what of the named and of the other special ones
/// is not among them. One that is named twice and described differently is added twice, so that its
/// last description holds.
fn in_order(decoder: &BTreeMap<u32, Token>, named: &[Token], extras: &[Token]) -> Vec<Token> {
    let described: Vec<&str> = decoder.values().map(Token::content).collect();
    let mut tokens: Vec<Token> = decoder.values().cloned().collect();
    for token in named.iter().chain(extras) {
        if !described.contains(&token.content()) && !tokens.contains(token) {
            tokens.push(token.clone());
        }
    }
    tokens
}

impl Said {
    /// What the three other files add to the configuration; gives the described tokens by id.
    fn read_other_files(&mut self, dir: &Path) -> Result<BTreeMap<u32, Token>> {
        let map: Self = parse_if_there(&dir.join("special_tokens_map.json"))?.unwrap_or_default();
        let special = self.take_over(map);
        let mut decoder = BTreeMap::new();
        let file = dir.join("added_tokens.json");
        for (content, id) in parse_if_there::<BTreeMap<String, u32>>(&file)?.unwrap_or_default() {
            let special = special.contains(&content);
            let token = Added { content, special, normalized: None, single_word: false, lstrip: false, rstrip: false };
            decoder.insert(id, Token::Added(token));
        }
        if let Some(pipeline) = parse_if_there::<Pipeline>(&dir.join("tokenizer.json"))? {
            decoder.extend(pipeline.added_tokens.into_iter().map(|t| (t.id, Token::Added(t.token))));
        }
        Ok(decoder)
    }

    /// `special_tokens_map.json` has the last word. Gives what counts as special in
    /// `added_tokens.json`.
    fn take_over(&mut self, map: Self) -> Vec<String> {
        let roles = [
            (&mut self.bos_token, map.bos_token),
            (&mut self.eos_token, map.eos_token),
            (&mut self.unk_token, map.unk_token),
            (&mut self.sep_token, map.sep_token),
            (&mut self.pad_token, map.pad_token),
            (&mut self.cls_token, map.cls_token),
            (&mut self.mask_token, map.mask_token),
        ];
        let mut special = Vec::new();
        for (own, other) in roles {
            *own = other.map(Token::into_special).or(own.take());
            special.extend(own.as_ref().map(|token| token.content().to_owned()));
        }
        let mut extras = self.extras();
        for token in map.extra_special_tokens.map(Extras::tokens).unwrap_or_default() {
            if extras.iter().all(|other| other.content() != token.content()) {
                extras.push(token.into_special());
            }
        }
        special.extend(extras.iter().map(|token| token.content().to_owned()));
        if extras.is_empty() {
            let additional = map.additional_special_tokens.unwrap_or_default();
            extras = additional.into_iter().map(Token::into_special).collect();
        }
        self.extra_special_tokens = Some(Extras::List(extras));
        special
    }

    fn extras(&mut self) -> Vec<Token> {
        let extras = self.extra_special_tokens.take().map(Extras::tokens).unwrap_or_default();
        if extras.is_empty() { self.additional_special_tokens.take().unwrap_or_default() } else { extras }
    }
}

impl Extras {
    fn tokens(self) -> Vec<Token> {
        match self {
            Self::List(tokens) => tokens,
            Self::Named(tokens) => tokens.into_values().collect(),
        }
    }
}

/// The number of ids of a prompt.
fn length(dir: &Path, said: Option<f64>) -> Result<usize> {
    let len = said.map_or(CLIP_LENGTH, |n| if n > 1e5 { CLIP_LENGTH } else { n as usize });
    if len < 3 {
        let file = dir.join("tokenizer_config.json");
        return Err(Error::input(format!("{}: `model_max_length` is {len}", file.display()))
            .hint("CLIP's is 77; begin and end token alone take two places"));
    }
    Ok(len)
}

fn parse_if_there<T: for<'a> Deserialize<'a>>(file: &Path) -> Result<Option<T>> {
    if file.is_file() { parse(file).map(Some) } else { Ok(None) }
}

/// An added token is numbered after those before it, whatever its file states: where these differ,
/// the file's token and the text encoder's row are not the same, and transformers' versions do not
/// agree which is meant.
pub(super) fn wrong_id(dir: &Path, content: &str, stated: u32, got: Option<u32>) -> Error {
    let quoted = serde_json::to_string(content).unwrap_or_default();
    let files = ["tokenizer_config.json", "added_tokens.json", "tokenizer.json"].map(|name| dir.join(name));
    let names = |path: &&PathBuf| fs_err::read_to_string(path).is_ok_and(|text| text.contains(&quoted));
    let file = files.iter().find(names).map_or(dir, PathBuf::as_path).display();
    let got = got.map_or("none".to_owned(), |id| id.to_string());
    Error::input(format!("{file}: the added token {quoted} is said to have the id {stated}, but gets {got}")).hint(
        "added tokens follow the vocabulary without a gap: take tokenizer/ and text_encoder/ from one repository again, or \
         save both once more with transformers",
    )
}
