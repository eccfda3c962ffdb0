//! 1x1 convolutions as products of cuBLASLt.
//!
//! In: tensors of one card. Out: fresh memory with y, dx or dW.
//!
//! A sample's image is a matrix [channels, pixels] as it lies, so y = W x and dx = Wᵀ dy are a
//! product a sample, and all of them one call. cuDNN would bring image, weight and result into
//! another layout and back, for what takes as long as that.

use crate::cuda::product::{Batch, Plus, Product, product, products};
use crate::cuda::{Fresh, device, pointer};
use crate::shapes::ConvShape;
use candle_core::{DType, Result, Tensor};

/// y of x and W, all of this type.
#[expect(unsafe_code, reason = "a product of device memory")]
pub(super) fn forward(g: &ConvShape, dtype: DType, x: &Tensor, weight: &Tensor) -> Result<Fresh> {
    let (o, c, pixels) = (g.o, g.c, g.pixels_in());
    let y = Fresh::new(device(x)?, dtype, g.result())?;
    let of = Product {
        batch: Batch { n: g.batch, a: 0, b: c * pixels, d: o * pixels },
        a_transposed: false,
        b_transposed: false,
        ..Product::of(dtype, [o, pixels, c])
    };
    // SAFETY: W is [o, c], x [batch, c, pixels] and y [batch, o, pixels], all of this type.
    unsafe { products(device(x)?, of, [pointer(weight)?, pointer(x)?, y.pointer()?], 1.0, None) }?;
    Ok(y)
}

/// dx of dy and W, all of this type.
#[expect(unsafe_code, reason = "a product of device memory")]
pub(super) fn backward_x(g: &ConvShape, dtype: DType, dy: &Tensor, weight: &Tensor) -> Result<Fresh> {
    let (o, c, pixels) = (g.o, g.c, g.pixels_in());
    let dx = Fresh::new(device(dy)?, dtype, (g.batch, c, g.h, g.w))?;
    let of = Product {
        batch: Batch { n: g.batch, a: 0, b: o * pixels, d: c * pixels },
        a_transposed: true,
        b_transposed: false,
        ..Product::of(dtype, [c, pixels, o])
    };
    // SAFETY: W is [o, c], dy [batch, o, pixels] and dx [batch, c, pixels], all of this type.
    unsafe { products(device(dy)?, of, [pointer(weight)?, pointer(dy)?, dx.pointer()?], 1.0, None) }?;
    Ok(dx)
}

/// dW of x and dy of this type, in f32 or theirs: the samples' one onto the other, in their order.
#[expect(unsafe_code, reason = "a product of device memory")]
pub(super) fn backward_weight(g: &ConvShape, dtype: DType, x: &Tensor, dy: &Tensor, of_dw: DType) -> Result<Fresh> {
    let (o, c, pixels, bytes) = (g.o, g.c, g.pixels_in(), dtype.size_in_bytes());
    let card = device(x)?;
    let dw = Fresh::new(card, of_dw, (o, c, 1, 1))?;
    let of = Product { a_transposed: false, b_transposed: true, result: of_dw, ..Product::of(dtype, [o, c, pixels]) };
    for sample in 0..g.batch {
        let plus = if sample == 0 { Plus::NOTHING } else { Plus::matrix(dw.pointer()?) };
        let dy = pointer(dy)?.behind(sample * o * pixels * bytes);
        let x = pointer(x)?.behind(sample * c * pixels * bytes);
        // SAFETY: a sample's dy is [o, pixels] and its x [c, pixels] of this type, dW [o, c] of its
        // own.
        unsafe { product(card, of, [dy, x, dw.pointer()?], 1.0, plus) }?;
    }
    Ok(dw)
}
