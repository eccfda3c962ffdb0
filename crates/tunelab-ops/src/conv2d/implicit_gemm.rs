//! Convolution as a product of the weight, where it lies, and the image's patches in panels.
//!
//! In: images, weight and dy as slices. Out: y, dx or dW.
//!
//! dx is the same convolution of dy with each kernel rotated by 180 degrees, from result channels
//! to channels: the weight is read across. dW is the product of dy and the patches' transpose,
//! summed over the samples in order.

use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::gemm::blocked::{Bias, Lhs, Output, is_skinny, matmul};
use crate::gemm::columns::Columns;
use crate::gemm::operand::Values;
use crate::gemm::pack::{Rhs, Rows};
use crate::gemm::patches::{Padded, PatchRows, Patches, Window};
use crate::shapes::ConvShape;
use crate::simd::isa::Isa;

/// Taps of the kernels that can be turned.
const FLIPPED: (usize, usize) = (3, 3);

/// Whether dx can be computed here: by a kernel that can be turned, on every pixel.
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

/// dx = the turned kernels · patches of dy
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
pub(super) fn backward_weight<S: Isa>(isa: S, g: &ConvShape, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let mut scratch = Scratch::new();
    let of = padded(g, x, &mut scratch);
    let image = of.values.len() / g.batch;
    for (sample, (values, dy)) in of.values.chunks(image).zip(dy.chunks(g.o * g.pixels_out())).enumerate() {
        let patches = Rhs::PatchRows(PatchRows { of: Padded { values, ..of }, window: window(g) });
        let dw = if sample == 0 { Output::Rows(dw.into()) } else { Output::Accumulate(dw) };
        let dy = Lhs::rows(dy.into(), g.pixels_out());
        matmul(isa, dw, (g.o, g.pixels_out()), Columns::one(g.patch()), dy, &patches, Bias::None);
    }
}
