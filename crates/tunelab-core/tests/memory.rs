//! How many large tensors live at once while a picture goes through the VAE.

use candle_core::{DType, Device, Tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tunelab_core::model::build::{Build, Trainable};
use tunelab_core::model::vae::{Vae, VaeConfig};

/// The system's allocator, which counts bytes: those in use, and the most of them.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "a global allocator hands out memory")]
// SAFETY: all blocks are the system allocator's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(in_use, Relaxed);
        // SAFETY: the layout is not empty, says the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the block is the system allocator's and of this layout, says the caller.
        unsafe { System.dealloc(address, layout) }
    }
}

/// The most bytes that `f` had in use, beyond those at its begin.
fn most(f: impl FnOnce()) -> usize {
    let before = IN_USE.load(Relaxed);
    MOST.store(before, Relaxed);
    f();
    MOST.load(Relaxed) - before
}

/// A residual block needs its x and two more: what is convolved and the result, or that and its sum with x.
#[test]
fn a_residual_block_has_three_large_tensors() {
    // Each thread has buffers of its own, which many would make too large beside the tensors.
    rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap().install(three_large_tensors);
}

fn three_large_tensors() {
    let config = VaeConfig {
        in_channels: 3,
        out_channels: 3,
        latent_channels: 4,
        block_out_channels: vec![32, 32],
        layers_per_block: 2,
        norm_num_groups: 8,
        scaling_factor: 0.18215,
        mid_block_add_attention: false,
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    let (vae, _) = Vae::new(&config, Build::untrained(Trainable::None, 1, &Device::Cpu)).unwrap();
    let picture = Tensor::zeros((1, 3, 512, 512), DType::F32, &Device::Cpu).unwrap();
    let large = 32 * 512 * 512 * size_of::<f32>();
    // The buffers of the convolutions stay, and are there from the first time on.
    let encode = || drop(vae.encode(&picture).unwrap());
    encode();
    let pictures = most(encode) as f64 / large as f64;
    eprintln!("{pictures}");
    assert!((2.9..3.5).contains(&pictures), "{pictures:.2} pictures of 32 channels while encoding");
    let latents = Tensor::zeros((1, 4, 256, 256), DType::F32, &Device::Cpu).unwrap();
    let decode = || drop(vae.decode(&latents).unwrap());
    decode();
    let pictures = most(decode) as f64 / large as f64;
    eprintln!("{pictures}");
    assert!((2.9..3.5).contains(&pictures), "{pictures:.2} pictures of 32 channels while decoding");
}
