//! Convolution as a product of the weight, where it lies, and the picture's patches in panels (AVX-512).
//!
//! dx is the same convolution of dy with each kernel turned by 180 degrees, from result channels to channels: the weight is
//! read across. dW is the product of dy and the patches' transpose, summed over the samples in order.

use super::super::host::Scratch;
use super::super::pack::{Padded, PatchRows, Patches, Right, Rows, Window};
use super::super::product::{Columns, Left, Plus, Stored, few, product};
use super::super::target::Target;
use super::Geometry;

/// Taps of the kernels that can be turned.
const TURNED: (usize, usize) = (3, 3);

/// Whether dx can be computed here: by a kernel that can be turned, on every pixel.
pub(super) fn turns(g: &Geometry) -> bool {
    g.is_pointwise() || ((g.kh, g.kw) == TURNED && g.stride == 1 && g.pad < g.kh)
}

/// x between its zeros.
fn padded<'s>(g: &Geometry, x: &[f32], scratch: &'s mut Scratch) -> Padded<'s> {
    // As far as the last window reaches, and at least the picture itself.
    let reach = |out: usize, kernel: usize, size: usize| ((out - 1) * g.stride + kernel).max(g.pad + size);
    let size = (reach(g.ho, g.kh, g.h), reach(g.wo, g.kw, g.w));
    Padded::new(x, g.c, (g.h, g.w), g.pad, size, scratch)
}

fn window(g: &Geometry) -> Window {
    Window { kernel: (g.kh, g.kw), stride: g.stride, out: (g.ho, g.wo) }
}

/// y = W · patches + b
pub(super) fn forward<'y>(g: &Geometry, x: &[f32], w: &[f32], b: Option<&[f32]>, y: impl Into<Target<'y>>) {
    let y = Stored::Rows(y.into());
    let columns = Columns { segments: g.batch, width: g.pixels_out() };
    let weight = Left::rows(w, g.patch());
    let plus = b.map_or(Plus::Nothing, Plus::Rows);
    if g.is_pointwise() {
        let x = Right::Rows(Rows { values: x, columns, segment: g.c * g.pixels_in() });
        return product(y, (g.o, g.c), columns, weight, &x, plus);
    }
    let mut scratch = Scratch::new();
    let patches = Right::Patches(Patches { of: padded(g, x, &mut scratch), window: window(g) });
    product(y, (g.o, g.patch()), columns, weight, &patches, plus);
}

/// dx = the turned kernels · patches of dy
pub(super) fn backward_x<'y>(g: &Geometry, w: &[f32], dy: &[f32], dx: impl Into<Target<'y>>) {
    let dx = dx.into();
    let columns = Columns { segments: g.batch, width: g.pixels_in() };
    if g.is_pointwise() && g.batch == 1 && few(g.pixels_in(), g.o, g.c) {
        // Few pixels: dxᵀ = dyᵀ W, so that the weight passes row by row.
        let weight = Right::Rows(Rows { values: w, columns: Columns::one(g.c), segment: 0 });
        let dy = Left::transposed(dy, g.pixels_out());
        let size = (g.pixels_in(), g.o);
        return product(Stored::Transposed(dx), size, Columns::one(g.c), dy, &weight, Plus::Nothing);
    }
    if g.is_pointwise() {
        let dy = Right::Rows(Rows { values: dy, columns, segment: g.o * g.pixels_out() });
        return product(Stored::Rows(dx), (g.c, g.o), columns, Left::transposed(w, g.c), &dy, Plus::Nothing);
    }
    let before = g.kh - 1 - g.pad;
    let (height, width) = (g.h + g.kh - 1, g.w + g.kw - 1);
    let size = (height.max(before + g.ho), width.max(before + g.wo));
    let mut scratch = Scratch::new();
    let of = Padded::new(dy, g.o, (g.ho, g.wo), before, size, &mut scratch);
    let window = Window { kernel: (g.kh, g.kw), stride: 1, out: (g.h, g.w) };
    let taps = g.kh * g.kw;
    let weight = Left { values: w, row: taps, step: g.patch(), taps };
    product(
        Stored::Rows(dx),
        (g.c, g.o * taps),
        columns,
        weight,
        &Right::Patches(Patches { of, window }),
        Plus::Nothing,
    );
}

/// dW = Σ dy · patchesᵀ
pub(super) fn backward_weight(g: &Geometry, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let mut scratch = Scratch::new();
    let of = padded(g, x, &mut scratch);
    let picture = of.values.len() / g.batch;
    for (sample, (values, dy)) in of.values.chunks(picture).zip(dy.chunks(g.o * g.pixels_out())).enumerate() {
        let patches = Right::PatchRows(PatchRows { of: Padded { values, ..of }, window: window(g) });
        let dw = if sample == 0 { Stored::Rows(dw.into()) } else { Stored::Onto(dw) };
        let dy = Left::rows(dy, g.pixels_out());
        product(dw, (g.o, g.pixels_out()), Columns::one(g.patch()), dy, &patches, Plus::Nothing);
    }
}
