//! Where the hubs are, where their files are kept, and who asks: all that the environment says,
//! read once.
//!
//! In: `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE` (else its older name `HUGGINGFACE_HUB_CACHE`),
//! `HF_TOKEN` (else the token file that `hf auth login` writes), `MODELSCOPE_ENDPOINT`,
//! `MODELSCOPE_CACHE`, `MODELSCOPE_API_TOKEN`, and for both hubs `HF_HUB_OFFLINE` (else
//! `TRANSFORMERS_OFFLINE`), read as `huggingface_hub` reads them. Out: settings that tests make by
//! hand instead.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// How long a hub has for the first byte of an answer; as much for the look-up of its name, and for
/// the connection.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a transfer that has begun may be silent before it is given up. A slow one that moves is
/// never given up.
const TIME_OUT: Duration = Duration::from_secs(30);

/// How often a transfer that broke is taken up again.
const RETRIES: u32 = 5;

/// Which hub the settings are for; decides the form of its addresses and the names of its
/// variables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hub {
    /// huggingface.co and its mirrors.
    HuggingFace,
    /// modelscope.cn.
    ModelScope,
}

impl Hub {
    /// The name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::HuggingFace => "Hugging Face",
            Self::ModelScope => "ModelScope",
        }
    }

    pub(super) fn endpoint_variable(self) -> &'static str {
        match self {
            Self::HuggingFace => "HF_ENDPOINT",
            Self::ModelScope => "MODELSCOPE_ENDPOINT",
        }
    }

    pub(super) fn cache_variable(self) -> &'static str {
        match self {
            Self::HuggingFace => "HF_HOME",
            Self::ModelScope => "MODELSCOPE_CACHE",
        }
    }

    pub(super) fn token_variable(self) -> &'static str {
        match self {
            Self::HuggingFace => "HF_TOKEN",
            Self::ModelScope => "MODELSCOPE_API_TOKEN",
        }
    }
}

/// A token: sent to its hub, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A token; `None` where the text is blank.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.to_owned()))
    }

    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// One hub's settings.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// Which hub.
    pub hub: Hub,
    /// Its address without a slash at the end.
    pub endpoint: String,
    /// The folder of its cache; `None` where the environment names none and there is no home
    /// folder.
    pub cache: Option<PathBuf>,
    /// Who asks.
    pub token: Option<Token>,
    /// How long the hub has for the first byte of an answer.
    pub patience: Duration,
    /// How long a transfer may be silent.
    pub time_out: Duration,
    /// How often a broken transfer is taken up again within one run.
    pub retries: u32,
    /// The variable that forbids the network.
    pub offline: Option<&'static str>,
}

/// What the environment says of a name.
type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl HubSettings {
    /// Hugging Face as these variables have it; the same cache and token file as its Python
    /// library.
    pub fn huggingface(variables: Variables) -> Self {
        let home = path(variables, "HF_HOME").or_else(|| Some(user_cache(variables)?.join("huggingface")));
        let token_file = path(variables, "HF_TOKEN_PATH").or_else(|| Some(home.as_ref()?.join("token")));
        let stored = || Token::new(&fs_err::read_to_string(token_file?).ok()?);
        let cache = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(|name| path(variables, name));
        Self {
            hub: Hub::HuggingFace,
            endpoint: endpoint(variables, "HF_ENDPOINT", "https://huggingface.co"),
            cache: cache.or_else(|| Some(home.as_ref()?.join("hub"))),
            token: variables("HF_TOKEN").and_then(|t| Token::new(&t)).or_else(stored),
            patience: PATIENCE,
            time_out: TIME_OUT,
            retries: RETRIES,
            offline: offline(variables),
        }
    }

    /// ModelScope as these variables have it; the same cache as its Python library.
    pub fn modelscope(variables: Variables) -> Self {
        let default = || Some(std::env::home_dir()?.join(".cache").join("modelscope").join("hub"));
        Self {
            hub: Hub::ModelScope,
            endpoint: endpoint(variables, "MODELSCOPE_ENDPOINT", "https://www.modelscope.cn"),
            cache: path(variables, "MODELSCOPE_CACHE").or_else(default),
            token: variables("MODELSCOPE_API_TOKEN").and_then(|t| Token::new(&t)),
            patience: PATIENCE,
            time_out: TIME_OUT,
            retries: RETRIES,
            offline: offline(variables),
        }
    }

    /// Why the hub has nothing for us: `… cannot be reached`, or that the network is forbidden.
    pub(super) fn silence(&self) -> String {
        match self.offline {
            Some(variable) => format!("{variable} is set"),
            None => format!("{} ({}) cannot be reached", self.hub.name(), self.endpoint),
        }
    }

    /// The cache folder, or an error that says which variable names one.
    pub(super) fn cache(&self) -> Result<&Path> {
        self.cache.as_deref().ok_or_else(|| {
            Error::input(format!("there is no home folder to keep {}'s files in", self.hub.name()))
                .hint(format!("set {} to a folder that can be written", self.hub.cache_variable()))
        })
    }

    /// Makes a folder inside the cache.
    pub(super) fn make_dir(&self, dir: &Path) -> Result<()> {
        fs_err::create_dir_all(dir).map_err(|e| {
            Error::input(format!("{}: the cache folder cannot be written", dir.display()))
                .cause(e)
                .hint(format!("set {} to a folder that can be written", self.hub.cache_variable()))
        })
    }
}

/// Both hubs.
#[derive(Debug, Clone)]
pub struct Hubs {
    /// Hugging Face.
    pub huggingface: HubSettings,
    /// ModelScope.
    pub modelscope: HubSettings,
    /// Where data sets that lie packed on this machine are unpacked: the first of these folders that can be written.
    pub unpacked: Vec<PathBuf>,
}

impl Hubs {
    /// Both as the environment has them.
    pub fn from_env() -> Self {
        Self {
            huggingface: HubSettings::huggingface(&variable),
            modelscope: HubSettings::modelscope(&variable),
            unpacked: own_folders(),
        }
    }
}

/// The variable that forbids the network, if it does: the first of the two that is not empty
/// decides.
fn offline(variables: Variables) -> Option<&'static str> {
    let said = |name: &'static str| Some((name, variables(name)?));
    let (name, value) = said("HF_HUB_OFFLINE").or_else(|| said("TRANSFORMERS_OFFLINE"))?;
    ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str()).then_some(name)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.trim().is_empty())
}

fn path(variables: Variables, name: &str) -> Option<PathBuf> {
    let text = variables(name)?;
    match text.strip_prefix("~/") {
        Some(rest) => Some(std::env::home_dir()?.join(rest)),
        None => Some(PathBuf::from(text)),
    }
}

fn user_cache(variables: Variables) -> Option<PathBuf> {
    path(variables, "XDG_CACHE_HOME").or_else(|| Some(std::env::home_dir()?.join(".cache")))
}

/// Where this program keeps what it unpacks, the best first: the user's cache, else the system's
/// temporary folder.
pub(super) fn own_folders() -> Vec<PathBuf> {
    user_cache(&variable).into_iter().chain([std::env::temp_dir()]).map(|folder| folder.join("tunelab")).collect()
}

/// An address with its scheme and without a slash at its end; `hf-mirror.com` alone is taken to
/// mean https.
fn endpoint(variables: Variables, name: &str, default: &str) -> String {
    let text = variables(name).unwrap_or_else(|| default.to_owned());
    let text = text.trim().trim_end_matches('/');
    if text.contains("://") { text.to_owned() } else { format!("https://{text}") }
}
