//! A folder with a few pictures and an experiment on the small model, and the binary run in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// The experiment `a.toml`: six steps on three pictures, two prompts.
const EXPERIMENT: &str = "\
seed = 7
dataset = { path = 'dog', prompt = 'a dog', resolution = 64 }
adapter.lora = { rank = 2, alpha = 3 }
train = { steps = 6, learning_rate = 1e-3 }
eval = { prompts = ['a dog', 'a cat'], steps = 4, every = 2, seed = 5 }
metrics.encoders = []
";

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

pub struct World(TempDir);

/// What the binary said.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        let said = Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) };
        for word in ["panicked", "a fault in tunelab", "\x1b", "RUST_BACKTRACE"] {
            assert!(!said.err.contains(word) && !said.out.contains(word), "{word}: {}", said.err);
        }
        said
    }
}

impl World {
    pub fn new() -> Self {
        let world = Self(tempfile::tempdir().expect("a temporary folder"));
        fs_err::create_dir(world.path("dog")).expect("writable");
        for name in ["rgb.png", "progressive.jpg", "lossy.webp"] {
            fs_err::copy(fixture("resize/formats").join(name), world.path("dog").join(name)).expect("writable");
        }
        world.write("a.toml", format!("model.path = '{}'\n{EXPERIMENT}", fixture("model").display()));
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs_err::write(self.path(name), bytes).expect("writable");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs_err::read(self.path(name)).expect("it is there")
    }

    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("UTF-8")
    }

    /// A copy of the small model, to be broken.
    pub fn model(&self) -> PathBuf {
        let target = self.path("model");
        if !target.exists() {
            copy(&fixture("model"), &target);
        }
        target
    }

    /// The binary in this folder, with nothing of the user's environment: no home, no terminal. Every
    /// column of its tables has room.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tunelab"));
        command.args(args).current_dir(self.0.path()).env_clear().env("COLUMNS", "300").stdin(Stdio::null());
        command
    }

    pub fn tunelab(&self, args: &[&str]) -> Said {
        self.command(args).output().expect("the binary starts").into()
    }

    /// Runs what must come to its end.
    pub fn done(&self, args: &[&str]) -> Said {
        let said = self.tunelab(args);
        assert_eq!(said.code, Some(0), "{args:?}: {}", said.err);
        said
    }

    /// Runs what must be refused with exit code 2, a message that has all `parts`, and nothing on stdout.
    pub fn refused(&self, args: &[&str], parts: &[&str]) -> Said {
        let said = self.tunelab(args);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{args:?}: {}", said.err);
        said.has(parts);
        said
    }
}

impl Said {
    /// The message has all these parts.
    pub fn has(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in:\n{}", self.err);
        }
    }
}

/// Every file below `root`, by its path with `/`, in order.
pub fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, folder: &Path, found: &mut Vec<String>) {
        for entry in fs_err::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let relative = path.strip_prefix(root).expect("below").iter().map(|p| p.to_string_lossy());
                found.push(relative.collect::<Vec<_>>().join("/"));
            }
        }
    }
    let mut found = Vec::new();
    if root.exists() {
        walk(root, root, &mut found);
    }
    found.sort();
    found
}

pub fn copy(from: &Path, to: &Path) {
    for name in tree(from) {
        let target = to.join(&name);
        fs_err::create_dir_all(target.parent().expect("a folder")).expect("writable");
        fs_err::copy(from.join(&name), target).expect("writable");
    }
}
