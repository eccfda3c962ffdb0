//! A file that says who has something, for file systems whose locks cannot be relied on.
//!
//! In: a path. Out: the file there, made by nobody else (`O_EXCL`, which network file systems keep), with host, process and a count
//! in it that grows every [`BEAT`]; or the word that another has it. Whoever does not grow it for [`DEAD`] by the file server's own
//! clock has died; so has a process of this machine that is not there any more. Of those that find it dead, one can make the file
//! that says who comes after it; that one looks at the dead one's file again and renames its own over it, so that there is always
//! one in its place. An owner that finds another's file there has lost what it had, and is told so.

use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fs_err as fs;

/// Between two signs of life.
pub const BEAT: Duration = Duration::from_secs(15);
/// Without one for so long an owner is dead: longer than any client keeps a file's time for itself, and than a node that is only
/// slow, or whose server is, is silent.
pub const DEAD: Duration = Duration::from_mins(3);

/// Another is kept out while it lives.
#[derive(Debug)]
pub struct Owner {
    path: PathBuf,
    name: String,
    /// Dropped, it ends the signs of life.
    stop: Option<Sender<()>>,
    beats: Option<JoinHandle<()>>,
}

impl Owner {
    /// Takes what the file stands for; `None` if another has it. `lost` is called if it is taken away, as from a machine that was
    /// asleep.
    ///
    /// # Errors
    /// The file cannot be made or read.
    pub fn take(path: &Path, lost: impl FnOnce() + Send + 'static) -> io::Result<Option<Self>> {
        Self::take_with(path, [BEAT, DEAD], lost)
    }

    fn take_with(
        path: &Path,
        [beat, dead]: [Duration; 2],
        lost: impl FnOnce() + Send + 'static,
    ) -> io::Result<Option<Self>> {
        let name = format!("{} {} {}", place(), process::id(), now().as_nanos());
        if !make(path, &name)? {
            let Some(left) = read(path)? else { return Ok(None) };
            if !is_dead(path, &left, dead)? || !replace(path, &left, &name, dead)? {
                return Ok(None);
            }
        }
        let (stop, stopped) = mpsc::channel();
        let (file, own) = (path.to_path_buf(), name.clone());
        let live = move || {
            let mut count = 1u64;
            while stopped.recv_timeout(beat) == Err(RecvTimeoutError::Timeout) {
                // A server that is away for a moment takes nothing from anybody.
                if sign(&file, &own, count).is_ok_and(|is_ours| !is_ours) {
                    lost();
                    return;
                }
                count += 1;
            }
        };
        let beats = thread::Builder::new().name("owner".into()).spawn(live)?;
        Ok(Some(Self { path: path.to_path_buf(), name, stop: Some(stop), beats: Some(beats) }))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(beats) = self.beats.take() {
            // It cannot have panicked in a way that matters here.
            let _ = beats.join();
        }
        if read(&self.path).is_ok_and(|left| left.is_some_and(|left| is_of(&left, &self.name))) {
            // What stays is dead, and soon known to be.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the file; whether it was not there.
fn make(path: &Path, name: &str) -> io::Result<bool> {
    match fs::OpenOptions::new().create_new(true).write(true).open(path) {
        Ok(mut file) => {
            file.write_all(line(name, 0).as_bytes())?;
            file.sync_all()?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// Always as long, so that it is written over in place.
fn line(name: &str, count: u64) -> String {
    format!("{name} {count:020}\n")
}

/// Whether a file's text is one of this owner's; one that was just made may be empty yet.
fn is_of(text: &str, name: &str) -> bool {
    text.strip_prefix(name).is_some_and(|rest| rest.starts_with(' '))
}

/// A sign of life; whether the file is still this owner's.
fn sign(path: &Path, name: &str, count: u64) -> io::Result<bool> {
    let mut file = match fs::OpenOptions::new().read(true).write(true).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    if !is_of(&text, name) {
        return Ok(false);
    }
    file.rewind()?;
    file.write_all(line(name, count).as_bytes())?;
    file.sync_all()?;
    Ok(true)
}

/// `None` where there is none any more.
fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Whether the owner that left this gives no sign of life any more.
fn is_dead(path: &Path, left: &str, dead: Duration) -> io::Result<bool> {
    let mut words = left.split_whitespace();
    if words.next() == Some(&place())
        && let Some(process) = words.next().and_then(|word| word.parse::<u32>().ok())
        && Path::new("/proc/self").exists()
    {
        return Ok(!Path::new("/proc").join(process.to_string()).exists());
    }
    // A file of our own has the server's time of now.
    let probe = path.with_extension(format!("probe-{}-{}", process::id(), now().as_nanos()));
    fs::write(&probe, "?")?;
    let times = fs::metadata(&probe).and_then(|probe| probe.modified()).and_then(|now| {
        let last = fs::File::open(path)?.metadata()?.modified()?;
        Ok(now.duration_since(last).unwrap_or_default())
    });
    fs::remove_file(&probe)?;
    match times {
        Ok(silent) => Ok(silent > dead),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Puts `name` in the place of a dead owner, whose file's text was `left`; whether it was this one that did.
fn replace(path: &Path, left: &str, name: &str, dead: Duration) -> io::Result<bool> {
    let dead_name = left.rsplit_once(' ').map_or("", |(name, _)| name);
    let successor = path.with_extension(format!("after-{}", dead_name.replace([' ', '/', '.'], "-")));
    if !make(&successor, name)? {
        // Another is about to, or died over it: then one comes after that one by the same rule.
        let Some(other) = read(&successor)? else { return Ok(false) };
        if !is_dead(&successor, &other, dead)? || !replace(&successor, &other, name, dead)? {
            return Ok(false);
        }
    }
    // While the successor's file is there, nobody else replaces this dead one's; before, somebody may have.
    let is_there = read(path)?.as_deref() == Some(left) && is_dead(path, left, dead)?;
    if is_there {
        fs::rename(&successor, path)?;
    } else {
        fs::remove_file(&successor)?;
    }
    Ok(is_there)
}

/// This machine since it was started, and the space in which its processes have their numbers: one word.
fn place() -> String {
    let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let host = Some(line("/proc/sys/kernel/hostname")).filter(|host| !host.is_empty());
    let host = host.or_else(|| std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME")).ok());
    let space = fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string()).unwrap_or_default();
    let boot = line("/proc/sys/kernel/random/boot_id");
    format!("{}/{boot}/{space}", host.unwrap_or_else(|| "unknown".to_owned())).replace(char::is_whitespace, "_")
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const PACE: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(200)];

    #[test]
    fn one_at_a_time_and_who_ends_frees_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.owner");
        let take = || Owner::take_with(&path, PACE, || panic!("not lost")).unwrap();
        let held = take().unwrap();
        assert!(take().is_none());
        thread::sleep(Duration::from_millis(50));
        assert!(fs::read_to_string(&path).unwrap().trim_end().rsplit_once(' ').unwrap().1.parse::<u64>().unwrap() > 0);
        assert!(take().is_none(), "a process that lives keeps it, however silent");
        drop(held);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(take().is_some());
    }

    #[test]
    fn a_dead_process_of_this_machine_and_a_silent_one_of_another_free_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.owner");
        let take = || Owner::take_with(&path, PACE, || ()).unwrap();
        // No process has this number.
        fs::write(&path, line(&format!("{} 4294967295 1", place()), 3)).unwrap();
        drop(take().unwrap());
        fs::write(&path, line("another/boot/ 1 1", 3)).unwrap();
        assert!(take().is_none(), "it has just given a sign");
        thread::sleep(Duration::from_millis(300));
        drop(take().unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays");
    }

    #[test]
    fn of_many_that_find_a_dead_one_one_takes_it() {
        for round in 0..60 {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.owner");
            let dead = format!("{} 4294967295 1", place());
            fs::write(&path, line(&dead, 3)).unwrap();
            if round % 2 == 1 {
                // Who came after it died before it was done.
                let successor = path.with_extension(format!("after-{}", dead.replace([' ', '/', '.'], "-")));
                fs::write(successor, line(&format!("{} 4294967295 2", place()), 0)).unwrap();
            }
            let lost = || panic!("it is nobody else's");
            let taken: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Owner::take_with(&path, PACE, lost))).collect();
                threads.into_iter().filter_map(|thread| thread.join().unwrap().unwrap()).collect()
            });
            assert_eq!(taken.len(), 1, "{taken:?}");
            assert!(is_of(&fs::read_to_string(&path).unwrap(), &taken[0].name));
            drop(taken);
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing stays");
        }
    }

    #[test]
    fn who_finds_anothers_file_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.owner");
        let told = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&told);
        let lost = move || {
            count.fetch_add(1, Ordering::Relaxed);
        };
        let held = Owner::take_with(&path, PACE, lost).unwrap().unwrap();
        let others = line("another/boot/ 1 1", 3);
        fs::write(&path, &others).unwrap();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(told.load(Ordering::Relaxed), 1);
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), others, "it is left alone");
    }
}
