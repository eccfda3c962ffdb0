//! Two-dimensional convolution: x [B, C, H, W], W [O, C, kh, kw], b `[O]` → y [B, O, H', W'].
//!
//! In: tensors. Out: a tensor, noted on the tape; and the convolutions alone, on slices, for
//! [`crate::weight`].
//!
//! Three bodies, of which the fastest for the sizes at hand is taken: 3x3 filters by Winograd's
//! algorithm (`winograd`), 3x3 filters straight from the image for few channels
//! (`direct_3x3`), and products of the weight and panels of patches (`implicit_gemm`).
//! Backward computes each gradient only where it is wanted; x is kept for the weight's alone. That of
//! x with a stride is that without, of a dilated dy; of kernels that are neither 1x1 nor 3x3 it is
//! candle's.
#![expect(unsafe_code, reason = "results are not cleared before all of them is written")]

mod direct_3x3;
mod implicit_gemm;
mod winograd;

use crate::chosen::Chosen;
use crate::cpu::host;
use crate::cpu::uninit_output::fill_uninit;
use crate::cpu::vector_math::sum_of;
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::elementwise;
use crate::gemm::operand::Values;
use crate::shapes::{ConvPlus, ConvShape, Padding};
use crate::simd::isa::{Isa, few_registers};
use crate::simd::{Vectors, vectorize, with_isa};
use crate::tape::{composed, node, operand, tracked};
use candle_core::{DType, Device, Result, Tensor};
use direct_3x3::Direction;
use rayon::prelude::*;
use winograd::{FilterValue, Filters};

/// Fewer result channels than this are computed straight from the image.
const DIRECT_MAX_OUTPUTS: usize = 128;
/// Winograd's algorithm transforms weights at every call, which pays from this many tiles of 4x4
/// pixels on (a weight in bf16 is upcast besides, so with many registers it pays always), and
/// pixels and results, which pays from this many channels on. The gradient of a weight is summed over tiles, and the
/// transforms pay where they are many.
const WINOGRAD_MIN_TILES: usize = 2;
const WINOGRAD_MIN_CHANNELS: usize = 32;
const WINOGRAD_MIN_TILES_SUMMED: usize = 8;
const WINOGRAD_MIN_PIXELS_SUMMED: usize = 16;

/// Convolution with square stride. `weight` is [out, in, kh, kw]; `bias`, if any, is `[out]`.
pub fn conv2d(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if cuda::supports(x) {
        return cuda::conv2d::conv2d(x, weight, bias, None, stride, padding);
    }
    if !host::is_host_f32(x) {
        let operands: Vec<&Tensor> = [x, weight].into_iter().chain(bias).collect();
        return composed(&operands, |t| portable(&t[0], &t[1], t.get(2), stride, padding));
    }
    let (x, weight, bias) = (operand(x)?, operand(weight)?, bias.map(operand).transpose()?);
    let g = ConvShape::new(x.dims4()?, weight.dims4()?, stride, padding)?;
    let b = bias.as_ref().map(host::values).transpose()?;
    let y = forward(&g, &host::values(&x)?, Values::F32(&host::values(&weight)?), b.as_deref());
    let (w, kept) = (weight.clone(), tracked(&weight).then(|| x.clone()));
    node(y, g.result(), [Some(&x), Some(&weight), bias.as_ref()], move |dy, [dx, _, db]| {
        Ok([
            dx.then(|| backward_x(&g, Values::F32(&host::values(&w)?), dy)).transpose()?,
            kept.map(|x| backward_weight(&g, &x, dy)).transpose()?,
            db.then(|| backward_bias(&g, dy)).transpose()?,
        ])
    })
}

impl ConvPlus<'_> {
    /// Adds it to what a convolution has made.
    ///
    /// # Errors
    ///
    /// Of shapes that do not fit.
    pub fn add_to(self, y: &Tensor) -> Result<Tensor> {
        match self {
            Self::Shift(shift) => elementwise::add_channels(y, shift),
            Self::Residual(residual) => elementwise::add(residual, y),
        }
    }
}

/// The same from candle's operations: any device, any type. With a stride the image is padded and
/// cut to what the kernel reaches first, because candle's gradient supposes that height and width
/// leave equally many pixels over.
fn portable(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: usize, padding: Padding) -> Result<Tensor> {
    let Padding { before, after } = padding;
    let y = if stride == 1 && before == after {
        x.conv2d(weight, before, 1, 1, 1)?
    } else {
        let g = ConvShape::new(x.dims4()?, weight.dims4()?, stride, padding)?;
        let padded = x.pad_with_zeros(2, before, after)?.pad_with_zeros(3, before, after)?;
        let reached = padded.narrow(2, 0, (g.ho - 1) * stride + g.kh)?.narrow(3, 0, (g.wo - 1) * stride + g.kw)?;
        reached.contiguous()?.conv2d(weight, 0, stride, 1, 1)?
    };
    match bias {
        Some(bias) => y.broadcast_add(&bias.reshape((1, (), 1, 1))?),
        None => Ok(y),
    }
}

impl ConvShape {
    /// The images of `channels` channels that `direct_3x3` might convolve.
    fn direct_images(&self, channels: usize) -> Option<direct_3x3::Images> {
        let images = direct_3x3::Images { samples: self.batch, channels, height: self.h, width: self.w };
        self.keeps_size().then_some(images)
    }

    /// The images of `channels` channels, if Winograd's algorithm pays from so many `tiles` on.
    fn winograd_images(&self, channels: usize, tiles: usize) -> Option<winograd::Images> {
        let images = winograd::Images { samples: self.batch, height: self.h, width: self.w };
        let pays = channels >= WINOGRAD_MIN_CHANNELS && images.tiles() >= tiles;
        (self.keeps_size() && pays).then_some(images)
    }
}

pub(crate) fn forward(g: &ConvShape, x: &[f32], w: Values, b: Option<&[f32]>) -> Vec<f32> {
    let (n, vectors) = (g.batch * g.o * g.pixels_out(), Vectors::detect());
    match algorithm(g, g.c, g.o, w) {
        // SAFETY: each pixel of the result is written.
        ConvAlgorithm::Direct(of, w) => unsafe {
            fill_uninit(n, |y| with_isa!(vectors, isa => direct_3x3::conv(isa, of, x, w, Direction::Forward, b, y)))
        },
        ConvAlgorithm::Winograd(of) => winograd_conv(vectors, of, x, (w, g.c, false), b),
        // SAFETY: the result is a product.
        ConvAlgorithm::ImplicitGemm => unsafe {
            fill_uninit(n, |y| with_isa!(vectors, isa => implicit_gemm::forward(isa, g, x, w, b, y)))
        },
    }
}

/// dx: the adjoint, from o to c channels.
pub(crate) fn backward_x(g: &ConvShape, w: Values, dy: &Tensor) -> Result<Tensor> {
    if !implicit_gemm::supports_backward_x(&g.without_stride()) {
        return candle_backward_x(g, w, dy);
    }
    if g.stride > 1 {
        return backward_x(&g.without_stride(), w, &dilated(g, dy)?);
    }
    let (n, vectors, dy) = (g.batch * g.c * g.pixels_in(), Vectors::detect(), host::values(dy)?);
    let dx = match algorithm(g, g.o, g.c, w) {
        ConvAlgorithm::Direct(of, w) => {
            let back = Direction::Backward;
            let conv = |dx: &mut [_]| with_isa!(vectors, isa => direct_3x3::conv(isa, of, &dy, w, back, None, dx));
            // SAFETY: each pixel of the result is written.
            unsafe { fill_uninit(n, conv) }
        }
        ConvAlgorithm::Winograd(of) => winograd_conv(vectors, of, &dy, (w, g.c, true), None),
        // SAFETY: the result is a product.
        ConvAlgorithm::ImplicitGemm => unsafe {
            fill_uninit(n, |dx| with_isa!(vectors, isa => implicit_gemm::backward_x(isa, g, w, &dy, dx)))
        },
    };
    host::tensor(dx, (g.batch, g.c, g.h, g.w))
}

/// dy dilated by the stride: zeros where a convolution without it has results between these.
fn dilated(g: &ConvShape, dy: &Tensor) -> Result<Tensor> {
    let (whole, dy) = (g.without_stride(), host::values(dy)?);
    let mut y = vec![0.0; g.batch * g.o * whole.pixels_out()];
    y.par_chunks_mut(whole.pixels_out()).zip(dy.par_chunks(g.pixels_out())).for_each(|(y, dy)| {
        for (y, dy) in y.chunks_exact_mut(whole.wo).step_by(g.stride).zip(dy.chunks_exact(g.wo)) {
            y.iter_mut().step_by(g.stride).zip(dy).for_each(|(y, dy)| *y = *dy);
        }
    });
    host::tensor(y, whole.result())
}

/// dx of a kernel that none of the bodies rotates, which no network here has, by candle.
fn candle_backward_x(g: &ConvShape, w: Values, dy: &Tensor) -> Result<Tensor> {
    let dims = (g.o, g.c, g.kh, g.kw);
    let weight = match w {
        Values::F32(w) => Tensor::from_slice(w, dims, dy.device())?,
        Values::Bf16(w) => Tensor::from_slice(w, dims, dy.device())?.to_dtype(DType::F32)?,
    };
    let mut dx = dy.conv_transpose2d(&weight, 0, 0, g.stride, 1)?;
    for (axis, n) in [(2, g.h), (3, g.w)] {
        let missing = (g.pad + n).saturating_sub(dx.dim(axis)?);
        dx = dx.pad_with_zeros(axis, 0, missing)?.narrow(axis, g.pad, n)?;
    }
    dx.contiguous()
}

/// Images of all channels that the filters of a weight of so many `inputs` lead to.
fn winograd_conv(
    vectors: Vectors,
    of: winograd::Images,
    x: &[f32],
    (w, inputs, flipped): (Values, usize, bool),
    bias: Option<&[f32]>,
) -> Vec<f32> {
    fn of_type<T: FilterValue>(
        v: Vectors,
        of: winograd::Images,
        x: &[f32],
        f: Filters<T>,
        b: Option<&[f32]>,
    ) -> Vec<f32> {
        let n = of.values(f.sizes().0);
        // SAFETY: every pixel of the result is one of a tile's.
        unsafe { fill_uninit(n, |y| with_isa!(v, isa => winograd::convolve(isa, of, x, f, b, y))) }
    }
    match w {
        Values::F32(values) => of_type(vectors, of, x, Filters { values, inputs, flipped }, bias),
        Values::Bf16(values) => of_type(vectors, of, x, Filters { values, inputs, flipped }, bias),
    }
}

fn few_registers_of<S: Isa>(_: S) -> bool {
    few_registers::<S>()
}

/// dW: for each weight the sum of dy · x over samples and pixels.
fn backward_weight(g: &ConvShape, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let (x, dy) = (host::values(x)?, host::values(dy)?);
    let (n, vectors) = (g.o * g.patch(), Vectors::detect());
    let dw = match weight_gradient_algorithm(g) {
        _ if g.batch == 0 => vec![0.0; n],
        ConvAlgorithm::Direct(of, ()) => {
            let mut dw = vec![0.0; n];
            with_isa!(vectors, isa => direct_3x3::weight_gradient(isa, of, &x, &dy, &mut dw));
            dw
        }
        // SAFETY: each weight has a gradient.
        ConvAlgorithm::Winograd(of) => unsafe {
            fill_uninit(n, |dw| with_isa!(vectors, isa => winograd::weight_gradient(isa, of, &x, &dy, dw)))
        },
        ConvAlgorithm::ImplicitGemm => with_isa!(vectors, isa => implicit_gemm::backward_weight(isa, g, &x, &dy)),
    };
    host::tensor(dw, (g.o, g.c, g.kh, g.kw))
}

/// How the convolution is computed: what is fastest depends on its sizes.
enum ConvAlgorithm<W> {
    /// Straight from the image, with a weight in f32.
    Direct(direct_3x3::Images, W),
    /// By Winograd's algorithm.
    Winograd(winograd::Images),
    /// As a product of the weight and patches in panels.
    ImplicitGemm,
}

/// The way from images of `from` channels to images of `to`.
fn algorithm<'w>(g: &ConvShape, from: usize, to: usize, w: Values<'w>) -> ConvAlgorithm<&'w [f32]> {
    let images = match w {
        // A panel is packed for all result channels at once, which does not pay for few of them.
        Values::F32(w) if to < DIRECT_MAX_OUTPUTS => {
            match g.direct_images(from).filter(direct_3x3::Images::supported) {
                Some(images) => return ConvAlgorithm::Direct(images, w),
                None => None,
            }
        }
        Values::F32(_) => g.winograd_images(from, WINOGRAD_MIN_TILES),
        Values::Bf16(_) => {
            let few = with_isa!(Vectors::detect(), isa => few_registers_of(isa));
            g.winograd_images(from.min(to), if few { WINOGRAD_MIN_TILES } else { 1 })
        }
    };
    images.map_or(ConvAlgorithm::ImplicitGemm, ConvAlgorithm::Winograd)
}

/// Whether a weight in bf16 is upcast while it is used; few channels are computed straight from the image, with
/// weights in f32.
pub(crate) fn upcasts(g: &ConvShape) -> bool {
    g.c.min(g.o) >= WINOGRAD_MIN_CHANNELS || g.is_pointwise()
}

/// The way to the gradient of the weight.
fn weight_gradient_algorithm(g: &ConvShape) -> ConvAlgorithm<()> {
    if let Some(x) = g.direct_images(g.c).filter(|x| x.supports_weight_gradient(g.o)) {
        return ConvAlgorithm::Direct(x, ());
    }
    let images = g
        .winograd_images(g.c.min(g.o), WINOGRAD_MIN_TILES_SUMMED)
        .filter(|_| g.pixels_out() >= WINOGRAD_MIN_PIXELS_SUMMED);
    images.map_or(ConvAlgorithm::ImplicitGemm, ConvAlgorithm::Winograd)
}

/// db = the sum of dy over samples and pixels.
fn backward_bias(g: &ConvShape, dy: &Tensor) -> Result<Tensor> {
    let dy = host::values(dy)?;
    let sum = |o: usize| {
        let mut sum = 0.0;
        vectorize(
            #[inline(always)]
            || {
                for plane in dy.chunks_exact(g.pixels_out()).skip(o).step_by(g.o) {
                    sum += f64::from(sum_of(plane, |v| v));
                }
            },
        );
        sum as f32
    };
    host::tensor((0..g.o).into_par_iter().map(sum).collect(), g.o)
}

/// The algorithms of all convolutions that this thread has computed on a CUDA card, in the order of
/// their shapes. Nothing on another device.
pub fn chosen(device: &Device) -> Vec<Chosen> {
    #[cfg(feature = "cuda")]
    if let Ok(card) = device.as_cuda_device() {
        return cuda::conv2d::chosen(card);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = device;
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::checks::{by_definition, close, values};
    use half::bf16;

    /// Batch, channels, height and width, result channels, kernel, stride, padding.
    type Case = (usize, usize, (usize, usize), usize, usize, usize, Padding);

    /// Images of widths that are and are not whole vectors, strides, filters and paddings; with
    /// rests of every kind.
    const CASES: [Case; 9] = [
        (1, 5, (7, 9), 6, 3, 1, Padding { before: 1, after: 1 }),
        (2, 20, (16, 16), 30, 3, 1, Padding { before: 1, after: 1 }),
        (3, 70, (8, 8), 17, 3, 1, Padding { before: 1, after: 1 }),
        (2, 80, (4, 4), 33, 3, 1, Padding { before: 1, after: 1 }),
        (2, 9, (9, 8), 11, 3, 2, Padding { before: 1, after: 1 }),
        (1, 9, (8, 8), 11, 3, 2, Padding { before: 0, after: 1 }),
        (2, 33, (6, 5), 40, 1, 1, Padding { before: 0, after: 0 }),
        (1, 3, (9, 7), 4, 3, 1, Padding { before: 0, after: 2 }),
        (1, 4, (40, 24), 3, 4, 1, Padding { before: 2, after: 1 }),
    ];

    #[test]
    fn implicit_gemm_equals_the_definition() {
        for vectors in Vectors::all() {
            with_isa!(vectors, isa => equals_the_definition(isa));
        }
    }

    fn equals_the_definition<S: Isa>(isa: S) {
        for (batch, c, (h, w), o, kernel, stride, padding) in CASES {
            let g = ConvShape::new((batch, c, h, w), (o, c, kernel, kernel), stride, padding).unwrap();
            let what = format!("{batch} x {c} x {h} x {w} to {o}, kernel {kernel}, stride {stride}, {padding:?}");
            let (x, weight, b) = (values(batch * c * h * w, 1), values(o * g.patch(), 2), values(o, 3));
            let dy = values(batch * o * g.pixels_out(), 4);
            let [want_y, want_dx, want_dw] = by_definition(&g, [&x, &weight, &b, &dy]);
            let mut y = vec![f32::NAN; dy.len()];
            implicit_gemm::forward(isa, &g, &x, Values::F32(&weight), Some(&b), &mut y);
            close(&y, &want_y, &format!("y of {what}"));
            close(&implicit_gemm::backward_weight(isa, &g, &x, &dy), &want_dw, &format!("dW of {what}"));
            if implicit_gemm::supports_backward_x(&g) {
                // A weight in bf16 gives the sums of its upcast values, to the bit.
                let rounded: Vec<bf16> = weight.iter().map(|v| bf16::from_f32(*v)).collect();
                let upcast: Vec<f32> = rounded.iter().map(|v| v.to_f32()).collect();
                let [half, full] = [Values::Bf16(&rounded), Values::F32(&upcast)].map(|w| {
                    let (mut y, mut dx) = (vec![f32::NAN; dy.len()], vec![f32::NAN; x.len()]);
                    implicit_gemm::forward(isa, &g, &x, w, Some(&b), &mut y);
                    implicit_gemm::backward_x(isa, &g, w, &dy, &mut dx);
                    [y, dx]
                });
                assert!(half == full, "bf16 of {what}");
                let mut dx = vec![f32::NAN; x.len()];
                implicit_gemm::backward_x(isa, &g, Values::F32(&weight), &dy, &mut dx);
                close(&dx, &want_dx, &format!("dx of {what}"));
            }
        }
    }

    /// The gradient of x in whichever way it is computed: strides, and kernels that are rotated and that are candle's.
    #[test]
    fn gradients_of_x_equal_the_definition() {
        let more = [
            (2, 40, (16, 12), 136, 3, 2, Padding::same(1)),
            (2, 40, (16, 12), 36, 3, 2, Padding::same(1)),
            (1, 33, (13, 15), 40, 3, 2, Padding::same(1)),
            (1, 5, (11, 8), 6, 3, 3, Padding { before: 0, after: 1 }),
            (2, 6, (7, 9), 5, 1, 2, Padding::same(0)),
            (1, 3, (9, 10), 7, 2, 2, Padding::same(0)),
            (1, 4, (9, 10), 3, 1, 2, Padding::same(1)),
            (0, 1, (9, 8), 2, 5, 1, Padding::same(2)),
            (1, 3, (12, 11), 2, 5, 3, Padding { before: 1, after: 2 }),
        ];
        for (batch, c, (h, w), o, kernel, stride, padding) in CASES.into_iter().chain(more) {
            let g = ConvShape::new((batch, c, h, w), (o, c, kernel, kernel), stride, padding).unwrap();
            let (x, weight, dy) =
                (values(batch * c * h * w, 1), values(o * g.patch(), 2), values(batch * o * g.pixels_out(), 4));
            let [_, want, _] = by_definition(&g, [&x, &weight, &vec![0.0; o], &dy]);
            let dy = Tensor::from_vec(dy, g.result(), &Device::Cpu).unwrap();
            let dx =
                backward_x(&g, Values::F32(&weight), &dy).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            close(&dx, &want, &format!("{c} x {h} x {w} to {o}, kernel {kernel}, stride {stride}, {padding:?}"));
        }
    }

    /// Widths of quarters, halves and whole vectors; one and more tiles of channels; several
    /// samples.
    #[test]
    fn direct_3x3_equals_the_definition() {
        for vectors in Vectors::all() {
            with_isa!(vectors, isa => direct_equals_the_definition(isa));
        }
    }

    fn direct_equals_the_definition<S: Isa>(isa: S) {
        for (batch, c, (h, w), o) in [(2, 5, (4, 4), 3), (1, 7, (6, 8), 17), (3, 9, (5, 16), 29), (1, 33, (7, 48), 11)]
        {
            let g = ConvShape::new((batch, c, h, w), (o, c, 3, 3), 1, Padding::same(1)).unwrap();
            let what = format!("{batch} x {c} x {h} x {w} to {o}");
            let (x, weight, b) = (values(batch * c * h * w, 1), values(o * c * 9, 2), values(o, 3));
            let dy = values(batch * o * h * w, 4);
            let of = |channels| g.direct_images(channels).filter(direct_3x3::Images::supported).unwrap();
            let [want_y, want_dx, want_dw] = by_definition(&g, [&x, &weight, &b, &dy]);
            let [mut y, mut dx, mut dw] = [&dy, &x, &weight].map(|like| vec![f32::NAN; like.len()]);
            direct_3x3::conv(isa, of(c), &x, &weight, Direction::Forward, Some(&b), &mut y);
            close(&y, &want_y, &format!("y of {what}"));
            direct_3x3::conv(isa, of(o), &dy, &weight, Direction::Backward, None, &mut dx);
            close(&dx, &want_dx, &format!("dx of {what}"));
            if of(c).supports_weight_gradient(o) {
                direct_3x3::weight_gradient(isa, of(c), &x, &dy, &mut dw);
                close(&dw, &want_dw, &format!("dW of {what}"));
            }
        }
    }

    /// A weight in bf16 gives what its upcast values give where both are computed alike, to the bit.
    #[test]
    fn weights_in_bf16_are_upcast() {
        for (batch, c, (h, w), o, kernel, stride) in [
            (1, 33, (3, 5), 40, 1, 1),
            (2, 40, (16, 16), 33, 1, 1),
            (1, 320, (4, 4), 64, 1, 1),
            (1, 130, (8, 12), 140, 3, 1),
            (1, 128, (6, 12), 130, 3, 2),
        ] {
            let g =
                ConvShape::new((batch, c, h, w), (o, c, kernel, kernel), stride, Padding::same(kernel / 2)).unwrap();
            let rounded: Vec<bf16> = values(o * g.patch(), 2).into_iter().map(bf16::from_f32).collect();
            let widened: Vec<f32> = rounded.iter().map(|v| v.to_f32()).collect();
            let (x, b) = (values(batch * c * h * w, 1), values(o, 3));
            let dy = Tensor::from_vec(values(batch * o * g.pixels_out(), 4), g.result(), &Device::Cpu).unwrap();
            assert!(upcasts(&g));
            let [half, full] = [Values::Bf16(&rounded), Values::F32(&widened)].map(|w| {
                let dx = backward_x(&g, w, &dy).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
                [forward(&g, &x, w, Some(&b)), dx]
            });
            assert!(half == full, "{c} x {h} x {w} to {o}, kernel {kernel}, stride {stride}");
        }
    }
}
