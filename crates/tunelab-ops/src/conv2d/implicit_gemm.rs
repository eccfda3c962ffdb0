//! Convolution as a product of the weight, where it lies, and the image's patches in panels.
//!
//! In: images, weight and dy as slices. Out: y, dx or dW.
//!
//! dx is the same convolution of dy with each kernel rotated by 180 degrees, from result channels
//! to channels: the weight is read across. dW is the product of dy and the patches' transpose,
//! summed over the samples in order.
#![expect(unsafe_code, reason = "results are not cleared before all of them is written")]

use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::cpu::uninit_output::fill_uninit;
use crate::gemm::blocked::{Bias, Lhs, Output, is_skinny, matmul};
use crate::gemm::columns::Columns;
use crate::gemm::operand::Values;
use crate::gemm::pack::{Rhs, Rows, Transposed};
use crate::gemm::patches::{Padded, PatchRows, Patches, Window};
use crate::shapes::ConvShape;
use crate::simd::isa::Isa;
use std::mem::MaybeUninit;

/// Rows and columns of the kernels that can be rotated.
const FLIPPED: (usize, usize) = (3, 3);

/// Whether dx can be computed here: by a kernel that can be rotated, on every pixel.
pub(super) fn supports_backward_x(g: &ConvShape) -> bool {
    g.is_pointwise() || ((g.kh, g.kw) == FLIPPED && g.stride == 1 && g.pad < g.kh)
}

/// x between its zeros.
fn padded<'s>(g: &ConvShape, x: &[f32], scratch: &'s mut Scratch) -> Padded<'s> {
    // As far as the last window reaches, and at least the image itself.
    let reach = |out: usize, kernel: usize, size: usize| ((out - 1) * g.stride + kernel).max(g.pad + size);
    let size = (reach(g.ho, g.kh, g.h), reach(g.wo, g.kw, g.w));
    Padded::new(x, g.c, (g.h, g.w), g.pad, size, scratch)
}

fn window(g: &ConvShape) -> Window {
    Window { kernel: (g.kh, g.kw), stride: g.stride, out: (g.ho, g.wo) }
}

/// y = W · patches + b
pub(super) fn forward<'y, S: Isa>(
    isa: S,
    g: &ConvShape,
    x: &[f32],
    w: Values,
    b: Option<&[f32]>,
    y: impl Into<DisjointOutput<'y>>,
) {
    let y = Output::Rows(y.into());
    let columns = Columns { segments: g.batch, width: g.pixels_out() };
    let weight = Lhs::rows(w, g.patch());
    let bias = b.map_or(Bias::None, Bias::PerRow);
    if g.is_pointwise() {
        let x = Rhs::Rows(Rows { values: x.into(), columns, segment: g.c * g.pixels_in() });
        return matmul(isa, y, (g.o, g.c), columns, weight, &x, bias);
    }
    let mut scratch = Scratch::new();
    let patches = Rhs::Patches(Patches { of: padded(g, x, &mut scratch), window: window(g) });
    matmul(isa, y, (g.o, g.patch()), columns, weight, &patches, bias);
}

/// dx = the rotated kernels · patches of dy
pub(super) fn backward_x<'y, S: Isa>(isa: S, g: &ConvShape, w: Values, dy: &[f32], dx: impl Into<DisjointOutput<'y>>) {
    let dx = dx.into();
    let columns = Columns { segments: g.batch, width: g.pixels_in() };
    if g.is_pointwise() && g.batch == 1 && is_skinny(g.pixels_in(), g.o, g.c) {
        // Few pixels: dxᵀ = dyᵀ W, so that the weight passes row by row.
        let weight = Rhs::Rows(Rows { values: w, columns: Columns::one(g.c), segment: 0 });
        let dy = Lhs::transposed(dy.into(), g.pixels_out());
        let size = (g.pixels_in(), g.o);
        return matmul(isa, Output::Transposed(dx), size, Columns::one(g.c), dy, &weight, Bias::None);
    }
    if g.is_pointwise() {
        let dy = Rhs::Rows(Rows { values: dy.into(), columns, segment: g.o * g.pixels_out() });
        return matmul(isa, Output::Rows(dx), (g.c, g.o), columns, Lhs::transposed(w, g.c), &dy, Bias::None);
    }
    let before = g.kh - 1 - g.pad;
    let (height, width) = (g.h + g.kh - 1, g.w + g.kw - 1);
    let size = (height.max(before + g.ho), width.max(before + g.wo));
    let mut scratch = Scratch::new();
    let of = Padded::new(dy, g.o, (g.ho, g.wo), before, size, &mut scratch);
    let window = Window { kernel: (g.kh, g.kw), stride: 1, out: (g.h, g.w) };
    let taps = g.kh * g.kw;
    let weight = Lhs { values: w, row: taps, step: g.patch(), taps };
    matmul(
        isa,
        Output::Rows(dx),
        (g.c, g.o * taps),
        columns,
        weight,
        &Rhs::Patches(Patches { of, window }),
        Bias::None,
    );
}

/// dW = Σ dy · patchesᵀ
pub(super) fn backward_weight<S: Isa>(isa: S, g: &ConvShape, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let mut scratch = Scratch::new();
    let of = if g.is_pointwise() { None } else { Some(padded(g, x, &mut scratch)) };
    let multiply = |sample: usize, dw: Output| {
        let part = |values: &'_ [f32]| sample * (values.len() / g.batch)..(sample + 1) * (values.len() / g.batch);
        let patches = match of {
            Some(of) => Rhs::PatchRows(PatchRows {
                of: Padded { values: &of.values[part(of.values)], ..of },
                window: window(g),
            }),
            None => Rhs::Transposed(Transposed { values: x[part(x)].into(), row: g.pixels_out(), columns: g.c }),
        };
        let dy = Lhs::rows(dy[part(dy)].into(), g.pixels_out());
        matmul(isa, dw, (g.o, g.pixels_out()), Columns::one(g.patch()), dy, &patches, Bias::None);
    };
    let first = |dw: &mut [MaybeUninit<f32>]| {
        // What further samples are added to is read soon.
        multiply(0, if g.batch == 1 { Output::Gradient(dw.into()) } else { Output::Rows(dw.into()) });
    };
    // SAFETY: a product writes all of its result.
    let mut dw = unsafe { fill_uninit(g.o * g.patch(), first) };
    (1..g.batch).for_each(|sample| multiply(sample, Output::Accumulate(&mut dw)));
    dw
}
