//! Moving values about: transposes, channels behind one another, nearest-neighbor upsampling.
//!
//! In: tensors of one card. Out: a tensor, noted on the tape.

use crate::cuda::{Fresh, Source, blocks, device, launch, long, of_one_type, over, pointer, source, typed};
use crate::tape::operand;
use candle_core::{Result, Tensor, bail};

const SOURCE: Source = source!("layout");

/// See [`to_rows`](crate::to_rows()).
pub(crate) fn to_rows(x: &Tensor) -> Result<Tensor> {
    let x = operand(x)?;
    let (b, c, h, w) = x.dims4()?;
    transposed(&x, [b, c, h * w], &[b, h * w, c])?
        .node([&x], move |dy, _| Ok([Some(transposed(dy, [b, h * w, c], &[b, c, h, w])?.tensor())]))
}

/// See [`to_image`](crate::to_image()), which has checked the sizes.
pub(crate) fn to_image(x: &Tensor, (h, w): (usize, usize)) -> Result<Tensor> {
    let x = operand(x)?;
    let (b, pixels, c) = x.dims3()?;
    transposed(&x, [b, pixels, c], &[b, c, h, w])?
        .node([&x], move |dy, _| Ok([Some(transposed(dy, [b, c, pixels], &[b, pixels, c])?.tensor())]))
}

/// x [batch, n, m] as [batch, m, n], which is called `shape`.
#[expect(unsafe_code, reason = "kernel launch")]
fn transposed(x: &Tensor, [batch, n, m]: [usize; 3], shape: &[usize]) -> Result<Fresh> {
    let y = Fresh::new(device(x)?, x.dtype(), shape)?;
    let over = blocks((m.div_ceil(32), n.div_ceil(32), batch), (32, 8), 0);
    let arguments = [pointer(x)?.into(), y.pointer()?.into(), n.into(), m.into()];
    // SAFETY: the kernel's four parameters; x and y have batch * n * m values.
    unsafe { launch(device(x)?, SOURCE, &typed("transpose", x.dtype()), over, arguments) }?;
    Ok(y)
}

/// See [`cat_channels`](crate::cat_channels()).
#[expect(unsafe_code, reason = "kernel launch")]
pub(crate) fn cat_channels(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (operand(a)?, operand(b)?);
    of_one_type(&[&a, &b])?;
    let ((samples, of_a, h, w), (_, of_b, ..)) = (a.dims4()?, b.dims4()?);
    if b.dims() != [samples, of_b, h, w] {
        bail!("cat_channels: {:?} and {:?}", a.dims(), b.dims());
    }
    let [na, nb] = [of_a * h * w, of_b * h * w];
    let y = Fresh::new(device(&a)?, a.dtype(), (samples, of_a + of_b, h, w))?;
    let arguments = [pointer(&a)?.into(), pointer(&b)?.into(), y.pointer()?.into(), long(samples), long(na), long(nb)];
    let over_all = over(samples * (na + nb));
    // SAFETY: the kernel's six parameters; a has samples * na values, b samples * nb, and y both.
    unsafe { launch(device(&a)?, SOURCE, &typed("join", a.dtype()), over_all, arguments) }?;
    y.node([&a, &b], move |dy, wanted| {
        let part = |first: usize, channels: usize| {
            let n = channels * h * w;
            let part = Fresh::new(device(dy)?, dy.dtype(), (samples, channels, h, w))?;
            let arguments =
                [pointer(dy)?.into(), part.pointer()?.into(), long(samples), long(na + nb), long(first), long(n)];
            // SAFETY: the kernel's six parameters; dy has samples * (na + nb) values, the part
            // samples * n, and first + n is na or na + nb.
            unsafe { launch(device(dy)?, SOURCE, &typed("part", dy.dtype()), over(samples * n), arguments) }?;
            Ok::<_, candle_core::Error>(part.tensor())
        };
        Ok([wanted[0].then(|| part(0, of_a)).transpose()?, wanted[1].then(|| part(na, of_b)).transpose()?])
    })
}

/// See [`upsample_nearest`](crate::upsample_nearest()), which has checked the sizes.
pub(crate) fn upsample(x: &Tensor, height: usize, width: usize) -> Result<Tensor> {
    let x = operand(x)?;
    let (b, c, h, w) = x.dims4()?;
    let sizes = [b * c, h, w, height, width];
    resized("upsample", &x, (b, c, height, width), sizes)?
        .node([&x], move |dy, _| Ok([Some(resized("upsample_adjoint", dy, (b, c, h, w), sizes)?.tensor())]))
}

/// `upsample` or its adjoint; the sizes are planes, h, w, height and width.
#[expect(unsafe_code, reason = "kernel launch")]
fn resized(name: &str, x: &Tensor, shape: (usize, usize, usize, usize), sizes: [usize; 5]) -> Result<Fresh> {
    let y = Fresh::new(device(x)?, x.dtype(), shape)?;
    let [planes, h, w, height, width] = sizes.map(Into::into);
    let arguments = [pointer(x)?.into(), y.pointer()?.into(), planes, h, w, height, width];
    let over = over(shape.0 * shape.1 * shape.2 * shape.3);
    // SAFETY: the kernel's seven parameters; x has planes * h * w values and y planes * height *
    // width, or the other way round.
    unsafe { launch(device(x)?, SOURCE, &typed(name, x.dtype()), over, arguments) }?;
    Ok(y)
}
