//! The gradient of a weight by Winograd's algorithm: dW = Gᵀ [Σ (A dy Aᵀ) ⊙ (Bᵀ d B)] G, the adjoint of
//! the forward pass in the filters, with 36 multiplications for a tile of 4x4 results where there were 144.
//!
//! In: images, the gradient of the result. Out: the gradient of the filters, written.
//!
//! Pixels and gradients are transformed with 16 channels as lanes, for they are summed over tiles: in each
//! plane the sum is a product of matrices (`batched_gemm`), [results, tiles] · [tiles, channels]. It is
//! computed for 16 channels at a time, all planes of which are transformed back while they are in the cache.
#![expect(unsafe_code, reason = "values are loaded and stored through pointers into slices whose sizes are checked")]

use crate::conv2d::winograd::batched_gemm::{Products, STEPS, place, plane, room, wide};
use crate::conv2d::winograd::filter_transform::TAPS;
use crate::conv2d::winograd::pieces::Pieces;
use crate::conv2d::winograd::tiling::{INPUT_TILE, Images, OUTPUT_TILE, PLANES, Tiling};
use crate::conv2d::winograd::transforms::{COLUMNS, apply_a, apply_bt, apply_powers, both_sides};
use crate::cpu::buffer::Scratch;
use crate::cpu::disjoint_output::DisjointOutput;
use crate::gemm::transpose::{store_transposed, transpose_into};
use crate::simd::isa::{Isa, LANES};
use rayon::prelude::*;
use std::ops::Range;

/// Vectors of result channels of a task: 320 channels are ten tasks.
const VECTORS: usize = 2;
/// Tiles that are summed in one go at most, or a row of them: the gradients of a task stay in the second cache.
const MAX_TILES: usize = 128;

/// dW [o, c, 3, 3], of x [S, c, h, w] and dy [S, o, h, w].
pub(in crate::conv2d) fn weight_gradient<'w, S: Isa>(
    isa: S,
    of: Images,
    x: &[f32],
    dy: &[f32],
    dw: impl Into<DisjointOutput<'w>>,
) {
    let (inputs, outputs, dw) = (x.len() / of.values(1), dy.len() / of.values(1), dw.into());
    assert!(x.len() == of.values(inputs) && dy.len() == of.values(outputs), "winograd: images have another size");
    assert_eq!(dw.len(), inputs * outputs * TAPS, "winograd: dW has another size");
    let tiling = Tiling::new(of);
    let (rows, together) = (of.samples * tiling.down, (MAX_TILES / tiling.across).max(1));
    let (mut pixels, mut gradients) = (Scratch::new(), Scratch::new());
    for first in (0..rows).step_by(together) {
        let rows = first..rows.min(first + together);
        let tiles = rows.len() * tiling.across;
        let vector = room(tiles) * LANES;
        let pixels = pixels.first(inputs.div_ceil(LANES) * vector);
        pixels.par_chunks_mut(vector).enumerate().for_each(|(i, out)| {
            isa.run(
                #[inline(always)]
                || transform::<S, false>(isa, &tiling, x, (i * LANES, inputs), rows.clone(), out, LANES),
            );
        });
        let gradients = gradients.first(outputs.div_ceil(LANES) * vector);
        gradients.par_chunks_mut(vectors::<S>() * vector).enumerate().for_each(|(i, out)| {
            let width = out.len() / vector * LANES;
            for at in (0..width).step_by(LANES) {
                let channels = (i * vectors::<S>() * LANES + at, outputs);
                isa.run(
                    #[inline(always)]
                    || transform::<S, true>(isa, &tiling, dy, channels, rows.clone(), &mut out[at..], width),
                );
            }
        });
        let job = Job { isa, inputs, outputs, tiles, pixels, vector, dw, add: first > 0 };
        gradients.par_chunks(VECTORS * vector).enumerate().with_max_len(1).for_each(|(i, gradients)| {
            job.task(i * VECTORS * LANES, gradients);
        });
    }
}

/// Vectors of result channels that are summed together at most.
fn vectors<S: Isa>() -> usize {
    wide::<S>().min(VECTORS)
}

/// Transforms both sides of the tiles of some rows in 16 channels, from the first on, or as many as there are: the planes of a tile
/// are at its `place`, of `width` values each.
#[inline(always)]
fn transform<S: Isa, const GRADIENT: bool>(
    isa: S,
    tiling: &Tiling,
    x: &[f32],
    (first, channels): (usize, usize),
    rows: Range<usize>,
    out: &mut [f32],
    width: usize,
) {
    let Images { height, width: w, .. } = tiling.of;
    let count = LANES.min(channels - first);
    let pitch = (tiling.across * OUTPUT_TILE + INPUT_TILE - OUTPUT_TILE) * LANES;
    let mut lines = Scratch::new();
    let lines = lines.first(INPUT_TILE * pitch);
    for (n, row) in rows.enumerate() {
        let (sample, y) = (row / tiling.down, row % tiling.down * OUTPUT_TILE);
        let image = &x[(sample * channels + first) * height * w..][..count * height * w];
        for (i, line) in lines.chunks_exact_mut(pitch).enumerate() {
            line.fill(0.0);
            if y + i == 0 || y + i > height {
                continue;
            }
            for at in (0..w).step_by(LANES) {
                let (rows, length) = (&image[(y + i - 1) * w + at..], LANES.min(w - at));
                let out = &mut line[(at + 1) * LANES..][..length * LANES];
                // SAFETY: `count` channels of so many pixels follow in the image, as many columns in the line.
                unsafe { transpose_into(isa, rows, height * w, (count, length), out, LANES) };
            }
        }
        for column in 0..tiling.across {
            let lines = lines[column * OUTPUT_TILE * LANES..].as_ptr();
            let out = &mut out[place(n * tiling.across + column, width)..][..(PLANES - 1) * STEPS * width + LANES];
            both_sides(
                isa,
                #[inline(always)]
                |column| if GRADIENT { apply_a(isa, column) } else { apply_bt(isa, column) },
                #[inline(always)]
                // SAFETY: the line has six columns of 16 values from here on.
                |i, j| unsafe { isa.load(lines.add(i * pitch + j * LANES)) },
                #[inline(always)]
                // SAFETY: all planes were measured.
                |i, j, value| unsafe {
                    isa.store(out.as_mut_ptr().add((INPUT_TILE * i + j) * STEPS * width), value);
                },
            );
        }
    }
}

/// The contribution of some tiles.
struct Job<'a, S> {
    isa: S,
    inputs: usize,
    outputs: usize,
    tiles: usize,
    /// Transformed pixels, of which those of 16 channels take `vector` values.
    pixels: &'a [f32],
    vector: usize,
    dw: DisjointOutput<'a>,
    /// Whether it is added to what stands there.
    add: bool,
}

impl<S: Isa> Job<'_, S> {
    /// The filters that lead to some channels of the result, from `output` on.
    fn task(&self, output: usize, gradients: &[f32]) {
        let (mut sums, mut taps) = (Scratch::new(), Scratch::new());
        let sums = sums.first(PLANES * plane(LANES * vectors::<S>(), LANES));
        let taps = taps.first(TAPS * LANES * LANES);
        for (input, pixels) in (0..self.inputs).step_by(LANES).zip(self.pixels.chunks_exact(self.vector)) {
            let count = LANES.min(self.inputs - input);
            for (i, gradients) in gradients.chunks(vectors::<S>() * self.vector).enumerate() {
                let width = gradients.len() / self.vector * LANES;
                let products = Products {
                    filters: gradients,
                    width,
                    pixels,
                    vector: self.vector,
                    tiles: count,
                    steps: self.tiles,
                    first: true,
                };
                products.add_to(self.isa, sums, Pieces::NONE);
                let plane = plane(width, count);
                for at in (0..width).step_by(LANES) {
                    self.isa.run(
                        #[inline(always)]
                        || transform_back(self.isa, &sums[at..], (width, plane), count, taps),
                    );
                    let output = output + i * vectors::<S>() * LANES + at;
                    let outputs = LANES.min(self.outputs - output);
                    for (n, taps) in taps.chunks_exact(LANES * LANES).enumerate().take((count * TAPS).div_ceil(LANES)) {
                        let counts = (LANES.min(count * TAPS - n * LANES), outputs);
                        let at = (output * self.inputs + input) * TAPS + n * LANES;
                        let out = self.dw.at(at, (outputs - 1) * self.inputs * TAPS + counts.0);
                        let out = (out, self.inputs * TAPS);
                        // SAFETY: this part of dW was measured, and no other task has it.
                        unsafe { store_transposed(self.isa, taps, LANES, counts, out, self.add) };
                    }
                }
            }
        }
    }
}

/// Gᵀ s G of 16 results for each of `count` channels, whose sums are `channel` values apart.
#[inline(always)]
fn transform_back<S: Isa>(isa: S, sums: &[f32], (channel, plane): (usize, usize), count: usize, taps: &mut [f32]) {
    assert!(
        count > 0
            && sums.len() >= (PLANES - 1) * plane + (count - 1) * channel + LANES
            && taps.len() >= count * TAPS * LANES,
        "winograd: too few sums"
    );
    for n in 0..count {
        let (sums, taps) = (sums[n * channel..].as_ptr(), taps[n * TAPS * LANES..].as_mut_ptr());
        both_sides(
            isa,
            #[inline(always)]
            |column| apply_powers::<S, COLUMNS>(isa, column),
            #[inline(always)]
            // SAFETY: the sums of all planes of `count` channels are there.
            |i, j| unsafe { isa.load(sums.add((INPUT_TILE * i + j) * plane)) },
            #[inline(always)]
            // SAFETY: there is room for the taps of `count` channels.
            |i, j, value| unsafe { isa.store(taps.add((COLUMNS * i + j) * LANES), value) },
        );
    }
}
