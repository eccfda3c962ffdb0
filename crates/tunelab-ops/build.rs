//! With the feature `cuda`: compiles the CUDA kernels.
//!
//! In: `src/cuda/*.cu`, and from the environment `NVCC` or `CUDA_HOME`, `NVCC_CCBIN` and
//! `CUDA_COMPUTE_CAP`. Out: for each file one of PTX, which the driver compiles for the card at
//! hand.

#![expect(clippy::disallowed_methods, reason = "a build script without dependencies")]

use std::env::var_os;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

type Result<T> = std::result::Result<T, String>;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if var_os("CARGO_FEATURE_CUDA").is_some()
        && let Err(problem) = kernels()
    {
        eprintln!("tunelab-ops cannot be built with the feature `cuda`: {problem}");
        std::process::exit(1);
    }
}

/// Compiles all CUDA sources, each to PTX.
fn kernels() -> Result<()> {
    for name in ["NVCC", "NVCC_CCBIN", "CUDA_HOME", "CUDA_PATH", "CUDA_COMPUTE_CAP"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let folder = Path::new("src/cuda");
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
