//! Captions as conditioning: computed once and cached, or anew in every step where a text encoder
//! is trained.
//!
//! In: text encoders, the ids of the texts. Out: [`TextConditioning`], which gives that of a batch.

use crate::data::Cache;
use crate::device;
use crate::error::{Error, Result};
use crate::hash;
use crate::pipeline::{Conditioning, Ids, PromptEmbeds, TextEncoders, TokenIds};
use crate::weights::PartName;
use candle_core::Device;
use std::collections::BTreeMap;

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

/// Where a batch's conditioning comes from.
pub enum TextConditioning {
    /// Computed once.
    Cached(PromptEmbeds),
    /// Computed in every step, with gradients.
    Trained(TextEncoders, Ids),
}

impl TextConditioning {
    /// Of the captions together.
    pub fn of(&self, captions: &[String]) -> Result<Conditioning> {
        let unknown = |caption: &str| Error::run(format!("the caption “{caption}” was not prepared"));
        match self {
            Self::Cached(embeds) => {
                let one = |caption: &String| embeds.get(caption).ok_or_else(|| unknown(caption));
                Conditioning::cat(&captions.iter().map(one).collect::<Result<Vec<_>>>()?)
            }
            Self::Trained(encoders, ids) => {
                let one = |caption: &String| ids.get(caption).ok_or_else(|| unknown(caption));
                encoders.encode(&captions.iter().map(one).collect::<Result<Vec<_>>>()?)
            }
        }
    }
}
