//! One file from a hub to a folder: taken up where it broke, its size and hash checked before it
//! gets its name.
//!
//! In: an address, the size and SHA-256 that the hub states. Out: the file under its final name, or
//! an error; what has come so far stays in a file beside it that the next attempt, or the next run,
//! goes on with (after a killed process only where the file system has locks).

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs_err::{File, OpenOptions};
use ureq::Body;
use ureq::http::Response;

use super::own;
use super::web::{Tried, Web};
use crate::error::{Error, Result};
use crate::hash::sha256_of_reader;
use crate::interrupt;
use crate::lock::Locked;
use crate::progress::Progress;

/// Bytes that are read at once.
const BLOCK: usize = 1 << 18;

/// One file to fetch.
pub(super) struct Wanted<'a> {
    pub url: &'a str,
    /// Its name in the repository, for the bar and for messages.
    pub name: &'a str,
    /// Where the bytes gather.
    pub part: &'a Path,
    /// Where the whole file goes.
    pub to: &'a Path,
    pub size: Option<u64>,
    /// Lower-case hexadecimal.
    pub sha256: Option<&'a str>,
}

/// Fetches one file; broken transfers are taken up again as often as the settings say.
pub(super) fn fetch(web: &Web<'_>, wanted: &Wanted<'_>, progress: &Progress) -> Tried<()> {
    for dir in [wanted.part, wanted.to].into_iter().filter_map(|p| p.parent()) {
        web.settings().make_dir(dir)?;
    }
    let Some((mut part, path)) = open_part(web, wanted)? else { return Ok(()) };
    let fetched = fill(web, &Wanted { part: &path, ..*wanted }, &mut part.file, progress);
    if fetched.is_err() && wanted.to.is_file() {
        // Another process, that no lock kept out, was first.
        let _ = fs_err::remove_file(&path);
        return Ok(());
    }
    if fetched.is_err() && !part.held {
        // For the next that goes on with it; a damaged one is gone.
        let _ = fs_err::rename(&path, wanted.part);
    }
    fetched
}

/// Gives the part file all its bytes, and then its name.
fn fill(web: &Web<'_>, wanted: &Wanted<'_>, part: &mut File, progress: &Progress) -> Tried<()> {
    let mut attempt = 0;
    while let Err(failed) = transfer(web, wanted, part, progress) {
        if !failed.unreachable || attempt == web.settings().retries {
            return Err(failed);
        }
        interrupt::check_process()?;
        let pause = Duration::from_millis(500 << attempt.min(4));
        attempt += 1;
        progress.line(format!("{}: the transfer broke, going on in {} s", wanted.name, pause.as_secs_f32()));
        std::thread::sleep(pause);
    }
    verify(wanted, part)?;
    fs_err::rename(wanted.part, wanted.to).map_err(Error::from)?;
    Ok(())
}

/// One attempt: writes what is missing of the part file.
fn transfer(web: &Web<'_>, wanted: &Wanted<'_>, out: &mut File, progress: &Progress) -> Tried<()> {
    let mut have = length(out)?;
    if wanted.size.is_some_and(|size| have > size) {
        // It cannot be the beginning of this file.
        have = cut(out)?;
    }
    if wanted.size == Some(have) {
        return Ok(());
    }
    let range = (have > 0).then(|| format!("bytes={have}-"));
    let response = web.get(wanted.url, range, true)?;
    if response.status() == 416 {
        cut(out)?;
        return Err(web.unreachable(&format!("{}: it does not continue this file; starting it again", wanted.name)));
    }
    web.check(&response, wanted.name)?;
    let start = start(&response);
    if start != have {
        have = cut(out)?;
    }
    if start != have {
        return Err(web.unreachable(&format!("{}: it sends another part of the file than was asked for", wanted.name)));
    }
    let total = total(wanted, &response, have)?;
    out.seek(SeekFrom::Start(have)).map_err(Error::from)?;
    receive(web, wanted, response, out, have..total, progress)
}

/// Opens the part file, which must be ours alone until it has its name: two writers would mix their
/// bytes. `None` if the whole file is there by now. Where there are no locks, it gets a name that
/// only we know, and whoever renames it first has it.
fn open_part(web: &Web<'_>, wanted: &Wanted<'_>) -> Result<Option<(Locked, PathBuf)>> {
    let part = wanted.part;
    let unwritable = |e: io::Error| {
        Error::from(e).hint(format!("set {} to a folder that can be written", web.settings().hub.cache_variable()))
    };
    let locked = Locked::open(part);
    if wanted.to.is_file() {
        if let Ok(Some(_)) = locked {
            // Another process may have made and removed it, too.
            let _ = fs_err::remove_file(part);
        }
        return Ok(None);
    }
    match locked.map_err(unwritable)? {
        Some(locked) if locked.held => Ok(Some((locked, part.to_owned()))),
        Some(_) => {
            let (path, _) = own::beside(wanted.to, own::new_file).map_err(unwritable)?;
            // Where another process was first, the new file it is.
            let _ = fs_err::rename(part, &path);
            let file = OpenOptions::new().read(true).write(true).open(&path)?;
            Ok(Some((Locked { file, held: false }, path)))
        }
        None => Err(Error::run(format!("{}: another process is downloading this file", part.display()))
            .hint("wait until it is done, then run the same command again")),
    }
}

fn length(file: &File) -> Result<u64> {
    Ok(file.metadata()?.len())
}

/// Empties the part file; gives its new length.
fn cut(file: &File) -> Result<u64> {
    file.set_len(0)?;
    Ok(0)
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// Where in the file the response begins: servers may ignore a `Range`.
fn start(response: &Response<Body>) -> u64 {
    if response.status() != 206 {
        return 0;
    }
    let range = header(response, "content-range").and_then(|r| r.strip_prefix("bytes "));
    range.and_then(|r| r.split('-').next()?.parse().ok()).unwrap_or(u64::MAX)
}

/// The whole file's size: as the hub stated it, and what the response says must agree.
fn total(wanted: &Wanted<'_>, response: &Response<Body>, have: u64) -> Result<u64> {
    let rest = header(response, "content-length").and_then(|n| n.parse::<u64>().ok());
    let sent = rest.map(|n| n.saturating_add(have));
    match (wanted.size, sent) {
        (Some(size), Some(sent)) if size != sent => {
            // What lies in the part file may belong to either.
            let _ = fs_err::remove_file(wanted.part);
            Err(Error::run(format!("{}: the hub states {size} bytes, but {sent} are sent", wanted.name)).hint(
                "run the same command again; if it happens again, the mirror or a proxy between changes the files",
            ))
        }
        (size, sent) => Ok(size.or(sent).unwrap_or(u64::MAX)),
    }
}

fn receive(
    web: &Web<'_>,
    wanted: &Wanted<'_>,
    response: Response<Body>,
    out: &mut File,
    range: std::ops::Range<u64>,
    progress: &Progress,
) -> Tried<()> {
    let known = range.end != u64::MAX;
    let bar = progress.bytes(wanted.name, if known { range.end } else { 0 });
    bar.skip(range.start);
    let mut have = range.start;
    let mut body = response.into_body().into_reader();
    let mut block = vec![0; BLOCK];
    loop {
        interrupt::check_process()?;
        let n = body.read(&mut block).map_err(|e| web.unreachable(&broke(wanted, have, &range, &e.to_string())))?;
        if n == 0 {
            break;
        }
        out.write_all(&block[..n]).map_err(Error::from)?;
        have += n as u64;
        bar.inc(n as u64);
    }
    if known && have < range.end {
        return Err(web.unreachable(&broke(wanted, have, &range, "the connection was closed")));
    }
    out.sync_all().map_err(Error::from)?;
    bar.finish();
    Ok(())
}

fn broke(wanted: &Wanted<'_>, have: u64, range: &std::ops::Range<u64>, why: &str) -> String {
    match range.end {
        u64::MAX => format!("{}: broke off after {have} bytes: {why}", wanted.name),
        total => format!("{}: broke off after {have} of {total} bytes: {why}", wanted.name),
    }
}

/// Checks size and hash of the part file; a wrong one is deleted, since going on from it can never
/// end well. It is read through the handle that is locked: on some file systems no other can read
/// it.
fn verify(wanted: &Wanted<'_>, part: &mut File) -> Result<()> {
    let size = length(part)?;
    let wrong = if wanted.size.is_some_and(|s| s != size) {
        Some(format!("it has {size} bytes instead of {}", wanted.size.unwrap_or_default()))
    } else if let Some(expected) = wanted.sha256 {
        part.rewind()?;
        let found = sha256_of_reader(part)?;
        (found != expected).then(|| format!("its SHA-256 is {found}, the hub states {expected}"))
    } else {
        None
    };
    let Some(wrong) = wrong else { return Ok(()) };
    fs_err::remove_file(wanted.part)?;
    Err(Error::run(format!("{}: the download is damaged: {wrong}", wanted.name))
        .hint("it was deleted; run the same command again; if it happens again, the mirror or a proxy between changes the files"))
}
