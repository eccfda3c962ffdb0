//! The miniature's tokenizer: CLIP's byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) learnt from a list of words.
//!
//! In: words. Out: the files of a `tokenizer` folder as transformers' `CLIPTokenizer` reads them. Every word becomes one
//! token; all other text falls apart into bytes, as everywhere.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tunelab::error::Result;

/// Tokens of a text, with begin and end token.
pub const LENGTH: usize = 32;

const BEGIN: &str = "<|startoftext|>";
const END: &str = "<|endoftext|>";

/// What a tokenizer knows.
pub struct Vocabulary {
    /// Tokens in the order of their ids.
    tokens: Vec<String>,
    /// Pairs in the order in which they are joined.
    merges: Vec<(String, String)>,
}

impl Vocabulary {
    /// Joins the most frequent pair of neighbours, the first of them in alphabetical order, until every word is one token.
    pub fn of<'w>(words: impl IntoIterator<Item = &'w str>) -> Self {
        let mut words: Vec<Vec<String>> = words.into_iter().map(letters).collect();
        words.sort();
        words.dedup();
        let mut merges = Vec::new();
        while let Some(pair) = most_frequent(&words) {
            for word in &mut words {
                join(word, &pair);
            }
            merges.push(pair);
        }
        let ends = bytes().into_iter().map(|c| format!("{c}</w>"));
        let joined = merges.iter().map(|(a, b)| format!("{a}{b}"));
        let tokens = bytes().into_iter().map(String::from).chain(ends).chain(joined);
        Self { tokens: tokens.chain([BEGIN.into(), END.into()]).collect(), merges }
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The ids of the begin and the end token.
    pub fn specials(&self) -> [usize; 2] {
        [self.len() - 2, self.len() - 1]
    }

    /// Writes the `tokenizer` folder.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs_err::create_dir_all(folder)?;
        let ids: serde_json::Map<_, _> = self.tokens.iter().enumerate().map(|(id, t)| (t.clone(), json!(id))).collect();
        let merges: Vec<String> = self.merges.iter().map(|(a, b)| format!("{a} {b}\n")).collect();
        fs_err::write(folder.join("vocab.json"), format!("{}\n", json!(ids)))?;
        fs_err::write(folder.join("merges.txt"), format!("#version: 0.2\n{}", merges.concat()))?;
        let token = |text: &str| json!({ "content": text, "lstrip": false, "normalized": true, "rstrip": false, "single_word": false });
        let specials = json!({
            "bos_token": token(BEGIN), "eos_token": token(END), "pad_token": END, "unk_token": token(END)
        });
        let mut config = json!({
            "add_prefix_space": false, "do_lower_case": true, "errors": "replace", "model_max_length": LENGTH,
            "tokenizer_class": "CLIPTokenizer"
        });
        for (name, value) in specials.as_object().into_iter().flatten() {
            config[name] = value.clone();
        }
        fs_err::write(folder.join("special_tokens_map.json"), format!("{specials:#}\n"))?;
        fs_err::write(folder.join("tokenizer_config.json"), format!("{config:#}\n"))?;
        Ok(())
    }
}

/// A word of ASCII letters as symbols, the last one marked as the word's end.
fn letters(word: &str) -> Vec<String> {
    let last = word.chars().count().saturating_sub(1);
    let symbol = |(at, c): (usize, char)| if at == last { format!("{c}</w>") } else { c.to_string() };
    word.chars().enumerate().map(symbol).collect()
}

fn most_frequent(words: &[Vec<String>]) -> Option<(String, String)> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for pair in words.iter().flat_map(|word| word.windows(2)) {
        *counts.entry((&pair[0], &pair[1])).or_default() += 1;
    }
    // Of equally frequent ones the first: `max_by_key` takes the last of equals, hence the reversal.
    let best = counts.into_iter().rev().max_by_key(|(_, count)| *count)?;
    Some((best.0.0.into(), best.0.1.into()))
}

fn join(word: &mut Vec<String>, (first, second): &(String, String)) {
    let mut at = 0;
    while at + 1 < word.len() {
        if word[at] == *first && word[at + 1] == *second {
            let end = word.remove(at + 1);
            word[at].push_str(&end);
        }
        at += 1;
    }
}

/// The 256 bytes as printable characters, in GPT-2's order: printable Latin-1 first, the others from U+0100 on.
fn bytes() -> Vec<char> {
    let printable = |b: &u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let others = (0..256).filter(|b| !printable(b)).count() as u32;
    (0..256).filter(printable).chain(256..256 + others).filter_map(char::from_u32).collect()
}
