//! Captions and prompts as hidden states: computed once and cached, or anew in every step where the text encoder is
//! trained.
//!
//! In: tokenizer, text encoder, the texts. Out: [`Texts`], which gives a batch's hidden states [B, tokens, width].

use crate::data::{self, Cache};
use crate::device;
use crate::error::{Error, Result};
use crate::model::clip::ClipText;
use crate::model::tokenizer::Tokenizer;
use candle_core::{Device, Tensor};
use std::collections::BTreeMap;

/// Changes with the meaning of what is cached, so that older entries are not used.
const CACHE_VERSION: &str = "2";

/// The ids of every text of a run.
pub type Ids = BTreeMap<String, Vec<u32>>;

/// The hidden states of every text of a run.
pub type States = BTreeMap<String, Tensor>;

/// Texts that had to be cut are told one by one up to this number.
const MAX_TOLD: usize = 20;

/// Ids of all `texts`, each once; `warn` hears of the texts that had to be cut.
pub fn tokenize<'t>(
    tokenizer: &Tokenizer,
    texts: impl IntoIterator<Item = &'t str>,
    warn: &mut dyn FnMut(String),
) -> Result<Ids> {
    let mut ids = Ids::new();
    let mut cuts: usize = 0;
    for text in texts {
        if ids.contains_key(text) {
            continue;
        }
        let encoded = tokenizer.encode(text)?;
        if let Some(cut) = encoded.cut {
            cuts += 1;
            let [text, cut] = [text, &cut].map(data::shortened);
            if cuts <= MAX_TOLD {
                warn(format!("the prompt “{text}” is too long for the text encoder; this part is left out: “{cut}”"));
            }
        }
        ids.insert(text.to_owned(), encoded.ids);
    }
    if cuts > MAX_TOLD {
        warn(format!("{} more prompts are too long for the text encoder; their ends are left out", cuts - MAX_TOLD));
    }
    Ok(ids)
}

/// Hidden states [1, tokens, width] of every text.
pub fn encode(clip: &ClipText, ids: &Ids) -> Result<States> {
    ids.iter().map(|(text, ids)| Ok((text.clone(), clip.forward(std::slice::from_ref(ids))?))).collect()
}

/// As [`encode`], from the cache where they are there; `clip_hash` names the text encoder's weights.
pub fn encode_cached(clip: &ClipText, clip_hash: &str, ids: &Ids, cache: &Cache, device: &Device) -> Result<States> {
    let one = |ids: &Vec<u32>| -> Result<Tensor> {
        let words = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        let key = data::key(&[CACHE_VERSION, device::arithmetic(device), clip_hash, &words]);
        if let Some(found) = cache.get("text", &key)?
            && let Some(states) = found.get("states")
        {
            return Ok(states.to_device(device)?);
        }
        let states = clip.forward(std::slice::from_ref(ids))?;
        cache.put("text", &key, &BTreeMap::from([("states".to_owned(), states.clone())]))?;
        Ok(states)
    };
    ids.iter().map(|(text, ids)| Ok((text.clone(), one(ids)?))).collect()
}

/// Where a batch's hidden states come from.
pub enum Texts {
    /// Computed once.
    Fixed(States),
    /// Computed in every step, with gradients.
    Trained(ClipText, Ids),
}

impl Texts {
    /// Hidden states [B, tokens, width] of the captions.
    pub fn states(&self, captions: &[&str]) -> Result<Tensor> {
        let unknown = |caption: &str| Error::run(format!("the caption “{caption}” was not prepared"));
        match self {
            Self::Fixed(states) => {
                let parts: Result<Vec<&Tensor>> =
                    captions.iter().map(|c| states.get(*c).ok_or_else(|| unknown(c))).collect();
                Ok(Tensor::cat(&parts?, 0)?)
            }
            Self::Trained(clip, ids) => {
                let ids: Result<Vec<Vec<u32>>> =
                    captions.iter().map(|c| ids.get(*c).cloned().ok_or_else(|| unknown(c))).collect();
                clip.forward(&ids?)
            }
        }
    }
}
