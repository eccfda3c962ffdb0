//! Names that no other process takes, for what is renamed when it is whole.
//!
//! In: a folder, or a path in it, and what makes a file or a link where there was none. Out: a
//! hidden name there, and what was made.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};

/// As [`within`], in the folder of `path`.
pub(super) fn beside<T>(path: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    within(path.parent().unwrap_or(Path::new("")), make)
}

/// Makes something under a new name in `folder`; `make` must fail where there is something of that
/// name.
pub(super) fn within<T>(folder: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<(PathBuf, T)> {
    let mut number = 0;
    loop {
        let own = folder.join(format!(".tunelab-{}-{number}.tmp", std::process::id()));
        match make(&own) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
            made => return Ok((own, made?)),
        }
    }
}

/// A new file, to be written and read.
pub(super) fn new_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).open(path)
}

/// Gives what lies at `own` the name `path`, once `written` says that it is whole; removes it
/// otherwise.
pub(super) fn rename(own: &Path, path: &Path, written: io::Result<()>) -> io::Result<()> {
    let renamed = written.and_then(|()| fs_err::rename(own, path));
    if renamed.is_err() {
        // The first error is the one to tell.
        let _ = fs_err::remove_file(own);
    }
    renamed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_new_and_what_fails_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let [(first, _), (second, _)] = [(); 2].map(|()| beside(&path, new_file).unwrap());
        assert_ne!(first, second);
        assert!([&first, &second].map(|own| own.parent()) == [path.parent(); 2]);
        rename(&first, &path, Ok(())).unwrap();
        rename(&second, &path, Err(ErrorKind::StorageFull.into())).unwrap_err();
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1, "the file alone");
        assert!(beside(&folder.path().join("none/file"), new_file).is_err());
    }
}
