//! Whether a file system's locks reach other machines.
//!
//! In: a path, and what Linux says of what is mounted. Out: whether it is a network file system that locks for this machine alone.

use std::path::Path;

/// Whether locks on this path are known to keep out this machine's processes only.
pub fn locks_are_local(path: &Path) -> bool {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    fs_err::canonicalize(path).is_ok_and(|path| are_local(&mounts, &path))
}

/// The mount that the path lies in is the one of the longest path, and of equal ones the last.
fn are_local(mounts: &str, path: &Path) -> bool {
    let parsed = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(4);
        // Spaces are written as octal numbers.
        let (point, options) = (before.next()?.replace("\\040", " "), before.next()?);
        let mut after = after.split(' ');
        let (kind, all) = (after.next()?, after.nth(1).unwrap_or_default());
        path.starts_with(&point).then(|| (point.len(), kind, format!("{options},{all}")))
    });
    let Some((_, kind, options)) = parsed.max_by_key(|(length, ..)| *length) else { return false };
    let has = |wanted: &[&str]| options.split(',').any(|option| wanted.contains(&option));
    match kind {
        kind if kind.starts_with("nfs") => has(&["nolock", "local_lock=all", "local_lock=flock"]),
        "lustre" => has(&["localflock", "noflock"]),
        "fuse.sshfs" => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_the_path_counts() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      40 22 0:50 / /home rw - nfs4 server:/home rw,vers=4.2,local_lock=none\n\
                      41 22 0:51 / /old rw - nfs server:/old rw,vers=3,nolock\n\
                      42 41 0:52 / /old/my\\040lab rw - lustre mgs:/lab rw,flock\n\
                      43 22 0:53 / /far rw - fuse.sshfs me@far: rw\n";
        let local = |path: &str| are_local(mounts, Path::new(path));
        for (path, wanted) in [
            ("/x", false),
            ("/home/a", false),
            ("/old/a", true),
            ("/old/my lab/a", false),
            ("/far", true),
            ("/older", false),
        ] {
            assert_eq!(local(path), wanted, "{path}");
        }
    }
}
