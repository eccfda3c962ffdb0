//! A CUDA card: opened, asked what and which it is, and how much of its memory is in use.
//!
//! In: a card's number, or a device. Out: a device, or what the driver says of it.

use crate::cuda::{bias, forget_workspaces};
use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{CudaDevice, Device, Result, Tensor, bail};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Whether products and convolutions of f32 may round their operands to TF32. A switch of the
/// libraries, as candle's is: it is set once, before anything is computed.
static TF32: AtomicBool = AtomicBool::new(false);

/// Lets products and convolutions of f32 be computed in TF32, or not (as it is at first).
pub fn allow_tf32(yes: bool) {
    TF32.store(yes, Ordering::Relaxed);
    candle_core::cuda::set_gemm_reduced_precision_f32(yes);
}

thread_local! {
    /// Whether what this thread computes now may use TF32, whatever the switch says.
    static TF32_HERE: Cell<bool> = const { Cell::new(false) };
}

/// Whether they may.
pub fn tf32() -> bool {
    TF32.load(Ordering::Relaxed) || TF32_HERE.get()
}

/// Runs `f`, in which our products and convolutions of f32 may be computed in TF32.
pub fn with_tf32<T>(f: impl FnOnce() -> T) -> T {
    /// As it was before, also where `f` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            TF32_HERE.set(self.0);
        }
    }
    let _before = Before(TF32_HERE.replace(true));
    f()
}

/// The oldest compute capability that the kernels are for: Ampere's.
const OLDEST: (i32, i32) = (8, 0);
const MIB: f64 = 1024.0 * 1024.0;

/// Opens card `n` with one stream, and has it compute something: that shows whether driver, card
/// and this build fit together.
#[expect(unsafe_code, reason = "the driver's switch for events")]
pub fn open(n: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(n)?;
    let card = device.as_cuda_device()?;
    let (major, minor) = card.cuda_stream().context().compute_capability().w()?;
    if (major, minor) < OLDEST {
        bail!("the GPU is too old: it has compute capability {major}.{minor}, and {}.{} is needed", OLDEST.0, OLDEST.1);
    }
    // SAFETY: what belongs to this device is used on its one stream only, whose work needs no
    // events to be in order.
    unsafe { card.disable_event_tracking() };
    // Memory that was freed stays with this program: asking the driver for it again would cost more
    // than a kernel.
    pool(card, Pool::Keep);
    let begun = Instant::now();
    let sums = bias::sum_rows(&Tensor::new(&[[1.0f32, 2.0], [3.0, 4.0]], &device)?, 2)?.to_vec1::<f32>()?;
    if sums != [4.0, 6.0] {
        bail!("the GPU computes {sums:?} where [4, 6] is right");
    }
    COMPILES.store(begun.elapsed() > KEPT, Ordering::Relaxed);
    Ok(device)
}

/// The first kernel of a card is there sooner than this if the driver has kept what it compiled of
/// it for an earlier process.
const KEPT: Duration = Duration::from_millis(150);
static COMPILES: AtomicBool = AtomicBool::new(false);

/// Whether the driver compiles the kernels for the card that was opened last, each when it is first
/// used. It keeps them for later processes.
pub fn compiles() -> bool {
    COMPILES.load(Ordering::Relaxed)
}

/// Its name, compute capability and memory.
pub fn described(device: &Device) -> Option<String> {
    let stream = device.as_cuda_device().ok()?.cuda_stream();
    let context = stream.context();
    let (major, minor) = context.compute_capability().ok()?;
    let gib = context.total_mem().ok()? as f64 / MIB / 1024.0;
    Some(format!("{}, compute capability {major}.{minor}, {gib:.0} GiB", context.name().ok()?))
}

/// Which card it is, as the driver's tools name it: `GPU-` and 32 hexadecimal digits in groups.
pub fn uuid(device: &Device) -> Option<String> {
    let uuid = device.as_cuda_device().ok()?.cuda_stream().context().uuid().ok()?;
    let digits = format!("{:032x}", u128::from_be_bytes(uuid.bytes.map(|byte| byte as u8)));
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| digits[group].to_owned());
    Some(format!("GPU-{}", groups.join("-")))
}

/// The memory that this program may still take and all there is, in bytes. What its own tensors
/// have left in their pool is free.
pub fn free_and_total(device: &Device) -> Option<[u64; 2]> {
    let card = device.as_cuda_device().ok()?;
    let (free, total) = card.cuda_stream().context().mem_get_info().ok()?;
    let left = match (pool(card, Pool::Reserved), pool(card, Pool::Used)) {
        (Some(reserved), Some(used)) => reserved.saturating_sub(used),
        _ => 0,
    };
    Some([free as u64 + left, total as u64])
}

/// The memory that tensors have now, and had at most since [`forget_peak`], MiB, that of graphs
/// included. What the driver and the libraries keep for themselves is not in it.
pub fn memory_mib(device: &Device) -> Option<[f64; 2]> {
    let card = device.as_cuda_device().ok()?;
    let now = pool(card, Pool::Used)? + of_graphs(card);
    Some([now, most_since_settled(card)?.max(MOST_BEFORE.load(Ordering::Relaxed))].map(|bytes| bytes as f64 / MIB))
}

/// The most memory that was in use before graphs were made or given back for the last time, bytes.
/// The pool and the graphs each count their own most; the sum of the two is right as long as the
/// graphs stay as they are.
static MOST_BEFORE: AtomicU64 = AtomicU64::new(0);

fn most_since_settled(card: &CudaDevice) -> Option<u64> {
    Some(pool(card, Pool::MostUsed)? + of_graphs(card))
}

/// Notes the most memory so far and begins the pool's count anew: before graphs are made or given
/// back.
pub(super) fn settle(card: &CudaDevice) {
    MOST_BEFORE.fetch_max(most_since_settled(card).unwrap_or(0), Ordering::Relaxed);
    pool(card, Pool::Forget);
}

/// The memory of all graphs, bytes.
#[expect(unsafe_code, reason = "the driver's call for it")]
fn of_graphs(card: &CudaDevice) -> u64 {
    let mut value = 0u64;
    let used = sys::CUgraphMem_attribute::CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT;
    // SAFETY: the device is open; the attribute is a u64, as `value` is, and the call does not keep
    // its address.
    let said = unsafe {
        sys::cuDeviceGetGraphMemAttribute(card.cuda_stream().context().cu_device(), used, (&raw mut value).cast())
    };
    if said == sys::CUresult::CUDA_SUCCESS { value } else { 0 }
}

/// Gives the driver back what neither tensors nor graphs use, so that the one can have what the
/// other had.
#[expect(unsafe_code, reason = "the driver's calls for it")]
pub(super) fn trim(card: &CudaDevice) {
    let stream = card.cuda_stream();
    // Memory that is freed when work is done can be had back when it is done. What fails here shows
    // at the next launch.
    let _ = stream.synchronize();
    // SAFETY: the device is open, and nothing that is in use is given back.
    unsafe {
        let device = stream.context().cu_device();
        if let Ok(pool) = result::device::get_default_mem_pool(device) {
            let _ = result::mem_pool::trim_to(pool, 0);
        }
        let _ = sys::cuDeviceGraphMemTrim(device);
    }
}

/// Begins the count of the most memory anew. The card's pool supports all that this process has
/// opened, so what earlier work left with the libraries goes first.
pub fn forget_peak(device: &Device) {
    if let Ok(card) = device.as_cuda_device() {
        // What cannot be given back is counted, and the fault shows at the next launch.
        let _ = forget_workspaces();
        pool(card, Pool::Forget);
        MOST_BEFORE.store(0, Ordering::Relaxed);
    }
}

/// What is asked of the pool that tensors' memory comes from.
#[derive(Clone, Copy)]
enum Pool {
    Keep,
    Reserved,
    Used,
    MostUsed,
    Forget,
}

/// The answer; nothing where the driver has no pool.
#[expect(unsafe_code, reason = "the driver's calls for its pool")]
fn pool(card: &CudaDevice, asked: Pool) -> Option<u64> {
    use sys::CUmemPool_attribute as Is;
    let stream = card.cuda_stream();
    if !stream.context().has_async_alloc() {
        return None;
    }
    let mut value = if matches!(asked, Pool::Keep) { u64::MAX } else { 0 };
    // SAFETY: the device is open; all five attributes are a u64, as `value` is, and the calls do
    // not keep its address.
    unsafe {
        let pool = result::device::get_default_mem_pool(stream.context().cu_device()).ok()?;
        let at = (&raw mut value).cast();
        match asked {
            Pool::Keep => result::mem_pool::set_attribute(pool, Is::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, at),
            Pool::Forget => result::mem_pool::set_attribute(pool, Is::CU_MEMPOOL_ATTR_USED_MEM_HIGH, at),
            Pool::Reserved => result::mem_pool::get_attribute(pool, Is::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, at),
            Pool::Used => result::mem_pool::get_attribute(pool, Is::CU_MEMPOOL_ATTR_USED_MEM_CURRENT, at),
            Pool::MostUsed => result::mem_pool::get_attribute(pool, Is::CU_MEMPOOL_ATTR_USED_MEM_HIGH, at),
        }
        .ok()?;
    }
    Some(value)
}
