//! The computer that a run used, as far as it can be told without special rights.
//!
//! In: `/proc`, `/etc/os-release`, the processor's own feature bits, `nvidia-smi` where there is
//! one; `sysctl` on macOS and the environment on Windows. Out: [`Machine`], and the memory this
//! process has in use. What cannot be found is left out.

use std::process::Command;

use fs_err as fs;
use serde::{Deserialize, Serialize};

/// The computer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The operating system's name and release.
    pub os: String,
    /// The kernel's release.
    pub kernel: Option<String>,
    /// The instruction set's name.
    pub arch: String,
    /// The processor's name.
    pub cpu: Option<String>,
    /// The processor's features that fast arithmetic uses.
    pub cpu_features: Vec<String>,
    /// The set of instructions that the kernels used on the CPU; records of earlier versions lack it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simd: Option<String>,
    /// Logical processors that this process may use.
    pub cores: usize,
    /// The computer's memory, MiB.
    pub memory_mib: Option<f64>,
    /// NVIDIA's graphics processors; empty where there is none.
    pub gpus: Vec<Gpu>,
}

/// One graphics processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// Its name.
    pub name: String,
    /// The driver's version.
    pub driver: Option<String>,
    /// The newest CUDA version that the driver serves.
    pub cuda: Option<String>,
    /// Its memory, MiB.
    pub memory_mib: Option<f64>,
}

impl Machine {
    /// NVIDIA's graphics processors of this computer; empty where there is none.
    pub fn cards() -> Vec<Gpu> {
        gpus()
    }

    /// Looks at this computer. Starts `nvidia-smi` where there is one, so it may take a second.
    pub fn detect() -> Self {
        Self {
            os: os_name(),
            kernel: first_line("/proc/sys/kernel/osrelease").or_else(|| output("uname", &["-r"])),
            arch: std::env::consts::ARCH.to_string(),
            cpu: cpu_name(),
            cpu_features: cpu_features(),
            simd: Some(tunelab_ops::simd::current().to_string()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: total_memory_mib(),
            gpus: gpus(),
        }
    }
}

/// All memory of this computer, and what a program could have of it now, MiB (Linux).
pub fn memory_mib() -> Option<[f64; 2]> {
    let of = |key| kib_field("/proc/meminfo", key);
    Some([of("MemTotal")?, of("MemAvailable")?])
}

/// The memory that this process has in use now, MiB (Linux).
pub fn memory_now_mib() -> Option<f64> {
    kib_field("/proc/self/status", "VmRSS")
}

/// The most memory that this process has had in use, MiB (Linux).
pub fn peak_memory_mib() -> Option<f64> {
    kib_field("/proc/self/status", "VmHWM")
}

/// Begins the count of [`peak_memory_mib`] anew, so that each of several experiments has its own
/// (Linux; elsewhere nothing).
pub fn reset_peak_rss() {
    // Where the kernel does not allow it, the peak is that of all experiments so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn os_name() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let pretty = field(&release, "PRETTY_NAME", '=').map(|name| name.trim_matches('"').to_string());
    let mac = || output("sw_vers", &["-productVersion"]).map(|version| format!("macOS {version}"));
    pretty.or_else(mac).unwrap_or_else(|| std::env::consts::OS.to_string())
}

fn cpu_name() -> Option<String> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&cpuinfo, "model name", ':')
        .or_else(|| output("sysctl", &["-n", "machdep.cpu.brand_string"]))
        .or_else(|| std::env::var("PROCESSOR_IDENTIFIER").ok())
}

/// Asks the processor for each feature by name.
macro_rules! detected {
    ($ask:ident: $($name:tt)*) => {{
        let mut found = Vec::new();
        $(if std::arch::$ask!($name) { found.push($name.to_string()); })*
        found
    }};
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<String> {
    detected!(is_x86_feature_detected: "sse4.2" "avx" "avx2" "fma" "f16c" "avx512f" "avx512bw" "avx512vl" "avx512bf16" "avx512vnni")
}

#[cfg(target_arch = "aarch64")]
fn cpu_features() -> Vec<String> {
    detected!(is_aarch64_feature_detected: "neon" "dotprod" "fp16" "bf16" "i8mm" "sve")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn cpu_features() -> Vec<String> {
    Vec::new()
}

fn total_memory_mib() -> Option<f64> {
    let mac = || Some(output("sysctl", &["-n", "hw.memsize"])?.parse::<f64>().ok()? / 1024.0 / 1024.0);
    kib_field("/proc/meminfo", "MemTotal").or_else(mac)
}

fn gpus() -> Vec<Gpu> {
    let query = ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader,nounits"];
    let Some(list) = output("nvidia-smi", &query) else { return Vec::new() };
    let cuda = output("nvidia-smi", &[]).as_deref().and_then(driver_cuda);
    list.lines().filter_map(|line| gpu(line, cuda.as_deref())).collect()
}

/// One line of `nvidia-smi`: name, driver, MiB.
fn gpu(line: &str, cuda: Option<&str>) -> Option<Gpu> {
    let mut cells = line.split(", ").map(str::trim);
    let name = cells.next().filter(|name| !name.is_empty())?.to_string();
    let driver = cells.next().map(str::to_string);
    let memory_mib = cells.next().and_then(|mib| mib.parse().ok());
    Some(Gpu { name, driver, cuda: cuda.map(str::to_string), memory_mib })
}

/// The version in the head of `nvidia-smi`'s table.
fn driver_cuda(table: &str) -> Option<String> {
    let (_, rest) = table.split_once("CUDA Version:")?;
    rest.split_whitespace().next().map(str::to_string)
}

/// What a program prints, where it exists and succeeds.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_string();
    (output.status.success() && !text.is_empty()).then_some(text)
}

fn first_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.lines().next().map(|line| line.trim().to_string())
}

/// The value of the first line that begins with `key`.
fn field(text: &str, key: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().to_string())
    })
}

/// A field of a `/proc` file that counts KiB, as MiB.
fn kib_field(path: &str, key: &str) -> Option<f64> {
    let kib = field(&fs::read_to_string(path).ok()?, key, ':')?;
    Some(kib.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
