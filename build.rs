//! Tells the crate which commit, compiler and crate versions it was built from, for `run.json`; and, with the feature `cuda`,
//! compiles its kernels.
//!
//! In: `.git` beside the manifest (a folder, or a work tree's pointer file), `Cargo.lock`, `rustc --version`. Out: the
//! environment variables `TUNELAB_COMMIT`, `TUNELAB_RUSTC` and `TUNELAB_CRATES`. Needs no git program; what cannot be
//! found (a source archive has no `.git`) is left out and never stops a build.
//!
//! In: `src/ops/cuda/*.cu`, and from the environment `NVCC` or `CUDA_HOME`, `NVCC_CCBIN` and `CUDA_COMPUTE_CAP`. Out: for each
//! file one of PTX, which the driver compiles for the card at hand.

#![expect(
    clippy::disallowed_methods,
    reason = "a build script without dependencies; a file that is not there is no error"
)]

use std::env::var_os;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, String>;

/// The crates whose versions can change a run's numbers.
const RECORDED: [&str; 5] = ["candle-core", "candle-nn", "gemm", "safetensors", "tokenizers"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.lock");
    for (name, value) in [("COMMIT", commit()), ("RUSTC", rustc()), ("CRATES", crates())] {
        if let Some(value) = value {
            println!("cargo:rustc-env=TUNELAB_{name}={value}");
        }
    }
    if var_os("CARGO_FEATURE_CUDA").is_some()
        && let Err(problem) = kernels()
    {
        eprintln!("tunelab cannot be built with the feature `cuda`: {problem}");
        std::process::exit(1);
    }
}

/// Compiles all CUDA sources, each to PTX.
fn kernels() -> Result<()> {
    for name in ["NVCC", "NVCC_CCBIN", "CUDA_HOME", "CUDA_PATH", "CUDA_COMPUTE_CAP"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let folder = Path::new("src/ops/cuda");
    println!("cargo:rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    let sources: Vec<&PathBuf> = files.iter().filter(|path| path.extension().is_some_and(|e| e == "cu")).collect();
    for path in files.iter().filter(|path| path.extension().is_some_and(|e| e == "cu" || e == "cuh")) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    let (nvcc, capability) = (nvcc(), capability()?);
    let out = PathBuf::from(var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    sources.into_iter().try_for_each(|source| compile(&nvcc, &capability, source, &out))
}

fn nvcc() -> PathBuf {
    let home = ["CUDA_HOME", "CUDA_PATH"].into_iter().find_map(var_os);
    let in_home = home.map(|home| Path::new(&home).join("bin/nvcc")).filter(|nvcc| nvcc.is_file());
    var_os("NVCC").map(PathBuf::from).or(in_home).unwrap_or_else(|| PathBuf::from("nvcc"))
}

/// The compute capability to compile for, as two digits: what is set, or the first card's.
fn capability() -> Result<String> {
    let remedy =
        "set CUDA_COMPUTE_CAP to the card's compute capability without the dot: 80 serves all cards from Ampere on";
    let given = match var_os("CUDA_COMPUTE_CAP") {
        Some(given) => given.to_string_lossy().into_owned(),
        None => Command::new("nvidia-smi")
            .args(["--query-gpu=compute_cap", "--format=csv,noheader"])
            .output()
            .ok()
            .filter(|output| output.status.success())
            .and_then(|output| Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned()))
            .ok_or(format!("nvidia-smi does not name a card; {remedy}"))?,
    };
    let digits: String = given.chars().filter(char::is_ascii_digit).collect();
    match digits.parse::<u32>() {
        Ok(80..) => Ok(digits),
        Ok(_) => Err(format!("compute capability {given} is too low, the kernels need 8.0 (Ampere) or later")),
        Err(_) => Err(format!("the compute capability `{given}` is no number; {remedy}")),
    }
}

fn compile(nvcc: &Path, capability: &str, source: &Path, out: &Path) -> Result<()> {
    let ptx = out.join(source.with_extension("ptx").file_name().ok_or("a source without a name")?);
    let mut command = Command::new(nvcc);
    command.args(["--ptx", "-O3", "-std=c++17", &format!("-arch=compute_{capability}"), "-o"]).arg(ptx);
    if let Some(compiler) = var_os("NVCC_CCBIN") {
        command.arg("-ccbin").arg(compiler);
    }
    let output = command.arg(source).output().map_err(|e| {
        format!(
            "{} cannot be run ({e}); set CUDA_HOME to the CUDA toolkit's folder, or NVCC to its compiler",
            nvcc.display()
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Err(format!("{} does not compile {}:\n{said}", nvcc.display(), source.display()))
}

/// The commit that is checked out.
fn commit() -> Option<String> {
    let git = git_folder()?;
    let head = watched(&git.join("HEAD"))?;
    // HEAD names a branch and stays the same when that branch moves; its log does not.
    watched(&git.join("logs/HEAD"));
    let Some(branch) = head.strip_prefix("ref: ") else { return Some(head) };
    // A work tree keeps HEAD for itself; its branches are in the main repository's folder.
    let common = watched(&git.join("commondir")).map_or_else(|| git.clone(), |path| git.join(path));
    watched(&common.join(branch)).or_else(|| {
        let packed = watched(&common.join("packed-refs"))?;
        packed.lines().find_map(|line| Some(line.strip_suffix(branch)?.trim().to_string()))
    })
}

fn git_folder() -> Option<PathBuf> {
    let git = Path::new(".git");
    if git.is_dir() {
        return Some(git.to_path_buf());
    }
    Some(PathBuf::from(watched(git)?.strip_prefix("gitdir: ")?))
}

/// The trimmed text of a file that is there; the build script runs again when it changes.
fn watched(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    println!("cargo:rerun-if-changed={}", path.display());
    Some(text.trim().to_string())
}

fn rustc() -> Option<String> {
    let output = Command::new(std::env::var_os("RUSTC")?).arg("--version").output().ok()?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string())
}

/// `name version` of each recorded crate in Cargo.lock, separated by commas.
fn crates() -> Option<String> {
    let lock = fs::read_to_string("Cargo.lock").ok()?;
    let found = RECORDED.iter().filter_map(|name| {
        let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("name = \"{name}\"\n")))?;
        let version = entry.lines().find_map(|line| line.strip_prefix("version = \""))?.strip_suffix('"')?;
        Some(format!("{name} {version}"))
    });
    Some(found.collect::<Vec<_>>().join(","))
}
