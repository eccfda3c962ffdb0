//! ModelScope repositories over its HTTP API, kept in the same cache as its Python library keeps
//! them.
//!
//! In: a repository and a revision. Out: the folder in which every file that is needed lies whole.
//! Addresses as in the Python SDK (`modelscope/hub/api.py`, `file_download.py`): a model's files
//! are listed by name, a data set's by number and by page. The cache has one folder for a
//! repository, `models/OWNER/NAME` with `___` for `.`; as it does not tell revisions apart, any
//! other than `master` gets a folder of its own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::data_files::{DataFiles, told};
use super::download::{Wanted, fetch};
use super::hub::check_name;
use super::layout::{self, stays_inside};
use super::settings::HubSettings;
use super::web::{Tried, Web, encode};
use super::{local, native, packs, pictures};
use crate::config::Selection;
use crate::error::{Error, Result};
use crate::pipeline::ModelFiles;
use crate::progress::Progress;

/// Entries in one page of a data set's listing.
const PAGE: usize = 100;

/// Finds the model `repo` at `revision`, from the cache or from ModelScope.
pub fn find_model(repo: &str, revision: &str, settings: &HubSettings, progress: &Progress) -> Tried<ModelFiles> {
    let remote = Remote::new(repo, revision, "models", settings)?;
    if let Ok(files) = local::find(&remote.dir) {
        return Ok(files);
    }
    let listed = remote.list_model()?;
    let names = listed.keys().cloned().collect();
    let wanted: Vec<String> = layout::choose(&names, repo)?.all().cloned().collect();
    remote.fetch(&wanted, &listed, &mut |_| Ok(false), progress)?;
    Ok(local::find(&remote.dir)?)
}

/// Finds the selection of the data set `repo` at `revision`, from the cache or from ModelScope; gives where its files lie, their names,
/// and where they may be unpacked.
pub(super) fn find_dataset(
    repo: &str,
    revision: &str,
    selection: &Selection,
    settings: &HubSettings,
    progress: &Progress,
) -> Tried<DataFiles> {
    let remote = Remote::new(repo, revision, "datasets", settings)?;
    let roots = vec![remote.beside(".unpacked")];
    let lists = remote.lists(selection);
    if let Some(names) = pictures::complete(&lists, &remote.dir) {
        return Ok(DataFiles::new(remote.dir, names, roots));
    }
    let listed = remote.list_dataset()?;
    let mut names = match native::description(repo).filter(|file| listed.contains_key(file)) {
        Some(file) => {
            remote.fetch(std::slice::from_ref(&file), &listed, &mut |_| Ok(false), progress)?;
            remote.native(&native::choose(&remote.dir.join(&file), selection, repo)?, &listed)?
        }
        None => told(pictures::choose(&listed.keys().cloned().collect(), selection, repo)?, progress),
    };
    let count = remote.fetch(&names, &listed, &mut packs::enough(selection), progress)?;
    names.truncate(count);
    pictures::note(&lists[0], &names)?;
    Ok(DataFiles::new(remote.dir, names, roots))
}

/// Finds `needed` files and those of `useful` that the model `repo` has at a revision, from the cache or from ModelScope;
/// gives the folder that they lie in.
pub fn find_files(
    (repo, revision): (&str, &str),
    needed: &[&str],
    useful: &[&str],
    settings: &HubSettings,
    progress: &Progress,
) -> Tried<PathBuf> {
    let remote = Remote::new(repo, revision, "models", settings)?;
    if layout::has_files(&remote.dir, needed) {
        return Ok(remote.dir);
    }
    let listed = remote.list_model()?;
    let wanted = layout::choose_files(&listed.keys().cloned().collect(), needed, useful)
        .map_err(|lacking| Error::input(format!("{repo} on ModelScope has no {lacking}")))?;
    remote.fetch(&wanted, &listed, &mut |_| Ok(false), progress)?;
    Ok(remote.dir)
}

/// Whether the cache holds these files, so that [`find_files`] asks nobody.
pub(super) fn has_files(repo: &str, revision: &str, needed: &[&str], settings: &HubSettings) -> bool {
    Remote::new(repo, revision, "models", settings).is_ok_and(|remote| layout::has_files(&remote.dir, needed))
}

/// Whether the cache holds all of the model, so that [`find_model`] asks nobody.
pub(super) fn has_model(repo: &str, revision: &str, settings: &HubSettings) -> bool {
    Remote::new(repo, revision, "models", settings).is_ok_and(|remote| local::find(&remote.dir).is_ok())
}

/// Whether the cache holds all of the data set, so that [`find_dataset`] asks nobody.
pub(super) fn has_dataset(repo: &str, revision: &str, selection: &Selection, settings: &HubSettings) -> bool {
    let remote = Remote::new(repo, revision, "datasets", settings);
    remote.is_ok_and(|remote| pictures::complete(&remote.lists(selection), &remote.dir).is_some())
}

/// One repository at one revision, here and there.
struct Remote<'a> {
    web: Web<'a>,
    repo: &'a str,
    revision: &'a str,
    /// `models` or `datasets`, in addresses and in the cache.
    kind: &'static str,
    /// Where its files go.
    dir: PathBuf,
}

/// Every answer of the API.
#[derive(Deserialize)]
struct Answer<T> {
    #[serde(rename = "Code")]
    code: i64,
    #[serde(rename = "Message", default)]
    message: Option<String>,
    #[serde(rename = "Data")]
    data: Option<T>,
}

#[derive(Deserialize)]
struct Files {
    #[serde(rename = "Files")]
    files: Option<Vec<Listed>>,
}

#[derive(Deserialize)]
struct DatasetId {
    #[serde(rename = "Id")]
    id: serde_json::Value,
}

/// One file as the listing describes it.
#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "Path")]
    path: String,
    #[serde(rename = "Type", default)]
    kind: String,
    #[serde(rename = "Size")]
    size: Option<u64>,
    #[serde(rename = "Sha256")]
    sha256: Option<String>,
}

type Listing = BTreeMap<String, Listed>;

impl<'a> Remote<'a> {
    fn new(repo: &'a str, revision: &'a str, kind: &'static str, settings: &'a HubSettings) -> Result<Self> {
        check_name(repo, revision)?;
        let Some((owner, name)) = repo.split_once('/') else {
            return Err(Error::input(format!("`{repo}` is not the name of a ModelScope repository"))
                .hint("write it as `owner/name`, such as AI-ModelScope/stable-diffusion-v1-5"));
        };
        let mut folder = name.replace('.', "___");
        if revision != "master" {
            folder = format!("{folder}@{}", encode(revision, ""));
        }
        let dir = settings.cache()?.join(kind).join(owner).join(folder);
        Ok(Self { web: Web::new(settings, repo), repo, revision, kind, dir })
    }

    /// Where it is noted which files are the selection, and which are more than that.
    fn lists(&self, selection: &Selection) -> [PathBuf; 2] {
        packs::list_names(selection).map(|part| self.beside(&format!("{part}.txt")))
    }

    /// A path for what this program keeps of this repository, outside the folder of its files.
    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.dir.file_name().unwrap_or_default().to_owned();
        name.push(ending);
        self.dir.parent().unwrap_or(Path::new("")).join(".tunelab").join(name)
    }

    fn base(&self) -> String {
        format!("{}/api/v1/{}", self.web.settings().endpoint, self.kind)
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, url: &str, what: &str) -> Tried<T> {
        let Answer { code, message, data } = self.web.json::<Answer<T>>(url, what)?;
        match data {
            Some(data) if code == 200 => Ok(data),
            _ => Err(Error::input(format!("ModelScope has no {what} of `{}`", self.repo))
                .cause(format!("it answered: {} (code {code})", message.unwrap_or_default()))
                .hint("check the spelling of the name and of the revision; a private repository needs MODELSCOPE_API_TOKEN")
                .into()),
        }
    }

    fn list_model(&self) -> Tried<Listing> {
        let revision = encode(self.revision, "");
        let url = format!("{}/{}/repo/files?Revision={revision}&Recursive=True", self.base(), self.repo);
        let Files { files } = self.ask(&url, &format!("files at revision `{}`", self.revision))?;
        Ok(listing(files.unwrap_or_default()))
    }

    fn list_dataset(&self) -> Tried<Listing> {
        let DatasetId { id } = self.ask(&format!("{}/{}", self.base(), self.repo), "description")?;
        let id = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let (revision, mut files) = (encode(self.revision, ""), Vec::new());
        for page in 1.. {
            let url = format!(
                "{}/{}/repo/tree?Revision={revision}&Root=%2F&Recursive=True&PageNumber={page}&PageSize={PAGE}",
                self.base(),
                encode(&id, "")
            );
            let answer: Files = self.ask(&url, &format!("files at revision `{}`", self.revision))?;
            let more = answer.files.unwrap_or_default();
            let last = more.len() < PAGE;
            files.extend(more);
            if last {
                break;
            }
        }
        Ok(listing(files))
    }

    /// The files of ModelScope's own layout: a table, and an archive or all of a folder.
    fn native(&self, [table, images]: &[String; 2], listed: &Listing) -> Result<Vec<String>> {
        let within = format!("{}/", images.trim_end_matches('/'));
        let of_images = |name: &&String| *name == images || name.starts_with(&within);
        let images_there: Vec<String> = listed.keys().filter(of_images).cloned().collect();
        match (listed.contains_key(table), images_there.is_empty()) {
            (true, false) => Ok([vec![table.clone()], images_there].concat()),
            (false, _) => Err(native::elsewhere(self.repo, table)),
            (true, true) => Err(native::elsewhere(self.repo, images)),
        }
    }

    /// Fetches the files in their order until there are `enough`; gives how many of them are here.
    fn fetch(
        &self,
        names: &[String],
        listed: &Listing,
        enough: &mut dyn FnMut(&Path) -> Result<bool>,
        progress: &Progress,
    ) -> Tried<usize> {
        for (index, name) in names.iter().enumerate() {
            let to = self.dir.join(name);
            if let Some(file) = listed.get(name).filter(|_| !to.is_file()) {
                self.fetch_file(name, file, &to, progress)?;
            }
            if name == layout::MODEL_INDEX {
                // A model of another kind shows before gigabytes have come.
                local::check_classes(&to)?;
            }
            if enough(&to)? {
                return Ok(index + 1);
            }
        }
        Ok(names.len())
    }

    fn fetch_file(&self, name: &str, file: &Listed, to: &Path, progress: &Progress) -> Tried<()> {
        let mut part = to.to_owned().into_os_string();
        part.push(".incomplete");
        let (revision, path) = (encode(self.revision, ""), encode(name, ""));
        let url = format!("{}/{}/repo?Revision={revision}&FilePath={path}", self.base(), self.repo);
        let sha256 = file.sha256.as_ref().map(|s| s.to_lowercase()).filter(|s| s.len() == 64);
        let wanted = Wanted { url: &url, name, part: Path::new(&part), to, size: file.size, sha256: sha256.as_deref() };
        fetch(&self.web, &wanted, progress)
    }
}

/// The files, without folders and without names that would leave the cache.
fn listing(files: Vec<Listed>) -> Listing {
    let kept = files.into_iter().filter(|f| f.kind != "tree" && stays_inside(&f.path));
    kept.map(|f| (f.path.clone(), f)).collect()
}
