//! Two tensors value by value, of which nothing is noted: sums and products.
//!
//! In: tensors of one card and shape. Out: fresh memory that holds the result.

use crate::cuda::{Fresh, Source, device, launch, long, of_one_type, over, pointer, source, typed};
use candle_core::{Result, Tensor, bail};

/// The file of these kernels.
pub(super) const SOURCE: Source = source!("elementwise");

/// a + b
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(pair("add", &a.contiguous()?, &b.contiguous()?)?.tensor())
}

/// `add` or `multiply` of two tensors of one shape.
#[expect(unsafe_code, reason = "kernel launch")]
pub(super) fn pair(name: &str, a: &Tensor, b: &Tensor) -> Result<Fresh> {
    of_one_type(&[a, b])?;
    if a.dims() != b.dims() {
        bail!("tensors of one shape are needed, not {:?} and {:?}", a.dims(), b.dims());
    }
    let (y, n) = (Fresh::like(a)?, a.elem_count());
    let arguments = [pointer(a)?.into(), pointer(b)?.into(), y.pointer()?.into(), long(n)];
    // SAFETY: the kernel's four parameters; it reads n values of a and of b and writes as many of
    // y.
    unsafe { launch(device(a)?, SOURCE, &typed(name, a.dtype()), over(n), arguments) }?;
    Ok(y)
}
