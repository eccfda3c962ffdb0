//! The bodies of this room's operations on CUDA cards.
//!
//! In and out: contiguous tensors of f32, bf16 or f16 on one card. Sums are f32 whatever the type
//! of the operands; the weights and biases of norms and the biases of convolutions are f32. The
//! kernels in `*.cu` are compiled to PTX by the build script, and by the driver for the card at
//! hand when one of a file is first used; convolutions are cuDNN's and products cuBLAS'.
//!
//! What is computed again and again is captured and launched as a whole ([`graph`]).
//!
//! Every sum has a fixed order, so results repeat to the last bit. `scripts/cuda_on_host.sh` runs
//! the kernels on the host, against references in f64.
//!
//! A device that was opened ([`card::open`]) has one stream, which does all its work in the order
//! in which it was given, memory freed included. So a tensor may be dropped as soon as the last
//! kernel that reads it has been launched, and a launch waits for nothing; who reads values back
//! does. A card that is opened twice has two streams, and neither knows of the other: tensors of
//! the one are not for operations with tensors of the other.

pub(super) mod activation;
pub(super) mod adamw;
mod algorithm;
pub(super) mod attention;
mod bias;
pub mod card;
pub(super) mod conv2d;
mod cudnn;
pub(super) mod elementwise;
pub(super) mod embedding;
pub(super) mod graph;
pub(super) mod group_norm;
pub(super) mod kinds;
pub(super) mod layer_norm;
pub(super) mod layout;
pub(super) mod linear;
pub(super) mod mean_squares;
mod node;
mod pointwise;
mod product;
pub(super) mod rounded;
pub(super) mod sum;

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg, sys,
};
use candle_core::cuda_backend::{CudaStorageSlice, DeviceId, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Result, Shape, Storage, Tensor, bail};
use kinds::Kind;
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;

/// Whether the bodies of this folder serve this tensor.
pub(super) fn supports(t: &Tensor) -> bool {
    t.device().is_cuda() && matches!(t.dtype(), DType::F32 | DType::BF16 | DType::F16)
}

/// Where values stand in a card's memory, for as long as their tensor is borrowed. A kernel may
/// write there.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Pointer<'t>(sys::CUdeviceptr, PhantomData<&'t ()>);

// SAFETY: it is the number that a kernel's pointer parameter takes.
#[expect(unsafe_code, reason = "a pointer as a kernel's argument")]
unsafe impl DeviceRepr for Pointer<'_> {}

impl Pointer<'_> {
    /// The address as a number.
    pub(super) fn address(self) -> sys::CUdeviceptr {
        self.0
    }

    /// The address of what stands so many bytes behind.
    #[must_use]
    pub(super) fn behind(self, bytes: usize) -> Self {
        Self(self.0 + bytes as sys::CUdeviceptr, PhantomData)
    }
}

/// Where the values of a contiguous tensor begin.
pub(super) fn pointer(t: &Tensor) -> Result<Pointer<'_>> {
    let (storage, layout) = t.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cuda(storage), Some((first, _))) => {
            Ok(Pointer(address(storage)?, PhantomData).behind(first * t.dtype().size_in_bytes()))
        }
        (Storage::Cuda(_), None) => bail!("operand is not contiguous"),
        _ => bail!("operand is not in a CUDA card's memory"),
    }
}

/// A tensor in another type, of which nothing is noted.
pub(super) fn cast(t: &Tensor, dtype: DType) -> Result<Tensor> {
    if t.dtype() == dtype {
        return Ok(t.clone());
    }
    match rounded::of(t, dtype)? {
        Some(rounded) => Ok(rounded),
        None => t.detach().to_dtype(dtype),
    }
}

/// The card of a tensor.
pub(super) fn device(t: &Tensor) -> Result<&CudaDevice> {
    t.device().as_cuda_device()
}

fn address(storage: &CudaStorage) -> Result<sys::CUdeviceptr> {
    let stream = storage.device().cuda_stream();
    // What the second half of each pair would do, other streams' waiting, is switched off: an
    // opened device has one stream.
    Ok(match &storage.slice {
        CudaStorageSlice::F32(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::BF16(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::F16(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::U32(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::U8(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::I64(s) => s.device_ptr(&stream).0,
        CudaStorageSlice::F64(s) => s.device_ptr(&stream).0,
        _ => bail!("operand is of a type that no kernel reads"),
    })
}

/// Memory for a result. Whoever makes one launches what writes all of it.
pub(super) struct Fresh {
    storage: CudaStorage,
    shape: Shape,
}

impl Fresh {
    /// Memory in which nothing has been written yet.
    #[expect(unsafe_code, reason = "memory that is not set first")]
    pub(super) fn new(device: &CudaDevice, dtype: DType, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        let n = shape.elem_count();
        // SAFETY: any bits are values of these types, and all of them are written before they are
        // read, as said above.
        let slice = unsafe {
            match dtype {
                DType::F32 => CudaStorageSlice::F32(device.alloc(n)?),
                DType::BF16 => CudaStorageSlice::BF16(device.alloc(n)?),
                DType::F16 => CudaStorageSlice::F16(device.alloc(n)?),
                DType::F64 => CudaStorageSlice::F64(device.alloc(n)?),
                _ => bail!("no kernel writes {dtype:?}"),
            }
        };
        Ok(Self { storage: CudaStorage { slice, device: device.clone() }, shape })
    }

    /// Memory like a tensor's: its card, its type and its shape.
    pub(super) fn like(t: &Tensor) -> Result<Self> {
        Self::new(device(t)?, t.dtype(), t.shape())
    }

    /// The type of its values.
    pub(super) fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// Where it begins.
    pub(super) fn pointer(&self) -> Result<Pointer<'_>> {
        Ok(Pointer(address(&self.storage)?, PhantomData))
    }

    /// As a tensor of which nothing is noted: a gradient, or something between two kernels.
    pub(super) fn tensor(self) -> Tensor {
        Tensor::from_storage(Storage::Cuda(self.storage), self.shape, BackpropOp::none(), false)
    }

    /// Its memory and its shape.
    fn into_parts(self) -> (CudaStorage, Shape) {
        (self.storage, self.shape)
    }
}

/// One file of kernels.
#[derive(Clone, Copy)]
pub(super) struct Source {
    pub(super) name: &'static str,
    pub(super) ptx: &'static str,
}

/// The file of kernels of this name.
macro_rules! source {
    ($name:literal) => {
        $crate::cuda::Source { name: $name, ptx: include_str!(concat!(env!("OUT_DIR"), "/", $name, ".ptx")) }
    };
}
use source;

/// What a kernel is given.
#[derive(Clone, Copy)]
pub(super) enum Argument<'t> {
    /// A pointer.
    Pointer(Pointer<'t>),
    /// An `int`.
    Int(i32),
    /// A `long long`.
    Long(i64),
    /// A `float`.
    Float(f32),
}

impl<'t> From<Pointer<'t>> for Argument<'t> {
    fn from(pointer: Pointer<'t>) -> Self {
        Self::Pointer(pointer)
    }
}

impl From<usize> for Argument<'_> {
    /// Sizes are `int`s in kernels; a number of values that may not fit is given as an `i64`.
    fn from(n: usize) -> Self {
        Self::Int(n as i32)
    }
}

impl From<i64> for Argument<'_> {
    fn from(n: i64) -> Self {
        Self::Long(n)
    }
}

impl From<f32> for Argument<'_> {
    fn from(x: f32) -> Self {
        Self::Float(x)
    }
}

/// The name of a kernel for values of this type.
pub(super) fn typed(name: &str, dtype: DType) -> String {
    let suffix = match dtype {
        DType::BF16 => "bf16",
        DType::F16 => "f16",
        _ => "f32",
    };
    format!("{name}_{suffix}")
}

/// Blocks of threads.
pub(super) fn blocks(grid: (usize, usize, usize), threads: (usize, usize), shared_bytes: usize) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (grid.0 as u32, grid.1 as u32, grid.2 as u32),
        block_dim: (threads.0 as u32, threads.1 as u32, 1),
        shared_mem_bytes: shared_bytes as u32,
    }
}

/// Blocks for a kernel whose threads share out `n` values among them, however many they are.
fn over(n: usize) -> LaunchConfig {
    blocks((n.div_ceil(1024).clamp(1, 2048), 1, 1), (256, 1), 0)
}

/// A number of values, as a `long long`.
fn long(n: usize) -> Argument<'static> {
    Argument::Long(n as i64)
}

/// No memory.
const NULL: Argument<'static> = Argument::Long(0);

/// Errors unless all are of one type.
fn of_one_type(tensors: &[&Tensor]) -> Result<()> {
    if tensors.windows(2).any(|pair| pair[0].dtype() != pair[1].dtype()) {
        bail!("operands of one type are needed, not {:?}", tensors.iter().map(|t| t.dtype()).collect::<Vec<_>>());
    }
    Ok(())
}

/// A tensor that a kernel reads beside another one, value by value: contiguous, and an error unless
/// it is of that one's type and shape.
fn like(t: &Tensor, other: &Tensor) -> Result<Tensor> {
    of_one_type(&[t, other])?;
    if t.dims() != other.dims() {
        bail!("tensors of one shape are needed, not {:?} and {:?}", t.dims(), other.dims());
    }
    t.contiguous()
}

/// Shared memory that a block may have without asking.
const SHARED_BYTES: u32 = 48 << 10;

thread_local! {
    static KERNELS: RefCell<HashMap<DeviceId, HashMap<String, CudaFunction>>> = RefCell::default();
    static WORKSPACE: RefCell<HashMap<DeviceId, CudaSlice<u8>>> = RefCell::default();
}

/// The address of at least so many bytes that a library may use until its next call: the device's
/// stream does one thing at a time. They stay for the next call, until [`forget_workspaces`].
#[expect(unsafe_code, reason = "memory that is not set first")]
fn workspace(device: &CudaDevice, bytes: usize) -> Result<sys::CUdeviceptr> {
    let stream = device.cuda_stream();
    WORKSPACE.with_borrow_mut(|all| {
        if all.get(&device.id()).is_none_or(|memory| memory.len() < bytes) {
            // The smaller one goes first.
            all.remove(&device.id());
            // SAFETY: nobody reads of it what was not written, and bytes have no wrong values.
            all.insert(device.id(), unsafe { device.alloc(bytes.max(1)) }?);
        }
        Ok(all.get(&device.id()).map_or(0, |memory| memory.device_ptr(&stream).0))
    })
}

/// Gives back the libraries' memory of all devices that this thread has opened, those that are
/// closed too; a call that needs some takes it anew. Waits until they are done with it.
fn forget_workspaces() -> Result<()> {
    for memory in WORKSPACE.take().into_values() {
        let stream = memory.stream().clone();
        drop(memory);
        stream.synchronize().w()?;
    }
    Ok(())
}

/// Launches a kernel.
///
/// # Safety
///
/// The arguments must be the kernel's parameters, in their order and of their types, and its blocks
/// must stay within the memory that the pointers among them stand for.
#[expect(unsafe_code, reason = "a kernel is not checked by the compiler")]
pub(super) unsafe fn launch<const N: usize>(
    device: &CudaDevice,
    source: Source,
    name: &str,
    over: LaunchConfig,
    arguments: [Argument<'_>; N],
) -> Result<()> {
    let kernel = kernel(device, source, name)?;
    if over.shared_mem_bytes > SHARED_BYTES {
        let most = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        kernel.set_attribute(most, over.shared_mem_bytes as i32).w()?;
    }
    let stream = device.cuda_stream();
    let mut launch = stream.launch_builder(&kernel);
    for argument in &arguments {
        match argument {
            Argument::Pointer(pointer) => launch.arg(pointer),
            Argument::Int(n) => launch.arg(n),
            Argument::Long(n) => launch.arg(n),
            Argument::Float(x) => launch.arg(x),
        };
    }
    kinds::launched(device, Kind::of_source(source.name), || {
        // SAFETY: as promised by the caller.
        unsafe { launch.launch(over) }.w()?;
        Ok(())
    })
}

fn kernel(device: &CudaDevice, source: Source, name: &str) -> Result<CudaFunction> {
    if let Some(known) = KERNELS.with_borrow(|all| all.get(&device.id())?.get(name).cloned()) {
        return Ok(known);
    }
    let kernel = device.get_or_load_custom_func(name, source.name, source.ptx)?.into_cuda_function();
    KERNELS.with_borrow_mut(|all| all.entry(device.id()).or_default().insert(name.to_owned(), kernel.clone()));
    Ok(kernel)
}
