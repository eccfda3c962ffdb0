//! Captions as conditioning: computed once and cached, when they come where tags are drawn anew each time, or anew in every step
//! where a text encoder is trained.
//!
//! In: text encoders, the ids of the texts. Out: [`TextConditioning`], which gives that of a batch.

use crate::data::Cache;
use crate::device;
use crate::error::{Error, Result};
use crate::hash;
use crate::pipeline::{Conditioning, Ids, PromptEmbeds, TextEncoders, TokenIds, Tokenizers};
use crate::weights::PartName;
use candle_core::Device;
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Changes with the meaning of what is cached, so that older entries are not used.
const CACHE_VERSION: &str = "2";

/// The conditioning of every text, from the cache where it is there; `hashes` name the text
/// encoders' weights.
pub fn encode_cached(
    encoders: &TextEncoders,
    hashes: &BTreeMap<PartName, String>,
    ids: &Ids,
    cache: &Cache,
    device: &Device,
) -> Result<PromptEmbeds> {
    let one = |ids: &TokenIds| -> Result<Conditioning> {
        let key = cache_key(hashes, ids, device);
        if let Some(found) = kept(cache, &key, device)? {
            return Ok(found);
        }
        let _turn = cache.turn("text", &hash::key(&hashes.values().map(String::as_str).collect::<Vec<_>>()))?;
        if let Some(found) = kept(cache, &key, device)? {
            return Ok(found);
        }
        let made = encoders.encode(&[ids])?;
        let pooled = made.pooled.iter().map(|pooled| ("pooled".to_owned(), pooled.clone()));
        let entry = [("states".to_owned(), made.hidden_states.clone())].into_iter().chain(pooled).collect();
        cache.put("text", &key, &entry)?;
        Ok(made)
    };
    ids.iter().map(|(text, ids)| Ok((text.clone(), one(ids)?))).collect()
}

/// What an earlier run, or another one now, has computed.
fn kept(cache: &Cache, key: &str, device: &Device) -> Result<Option<Conditioning>> {
    let Some(mut found) = cache.get("text", key)? else { return Ok(None) };
    let Some(states) = found.remove("states") else { return Ok(None) };
    let pooled = found.remove("pooled").map(|pooled| pooled.to_device(device)).transpose()?;
    Ok(Some(Conditioning { pooled, ..states.to_device(device)?.into() }))
}

/// Of all that decides the numbers: each encoder's weights and its ids.
fn cache_key(hashes: &BTreeMap<PartName, String>, ids: &TokenIds, device: &Device) -> String {
    let words = |ids: &Vec<u32>| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let words: Vec<(&str, String)> =
        ids.iter().map(|(part, ids)| (hashes.get(part).map_or("", String::as_str), words(ids))).collect();
    let mut parts = vec![CACHE_VERSION, device::arithmetic(device)];
    parts.extend(words.iter().flat_map(|(hash, words)| [*hash, words]));
    hash::key(&parts)
}

/// How many drawn texts are kept in memory, the newest ones.
const KEPT: usize = 128;

/// Texts that cannot all be told before: each is encoded alone, when it comes, so its numbers depend on nothing else.
pub struct DrawnTexts {
    encoders: TextEncoders,
    tokenizers: Arc<Tokenizers>,
    /// Those that are known.
    fixed: PromptEmbeds,
    kept: Mutex<Kept>,
}

/// The newest texts and their order.
#[derive(Default)]
struct Kept {
    embeds: PromptEmbeds,
    order: VecDeque<String>,
}

impl DrawnTexts {
    /// `fixed` has the texts that are encoded already.
    pub fn new(encoders: TextEncoders, tokenizers: Arc<Tokenizers>, fixed: PromptEmbeds) -> Self {
        Self { encoders, tokenizers, fixed, kept: Mutex::default() }
    }

    fn of(&self, text: &str) -> Result<Conditioning> {
        if let Some(fixed) = self.fixed.get(text) {
            return Ok(fixed.clone());
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.embeds.get(text) {
            return Ok(found.clone());
        }
        let made = self.encoders.encode(&[&self.tokenizers.ids(text)?])?;
        if kept.order.len() == KEPT {
            let oldest = kept.order.pop_front().unwrap_or_default();
            kept.embeds.remove(&oldest);
        }
        kept.order.push_back(text.to_owned());
        kept.embeds.insert(text.to_owned(), made.clone());
        Ok(made)
    }
}

/// The ids of texts for a text encoder that is trained.
#[derive(Clone)]
pub struct KnownTexts {
    /// Those that are known.
    pub ids: Ids,
    /// For all others, where tags are drawn.
    pub tokenizers: Option<Arc<Tokenizers>>,
}

impl KnownTexts {
    fn of(&self, text: &str) -> Result<Cow<'_, TokenIds>> {
        match (self.ids.get(text), &self.tokenizers) {
            (Some(ids), _) => Ok(Cow::Borrowed(ids)),
            (None, Some(tokenizers)) => Ok(Cow::Owned(tokenizers.ids(text)?)),
            (None, None) => Err(unknown(text)),
        }
    }
}

fn unknown(caption: &str) -> Error {
    Error::run(format!("the caption “{caption}” was not prepared"))
}

/// Where a batch's conditioning comes from.
pub enum TextConditioning {
    /// Computed once.
    Cached(PromptEmbeds),
    /// Computed when a text comes.
    Drawn(Arc<DrawnTexts>),
    /// Computed in every step, with gradients.
    Trained(TextEncoders, KnownTexts),
}

impl TextConditioning {
    /// Of the captions together.
    pub fn of(&self, captions: &[String]) -> Result<Conditioning> {
        match self {
            Self::Cached(embeds) => {
                let one = |caption: &String| embeds.get(caption).ok_or_else(|| unknown(caption));
                Conditioning::cat(&captions.iter().map(one).collect::<Result<Vec<_>>>()?)
            }
            Self::Drawn(texts) => {
                let all = captions.iter().map(|caption| texts.of(caption)).collect::<Result<Vec<_>>>()?;
                Conditioning::cat(&all.iter().collect::<Vec<_>>())
            }
            Self::Trained(encoders, texts) => {
                let all = captions.iter().map(|caption| texts.of(caption)).collect::<Result<Vec<_>>>()?;
                encoders.encode(&all.iter().map(AsRef::as_ref).collect::<Vec<_>>())
            }
        }
    }
}
