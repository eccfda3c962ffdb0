//! Which device computes: the user's choice against what this build and this machine have.
//!
//! In: `--device`. Out: a candle device and its name; errors say what is missing and what to do.

use crate::cli::DeviceChoice;
use crate::error::{Error, Result};
use candle_core::Device;

/// Opens the chosen device. `auto` takes the first GPU if this build supports one and it opens, otherwise the CPU.
pub fn open(choice: DeviceChoice) -> Result<Device> {
    match choice {
        DeviceChoice::Cuda(n) => cuda(n),
        DeviceChoice::Metal => metal(),
        DeviceChoice::Auto if cfg!(feature = "cuda") => Ok(cuda(0).unwrap_or(Device::Cpu)),
        DeviceChoice::Auto if cfg!(feature = "metal") => Ok(metal().unwrap_or(Device::Cpu)),
        DeviceChoice::Auto | DeviceChoice::Cpu => Ok(Device::Cpu),
    }
}

fn cuda(n: usize) -> Result<Device> {
    if !cfg!(feature = "cuda") {
        return Err(Error::input("this build of tunelab has no CUDA")
            .hint("build it with `cargo build --release --features cuda`, or use --device cpu"));
    }
    Device::new_cuda(n).map_err(|e| {
        Error::input(format!("the CUDA device {n} cannot be opened"))
            .cause(e)
            .hint("see `nvidia-smi` for the driver and the devices, or use --device cpu")
    })
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
