//! Which device computes: the user's choice against what this build and this machine have.
//!
//! In: `--device`, and the types that an experiment asks for. Out: a candle device, its name, why
//! it was taken, and how much of its memory is in use, how busy it is; errors say what is missing
//! and what to do. And how many threads compute on the CPU.

mod threads;
mod utilization;

use crate::cli::DeviceChoice;
use crate::config::{Dtype, Train};
use crate::error::{Error, Result};
use candle_core::Device;
pub use threads::Threads;
pub use utilization::GpuUtilization;

/// A device that was opened.
pub struct Opened {
    /// The device.
    pub device: Device,
    /// What was taken and why, where there was a choice.
    pub why: Option<String>,
}

/// The memory of a card, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardMemory {
    /// All of it.
    pub total: u64,
    /// What nobody else has.
    pub free: u64,
}

/// Opens the chosen device. `auto` takes the first GPU if this build supports one and it opens,
/// otherwise the CPU.
pub fn open(choice: DeviceChoice) -> Result<Opened> {
    let asked = |device: Result<Device>| Ok::<_, Error>(Opened { device: device?, why: None });
    let Opened { device, why } = match choice {
        DeviceChoice::Cuda(n) => asked(cuda(n)),
        DeviceChoice::Metal => asked(metal()),
        DeviceChoice::Auto if cfg!(feature = "cuda") => Ok(first(cuda(0))),
        DeviceChoice::Auto if cfg!(feature = "metal") => Ok(first(metal())),
        DeviceChoice::Auto | DeviceChoice::Cpu => asked(Ok(Device::Cpu)),
    }?;
    let said = [why, compiles(&device).then(|| COMPILES.to_owned())];
    Ok(Opened { device, why: said.into_iter().flatten().reduce(|why, compiles| format!("{why}; {compiles}")) })
}

/// Said where the first steps take longer than in a later run.
const COMPILES: &str = "compiling the kernels for this GPU (once): the first steps take up to a minute longer";

/// Whether the driver compiles the kernels when they are first used.
fn compiles(device: &Device) -> bool {
    #[cfg(feature = "cuda")]
    return device.is_cuda() && tunelab_ops::cuda::card::compiles();
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        false
    }
}

/// What a training gives away on this device, if it does.
pub fn advice(device: &Device, train: &Train) -> Option<&'static str> {
    (device.is_cuda() && train.dtype == Dtype::F32 && !train.tf32).then_some(F32_ON_CUDA)
}

/// Products of f32 run where a card has the fewest units, if they may not be rounded.
const F32_ON_CUDA: &str = "note: convolutions and products of f32 use none of the GPU's tensor cores: with train.dtype = \"bf16\" \
                           they do, and with train.tf32 = true, which rounds their operands to TF32";

/// The GPU if it opens, otherwise the CPU.
fn first(gpu: Result<Device>) -> Opened {
    let (device, why) = match gpu {
        Ok(device) => {
            let what = described(&device);
            (device, format!("computing on {what}: the first GPU of this machine"))
        }
        Err(error) => (Device::Cpu, format!("computing on the CPU: {}", error.line())),
    };
    Opened { device, why: Some(why) }
}

#[cfg(feature = "cuda")]
fn cuda(n: usize) -> Result<Device> {
    use tunelab_ops::cuda::card;
    // Where the driver's library is loaded at run time, its absence is a panic.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(|| card::open(n));
    std::panic::set_hook(hook);
    let cannot = || Error::input(format!("the CUDA device {n} cannot be opened"));
    match opened {
        Ok(Ok(device)) => Ok(device),
        Ok(Err(e)) => {
            let said = e.to_string();
            let said = said.lines().next().unwrap_or_default();
            Err(cannot().cause(said).hint(remedy(said)))
        }
        Err(_) => Err(cannot().cause("a library of CUDA's is not installed").hint(remedy("not found"))),
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize) -> Result<Device> {
    Err(Error::input("this build of tunelab has no CUDA")
        .hint("build it with `cargo build --release --features cuda`, or use --device cpu"))
}

/// What to do when the driver refuses in these words.
#[cfg(any(feature = "cuda", test))]
fn remedy(said: &str) -> &'static str {
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if says(&["OUT_OF_MEMORY"]) {
        "another program has the GPU's memory (see `nvidia-smi`): wait for it, choose another GPU with --device cuda:1, or use \
         --device cpu"
    } else if says(&["UNSUPPORTED_PTX_VERSION", "INSUFFICIENT_DRIVER", "DRIVER_MISMATCH"]) {
        "the driver is older than the CUDA toolkit that this build was made with: install a newer driver, build with an older \
         toolkit, or use --device cpu"
    } else if says(&["too old"]) {
        "take an NVIDIA GPU from Ampere (compute capability 8.0) on, or use --device cpu"
    } else if says(&["NO_BINARY_FOR_GPU", "INVALID_PTX"]) {
        "the GPU is older than what this build was made for: build with CUDA_COMPUTE_CAP=80 for all GPUs from Ampere on, or \
         use --device cpu"
    } else if says(&["NOT_INITIALIZED", "INITIALIZATION_FAILED", "ARCH_MISMATCH"]) {
        "cuBLAS, cuRAND and cuDNN must be where the loader finds them (LD_LIBRARY_PATH), or use --device cpu"
    } else {
        "see `nvidia-smi` for the driver and the GPUs; libcuda.so.1 is the driver's, or use --device cpu"
    }
}

fn metal() -> Result<Device> {
    if !cfg!(feature = "metal") {
        return Err(Error::input("this build of tunelab has no Metal")
            .hint("build it on a Mac with `cargo build --release --features metal`, or use --device cpu"));
    }
    Device::new_metal(0).map_err(|e| Error::input("the Metal device cannot be opened").cause(e))
}

/// `cpu`, `cuda:0` or `metal`.
pub fn name(device: &Device) -> String {
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu".to_owned(),
        candle_core::DeviceLocation::Cuda { gpu_id } => format!("cuda:{gpu_id}"),
        candle_core::DeviceLocation::Metal { .. } => "metal".to_owned(),
    }
}

/// The name, and of a CUDA device what it is.
fn described(device: &Device) -> String {
    let name = name(device);
    #[cfg(feature = "cuda")]
    if let Some(what) = tunelab_ops::cuda::card::described(device) {
        return format!("{name} ({what})");
    }
    name
}

/// Errors if this device does not compute with frozen weights of this type, or, where all weights
/// are trained, in it.
pub fn check_type(device: &Device, dtype: Dtype, trains_all: bool) -> Result<()> {
    let cpu = device.is_cpu();
    let problem = match dtype {
        _ if device.is_cuda() => return Ok(()),
        Dtype::F32 => return Ok(()),
        Dtype::Bf16 if cpu && !trains_all => return Ok(()),
        Dtype::Bf16 if cpu => {
            "bf16 on the CPU is for frozen weights, and full fine-tuning has none in the UNet".to_owned()
        }
        _ => format!("{dtype} is for CUDA devices"),
    };
    Err(Error::input(problem).hint(if cpu { "use f32, or a CUDA device" } else { "use f32, or --device cpu" }))
}

/// Errors if the device does not compute as the experiment asks, which may train all weights.
pub fn check(device: &Device, train: &Train, trains_all: bool) -> Result<()> {
    if train.tf32 && !device.is_cuda() {
        return Err(Error::input("train.tf32 is for CUDA devices").hint("leave it out, or use a CUDA device"));
    }
    check_type(device, train.dtype, trains_all)
        .map_err(|error| error.context(format!("train.dtype = \"{}\"", train.dtype)))
}

/// Prepares the device for an experiment: the type of products, and the count of its memory from
/// now on.
pub fn prepare(device: &Device, tf32: bool) {
    #[cfg(feature = "cuda")]
    if device.is_cuda() {
        tunelab_ops::cuda::card::allow_tf32(tf32);
        tunelab_ops::cuda::card::forget_peak(device);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = (device, tf32);
}

/// Runs `f`; if `yes`, a CUDA device may round operands of f32 to TF32 in it.
pub fn with_tf32<T>(yes: bool, f: impl FnOnce() -> T) -> T {
    #[cfg(feature = "cuda")]
    if yes {
        return tunelab_ops::cuda::card::with_tf32(f);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = yes;
    f()
}

/// Where and how products are computed, as far as it changes their last digits: part of the names
/// of what is kept for later runs. [`prepare`] comes before.
pub fn arithmetic(device: &Device) -> &'static str {
    #[cfg(feature = "cuda")]
    if device.is_cuda() && tunelab_ops::cuda::card::tf32() {
        return "cuda tf32";
    }
    match device.location() {
        candle_core::DeviceLocation::Cpu => "cpu",
        candle_core::DeviceLocation::Cuda { .. } => "cuda",
        candle_core::DeviceLocation::Metal { .. } => "metal",
    }
}

/// The memory that tensors have on a CUDA device now, and had at most since [`prepare`], MiB.
pub fn memory_mib(device: &Device) -> Option<[f64; 2]> {
    #[cfg(feature = "cuda")]
    return tunelab_ops::cuda::card::memory_mib(device);
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        None
    }
}

/// What a CUDA device has for this program.
pub fn card_memory(device: &Device) -> Option<CardMemory> {
    #[cfg(feature = "cuda")]
    return tunelab_ops::cuda::card::free_and_total(device).map(|[free, total]| CardMemory { total, free });
    #[cfg(not(feature = "cuda"))]
    {
        let _ = device;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_its_remedy() {
        let cases = [
            ("DriverError(CUDA_ERROR_NO_DEVICE, \"no CUDA-capable device is detected\")", "nvidia-smi"),
            ("DriverError(CUDA_ERROR_UNSUPPORTED_PTX_VERSION, \"…\")", "newer driver"),
            ("DriverError(CUDA_ERROR_NO_BINARY_FOR_GPU, \"…\")", "CUDA_COMPUTE_CAP=80"),
            ("DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", "--device cuda:1"),
            ("CublasError(CUBLAS_STATUS_NOT_INITIALIZED)", "LD_LIBRARY_PATH"),
        ];
        for (said, has) in cases {
            assert!(remedy(said).contains(has) && remedy(said).contains("--device cpu"), "{said}");
        }
    }
}
