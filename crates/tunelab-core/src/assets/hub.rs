//! Hugging Face repositories, kept in the same cache as Python's `huggingface_hub` keeps them.
//!
//! In: a repository and a revision. Out: the snapshot's folder, in which every file that is needed
//! lies whole. What the cache holds completely is used without a question to the network, so a
//! branch stays where it was when it first came; delete the repository's folder under `HF_HOME` to
//! follow it. The cache's layout is `hf_hub`'s; the transfers are ours, because its own (0.5) have
//! no time-outs and check no hash. As there, a file's size, `ETag` (the SHA-256 of large files) and
//! commit come from the headers of its `resolve` address, before any redirect to the storage.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use serde::Deserialize;
use ureq::Body;
use ureq::http::Response;

use super::data_files::{DataFiles, told};
use super::download::{Wanted, fetch};
use super::layout::{self, stays_inside};
use super::settings::HubSettings;
use super::wanted::{has_any, names_in};
use super::web::{Failed, Tried, Web, encode};
use super::{local, own, packs, pictures};
use crate::config::Selection;
use crate::error::{Error, Result};
use crate::pipeline::ModelFiles;
use crate::progress::Progress;

/// Finds the model `repo` at `revision`, from the cache or from the hub.
pub fn find_model(repo: &str, revision: &str, settings: &HubSettings, progress: &Progress) -> Tried<ModelFiles> {
    let remote = Remote::new(repo, revision, RepoType::Model, settings)?;
    let cached = remote.cached().map(|dir| local::find(&dir));
    if let Some(Ok(files)) = cached {
        return Ok(files);
    }
    let fetched =
        remote.fetch(|names| Ok(layout::choose(names, repo)?.all().cloned().collect()), &mut |_| Ok(false), progress);
    let (dir, _) = fetched.map_err(|failed| match cached {
        Some(Err(e)) if failed.unreachable => {
            Failed { error: failed.error.cause(format!("and the cache is not complete: {}", e.message())), ..failed }
        }
        _ => failed,
    })?;
    Ok(local::find(&dir)?)
}

/// Finds the selection of the data set `repo` at `revision`, from the cache or from the hub; gives where its files lie, their names, and
/// where they may be unpacked.
pub(super) fn find_dataset(
    repo: &str,
    revision: &str,
    selection: &Selection,
    settings: &HubSettings,
    progress: &Progress,
) -> Tried<DataFiles> {
    let remote = Remote::new(repo, revision, RepoType::Dataset, settings)?;
    let roots = vec![remote.folder.join(".tunelab")];
    if let Some((dir, names)) = remote.cached_dataset(selection) {
        let names = if let Some(names) = names {
            names
        } else {
            progress.warn(format!("{}: these files are taken as they are: {}", dir.display(), settings.silence()));
            told(pictures::choose(&names_in(&dir), selection, repo)?, progress)
        };
        return Ok(DataFiles::new(dir, names, roots));
    }
    let mut enough = packs::enough(selection);
    let (dir, names) =
        remote.fetch(|names| Ok(told(pictures::choose(names, selection, repo)?, progress)), &mut enough, progress)?;
    let [list, _] = remote.lists(&dir, selection);
    pictures::note(&list, &names)?;
    Ok(DataFiles::new(dir, names, roots))
}

/// Finds `needed` files and those of `useful` that the model `repo` has at `revision`, from the cache or from the hub; gives
/// the folder that they lie in.
pub fn find_files(
    repo: &str,
    revision: &str,
    needed: &[&str],
    useful: &[&str],
    settings: &HubSettings,
    progress: &Progress,
) -> Tried<PathBuf> {
    let remote = Remote::new(repo, revision, RepoType::Model, settings)?;
    if let Some(dir) = remote.cached().filter(|dir| layout::has_files(dir, needed)) {
        return Ok(dir);
    }
    let choose = |names: &BTreeSet<String>| {
        layout::choose_files(names, needed, useful)
            .map_err(|lacking| Error::input(format!("{repo} has no {lacking} at the revision {revision}")))
    };
    Ok(remote.fetch(choose, &mut |_| Ok(false), progress)?.0)
}

/// Whether the cache holds these files, so that [`find_files`] asks nobody.
pub(super) fn has_files(repo: &str, revision: &str, needed: &[&str], settings: &HubSettings) -> bool {
    let remote = Remote::new(repo, revision, RepoType::Model, settings);
    remote.is_ok_and(|remote| remote.cached().is_some_and(|dir| layout::has_files(&dir, needed)))
}

/// Whether the cache holds all of the model, so that [`find_model`] asks nobody.
pub(super) fn has_model(repo: &str, revision: &str, settings: &HubSettings) -> bool {
    let remote = Remote::new(repo, revision, RepoType::Model, settings);
    remote.is_ok_and(|remote| remote.cached().is_some_and(|dir| local::find(&dir).is_ok()))
}

/// Whether the cache holds all of the data set, so that [`find_dataset`] asks nobody.
pub(super) fn has_dataset(repo: &str, revision: &str, selection: &Selection, settings: &HubSettings) -> bool {
    let remote = Remote::new(repo, revision, RepoType::Dataset, settings);
    remote.is_ok_and(|remote| remote.cached_dataset(selection).is_some())
}

/// One repository at one revision, here and there.
struct Remote<'a> {
    name: &'a str,
    revision: &'a str,
    repo: Repo,
    folder: PathBuf,
    cache: CacheRepo,
    settings: &'a HubSettings,
}

/// The hub's description of a repository.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
}

/// What the hub says of one file.
struct Stated {
    commit: Option<String>,
    etag: String,
    size: Option<u64>,
}

impl<'a> Remote<'a> {
    fn new(name: &'a str, revision: &'a str, kind: RepoType, settings: &'a HubSettings) -> Result<Self> {
        check_name(name, revision)?;
        let repo = Repo::with_revision(name.to_owned(), kind, revision.to_owned());
        let root = settings.cache()?.to_owned();
        let folder = root.join(repo.folder_name());
        Ok(Self { name, revision, cache: Cache::new(root).repo(repo.clone()), repo, folder, settings })
    }

    /// The snapshot that the cache holds for the revision: a branch's or tag's, or the commit
    /// itself.
    fn cached(&self) -> Option<PathBuf> {
        let reference = fs_err::read_to_string(self.folder.join("refs").join(self.revision)).ok();
        let commit = reference.as_deref().map_or(self.revision, str::trim);
        let dir = self.cache.pointer_path(commit);
        (is_plain(commit) && dir.is_dir()).then_some(dir)
    }

    /// The data set's snapshot, if every file of the selection is there, and their names. What another program fetched has no list of
    /// them: it is taken where nobody may be asked for one.
    fn cached_dataset(&self, selection: &Selection) -> Option<(PathBuf, Option<Vec<String>>)> {
        let dir = self.cached()?;
        let names = pictures::complete(&self.lists(&dir, selection), &dir);
        let is_taken = names.is_some() || self.settings.offline.is_some() && has_any(&dir);
        is_taken.then_some((dir, names))
    }

    /// Where it is noted which files of a data set's snapshot are the selection, and which are more than that.
    fn lists(&self, snapshot: &Path, selection: &Selection) -> [PathBuf; 2] {
        let commit = snapshot.file_name().unwrap_or_default().to_string_lossy();
        packs::list_names(selection).map(|part| self.folder.join(".tunelab").join(format!("{commit}{part}.txt")))
    }

    /// Fetches the files that `choose` takes from the listing, in their order until there are `enough`; gives the snapshot's folder
    /// and their names.
    fn fetch(
        &self,
        choose: impl FnOnce(&BTreeSet<String>) -> Result<Vec<String>>,
        enough: &mut dyn FnMut(&Path) -> Result<bool>,
        progress: &Progress,
    ) -> Tried<(PathBuf, Vec<String>)> {
        let web = Web::new(self.settings, self.name);
        let url = format!("{}/api/{}", self.settings.endpoint, self.repo.api_url());
        let listing: Listing = web.json(&url, &format!("revision `{}`", self.revision))?;
        if !is_plain(&listing.sha) {
            return Err(strange(self.name, &listing.sha).into());
        }
        let names = listing.siblings.into_iter().map(|s| s.rfilename).filter(|n| stays_inside(n)).collect();
        let mut wanted = choose(&names)?;
        let snapshot = self.cache.pointer_path(&listing.sha);
        self.settings.make_dir(&snapshot)?;
        let mut count = 0;
        for name in &wanted {
            count += 1;
            if !snapshot.join(name).is_file() {
                self.fetch_file(&web, name, &listing.sha, &snapshot, progress)?;
            }
            if name == layout::MODEL_INDEX {
                // A model of another kind shows before gigabytes have come.
                local::check_classes(&snapshot.join(name))?;
            }
            if enough(&snapshot.join(name))? {
                break;
            }
        }
        wanted.truncate(count);
        self.cache.create_ref(&listing.sha).map_err(Error::from)?;
        Ok((snapshot, wanted))
    }

    fn fetch_file(&self, web: &Web<'_>, name: &str, commit: &str, snapshot: &Path, progress: &Progress) -> Tried<()> {
        let (endpoint, repo) = (&self.settings.endpoint, self.repo.url());
        let url = format!("{endpoint}/{repo}/resolve/{}/{}", self.repo.url_revision(), encode(name, "/"));
        let stated = stated(web, &url, name)?;
        if stated.commit.as_deref().is_some_and(|c| c != commit) {
            return Err(Error::run(format!("{}: the repository was changed while it was downloaded", self.name))
                .hint("run the same command again")
                .into());
        }
        let blob = self.cache.blob_path(&stated.etag);
        if !blob.is_file() {
            let part = blob.with_file_name(format!("{}.incomplete", stated.etag));
            let is_sha256 = stated.etag.len() == 64 && stated.etag.bytes().all(|b| b.is_ascii_hexdigit());
            let sha256 = is_sha256.then_some(stated.etag.as_str());
            let wanted = Wanted { url: &url, name, part: &part, to: &blob, size: stated.size, sha256 };
            fetch(web, &wanted, progress)?;
        }
        Ok(link(&blob, snapshot, name)?)
    }
}

/// Reads a file's headers: relative redirects are followed, the one to the storage only where the
/// size is still unknown.
fn stated(web: &Web<'_>, url: &str, name: &str) -> Tried<Stated> {
    let mut response = first_byte(web, url, name)?;
    for _ in 0..5 {
        let Some(path) = header(&response, "location").filter(|l| l.starts_with('/') && !l.starts_with("//")) else {
            break;
        };
        let origin = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        response = first_byte(web, &format!("{origin}{path}"), name)?;
    }
    let etag = header(&response, "x-linked-etag").or_else(|| header(&response, "etag"));
    let etag = etag.map(|e| e.trim_start_matches("W/").trim_matches('"').to_owned());
    let Some(etag) = etag.filter(|e| is_plain(e)) else {
        return Err(Error::run(format!("{url}: the answer names no ETag, so this is no Hugging Face hub"))
            .hint(format!("is {} right?", web.settings().hub.endpoint_variable()))
            .into());
    };
    let commit = header(&response, "x-repo-commit").map(str::to_owned);
    let mut size = header(&response, "x-linked-size").and_then(|s| s.parse().ok()).or_else(|| content_range(&response));
    if let (None, Some(storage)) = (size, header(&response, "location").map(str::to_owned)) {
        response = web.get(&storage, Some("bytes=0-0".to_owned()), true)?;
        web.check(&response, name)?;
        size = content_range(&response);
    }
    Ok(Stated { commit, etag, size })
}

/// A request for one byte, whose answer's headers describe the whole file.
fn first_byte(web: &Web<'_>, url: &str, name: &str) -> Tried<Response<Body>> {
    let response = web.get(url, Some("bytes=0-0".to_owned()), false)?;
    // An empty file has no first byte; its headers come all the same.
    if response.status() != 416 {
        web.check(&response, name)?;
    }
    Ok(response)
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// The whole file's size: after the slash of `Content-Range`, or the length of an answer that
/// ignored the `Range`.
fn content_range(response: &Response<Body>) -> Option<u64> {
    match header(response, "content-range") {
        Some(range) => range.rsplit('/').next()?.parse().ok(),
        None if response.status() == 200 => header(response, "content-length")?.parse().ok(),
        None => None,
    }
}

/// Gives a blob its name in the snapshot, as a link with a relative path so that the cache can be
/// moved.
fn link(blob: &Path, snapshot: &Path, name: &str) -> Result<()> {
    let pointer = snapshot.join(name);
    if let Some(parent) = pointer.parent() {
        fs_err::create_dir_all(parent)?;
    }
    #[cfg(unix)]
    {
        let up = "../".repeat(name.split('/').count() + 1);
        let target = Path::new(&up).join("blobs").join(blob.file_name().unwrap_or_default());
        let (own, ()) = own::beside(&pointer, |own| fs_err::os::unix::fs::symlink(&target, own))?;
        Ok(own::rename(&own, &pointer, Ok(()))?)
    }
    #[cfg(not(unix))]
    {
        let (own, _) = own::beside(&pointer, own::new_file)?;
        let written = fs_err::copy(blob, &own).map(drop);
        Ok(own::rename(&own, &pointer, written)?)
    }
}

/// Whether a commit or `ETag` can be the name of a file.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !name.starts_with('.')
}

fn strange(repo: &str, commit: &str) -> Error {
    Error::run(format!("{repo}: the hub names `{commit}` as the commit, which cannot be one"))
}

/// Checks a repository's and a revision's name before they become part of addresses and paths.
pub(super) fn check_name(repo: &str, revision: &str) -> Result<()> {
    let parts: Vec<_> = repo.split('/').collect();
    if parts.len() > 2 || !parts.iter().all(|p| is_plain(p)) {
        return Err(Error::input(format!("`{repo}` is not the name of a repository"))
            .hint("write it as `owner/name`; a folder on this machine goes under `path`"));
    }
    if !stays_inside(revision) {
        return Err(Error::input(format!("`{revision}` is not the name of a revision")));
    }
    Ok(())
}
