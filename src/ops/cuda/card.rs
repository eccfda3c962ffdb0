//! A CUDA card: opened, and asked what it is.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{result, sys};
use candle_core::{Device, Result};

/// Opens card `n` with one stream.
#[expect(unsafe_code, reason = "the driver's switches for memory and events")]
pub fn open(n: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(n)?;
    let card = device.as_cuda_device()?;
    // SAFETY: there is no other stream whose work the events would order.
    unsafe { card.disable_event_tracking() };
    let stream = card.cuda_stream();
    if stream.context().has_async_alloc() {
        // Memory that was freed stays with this program: asking the driver for it again would cost more than a kernel.
        let mut kept = u64::MAX;
        // SAFETY: the attribute is a u64, as `kept` is, and the call does not keep the pointer.
        unsafe {
            let pool = result::device::get_default_mem_pool(stream.context().cu_device()).w()?;
            let threshold = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, threshold, (&raw mut kept).cast()).w()?;
        }
    }
    Ok(device)
}
